//! host-local as a runtime sees it, in one process.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod network;

use std::fs;

use cni::Version;
use network::{Network, code, message};
use serde_json::{Value, json};

fn dual() -> Network {
    Network::new(json!({
        "location": {"rack": 50, "slot": 11},
        "ranges": [
            [{"subnet": "10.{rack}.{slot}.0/25"}],
            [{"subnet": "fd00:24:{rack}:{slot}::/64"}],
        ],
        "routes": [{"dst": "10.0.0.0/8", "gw": "10.{rack}.{slot}.1", "mtu": 1400}, {"dst": "::/0"}],
    }))
}

#[test]
fn the_result_is_the_references() {
    let network = dual();
    let expected = json!({
        "cniVersion": "1.1.0",
        "ips": [
            {"address": "10.50.11.2/25", "gateway": "10.50.11.1"},
            {"address": "fd00:24:32:b::2/64", "gateway": "fd00:24:32:b::1"},
        ],
        "routes": [{"dst": "10.0.0.0/8", "gw": "10.50.11.1", "mtu": 1400}, {"dst": "::/0"}],
    });
    assert_eq!(network.run("ADD", "c1").unwrap(), expected);
    assert_eq!(network.leases(), "10.50.11.2 fd00:24:32:b::2");
    assert_eq!(fs::read(network.path("10.50.11.2")).unwrap(), b"c1\r\neth0");
    assert_eq!(
        fs::read(network.path("last_reserved_ip.1")).unwrap(),
        b"fd00:24:32:b::2"
    );
}

#[test]
fn every_version_answers() {
    for version in Version::ALL {
        let network = dual();
        let config = network.with("cniVersion", version.as_str().into());
        let result = network.call("ADD", "c1", &config).unwrap();
        assert_eq!(result["cniVersion"], version.as_str());
        let address = match version < Version::V0_3_0 {
            true => &result["ip4"]["ip"],
            false => &result["ips"][0]["address"],
        };
        assert_eq!(address, "10.50.11.2/25");
    }
}

#[test]
fn addresses_go_round() {
    let network = Network::new(json!({"subnet": "10.0.0.0/29"}));
    let given: Vec<String> = (2..7)
        .map(|n| network.add(&format!("c{n}")).unwrap())
        .collect();
    assert_eq!(
        given,
        ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    );
    let full = network.add("c7");
    assert_eq!(code(full.clone()), 100);
    assert!(message(full).contains("10.0.0.1-10.0.0.6"));
    network.run("DEL", "c3").unwrap();
    network.run("DEL", "c5").unwrap();
    assert_eq!(network.add("c7").unwrap(), "10.0.0.3");
    network.run("DEL", "c7").unwrap();
    assert_eq!(
        network.add("c8").unwrap(),
        "10.0.0.5",
        "an address just released rests"
    );
}

#[test]
fn the_ranges_of_a_set_are_used_in_order() {
    let range = |subnet| json!({"subnet": subnet, "gateway": "10.0.0.2"});
    let network = Network::new(json!({"ranges": [[range("10.0.0.0/30"), range("10.0.1.0/30")]]}));
    assert_eq!(network.add("c1").unwrap(), "10.0.0.1");
    assert_eq!(network.add("c2").unwrap(), "10.0.1.1");
    assert_eq!(network.add("c3").unwrap(), "10.0.1.2");
    assert_eq!(code(network.add("c4")), 100);
}

#[test]
fn an_add_that_is_repeated_gets_the_same() {
    let network = dual();
    let first = network.run("ADD", "c1").unwrap();
    network.add("c2").unwrap();
    assert_eq!(network.run("ADD", "c1").unwrap(), first);
    let config = network.with("runtimeConfig", json!({"ips": ["10.50.11.2"]}));
    assert_eq!(network.call("ADD", "c1", &config).unwrap(), first);
    assert_eq!(network.leases().split(' ').count(), 4);
}

