//! The plugin `default-route`: what it returns, what CHECK says, what DEL and a failed ADD leave,
//! and odd routes.

use libtest_mimic::Trial;
use netns::{Namespace, Plugins};
use serde_json::{Value, json};

use super::mixed::{Kind, Network, offer_theirs, theirs};
use super::scene::{Scene, call, defaults, network};
use crate::network::{merge, with_previous};
use crate::subject::ours;

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    [
        ours(
            "default-route/plugin/result-check-and-restore",
            result_check_and_restore,
        ),
        ours("default-route/plugin/all-or-nothing", all_or_nothing),
        ours(
            "default-route/plugin/del-with-little-left",
            del_with_little_left,
        ),
        ours("default-route/plugin/odd-routes", odd_routes),
        ours("default-route/plugin/gc-and-status", gc_and_status),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn result_check_and_restore() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let stranger = Network::new(Kind::Stranger, &container, 0, json!({}));
    stranger.add();
    let before = [true, false].map(|ipv4| defaults(&container, ipv4));
    let fixed = Network::new(Kind::Wrapped, &container, 1, json!({"defaultRoute": true}));
    let result = fixed.add();
    let routes = result["routes"].as_array().expect("there are routes");
    for (route, family) in routes.iter().zip(["-4", "-6"]) {
        let all = container.routes(family);
        let serving = all
            .iter()
            .find(|route| route["dst"] == "default")
            .expect("there is one");
        assert_eq!(serving["dev"], "eth1");
        assert_eq!(
            (&route["gw"], &route["priority"]),
            (&serving["gateway"], &serving["metric"])
        );
    }
    let alias = container.link("eth1").expect("it is there")["ifalias"].clone();
    assert_eq!(alias, "slash24 net1 c eth1");
    fixed.check(&result).success();

    // Somebody adds one that is before all: by right it is not.
    container.ip("route add default via 10.1.0.1 dev eth0");
    let error = fixed.check(&result).failure();
    let says = "default route for IPv4: expected that of eth1, found that of eth0";
    assert_eq!(error["msg"], says);
    container.ip("route del default via 10.1.0.1 dev eth0 metric 0");
    fixed.check(&result).success();

    fixed.del();
    assert_eq!([true, false].map(|ipv4| defaults(&container, ipv4)), before);
    fixed.del();
    stranger.del();
    fixed.del();
}

fn all_or_nothing() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let stranger = Network::new(Kind::Stranger, &container, 0, json!({}));
    stranger.add();
    let before = [true, false].map(|ipv4| defaults(&container, ipv4));
    let mut bare = network(1, json!({}));
    merge(&mut bare, json!({"ipam": null}));
    let config = json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route",
        "defaultRoute": true, "delegate": bare});
    let error = theirs(call(OURS, &container, 1, &config)).add().failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("\"defaultRoute\" is true")),
        "{error}"
    );
    assert!(container.link("eth1").is_none());
    assert_eq!([true, false].map(|ipv4| defaults(&container, ipv4)), before);

    for (keys, says) in [
        (json!({}), "neither \"prevResult\" nor \"delegate\""),
        (json!({"delegate": {}}), "\"delegate\""),
        (json!({"delegate": {"type": "nowhere"}}), "nowhere"),
        (
            json!({"delegate": network(1, json!({})), "routerAdvertisements": "maybe"}),
            "\"routerAdvertisements\"",
        ),
    ] {
        let mut config = json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route"});
        merge(&mut config, keys);
        let error = theirs(call(OURS, &container, 1, &config)).add().failure();
        assert!(
            error["msg"]
                .as_str()
                .is_some_and(|text| text.contains(says)),
            "{error}"
        );
        assert!(container.link("eth1").is_none());
    }
}

