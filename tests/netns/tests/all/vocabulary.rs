//! The vocabulary itself: what the other tests take for granted.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use netns::{
    Call, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial, trial_needing,
    trial_on_old_kernel,
};
use serde_json::json;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "vocabulary/hosts-reach-each-other-over-a-fabric",
            hosts_reach_each_other,
        ),
        trial(
            "vocabulary/fabric-routes-to-containers",
            fabric_routes_to_containers,
        ),
        trial(
            "vocabulary/multipath-default-route",
            multipath_default_route,
        ),
        trial(
            "vocabulary/hosts-have-their-own-files-and-name",
            own_files_and_name,
        ),
        trial(
            "vocabulary/container-path-can-be-reused",
            path_can_be_reused,
        ),
        trial("vocabulary/nothing-is-left", nothing_is_left),
        trial("vocabulary/panic-cleans-up", panic_cleans_up),
        trial(
            "vocabulary/a-killed-process-leaves-nothing",
            a_killed_process_leaves_nothing,
        ),
        trial(
            "vocabulary/snapshot-shows-what-changed",
            snapshot_shows_what_changed,
        ),
        trial("vocabulary/call-executes-a-plugin", call_executes_a_plugin),
        trial_needing(
            &[
                Feature::BridgeVlans,
                Feature::Dummy,
                Feature::Ipvlan,
                Feature::Vlan,
                Feature::Vrf,
            ],
            "vocabulary/a-kernel-has-every-feature",
            two_vlans_of_one_link,
        ),
        trial_on_old_kernel("vocabulary/old-kernel", on_an_old_kernel),
    ]
}

fn two_vlans_of_one_link() {
    let fabric = Fabric::new();
    let [one, two] = ["one", "two"].map(Host::new);
    for (host, address) in [(&one, "192.0.2.1/24"), (&two, "192.0.2.2/24")] {
        fabric.join(host, "eth0", &[]);
        host.ip(&format!(
            "link add link eth0 name vlan5 type vlan id 5\naddress add {address} dev vlan5\n\
             link set vlan5 up"
        ));
    }
    one.ping("192.0.2.2");
    two.ip(
        "link delete vlan5\nlink add link eth0 name vlan6 type vlan id 6\n\
            address add 192.0.2.2/24 dev vlan6\nlink set vlan6 up",
    );
    assert!(!one.reaches("192.0.2.2"), "it is in another VLAN");
}

fn on_an_old_kernel() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(release.starts_with("6.1."), "{release}");
}

fn hosts_reach_each_other() {
    let fabric = Fabric::new();
    let [one, two] = ["one", "two"].map(Host::new);
    fabric.join(&one, "eth0", &["192.0.2.1/24", "2001:db8::1/64"]);
    fabric.join(&two, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]);
    one.ping("192.0.2.2");
    one.ping("2001:db8::2");
    let source = two.tcp(&one, "192.0.2.1").expect("one listens");
    assert_eq!(source.ip().to_string(), "192.0.2.2");
    assert!(!one.reaches("192.0.2.3"), "nobody has this address");
}

fn fabric_routes_to_containers() {
    let fabric = Fabric::new();
    fabric.router(&["192.0.2.254/24"]);
    let hosts = ["one", "two"].map(Host::new);
    let containers = [0, 1].map(|number| {
        let (host, own) = (&hosts[number], number + 1);
        fabric.join(host, "eth0", &[&format!("192.0.2.{own}/24")]);
        fabric.route(&format!("10.0.{own}.0/24"), &format!("192.0.2.{own}"));
        host.default_route(&["192.0.2.254"]);
        host.set_sysctl("net/ipv4/ip_forward", "1");
        let container = host.container("c");
        host.ip(&format!(
            "link add v0 type veth peer name eth0 netns {}\n\
             address add 10.0.{own}.1/24 dev v0\n\
             link set v0 up",
            container.netns().display()
        ));
        container.ip(&format!(
            "address add 10.0.{own}.2/24 dev eth0\nlink set eth0 up"
        ));
        container.default_route(&[&format!("10.0.{own}.1")]);
        container
    });
    containers[0].ping("10.0.2.2");
    containers[1].ping("10.0.1.2");
}

fn multipath_default_route() {
    let fabrics = [Fabric::new(), Fabric::new()];
    let host = Host::new("host");
    for (number, fabric) in fabrics.iter().enumerate() {
        fabric.router(&[
            &format!("10.{number}.0.1/24"),
            &format!("fd00:{number}::1/64"),
        ]);
        let addresses = [
            format!("10.{number}.0.2/24"),
            format!("fd00:{number}::2/64"),
        ];
        fabric.join(
            &host,
            &format!("eth{number}"),
            &addresses.each_ref().map(String::as_str),
        );
    }
    host.default_route(&["10.0.0.1", "10.1.0.1"]);
    host.default_route(&["fd00:0::1", "fd00:1::1"]);
    for family in ["-4", "-6"] {
        let default = host
            .routes(family)
            .into_iter()
            .find(|route| route["dst"] == "default");
        let hops = default.expect("there is a default route")["nexthops"].clone();
        assert_eq!(hops.as_array().map(Vec::len), Some(2), "{family}: {hops}");
    }
}

