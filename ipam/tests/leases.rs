//! What becomes of leases: reboots, reuse, exclusions, reservations, sharing.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod network;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use network::{Network, code, message};
use serde_json::{Value, json};

/// Makes a lease one of an earlier boot, as far as files tell.
fn age(path: &Path) {
    let record = "00000000-0000-0000-0000-000000000000 4:1 /run/netns/gone";
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, ipam::record::ATTRIBUTE, record.as_bytes(), flags).unwrap();
}

/// Makes a lease one that the reference made long ago.
fn age_references(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(long_ago).unwrap();
    let _ = rustix::fs::removexattr(path, ipam::record::ATTRIBUTE);
}

fn small(ipam: Value) -> Network {
    let mut all = json!({"subnet": "10.77.0.0/29"});
    all.as_object_mut()
        .unwrap()
        .extend(ipam.as_object().unwrap().clone());
    Network::new(all)
}

/// Takes every address of a network; returns them in the order they were given.
fn fill(network: &Network, prefix: &str) -> Vec<String> {
    let mut given = Vec::new();
    while let Ok(address) = network.add(&format!("{prefix}{}", given.len())) {
        given.push(address);
    }
    given
}

#[test]
fn a_reboot_frees_everything() {
    for age in [age, age_references] {
        let network = small(json!({}));
        let before = fill(&network, "old");
        assert_eq!(before.len(), 5);
        assert_eq!(code(network.add("new")), 100);
        before
            .iter()
            .for_each(|address| age(&network.path(address)));
        // It is one of the boot in which it was written.
        fs::remove_file(network.beside("index")).unwrap();
        network.run("STATUS", "").unwrap();
        let after = fill(&network, "new");
        assert_eq!(after.len(), 5);
        assert_eq!(fs::read(network.path(&after[0])).unwrap(), b"new0\r\neth0");
        assert_eq!(code(network.run("STATUS", "")), 50);
    }
}

#[test]
fn a_container_that_came_back_gets_its_own_again() {
    let network = small(json!({}));
    network.add("c1").unwrap();
    assert_eq!(network.add("c2").unwrap(), "10.77.0.3");
    age(&network.path("10.77.0.3"));
    assert_eq!(code(network.run("CHECK", "c2")), 104, "it is a memory");
    assert_eq!(network.add("c2").unwrap(), "10.77.0.3");
    network.run("CHECK", "c2").unwrap();
}

#[test]
fn leases_can_outlive_a_reboot() {
    let network = small(json!({"keepAcrossReboot": true}));
    let before = fill(&network, "old");
    before
        .iter()
        .for_each(|address| age(&network.path(address)));
    assert_eq!(code(network.add("new")), 100);
    assert_eq!(code(network.run("STATUS", "")), 50);
    network.run("CHECK", "old1").unwrap();
}

/// GC goes by the list that it is given. A lease of an earlier boot that is in it is kept
/// for who comes back, and without a list nothing is known of anybody.
#[test]
fn gc_after_a_reboot_goes_by_its_list() {
    for keep in [false, true] {
        let network = small(json!({"keepAcrossReboot": keep}));
        for container in ["c1", "c2", "c3"] {
            network.add(container).unwrap();
        }
        for address in ["10.77.0.2", "10.77.0.3"] {
            age(&network.path(address));
        }
        fs::remove_file(network.beside("index")).unwrap();
        network.run("GC", "").unwrap();
        assert_eq!(network.leases(), "10.77.0.2 10.77.0.3 10.77.0.4");
        let valid = json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c3"}]);
        let gc = network.with("cni.dev/valid-attachments", valid);
        network.call("GC", "", &gc).unwrap();
        assert_eq!(network.leases(), "10.77.0.2 10.77.0.4");
        assert_eq!(network.run("CHECK", "c1").is_ok(), keep, "a memory is none");
        network.run("CHECK", "c3").unwrap();
        assert_eq!(network.add("c1").unwrap(), "10.77.0.2");
        network.run("CHECK", "c1").unwrap();
        let gc = network.with("cni.dev/valid-attachments", json!([]));
        network.call("GC", "", &gc).unwrap();
        assert_eq!(network.leases(), "");
    }
}

