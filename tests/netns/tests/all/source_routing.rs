//! Replies leave by the interface that the request came in on.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::{host_local, merge, with_previous};
use crate::subject::{both, label, newest, ours};

const OURS: Plugins = Plugins::Slash24;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours(
            "source-routing/replies-leave-by-where-they-came-in",
            replies,
        ),
        ours("source-routing/again-over-leftovers", again),
        ours("source-routing/without-a-default-route", without_default),
        ours("source-routing/on-a-cable", on_a_cable),
        both("sbr/replies-leave-by-where-they-came-in", sbr_replies),
        both("sbr/routes-move-to-tables-from-100", sbr_tables),
        ours("sbr/fixed-table", sbr_fixed_table),
        ours("sbr/gateways-and-source-hints", sbr_gateways),
        ours("sbr/idempotent-and-gone", sbr_idempotent),
        ours("sbr/delegate", sbr_delegate),
        ours("sbr/refuses", sbr_refuses),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The far ends of requests: addresses behind the fabric's router.
const FAR: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

/// Two networks, each with a router of its own that knows the way to the far end, and no other way
/// between them: what leaves by the wrong one has an address that is filtered there.
fn two_networks() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&[
        "10.1.0.1/24",
        "fd00:1::1/64",
        "192.0.2.1/24",
        "2001:db8::1/64",
    ]);
    for address in FAR {
        fabric.ip(&format!("address add {address} dev lo"));
    }
    fabric.join(&host, "eth0", &["192.0.2.11/24", "2001:db8::11/64"]);
    host.default_route(&["192.0.2.1"]);
    host.default_route(&["2001:db8::1"]);
    fabric.route("10.2.0.0/24", "192.0.2.11");
    fabric.route("fd00:2::/64", "2001:db8::11");
    (fabric, host)
}

fn network(number: usize, keys: Value) -> Value {
    let name = format!("net{number}");
    let number = number + 1;
    let mut ipam = host_local(&[
        &format!("10.{number}.0.0/24"),
        &format!("fd00:{number}::/64"),
    ]);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let mut config = json!({"cniVersion": "1.0.0", "name": name, "ipam": ipam});
    let kind = match number {
        1 => json!({"type": "macvlan", "master": "eth0"}),
        _ => json!({"type": "bridge", "bridge": "br1", "isGateway": true}),
    };
    merge(&mut config, kind);
    merge(&mut config, keys);
    config
}

fn call<'h>(
    plugins: Plugins,
    container: &Container<'h>,
    number: usize,
    config: &Value,
) -> Call<'h> {
    Call::new(container.host(), plugins, config).attach(container, &format!("eth{number}"))
}

/// Whether requests to all addresses of a container are answered, each by the interface that it
/// came in on: what comes out of the other one is counted.
fn all_are_answered(fabric: &Fabric, container: &Container<'_>) {
    for (interface, v4, v6) in [
        ("eth0", "10.1.0.", "fd00:1::"),
        ("eth1", "10.2.0.", "fd00:2::"),
    ] {
        let other = if interface == "eth0" { "eth1" } else { "eth0" };
        for (prefix, family, far) in [(v4, "ip", FAR[0]), (v6, "ip6", FAR[1])] {
            let own = container
                .addresses(interface)
                .into_iter()
                .find(|own| own.starts_with(prefix));
            let own = own.unwrap_or_else(|| panic!("{interface} has no address in {prefix}"));
            let address = own.split('/').next().expect("it has a prefix length");
            container.nft(&format!(
                "table inet watch {{ chain out {{ type filter hook output priority 0; \
                 {family} daddr {far} oifname {other} counter drop; }}; }}\n"
            ));
            fabric.tcp(container, address).unwrap_or_else(|error| {
                let rules =
                    ["-4", "-6"].map(|family| container.ip_json(&format!("{family} rule show")));
                let routes = ["-4", "-6"]
                    .map(|family| container.ip_json(&format!("{family} route show table all")));
                panic!("{address} on {interface}: {error}\n{rules:#?}\n{routes:#?}")
            });
            container.nft("delete table inet watch\n");
        }
    }
}

