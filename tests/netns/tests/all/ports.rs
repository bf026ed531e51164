//! The keys of `bridge` that are about the container's port: which frames it takes and how large,
//! with the packets that show it; and what CHECK says when somebody has changed one.

use std::process::Command;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, VERSIONS, bridge, merge, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    let versions = VERSIONS.into_iter().flat_map(|version| {
        Family::ALL.into_iter().map(move |family| {
            let name = format!("ports/all-keys/{version}/{}/slash24", family.label());
            trial(name, move || all_keys(version, family))
        })
    });
    [
        ours("ports/isolated-ones-are-silent-to-each-other", isolated),
        both("ports/hairpin-reflects-frames", hairpin),
        ours("ports/disableContainerInterface", container_down),
        ours("ports/mtu-of-the-uplink", mtu_of_the_uplink),
        ours("ports/mtu-of-the-bridge", mtu_of_the_bridge),
        ours("ports/mtu-sized-packets-pass", mtu_sized_packets),
        ours("ports/enabledad-finds-a-duplicate", duplicate),
        ours("ports/enabledad-waits-until-addresses-serve", detects),
        ours("ports/ipMasqBackend", masquerade_backends),
        ours("ports/check-tells-what-changed", check_tells),
        ours("ports/check-of-the-mtu-inside", check_of_the_mtu_inside),
        both("ports/an-address-twice", an_address_twice),
        ours("ports/del-has-the-host-forget-neighbours", del_forgets),
    ]
    .into_iter()
    .flatten()
    .chain(versions)
    .collect()
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn add(container: &Container<'_>, config: &Value) -> Value {
    call(container, config).add().success()
}

fn mtu(place: &impl Namespace, link: &str) -> Value {
    let link = place
        .link(link)
        .unwrap_or_else(|| panic!("there is no {link}"));
    link["mtu"].clone()
}

/// Every key about ports that goes without VLANs, in each version and family.
fn all_keys(version: &str, family: Family) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let keys = json!({
        "cniVersion": version, "mtu": 1450, "hairpinMode": true, "portIsolation": true,
        "ipMasq": true, "ipMasqBackend": "iptables", "enabledad": false,
        "disableContainerInterface": false, "vlan": 0, "preserveDefaultVlan": true,
    });
    let config = bridge(family, keys);
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let result = add(&one, &config);
    add(&two, &config);
    for gateway in family.gateways() {
        one.ping(gateway);
        two.ping(gateway);
    }
    let previous = with_previous(&config, &result);
    if version >= "0.4.0" {
        call(&one, &previous).check().success();
    }
    call(&one, &previous).del().success();
    call(&two, &config).del().success();
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}

fn isolated() {
    let host = Host::new("host");
    let [one, two, open] = ["one", "two", "open"].map(|id| host.container(id));
    let with = |isolated: bool| bridge(Family::Dual, json!({"portIsolation": isolated}));
    add(&one, &with(true));
    add(&two, &with(true));
    add(&open, &with(false));
    for address in ["10.1.2.1", "fd00:1:2::1", "10.1.2.4", "fd00:1:2::4"] {
        one.ping(address);
        two.ping(address);
    }
    open.ping("10.1.2.2");
    assert!(!one.reaches("10.1.2.3"), "an isolated port hears another");
    assert!(
        !two.reaches("fd00:1:2::2"),
        "an isolated port hears another"
    );
}

/// Two links that leave it to the switch to bring them together (VEPA), as a container that reaches
/// itself by a service's address does.
fn hairpin(plugins: Plugins) {
    for reflects in [true, false] {
        let host = Host::new("host");
        let [container, left, right] = ["c", "left", "right"].map(|id| host.container(id));
        let config = bridge(Family::V4, json!({"hairpinMode": reflects}));
        Call::new(&host, plugins, &config)
            .attach(&container, "eth0")
            .add()
            .success();
        for (inner, address) in [(&left, "10.1.2.50/24"), (&right, "10.1.2.51/24")] {
            container.ip(&format!(
                "link add name v0 link eth0 type macvlan mode vepa\nlink set v0 netns {}",
                inner.netns().display()
            ));
            inner.ip(&format!("address add {address} dev v0\nlink set v0 up"));
        }
        assert_eq!(
            left.reaches("10.1.2.51"),
            reflects,
            "hairpinMode {reflects}"
        );
    }
}

