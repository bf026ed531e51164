//! What operators have for leases: `slash24 leases`, `where` and `gc`, on hosts with containers.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Outcome, Plugins, Snapshot};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::network::{Family, bridge};
use crate::remains::only_the_network_remains;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("tools/the-dead-are-freed-and-nobody-else", the_dead),
        ours("tools/kept-across-boots-is-not-dead", kept_across_boots),
        ours(
            "tools/nothing-is-dead-that-cannot-be-seen",
            hidden_processes,
        ),
        ours("tools/gc-for-configurations-without-gc", gc_of_old_versions),
        ours(
            "tools/gc-leaves-what-is-younger-than-its-list",
            younger_than_the_list,
        ),
        ours("tools/an-address-leads-to-its-container", where_is),
        ours("tools/leases-are-released", release),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const DATA: &str = "/var/lib/cni/networks/n";

/// Writes a network's configuration where runtimes look for it.
fn offer(host: &Host, config: &Value) {
    let name = config["name"].as_str().expect("a network has a name");
    host.write(&format!("/etc/cni/net.d/{name}.conf"), &config.to_string());
}

/// A folder of the machine's own file system, which is gone when this is dropped.
struct OnDisk(Option<PathBuf>);

impl Drop for OnDisk {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Has the leases of a host where they remember their namespaces. The host's own `/var/lib/cni` is
/// a tmpfs, which has such attributes since Linux 6.6; before it they are on disk.
fn remembering(host: &Host) -> OnDisk {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 6) {
        return OnDisk(None);
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("slash24-leases-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).expect("there is room for temporary files");
    let guard = OnDisk(Some(folder.clone()));
    host.run(|| {
        let data = "/var/lib/cni/networks";
        fs::create_dir_all(data).expect("it is the host's own");
        mount(
            Some(&folder),
            data,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap_or_else(|error| panic!("cannot bind {}: {error}", folder.display()));
    });
    guard
}

fn add(config: &Value, container: &Container<'_>) -> BTreeSet<String> {
    let result = Call::new(container.host(), Plugins::Slash24, config)
        .attach(container, "eth0")
        .add()
        .success();
    let ips = result["ips"]
        .as_array()
        .expect("there are addresses")
        .iter();
    let address = |ip: &Value| {
        let text = ip["address"].as_str().expect("an address is text");
        text.split('/').next().unwrap_or(text).to_owned()
    };
    ips.map(address).collect()
}

fn slash24(host: &Host, arguments: &[&str]) -> Outcome {
    let call = Call::of(host, Plugins::Slash24, "slash24");
    call.arguments(arguments).execute()
}

fn gc_dead(host: &Host) -> BTreeSet<String> {
    let freed = slash24(host, &["gc", "--dead", "--output", "json"]).success();
    addresses(&freed)
}

fn addresses(leases: &Value) -> BTreeSet<String> {
    let leases = leases.as_array().expect("a list of leases").iter();
    let address = |lease: &Value| lease["address"].as_str().expect("an address").to_owned();
    leases.map(address).collect()
}

/// Has nothing on a host hidden. Where the tests run there may be processes that even root may not
/// look at; on this host they are not.
fn show_everything(host: &Host) {
    host.run(|| {
        for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
            let process = entry.path();
            let namespace = fs::read_link(process.join("ns/net"));
            let denied = namespace.is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
            if denied {
                hide(&process);
            }
        }
    });
}

/// Mounts an empty folder over one that belongs to the host whose thread calls this.
fn hide(folder: &Path) {
    let none = None::<&str>;
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none)
        .unwrap_or_else(|error| panic!("cannot mount over {}: {error}", folder.display()));
}

/// A process in a container, until this is dropped.
struct Inside(Child);

impl Inside {
    fn start(container: &Container<'_>) -> Self {
        let sleep = || Command::new("sleep").arg("60").stdin(Stdio::null()).spawn();
        Self(container.run(sleep).expect("sleep(1) is everywhere"))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Frees the dead until these are; the kernel gives the number of a namespace that has gone to the
/// next, and while that lives, in another trial, both seem to.
fn until_freed(host: &Host, expected: &BTreeSet<String>) {
    let mut freed = BTreeSet::new();
    host.wait_until("the dead are freed", || {
        freed.extend(gc_dead(host));
        freed.is_superset(expected)
    });
    assert_eq!(freed, *expected, "and nobody else");
}

fn the_dead() {
    let host = Host::new("host");
    let _disk = remembering(&host);
    show_everything(&host);
    let config = bridge(Family::Dual, json!({}));
    offer(&host, &config);
    let names = ["mounted", "inside", "opened", "gone1", "gone2", "twice"];
    let containers: Vec<Container<'_>> = names.iter().map(|name| host.container(name)).collect();
    let held: Vec<BTreeSet<String>> = containers.iter().map(|one| add(&config, one)).collect();
    // The reference tells of no namespace, and so is never known to be dead.
    host.write(&format!("{DATA}/10.1.2.77"), "theirs\r\neth0");
    assert_eq!(gc_dead(&host), BTreeSet::new(), "all are alive");

    let [mounted, inside, opened, gone1, gone2, twice] =
        <[Container<'_>; 6]>::try_from(containers).expect("there are six");
    let process = Inside::start(&inside);
    let open = host.run(|| File::open(opened.netns()).expect("the namespace has a path"));
    // A path may be bound a second time.
    host.run(|| {
        File::create_new("/run/again").expect("/run is the host's own");
        let again = Some(&twice.netns()).cloned();
        mount(
            again.as_ref(),
            "/run/again",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .expect("a namespace can be bound");
    });
    for container in [inside, opened, gone1, gone2, twice] {
        container.destroy();
    }
    // Runtimes use a path again.
    let reused = host.container("gone1");
    until_freed(&host, &(&held[3] | &held[4]));
    for addresses in [&held[0], &held[1], &held[2], &held[5]] {
        for address in addresses {
            assert!(
                host.read(&format!("{DATA}/{address}")).is_some(),
                "{address} is a live one's"
            );
        }
    }
    assert!(host.read(&format!("{DATA}/10.1.2.77")).is_some());
    let leases = slash24(&host, &["leases", "n", "--output", "json"]).success();
    let states = leases[0]["leases"]
        .as_array()
        .expect("there are leases")
        .iter();
    let state = |lease: &Value| lease["netns"]["state"].as_str().map(str::to_owned);
    let states: BTreeSet<Option<String>> = states.map(state).collect();
    assert_eq!(
        states,
        ["alive", "unknown"].map(|s| Some(s.to_owned())).into()
    );
    mounted.ping("10.1.2.1");

    drop((process, open));
    until_freed(&host, &(&held[1] | &held[2]));
    drop(reused);
}

fn kept_across_boots() {
    let host = Host::new("host");
    let _disk = remembering(&host);
    show_everything(&host);
    let mut kept = bridge(Family::V4, json!({"name": "kept"}));
    kept["ipam"]["keepAcrossReboot"] = true.into();
    let mut forgets = bridge(Family::V4, json!({"name": "forgets", "bridge": "br1"}));
    forgets["ipam"]["ranges"][0][0]["subnet"] = "10.3.0.0/24".into();
    offer(&host, &kept);
    offer(&host, &forgets);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    for lease in ["kept/10.1.2.9", "forgets/10.3.0.9", "retired/10.4.0.9"] {
        let path = format!("/var/lib/cni/networks/{lease}");
        host.write(&path, "old\r\neth0");
        host.run(|| {
            let file = File::options().append(true).open(&path);
            file.and_then(|file| file.set_modified(long_ago))
                .expect("the file was just made");
        });
    }
    let gone = host.container("c");
    let held = add(&kept, &gone);
    gone.destroy();
    let expected = &held | &BTreeSet::from(["10.3.0.9".to_owned()]);
    until_freed(&host, &expected);
    let left = slash24(&host, &["leases", "--output", "json"]).success();
    let left: Vec<BTreeSet<String>> = left
        .as_array()
        .expect("a list of networks")
        .iter()
        .map(|network| addresses(&network["leases"]))
        .collect();
    let of = |address: &str| BTreeSet::from([address.to_owned()]);
    assert_eq!(left, [BTreeSet::new(), of("10.1.2.9"), of("10.4.0.9")]);
}

/// What cannot be looked at may keep any namespace; earlier boots are over all the same.
fn hidden_processes() {
    let host = Host::new("host");
    let _disk = remembering(&host);
    show_everything(&host);
    let config = bridge(Family::V4, json!({}));
    offer(&host, &config);
    let gone = host.container("c");
    let held = add(&config, &gone);
    gone.destroy();
    // A process whose open files are not shown: what should be a folder is none.
    let hidden = Inside(
        Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep(1) is everywhere"),
    );
    let process = format!("/proc/{}", hidden.0.id());
    host.run(|| {
        hide(Path::new(&process));
        fs::write(format!("{process}/task"), "").expect("this is the host's own");
    });
    for _ in 0..3 {
        let outcome = slash24(&host, &["gc", "--dead", "--output", "json"]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        assert_eq!(addresses(&outcome.json()), BTreeSet::new());
        assert!(
            outcome.stderr.contains(&process) && outcome.stderr.contains("run this as root"),
            "{outcome:#?}"
        );
    }
    for address in &held {
        assert!(
            host.read(&format!("{DATA}/{address}")).is_some(),
            "{address} may be a live one's"
        );
    }
}

/// Mesos' configurations are of 0.2.0; what containers left goes, leases and links.
fn gc_of_old_versions() {
    let host = Host::new("host");
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let list = |content: &str| later_list(&host, content);
    for version in ["0.2.0", "0.3.1", "1.0.0", "1.1.0"] {
        let config = bridge(Family::V4, json!({"cniVersion": version}));
        offer(&host, &config);
        let containers: Vec<Container<'_>> = ["c1", "c2", "c3"]
            .iter()
            .map(|name| host.container(name))
            .collect();
        for container in &containers {
            Call::new(&host, Plugins::Slash24, &config)
                .attach(container, "eth0")
                .add()
                .success();
        }
        list("c2 eth0\n");
        let directory = host.plugin_dir(Plugins::Slash24).display().to_string();
        let gc = |valid: &str| {
            let arguments = [
                "gc",
                "--valid",
                valid,
                "--plugin-dir",
                &directory,
                "--output",
                "json",
            ];
            addresses(&slash24(&host, &arguments).success())
        };
        assert_eq!(gc("/run/valid").len(), 2, "{version}");
        assert!(
            containers[0].link("eth0").is_none(),
            "{version}: its link is gone"
        );
        containers[1].ping("10.1.2.1");
        list("[]");
        assert_eq!(gc("/run/valid").len(), 1, "{version}");
    }
    let after =
        Snapshot::of(&host, &["/var/lib/cni"]).without(|key| key.contains("/var/lib/cni/results"));
    only_the_network_remains(&before, &after);
}

/// A list of attachments that was made a second after everything else.
fn later_list(host: &Host, content: &str) {
    host.write("/run/valid", content);
    let soon = SystemTime::now() + Duration::from_secs(1);
    host.run(|| {
        let file = File::options().append(true).open("/run/valid");
        file.and_then(|file| file.set_modified(soon))
            .expect("the file was just made");
    });
}

/// A list cannot know of what was attached after it was made, be there a lease to tell or not.
fn younger_than_the_list() {
    let host = Host::new("host");
    let mut config = bridge(Family::V4, json!({"isGateway": false}));
    config["ipam"] = json!({"type": "static", "addresses": [{"address": "10.1.2.9/24"}]});
    offer(&host, &config);
    host.write("/run/valid", "[]");
    let container = host.container("c");
    host.write(
        "/run/task.json",
        r#"{"name": "web", "container": {"network": [{"name": "n"}]}}"#,
    );
    let plugins = host.plugin_dir(Plugins::Slash24).display().to_string();
    let directories = ["--plugin-dir", &plugins];
    let netns = container.netns().display().to_string();
    let attach = ["attach", "--netns", &netns, "--id", "c", "/run/task.json"];
    let attached = slash24(&host, &[&attach[..], &directories].concat());
    assert_eq!(attached.code, Some(0), "{attached:#?}");
    let gc = || {
        slash24(
            &host,
            &[&["gc", "--valid", "/run/valid"][..], &directories].concat(),
        )
    };
    assert_eq!(gc().code, Some(0));
    assert_eq!(
        container.addresses("eth0"),
        ["10.1.2.9/24"],
        "it is younger"
    );
    later_list(&host, "[]");
    assert_eq!(gc().code, Some(0));
    assert!(
        container.link("eth0").is_none(),
        "the list knows that it is not"
    );
}

fn where_is() {
    let host = Host::new("r50-c2-s11");
    let _disk = remembering(&host);
    let mut config = bridge(Family::V4, json!({}));
    config["ipam"] = json!({
        "type": "host-local",
        "ranges": [[{"subnet": "10.{rack}.{chassis:4}{slot:4}.0/24"}]],
        "location": {"hostname": "r{rack}-c{chassis}-s{slot}"},
    });
    offer(&host, &config);
    let container = host.container("c");
    let held = add(&config, &container);
    assert_eq!(held, BTreeSet::from(["10.50.43.2".to_owned()]));
    let found = slash24(&host, &["where", "10.50.43.2", "--output", "json"]).success();
    let found = &found[0];
    assert_eq!(found["host"], "this");
    assert_eq!(
        found["place"],
        json!({"rack": 50, "chassis": 2, "slot": 11})
    );
    assert_eq!(found["holders"][0]["container"], "c");
    assert_eq!(found["holders"][0]["netns"]["state"], "alive");
    let found = slash24(&host, &["where", "10.7.18.3", "--output", "json"]).success();
    assert_eq!(
        (&found[0]["host"], &found[0]["hostname"]),
        (&json!("another"), &json!("r7-c1-s2"))
    );
}

fn release() {
    let host = Host::new("host");
    let _disk = remembering(&host);
    let config = bridge(Family::Dual, json!({}));
    offer(&host, &config);
    let (one, other) = (host.container("c1"), host.container("c2"));
    let (of_one, of_other) = (add(&config, &one), add(&config, &other));
    let freed = slash24(
        &host,
        &["leases", "release", "--container", "c1", "--output", "json"],
    );
    assert!(
        freed.stderr.contains("is still there"),
        "it is alive: {freed:#?}"
    );
    assert_eq!(addresses(&freed.success()), of_one);
    let check = Call::new(&host, Plugins::Slash24, &config).attach(&other, "eth0");
    assert!(!of_other.is_empty());
    let again = slash24(&host, &["leases", "release", "--container", "c1"]);
    assert_eq!(again.code, Some(1), "{again:#?}");
    // A DEL that comes later finds nothing amiss.
    Call::new(&host, Plugins::Slash24, &config)
        .attach(&one, "eth0")
        .del()
        .success();
    check.del().success();
}