fn rules(container: &Container<'_>) -> Vec<String> {
    let told = |rule: Value| format!("{} {}", rule["src"].as_str().unwrap_or("?"), rule["table"]);
    let all = ["-4", "-6"].into_iter().flat_map(|family| {
        match container.ip_json(&format!("{family} rule show")) {
            Value::Array(rules) => rules,
            other => panic!("rules: {other}"),
        }
    });
    all.filter(|rule| rule["src"] != "all").map(told).collect()
}

fn replies() {
    let (fabric, host) = two_networks();
    for order in [[0, 1], [1, 0]] {
        let container = host.container("c");
        let calls: Vec<_> = (0..2)
            .map(|number| {
                let config = network(number, json!({"sourceRouting": true}));
                (call(OURS, &container, number, &config), config)
            })
            .collect();
        let mut results = vec![Value::Null; 2];
        for number in order {
            results[number] = calls[number].0.add().success();
        }
        all_are_answered(&fabric, &container);
        for ((call, config), result) in calls.iter().zip(&results) {
            let later = call
                .clone()
                .stdin(&with_previous(config, result).to_string());
            later.check().success();
        }
        let table = crate::network::metric(1) - 1_010_000_000 + 24_000_000;
        container.ip(&format!(
            "rule del from 10.2.0.{} table {table}",
            address(&results[1])
        ));
        let (call, config) = &calls[1];
        let error = call
            .clone()
            .stdin(&with_previous(config, &results[1]).to_string())
            .check()
            .failure();
        assert!(
            error["msg"]
                .as_str()
                .is_some_and(|text| text.contains("rules in the container: expected 10.2.0.")),
            "{error}"
        );
        for number in order {
            calls[number].0.del().success();
        }
        assert_eq!(rules(&container), Vec::<String>::new());
    }
}

/// The last number of a result's first address.
fn address(result: &Value) -> String {
    let address = result["ips"][0]["address"].as_str().expect("there is one");
    let address = address.split('/').next().expect("it has a prefix length");
    address.rsplit('.').next().expect("it is IPv4").to_owned()
}

fn again() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    let configs = [0, 1].map(|number| network(number, json!({"sourceRouting": true})));
    for _ in 0..2 {
        for (number, config) in configs.iter().enumerate() {
            call(OURS, &container, number, config).add().success();
        }
    }
    assert_eq!(rules(&container).len(), 4, "{:?}", rules(&container));
    all_are_answered(&fabric, &container);
    // The link goes without a DEL; the rules are found all the same.
    container.ip("link del eth0");
    for (number, config) in configs.iter().enumerate() {
        call(OURS, &container, number, config).del().success();
    }
    assert_eq!(rules(&container), Vec::<String>::new());
    call(OURS, &container, 0, &configs[0])
        .env("CNI_NETNS", "/run/netns/gone")
        .del()
        .success();
    let bad = network(0, json!({"sourceRouting": "yes"}));
    let error = call(OURS, &container, 0, &bad).add().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("\"sourceRouting\": \"yes\"")),
        "{error}"
    );
    call(OURS, &container, 0, &bad).del().success();
}

/// A network that is no way out for the container still answers whoever comes in by it.
fn without_default() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    call(
        OURS,
        &container,
        0,
        &network(0, json!({"defaultRoute": false, "sourceRouting": true})),
    )
    .add()
    .success();
    call(
        OURS,
        &container,
        1,
        &network(1, json!({"sourceRouting": true})),
    )
    .add()
    .success();
    assert_eq!(
        container
            .routes("-4")
            .iter()
            .filter(|route| route["dst"] == "default")
            .count(),
        1
    );
    all_are_answered(&fabric, &container);
}