fn container_down() {
    let host = Host::new("host");
    let container = host.container("c");
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let config = bridge(
        Family::V4,
        json!({"ipam": null, "isGateway": false, "disableContainerInterface": true}),
    );
    let result = add(&container, &config);
    assert_eq!(result.get("ips"), None, "{result}");
    assert_eq!(result["interfaces"][2]["name"], "eth0", "{result}");
    let flags = || container.link("eth0").expect("it is there")["flags"].clone();
    assert!(!flags().to_string().contains("\"UP\""), "{}", flags());
    let previous = with_previous(&config, &result);
    call(&container, &previous).check().success();
    // What it does with its interface is its own business.
    container.ip("link set eth0 up");
    call(&container, &previous).check().success();
    // Over its own leftovers.
    add(&container, &config);
    assert!(!flags().to_string().contains("\"UP\""), "{}", flags());
    call(&container, &previous).del().success();
    assert!(container.link("eth0").is_none());
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}

fn mtu_of_the_uplink() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&["192.0.2.1/24"]);
    fabric.join(&host, "eth0", &["192.0.2.11/24"]);
    host.default_route(&["192.0.2.1"]);
    host.ip("link set eth0 mtu 1380");
    let config = bridge(Family::V4, json!({"cniVersion": "1.1.0"}));
    let [one, two, three] = ["one", "two", "three"].map(|id| host.container(id));
    let result = add(&one, &config);
    assert_eq!(mtu(&one, "eth0"), 1380);
    assert_eq!(mtu(&host, "br0"), 1380);
    for (at, name) in [(1, "the host's end"), (2, "the container's")] {
        assert_eq!(result["interfaces"][at]["mtu"], 1380, "{name}: {result}");
    }
    add(&two, &config);
    assert_eq!(mtu(&two, "eth0"), 1380);
    // A bridge without ports has forgotten.
    call(&one, &config).del().success();
    call(&two, &config).del().success();
    host.ip("link set eth0 mtu 1420");
    add(&three, &config);
    assert_eq!(mtu(&three, "eth0"), 1420);
}

fn mtu_of_the_bridge() {
    // Without a default route it is the driver's; and containers go by their bridge, not by what
    // its uplink has become.
    let host = Host::new("host");
    let [one, two, small] = ["one", "two", "small"].map(|id| host.container(id));
    let config = bridge(Family::V4, json!({}));
    add(&one, &config);
    assert_eq!(mtu(&one, "eth0"), 1500);
    add(&small, &bridge(Family::V4, json!({"mtu": 1300})));
    assert_eq!(mtu(&small, "eth0"), 1300);
    assert_eq!(
        mtu(&host, "br0"),
        1300,
        "the kernel takes the least of the ports'"
    );
    add(&two, &config);
    assert_eq!(mtu(&two, "eth0"), 1300);
}

/// Packets as large as the container's MTU that must not be fragmented, to the other side of a
/// fabric whose links are smaller than the driver's default.
fn mtu_sized_packets() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&["192.0.2.1/24"]);
    fabric.join(&host, "eth0", &["192.0.2.11/24"]);
    fabric.route("10.1.2.0/24", "192.0.2.11");
    host.default_route(&["192.0.2.1"]);
    host.ip("link set eth0 mtu 1380");
    let container = host.container("c");
    add(
        &container,
        &bridge(Family::V4, json!({"isDefaultGateway": true})),
    );
    let passes = |size: usize| {
        let size = (size - 28).to_string();
        let args = [
            "-n",
            "-q",
            "-c",
            "1",
            "-W",
            "2",
            "-M",
            "do",
            "-s",
            &size,
            "192.0.2.1",
        ];
        container.run(|| {
            Command::new("ping")
                .args(args)
                .output()
                .unwrap()
                .status
                .success()
        })
    };
    assert!(passes(1380), "a packet as large as the MTU");
    assert!(!passes(1381), "one that is larger");
}

