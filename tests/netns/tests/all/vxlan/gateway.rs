//! Networks with a gateway, which is on every host.

use libtest_mimic::Trial;
use netns::{Call, Container, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{Capture, Fleet, add, attach, del, look, reach, reach_each_other, send, tenant};
use crate::network::with_previous;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/gateway/anycast", anycast),
        trial("vxlan/gateway/routed-hosts", routed),
        trial("vxlan/gateway/routed-hosts-that-are-listed", listed),
        trial("vxlan/gateway/routed-hosts-come-and-go", come_and_go),
        trial("vxlan/gateway/the-way-out", way_out),
        trial("vxlan/gateway/a-wide-way-out", wide_way_out),
        trial("vxlan/gateway/leftovers-of-a-kill", leftovers),
    ]
}

/// The hardware address that a container has noted for its gateway.
fn gateway_mac(container: &Container<'_>) -> Value {
    let neighbours = container.ip_json("neighbour show to 10.9.0.1");
    neighbours[0]["lladdr"].clone()
}

/// Two tenants with the same subnet and the same gateway, on every host.
fn anycast() {
    let fleet = Fleet::new(2);
    let before: Vec<_> = fleet.hosts.iter().map(look).collect();
    let keys = json!({"gateway": "anycast", "isDefaultGateway": true});
    let networks =
        [("red", 100), ("blue", 200)].map(|(name, vni)| tenant(name, vni, 2, keys.clone()));
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
    let mut macs = Vec::new();
    let mut attached = Vec::new();
    for (network, id) in networks.iter().zip(["red", "blue"]) {
        for host in &fleet.hosts {
            let container = attach(host, network, id);
            container.ping("10.9.0.1");
            reach(&container, "fd09::1");
            macs.push((id, gateway_mac(&container)));
            attached.push((network, container));
        }
    }
    let seen = capture.stop();
    assert!(
        !seen.contains("10.9.0.1"),
        "the gateway is asked for on this host: {seen}"
    );
    assert_eq!(macs[0], macs[1]);
    assert_eq!(macs[2], macs[3]);
    assert_ne!(macs[0].1, macs[2].1);
    for pair in attached.chunks(2) {
        let [(_, one), (_, other)] = pair else {
            panic!()
        };
        one.ping("10.9.2.2");
        reach(other, "fd09::1:2");
        // Nothing of the tunnel is asked for again: the gateway stays where it was.
        one.ping("10.9.0.1");
        assert_eq!(send(one, other, "10.9.2.2", 100_000), 100_000);
        let default = one
            .routes("-4")
            .into_iter()
            .find(|route| route["dst"] == "default");
        assert_eq!(default.expect("there is one")["gateway"], "10.9.0.1");
    }
    for (network, container) in &attached {
        del(network, container);
    }
    for (host, before) in fleet.hosts.iter().zip(&before) {
        before.assert_same(&look(host), "after the last container");
    }
}

/// A network whose hosts have subnets of their own: `10.7.SLOT.0/24` and `fd07:0:0:SLOT::/64`.
pub(super) fn own_subnets(name: &str, vni: u32, slots: &str) -> Value {
    tenant(
        name,
        vni,
        1,
        json!({
            "mode": "l3",
            "underlay": "192.0.2.{slot}",
            "peers": {"places": {"slot": slots}},
            "ipam": {"type": "host-local", "ranges": [
                [{"subnet": "10.7.{slot}.0/24"}], [{"subnet": "fd07:0:0:{slot}::/64"}],
            ]},
        }),
    )
}