#[test]
fn a_lease_remembers_its_boot_and_namespace() {
    let network = small(json!({}));
    network.add("c1").unwrap();
    let mut record = [0; 200];
    let path = network.path("10.77.0.2");
    let length = rustix::fs::getxattr(path, ipam::record::ATTRIBUTE, &mut record).unwrap();
    let record = std::str::from_utf8(&record[..length]).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(record, boot.trim(), "there is no namespace in this test");
}

#[test]
fn released_addresses_come_back_in_the_order_of_their_release() {
    let network = small(json!({"cooldown": 0}));
    let all = fill(&network, "c");
    for n in [3, 0, 4, 1, 2] {
        network.run("DEL", &format!("c{n}")).unwrap();
    }
    let again = fill(&network, "d");
    let expected: Vec<String> = [3, 0, 4, 1, 2].map(|n: usize| all[n].clone()).to_vec();
    assert_eq!(again, expected);
}

/// Sets of as many ranges of one address each, as `sets` has numbers.
fn many_ranges(sets: &[u8], ipam: Value) -> Network {
    let range = |set: usize, n: u8| {
        let subnet = format!("10.{set}.{n}.0");
        json!({"subnet": format!("{subnet}/30")})
    };
    let set = |(set, count): (usize, &u8)| (0..*count).map(|n| range(set, n)).collect();
    let sets: Vec<Vec<Value>> = sets.iter().enumerate().map(set).collect();
    let mut all = json!({"ranges": sets});
    let all_keys = all.as_object_mut().unwrap();
    all_keys.extend(ipam.as_object().unwrap().clone());
    Network::new(all)
}

#[test]
fn a_set_may_have_any_number_of_ranges() {
    for count in [1, 10, 11, 23, 24, 60] {
        let network = many_ranges(&[count], json!({}));
        let given = fill(&network, "c");
        let expected: Vec<String> = (0..count).map(|n| format!("10.0.{n}.2")).collect();
        assert_eq!(given, expected);
        assert_eq!(code(network.run("STATUS", "")), 50);
        let released = usize::from(count / 2);
        network.run("DEL", &format!("c{released}")).unwrap();
        assert_eq!(network.add("last").unwrap(), expected[released]);
    }
}

#[test]
fn what_is_released_rests_however_many_ranges_there_are() {
    for sets in [&[6, 6][..], &[11], &[30, 30]] {
        let network = many_ranges(sets, json!({}));
        let first = network.add("first").unwrap();
        network.add("second").unwrap();
        network.run("DEL", "first").unwrap();
        for n in 2..sets[0] {
            let next = network.add(&format!("c{n}")).unwrap();
            assert!(next.starts_with(&format!("10.0.{n}.2")), "{sets:?}: {next}");
        }
        assert_eq!(network.add("full").unwrap(), first, "{sets:?}");
    }
}

#[test]
fn ranges_of_earlier_configurations_do_not_pile_up() {
    let network = small(json!({}));
    for n in 0..40 {
        let mut config = network.config.clone();
        config["ipam"]["subnet"] = format!("10.78.{n}.0/29").into();
        network.call("ADD", &format!("c{n}"), &config).unwrap();
    }
    let index = fs::read(network.beside("index")).unwrap();
    let ranges = index.split(|byte| *byte == b'\n');
    assert_eq!(
        ranges.filter(|line| line.starts_with(b"10.78.")).count(),
        10
    );
    let many = many_ranges(&[60], json!({}));
    let config = |ranges: usize| {
        let mut config = many.config.clone();
        config["ipam"]["ranges"][0]
            .as_array_mut()
            .unwrap()
            .truncate(ranges);
        config
    };
    for (n, ranges) in [60, 3, 60, 20, 5, 60].into_iter().enumerate() {
        let given = many.add_with(&format!("c{n}"), &config(ranges));
        assert_eq!(given.unwrap(), format!("10.0.{n}.2"), "{ranges} ranges");
    }
}

#[test]
fn who_asks_for_it_gets_what_rests() {
    let network = small(json!({}));
    fill(&network, "c");
    for n in [0, 1, 2] {
        network.run("DEL", &format!("c{n}")).unwrap();
    }
    let ask = network.with("runtimeConfig", json!({"ips": ["10.77.0.3"]}));
    assert_eq!(network.add_with("x", &ask).unwrap(), "10.77.0.3");
    assert_eq!(network.add("y").unwrap(), "10.77.0.2");
    assert_eq!(network.add("z").unwrap(), "10.77.0.4");
    assert_eq!(code(network.add("none")), 100);
}

