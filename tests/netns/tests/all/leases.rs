//! Leases as containers see them: which address one gets, and what becomes of it when files are
//! damaged, the disk is full, or cannot be written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Outcome, Plugins};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::network::{Family, bridge, merge, with_previous};
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [
        ours("leases/every-way-of-asking", every_way_of_asking),
        ours("leases/shared-is-told-to-who-follows", told_to_who_follows),
        ours("leases/the-hosts-own-are-never-given", the_hosts_own),
        ours("leases/what-the-host-gave-up-is-given", given_up),
        ours("leases/without-a-loopback", without_loopback),
        ours("leases/full-disk", full_disk),
        ours("leases/read-only", read_only),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (what, damage) in DAMAGES {
        trials.extend(ours_with(&format!("leases/damaged/{what}"), damage));
    }
    trials
}

fn ours_with(name: &str, damage: fn()) -> Vec<Trial> {
    ours(name, damage)
}

const DATA: &str = "/var/lib/cni/networks";

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn address(result: &Value) -> &str {
    result["ips"][0]["address"].as_str().expect("an address")
}

/// What a runtime asks for by its own means is what the container gets, through the interface's
/// plugin and all.
fn every_way_of_asking() {
    let host = Host::new("host");
    let ask = "10.1.2.77";
    let mesos = |info: Value| json!({"args": {"org.apache.mesos": {"network_info": info}}});
    let label = json!([{"key": "task", "value": "web"}]);
    let reserved = json!({"web": "10.1.2.77", "shop/web-0": ["10.1.2.77"], "by-id": "10.1.2.77"});
    for (number, (args, keys)) in [
        ("IgnoreUnknown=1;IP=10.1.2.77", json!({})),
        ("IP=10.1.2.77/24", json!({})),
        ("", json!({"args": {"cni": {"ips": [ask]}}})),
        ("", json!({"runtimeConfig": {"ips": ["10.1.2.77/24"]}})),
        (
            "",
            mesos(json!({"ip_addresses": [{"protocol": "IPv4", "ip_address": ask}]})),
        ),
        ("", json!({"args": {"labels": label}})),
        ("", json!({"args": {"cni": {"labels": label}}})),
        ("", mesos(json!({"labels": {"labels": label}}))),
        ("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0", json!({})),
        ("", json!({"by-id": true})),
    ]
    .into_iter()
    .enumerate()
    {
        let id = match keys["by-id"].is_null() {
            true => format!("c{number}"),
            false => "by-id".to_owned(),
        };
        let container = host.container(&id);
        let mut config = bridge(Family::V4, keys.clone());
        config["ipam"]["reservations"] = reserved.clone();
        if args.contains("IP=") || config["args"]["cni"].get("ips").is_some() {
            // Who asks for an address is not who it is reserved for.
            config["ipam"]["reservations"] = json!({});
        }
        if keys.to_string().contains("ip_address") || keys.get("runtimeConfig").is_some() {
            config["ipam"]["reservations"] = json!({});
        }
        let call = call(&container, &config).env("CNI_ARGS", args);
        let result = call.add().success();
        assert_eq!(address(&result), "10.1.2.77/24", "{args} {keys}");
        assert_eq!(container.addresses("eth0"), ["10.1.2.77/24"]);
        container.ping("10.1.2.1");
        call.del().success();
    }
}

/// A plugin that keeps what it is told.
const FOLLOWS: &str = r#"#!/bin/sh
cat > /run/told
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.1.0"}'
"#;

