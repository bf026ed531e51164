//! The keys of `macvlan`, and containers of several hosts on one segment.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan, with_previous};
use crate::subject::{both, label, ours};

pub(crate) fn trials() -> Vec<Trial> {
    let modes = ["bridge", "private", "vepa", "passthru"]
        .into_iter()
        .flat_map(|mode| {
            [Plugins::Slash24, Plugins::Debian].map(|plugins| {
                let name = format!("macvlan/mode-{mode}/{}", label(plugins));
                trial(name, move || has_mode(plugins, mode))
            })
        });
    [
        both(
            "macvlan/containers-of-two-hosts-reach-each-other",
            containers_of_two_hosts,
        ),
        both(
            "macvlan/master-defaults-to-the-default-route",
            default_master,
        ),
        ours(
            "macvlan/master-defaults-to-a-multipath-default-route/IPv4",
            || {
                multipath_default_master(&["10.0.0.1", "10.1.0.1"]);
            },
        ),
        ours(
            "macvlan/master-defaults-to-a-multipath-default-route/IPv6",
            || {
                multipath_default_master(&["fd00:0::1", "fd00:1::1"]);
            },
        ),
        both("macvlan/mode-private-isolates", private_isolates),
        both("macvlan/mtu", mtu),
        both(
            "macvlan/mac-from-the-configuration",
            mac_from_the_configuration,
        ),
        both("macvlan/mac-from-the-runtime", mac_from_the_runtime),
        ours("macvlan/linkInContainer", link_in_container),
        ours("macvlan/bcqueuelen", broadcast_queue),
        both("macvlan/without-ipam-it-is-a-port", without_ipam),
        both("macvlan/an-address-twice", an_address_twice),
        ours("macvlan/beside-passthru", beside_passthru),
    ]
    .into_iter()
    .flatten()
    .chain(modes)
    .collect()
}

/// A host on a fabric whose router has the gateways' addresses.
fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &["10.1.2.200/24"]);
    (fabric, host)
}

fn add(plugins: Plugins, config: &Value, container: &Container<'_>, interface: &str) -> Value {
    Call::new(container.host(), plugins, config)
        .attach(container, interface)
        .add()
        .success()
}

/// The container's interface, which must be a macvlan.
fn interface(container: &Container<'_>, name: &str) -> Value {
    let link = container
        .link(name)
        .unwrap_or_else(|| panic!("there is no {name}"));
    assert_eq!(link["linkinfo"]["info_kind"], "macvlan", "{link}");
    link
}

fn index(host: &impl Namespace, name: &str) -> Value {
    host.link(name)
        .unwrap_or_else(|| panic!("there is no {name}"))["ifindex"]
        .clone()
}

fn containers_of_two_hosts(plugins: Plugins) {
    let fabric = Fabric::new();
    fabric.router(&ROUTER);
    let hosts = ["one", "two"].map(Host::new);
    let containers = [0, 1].map(|number| {
        let host: &Host = &hosts[number];
        fabric.join(host, "eth0", &[]);
        let container = host.container("c");
        let mut config = macvlan(Family::Dual, json!({}));
        // Each host has a part of the segment's subnet for itself.
        let start = 10 * (number + 1);
        config["ipam"]["ranges"] = json!([
            [{"subnet": "10.1.2.0/24", "rangeStart": format!("10.1.2.{start}")}],
            [{"subnet": "fd00:1:2::/64", "rangeStart": format!("fd00:1:2::{start}")}],
        ]);
        config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        add(plugins, &config, &container, "eth0");
        container
    });
    for address in ["10.1.2.20", "fd00:1:2::20", "10.1.2.1", "fd00:1:2::1"] {
        containers[0].ping(address);
    }
    containers[1].ping("10.1.2.10");
    containers[1].ping("fd00:1:2::10");
}

fn default_master(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    host.ip("link add other type veth peer name unused\nlink set other up");
    host.default_route(&["10.1.2.1"]);
    let container = host.container("c");
    add(
        plugins,
        &macvlan(Family::V4, json!({"master": null})),
        &container,
        "eth0",
    );
    assert_eq!(
        interface(&container, "eth0")["link_index"],
        index(&host, "eth0")
    );
    container.ping("10.1.2.1");
}

/// With two top-of-rack routers the default route has two next hops and no interface of its own.
fn multipath_default_master(gateways: &[&str]) {
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
    host.default_route(gateways);
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({"master": null}));
    add(Plugins::Slash24, &config, &container, "eth0");
    assert_eq!(
        interface(&container, "eth0")["link_index"],
        index(&host, "eth0"),
        "the first hop"
    );
}

fn has_mode(plugins: Plugins, mode: &str) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    add(
        plugins,
        &macvlan(Family::V4, json!({"mode": mode})),
        &container,
        "eth0",
    );
    assert_eq!(
        interface(&container, "eth0")["linkinfo"]["info_data"]["mode"],
        mode
    );
    container.ping("10.1.2.1");
}

fn private_isolates(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    for container in [&one, &two] {
        add(
            plugins,
            &macvlan(Family::V4, json!({"mode": "private"})),
            container,
            "eth0",
        );
    }
    assert!(
        !one.reaches("10.1.2.3"),
        "containers of one master do not see each other"
    );
    one.ping("10.1.2.1");
    two.ping("10.1.2.1");
}

