//! Networks of plugins that know nothing of each other: ours, the reference's with
//! `default-route` after them or around them, and the reference's alone.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Outcome, Plugins, trial};
use serde_json::{Value, json};

use super::scene::{Scene, at_once, call, defaults, network, orders};
use crate::network::{merge, with_previous};
use crate::subject::ours;

const OURS: Plugins = Plugins::Slash24;
const DEBIANS: Plugins = Plugins::Debian;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, kinds) in [
        (
            "wrapped",
            vec![Kind::Wrapped, Kind::Wrapped, Kind::Wrapped, Kind::Ours],
        ),
        ("chained", vec![Kind::Chained; 3]),
        (
            "wrapped-with-ours",
            vec![Kind::Wrapped, Kind::Ours, Kind::Chained],
        ),
        (
            "with-a-stranger",
            vec![Kind::Stranger, Kind::Ours, Kind::Wrapped],
        ),
    ] {
        let name = format!("default-route/every-order/{name}/{}-networks", kinds.len());
        trials.push(trial(name, move || every_order(&kinds)));
    }
    trials.extend(ours(
        "default-route/plugin/result-check-and-restore",
        result_check_and_restore,
    ));
    trials.extend(ours("default-route/plugin/all-or-nothing", all_or_nothing));
    trials.extend(ours(
        "default-route/plugin/del-with-little-left",
        del_with_little_left,
    ));
    trials.extend(ours("default-route/plugin/odd-routes", odd_routes));
    trials.extend(ours("default-route/plugin/gc-and-status", gc_and_status));
    trials
}

/// Whose plugin a network has, and how `default-route` comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ours, which needs no help.
    Ours,
    /// The reference's, in `delegate`.
    Wrapped,
    /// The reference's, and then `default-route`.
    Chained,
    /// The reference's alone.
    Stranger,
}

/// One network's attachment, however many calls it takes.
pub(super) struct Network<'h> {
    pub(super) main: Call<'h>,
    fix: Option<(Call<'h>, Value)>,
}

impl<'h> Network<'h> {
    pub(super) fn new(kind: Kind, container: &Container<'h>, number: usize, keys: Value) -> Self {
        let mut plain = network(number, json!({}));
        if plain["type"] == "ptp" {
            // The reference's waits seconds for each address of its cables.
            merge(
                &mut plain,
                json!({"type": "bridge", "bridge": "br2", "isGateway": true}),
            );
        }
        let mut fix =
            json!({"cniVersion": "1.0.0", "name": plain["name"], "type": "default-route"});
        match kind {
            Kind::Ours => {
                let main = call(OURS, container, number, &network(number, keys));
                Network { main, fix: None }
            }
            Kind::Wrapped => {
                fix["delegate"] = plain;
                merge(&mut fix, keys);
                let main = theirs(call(OURS, container, number, &fix));
                Network { main, fix: None }
            }
            Kind::Chained => {
                merge(&mut fix, keys);
                let main = call(DEBIANS, container, number, &plain);
                let after = call(OURS, container, number, &fix);
                Network {
                    main,
                    fix: Some((after, fix)),
                }
            }
            Kind::Stranger => Network {
                main: call(DEBIANS, container, number, &plain),
                fix: None,
            },
        }
    }

    pub(super) fn add(&self) -> Value {
        let result = self.main.add().success();
        match &self.fix {
            Some((call, config)) => {
                let call = call
                    .clone()
                    .stdin(&with_previous(config, &result).to_string());
                call.add().success()
            }
            None => result,
        }
    }

    fn check(&self, result: &Value) -> Outcome {
        let (call, config) = match &self.fix {
            Some((call, config)) => (call, config.clone()),
            None => (
                &self.main,
                serde_json::from_str(self.main.input()).expect("it is JSON"),
            ),
        };
        call.clone()
            .stdin(&with_previous(&config, result).to_string())
            .check()
    }

    pub(super) fn del(&self) {
        if let Some((call, _)) = &self.fix {
            call.del().success();
        }
        self.main.del().success();
    }
}