/// Who announces an address must know that it is not one container's alone.
fn told_to_who_follows() {
    let host = Host::new("host");
    host.write_program("/run/more/follows", FOLLOWS);
    let mut first = bridge(Family::V4, json!({"cniVersion": null, "name": null}));
    first["ipam"]["ranges"] = json!([
        [{"subnet": "10.1.2.0/24"}],
        [{"subnet": "fd00:53::53/128", "shared": true}],
    ]);
    let list = json!({"cniVersion": "1.1.0", "name": "n", "plugins": [first, {"type": "follows"}]});
    host.write("/etc/cni/net.d/n.conflist", &list.to_string());
    host.write(
        "/run/task.json",
        r#"{"name": "web", "container": {"network": [{"name": "n"}]}}"#,
    );
    let mut told = Vec::new();
    let containers = [host.container("c1"), host.container("c2")];
    for container in &containers {
        let netns = container.netns().display().to_string();
        let plugins = host.plugin_dir(Plugins::Slash24).display().to_string();
        let arguments = [
            "attach",
            "--netns",
            &netns,
            "--id",
            container.id(),
            "--plugin-dir",
            &plugins,
            "--plugin-dir",
            "/run/more",
            "/run/task.json",
        ];
        let attach = Call::of(&host, Plugins::Slash24, "slash24").without("CNI_PATH");
        let outcome = attach.arguments(arguments).execute();
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let text = host.read("/run/told").expect("the plugin was called");
        let config: Value = serde_json::from_str(&text).expect("it was told JSON");
        told.push(config["prevResult"]["ips"].clone());
        assert!(
            container
                .addresses("eth0")
                .contains(&"fd00:53::53/128".to_owned())
        );
    }
    for (ips, own) in told.iter().zip(["10.1.2.2/24", "10.1.2.3/24"]) {
        assert_eq!(
            (&ips[0]["address"], ips[0].get("shared")),
            (&json!(own), None)
        );
        assert_eq!(
            (&ips[1]["address"], &ips[1]["shared"]),
            (&json!("fd00:53::53/128"), &json!(true))
        );
    }
    let addresses = containers[0].ip_json("address show dev eth0 scope global");
    let infos = addresses[0]["addr_info"]
        .as_array()
        .expect("it has addresses");
    let shared = infos.iter().find(|info| info["local"] == "fd00:53::53");
    let probes = shared.is_none_or(|info| info.get("nodad").is_none());
    assert!(!probes, "several may have it, so nobody asks: {addresses}");
}

/// Every address of an interface, not only the first; also where sockets may be bound to any.
fn the_hosts_own() {
    for nonlocal in ["0", "1"] {
        let host = Host::new("host");
        host.ip(
            "link add v0 type veth peer name v1\nlink set v1 up\nlink set v0 up\n\
             address add 10.1.2.2/24 dev v0\naddress add 10.1.2.4/24 dev v0\n\
             address add fd00:1:2::2/64 dev v0 nodad\naddress add fd00:1:2::4/64 dev v0 nodad",
        );
        host.set_sysctl("net/ipv4/ip_nonlocal_bind", nonlocal);
        host.set_sysctl("net/ipv6/ip_nonlocal_bind", nonlocal);
        let config = bridge(Family::Dual, json!({}));
        let (one, other) = (host.container("c1"), host.container("c2"));
        let given = |container: &Container<'_>| -> Vec<String> {
            let result = call(container, &config).add().success();
            let ips = result["ips"].as_array().expect("addresses").iter();
            let address = |ip: &Value| ip["address"].as_str().unwrap_or_default().to_owned();
            ips.map(address).collect()
        };
        assert_eq!(given(&one), ["10.1.2.3/24", "fd00:1:2::3/64"]);
        assert_eq!(given(&other), ["10.1.2.5/24", "fd00:1:2::5/64"]);
        let third = host.container("c3");
        let ask = with_keys(&config, json!({"runtimeConfig": {"ips": ["10.1.2.4"]}}));
        let refused = call(&third, &ask).add().failure();
        let said = refused["msg"].as_str().expect("a message");
        assert!(
            said.contains("10.1.2.4 is one of this host's own"),
            "{said}"
        );
    }
}

/// An address that was passed as the host's is not lost for good.
fn given_up() {
    let host = Host::new("host");
    host.ip(
        "link add v0 type veth peer name v1\nlink set v1 up\nlink set v0 up\n\
         address add 10.1.2.3/32 dev v0",
    );
    let mut config = bridge(Family::V4, json!({}));
    config["ipam"]["ranges"] = json!([[{"subnet": "10.1.2.0/29"}]]);
    let containers = ["c1", "c2", "c3", "c4", "c5"].map(|id| host.container(id));
    for container in &containers[..4] {
        call(container, &config).add().success();
    }
    for _ in 0..2 {
        assert_eq!(call(&containers[4], &config).add().failure()["code"], 100);
    }
    host.ip("address del 10.1.2.3/32 dev v0");
    let result = call(&containers[4], &config).add().success();
    assert_eq!(address(&result), "10.1.2.3/29");
}