fn del_with_little_left() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let [one, two] = ["one", "two"].map(|id| scene.host.container(id));
    let wrapped = Network::new(Kind::Wrapped, &one, 1, json!({"defaultRoute": true}));
    let other = Network::new(Kind::Wrapped, &two, 1, json!({"defaultRoute": true}));
    let result = wrapped.add();
    other.add();
    let after = [true, false].map(|ipv4| defaults(&two, ipv4));
    // The path leads to another container by now: what is there is not touched.
    let config: Value = serde_json::from_str(wrapped.main.input()).expect("it is JSON");
    let lost = with_previous(&config, &result);
    for netns in ["/run/netns/gone", ""] {
        wrapped.main.clone().env("CNI_NETNS", netns).del().success();
    }
    let reused = wrapped
        .main
        .clone()
        .stdin(&lost.to_string())
        .env("CNI_NETNS", two.netns());
    let fix = json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route", "prevResult": result});
    reused.stdin(&fix.to_string()).del().success();
    assert_eq!([true, false].map(|ipv4| defaults(&two, ipv4)), after);
    other.del();
    wrapped.del();
    wrapped.main.clone().without("CNI_NETNS").del().success();
}

/// What foreign plugins and people make of default routes.
fn odd_routes() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let mut plain = network(1, json!({}));
    merge(&mut plain["ipam"], json!({"routes": null}));
    let wrapped =
        json!({"cniVersion": "1.0.0", "name": "net1", "type": "default-route", "delegate": plain});
    for (made, ipv4, expected) in [
        // Shared between two links, and between two routers of one.
        (
            "route add 0.0.0.0/0 nexthop via 10.9.0.1 dev x0 nexthop via 10.8.0.1 dev x1",
            true,
            "x0 via 10.9.0.1",
        ),
        (
            "route add ::/0 nexthop via fd09::1 dev x0 nexthop via fd08::1 dev x1",
            false,
            "x0 via fd09::1",
        ),
        // A router that is not in the subnet.
        (
            "route add 0.0.0.0/0 via 192.0.2.99 dev x0 onlink",
            true,
            "x0 via 192.0.2.99",
        ),
        // No router at all.
        ("route add 0.0.0.0/0 dev x0", true, "x0 via null"),
        // An IPv6 router for IPv4.
        (
            "route add 0.0.0.0/0 via inet6 fe80::9 dev x0",
            true,
            "x0 via null",
        ),
    ] {
        container.ip(
            "link add x0 type veth peer name y0\nlink set x0 up\nlink set y0 up\n\
             link add x1 type veth peer name y1\nlink set x1 up\nlink set y1 up\n\
             address add 10.9.0.2/24 dev x0\naddress add fd09::2/64 dev x0 nodad\n\
             address add 10.8.0.2/24 dev x1\naddress add fd08::2/64 dev x1 nodad",
        );
        container.ip(made);
        let call = theirs(call(OURS, &container, 1, &wrapped));
        call.add().success();
        let found = defaults(&container, ipv4);
        assert!(
            found[0].replace('"', "").starts_with(expected),
            "{made}: {found:?}"
        );
        call.del().success();
        container.ip("link del x0\nlink del x1");
    }
}

/// What is not about one attachment goes to the plugin inside, with what the runtime vouches for.
fn gc_and_status() {
    let scene = Scene::new();
    let container = scene.host.container("c");
    let config = json!({"cniVersion": "1.1.0", "name": "net1", "type": "default-route",
        "delegate": network(1, json!({}))});
    let call = call(OURS, &container, 1, &config);
    call.add().success();
    let lease = || scene.host.read("/var/lib/cni/networks/net1/10.2.0.2");
    let collect = |valid: Value| {
        let mut config = config.clone();
        merge(&mut config, json!({"cni.dev/valid-attachments": valid}));
        call.clone()
            .stdin(&config.to_string())
            .command("GC")
            .success();
    };
    collect(json!([{"containerID": "c", "ifname": "eth1"}]));
    assert!(lease().is_some());
    collect(json!([]));
    assert_eq!(lease(), None);
    call.command("STATUS").success();
    let mut broken = config.clone();
    broken["delegate"]["mtu"] = json!("large");
    let error = call
        .clone()
        .stdin(&broken.to_string())
        .command("STATUS")
        .failure();
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|text| text.contains("\"mtu\"")),
        "{error}"
    );
}