#[test]
fn labels_may_be_anything_where_nothing_is_reserved() {
    let network = dual();
    for (n, labels) in [json!({"task": "web"}), json!("web"), json!(7), json!([7])]
        .into_iter()
        .enumerate()
    {
        let config = network.with("args", json!({"labels": labels}));
        network.add_with(&format!("c{n}"), &config).unwrap();
        let mut reserving = config.clone();
        reserving["ipam"]["reservations"] = json!({"web": "10.50.11.9"});
        let given = network.add_with("web", &reserving);
        match n {
            0 => assert!(given.unwrap().starts_with("10.50.11.9 ")),
            _ => assert!(message(given).contains("args.labels")),
        }
    }
}

#[test]
fn half_an_add_is_completed() {
    let network = dual();
    network.add("c1").unwrap();
    fs::remove_file(network.path("fd00:24:32:b::2")).unwrap();
    assert_eq!(network.add("c1").unwrap(), "10.50.11.2 fd00:24:32:b::3");
}

#[test]
fn requests_are_granted_however_they_come() {
    let network = dual();
    let both = json!({"ips": ["10.50.11.77/25", "fd00:24:32:b::77"]});
    for key in ["args", "runtimeConfig"] {
        let value = if key == "args" {
            json!({"cni": both})
        } else {
            both.clone()
        };
        let config = network.with(key, value);
        assert_eq!(
            network.add_with("c1", &config).unwrap(),
            "10.50.11.77 fd00:24:32:b::77"
        );
        network.run("DEL", "c1").unwrap();
    }
    let info = json!({"ip_addresses": [{"protocol": "IPv4", "ip_address": "10.50.11.78"}]});
    let config = network.with("args", json!({"org.apache.mesos": {"network_info": info}}));
    assert_eq!(
        network.add_with("c1", &config).unwrap(),
        "10.50.11.78 fd00:24:32:b::78"
    );
    network.run("DEL", "c1").unwrap();
    let network = Network {
        args: "IgnoreUnknown=1;IP=10.50.11.79".into(),
        ..network
    };
    assert_eq!(network.add("c1").unwrap(), "10.50.11.79 fd00:24:32:b::79");
}

#[test]
fn requests_that_cannot_be_granted() {
    let network = dual();
    network.add("other").unwrap();
    let leases = network.leases();
    for (address, why) in [
        (
            json!(["10.50.11.2"]),
            "held by container other, interface eth0",
        ),
        (json!(["10.50.11.1"]), "10.50.11.1 is the gateway's"),
        (
            json!(["10.50.12.2"]),
            "10.50.12.2 is in none of the ranges 10.50.11.1-10.50.11.126",
        ),
        (
            json!(["10.50.11.5", "10.50.11.6"]),
            "both in 10.50.11.1-10.50.11.126",
        ),
        (
            json!(["10.50.11.9", "fd00:24:32:b::2"]),
            "fd00:24:32:b::2 is held",
        ),
    ] {
        let failed = network.add_with(
            "c1",
            &network.with("runtimeConfig", json!({"ips": address})),
        );
        assert_eq!(code(failed.clone()), 101, "{failed:?}");
        assert!(message(failed.clone()).contains(why), "{failed:?}");
        assert_eq!(network.leases(), leases, "nothing is left of {failed:?}");
    }
}

#[test]
fn another_request_replaces_what_was_held() {
    let network = Network::new(json!({"subnet": "10.0.0.0/24"}));
    let ask =
        |ip: &str| network.add_with("c1", &network.with("runtimeConfig", json!({"ips": [ip]})));
    assert_eq!(ask("10.0.0.7").unwrap(), "10.0.0.7");
    assert_eq!(ask("10.0.0.8").unwrap(), "10.0.0.8");
    assert_eq!(network.leases(), "10.0.0.8");
}

