//! Networks whose hosts compute who is where: nothing is asked between them, nothing is learned,
//! and nothing floods.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{
    Capture, Fleet, add, all_reach_each_other, attach, del, look, places, reach, reach_each_other,
};
use crate::network::{merge, with_previous};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/computed/ipv4", || nothing_is_asked(v4_slices())),
        trial("vxlan/computed/ipv6", || nothing_is_asked(v6_slices())),
        trial("vxlan/computed/both-families", || nothing_is_asked(pairs())),
        trial("vxlan/computed/addresses-and-places", addresses_and_places),
        trial("vxlan/computed/pairs-only", pairs_only),
        trial("vxlan/computed/with-a-gateway", gateway),
        trial("vxlan/computed/nobody-takes-anothers-address", nobody_takes),
        trial("vxlan/computed/check", check),
        trial("vxlan/computed/by-another-executable", another_executable),
    ]
}

fn v4_slices() -> Value {
    json!({"type": "host-local", "subnet": "10.9.0.0/16",
        "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"})
}

fn v6_slices() -> Value {
    json!({"type": "host-local", "subnet": "fd09::/64",
        "rangeStart": "fd09::{slot}:2", "rangeEnd": "fd09::{slot}:9"})
}

fn pairs() -> Value {
    json!({"type": "host-local", "paired": true, "ranges": [
        [{"subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"}],
        [{"subnet": "fd09::/64", "rangeStart": "fd09::{slot}:2", "rangeEnd": "fd09::{slot}:ff"}],
    ]})
}

/// Hosts whose addresses follow from nothing, with their places beside them.
fn addresses_and_places() {
    let fleet = Fleet::new(2);
    let mut config = places("1-2", &v4_slices());
    config["underlay"] = json!("eth0");
    config["peers"] = json!({"file": "/etc/slash24/hosts.json"});
    let hosts = json!([{"underlay": "192.0.2.1", "place": {"slot": 1}},
        {"underlay": "192.0.2.2", "place": {"slot": 2}}]);
    for host in &fleet.hosts {
        host.write("/etc/slash24/hosts.json", &hosts.to_string());
    }
    let containers: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &config, "red"))
        .collect();
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
    reach_each_other(&containers);
    let seen = capture.stop();
    assert!(!seen.contains("who-has"), "{seen}");
}

/// A container gets no addresses that others do not compute, and sync says why hosts are asked.
fn pairs_only() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut config = places("1-2", &pairs());
    config["runtimeConfig"] = json!({"ips": ["10.9.1.4", "fd09::1:9"]});
    let before = look(host);
    let call = Call::new(host, Plugins::Slash24, &config);
    let error = call.attach(&host.container("c"), "eth0").add().failure();
    let says = error["msg"].as_str().unwrap_or_default();
    assert!(says.contains("10.9.1.4 and fd09::1:9"), "{error}");
    before.assert_same(&look(host), "after a call that was refused");

    config["runtimeConfig"] = Value::Null;
    config["ipam"]["paired"] = json!(false);
    attach(host, &config, "asks");
    host.write("/etc/cni/net.d/red.conf", &config.to_string());
    let sync = Call::of(host, Plugins::Slash24, "slash24").arguments(["vxlan", "sync"]);
    let said = sync.execute().stdout;
    assert!(
        said.contains("all hosts") && said.contains("\"paired\": true"),
        "{said}"
    );
}

/// The forwarding entries of a host's bridge and its ports: those with a host are the tunnel's.
fn entries(host: &Host) -> Vec<Value> {
    let entries = host.ask("bridge", "-json fdb show br vxbr100");
    entries.as_array().unwrap().clone()
}

/// The hardware address of a container.
fn mac(container: &Container<'_>) -> String {
    let link = container.link("eth0").expect("it is attached");
    link["address"].as_str().unwrap().to_owned()
}

/// What must not be seen between hosts. The fabric's own questions have no tunnel around them.
fn assert_quiet(seen: &str) {
    assert!(seen.contains("vni 100"), "{seen}");
    for question in [
        "who-has",
        "solicitation, who has",
        "listener report",
        "ff:ff:ff:ff:ff:ff, ethertype",
    ] {
        assert!(!seen.contains(question), "{question}: {seen}");
    }
}

