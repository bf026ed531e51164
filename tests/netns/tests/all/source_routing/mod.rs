//! Replies leave by the interface that the request came in on.

mod chain;
mod ends;
mod gateways;
mod leftovers;
mod sbr;

use libtest_mimic::Trial;
use netns::{Container, Fabric, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::{call, host_local, merge, with_previous};
use crate::subject::ours;

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
    ]
    .into_iter()
    .flatten()
    .chain(sbr::trials())
    .chain(chain::trials())
    .chain(ends::trials())
    .chain(gateways::trials())
    .chain(leftovers::trials())
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