/// The subnet of a cable is behind its gateway, also in the table of its own.
fn on_a_cable() {
    let (fabric, host) = two_networks();
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    for container in [&one, &two] {
        call(OURS, container, 0, &network(0, json!({})))
            .add()
            .success();
        let mut cable = network(1, json!({"sourceRouting": true, "type": "ptp"}));
        merge(&mut cable, json!({"bridge": null, "isGateway": null}));
        let result = call(OURS, container, 1, &cable).add().success();
        let later = with_previous(&cable, &result);
        call(OURS, container, 1, &later).check().success();
    }
    all_are_answered(&fabric, &one);
    for (from, to) in [("10.2.0.2", "10.2.0.3"), ("fd00:2::2", "fd00:2::3")] {
        let found = one.ip_json(&format!("route get {to} from {from}"));
        assert_eq!(found[0]["dev"], "eth1", "{found}");
        assert!(found[0]["gateway"].is_string(), "{found}");
        one.tcp(&two, to)
            .expect("the other container of the network answers");
    }
}

/// `sbr` after an interface plugin of the same implementation.
fn chained(
    plugins: Plugins,
    container: &Container<'_>,
    number: usize,
    keys: Value,
) -> (Value, Value) {
    let mut main = network(number, json!({}));
    main["cniVersion"] = newest(plugins).into();
    let result = call(plugins, container, number, &main).add().success();
    let mut sbr = json!({"cniVersion": newest(plugins), "name": main["name"], "type": "sbr"});
    merge(&mut sbr, keys);
    let passed = call(plugins, container, number, &with_previous(&sbr, &result))
        .add()
        .success();
    assert_eq!(passed["ips"], result["ips"], "{}", label(plugins));
    (sbr, passed)
}

fn sbr_replies(plugins: Plugins) {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    for number in 0..2 {
        chained(plugins, &container, number, json!({}));
    }
    container.wait_until("IPv6 serves", || fabric.reaches("fd00:2::2"));
    all_are_answered(&fabric, &container);
}

fn sbr_tables(plugins: Plugins) {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let (config, result) = chained(plugins, &container, 1, json!({}));
    assert_eq!(rules(&container), ["10.2.0.2 \"100\"", "fd00:2::2 \"101\""]);
    let table = container.ip_json("-4 route show table 100");
    assert_eq!(table[0]["gateway"], "10.2.0.1", "{table}");
    assert_eq!(table[1]["dst"], "10.2.0.0/24", "{table}");
    assert_eq!(container.routes("-4"), Vec::<Value>::new());
    let later = call(plugins, &container, 1, &with_previous(&config, &result));
    later.check().success();
    later.del().success();
    assert_eq!(rules(&container), Vec::<String>::new());
}

fn sbr_fixed_table() {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let (config, result) = chained(OURS, &container, 1, json!({"table": 77}));
    let expected = ["10.2.0.2 \"77\"", "fd00:2::2 \"77\""];
    assert_eq!(rules(&container), expected);
    chained_again(&container, &config, &result);
    assert_eq!(rules(&container), expected);
    let all = container.ip_json("route show table all");
    assert!(
        all.as_array()
            .is_some_and(|all| all.iter().all(|route| route["table"] != "77")),
        "{all}"
    );
    assert!(
        container.routes("-4").len() >= 2,
        "the routes stay in the main table"
    );
    call(OURS, &container, 1, &with_previous(&config, &result))
        .del()
        .success();
    assert_eq!(rules(&container), Vec::<String>::new());
}