fn routed() {
    let fleet = Fleet::new(3);
    let before: Vec<_> = fleet.hosts.iter().map(look).collect();
    let red = own_subnets("red", 100, "1-3");
    let blue = own_subnets("blue", 200, "1-3");
    let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
    let reds: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &red, "red"))
        .collect();
    reach_each_other(&reds);
    let seen = capture.stop();
    for question in [
        "who-has",
        "solicitation, who has",
        "ff:ff:ff:ff:ff:ff, ethertype",
    ] {
        assert!(!seen.contains(question), "{seen}");
    }
    let blues: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &blue, "blue"))
        .collect();
    reach_each_other(&blues);
    blues[1].ip("link set eth0 down");
    assert!(!blues[0].reaches("10.7.2.2"));
    reds[0].ping("10.7.2.2");
    for place in [&reds[0], &blues[0]] {
        assert!(!place.reaches("192.0.2.1"), "the host is out of reach");
    }

    let result = Call::new(&fleet.hosts[0], Plugins::Slash24, &red);
    let again = fleet.hosts[0].container("again");
    let added = result.clone().attach(&again, "eth0").add().success();
    let check = |config: &Value| {
        Call::new(
            &fleet.hosts[0],
            Plugins::Slash24,
            &with_previous(config, &added),
        )
        .attach(&again, "eth0")
        .check()
    };
    check(&red).success();
    let error = check(&own_subnets("red", 100, "1-4")).failure();
    assert!(
        error["msg"].as_str().unwrap().contains("2 missing routes"),
        "{error}"
    );
    del(&red, &again);

    for (red_one, blue_one) in reds.iter().zip(&blues) {
        del(&red, red_one);
        del(&blue, blue_one);
    }
    for (host, before) in fleet.hosts.iter().zip(&before) {
        before.assert_same(&look(host), "after the last container");
    }
}

/// Subnets that follow from nothing are in the inventory.
fn listed() {
    let fleet = Fleet::new(2);
    let hosts = json!([
        {"underlay": "192.0.2.1", "subnets": ["10.70.0.0/24"]},
        {"underlay": "192.0.2.2", "subnets": ["10.80.0.0/24"]},
    ]);
    let mut containers = Vec::new();
    for (host, subnet) in fleet.hosts.iter().zip(["10.70.0.0/24", "10.80.0.0/24"]) {
        host.write("/etc/slash24/hosts.json", &hosts.to_string());
        let config = tenant(
            "red",
            100,
            1,
            json!({
                "mode": "l3",
                "isDefaultGateway": true,
                "peers": {"file": "/etc/slash24/hosts.json"},
                "ipam": {"type": "host-local", "subnet": subnet},
            }),
        );
        containers.push(attach(host, &config, "red"));
    }
    reach_each_other(&containers);
}

fn come_and_go() {
    let fleet = Fleet::new(3);
    let sync = |config: &Value| {
        let host = &fleet.hosts[0];
        host.write("/etc/cni/net.d/red.conf", &config.to_string());
        let call = Call::of(host, Plugins::Slash24, "slash24");
        let arguments = ["vxlan", "sync", "--output", "json"];
        call.arguments(arguments).execute().success()[0].clone()
    };
    let two = own_subnets("red", 100, "1-2");
    let three = own_subnets("red", 100, "1-3");
    let one = attach(&fleet.hosts[0], &two, "red");
    let far = attach(&fleet.hosts[2], &three, "red");
    assert!(!one.reaches("10.7.3.2"));
    let done = sync(&three);
    assert_eq!(done["added"].as_array().unwrap().len(), 5, "{done}");
    one.ping("10.7.3.2");
    reach(&far, "fd07:0:0:1::2");
    assert_eq!(sync(&three)["added"], json!([]));
    let done = sync(&two);
    assert_eq!(done["deleted"].as_array().unwrap().len(), 5, "{done}");
    assert!(!one.reaches("10.7.3.2"));
}