#[test]
fn it_is_all_sets_or_none() {
    let network = Network::new(json!({"ranges": [
        [{"subnet": "10.0.0.0/24"}],
        [{"subnet": "10.1.0.0/30"}],
    ]}));
    assert_eq!(network.add("c1").unwrap(), "10.0.0.2 10.1.0.2");
    assert_eq!(code(network.add("c2")), 100);
    assert_eq!(network.leases(), "10.0.0.2 10.1.0.2");
}

#[test]
fn del_needs_nothing_to_be_there() {
    let network = dual();
    network.run("DEL", "c1").unwrap();
    assert_eq!(network.leases(), "no directory");
    network.add("c1").unwrap();
    network.add("c2").unwrap();
    let mut broken = network.with("args", json!(7));
    broken["ipam"]["lockTimeout"] = "soon".into();
    broken["ipam"]["keepAcrossReboot"] = 7.into();
    broken["ipam"]["ranges"] = "none".into();
    let broken = Network {
        config: broken,
        ..network
    };
    broken.run("DEL", "c1").unwrap();
    broken.run("DEL", "c1").unwrap();
    assert_eq!(broken.leases(), "10.50.11.3 fd00:24:32:b::3");
}

#[test]
fn leases_of_old_and_killed_references() {
    let network = Network::new(json!({"subnet": "10.0.0.0/24"}));
    network.add("c1").unwrap();
    fs::write(network.path("10.0.0.3"), "").unwrap();
    fs::write(network.path("10.0.0.4"), "old").unwrap();
    assert_eq!(
        network.add("c2").unwrap(),
        "10.0.0.3",
        "an empty lease is nobody's"
    );
    assert_eq!(network.add("old").unwrap(), "10.0.0.4");
    network.run("DEL", "old").unwrap();
    assert_eq!(network.leases(), "10.0.0.2 10.0.0.3");
}

