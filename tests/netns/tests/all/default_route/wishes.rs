//! Every way to wish for the default route, and what happens when its owner fails.

use libtest_mimic::Trial;
use netns::{Namespace, Plugins};
use serde_json::{Value, json};

use super::scene::{OUTSIDE, Scene, call, defaults, host_end, network};
use crate::network::{host_local, merge, with_previous};
use crate::subject::ours;

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    [
        ours("default-route/every-way-to-wish", every_way_to_wish),
        ours("default-route/never-offered", never_offered),
        ours(
            "default-route/the-next-serves-without-carrier",
            without_carrier,
        ),
        ours("default-route/names-without-numbers", names_without_numbers),
        ours("default-route/made-from-the-gateway", made_from_the_gateway),
        ours("default-route/several-routers", several_routers),
        ours("default-route/check-says-what-it-found", check),
        ours("default-route/check-of-the-owner", check_of_the_owner),
        ours("default-route/check-of-the-gateway", check_of_the_gateway),
        ours("default-route/of-a-task", of_a_task),
        ours(
            "default-route/a-family-that-is-named",
            a_family_that_is_named,
        ),
        ours(
            "default-route/packets-are-seen-at-the-owner",
            seen_at_the_owner,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn label(value: &str) -> Value {
    let labels = json!([{"key": "default-route", "value": value}]);
    json!({"org.apache.mesos": {"network_info": {"name": "net1", "labels": {"labels": labels}}}})
}

fn every_way_to_wish() {
    let scene = Scene::new();
    for wish in [
        json!({"defaultRoute": true}),
        json!({"defaultroute": {"Priority": 99}}),
        json!({"args": {"cni": {"defaultRoute": true}}}),
        json!({"args": label("true")}),
        json!({"args": label("20"), "defaultRoute": {"priority": 150}}),
        json!({"runtimeConfig": {"defaultRoute": {"priority": 3}}, "defaultRoute": {"priority": 150}}),
    ] {
        let container = scene.host.container("c");
        let calls = [json!({}), wish.clone()].into_iter().enumerate();
        let calls: Vec<_> = calls
            .map(|(number, keys)| call(OURS, &container, number, &network(number, keys)))
            .collect();
        for call in &calls {
            call.add().success();
        }
        for ipv4 in [true, false] {
            assert_eq!(scene.leaves_by(&container, ipv4), Some(1), "{wish}");
        }
        for call in &calls {
            call.del().success();
        }
    }
}

fn never_offered() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let never = network(0, json!({"defaultRoute": {"ipv4": false}}));
    let result = call(OURS, &container, 0, &never).add().success();
    assert_eq!(
        result["routes"].as_array().map(Vec::len),
        Some(1),
        "{result}"
    );
    assert_eq!(defaults(&container, true), Vec::<String>::new());
    assert_eq!(scene.leaves_by(&container, false), Some(0));

    let mut asked = network(1, json!({"defaultRoute": false}));
    merge(&mut asked, json!({"args": label("true")}));
    let error = call(OURS, &container, 1, &asked).add().failure();
    let message = error["msg"].as_str().expect("errors have a message");
    assert!(
        message.contains("label default-route") && message.contains("false"),
        "{message}"
    );
    assert!(container.link("eth1").is_none());
}

/// A link that is up and has no carrier keeps its routes; they must not serve.
fn without_carrier() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let mut ports = Vec::new();
    for number in [1, 2] {
        let result = call(OURS, &container, number, &network(number, json!({})))
            .add()
            .success();
        ports.push(host_end(&result));
    }
    for (down, expected) in [(0, 2), (1, 1)] {
        scene.host.ip(&format!("link set {} down", ports[down]));
        for ipv4 in [true, false] {
            let noticed = || scene.leaves_by(&container, ipv4) == Some(expected);
            container.wait_until("the other network serves", noticed);
        }
        scene.host.ip(&format!("link set {} up", ports[down]));
        scene.host.wait_for_carrier(&ports[down]);
        container.wait_until("the first serves again", || {
            scene.leaves_by(&container, false) == Some(1)
        });
    }
}