/// Tenants with the same subnet leave by one host at the same time, and answers find them; nobody
/// gets in, and none gets to another.
fn way_out() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    fleet.fabric.router(&["192.0.2.254/24", "2001:db8::254/64"]);
    host.default_route(&["192.0.2.254"]);
    host.default_route(&["2001:db8::254"]);
    // It routes already, as hosts with containers do.
    host.set_sysctl("net/ipv4/ip_forward", "1");
    host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    let before = look(host);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true});
    let networks =
        [("red", 100), ("blue", 200)].map(|(name, vni)| tenant(name, vni, 1, keys.clone()));
    let containers = [0, 1].map(|index| attach(host, &networks[index], ["red", "blue"][index]));
    for container in &containers {
        container.ping("192.0.2.254");
        reach(container, "2001:db8::254");
        let seen = container.tcp(&fleet.fabric, "192.0.2.254").unwrap();
        assert_eq!(
            seen.ip().to_string(),
            "192.0.2.1",
            "the host's address is seen"
        );
        let seen = container.tcp(&fleet.fabric, "2001:db8::254").unwrap();
        assert_eq!(seen.ip().to_string(), "2001:db8::1");
    }
    assert!(!fleet.fabric.reaches("10.9.1.2"));
    for others in ["240.0.0.200", "fd5b:24e1:90c7:24::c8"] {
        assert!(!containers[0].reaches(others), "another tenant's router");
    }
    for (network, container) in networks.iter().zip(&containers) {
        del(network, container);
    }
    before.assert_same(&look(host), "after the last container");
}

/// Large packets leave as they are, also when the uplink has been given its MTU later.
fn wide_way_out() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = tenant(
        "red",
        100,
        1,
        json!({"isDefaultGateway": true, "ipMasq": true}),
    );
    let one = attach(host, &red, "one");
    assert_eq!(host.link("vxup100").unwrap()["mtu"], 1450);
    host.ip("link set eth0 mtu 9000");
    host.write("/etc/cni/net.d/red.conf", &red.to_string());
    let sync = Call::of(host, Plugins::Slash24, "slash24")
        .arguments(["vxlan", "sync", "--output", "json"]);
    sync.execute().success();
    let two = attach(host, &red, "two");
    for name in ["vxup100", "vxgw100"] {
        assert_eq!(host.link(name).unwrap()["mtu"], 8950, "{name}");
    }
    for (container, address) in [(&two, "192.0.2.1"), (&two, "2001:db8::1")] {
        reach(container, address);
        assert!(whole(container, address, 8900), "{address}");
    }
    // A container that came before has what it had.
    assert!(whole(&one, "192.0.2.1", 1400) && !whole(&one, "192.0.2.1", 8900));
    del(&red, &one);
    del(&red, &two);
    let three = attach(host, &red, "three");
    assert_eq!(host.link("vxup100").unwrap()["mtu"], 8950);
    assert!(whole(&three, "192.0.2.1", 8900));
}

/// Whether a packet with so many bytes gets there and back in one piece.
fn whole(from: &Container<'_>, address: &str, size: u32) -> bool {
    let size = size.to_string();
    let ping = ["-c1", "-W2", "-Mdo", "-s", &size, address];
    let ping = from.run(|| std::process::Command::new("ping").args(ping).output());
    ping.expect("ping is there").status.success()
}

/// What a process leaves that is killed on its way to a router.
fn leftovers() {
    for state in [
        "link add vxgw100 type veth peer name x",
        "link add vxbr100 type bridge\nlink add vxgw100 type veth peer name x\nlink set vxgw100 master vxbr100",
    ] {
        let fleet = Fleet::new(1);
        let host = &fleet.hosts[0];
        host.ip("link add dummy100 type bridge\nlink delete dummy100");
        let before = look(host);
        host.ip(state);
        host.write("/run/netns/slash24-vx100", "");
        for config in [
            own_subnets("red", 100, "1"),
            tenant("red", 100, 1, json!({"gateway": "anycast"})),
        ] {
            let one = host.container("one");
            add(&config, &one);
            one.ping(if config["mode"] == "l3" {
                "10.7.1.1"
            } else {
                "10.9.0.1"
            });
            del(&config, &one);
            drop(one);
            before.assert_same(&look(host), state);
        }
    }
}