/// The reference's plugins are where ours are looked for as well.
pub(super) fn theirs(call: Call<'_>) -> Call<'_> {
    let path = format!("/run/theirs:{}", "/run/plugins");
    call.env("CNI_PATH", path)
}

/// The delegates of a wrapper are the reference's.
pub(super) fn offer_theirs(host: &Host) {
    let theirs = host.plugin_dir(DEBIANS);
    host.run(|| std::os::unix::fs::symlink(theirs, "/run/theirs"))
        .expect("/run is the host's own");
}

/// With each network as the owner, and none: whatever the order, the end is the same.
fn every_order(kinds: &[Kind]) {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    let orders = orders(kinds.len());
    // A stranger comes before all until somebody who cares comes after it.
    let is_fair = |order: &&Vec<usize>| {
        kinds[order[order.len() - 1]] != Kind::Stranger
            && (!kinds.contains(&Kind::Stranger) || kinds[order[order.len() - 1]] == Kind::Wrapped)
    };
    let fair: Vec<_> = orders.iter().filter(is_fair).collect();
    let owners = std::iter::once(None).chain((0..kinds.len()).map(Some));
    for (round, owner) in owners.enumerate() {
        if owner.is_some_and(|owner| kinds[owner] == Kind::Stranger) {
            continue;
        }
        let step = if kinds.len() == 4 { 12 } else { 2 };
        let mut expected = None;
        for (turn, order) in fair.iter().skip(round % step).step_by(step).enumerate() {
            let detach = &orders[(turn * 5 + round) % orders.len()];
            one_order(&scene, kinds, owner, Some(order), detach, &mut expected);
        }
        if !kinds.contains(&Kind::Stranger) {
            let detach = &orders[round % orders.len()];
            one_order(&scene, kinds, owner, None, detach, &mut expected);
        }
    }
}

fn one_order(
    scene: &Scene,
    kinds: &[Kind],
    owner: Option<usize>,
    attach: Option<&[usize]>,
    detach: &[usize],
    expected: &mut Option<[Vec<String>; 2]>,
) {
    let container = scene.host.container("c");
    let keys = |number| match owner == Some(number) {
        true => json!({"defaultRoute": {"priority": 7}}),
        false => json!({}),
    };
    let networks: Vec<Network<'_>> = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| Network::new(*kind, &container, number, keys(number)))
        .collect();
    match attach {
        Some(order) => order.iter().for_each(|number| {
            networks[*number].add();
        }),
        None => {
            let all: Vec<_> = networks
                .iter()
                .map(|network| network.main.clone())
                .collect();
            let results: Vec<_> = at_once(&all, "ADD").iter().map(Outcome::success).collect();
            let fixes = networks
                .iter()
                .zip(&results)
                .filter_map(|(network, result)| {
                    let (call, config) = network.fix.as_ref()?;
                    Some(
                        call.clone()
                            .stdin(&with_previous(config, result).to_string()),
                    )
                });
            at_once(&fixes.collect::<Vec<_>>(), "ADD")
                .iter()
                .for_each(|outcome| {
                    outcome.success();
                });
        }
    }
    let found = [true, false].map(|ipv4| defaults(&container, ipv4));
    let expected = expected.get_or_insert_with(|| found.clone());
    assert_eq!(
        &found, expected,
        "{kinds:?} in the order {attach:?}, owned by {owner:?}"
    );

    let mut here: Vec<usize> = (0..kinds.len()).collect();
    the_owner_serves(scene, &container, kinds, owner, &here);
    for number in detach {
        networks[*number].del();
        here.retain(|other| other != number);
        the_owner_serves(scene, &container, kinds, owner, &here);
    }
}

fn the_owner_serves(
    scene: &Scene,
    container: &Container<'_>,
    kinds: &[Kind],
    owner: Option<usize>,
    here: &[usize],
) {
    let stranger = here
        .iter()
        .copied()
        .find(|number| kinds[*number] == Kind::Stranger);
    let cares = here
        .iter()
        .any(|number| [Kind::Wrapped, Kind::Chained].contains(&kinds[*number]));
    let owner = owner.filter(|owner| here.contains(owner));
    // When nobody is left who cares, a stranger is before all again, as it was made.
    let expected = stranger
        .filter(|_| !cares)
        .or(owner)
        .or(here.first().copied());
    for ipv4 in [true, false] {
        let routes = defaults(container, ipv4);
        if expected.is_some() {
            // Debian's bridges probe their IPv6 addresses before they serve.
            let mut found = None;
            container.wait_until("the owner serves", || {
                found = scene.leaves_by(container, ipv4);
                found.is_some()
            });
            assert_eq!(found, expected, "of {here:?}: {routes:?}");
        }
        assert_eq!(routes.len(), here.len());
    }
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
