//! The keys of `bridge`, by what they do to packets and links.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, host_local, with_previous, without_metric};
use crate::subject::{both, ours, wait_for_the_gateway};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both(
            "bridge/containers-reach-each-other-and-the-gateway",
            containers_reach_each_other,
        ),
        both("bridge/isGateway-forwards", is_gateway_forwards),
        both(
            "bridge/without-isGateway-the-host-has-no-address",
            without_is_gateway,
        ),
        both(
            "bridge/isDefaultGateway-is-a-default-route",
            is_default_gateway,
        ),
        both(
            "bridge/isDefaultGateway-keeps-a-configured-default",
            configured_default,
        ),
        ours(
            "bridge/isDefaultGateway-besides-the-same-default",
            the_same_default,
        ),
        both("bridge/forceAddress-replaces-the-gateway", force_address),
        both("bridge/mtu-on-all-links", mtu),
        both("bridge/hairpinMode-on-the-port", hairpin),
        both("bridge/promiscMode-on-the-bridge", promiscuous),
        both("bridge/without-ipam-it-is-a-switch", without_ipam),
        both(
            "bridge/keys-match-without-regard-to-case",
            keys_without_regard_to_case,
        ),
        both("bridge/mac-of-the-bridge-is-pinned", mac_is_pinned),
        both(
            "bridge/del-leaves-the-other-container-alone",
            del_leaves_the_other_alone,
        ),
        both("bridge/mac-from-the-runtime", mac_from_the_runtime),
        ours(
            "bridge/mac-from-the-configuration",
            mac_from_the_configuration,
        ),
        both("bridge/dns-of-the-configuration", dns_of_the_configuration),
        ours("bridge/dns-of-resolvConf", dns_of_resolv_conf),
        both(
            "bridge/IPv6-where-it-is-off-by-default",
            ipv6_where_it_is_off,
        ),
        ours(
            "bridge/routes-with-all-their-keys",
            routes_with_all_their_keys,
        ),
        ours("bridge/thousands-of-routes", thousands_of_routes),
        ours("bridge/asyncDelete-true", || {
            del_returns_when_the_link_is_gone(true);
        }),
        ours("bridge/asyncDelete-false", || {
            del_returns_when_the_link_is_gone(false);
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Attaches and returns the result.
fn add(plugins: Plugins, config: &Value, container: &Container<'_>) -> Value {
    Call::new(container.host(), plugins, config)
        .attach(container, "eth0")
        .add()
        .success()
}

/// The veth's end on the host, which the result calls the second interface.
fn port(host: &Host, result: &Value) -> Value {
    let name = result["interfaces"][1]["name"]
        .as_str()
        .expect("the veth has a name");
    host.link(name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

/// The gateways of default routes, of both families.
fn default_gateways(container: &Container<'_>) -> Vec<Value> {
    ["-4", "-6"]
        .into_iter()
        .flat_map(|family| container.routes(family))
        .filter(|route| route["dst"] == "default")
        .map(|route| route["gateway"].clone())
        .collect()
}

fn containers_reach_each_other(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    for container in [&one, &two] {
        add(plugins, &bridge(Family::Dual, json!({})), container);
    }
    assert_eq!(host.addresses("br0"), ROUTER);
    wait_for_the_gateway(plugins, &one, "fd00:1:2::1");
    for address in ["10.1.2.1", "10.1.2.3", "fd00:1:2::1", "fd00:1:2::3"] {
        one.ping(address);
    }
    two.ping("10.1.2.2");
    two.ping("fd00:1:2::2");
    host.ping("10.1.2.3");
    host.ping("fd00:1:2::3");
}

fn is_gateway_forwards(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    assert_eq!(host.sysctl("net/ipv4/ip_forward"), "0");
    add(plugins, &bridge(Family::Dual, json!({})), &container);
    assert_eq!(host.sysctl("net/ipv4/ip_forward"), "1");
    assert_eq!(host.sysctl("net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(
        default_gateways(&container),
        Vec::<Value>::new(),
        "nobody asked for one"
    );
}

fn without_is_gateway(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    for container in [&one, &two] {
        add(
            plugins,
            &bridge(Family::V4, json!({"isGateway": false})),
            container,
        );
    }
    assert_eq!(host.addresses("br0"), Vec::<String>::new());
    assert_eq!(host.sysctl("net/ipv4/ip_forward"), "0");
    one.ping("10.1.2.3");
}

fn is_default_gateway(plugins: Plugins) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "eth0", &["192.0.2.11/24"]);
    let container = host.container("c");
    let result = add(
        plugins,
        &bridge(Family::Dual, json!({"isDefaultGateway": true})),
        &container,
    );
    assert_eq!(
        without_metric(plugins, &result)["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0", "gw": "fd00:1:2::1"}])
    );
    assert_eq!(default_gateways(&container), ["10.1.2.1", "fd00:1:2::1"]);
    container.ping("192.0.2.11");
}

fn configured_default(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let mut config = bridge(Family::V4, json!({"isDefaultGateway": true}));
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.1.2.254"}]);
    add(plugins, &config, &container);
    assert_eq!(default_gateways(&container), ["10.1.2.254"]);
}

/// The reference's fails here: the kernel takes no route twice.
fn the_same_default() {
    let host = Host::new("host");
    let container = host.container("c");
    let mut config = bridge(Family::Dual, json!({"isDefaultGateway": true}));
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    add(Plugins::Slash24, &config, &container);
    assert_eq!(default_gateways(&container), ["10.1.2.1", "fd00:1:2::1"]);
}

fn force_address(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    add(plugins, &bridge(Family::V4, json!({})), &one);
    let other = |force: bool| {
        let keys = json!({
            "name": "other",
            "ipam": host_local(&["10.9.9.0/24"]),
            "forceAddress": force,
        });
        Call::new(&host, plugins, &bridge(Family::V4, keys)).attach(&two, "eth0")
    };

    let refused = other(false).add().failure();
    let message = refused["msg"].as_str().unwrap_or_default();
    assert!(
        message.contains("10.9.9.1") || message.contains("different"),
        "{refused}"
    );
    assert_eq!(host.addresses("br0"), ["10.1.2.1/24"]);
    if plugins == Plugins::Slash24 {
        // Debian's leaves it to DEL.
        assert!(
            two.link("eth0").is_none(),
            "a refused container has no interface"
        );
    }

    other(true).del().success();
    other(true).add().success();
    assert_eq!(host.addresses("br0"), ["10.9.9.1/24"]);
    two.ping("10.9.9.1");
}

fn mtu(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let result = add(
        plugins,
        &bridge(Family::V4, json!({"mtu": 1342})),
        &container,
    );
    let links = [
        host.link("br0"),
        container.link("eth0"),
        Some(port(&host, &result)),
    ];
    for link in links.into_iter().flatten() {
        assert_eq!(link["mtu"], 1342, "{link}");
    }
}

fn hairpin(plugins: Plugins) {
    let host = Host::new("host");
    for (id, wanted) in [("plain", false), ("hairpin", true)] {
        let container = host.container(id);
        let result = add(
            plugins,
            &bridge(Family::V4, json!({"hairpinMode": wanted})),
            &container,
        );
        let port = port(&host, &result);
        assert_eq!(port["master"], "br0");
        assert_eq!(
            port["linkinfo"]["info_slave_data"]["hairpin"], wanted,
            "{port}"
        );
    }
}

fn promiscuous(plugins: Plugins) {
    let host = Host::new("host");
    let is_promiscuous = || {
        host.link("br0")
            .is_some_and(|link| link["promiscuity"] != 0)
    };
    add(
        plugins,
        &bridge(Family::V4, json!({})),
        &host.container("plain"),
    );
    assert!(!is_promiscuous());
    let container = host.container("promiscuous");
    add(
        plugins,
        &bridge(Family::V4, json!({"promiscMode": true})),
        &container,
    );
    assert!(is_promiscuous());
    container.ping("10.1.2.1");
}

fn without_ipam(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let config = json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "br0"});
    // Of addresses that there are not the host can be no router.
    let mut routed = config.clone();
    routed["isDefaultGateway"] = json!(true);
    for (container, address, config) in [
        (&one, "10.7.7.1/24", &config),
        (&two, "10.7.7.2/24", &routed),
    ] {
        let result = add(plugins, config, container);
        assert_eq!(
            result["interfaces"].as_array().map(Vec::len),
            Some(3),
            "{result}"
        );
        assert_eq!(result.get("ips"), None, "{result}");
        assert_eq!(container.addresses("eth0"), Vec::<String>::new());
        container.ip(&format!("address add {address} dev eth0"));
    }
    one.ping("10.7.7.2");
    for container in [&one, &two] {
        Call::new(&host, plugins, &config)
            .attach(container, "eth0")
            .del()
            .success();
        assert!(container.link("eth0").is_none());
    }
}

