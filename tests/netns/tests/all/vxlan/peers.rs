//! How the hosts of a network find each other.

use libtest_mimic::Trial;
use netns::{Call, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{
    Capture, Fleet, all_reach_each_other, attach, places, reach_each_other, tenant, v4,
};
use crate::network::host_local;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/peers/places-and-questions", places_and_questions),
        trial("vxlan/peers/a-file", file),
        trial("vxlan/peers/a-multicast-group", group),
        trial("vxlan/peers/many-hosts-are-told", many_are_told),
        trial("vxlan/peers/sync", sync),
    ]
}

/// One family is as good as asked for, the other is asked for: both families need questions.
fn places_and_questions() {
    let fleet = Fleet::new(3);
    let dual = tenant("red", 100, 1, json!({}))["ipam"].clone();
    all_reach_each_other(&fleet, &places("1-3", &dual));
    let fleet = Fleet::new(2);
    let shared = host_local(&["10.9.0.0/16"]);
    let config = places("1-2", &shared);
    attach(&fleet.hosts[0], &config, "one");
    let entries = fleet.hosts[0].ask("bridge", "-json fdb show dev vx100");
    let everybody = entries.as_array().unwrap().iter();
    let everybody = everybody.filter(|entry| entry["mac"] == "00:00:00:00:00:00");
    assert_eq!(everybody.count(), 1, "{entries}");
}

fn file() {
    let fleet = Fleet::new(3);
    let hosts = json!({"hosts": ["192.0.2.1", {"rack": 1, "slot": 2}, {"underlay": "192.0.2.3"}]});
    for host in &fleet.hosts {
        host.write("/etc/slash24/hosts.json", &hosts.to_string());
    }
    let config = tenant(
        "red",
        100,
        1,
        json!({
            "underlay": "192.0.2.{slot}", "peers": {"file": "/etc/slash24/hosts.json"},
        }),
    );
    all_reach_each_other(&fleet, &config);
}

fn group() {
    let fleet = Fleet::new(3);
    let config = tenant("red", 100, 1, json!({"peers": {"group": "239.1.1.1"}}));
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789 and dst 239.1.1.1");
    all_reach_each_other(&fleet, &config);
    assert!(capture.stop().contains("vni 100"));
}

/// What is for everybody goes to each host, so there is little of it: that the container is there,
/// once ADD has returned, and nothing of IPv6 where it has no such address.
fn many_are_told() {
    let fleet = Fleet::new(2);
    let peers: Vec<String> = (1..=80).map(v4).collect();
    let ipam = json!({"type": "host-local", "subnet": "10.9.0.0/16",
        "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"});
    let config = tenant(
        "red",
        100,
        1,
        json!({"peers": {"static": peers}, "ipam": ipam}),
    );
    let far = attach(&fleet.hosts[1], &config, "far");
    let capture = Capture::start(&fleet.hosts[0], "eth0", "udp port 4789 and dst 192.0.2.2");
    let near = attach(&fleet.hosts[0], &config, "near");
    let mac = near.link("eth0").expect("it is attached")["address"].clone();
    fleet.hosts[1].wait_until("the other host has heard of the container", || {
        let known = fleet.hosts[1].ask("bridge", "-json fdb show dev vx100");
        let mut known = known.as_array().unwrap().iter();
        known.any(|entry| entry["mac"] == mac && entry["dst"] == "192.0.2.1")
    });
    assert_eq!(near.ip_json("-6 address show dev eth0"), json!([]));
    far.ping("10.9.1.2");
    let seen = capture.stop();
    let announced = "Request who-has 10.9.1.2 tell 10.9.1.2";
    assert!(seen.contains(announced), "{seen}");
    // The bridge itself looks for group members.
    let of_container = |line: &&str| line.trim_start().starts_with(mac.as_str().unwrap());
    let mut sent = seen.lines().filter(of_container);
    assert!(!sent.any(|line| line.contains("ethertype IPv6")), "{seen}");
}

/// Hosts come and go while containers run.
fn sync() {
    let mut fleet = Fleet::new(2);
    let write = |fleet: &Fleet, hosts: usize| {
        let list: Vec<String> = (1..=hosts).map(v4).collect();
        for host in &fleet.hosts {
            host.write("/etc/slash24/hosts.json", &json!(list).to_string());
        }
    };
    let config = tenant(
        "red",
        100,
        1,
        json!({"peers": {"file": "/etc/slash24/hosts.json"}}),
    );
    let run = |fleet: &Fleet, index: usize, arguments: &[&str]| {
        let host = &fleet.hosts[index];
        let list = json!({"cniVersion": "1.1.0", "name": "red", "plugins": [{
            "type": "vxlan", "vni": 100, "underlay": "eth0", "peers": config["peers"],
            "ipam": config["ipam"],
        }]});
        host.write("/etc/cni/net.d/red.conflist", &list.to_string());
        let arguments = ["vxlan", "sync", "--output", "json"]
            .iter()
            .chain(arguments);
        let outcome = Call::of(host, Plugins::Slash24, "slash24")
            .arguments(arguments)
            .execute();
        outcome.success()[0].clone()
    };
    write(&fleet, 2);
    assert_eq!(run(&fleet, 0, &[])["isHere"], false);
    let ids: Vec<Value> = {
        let containers = all_reach_each_other(&fleet, &config);
        let same = run(&fleet, 0, &[]);
        assert_eq!((&same["added"], &same["deleted"]), (&json!([]), &json!([])));
        assert_eq!(same["entries"], 1);

        let index = fleet.hosts[0].link("vx100").unwrap()["ifindex"].clone();
        drop(containers);
        vec![index]
    };
    // The containers are gone with their namespaces, the network's devices are not.
    fleet.grow();
    write(&fleet, 3);
    let dry = run(&fleet, 0, &["--dry-run"]);
    assert_eq!(dry["added"], json!(["host 192.0.2.3"]));
    for index in 0..2 {
        let done = run(&fleet, index, &[]);
        assert_eq!(
            (&done["added"], &done["deleted"]),
            (&json!(["host 192.0.2.3"]), &json!([]))
        );
    }
    assert_eq!(fleet.hosts[0].link("vx100").unwrap()["ifindex"], ids[0]);
    let containers: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &config, "again"))
        .collect();
    reach_each_other(&containers);
    write(&fleet, 2);
    let done = run(&fleet, 0, &[]);
    assert_eq!(
        (&done["added"], &done["deleted"]),
        (&json!([]), &json!(["host 192.0.2.3"]))
    );
    assert_eq!(run(&fleet, 0, &[])["deleted"], json!([]));
}