#[test]
fn check_compares_leases_with_the_result() {
    let network = dual();
    assert_eq!(code(network.run("CHECK", "c1")), 104);
    let result = network.run("ADD", "c1").unwrap();
    let check =
        |result: &Value| network.call("CHECK", "c1", &network.with("prevResult", result.clone()));
    check(&result).unwrap();
    let mut foreign = result.clone();
    foreign["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({"address": "192.0.2.1/24"}));
    check(&foreign).unwrap();
    let mut other = result.clone();
    other["ips"][0]["address"] = "10.50.11.3/25".into();
    assert_eq!(code(check(&other)), 104);
    assert!(
        message(check(&other))
            .contains("holds 10.50.11.2, fd00:24:32:b::2, and ADD gave it 10.50.11.3")
    );
    fs::remove_file(network.path("fd00:24:32:b::2")).unwrap();
    assert_eq!(code(check(&result)), 104);
    network.run("DEL", "c1").unwrap();
    assert!(message(check(&result)).contains("c1"));
}

#[test]
fn gc_keeps_what_is_valid() {
    let network = Network::new(json!({"subnet": "10.0.0.0/24"}));
    let gc = |valid: Value| {
        network
            .call("GC", "", &network.with("cni.dev/valid-attachments", valid))
            .unwrap()
    };
    gc(json!([]));
    assert_eq!(network.leases(), "no directory");
    for container in ["c2", "c3", "c4"] {
        network.add(container).unwrap();
    }
    fs::write(network.path("10.0.0.5"), "c5").unwrap();
    fs::write(network.path("10.0.0.6"), "").unwrap();
    fs::create_dir(network.path("10.0.0.7")).unwrap();
    network.run("GC", "").unwrap();
    assert_eq!(
        network.leases(),
        "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7"
    );
    gc(json!([
        {"containerID": "c2", "ifname": "eth0"},
        {"containerID": "c3", "ifname": "eth1"},
        {"containerID": "c4"},
        {"containerID": "c5", "ifname": "eth0"},
    ]));
    assert_eq!(network.leases(), "10.0.0.2 10.0.0.4 10.0.0.5 10.0.0.7");
    gc(json!([]));
    assert_eq!(network.leases(), "10.0.0.7");
}

#[test]
fn status_tells_when_nothing_is_left() {
    let network = Network::new(json!({"ranges": [
        [{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30"}],
        [{"subnet": "fd00::/64"}],
    ]}));
    network.run("STATUS", "").unwrap();
    network.add("c1").unwrap();
    network.run("STATUS", "").unwrap();
    network.add("c2").unwrap();
    let full = network.run("STATUS", "");
    assert_eq!(code(full.clone()), 50);
    let figures = "10.0.0.1-10.0.0.2 1/1 used, 10.0.1.1-10.0.1.2 1/1 used, fd00::1-fd00::ffff:ffff:ffff:ffff 2/";
    assert!(message(full.clone()).contains(figures), "{full:?}");
    fs::write(network.path("10.0.0.2"), "").unwrap();
    network.run("STATUS", "").unwrap();
    let network = Network::new(json!({"ranges": [
        [{"subnet": "10.0.0.0/30"}], [{"subnet": "192.0.2.53/32", "shared": true}],
    ]}));
    network.add("c1").unwrap();
    let full = message(network.run("STATUS", ""));
    assert!(
        full.ends_with("10.0.0.1-10.0.0.2 1/1 used, 192.0.2.53-192.0.2.53 shared"),
        "{full}"
    );
}

#[test]
fn status_tells_what_add_would() {
    // The gateway is 1; 2 is this host's own, as all of the loopback is.
    let network = Network::new(json!({"ranges": [
        [{"subnet": "10.0.0.0/24"}],
        [{"subnet": "127.0.0.0/30"}],
    ]}));
    let own = network.run("STATUS", "");
    assert_eq!(code(own.clone()), 50);
    let figures =
        "10.0.0.1-10.0.0.254 0/253 used, 127.0.0.1-127.0.0.2 0/1 used and 1 this host's own";
    assert!(message(own.clone()).ends_with(figures), "{own:?}");
    assert_eq!(code(network.add("c1")), 100);
    let network = Network::new(json!({"ranges": [
        [{"subnet": "127.0.0.0/30"}, {"subnet": "10.0.0.0/30"}],
    ]}));
    network.run("STATUS", "").unwrap();
    assert_eq!(network.add("c1").unwrap(), "10.0.0.2");
    assert_eq!(code(network.run("STATUS", "")), 50);
    let shared = json!({"subnet": "127.0.0.53/32", "shared": true});
    Network::new(shared).run("STATUS", "").unwrap();

    let network = Network::new(json!({"subnet": "10.0.0.0/24"}));
    fs::write(network.dir.path().join("data"), "a file").unwrap();
    let failed = network.run("STATUS", "");
    assert_eq!(code(failed.clone()), 50);
    assert!(
        message(failed.clone()).contains("data/net: not a directory"),
        "{failed:?}"
    );
}

#[test]
fn causes_have_their_codes_and_leave_nothing() {
    for (ipam, expected, why) in [
        (json!({}), 7, "\"subnet\" or \"ranges\""),
        (json!({"subnet": "10.0.0.1/24"}), 7, "10.0.0.0/24"),
        (json!({"subnet": 7}), 6, "ipam.subnet"),
        (
            json!({"subnet": "10.{rack}.0.0/16", "location": {"rack": 256}}),
            7,
            "255",
        ),
        (
            json!({"subnet": "10.{rack}.0.0/16", "location": {"slot": 2}}),
            7,
            "\"rack\"",
        ),
        (
            json!({"subnet": "10.{rack}.0.0/16", "location": {"file": "/nonexistent/x.json"}}),
            5,
            "/nonexistent/x.json",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "resolvConf": "/nonexistent/r"}),
            5,
            "/nonexistent/r",
        ),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.0/25"}]]}),
            7,
            "overlap",
        ),
    ] {
        let network = Network::new(ipam);
        let failed = network.add("c1");
        assert_eq!(code(failed.clone()), expected, "{failed:?}");
        assert!(message(failed.clone()).contains(why), "{failed:?}");
        assert_eq!(network.leases(), "no directory");
    }
    let network = Network {
        args: "IP=x".into(),
        ..dual()
    };
    assert_eq!(code(network.add("c1")), 4);
}

