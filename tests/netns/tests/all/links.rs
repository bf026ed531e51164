//! The keys of the plugins that give a container one link: `ipvlan`, `vlan`, `dummy`, `tap`, and what
//! `macvlan` has in common with them.

use libtest_mimic::Trial;
use netns::{
    Call, Container, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial, trial_needing,
};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, macvlan, network, with_previous};
use crate::remains::only_the_network_remains;

pub(crate) fn trials() -> Vec<Trial> {
    const IPVLAN: &[Feature] = &[Feature::Ipvlan];
    const VLAN: &[Feature] = &[Feature::Vlan];
    vec![
        trial("tap/keys/slash24", tap_keys),
        trial("tap/port-of-a-bridge-in-the-container/slash24", tap_bridge),
        trial("tap/selinuxContext-without-selinux/slash24", tap_selinux),
        trial("macvlan/status/slash24", status),
        trial("macvlan/check-finds-another-mode/slash24", check_mode),
        trial_needing(&[Feature::Dummy], "dummy/keys/slash24", dummy_keys),
        trial_needing(IPVLAN, "ipvlan/modes/slash24", ipvlan_modes),
        trial_needing(IPVLAN, "ipvlan/chained/slash24", ipvlan_chained),
        trial_needing(
            IPVLAN,
            "ipvlan/linkInContainer/slash24",
            ipvlan_in_container,
        ),
        trial_needing(IPVLAN, "ipvlan/announced-when-up/slash24", ipvlan_announced),
        trial_needing(VLAN, "vlan/announced-when-up/slash24", vlan_announced),
        trial_needing(VLAN, "vlan/vlans-are-apart/slash24", vlans_are_apart),
        trial_needing(
            VLAN,
            "vlan/one-container-a-vlan/slash24",
            one_container_a_vlan,
        ),
    ]
}

fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    (fabric, host)
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn of(plugin: &str, keys: Value) -> Value {
    network(plugin, "1.1.0", Family::Dual, keys)
}

fn link(place: &impl Namespace, name: &str) -> Value {
    place
        .link(name)
        .unwrap_or_else(|| panic!("there is no {name} in {}", place.name()))
}

fn data(place: &impl Namespace, name: &str) -> Value {
    link(place, name)["linkinfo"]["info_data"].clone()
}