#[test]
fn an_address_rests_while_a_later_range_has_others() {
    let ranges = json!([[{"subnet": "10.77.0.0/30"}, {"subnet": "10.77.1.0/29"}]]);
    for (cooldown, next) in [(1000, "10.77.1.2"), (0, "10.77.0.2")] {
        let network = Network::new(json!({"ranges": ranges, "cooldown": cooldown}));
        assert_eq!(network.add("c1").unwrap(), "10.77.0.2");
        network.run("DEL", "c1").unwrap();
        assert_eq!(network.add("c2").unwrap(), next, "{cooldown}");
        fill(&network, "d");
        network.run("DEL", "d1").unwrap();
        network.add("last").expect("when it is short nothing rests");
    }
}

#[test]
fn exclusions_and_gateways_are_never_given() {
    let network = Network::new(json!({"ranges": [[
        {"subnet": "10.77.0.0/28", "exclude": ["10.77.0.2", "10.77.0.4/30", "10.77.0.14"]},
    ]]}));
    let given = fill(&network, "c").join(" ").replace("10.77.0.", "");
    assert_eq!(given, "3 8 9 10 11 12 13");
    let full = message(network.run("STATUS", ""));
    assert!(full.contains("10.77.0.1-10.77.0.14 7/7 used"), "{full}");
    let ask = network.with("runtimeConfig", json!({"ips": ["10.77.0.5"]}));
    let refused = network.add_with("x", &ask);
    assert_eq!(code(refused.clone()), 101);
    assert!(message(refused).contains("10.77.0.5 is in \"exclude\""));
}

#[test]
fn a_range_may_exclude_nearly_everything() {
    let network = Network::new(
        json!({"subnet": "10.0.0.0/8", "exclude": ["10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/11", "10.224.0.0/12"]}),
    );
    assert_eq!(network.add("c1").unwrap(), "10.240.0.0");
    let network = Network::new(json!({"subnet": "2001:db8::/64", "exclude": ["2001:db8::/65"]}));
    assert_eq!(network.add("c1").unwrap(), "2001:db8:0:0:8000::");
}

/// With namespaces there is more of this in `tests/netns`.
#[test]
fn the_hosts_own_addresses_are_never_given() {
    let network = Network::new(json!({"subnet": "127.0.0.0/28", "gateway": "127.0.0.9"}));
    let ask = network.with("runtimeConfig", json!({"ips": ["127.0.0.1"]}));
    let refused = network.add_with("x", &ask);
    assert_eq!(code(refused.clone()), 101);
    assert!(message(refused).contains("127.0.0.1 is one of this host's own"));
    assert_eq!(code(network.add("c1")), 100, "all of them are");
}

/// An address is given by what the configuration and the host say now.
#[test]
fn what_is_not_given_any_more_is_not_kept_either() {
    for change in [
        json!({"gateway": "10.77.0.2"}),
        json!({"exclude": ["10.77.0.2/31"]}),
        json!({"reservations": {"c9": "10.77.0.2"}}),
    ] {
        let network = small(json!({}));
        assert_eq!(network.add("c1").unwrap(), "10.77.0.2");
        let mut config = network.config.clone();
        let ipam = config["ipam"].as_object_mut().unwrap();
        ipam.extend(change.as_object().unwrap().clone());
        let given = network.call("ADD", "c1", &config).unwrap();
        let address = given["ips"][0]["address"].as_str().unwrap();
        assert_ne!(address, "10.77.0.2/29", "{change}");
        assert_eq!(Some(&*network.leases()), address.strip_suffix("/29"));
        config["prevResult"] = given;
        network.call("CHECK", "c1", &config).unwrap();
    }
    let network = Network::new(json!({"subnet": "127.0.0.0/28", "gateway": "127.0.0.9"}));
    fs::create_dir_all(network.path("")).unwrap();
    fs::write(network.path("127.0.0.2"), "c1\r\neth0").unwrap();
    assert_eq!(code(network.add("c1")), 100);
    let ask = network.with("runtimeConfig", json!({"ips": ["127.0.0.2"]}));
    assert!(message(network.add_with("c1", &ask)).contains("this host's own"));
    assert_eq!(network.leases(), "127.0.0.2", "DEL frees it");
}