/// Where no interface ever had an address, not even the loopback, the kernel has no list of its own
/// addresses and lets sockets be bound to any. None of them is the host's for that.
fn without_loopback() {
    let host = Host::new("host");
    let bare = host.container("bare");
    let plugin = host.plugin_dir(Plugins::Slash24).join("host-local");
    let config = json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge",
        "ipam": {"type": "host-local", "subnet": "10.1.2.0/29"}});
    let output = bare.run(|| {
        let mut child = Command::new(&plugin)
            .env("CNI_COMMAND", "ADD")
            .env("CNI_CONTAINERID", "c")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/run/netns/bare")
            .env("CNI_PATH", "/nowhere")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin is installed");
        let mut input = child.stdin.take().expect("stdin is piped");
        input
            .write_all(config.to_string().as_bytes())
            .expect("it reads its configuration");
        drop(input);
        child.wait_with_output().expect("a child can be waited for")
    });
    let result: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(address(&result), "10.1.2.2/29", "{result}");
}

fn with_keys(config: &Value, keys: Value) -> Value {
    let mut config = config.clone();
    merge(&mut config, keys);
    config
}

fn tmpfs(folder: &str, flags: MsFlags, options: &str) {
    fs::create_dir_all(folder).expect("the folder above is the host's own");
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(options))
        .unwrap_or_else(|error| panic!("cannot mount over {folder}: {error}"));
}

fn fails(outcome: &Outcome, why: &str) {
    let failure = outcome.failure();
    let said = failure["msg"].as_str().expect("a message");
    assert_eq!(failure["code"], 5, "{failure}");
    assert!(said.contains(DATA) && said.contains(why), "{said}");
}

/// What is there is served, what cannot be written is an error that names the file, nothing is half
/// done; and with room again everything is as if nothing had been.
fn full_disk() {
    let host = Host::new("host");
    host.run(|| tmpfs(DATA, MsFlags::empty(), "size=64k"));
    let config = bridge(Family::V4, json!({}));
    let (one, other) = (host.container("c1"), host.container("c2"));
    let result = call(&one, &config).add().success();
    host.run(|| {
        let mut size = 65536;
        while size > 0 {
            // What does not fit is cut off.
            let _ = fs::write(format!("{DATA}/filling{size}"), vec![0; size]);
            size /= 2;
        }
        let mut number = 0;
        while fs::create_dir(format!("{DATA}/more{number}")).is_ok() && number < 5000 {
            number += 1;
        }
    });
    let refused = call(&other, &config).add();
    fails(&refused, "No space left on device");
    assert!(
        other.link("eth0").is_none(),
        "an ADD that fails leaves nothing"
    );
    call(&one, &with_previous(&config, &result))
        .check()
        .success();
    call(&one, &config).add().success();
    call(&one, &config).del().success();
    call(&other, &config).del().success();
    host.run(|| {
        for entry in fs::read_dir(DATA).expect("it is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("filling") {
                fs::remove_file(entry.path()).expect("it can be removed");
            }
        }
    });
    let again = call(&other, &config).add().success();
    assert_eq!(address(&again), "10.1.2.3/24");
    other.ping("10.1.2.1");
    call(&other, &config).del().success();
}