fn sbr_gateways() {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let keys = json!({"gateways": ["10.2.0.9", "fd00:2::9"], "addSourceHints": true});
    chained(OURS, &container, 1, keys);
    for (family, table, gateway, subnet, address) in [
        ("-4", 100, "10.2.0.9", "10.2.0.0/24", "10.2.0.2"),
        ("-6", 101, "fd00:2::9", "fd00:2::/64", "fd00:2::2"),
    ] {
        let routes = container.ip_json(&format!("{family} route show default table {table}"));
        assert_eq!(routes[0]["gateway"], gateway, "{routes}");
        assert_eq!(routes.as_array().map(Vec::len), Some(1), "{routes}");
        let main = container.routes(family);
        let near: Vec<_> = main.iter().filter(|route| route["dst"] == subnet).collect();
        assert_eq!(near.len(), 1, "{main:?}");
        assert_eq!(near[0]["prefsrc"], address);
        assert!(
            main.iter().all(|route| route["dst"] != "default"),
            "{main:?}"
        );
    }
    container.ping("10.2.0.1");
}

fn sbr_idempotent() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    let (config, result) = chained(OURS, &container, 1, json!({}));
    chained_again(&container, &config, &result);
    assert_eq!(rules(&container), ["10.2.0.2 \"100\"", "fd00:2::2 \"101\""]);
    chained(OURS, &container, 0, json!({}));
    all_are_answered(&fabric, &container);
    let later = call(OURS, &container, 1, &with_previous(&config, &result));
    later.check().success();
    container.ip("rule del from 10.2.0.2 table 100");
    let error = later.check().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("expected 10.2.0.2 to table one of its own")),
        "{error}"
    );
    for netns in ["", "/run/netns/gone"] {
        later.clone().env("CNI_NETNS", netns).del().success();
    }
    // The link and the result are lost; what leads nowhere goes.
    container.ip("link del eth1");
    call(OURS, &container, 1, &config).del().success();
    let left = rules(&container);
    assert_eq!(
        left.iter()
            .filter(|rule| rule.contains(":2::") || rule.contains(".2.0."))
            .count(),
        0,
        "{left:?}"
    );
    assert_eq!(left.len(), 2, "the other network's stay: {left:?}");
}

fn chained_again(container: &Container<'_>, config: &Value, result: &Value) {
    call(OURS, container, 1, &with_previous(config, result))
        .add()
        .success();
}

/// For Mesos, which has no chains.
fn sbr_delegate() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    for number in 0..2 {
        let inner = network(number, json!({}));
        let config =
            json!({"cniVersion": "0.2.0", "name": inner["name"], "type": "sbr", "delegate": inner});
        let result = call(OURS, &container, number, &config).add().success();
        assert!(result["ip4"]["ip"].is_string(), "{result}");
    }
    all_are_answered(&fabric, &container);
    for number in 0..2 {
        let inner = network(number, json!({}));
        let config =
            json!({"cniVersion": "0.2.0", "name": inner["name"], "type": "sbr", "delegate": inner});
        call(OURS, &container, number, &config).del().success();
        assert!(container.link(&format!("eth{number}")).is_none());
    }
    assert_eq!(rules(&container), Vec::<String>::new());
}

fn sbr_refuses() {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let inner = network(1, json!({}));
    for (keys, says) in [
        (json!({"table": 0}), "\"table\": 0"),
        (json!({"table": -1}), "\"table\""),
        (
            json!({"gateways": ["10.2.0.9", "10.2.0.8"]}),
            "\"gateways\": \"10.2.0.8\"",
        ),
        (json!({"gateways": ["near"]}), "\"gateways\": \"near\""),
        (
            json!({"delegate": {"type": "bridge", "bridge": "br1"}}),
            "no addresses",
        ),
    ] {
        let mut config =
            json!({"cniVersion": "1.0.0", "name": "net1", "type": "sbr", "delegate": inner});
        merge(&mut config, keys);
        let error = call(OURS, &container, 1, &config).add().failure();
        assert!(
            error["msg"]
                .as_str()
                .is_some_and(|text| text.contains(says)),
            "{error}"
        );
        assert!(container.link("eth1").is_none());
        assert_eq!(rules(&container), Vec::<String>::new());
    }
}