#[test]
fn pairs_move_together() {
    let network = Network::new(json!({"paired": true, "ranges": [
        [{"subnet": "10.77.0.0/29"}], [{"subnet": "2001:db8::/125"}],
    ]}));
    assert_eq!(network.add("c1").unwrap(), "10.77.0.2 2001:db8::2");
    let mut config = network.config.clone();
    config["ipam"]["ranges"][1][0]["exclude"] = json!(["2001:db8::2"]);
    let given = network.add_with("c1", &config).unwrap();
    assert_eq!(given, "10.77.0.3 2001:db8::3");
    assert_eq!(network.leases(), given);
}

/// Hosts that announce an anycast address have it on their own loopback.
#[test]
fn shared_addresses_may_be_the_hosts() {
    let whole = json!({"subnet": "127.0.0.53/32", "shared": true});
    let single = json!({"subnet": "127.0.0.0/24", "shared": ["127.0.0.53"]});
    for ipam in [whole, single] {
        let network = Network::new(ipam);
        let ask = network.with("runtimeConfig", json!({"ips": ["127.0.0.53"]}));
        for container in ["c1", "c2", "c1"] {
            assert_eq!(network.add_with(container, &ask).unwrap(), "127.0.0.53");
        }
        assert_eq!(holders(&network, "127.0.0.53"), 2);
    }
}

#[test]
fn reservations_are_for_their_names_alone() {
    let network = small(json!({
        "reservations": {
            "c9": "10.77.0.4",
            "web": ["10.77.0.3", "2001:db8::3"],
            "default/pod-0": "10.{rack}.0.5",
            "elsewhere": "10.99.0.1",
        },
        "location": {"rack": 77},
    }));
    assert_eq!(network.add("c9").unwrap(), "10.77.0.4");
    let label = json!({"labels": [{"key": "task", "value": "web"}]});
    let web = network.with("args", label);
    assert_eq!(network.add_with("c1", &web).unwrap(), "10.77.0.3");
    network.run("DEL", "c1").unwrap();
    assert_eq!(network.add_with("c7", &web).unwrap(), "10.77.0.3");
    let mut others = fill(&network, "d");
    others.sort();
    assert_eq!(others, ["10.77.0.2", "10.77.0.6"]);
    let ask = network.with("runtimeConfig", json!({"ips": ["10.77.0.5"]}));
    let refused = network.add_with("x", &ask);
    assert_eq!(code(refused.clone()), 101);
    assert!(message(refused).contains("reserved for \"default/pod-0\""));
    let taken = network.add_with("c8", &web);
    assert!(message(taken).contains("held by container c7"));
    let pod = Network {
        args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-0".into(),
        ..network
    };
    assert_eq!(pod.add("sandbox").unwrap(), "10.77.0.5");
    assert_eq!(code(pod.run("STATUS", "")), 50);
}

/// A list of addresses is tried in its order; an interface more has what is left.
#[test]
fn reservations_go_round_the_interfaces_of_a_container() {
    let network = small(json!({"reservations": {"web": ["10.77.0.4", "10.77.0.3"]}}));
    let web = network.with("args", json!({"labels": [{"key": "task", "value": "web"}]}));
    let add = |container: &str, ifname: &str| {
        let answer = network.call_for("ADD", container, ifname, &web);
        answer.map(|result| result["ips"][0]["address"].as_str().unwrap().to_owned())
    };
    for (ifname, expected) in [("eth0", 4), ("eth1", 3), ("eth2", 5), ("eth3", 6)] {
        for again in [1, 2] {
            let expected = format!("10.77.0.{expected}/29");
            assert_eq!(add("c1", ifname).unwrap(), expected, "{ifname} {again}");
        }
    }
    let refused = add("c2", "eth0");
    assert_eq!(code(refused.clone()), 101);
    assert!(message(refused).contains("10.77.0.4 is held by container c1, interface eth0"));
    network.call_for("DEL", "c1", "eth1", &web).unwrap();
    assert_eq!(add("c2", "eth0").unwrap(), "10.77.0.3/29");
    assert_eq!(add("c2", "eth1").unwrap(), "10.77.0.2/29");
    assert_eq!(add("c1", "eth2").unwrap(), "10.77.0.5/29", "what it has");
    network.call_for("DEL", "c2", "eth0", &web).unwrap();
    assert_eq!(
        add("c1", "eth2").unwrap(),
        "10.77.0.3/29",
        "what is kept for it"
    );
    assert_eq!(network.leases(), "10.77.0.2 10.77.0.3 10.77.0.4 10.77.0.6");
}