fn read_only() {
    let host = Host::new("host");
    host.run(|| tmpfs(DATA, MsFlags::empty(), "size=4m"));
    let config = bridge(Family::V4, json!({"cniVersion": "1.1.0"}));
    let (one, other) = (host.container("c1"), host.container("c2"));
    let result = call(&one, &config).add().success();
    let remount = |more: MsFlags| {
        host.run(|| {
            mount(
                None::<&str>,
                DATA,
                None::<&str>,
                MsFlags::MS_REMOUNT | more,
                None::<&str>,
            )
        })
        .unwrap_or_else(|error| panic!("cannot mount {DATA} again: {error}"));
    };
    remount(MsFlags::MS_RDONLY);
    let mut elsewhere = config.clone();
    elsewhere["name"] = "empty".into();
    for config in [&config, &elsewhere] {
        let failed = call(&other, config).command("STATUS").failure();
        assert_eq!(failed["code"], 50, "{failed}");
        let said = failed["msg"].as_str().expect("a message");
        assert!(said.contains("Read-only file system"), "{said}");
    }
    fails(&call(&other, &config).add(), "Read-only file system");
    assert!(
        other.link("eth0").is_none(),
        "an ADD that fails leaves nothing"
    );
    call(&one, &with_previous(&config, &result))
        .check()
        .success();
    fails(&call(&one, &config).del(), "Read-only file system");
    remount(MsFlags::empty());
    call(&other, &config).command("STATUS").success();
    call(&one, &config).del().success();
    assert_eq!(host.read(&format!("{DATA}/n/10.1.2.2")), None);
    call(&other, &config).add().success();
    other.ping("10.1.2.1");
}

/// What may be wrong in the lease directory, before a second container comes.
const DAMAGES: [(&str, fn()); 10] = [
    ("empty-lease", || {
        serves_after(|data| write(data, "10.1.2.3", b""), "10.1.2.3/24");
    }),
    ("garbage", || {
        serves_after(|data| write(data, "10.1.2.3", &[0xff; 6000]), "10.1.2.4/24");
    }),
    ("wrong-owner", || {
        serves_after(
            |data| write(data, "10.1.2.3", b"other\r\neth7"),
            "10.1.2.4/24",
        );
    }),
    ("directory", || {
        serves_after(
            |data| fs::create_dir(data.join("10.1.2.3")).expect("it can be made"),
            "10.1.2.4/24",
        );
    }),
    ("link-to-nowhere", || {
        serves_after(
            |data| symlink("/nowhere", data.join("10.1.2.3")).expect("it can be made"),
            "10.1.2.4/24",
        );
    }),
    ("foreign-file", || {
        serves_after(
            |data| write(data, "NOTES.txt", b"c2\r\neth0"),
            "10.1.2.3/24",
        );
    }),
    ("a-foreign-file-beside", || {
        serves_after(
            |data| {
                let beside = data.join("../.slash24");
                fs::remove_dir_all(&beside).expect("it is ours");
                fs::write(&beside, b"a foreign file").expect("it can be written");
            },
            "10.1.2.3/24",
        );
    }),
    ("last-reserved-address", || {
        serves_after(
            |data| write(data, "last_reserved_ip.0", b"no address"),
            "10.1.2.3/24",
        );
    }),
    ("index", || {
        serves_after(
            |data| write(data, "../.slash24/n/index", b"\0\xff damaged"),
            "10.1.2.3/24",
        );
    }),
    ("index-is-a-directory", || {
        serves_after(
            |data| {
                let index = data.join("../.slash24/n/index");
                fs::remove_file(&index).expect("there is an index");
                fs::create_dir(index).expect("it can be made");
            },
            "10.1.2.3/24",
        );
    }),
];

fn write(data: &Path, name: &str, content: &[u8]) {
    fs::write(data.join(name), content).expect("it can be written");
}

fn serves_after(damage: impl Fn(&Path) + Send + Sync, expected: &str) {
    let host = Host::new("host");
    let config = bridge(Family::V4, json!({}));
    let (one, other) = (host.container("c1"), host.container("c2"));
    let first = call(&one, &config).add().success();
    assert_eq!(address(&first), "10.1.2.2/24");
    host.run(|| damage(&Path::new(DATA).join("n")));
    let second = call(&other, &config).add().success();
    assert_eq!(address(&second), expected);
    other.ping("10.1.2.2");
    for (container, result) in [(&one, &first), (&other, &second)] {
        call(container, &with_previous(&config, result))
            .check()
            .success();
        call(container, &config).del().success();
    }
    for result in [&first, &second] {
        let file = address(result).split('/').next().unwrap_or_default();
        assert_eq!(
            host.read(&format!("{DATA}/n/{file}")),
            None,
            "its lease is gone"
        );
    }
    let third = host.container("c3");
    call(&third, &config).add().success();
    third.ping("10.1.2.1");
}