/// Names tell interfaces apart when numbers do not.
fn names_without_numbers() {
    let scene = Scene::new();
    let mut seen = None;
    for order in [[1, 2], [2, 1]] {
        let container = scene.host.container("c");
        for number in order {
            let name = ["", "front", "back"][number];
            let config = network(number, json!({}));
            netns::Call::new(&scene.host, OURS, &config)
                .attach(&container, name)
                .add()
                .success();
        }
        let found = [true, false].map(|ipv4| defaults(&container, ipv4));
        assert_eq!(found.each_ref().map(Vec::len), [2, 2], "{found:?}");
        assert_eq!(seen.get_or_insert_with(|| found.clone()), &found);
    }
}

/// A network that offers none is made to, by the gateway that its addresses have.
fn made_from_the_gateway() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let mut config = network(1, json!({"defaultRoute": true}));
    merge(&mut config["ipam"], json!({"routes": null}));
    let result = call(OURS, &container, 1, &config).add().success();
    assert_eq!(result["routes"][0]["gw"], "10.2.0.1", "{result}");
    for ipv4 in [true, false] {
        assert_eq!(scene.leaves_by(&container, ipv4), Some(1));
    }
    let mut bare = network(2, json!({"defaultRoute": true}));
    merge(
        &mut bare,
        json!({"ipam": null, "type": "bridge", "bridge": "br9"}),
    );
    let error = call(OURS, &container, 2, &bare).add().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("\"defaultRoute\" is true")),
        "{error}"
    );
    assert!(container.link("eth2").is_none());
}

/// Routers of one network share the load, and both are in the result.
fn several_routers() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let mut config = network(1, json!({}));
    config["ipam"]["routes"] = json!([
        {"dst": "0.0.0.0/0", "gw": "10.2.0.1"}, {"dst": "::/0", "gw": "fd00:2::1"},
        {"dst": "0.0.0.0/0", "gw": "10.2.0.9"}, {"dst": "::/0", "gw": "fd00:2::9"},
        {"dst": "::/0", "gw": "fd00:2::8", "mtu": 1300},
        {"dst": "2001:db8:7::/48", "gw": "fd00:2::9"}, {"dst": "2001:db8:7::/48", "gw": "fd00:2::1"},
    ]);
    call(OURS, &container, 0, &network(0, json!({})))
        .add()
        .success();
    let call = call(OURS, &container, 1, &config);
    let result = call.add().success();
    let told = result["routes"].as_array().expect("there are routes");
    assert_eq!(told.len(), 7);
    for (family, to, ways) in [
        ("-4", "default", 2),
        ("-6", "default", 3),
        ("-6", "2001:db8:7::/48", 2),
    ] {
        let routes = container.routes(family);
        let is_it = |route: &&Value| route["dst"] == to && route["nexthops"].is_array();
        let found: Vec<_> = routes.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{routes:?}");
        assert_eq!(found[0]["nexthops"].as_array().map(Vec::len), Some(ways));
    }
    let later = call
        .clone()
        .stdin(&with_previous(&config, &result).to_string());
    later.check().success();
    container.ip(&format!(
        "route del ::/0 via fd00:2::9 dev eth1 metric {}",
        crate::network::metric(1)
    ));
    let error = later.check().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("fd00:2::9")),
        "{error}"
    );
    call.del().success();
}