#[test]
fn pairs_are_reserved_and_asked_for_as_pairs() {
    let network = Network::new(json!({
        "paired": true,
        "ranges": [
            [{"subnet": "10.77.0.0/29"}],
            [{"subnet": "2001:db8::/120", "exclude": ["2001:db8::6"]}],
        ],
        "reservations": {"one": "2001:db8::4", "two": ["10.77.0.5", "10.77.0.3", "2001:db8::3"]},
    }));
    assert_eq!(network.add("one").unwrap(), "10.77.0.4 2001:db8::4");
    assert_eq!(network.add("two").unwrap(), "10.77.0.5 2001:db8::5");
    let second = network
        .call_for("ADD", "two", "eth1", &network.config)
        .unwrap();
    assert_eq!(second["ips"][0]["address"], "10.77.0.3/29");
    assert_eq!(second["ips"][1]["address"], "2001:db8::3/120");
    let ask = |ips: Value| {
        let ask = network.with("runtimeConfig", json!({"ips": ips}));
        network.add_with("asks", &ask)
    };
    for (ips, why) in [
        (
            json!(["10.77.0.2", "2001:db8::7"]),
            "10.77.0.2 goes with 2001:db8::2",
        ),
        (
            json!(["10.77.0.6", "2001:db8::7"]),
            "10.77.0.6 goes with none",
        ),
        (json!(["10.77.0.6"]), "2001:db8::6 is in \"exclude\""),
        (json!(["2001:db8::6"]), "2001:db8::6 is in \"exclude\""),
        (
            json!(["2001:db8::77"]),
            "no address of 10.77.0.1-10.77.0.6 belongs to",
        ),
        (json!(["2001:db8::3"]), "reserved for \"two\""),
    ] {
        let refused = ask(ips.clone());
        assert_eq!(code(refused.clone()), 101, "{refused:?}");
        assert!(message(refused.clone()).contains(why), "{ips}: {refused:?}");
    }
    let pair = "10.77.0.2 2001:db8::2";
    assert_eq!(ask(json!(["2001:db8::2"])).unwrap(), pair);
    assert_eq!(ask(json!(["10.77.0.2", "2001:db8::2"])).unwrap(), pair);
}

