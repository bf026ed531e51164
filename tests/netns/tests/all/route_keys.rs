//! What is said about routes holds with every plugin that sets them.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial_needing};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, choices, host_local, merge, network, with_previous};

/// A plugin, its keys, and what it needs of the kernel.
struct Kind(&'static str, fn() -> Value, &'static [Feature]);

const KINDS: &[Kind] = &[
    Kind("bridge", || json!({"isGateway": true}), &[]),
    Kind("macvlan", || json!({"master": "eth0"}), &[]),
    Kind("ptp", || json!({}), &[]),
    Kind("host-device", || json!({"device": "spare0"}), &[]),
    Kind("tap", || json!({}), &[]),
    Kind("vxlan", vxlan, &[]),
    Kind("ipvlan", || json!({"master": "eth0"}), &[Feature::Ipvlan]),
    Kind("vlan", vlan, &[Feature::Vlan]),
    Kind("dummy", || json!({}), &[Feature::Dummy]),
];

/// Those that are on the segment of the host's own interfaces.
const ON_SEGMENT: [&str; 4] = ["macvlan", "host-device", "ipvlan", "vlan"];

fn vxlan() -> Value {
    json!({"vni": 7, "underlay": "192.0.2.1", "peers": {"static": ["192.0.2.1"]}, "gateway": "anycast"})
}

fn vlan() -> Value {
    json!({"master": "eth0", "vlanId": 7})
}

pub(crate) fn trials() -> Vec<Trial> {
    let keys = KINDS.iter().map(|kind| {
        let name = format!("route-keys/{}/slash24", kind.0);
        trial_needing(kind.2, name, || all_keys(kind))
    });
    let on_segment = KINDS.iter().filter(|kind| ON_SEGMENT.contains(&kind.0));
    let choices = on_segment.map(|kind| {
        let name = format!("route-keys/default-and-by-source-of-{}/slash24", kind.0);
        trial_needing(kind.2, name, || default_and_by_source(kind))
    });
    keys.chain(choices).collect()
}

fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "eth0", &["192.0.2.1/24"]);
    fabric.join(&host, "spare0", &[]);
    (fabric, host)
}

fn call<'h>(container: &Container<'h>, config: &Value, interface: &str) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, interface)
}

fn all_keys(kind: &Kind) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = Snapshot::of(&container, &[]);
    let mut config = network(kind.0, "1.1.0", Family::Dual, (kind.1)());
    config["ipam"]["routes"] = json!([
        {"dst": "198.51.100.0/24", "gw": "10.1.2.1", "mtu": 1300, "advmss": 1200, "priority": 77},
        {"dst": "203.0.113.0/24", "table": 100, "scope": 253},
        {"dst": "2001:db8:1::/48", "mtu": 1290, "advmss": 1210, "priority": 88, "table": 101},
    ]);
    let result = call(&container, &config, "eth0").add().success();
    let route = |table: &str, to: &str| {
        let family = if to.contains(':') { "-6" } else { "-4" };
        let question = format!("-details {family} route show table {table} to {to}");
        let routes = container.ip_json(&question);
        let [only] = routes.as_array().map_or(&[][..], Vec::as_slice) else {
            panic!("one route to {to} is expected: {routes}");
        };
        only.clone()
    };
    let found = route("main", "198.51.100.0/24");
    assert_eq!(found["metrics"][0], json!({"mtu": 1300, "advmss": 1200}));
    assert_eq!(
        (&found["metric"], &found["gateway"]),
        (&json!(77), &json!("10.1.2.1"))
    );
    let found = route("100", "203.0.113.0/24");
    assert_eq!(
        (&found["scope"], found.get("gateway")),
        (&json!("link"), None)
    );
    let found = route("101", "2001:db8:1::/48");
    assert_eq!(found["metrics"][0], json!({"mtu": 1290, "advmss": 1210}));
    assert_eq!(
        (&found["metric"], &found["gateway"]),
        (&json!(88), &json!("fd00:1:2::1"))
    );

    let checked = call(&container, &with_previous(&config, &result), "eth0");
    checked.check().success();
    container.ip("route delete 203.0.113.0/24 table 100");
    let failure = checked.check().failure();
    let message = failure["msg"].as_str().unwrap_or_default();
    assert!(message.contains("203.0.113.0/24"), "{failure}");
    checked.del().success();
    before.assert_same(&Snapshot::of(&container, &[]), "after DEL");
}

/// The far end of requests, behind the segment's router.
const FAR: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

/// The router on the segment, which talks to its neighbours as one that is far away.
fn far_away(fabric: &Fabric, kind: &Kind) {
    let mut interface = "fabric";
    if kind.0 == "vlan" {
        interface = "fabric.7";
        fabric.ip("link add link fabric name fabric.7 type vlan id 7\nlink set fabric.7 up");
    }
    for (far, router) in FAR.into_iter().zip(ROUTER) {
        let subnet = if far.contains(':') {
            "fd00:1:2::/64"
        } else {
            "10.1.2.0/24"
        };
        let nodad = if far.contains(':') { "nodad" } else { "" };
        fabric.ip(&format!(
            "address add {far} dev lo {nodad}\n\
             address add {router} dev {interface} noprefixroute {nodad}\n\
             route add {subnet} dev {interface} src {far}"
        ));
    }
}

/// A container whose first interface leads nowhere: the second one's network has its default route
/// if it says so, and what comes in by it is answered by it in any case.
fn default_and_by_source(kind: &Kind) {
    let (fabric, host) = on_fabric();
    far_away(&fabric, kind);
    let container = host.container("c");
    let leads_nowhere = bridge(
        Family::Dual,
        json!({"name": "back", "bridge": "br9", "isDefaultGateway": true,
            "ipam": host_local(&["10.9.9.0/24", "fd00:9:9::/64"])}),
    );
    call(&container, &leads_nowhere, "eth0").add().success();
    let look = || Snapshot::of(&container, &[]).without(|key| key.starts_with("neighbour "));
    let before = look();
    let everywhere = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    for (keys, is_default, is_answered) in choices() {
        let mut config = network(kind.0, "1.1.0", Family::Dual, (kind.1)());
        config["ipam"]["routes"] = everywhere.clone();
        merge(&mut config, keys.clone());
        let result = call(&container, &config, "eth1").add().success();
        container.ping("10.1.2.1");
        for (far, own) in FAR.into_iter().zip(container.addresses("eth1")) {
            let way = container.ip_json(&format!("route get {far}"));
            let by = if is_default { "eth1" } else { "eth0" };
            assert_eq!(way[0]["dev"], by, "{far} with {keys}");
            if is_default {
                container.ping(far);
            }
            let own = own.split('/').next().unwrap_or_default();
            let answered = fabric.tcp(&container, own);
            assert_eq!(
                answered.is_ok(),
                is_answered,
                "{own} with {keys}: {answered:?}"
            );
        }
        let previous = with_previous(&config, &result);
        call(&container, &previous, "eth1").check().success();
        call(&container, &previous, "eth1").del().success();
        before.assert_same(&look(), &format!("after DEL with {keys}"));
    }
}