fn nothing_is_asked(ipam: Value) {
    let fleet = Fleet::new(3);
    let config = places("1-3", &ipam);
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
    let containers = all_reach_each_other(&fleet, &config);
    assert!(!containers[0].reaches("10.9.3.9"));
    // To nobody in particular, on this segment.
    containers[0].reaches("ff02::1%eth0");
    assert_quiet(&capture.stop());
    let known = entries(&fleet.hosts[0]);
    let remotes = known.iter().filter(|entry| !entry["dst"].is_null());
    assert_eq!(remotes.count(), 16, "{known:?}");
    // The tunnel knows the others, and the bridge its own.
    for other in &containers[1..] {
        let is_bridges = |entry: &&Value| entry["dst"].is_null() && entry["mac"] == mac(other);
        assert!(!known.iter().any(|entry| is_bridges(&entry)), "{known:?}");
    }
    del(&config, &containers[0]);
    assert!(fleet.hosts[0].link("vx100").is_none());
}

/// A gateway on every host, and the way out by it. There is nothing that a limit could hold back.
fn gateway() {
    let fleet = Fleet::new(2);
    let mut config = places("1-2", &v4_slices());
    merge(
        &mut config,
        json!({"isDefaultGateway": true, "ipMasq": true, "stormLimit": 1}),
    );
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
    let containers = all_reach_each_other(&fleet, &config);
    let near = attach(&fleet.hosts[0], &config, "near");
    for container in containers.iter().chain([&near]) {
        reach(container, "10.9.0.1");
    }
    reach(&near, "10.9.1.2");
    reach(&near, "10.9.2.2");
    // The way out is this host's.
    reach(&near, "192.0.2.2");
    assert_quiet(&capture.stop());
}

/// A tenant's container cannot have what is sent to another, by whatever it sends itself.
fn nobody_takes() {
    let fleet = Fleet::new(2);
    let config = places("1-2", &v4_slices());
    let [one, evil] = ["one", "evil"].map(|id| attach(&fleet.hosts[0], &config, id));
    let other = attach(&fleet.hosts[1], &config, "other");
    one.ping("10.9.2.2");
    let own = mac(&evil);
    for victim in [&one, &other] {
        evil.ip(&format!("link set eth0 address {}", mac(victim)));
        // What comes back goes to whom it belongs to.
        assert!(!evil.reaches("10.9.2.2"));
        assert!(!evil.reaches("10.9.1.2"));
        one.ping("10.9.2.2");
        other.ping("10.9.1.2");
    }
    evil.ip(&format!("link set eth0 address {own}"));
    reach(&evil, "10.9.2.2");
    // Nor does going down and up again make it a stranger.
    one.ip("link set eth0 down");
    one.ip("link set eth0 up");
    reach(&other, "10.9.1.2");
}

fn check() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let config = places("1-3", &v4_slices());
    let one = host.container("one");
    let result = add(&config, &one);
    let check = || {
        let call = Call::new(host, Plugins::Slash24, &with_previous(&config, &result));
        call.attach(&one, "eth0").check()
    };
    check().success();
    let port = result["interfaces"][1]["name"].as_str().unwrap();
    let entry = format!("fdb del {} dev {port} master", mac(&one));
    let bridge = |arguments: &str| {
        host.run(|| {
            let done = std::process::Command::new("bridge")
                .args(arguments.split(' '))
                .status();
            assert!(done.unwrap().success(), "{arguments}");
        });
    };
    bridge(&entry);
    let error = check().failure();
    let says = error["msg"].as_str().unwrap_or_default();
    assert!(
        says.contains("hardware address") && says.contains(port),
        "{error}"
    );
    bridge(
        &entry
            .replace("del", "add")
            .replace("master", "master static"),
    );
    check().success();
    host.ip("neighbour del 10.9.2.2 dev vx100");
    let error = check().failure();
    let says = error["msg"].as_str().unwrap_or_default();
    assert!(says.contains("1 missing neighbours"), "{error}");
}

/// Whoever executes `host-local`: the hardware address follows from what it leases.
fn another_executable() {
    let fleet = Fleet::new(2);
    let config = places("1-2", &v4_slices());
    for host in &fleet.hosts {
        let directory = host.plugin_dir(Plugins::Slash24);
        host.copy_program(&directory.join("host-local"), "/opt/copies/host-local");
    }
    let containers: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| {
            let container = host.container("red");
            let call = Call::new(host, Plugins::Slash24, &config).attach(&container, "eth0");
            call.env("CNI_PATH", "/opt/copies").add().success();
            container
        })
        .collect();
    reach_each_other(&containers);
}
