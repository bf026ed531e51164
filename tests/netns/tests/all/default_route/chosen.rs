//! Networks whose leases name the metrics of their routes, some of them the same.

use libtest_mimic::Trial;
use netns::{Call, Container, Namespace, Plugins};
use serde_json::{Value, json};

use super::scene::{Scene, at_once, call, network, orders};
use crate::network::with_previous;
use crate::subject::ours;

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    [
        ours("default-route/chosen/alone", alone),
        ours("default-route/chosen/every-order", every_order),
        ours("default-route/chosen/beside-others", beside_others),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const PLACES: [&str; 4] = ["0.0.0.0/0", "::/0", "10.255.0.0/16", "fdff::/16"];

fn choosing(number: usize, priority: u32) -> Value {
    let mut config = network(number, json!({}));
    let routes = PLACES.map(|dst| json!({"dst": dst, "priority": priority}));
    config["ipam"]["routes"] = json!(routes);
    config
}

/// The metrics of the routes to a place, each with its interface.
fn metrics(container: &Container<'_>, place: &str) -> Vec<(u64, String)> {
    let family = if place.contains(':') { "-6" } else { "-4" };
    let place = if place.ends_with("/0") {
        "default"
    } else {
        place
    };
    let mut routes = container.routes(family);
    routes.retain(|route| route["dst"] == place);
    let told = |route: &Value| {
        assert!(route.get("nexthops").is_none(), "load is shared: {route}");
        let name = route["dev"].as_str().expect("it has an interface");
        (route["metric"].as_u64().unwrap_or(0), name.to_owned())
    };
    let mut told: Vec<_> = routes.iter().map(told).collect();
    told.sort();
    told
}

/// As with the reference, the metric is the one that was asked for, also the kernel's own.
fn alone() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    for (number, metric) in [(1, 50), (2, 1024)] {
        let config = choosing(number, metric);
        let call = call(OURS, &container, number, &config);
        let result = call.add().success();
        for (index, place) in PLACES.into_iter().enumerate() {
            let name = format!("eth{number}");
            assert_eq!(
                metrics(&container, place),
                [(u64::from(metric), name)],
                "{place}"
            );
            assert_eq!(result["routes"][index]["priority"], metric);
        }
        call.clone()
            .stdin(&with_previous(&config, &result).to_string())
            .check()
            .success();
        call.del().success();
    }
}

/// Those that chose the same stand in the order of their interfaces, whoever comes first.
fn every_order() {
    let scene = Scene::new();
    let all = orders(3);
    for priorities in [[50, 50, 50], [51, 50, 50], [50, 51, 50]] {
        let mut by_right = [0, 1, 2];
        by_right.sort_by_key(|number| (priorities[*number], *number));
        for (turn, order) in all.iter().map(Some).chain([None]).enumerate() {
            let container = scene.host.container("c");
            let configs: Vec<_> = (0..3)
                .map(|number| choosing(number, priorities[number]))
                .collect();
            let calls: Vec<Call<'_>> = (0..3)
                .map(|number| call(OURS, &container, number, &configs[number]))
                .collect();
            let mut results = vec![Value::Null; 3];
            match order {
                Some(order) => order.iter().for_each(|number| {
                    results[*number] = calls[*number].add().success();
                }),
                None => {
                    let done = at_once(&calls, "ADD");
                    results = done.iter().map(|outcome| outcome.success()).collect();
                }
            }
            let said = || format!("{priorities:?} in the order {order:?}");
            for place in PLACES {
                let found = metrics(&container, place);
                let expected = by_right.iter().zip(50..);
                let expected: Vec<_> = expected
                    .map(|(number, metric)| (metric, format!("eth{number}")))
                    .collect();
                assert_eq!(found, expected, "{place}, {}", said());
            }
            // Who has made room since is as right as who came last.
            for (number, call) in calls.iter().enumerate() {
                let later = with_previous(&configs[number], &results[number]);
                call.clone().stdin(&later.to_string()).check().success();
            }
            let mut here = by_right.to_vec();
            for number in &all[turn % all.len()] {
                for ipv4 in [true, false] {
                    let serves = scene.leaves_by(&container, ipv4);
                    assert_eq!(serves, here.first().copied(), "of {here:?}, {}", said());
                }
                calls[*number].del().success();
                here.retain(|other| other != number);
            }
        }
    }
}

/// What somebody else has set stays where it is, and so does the order.
fn beside_others() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    container.ip(
        "link add x9 type veth peer name y9\nlink set x9 up\nlink set y9 up\n\
         address add 10.9.0.2/24 dev x9\naddress add fd09::2/64 dev x9 nodad\n\
         route add default via 10.9.0.1 dev x9 metric 50\n\
         route add ::/0 via fd09::1 dev x9 metric 50",
    );
    for (number, priority) in [(2, 50), (1, 50), (0, 49)] {
        call(OURS, &container, number, &choosing(number, priority))
            .add()
            .success();
    }
    for place in ["0.0.0.0/0", "::/0"] {
        let expected = [(49, "eth0"), (50, "x9"), (51, "eth1"), (52, "eth2")];
        let expected = expected.map(|(metric, name)| (metric, name.to_owned()));
        assert_eq!(metrics(&container, place), expected);
    }
}