/// Without a gateway in that family there is nothing to make a route from.
fn a_family_that_is_named() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let mut config = network(1, json!({"defaultRoute": {"ipv6": true}}));
    config["ipam"] = host_local(&["10.2.0.0/24"]);
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}]);
    let wrapped = json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route",
        "defaultRoute": {"ipv6": true}, "delegate": {"type": "bridge", "bridge": "br1",
        "isGateway": true, "ipam": config["ipam"]}});
    for config in [config, wrapped] {
        let error = call(OURS, &container, 1, &config).add().failure();
        let message = error["msg"].as_str().expect("errors have a message");
        assert!(
            message.contains("\"defaultRoute\" is true for \"ipv6\""),
            "{message}"
        );
        assert!(container.link("eth1").is_none());
    }
}

fn check() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let config = network(1, json!({}));
    let result = call(OURS, &container, 1, &config).add().success();
    let priority = &result["routes"][0]["priority"];
    assert_eq!(priority, crate::network::metric(1), "{result}");
    // The routes are told as they are, with the gateway that the range has.
    let gateways = [0, 1].map(|index| result["routes"][index]["gw"].clone());
    assert_eq!(gateways, ["10.2.0.1", "fd00:2::1"]);
    let later = call(OURS, &container, 1, &with_previous(&config, &result));
    later.check().success();
    container.ip(&format!(
        "route del default metric {priority}\nroute add default via 10.2.0.1"
    ));
    let error = later.check().failure();
    let message = error["msg"].as_str().expect("errors have a message");
    let expected = format!("expected 0.0.0.0/0 via 10.2.0.1 metric {priority}");
    assert!(
        message.contains(&expected) && message.contains("found 0.0.0.0/0 via 10.2.0.1"),
        "{message}"
    );
}

/// Whether a network was chosen or nobody was: it says so when another has come before it.
fn check_of_the_owner() {
    let scene = Scene::new();
    for wishes in [
        [json!({}), json!({})],
        [json!({"defaultRoute": true}), json!({})],
    ] {
        let container = scene.host.container("c");
        let calls = [1, 2].map(|number| {
            let config = network(number, wishes[number - 1].clone());
            let call = call(OURS, &container, number, &config);
            let result = call.add().success();
            call.stdin(&with_previous(&config, &result).to_string())
        });
        container.ip("link add x9 type veth peer name y9\nlink set x9 up");
        let nowhere = "one that leads nowhere (blackhole, unreachable or prohibit)";
        for (route, family, found) in [
            ("default via 10.3.0.1 dev eth2", "IPv4", "that of eth2"),
            (
                "::/0 via fd00:3::1 dev eth2 metric 1024",
                "IPv6",
                "that of eth2",
            ),
            ("default dev x9", "IPv4", "that of x9"),
            ("blackhole default", "IPv4", nowhere),
            ("unreachable ::/0 metric 5", "IPv6", nowhere),
            ("prohibit default metric 0", "IPv4", nowhere),
        ] {
            container.ip(&format!("route add {route}"));
            for call in &calls {
                let error = call.check().failure();
                let says =
                    format!("default route for {family}: expected that of eth1, found {found}");
                assert_eq!(error["msg"], says, "{route}");
            }
            container.ip(&format!("route del {route}"));
            calls.iter().for_each(|call| {
                call.check().success();
            });
        }
        // A metric that somebody has chosen is right whoever it is.
        container.ip("route add default dev x9 metric 7");
        calls.iter().for_each(|call| {
            call.check().success();
        });
    }
}

/// The right metric, by another router.
fn check_of_the_gateway() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let config = network(1, json!({}));
    let call = call(OURS, &container, 1, &config);
    let result = call.add().success();
    let later = call.stdin(&with_previous(&config, &result).to_string());
    later.check().success();
    let metric = crate::network::metric(1);
    for (to, by, other) in [
        ("default", "10.2.0.1", "10.2.0.9"),
        ("::/0", "fd00:2::1", "fd00:2::9"),
    ] {
        container.ip(&format!(
            "route del {to} metric {metric}\nroute add {to} via {other} metric {metric}"
        ));
        let error = later.check().failure();
        let message = error["msg"].as_str().expect("errors have a message");
        assert!(
            message.contains(&format!("via {by} metric")) && message.contains(other),
            "{message}"
        );
        container.ip(&format!(
            "route del {to} metric {metric}\nroute add {to} via {by} metric {metric}"
        ));
        later.check().success();
    }
}