#[test]
fn old_versions_have_room_for_one_address_of_a_family() {
    let network =
        Network::new(json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}]]}));
    let failed = network.add_with("c1", &network.with("cniVersion", "0.2.0".into()));
    assert_eq!(code(failed.clone()), 7);
    assert!(message(failed).contains("2 IPv4 range sets"));
}

#[test]
fn name_servers_come_from_a_file() {
    let network = Network::new(json!({"subnet": "10.0.0.0/24"}));
    let file = network.dir.path().join("resolv.conf");
    fs::write(&file, "nameserver 192.0.2.53\nsearch a.example\n").unwrap();
    let mut config = network.config.clone();
    config["ipam"]["resolvConf"] = file.to_str().unwrap().into();
    let result = network.call("ADD", "c1", &config).unwrap();
    assert_eq!(
        result["dns"],
        json!({"nameservers": ["192.0.2.53"], "search": ["a.example"]})
    );
}

#[test]
fn an_unreadable_lease_keeps_nobody_else() {
    let network = Network::new(json!({"subnet": "10.0.0.0/24", "lockTimeout": 1e18}));
    network.add("c1").unwrap();
    network.add("c2").unwrap();
    // Reading this process's memory at address 0 is an input/output error.
    std::os::unix::fs::symlink("/proc/self/mem", network.path("10.0.0.9")).unwrap();
    assert_eq!(network.add("c3").unwrap(), "10.0.0.4");
    network.run("CHECK", "c1").unwrap();
    let failed = network.run("DEL", "c1");
    assert_eq!(code(failed.clone()), 5);
    assert!(message(failed).contains("10.0.0.9: Input/output error"));
    assert_eq!(network.leases(), "10.0.0.3 10.0.0.4 10.0.0.9");
    let config = network.with(
        "cni.dev/valid-attachments",
        json!([{"containerID": "c3", "ifname": "eth0"}]),
    );
    assert_eq!(code(network.call("GC", "", &config)), 5);
    assert_eq!(network.leases(), "10.0.0.4 10.0.0.9");
}

/// What has the name of a folder of ours keeps nobody from addresses of his own.
#[test]
fn a_foreign_file_beside_the_leases_is_in_nobodys_way() {
    for file in ["..", ".", "shared", "shared/10.0.0.2"] {
        let network = Network::new(json!({"subnet": "10.0.0.0/24", "shared": ["10.0.0.2"]}));
        let foreign = network
            .beside("")
            .components()
            .collect::<std::path::PathBuf>();
        let foreign = match file {
            ".." => foreign.parent().unwrap().to_owned(),
            "." => foreign,
            _ => foreign.join(file),
        };
        fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        fs::write(&foreign, "mine").unwrap();
        for container in ["c1", "c2", "c3"] {
            network.add(container).unwrap();
            network.run("CHECK", container).unwrap();
        }
        network.run("STATUS", "").unwrap();
        network.run("DEL", "c1").unwrap();
        let config = network.with("cni.dev/valid-attachments", json!([{"containerID": "c2"}]));
        network.call("GC", "", &config).unwrap();
        assert_eq!(network.leases(), "10.0.0.4", "{file}");
        network.run("DEL", "c2").unwrap();
        assert_eq!(network.leases(), "", "{file}");
        assert_eq!(fs::read(&foreign).unwrap(), b"mine", "{file}");
        let ask = network.with("runtimeConfig", json!({"ips": ["10.0.0.2"]}));
        let shared = message(network.add_with("c1", &ask));
        let name = foreign.file_name().unwrap().to_str().unwrap();
        assert!(shared.contains(name), "{file}: {shared}");
        network.run("DEL", "c1").unwrap();
        assert_eq!(network.leases(), "", "{file}");
    }
}
