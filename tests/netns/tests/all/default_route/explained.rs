//! `slash24 explain` says what the kernel does.

use libtest_mimic::Trial;
use netns::{Call, Container, Namespace, Plugins};
use serde_json::{Value, json};

use super::scene::{Scene, call, host_end, network};
use crate::network::metric;
use crate::subject::ours;

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    [
        ours("explain/owner-next-and-why", owner_next_and_why),
        ours("explain/what-cannot-be", what_cannot_be),
        ours("explain/what-others-have-set", what_others_have_set),
        ours("explain/to-groups-and-to-itself", groups_and_itself),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn explain(container: &Container<'_>, more: &[&str]) -> Value {
    let netns = container.netns();
    let netns = netns.to_string_lossy();
    let arguments = ["explain", "--output", "json", "--netns", &*netns]
        .into_iter()
        .chain(more.iter().copied());
    Call::of(container.host(), OURS, "slash24")
        .arguments(arguments)
        .execute()
        .success()
}

fn owner_next_and_why() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let mut port = String::new();
    for (number, keys) in [
        (1, json!({"sourceRouting": true})),
        (2, json!({"defaultRoute": {"ipv4": true}})),
    ] {
        let result = call(OURS, &container, number, &network(number, keys))
            .add()
            .success();
        port = host_end(&result);
    }
    let families = explain(&container, &[]);
    for (family, interface, next, why) in [
        (
            &families[0],
            "eth2",
            "eth1",
            "priority 1 is before 100 of eth1",
        ),
        (
            &families[1],
            "eth1",
            "eth2",
            "of priority 100 eth1 is the first interface",
        ),
    ] {
        assert_eq!(family["interface"], interface, "{family:#}");
        assert_eq!(
            (&family["next"], &family["why"]),
            (&json!(next), &json!(why))
        );
        let ipv4 = family["family"] == "ipv4";
        let leaves_by = scene.leaves_by(&container, ipv4).expect("there is a way");
        assert_eq!(format!("eth{leaves_by}"), interface);
        assert_eq!(family["bySource"][0]["interface"], "eth1", "{family:#}");
    }
    let standing_by = json!({"to": "default", "table": 254, "interface": "eth1", "network": "net1",
        "gateway": "10.2.0.1", "priority": 100, "metric": metric(1), "state": "stands by"});
    assert_eq!(families[0]["routes"][1], standing_by);

    let near = explain(&container, &["10.2.0.1"]);
    assert_eq!(near[0]["interface"], "eth1");
    assert_eq!(
        near[0]["why"],
        "10.2.0.0/24 is the most specific route there"
    );
    let itself = explain(&container, &["10.3.0.2"]);
    assert_eq!(itself[0]["why"], "it is the container's own address");
    let far = explain(&container, &["198.51.100.1"]);
    assert_eq!(
        (&far[0]["interface"], &far[0]["network"]),
        (&json!("eth2"), &json!("net2"))
    );

    scene.host.ip(&format!("link set {port} down"));
    container.wait_until("the carrier is missed", || {
        explain(&container, &[])[0]["interface"] == "eth1"
    });
    let families = explain(&container, &["198.51.100.1"]);
    assert_eq!(
        families[0]["why"],
        "eth2, which comes first, has no carrier"
    );
    assert_eq!(families[0]["next"], Value::Null);

    let netns = container.netns();
    let text = Call::of(container.host(), OURS, "slash24")
        .arguments(["explain", "--netns", &netns.to_string_lossy()])
        .execute();
    assert!(
        text.stdout
            .contains("anywhere by IPv6: eth1 (net1) via fd00:2::1"),
        "{}",
        text.stdout
    );
}

fn what_cannot_be() {
    let scene = Scene::new();
    let empty = scene.host.container("empty");
    let nowhere = explain(&empty, &["198.51.100.1"]);
    assert_eq!(
        (&nowhere[0]["interface"], &nowhere[0]["why"]),
        (&Value::Null, &json!("no network offers a way there"))
    );
    let error = Call::of(&scene.host, OURS, "slash24")
        .arguments(["explain", "--netns", "/run/netns/gone", "--output", "json"])
        .execute()
        .failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("/run/netns/gone")),
        "{error}"
    );
}

