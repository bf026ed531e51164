//! `sbr`: replies leave by the interface that the request came in on, also where another plugin
//! made it.

use libtest_mimic::Trial;
use netns::{Container, Namespace, Plugins};
use serde_json::{Value, json};

use super::{OURS, all_are_answered, call, network, rules, two_networks};
use crate::network::{merge, with_previous};
use crate::subject::{both, label, newest, ours};

pub(super) fn trials() -> Vec<Trial> {
    [
        both("sbr/replies-leave-by-where-they-came-in", replies),
        both("sbr/routes-move-to-tables-from-100", tables),
        ours("sbr/fixed-table", fixed_table),
        ours("sbr/gateways-and-source-hints", gateways),
        ours("sbr/idempotent-and-gone", idempotent),
        ours("sbr/delegate", delegate),
        ours("sbr/refuses", refuses),
    ]
    .into_iter()
    .flatten()
    .collect()
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

fn replies(plugins: Plugins) {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    for number in 0..2 {
        chained(plugins, &container, number, json!({}));
    }
    container.wait_until("IPv6 serves", || fabric.reaches("fd00:2::2"));
    all_are_answered(&fabric, &container);
}

fn tables(plugins: Plugins) {
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

fn fixed_table() {
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

fn gateways() {
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

fn idempotent() {
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
fn delegate() {
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

fn refuses() {
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
