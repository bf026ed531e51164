//! What `default-route` has changed of other networks' routes is as before when it has gone, and
//! when it has failed.

use libtest_mimic::Trial;
use netns::{Container, Namespace, Plugins};
use serde_json::{Value, json};

use super::mixed::{Kind, Network, offer_theirs, theirs};
use super::scene::{Scene, call, network};
use crate::network::merge;
use crate::subject::ours;

pub(super) fn trials() -> Vec<Trial> {
    [
        ours("default-route/restored/two-strangers", two_strangers),
        ours("default-route/restored/as-they-were", as_they_were),
        ours("default-route/restored/what-has-changed", what_has_changed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that the kernel tells of the default routes; ways that share the load have no order.
fn told(container: &Container<'_>) -> [Vec<Value>; 2] {
    ["-4", "-6"].map(|family| {
        let mut routes = container.routes(family);
        routes.retain(|route| route["dst"] == "default");
        for route in &mut routes {
            if let Some(hops) = route["nexthops"].as_array_mut() {
                hops.sort_by_key(Value::to_string);
            }
        }
        routes
    })
}

/// Nothing is left where nobody looks.
fn nothing_is_kept(container: &Container<'_>) {
    for family in ["-4", "-6"] {
        let all = container.ip_json(&format!("{family} route show table all"));
        let mut all = all.as_array().into_iter().flatten();
        assert_eq!(all.find(|route| route["table"] == "36000000"), None);
    }
}

/// Fails after the interface is there.
fn doomed(number: usize) -> Value {
    let mut bare = network(number, json!({}));
    merge(&mut bare, json!({"ipam": null}));
    json!({"cniVersion": "1.0.0", "name": bare["name"], "type": "default-route",
        "defaultRoute": true, "delegate": bare})
}

fn two_strangers() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let [one, two] =
        [0, 1].map(|number| Network::new(Kind::Stranger, &container, number, json!({})));
    let wrapped = Network::new(Kind::Wrapped, &container, 2, json!({}));
    one.add();
    two.add();
    let before = told(&container);
    assert_eq!(before[1][0]["nexthops"].as_array().map(Vec::len), Some(2));
    for _ in 0..2 {
        wrapped.add();
        assert_ne!(told(&container), before);
        wrapped.del();
        assert_eq!(told(&container), before);
        nothing_is_kept(&container);
        theirs(call(Plugins::Slash24, &container, 2, &doomed(2)))
            .add()
            .failure();
        assert_eq!(told(&container), before);
        nothing_is_kept(&container);
    }
    wrapped.add();
    one.del();
    wrapped.del();
    let left = told(&container).map(|routes| routes[0]["dev"].clone());
    assert_eq!(left, ["eth1", "eth1"]);
    nothing_is_kept(&container);
}

/// The links of routes that people and programs set: two, each with a gateway of each family.
fn links(container: &Container<'_>) {
    container.ip(
        "link add x0 type veth peer name y0\nlink set x0 up\nlink set y0 up\n\
         link add x1 type veth peer name y1\nlink set x1 up\nlink set y1 up\n\
         address add 10.9.0.2/24 dev x0\naddress add fd09::2/64 dev x0 nodad\n\
         address add 10.8.0.2/24 dev x1\naddress add fd08::2/64 dev x1 nodad",
    );
}

fn as_they_were() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let wrapped = Network::new(
        Kind::Wrapped,
        &container,
        1,
        json!({"defaultRoute": {"priority": 7}}),
    );
    for made in [
        "route add 0.0.0.0/0 nexthop via 10.9.0.1 dev x0 weight 2 nexthop via 10.8.0.1 dev x1",
        "route add ::/0 nexthop via fd09::1 dev x0 weight 3 nexthop via fd08::1 dev x1",
        "route add default via 10.9.0.1 dev x0 proto static\n\
         route append default via 10.8.0.1 dev x1 proto dhcp mtu 1400",
        // The other way around: not the first interface is the first.
        "route add default via 10.8.0.1 dev x1\nroute append default via 10.9.0.1 dev x0",
        "route add ::/0 via fd09::1 dev x0 proto static pref high",
        "route add default via 192.0.2.99 dev x0 onlink",
        "route add default dev x1",
        "route add default via inet6 fe80::9 dev x0",
        // By an object that stands for the way, and for several.
        "nexthop add id 7 via 10.9.0.1 dev x0\nroute add default nhid 7 proto static",
        "nexthop add id 7 via fd09::1 dev x0\nnexthop add id 8 via fd08::1 dev x1\n\
         nexthop add id 9 group 7,3/8\nroute add ::/0 nhid 9",
        "nexthop add id 7 via 10.9.0.1 dev x0\nnexthop add id 8 via 10.8.0.1 dev x1\n\
         nexthop add id 9 group 7,3/8\nroute add 0.0.0.0/0 nhid 9",
    ] {
        links(&container);
        container.ip(made);
        let before = told(&container);
        wrapped.add();
        for routes in told(&container) {
            assert_eq!(routes[0]["dev"], "eth1", "{made}: {routes:?}");
        }
        wrapped.del();
        assert_eq!(told(&container), before, "{made}");
        nothing_is_kept(&container);
        container.ip("link del x0\nlink del x1");
    }
}

/// What somebody does in the meantime is theirs.
fn what_has_changed() {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let container = scene.host.container("c");
    let wrapped = Network::new(Kind::Wrapped, &container, 1, json!({}));
    links(&container);
    container.ip(
        "route add 0.0.0.0/0 nexthop via 10.9.0.1 dev x0 nexthop via 10.8.0.1 dev x1\n\
         route add ::/0 nexthop via fd09::1 dev x0 nexthop via fd08::1 dev x1",
    );
    wrapped.add();
    container.ip("route del default dev x0\nroute del ::/0 dev x0\nlink del x1");
    wrapped.del();
    assert_eq!(told(&container), [Vec::<Value>::new(), Vec::new()]);
    nothing_is_kept(&container);
    container.ip("link del x0");

    // What came later stays later.
    links(&container);
    container.ip("route add default via 10.9.0.1 dev x0\nroute add ::/0 via fd09::1 dev x0");
    wrapped.add();
    container.ip("route append default via 10.8.0.1 dev x1\nroute append ::/0 via fd08::1 dev x1");
    wrapped.del();
    let [v4, v6] = told(&container);
    let ways: Vec<_> = v4.iter().map(|route| route["dev"].clone()).collect();
    assert_eq!(ways, ["x0", "x1"]);
    assert_eq!(
        v6[0]["nexthops"].as_array().map(Vec::len),
        Some(2),
        "{v6:?}"
    );
    container.ip("link del x0\nlink del x1");

    // A gateway that is out of reach by now is in nobody's way.
    links(&container);
    container.ip("route add default via 10.9.0.1 dev x0");
    wrapped.add();
    container.ip("address add 10.7.0.2/24 dev x0\naddress del 10.9.0.2/24 dev x0");
    wrapped.del();
    let [v4, _] = told(&container);
    assert_eq!(v4.len(), 1, "{v4:?}");
    assert_eq!(v4[0]["gateway"], "10.9.0.1");
}