/// The address that the container is to get is another host's on the same segment.
fn duplicate() {
    let host = Host::new("host");
    host.ip("link add br0 type bridge\nlink set br0 up\n\
         link add port type veth peer name other\nlink set port master br0 up");
    let other = host.container("other");
    host.ip(&format!("link set other netns {}", other.netns().display()));
    other.ip("link set other up\naddress add fd00:1:2::2/64 dev other nodad");
    host.wait_for_carrier("port");
    let container = host.container("c");
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let config = bridge(Family::V6, json!({"isGateway": false, "enabledad": true}));
    let error = call(&container, &config).add().failure();
    assert_eq!(error["code"], 101, "{error}");
    let message = error["msg"].as_str().unwrap();
    assert!(message.contains("fd00:1:2::2/64"), "{error}");
    assert!(container.link("eth0").is_none());
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
    // The next address is free. Without detection the first one would have been taken.
    add(&container, &config);
    assert_eq!(container.addresses("eth0"), ["fd00:1:2::3/64"]);
}

fn detects() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = bridge(Family::Dual, json!({"enabledad": true}));
    let result = add(&container, &config);
    for (key, value) in [("accept_dad", "1"), ("enhanced_dad", "1")] {
        assert_eq!(
            container.sysctl(&format!("net/ipv6/conf/eth0/{key}")),
            value
        );
    }
    let links = container.ip_json("-6 address show dev eth0");
    let addresses = links[0]["addr_info"].as_array().expect("it has some");
    for address in addresses {
        let settled = address["tentative"] != true && address["nodad"] != true;
        assert!(settled, "{address}");
    }
    assert!(container.reaches("fd00:1:2::1"), "the first packet arrives");
    call(&container, &with_previous(&config, &result))
        .check()
        .success();
}

fn masquerade_backends() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    let outside = Host::new("outside");
    fabric.join(&host, "eth0", &["192.0.2.11/24"]);
    fabric.join(&outside, "eth0", &["192.0.2.12/24"]);
    for (id, backend) in [("a", ""), ("b", "iptables"), ("c", "nftables")] {
        let container = host.container(id);
        let mut config = bridge(
            Family::V4,
            json!({"isDefaultGateway": true, "ipMasq": true}),
        );
        merge(&mut config, json!({"ipMasqBackend": backend}));
        add(&container, &config);
        let source = container.tcp(&outside, "192.0.2.12").unwrap();
        assert_eq!(source.ip().to_string(), "192.0.2.11", "{backend}");
    }
}

/// Something that an operator does by mistake, and what CHECK must say then.
struct Change {
    name: &'static str,
    make: fn(&Host, &Container<'_>, port: &str),
    says: &'static [&'static str],
}

const CHANGES: &[Change] = &[
    Change {
        name: "hairpin",
        make: |host, _, port| host.ip(&format!("link set {port} type bridge_slave hairpin off")),
        says: &["hairpin", "expected on", "found off"],
    },
    Change {
        name: "isolation",
        make: |host, _, port| host.ip(&format!("link set {port} type bridge_slave isolated off")),
        says: &["isolation", "expected on", "found off"],
    },
    Change {
        name: "another bridge",
        make: |host, _, port| host.ip(&format!("link set {port} nomaster")),
        says: &["expected a port of br0", "found not one"],
    },
    Change {
        name: "MTU on the host",
        make: |host, _, port| host.ip(&format!("link set {port} mtu 1200")),
        says: &["MTU of veth", "expected 1400", "found 1200"],
    },
    Change {
        name: "MTU in the container",
        make: |_, container, _| container.ip("link set eth0 mtu 1300"),
        says: &["MTU of eth0", "expected 1400", "found 1300"],
    },
    Change {
        name: "no gateway",
        make: |host, _, _| host.ip("address flush dev br0 scope global"),
        says: &["addresses of br0", "expected 10.1.2.1", "found fe80::"],
    },
    Change {
        name: "bridge down",
        make: |host, _, _| host.ip("link set br0 down"),
        says: &["state of br0", "expected up", "found down"],
    },
    Change {
        name: "no masquerading",
        make: |host, _, _| {
            let nft = || {
                Command::new("nft")
                    .args(["delete", "table", "inet", "slash24"])
                    .status()
            };
            assert!(host.run(nft).unwrap().success());
        },
        says: &["masquerading of 10.1.2.2/24", "found none"],
    },
    Change {
        name: "container down",
        make: |_, container, _| container.ip("link set eth0 down"),
        says: &["state of eth0", "expected up", "found down"],
    },
];