/// The Hydrogen document of a task names the network.
fn of_a_task() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    for number in [1, 2] {
        scene.host.write(
            &format!("/etc/cni/net.d/{number}.conf"),
            &network(number, json!({})).to_string(),
        );
    }
    // Its operator wants the default route for it, and a task comes first.
    let mut taken = network(1, json!({"defaultRoute": true}));
    merge(&mut taken, json!({"name": "taken"}));
    scene
        .host
        .write("/etc/cni/net.d/taken.conf", &taken.to_string());
    for (list, expected) in [
        (
            json!([{"name": "net1"}, {"name": "net2", "default_route": true}]),
            2,
        ),
        (json!([{"name": "net1"}, {"name": "net2"}]), 1),
        (
            json!([{"name": "net1", "default_route": false}, {"name": "net2"}]),
            2,
        ),
        (
            json!([{"name": "taken"}, {"name": "net2", "defaultRoute": true}]),
            2,
        ),
    ] {
        let slash24 = |arguments: &[&str]| {
            let document = json!({"container": {"network": list}});
            netns::Call::of(&scene.host, OURS, "slash24")
                .arguments(arguments)
                .stdin(&document.to_string())
                .execute()
        };
        slash24(&["attach", "--netns", "/run/netns/c", "--id", "c", "-"]).success();
        for ipv4 in [true, false] {
            assert_eq!(scene.leaves_by(&container, ipv4), Some(expected), "{list}");
        }
        slash24(&["detach", "--id", "c"]).success();
    }
}

/// Not only the address tells: packets are counted where they leave and where they come in.
fn seen_at_the_owner() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    for owner in 0..4 {
        let calls: Vec<_> = (0..4)
            .map(|number| {
                let keys = match number == owner {
                    true => json!({"defaultRoute": {"priority": 1}}),
                    false => json!({}),
                };
                call(OURS, &container, number, &network(number, keys))
            })
            .collect();
        for call in &calls {
            call.add().success();
        }
        for (ipv4, outside) in [(true, OUTSIDE[0]), (false, OUTSIDE[1])] {
            let family = if ipv4 { "ip" } else { "ip6" };
            let mut rules = String::from("table inet watch {\n");
            for number in 0..4 {
                rules += &format!("counter out{number} {{}}\ncounter in{number} {{}}\n");
            }
            for (chain, hook, to, way) in [
                ("out", "output", "daddr", "oifname"),
                ("in", "input", "saddr", "iifname"),
            ] {
                rules += &format!("chain {chain} {{ type filter hook {hook} priority 0;\n");
                for number in 0..4 {
                    rules += &format!(
                        "{family} {to} {outside} {way} eth{number} counter name {chain}{number}\n"
                    );
                }
                rules += "}\n";
            }
            container.nft(&(rules + "}\n"));
            container.ping(outside);
            let counted = container.ask("nft", "--json list counters");
            let counters = counted["nftables"]
                .as_array()
                .expect("there are counters")
                .iter();
            let seen: Vec<_> = counters
                .filter_map(|one| {
                    Some((
                        one["counter"]["name"].as_str()?,
                        one["counter"]["packets"].as_u64()?,
                    ))
                })
                .filter(|(_, packets)| *packets > 0)
                .map(|(name, _)| name.to_owned())
                .collect();
            assert_eq!(seen.len(), 2, "{seen:?}");
            assert!(
                seen.contains(&format!("out{owner}")) && seen.contains(&format!("in{owner}")),
                "{seen:?}"
            );
            container.nft("delete table inet watch\n");
        }
        for call in &calls {
            call.del().success();
        }
    }
}