fn tap_keys() {
    let host = Host::new("host");
    for (keys, expected) in [
        (json!({}), json!({"type": "tap", "persist": true})),
        (
            json!({"multiQueue": true, "owner": 64001, "group": 64002}),
            json!({"type": "tap", "persist": true, "multi_queue": true, "user": 64001, "group": 64002}),
        ),
    ] {
        let container = host.container("c");
        let mut keys = keys;
        keys["mac"] = "0a:00:00:00:00:07".into();
        keys["mtu"] = 1280.into();
        let config = of("tap", keys);
        let result = call(&container, &config).add().success();
        let (link, found) = (link(&container, "eth0"), data(&container, "eth0"));
        assert_eq!(link["mtu"], 1280);
        assert_eq!(link["address"], "0a:00:00:00:00:07");
        for (key, value) in expected.as_object().into_iter().flatten() {
            let found = match &found[key] {
                Value::String(text) => text.parse().map_or(json!(text), |n: u32| json!(n)),
                other => other.clone(),
            };
            assert_eq!(&found, value, "{key} in {link}");
        }
        let config = with_previous(&config, &result);
        call(&container, &config).check().success();
        container.ip("link set eth0 mtu 1400");
        let failure = call(&container, &config).check().failure();
        assert!(
            failure["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains("1280"))
        );
        call(&container, &config).del().success();
        assert!(container.link("eth0").is_none());
    }
}

fn tap_bridge() {
    let host = Host::new("host");
    let container = host.container("c");
    container.ip("link add vmbr type bridge\nlink set vmbr up");
    let config = of("tap", json!({"ipam": null, "bridge": "vmbr"}));
    let result = call(&container, &config).add().success();
    assert_eq!(link(&container, "eth0")["master"], "vmbr");
    let config = with_previous(&config, &result);
    call(&container, &config).check().success();
    container.ip("link set eth0 nomaster");
    call(&container, &config).check().failure();
    call(&container, &config).del().success();
}

fn tap_selinux() {
    let host = Host::new("host");
    let container = host.container("c");
    let before = [
        Snapshot::of(&host, &["/var/lib/cni"]),
        Snapshot::of(&container, &[]),
    ];
    let config = of(
        "tap",
        json!({"selinuxContext": "system_u:system_r:vm_t:s0"}),
    );
    let failure = call(&container, &config).add().failure();
    let message = failure["msg"].as_str().unwrap_or_default();
    assert!(message.contains("\"selinuxContext\""), "{message}");
    only_the_network_remains(&before[0], &Snapshot::of(&host, &["/var/lib/cni"]));
    before[1].assert_same(&Snapshot::of(&container, &[]), "after a failed ADD");
}

fn status() {
    let (_fabric, host) = on_fabric();
    let status = |keys| {
        let config = macvlan(Family::V4, keys);
        Call::new(&host, Plugins::Slash24, &config).command("STATUS")
    };
    status(json!({"cniVersion": "1.1.0"})).success();
    for keys in [
        json!({"cniVersion": "1.1.0", "master": "eth7"}),
        json!({"cniVersion": "1.1.0", "master": null}),
        json!({"cniVersion": "1.1.0", "mtu": 9000}),
    ] {
        assert_eq!(status(keys).failure()["code"], 50);
    }
    status(json!({"cniVersion": "1.1.0", "master": "eth7", "linkInContainer": true})).success();
    host.ip("link set eth0 down");
    let failure = status(json!({"cniVersion": "1.1.0"})).failure();
    assert_eq!(failure["code"], 50);
    assert!(
        failure["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("eth0 is down"))
    );
}

fn check_mode() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({"mode": "bridge"}));
    let result = call(&container, &config).add().success();
    let mut config = with_previous(&config, &result);
    call(&container, &config).check().success();
    config["mode"] = "private".into();
    let failure = call(&container, &config).check().failure();
    assert!(
        failure["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("mode"))
    );
}

fn dummy_keys() {
    let host = Host::new("host");
    let container = host.container("c").with_loopback();
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let config = of("dummy", json!({"mac": "0a:00:00:00:00:09"}));
    call(&container, &config).add().success();
    let found = link(&container, "eth0");
    assert_eq!(found["linkinfo"]["info_kind"], "dummy");
    assert_eq!(found["address"], "0a:00:00:00:00:09");
    assert_eq!(
        container.addresses("eth0"),
        ["10.1.2.2/24", "fd00:1:2::2/64"]
    );
    call(&container, &config).del().success();
    let result = call(&container, &config).add().success();
    call(&container, &with_previous(&config, &result))
        .check()
        .success();
    container.ip("link set eth0 down");
    call(&container, &with_previous(&config, &result))
        .check()
        .failure();
    for _ in 0..2 {
        call(&container, &config)
            .without("CNI_ARGS")
            .del()
            .success();
    }
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}

fn ipvlan_modes() {
    let (_fabric, host) = on_fabric();
    host.ip("route add default dev eth0");
    for mode in ["l2", "l3", "l3s"] {
        let containers = ["one", "two"].map(|id| host.container(id));
        let mut config = of("ipvlan", json!({"mode": mode, "mtu": 1300}));
        let mut results = Vec::new();
        for container in &containers {
            results.push(call(container, &config).add().success());
            assert_eq!(data(container, "eth0")["mode"], mode);
            assert_eq!(link(container, "eth0")["mtu"], 1300);
        }
        for address in containers[1].addresses("eth0") {
            containers[0].ping(address.split('/').next().unwrap_or_default());
        }
        if mode == "l2" {
            containers[0].ping("10.1.2.1");
        }
        config = with_previous(&config, &results[0]);
        call(&containers[0], &config).check().success();
        config["mode"] = if mode == "l2" { "l3" } else { "l2" }.into();
        call(&containers[0], &config).check().failure();
        for container in &containers {
            call(container, &config).del().success();
            assert!(container.link("eth0").is_none());
        }
    }
}

/// After another plugin it stands on that one's interface and takes its addresses over.
fn ipvlan_chained() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let mut config = of("ipvlan", json!({"ipam": null}));
    config["prevResult"] = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0"}],
        "ips": [{"address": "10.1.2.77/24", "gateway": "10.1.2.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    });
    let result = call(&container, &config).add().success();
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(1));
    assert_eq!(result["ips"][0]["address"], "10.1.2.77/24");
    assert_eq!(container.addresses("eth0"), ["10.1.2.77/24"]);
    container.ping("10.1.2.1");
    call(&container, &with_previous(&config, &result))
        .check()
        .success();
    call(&container, &with_previous(&config, &result))
        .del()
        .success();
    assert!(container.link("eth0").is_none());
}

fn ipvlan_in_container() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let below = macvlan(Family::V4, json!({"ipam": null}));
    Call::new(&host, Plugins::Slash24, &below)
        .attach(&container, "below")
        .add()
        .success();
    let config = of(
        "ipvlan",
        json!({"master": "below", "linkInContainer": true}),
    );
    let result = call(&container, &config).add().success();
    container.ping("10.1.2.1");
    call(&container, &with_previous(&config, &result))
        .check()
        .success();
    call(&container, &config).del().success();
    assert!(container.link("eth0").is_none() && container.link("below").is_some());
}