fn check_tells() {
    for change in CHANGES {
        let host = Host::new("host");
        let container = host.container("c");
        let keys = json!({
            "cniVersion": "1.1.0", "mtu": 1400, "hairpinMode": true, "portIsolation": true,
            "ipMasq": true,
        });
        let config = bridge(Family::V4, keys);
        let result = add(&container, &config);
        let check = call(&container, &with_previous(&config, &result));
        check.check().success();
        let port = result["interfaces"][1]["name"].as_str().unwrap();
        (change.make)(&host, &container, port);
        let error = check.check().failure();
        assert_eq!(error["code"], 104, "{}: {error}", change.name);
        let message = error["msg"].as_str().unwrap();
        for part in change.says {
            assert!(message.contains(part), "{} in {error}", change.name);
        }
    }
}

/// Results before 1.1.0 say nothing of it, and the configuration does.
fn check_of_the_mtu_inside() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = bridge(Family::V4, json!({"mtu": 1400}));
    let result = add(&container, &config);
    let check = call(&container, &with_previous(&config, &result));
    check.check().success();
    container.ip("link set eth0 mtu 1300");
    let error = check.check().failure();
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("MTU of eth0: expected 1400, found 1300"),
        "{error}"
    );
}

/// Nobody sees to it that an address of `static` is given once: the ports' hardware addresses
/// must be two all the same.
fn an_address_twice(plugins: Plugins) {
    let host = Host::new("host");
    let containers = ["one", "two"].map(|id| host.container(id));
    let ipam = json!({"type": "static", "addresses": [{"address": "10.1.2.77/24"}]});
    let config = bridge(Family::V4, json!({"isGateway": false, "ipam": ipam}));
    let macs = containers.each_ref().map(|container| {
        let call = Call::new(&host, plugins, &config).attach(container, "eth0");
        call.add().success()["interfaces"][2]["mac"].clone()
    });
    assert_ne!(macs[0], macs[1]);
}

/// The address goes to another container, which may have another hardware address.
fn del_forgets() {
    let host = Host::new("host");
    let [stays, container, next] = ["stays", "c", "next"].map(|id| host.container(id));
    let config = bridge(Family::Dual, json!({}));
    add(&stays, &config);
    let result = add(&container, &config);
    for address in ["10.1.2.2", "10.1.2.3", "fd00:1:2::3"] {
        host.ping(address);
    }
    let known = |address: &str| {
        let neighbours = host.ip_json("neighbour show dev br0");
        let mut neighbours = neighbours.as_array().into_iter().flatten();
        neighbours.any(|one| one["dst"] == address && one["lladdr"].is_string())
    };
    assert!(known("10.1.2.3") && known("fd00:1:2::3"));
    call(&container, &with_previous(&config, &result))
        .del()
        .success();
    assert!(!known("10.1.2.3") && !known("fd00:1:2::3"));
    assert!(known("10.1.2.2"));
    let mut moved = bridge(Family::V4, json!({"mac": "0a:00:00:00:00:07"}));
    moved["args"] = json!({"cni": {"ips": ["10.1.2.3"]}});
    add(&next, &moved);
    host.ping("10.1.2.3");
}