fn mtu(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    for (id, keys, expected) in [
        ("own", json!({"mtu": 1400}), 1400),
        ("masters", json!({}), 1500),
    ] {
        let container = host.container(id);
        add(plugins, &macvlan(Family::V4, keys), &container, "eth0");
        assert_eq!(interface(&container, "eth0")["mtu"], expected, "{id}");
    }
    let container = host.container("too-large");
    let config = macvlan(Family::V4, json!({"mtu": 1501}));
    let refused = Call::new(&host, plugins, &config)
        .attach(&container, "eth0")
        .add()
        .failure();
    assert!(
        refused["msg"]
            .as_str()
            .is_some_and(|text| text.contains("1501")),
        "{refused}"
    );
    assert!(container.link("eth0").is_none());
}

const MAC: &str = "02:42:ac:11:00:02";

fn mac_from_the_configuration(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let result = add(
        plugins,
        &macvlan(Family::V4, json!({"mac": MAC})),
        &container,
        "eth0",
    );
    assert_eq!(result["interfaces"][0]["mac"], MAC);
    assert_eq!(interface(&container, "eth0")["address"], MAC);
}

fn mac_from_the_runtime(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let keys = json!({"capabilities": {"mac": true}, "runtimeConfig": {"mac": MAC}});
    add(plugins, &macvlan(Family::V4, keys), &container, "eth0");
    assert_eq!(interface(&container, "eth0")["address"], MAC);

    let container = host.container("args");
    let config = macvlan(Family::V4, json!({}));
    let mac = "02:42:ac:11:00:03";
    let call = Call::new(&host, plugins, &config).attach(&container, "eth0");
    call.env("CNI_ARGS", format!("IgnoreUnknown=1;MAC={mac}"))
        .add()
        .success();
    assert_eq!(interface(&container, "eth0")["address"], mac);
}

fn link_in_container() {
    let host = Host::new("host");
    let container = host.container("c");
    add(
        Plugins::Slash24,
        &bridge(Family::V4, json!({})),
        &container,
        "eth0",
    );
    let keys = json!({"name": "inner", "linkInContainer": true});
    let mut config = macvlan(Family::V4, keys);
    config["ipam"]["ranges"] = json!([[{"subnet": "10.8.8.0/24"}]]);
    add(Plugins::Slash24, &config, &container, "net1");
    // `ip` names the parent of a link where both are in one namespace.
    assert_eq!(interface(&container, "net1")["link"], "eth0");
    host.ip("address add 10.8.8.1/24 dev br0");
    container.ping("10.8.8.1");
}

fn broadcast_queue() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({"bcqueuelen": 4321}));
    add(Plugins::Slash24, &config, &container, "eth0");
    assert_eq!(
        interface(&container, "eth0")["linkinfo"]["info_data"]["bcqueuelen"],
        4321
    );
}

fn without_ipam(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({"ipam": null}));
    let result = add(plugins, &config, &container, "eth0");
    assert_eq!(result.get("ips"), None, "{result}");
    container.ip("address add 10.1.2.50/24 dev eth0");
    container.ping("10.1.2.1");
    Call::new(&host, plugins, &config)
        .attach(&container, "eth0")
        .del()
        .success();
    assert!(container.link("eth0").is_none());
}

/// Whether two may have one address is not the plugin's to say: their frames stay apart.
fn an_address_twice(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let addresses = json!({"type": "static", "addresses": [{"address": "10.1.2.77/24"}]});
    let config = macvlan(Family::V4, json!({"ipam": addresses}));
    let result = add(plugins, &config, &one, "eth0");
    let second = add(plugins, &config, &two, "eth0");
    let mac = |result: &Value| result["interfaces"][0]["mac"].clone();
    assert_ne!(mac(&result), mac(&second));
    assert_eq!(interface(&two, "eth0")["address"], mac(&second));
    assert_eq!(two.addresses("eth0"), ["10.1.2.77/24"]);
    two.ping("10.1.2.1");
    if plugins == Plugins::Slash24 {
        let again = with_previous(&config, &second);
        let call = Call::new(&host, plugins, &again).attach(&two, "eth0");
        call.check().success();
        let mut host_access = config.clone();
        host_access["hostAccess"] = json!(true);
        host_access["name"] = json!("other");
        let third = host.container("three");
        add(plugins, &host_access, &third, "eth0");
        let seen = third.link("eth0").expect("it is attached")["address"].clone();
        let known = host.ip_json("neighbour show nud permanent").to_string();
        assert!(known.contains(seen.as_str().unwrap_or("none")), "{known}");
    }
}

fn beside_passthru() {
    let (_fabric, host) = on_fabric();
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let alone = macvlan(Family::V4, json!({"mode": "passthru"}));
    add(Plugins::Slash24, &alone, &one, "eth0");
    let call = Call::new(&host, Plugins::Slash24, &macvlan(Family::V4, json!({})));
    let failure = call.attach(&two, "eth0").add().failure();
    let message = failure["msg"].as_str().unwrap_or_default();
    assert!(
        message.contains("\"master\": eth0 takes no macvlan link") && message.contains("passthru"),
        "{failure}"
    );
    assert!(two.link("eth0").is_none());
}