fn own_files_and_name() {
    let [one, two] = ["r50-s11", "r50-s12"].map(Host::new);
    for host in [&one, &two] {
        for path in [
            "/etc/slash24/location.json",
            "/etc/cni/net.d/a.conf",
            "/var/lib/cni/lease",
        ] {
            assert_eq!(host.read(path), None, "{path} of a new host");
            host.write(path, &host.name());
        }
        host.set_dmi("chassis_asset_tag", &host.name());
        assert_eq!(
            host.read("/proc/sys/kernel/hostname"),
            Some(format!("{}\n", host.name()))
        );
        assert!(
            host.read("/etc/passwd").is_some(),
            "the rest of /etc is there"
        );
    }
    assert_eq!(
        one.read("/etc/slash24/location.json").as_deref(),
        Some("r50-s11")
    );
    assert_eq!(
        two.read("/sys/class/dmi/id/chassis_asset_tag").as_deref(),
        Some("r50-s12\n")
    );
    assert!(
        !Path::new("/etc/slash24/location.json").exists(),
        "the machine itself is untouched"
    );
}

fn identity(place: &impl Namespace) -> PathBuf {
    place
        .run(|| fs::read_link("/proc/thread-self/ns/net"))
        .expect("a thread has a namespace")
}

fn path_can_be_reused() {
    let host = Host::new("host");
    let first = host.container("c").with_loopback();
    let path = first.netns();
    let before = identity(&first);
    assert_ne!(before, identity(&host), "a container is not its host");
    first.ping("127.0.0.1");
    // While it is held the kernel cannot give its number to the next one.
    let held = host
        .run(|| fs::File::open(&path))
        .expect("the path is a file");
    first.destroy();
    assert!(
        !host.run(|| path.exists()),
        "the path is gone with the container"
    );
    let second = host.container("c");
    assert_eq!(second.netns(), path);
    assert_ne!(identity(&second), before, "the path is a new namespace");
    drop(held);
}

/// A veth whose far end is in another namespace. The kernel takes it away with that namespace, so
/// that the near end shows whether the other place still exists.
fn veth_between(near: &Host, far: &Host) {
    let netns = far.netns();
    near.ip(&format!(
        "link add v0 type veth peer name v1 netns {}",
        netns.display()
    ));
    assert!(near.link("v0").is_some());
}

fn wait_for_the_end_of_the_far_place(near: &Host) {
    near.wait_until("the far end of v0 is gone", || near.link("v0").is_none());
}

fn nothing_is_left() {
    let witness = Host::new("witness");
    let host = Host::new("host");
    veth_between(&witness, &host);
    drop(host);
    wait_for_the_end_of_the_far_place(&witness);
}

fn panic_cleans_up() {
    let witness = Host::new("witness");
    let story = || {
        let host = Host::new("host");
        let container = host.container("c");
        veth_between(&witness, &host);
        container.run(|| std::panic::resume_unwind(Box::new("a test fails")));
    };
    let panic = catch_unwind(AssertUnwindSafe(story)).expect_err("the story panics");
    assert_eq!(
        panic.downcast_ref::<&str>(),
        Some(&"a test fails"),
        "the message arrives"
    );
    wait_for_the_end_of_the_far_place(&witness);
}

/// Makes this program a victim: it has a path of a namespace to which its host has a veth.
pub(crate) const VICTIM: &str = "NETNS_VICTIM";

/// What the victim does.
pub(crate) fn wait_to_be_killed(near: &str) -> ! {
    let host = Host::new("victim");
    let container = host.container("c").with_loopback();
    container.ip(&format!("link add v1 type veth peer name v0 netns {near}"));
    loop {
        std::thread::park();
    }
}

fn a_killed_process_leaves_nothing() {
    let witness = Host::new("witness");
    let program = std::env::current_exe().expect("/proc is mounted");
    let mut victim = Command::new(program)
        .env(VICTIM, witness.netns())
        .spawn()
        .expect("a test program can be executed again");
    witness.wait_until("the victim's veth is there", || {
        witness.link("v0").is_some()
    });
    victim.kill().expect("it is our child");
    victim.wait().expect("it is our child");
    wait_for_the_end_of_the_far_place(&witness);
}

fn snapshot_shows_what_changed() {
    let host = Host::new("host");
    let look = || Snapshot::of(&host, &["/var/lib/cni"]);
    let before = look();
    host.ip("link add br0 type bridge\naddress add 192.0.2.1/24 dev br0\nlink set br0 up");
    host.run(|| {
        let commands = "add table inet t; add chain inet t c; add rule inet t c counter accept";
        let status = Command::new("nft").arg(commands).status();
        assert!(status.is_ok_and(|status| status.success()));
    });
    host.write("/var/lib/cni/networks/n/192.0.2.2", "id\r\neth0");
    let after = look();
    let difference = before.diff(&after);
    for expected in [
        "+ link br0",
        "+ address br0 192.0.2.1",
        "+ route -4",
        "+ nft table inet",
        "+ nft rule inet t c",
        "+ file /var/lib/cni/networks/n/192.0.2.2: \"id\\r\\neth0\"",
    ] {
        assert!(
            difference.contains(expected),
            "no {expected:?} in:\n{difference}"
        );
    }
    host.ip("link delete br0");
    host.run(|| {
        Command::new("nft")
            .arg("delete table inet t")
            .status()
            .expect("nft");
        fs::remove_dir_all("/var/lib/cni/networks").expect("the lease is there");
    });
    before.assert_same(&look(), "after everything was undone");
}

fn call_executes_a_plugin() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = json!({"cniVersion": "1.0.0", "name": "n", "type": "loopback"});
    let call = Call::new(&host, Plugins::Debian, &config).attach(&container, "lo");
    assert_eq!(call.add().success()["interfaces"][0]["name"], "lo");
    container.ping("127.0.0.1");
    let error = call.clone().without("CNI_NETNS").add().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("CNI_NETNS")),
        "{error}"
    );
}