fn keys_without_regard_to_case(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let config = json!({
        "CNIVersion": "1.0.0", "Name": "n", "type": "bridge",
        "BRIDGE": "br7", "isgateway": true, "MTU": 1400,
        "IPAM": {"TYPE": "host-local", "SubNet": "10.1.2.0/24"},
    });
    let result = add(plugins, &config, &container);
    assert_eq!(result["cniVersion"], "1.0.0");
    assert_eq!(host.addresses("br7"), ["10.1.2.1/24"]);
    assert_eq!(
        container.link("eth0").map(|link| link["mtu"].clone()),
        Some(json!(1400))
    );
}

/// The kernel gives a bridge the lowest address of its ports unless told otherwise, and neighbours
/// would keep sending to the one it had before.
fn mac_is_pinned(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let config = bridge(Family::V4, json!({}));
    let result = add(plugins, &config, &container);
    let mac = || host.link("br0").expect("the bridge stays")["address"].clone();
    let first = mac();
    assert_eq!(result["interfaces"][0]["mac"], first);
    host.ip(
        "link add low address 02:00:00:00:00:01 type veth peer name other\n\
         link set low master br0 up",
    );
    assert_eq!(mac(), first);
    let del = Call::new(&host, plugins, &with_previous(&config, &result));
    del.attach(&container, "eth0").del().success();
    assert_eq!(mac(), first);
}