/// Routes and rules that no plugin of ours sets. What is said is what the kernel does.
fn what_others_have_set() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    for number in [1, 2] {
        let config = network(number, json!({}));
        call(OURS, &container, number, &config).add().success();
    }
    let table = "a rule sends packets to table 77 before table 254, which has eth1";
    for (set, unset, interface, next, why) in [
        (
            "route add unreachable default metric 5",
            "route del unreachable default metric 5",
            Value::Null,
            Value::Null,
            "a route refuses it that comes first: unreachable default, metric 5",
        ),
        (
            "route add blackhole default metric 0",
            "route del blackhole default",
            Value::Null,
            Value::Null,
            "a route refuses it that comes first: blackhole default, metric 0",
        ),
        (
            "route add prohibit 128.0.0.0/1\nroute add prohibit 0.0.0.0/1",
            "route del prohibit 128.0.0.0/1\nroute del prohibit 0.0.0.0/1",
            Value::Null,
            Value::Null,
            "a route refuses it that comes first: prohibit 0.0.0.0/1, metric 0",
        ),
        (
            "route add default via 10.3.0.1 dev eth2 table 77\nrule add pref 100 lookup 77",
            "route flush table 77\nrule del pref 100",
            json!("eth2"),
            json!("eth1"),
            table,
        ),
        (
            "route add default via 10.3.0.1 dev eth2 table 77\n\
             rule add pref 100 not fwmark 7 lookup 77",
            "route flush table 77\nrule del pref 100",
            json!("eth2"),
            json!("eth1"),
            table,
        ),
        (
            "rule add pref 100 prohibit",
            "rule del pref 100",
            Value::Null,
            Value::Null,
            "a rule of the container refuses it",
        ),
        (
            "route add 0.0.0.0/1 via 10.3.0.1\nroute add 128.0.0.0/1 via 10.3.0.1",
            "route del 0.0.0.0/1\nroute del 128.0.0.0/1",
            json!("eth2"),
            json!("eth1"),
            "0.0.0.0/1 is the most specific route there",
        ),
        (
            "route add unreachable default metric 2000000000",
            "route del unreachable default metric 2000000000",
            json!("eth1"),
            json!("eth2"),
            "of priority 100 eth1 is the first interface",
        ),
    ] {
        container.ip(set);
        for to in [&[][..], &["23.45.67.89"][..]] {
            let explained = explain(&container, to);
            let told = &explained[0];
            let found = (&told["interface"], &told["next"], &told["why"]);
            assert_eq!(
                found,
                (&interface, &next, &json!(why)),
                "{set}: {explained:#}"
            );
        }
        assert_eq!(leaves(&container), interface, "{set}");
        container.ip(unset);
    }
    // Half of what is outside by each.
    container.ip("route add 128.0.0.0/1 via 10.3.0.1");
    let halves = explain(&container, &[]);
    let told = |at: usize| {
        (
            halves[at]["destination"].clone(),
            halves[at]["interface"].clone(),
        )
    };
    assert_eq!(told(0), (json!("0.0.0.0/1"), json!("eth1")), "{halves:#}");
    assert_eq!(told(1), (json!("128.0.0.0/1"), json!("eth2")), "{halves:#}");
    assert_eq!(halves[2]["family"], "ipv6");
}

/// The interface that the kernel says, if it says one.
fn leaves(container: &Container<'_>) -> Value {
    let found = container.run(|| {
        let asked = std::process::Command::new("ip")
            .args(["-json", "route", "get", "23.45.67.89"])
            .output();
        asked.expect("there is ip").stdout
    });
    let found: Value = serde_json::from_slice(&found).unwrap_or_default();
    found[0]["dev"].clone()
}

fn groups_and_itself() {
    let scene = Scene::new();
    let container = scene.host.container("c").with_loopback();
    let config = network(1, json!({}));
    call(OURS, &container, 1, &config).add().success();
    for to in ["224.0.0.1", "ff02::1", "255.255.255.255"] {
        let told = explain(&container, &[to]);
        let why = "it is for those on the link, and no gateway has a part in that";
        let found = (&told[0]["interface"], &told[0]["gateway"], &told[0]["why"]);
        assert_eq!(
            found,
            (&json!("eth1"), &Value::Null, &json!(why)),
            "{to}: {told:#}"
        );
    }
    for own in ["10.2.0.2", "fd00:2::2", "127.0.0.1"] {
        let netns = container.netns();
        let text = Call::of(container.host(), OURS, "slash24")
            .arguments(["explain", "--netns", &netns.to_string_lossy(), own])
            .execute();
        let says = format!("to {own}: the container itself; it is the container's own address");
        assert!(text.stdout.starts_with(&says), "{}", text.stdout);
    }
}
