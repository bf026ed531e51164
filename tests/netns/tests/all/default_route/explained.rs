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
            "priority 0 is before 100 of eth1",
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
    let standing_by = json!({"to": "default", "interface": "eth1", "network": "net1",
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