fn del_leaves_the_other_alone(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let config = bridge(Family::V4, json!({"ipMasq": true}));
    for container in [&one, &two] {
        add(plugins, &config, container);
    }
    Call::new(&host, plugins, &config)
        .attach(&one, "eth0")
        .del()
        .success();
    assert!(one.link("eth0").is_none());
    two.ping("10.1.2.1");
    let leases = host.run(|| std::fs::read_dir("/var/lib/cni/networks/n").map(Iterator::count));
    let lease = |address: &str| host.read(&format!("/var/lib/cni/networks/n/{address}"));
    assert_eq!(lease("10.1.2.2"), None, "{leases:?} files");
    assert_eq!(lease("10.1.2.3").as_deref(), Some("two\r\neth0"));
}

/// DEL may leave the kernel's waiting to a child, but not the link. The child must not keep the
/// plugin's output open either: runtimes read it to its end.
fn del_returns_when_the_link_is_gone(asynchronous: bool) {
    let host = Host::new("host");
    for _ in 0..5 {
        let container = host.container("c");
        let config = bridge(Family::V4, json!({"asyncDelete": asynchronous}));
        let result = add(Plugins::Slash24, &config, &container);
        let port = result["interfaces"][1]["name"]
            .as_str()
            .expect("the veth has a name");
        Call::new(&host, Plugins::Slash24, &config)
            .attach(&container, "eth0")
            .del()
            .success();
        assert!(container.link("eth0").is_none());
        assert!(host.link(port).is_none(), "{port} is still there");
    }
}

const MAC: &str = "02:42:ac:11:00:02";

fn mac_from_the_runtime(plugins: Plugins) {
    let host = Host::new("host");
    let mac = |container: &Container<'_>| container.link("eth0").map(|it| it["address"].clone());
    let container = host.container("capability");
    let keys = json!({"capabilities": {"mac": true}, "runtimeConfig": {"mac": MAC}});
    let result = add(plugins, &bridge(Family::V4, keys), &container);
    assert_eq!(result["interfaces"][2]["mac"], MAC);
    assert_eq!(mac(&container), Some(json!(MAC)));

    let container = host.container("args");
    let call = Call::new(&host, plugins, &bridge(Family::V4, json!({})));
    let other = "02:42:ac:11:00:03";
    let call = call
        .attach(&container, "eth0")
        .env("CNI_ARGS", format!("IgnoreUnknown=1;MAC={other}"));
    call.add().success();
    assert_eq!(mac(&container), Some(json!(other)));
}