fn holders(network: &Network, address: &str) -> usize {
    let folder = network.beside("shared").join(address);
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn shared_addresses_have_many_holders() {
    for ipam in [
        json!({"subnet": "10.77.0.53/32", "shared": true}),
        json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.53", "rangeEnd": "10.77.0.53", "shared": true}),
    ] {
        let network = Network::new(ipam);
        let result = network.run("ADD", "c1").unwrap();
        assert_eq!(result["ips"][0]["shared"], true);
        for container in ["c1", "c2", "c3", "c2"] {
            assert_eq!(network.add(container).unwrap(), "10.77.0.53");
        }
        assert_eq!(holders(&network, "10.77.0.53"), 3);
        assert_eq!(network.leases(), "10.77.0.53");
        for container in ["c1", "c2", "c3"] {
            network.run("CHECK", container).unwrap();
        }
        assert_eq!(code(network.run("CHECK", "c4")), 104);
        network.run("DEL", "c1").unwrap();
        assert_eq!(code(network.run("CHECK", "c1")), 104);
        let named = fs::read_to_string(network.path("10.77.0.53")).unwrap();
        assert!(
            ["c2\r\neth0", "c3\r\neth0"].contains(&named.as_str()),
            "{named}"
        );
        network.run("DEL", "c2").unwrap();
        network.run("CHECK", "c3").unwrap();
        network.run("DEL", "c3").unwrap();
        assert_eq!(
            (network.leases().as_str(), holders(&network, "10.77.0.53")),
            ("", 0)
        );
        network.run("STATUS", "").unwrap();
    }
}

#[test]
fn single_addresses_of_a_range_may_be_shared() {
    let network = small(json!({"shared": ["10.77.0.4", "10.77.0.6/32"]}));
    let ask = |container: &str, ip: &str| {
        network.add_with(
            container,
            &network.with("runtimeConfig", json!({"ips": [ip]})),
        )
    };
    assert_eq!(ask("c1", "10.77.0.4").unwrap(), "10.77.0.4");
    assert_eq!(ask("c2", "10.77.0.4").unwrap(), "10.77.0.4");
    assert_eq!(code(ask("c2", "10.77.0.9")), 101);
    assert_eq!(fill(&network, "d"), ["10.77.0.2", "10.77.0.3", "10.77.0.5"]);
    network.run("DEL", "c1").unwrap();
    network.run("DEL", "c2").unwrap();
    assert_eq!(
        code(network.add("e")),
        100,
        "it is for those who ask for it"
    );
}

#[test]
fn what_somebody_has_alone_is_not_shared() {
    let network = small(json!({}));
    network.add("alone").unwrap();
    let mut shared = network.with("runtimeConfig", json!({"ips": ["10.77.0.2"]}));
    shared["ipam"]["shared"] = json!(["10.77.0.2"]);
    let refused = network.add_with("c1", &shared);
    assert_eq!(code(refused.clone()), 101);
    assert!(message(refused).contains("held by container alone"));
    assert_eq!(holders(&network, "10.77.0.2"), 0);
}

#[test]
fn gc_and_reboots_count_every_holder() {
    let network = Network::new(json!({"subnet": "10.77.0.53/32", "shared": true}));
    for container in ["c1", "c2", "c3"] {
        network.add(container).unwrap();
    }
    let valid = json!([{"containerID": "c3", "ifname": "eth0"}]);
    let gc = network.with("cni.dev/valid-attachments", valid);
    network.call("GC", "", &gc).unwrap();
    assert_eq!(holders(&network, "10.77.0.53"), 1);
    network.run("CHECK", "c3").unwrap();
    fs::remove_file(network.path("10.77.0.53")).unwrap();
    network
        .run("CHECK", "c3")
        .expect("the reference takes it from one only");
    assert_eq!(network.add("c4").unwrap(), "10.77.0.53");
    network.run("DEL", "c4").unwrap();
    assert_eq!(fs::read(network.path("10.77.0.53")).unwrap(), b"c3\r\neth0");
}

/// Where sets are paired, one address of a container tells the others, in every lap.
#[test]
fn pairs_stay_pairs() {
    let network = Network::new(json!({
        "paired": true, "cooldown": 0,
        "ranges": [
            [{"subnet": "10.77.0.0/29"}],
            [{"subnet": "fd77::/64", "exclude": ["fd77::4"]}],
        ],
    }));
    let is_pair = |given: &str| {
        let (v4, v6) = given.split_once(' ').unwrap();
        v4.rsplit('.').next() == v6.rsplit(':').next()
    };
    let given: Vec<String> = fill(&network, "a");
    // The gateway is no container's, and what is excluded of one family is not given of both.
    let all = [
        "10.77.0.2 fd77::2",
        "10.77.0.3 fd77::3",
        "10.77.0.5 fd77::5",
        "10.77.0.6 fd77::6",
    ];
    assert_eq!(given, all);
    assert_eq!(code(network.add("more")), 100);
    for round in 0..3 {
        for name in ["a2", "a0", "a3"] {
            network.run("DEL", name).unwrap();
        }
        for name in ["a0", "a3", "a2"] {
            let given = network.add(name).unwrap();
            assert!(is_pair(&given), "{round}: {given}");
            assert_eq!(network.add(name).unwrap(), given);
        }
    }
    network.run("DEL", "a1").unwrap();
    // A pair of which somebody has one is nobody's.
    fs::write(network.path("fd77::3"), "other\r\neth0").unwrap();
    assert_eq!(code(network.add("a1")), 101);
    network.run("DEL", "a0").unwrap();
    assert!(is_pair(&network.add("a1").unwrap()));
    network.run("DEL", "a1").unwrap();
    fs::remove_file(network.path("fd77::3")).unwrap();
    let mut asked = network.with("runtimeConfig", json!({"ips": ["fd77::3"]}));
    assert_eq!(
        network.add_with("asked", &asked).unwrap(),
        "10.77.0.3 fd77::3"
    );
    network.run("DEL", "asked").unwrap();
    asked["ipam"]["ranges"][1] = json!([{"subnet": "fd77::/126"}]);
    asked["runtimeConfig"] = Value::Null;
    let error = message(network.call("ADD", "small", &asked));
    assert!(
        error.contains("ipam.paired") && error.contains("fd77::"),
        "{error}"
    );
}