/// Neighbours that knew the address elsewhere learn at once where it is now.
fn ipvlan_announced() {
    let (fabric, host) = on_fabric();
    let other = Host::new("other");
    fabric.join(&other, "eth0", &[]);
    let (before, after) = (other.container("before"), host.container("after"));
    let config = of("ipvlan", json!({"master": "eth0"}));
    call(&before, &config).add().success();
    before.ping("10.1.2.1");
    before.ping("fd00:1:2::1");
    call(&before, &config).del().success();
    call(&after, &config).add().success();
    let now = link(&host, "eth0")["address"].clone();
    fabric.wait_until("the router has learnt the new place", || {
        let neighbours = fabric.ip_json("neighbour show");
        let known = |address: &str| {
            let mut list = neighbours.as_array().into_iter().flatten();
            list.any(|entry| entry["dst"] == address && entry["lladdr"] == now)
        };
        known("10.1.2.2") && known("fd00:1:2::2")
    });
}

/// A neighbour that believes in somebody else learns who has the address.
fn vlan_announced() {
    let fabric = Fabric::new();
    let hosts = ["one", "two"].map(Host::new);
    let attached = |number: usize| {
        fabric.join(&hosts[number], "eth0", &[]);
        let container = hosts[number].container("c");
        let mut config = of("vlan", json!({"master": "eth0", "vlanId": 7}));
        let start = format!("10.1.2.1{number}");
        config["ipam"]["ranges"] = json!([[{"subnet": "10.1.2.0/24", "rangeStart": start}]]);
        call(&container, &config).add().success();
        container
    };
    let neighbour = attached(0);
    let old = "lladdr 02:00:00:00:00:99 dev eth0 nud reachable";
    neighbour.ip(&format!("neighbour replace 10.1.2.11 {old}"));
    let now = link(&attached(1), "eth0")["address"].clone();
    neighbour.wait_until("the new owner is known", || {
        let known = neighbour.ip_json("neighbour show to 10.1.2.11");
        known[0]["lladdr"] == now
    });
}

fn vlans_are_apart() {
    let fabric = Fabric::new();
    let hosts = ["one", "two"].map(Host::new);
    let containers: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(number, host)| {
            fabric.join(host, "eth0", &[]);
            let container = host.container("c");
            let mut config = of("vlan", json!({"master": "eth0", "vlanId": 7}));
            config["ipam"]["ranges"] = json!([
                [{"subnet": "10.1.2.0/24", "rangeStart": format!("10.1.2.1{number}")}],
                [{"subnet": "fd00:1:2::/64", "rangeStart": format!("fd00:1:2::1{number}")}],
            ]);
            call(&container, &config).add().success();
            assert_eq!(data(&container, "eth0")["id"], 7);
            container
        })
        .collect();
    containers[0].ping("10.1.2.11");
    containers[0].ping("fd00:1:2::11");
    // The same segment without the VLAN is another one.
    fabric.router(&["10.1.2.1/24"]);
    assert!(!containers[0].reaches("10.1.2.1"));
}

fn one_container_a_vlan() {
    let (_fabric, host) = on_fabric();
    let containers = ["one", "two"].map(|id| host.container(id));
    let config = of("vlan", json!({"master": "eth0", "vlanId": 9}));
    let result = call(&containers[0], &config).add().success();
    let before = Snapshot::of(&containers[1], &[]);
    let failure = call(&containers[1], &config).add().failure();
    assert!(
        failure["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("\"vlanId\": VLAN 9 of eth0")),
        "{failure}"
    );
    before.assert_same(&Snapshot::of(&containers[1], &[]), "after a refused ADD");
    let mut config = with_previous(&config, &result);
    call(&containers[0], &config).check().success();
    config["vlanId"] = 10.into();
    call(&containers[0], &config).check().failure();
    call(&containers[0], &config).del().success();
    // The namespace's path is another container's by now.
    config["vlanId"] = 9.into();
    let living = call(&containers[1], &config);
    living.add().success();
    call(&containers[1], &config)
        .env("CNI_CONTAINERID", "one")
        .del()
        .success();
    assert!(containers[1].link("eth0").is_some());
    living.del().success();
}