fn mac_from_the_configuration() {
    let host = Host::new("host");
    let container = host.container("c");
    let result = add(
        Plugins::Slash24,
        &bridge(Family::V4, json!({"mac": MAC})),
        &container,
    );
    assert_eq!(result["interfaces"][2]["mac"], MAC);
    container.ping("10.1.2.1");
}

fn dns_of_the_configuration(plugins: Plugins) {
    let host = Host::new("host");
    let dns = json!({"nameservers": ["10.1.2.1"], "domain": "example", "search": ["a", "b"]});
    let config = bridge(Family::V4, json!({"dns": dns}));
    assert_eq!(add(plugins, &config, &host.container("c"))["dns"], dns);
}

fn dns_of_resolv_conf() {
    let host = Host::new("host");
    host.write(
        "/run/resolv.conf",
        "search a b\nnameserver 10.1.2.1\noptions ndots:2\n",
    );
    let mut config = bridge(Family::V4, json!({}));
    config["ipam"]["resolvConf"] = "/run/resolv.conf".into();
    let dns = json!({"nameservers": ["10.1.2.1"], "search": ["a", "b"], "options": ["ndots:2"]});
    assert_eq!(
        add(Plugins::Slash24, &config, &host.container("c"))["dns"],
        dns
    );
}

/// Some runtimes switch IPv6 off in new namespaces; a network that has it is worth more.
fn ipv6_where_it_is_off(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    for key in ["all", "default"] {
        container.set_sysctl(&format!("net/ipv6/conf/{key}/disable_ipv6"), "1");
    }
    add(plugins, &bridge(Family::V6, json!({})), &container);
    wait_for_the_gateway(plugins, &container, "fd00:1:2::1");
    container.ping("fd00:1:2::1");
    container.ip("link set lo up");
    container.ping("fd00:1:2::2");
}

/// More than fit into one message to the kernel.
fn thousands_of_routes() {
    const COUNT: usize = 5000;
    let host = Host::new("host");
    let container = host.container("c");
    let mut config = bridge(Family::V6, json!({}));
    let route = |number: usize| json!({"dst": format!("fd01:{number:x}::/48")});
    config["ipam"]["routes"] = (0..COUNT).map(route).collect();
    let result = add(Plugins::Slash24, &config, &container);
    assert_eq!(result["routes"].as_array().map(Vec::len), Some(COUNT));
    let set = container.routes("-6");
    let by_gateway = set.iter().filter(|route| route["gateway"].is_string());
    assert_eq!(by_gateway.count(), COUNT);
    container.ping("fd00:1:2::1");
}

fn routes_with_all_their_keys() {
    let host = Host::new("host");
    let container = host.container("c");
    let mut config = bridge(Family::V4, json!({"cniVersion": "1.1.0"}));
    let routes = json!([
        {"dst": "10.20.0.0/16", "gw": "10.1.2.254", "mtu": 1300, "advmss": 1200, "priority": 77},
        {"dst": "10.30.0.0/16", "table": 100, "priority": 5},
        {"dst": "10.40.0.0/16", "scope": 253},
    ]);
    config["ipam"]["routes"] = routes.clone();
    let result = add(Plugins::Slash24, &config, &container);
    assert_eq!(result["routes"], routes);

    let find = |table: &str, to: &str| {
        let routes = container.ip_json(&format!("-4 route show table {table}"));
        let found = routes
            .as_array()
            .into_iter()
            .flatten()
            .find(|route| route["dst"] == to);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no route to {to} in {routes:#}"))
    };
    let route = find("main", "10.20.0.0/16");
    assert_eq!(route["gateway"], "10.1.2.254");
    assert_eq!(route["metric"], 77);
    assert_eq!(route["metrics"][0], json!({"mtu": 1300, "advmss": 1200}));
    let route = find("100", "10.30.0.0/16");
    assert_eq!(
        (&route["gateway"], &route["metric"]),
        (&json!("10.1.2.1"), &json!(5))
    );
    assert_eq!(find("main", "10.40.0.0/16")["scope"], "link");
}
