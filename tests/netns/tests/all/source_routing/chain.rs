//! Lists of plugins with `sbr` in them: CHECK of each goes by the result of the last.

use libtest_mimic::Trial;
use netns::{Call, Container, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use super::{OURS, all_are_answered, call, network, rules, two_networks};
use crate::network::{host_local, merge, with_previous};
use crate::subject::ours;

const DEBIANS: Plugins = Plugins::Debian;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![];
    for (name, main, rest) in [
        ("ours", OURS, vec![json!({"type": "sbr"})]),
        // The reference's own CHECK demands the subnet's route in the main table.
        (
            "debians",
            DEBIANS,
            vec![json!({"type": "sbr", "addSourceHints": true})],
        ),
        (
            "ours-placed-before",
            OURS,
            vec![json!({"type": "default-route"}), json!({"type": "sbr"})],
        ),
        (
            "debians-placed-before",
            DEBIANS,
            vec![
                json!({"type": "default-route", "defaultRoute": true}),
                json!({"type": "sbr", "addSourceHints": true}),
            ],
        ),
        (
            "placed-after",
            OURS,
            vec![json!({"type": "sbr"}), json!({"type": "default-route"})],
        ),
        (
            "made-after",
            OURS,
            vec![
                json!({"type": "sbr"}),
                json!({"type": "default-route", "defaultRoute": true}),
            ],
        ),
        (
            "made-after-debians",
            DEBIANS,
            vec![
                json!({"type": "sbr", "addSourceHints": true}),
                json!({"type": "default-route", "defaultRoute": true}),
            ],
        ),
    ] {
        let name = format!("sbr/in-a-list/{name}");
        trials.push(trial(name, move || in_a_list(main, &rest)));
    }
    trials.extend(ours("sbr/all-or-nothing", all_or_nothing));
    trials.extend(ours("sbr/check-finds-a-lost-default", lost_default));
    trials
}

/// One plugin of a list after the other, each with the result of the one before.
struct List<'h>(Vec<(Call<'h>, Value)>);

impl<'h> List<'h> {
    fn new(main: Plugins, container: &Container<'h>, number: usize, rest: &[Value]) -> Self {
        let first = network(number, json!({}));
        let mut calls = vec![(call(main, container, number, &first), first.clone())];
        for keys in rest {
            let mut config = json!({"cniVersion": "1.0.0", "name": first["name"]});
            merge(&mut config, keys.clone());
            calls.push((call(OURS, container, number, &config), config));
        }
        List(calls)
    }

    fn add(&self) -> Value {
        let mut result = None;
        for (call, config) in &self.0 {
            let input = match &result {
                Some(result) => with_previous(config, result),
                None => config.clone(),
            };
            let added = call.clone().stdin(&input.to_string()).add().success();
            result = Some(added);
        }
        result.expect("a list is not empty")
    }

    fn check(&self, result: &Value) {
        for (call, config) in &self.0 {
            let input = with_previous(config, result).to_string();
            call.clone().stdin(&input).check().success();
        }
    }

    fn del(&self, result: &Value) {
        for (call, config) in self.0.iter().rev() {
            let input = with_previous(config, result).to_string();
            call.clone().stdin(&input).del().success();
        }
    }
}

fn in_a_list(main: Plugins, rest: &[Value]) {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    let lists = [0, 1].map(|number| List::new(main, &container, number, rest));
    let results = [&lists[0], &lists[1]].map(List::add);
    container.wait_until("IPv6 serves", || fabric.reaches("fd00:2::2"));
    all_are_answered(&fabric, &container);
    for (list, result) in lists.iter().zip(&results) {
        list.check(result);
        // What it says is so.
        for route in result["routes"].as_array().into_iter().flatten() {
            let is_ipv6 = route["dst"] == "::/0";
            let family = if is_ipv6 { "-6" } else { "-4" };
            let there = container.routes(family);
            let is_it =
                |found: &&Value| found["dst"] == "default" && found["metric"] == route["priority"];
            assert!(
                there.iter().any(|found| is_it(&found)),
                "{route}: {there:?}"
            );
        }
    }
    let is_made = rest.last().is_some_and(|last| last["defaultRoute"] == true);
    if is_made {
        // The ways that were made serve whoever has chosen no address.
        for far in super::FAR {
            container.tcp(&fabric, far).expect("the far end answers");
        }
        assert_eq!(
            container
                .routes("-4")
                .iter()
                .filter(|route| route["dst"] == "default")
                .count(),
            2
        );
    }
    for (list, result) in lists.iter().zip(&results) {
        list.del(result);
    }
    assert_eq!(rules(&container), Vec::<String>::new());
    assert_eq!(container.routes("-4"), Vec::<Value>::new());
}

/// A gateway that cannot be reached is noticed when half of the tables are written.
fn all_or_nothing() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    let mut plain = network(1, json!({"cniVersion": "1.1.0"}));
    // Ways of every kind, which all have to come back.
    plain["ipam"] = host_local(&["10.2.0.0/24", "fd00:2::/64"]);
    plain["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"},
        {"dst": "172.16.0.0/12", "gw": "10.2.0.9", "mtu": 1400},
        {"dst": "fd77::/48", "gw": "fd00:2::9", "priority": 7},
        {"dst": "192.0.2.200/32", "scope": 253}]);
    let result = call(OURS, &container, 1, &plain).add().success();
    let before = Snapshot::of(&container, &[]);
    for hints in [false, true] {
        for gateway in ["192.168.9.9", "2001:db8:9::9"] {
            let sbr = json!({"cniVersion": "1.1.0", "name": "net1", "type": "sbr",
                "gateways": [gateway], "addSourceHints": hints});
            for _ in 0..3 {
                let error = call(OURS, &container, 1, &with_previous(&sbr, &result))
                    .add()
                    .failure();
                let told = error["msg"].as_str().unwrap_or_default();
                assert!(told.contains(gateway), "{error}");
            }
            before.assert_same(&Snapshot::of(&container, &[]), "after ADDs that failed");
        }
    }
    // Over a finished one, a failing repetition changes nothing either.
    let sbr = json!({"cniVersion": "1.1.0", "name": "net1", "type": "sbr"});
    let done = call(OURS, &container, 1, &with_previous(&sbr, &result))
        .add()
        .success();
    assert_eq!(
        done["routes"],
        Value::Null,
        "none is left in the main table"
    );
    let finished = Snapshot::of(&container, &[]);
    let mut wrong = sbr.clone();
    wrong["gateways"] = json!(["10.2.0.9", "2001:db8:9::9"]);
    call(OURS, &container, 1, &with_previous(&wrong, &result))
        .add()
        .failure();
    finished.assert_same(
        &Snapshot::of(&container, &[]),
        "after a repetition that failed",
    );
    call(OURS, &container, 1, &with_previous(&sbr, &done))
        .check()
        .success();
    let first = network(0, json!({}));
    let attached = call(OURS, &container, 0, &first).add().success();
    let sbr = json!({"cniVersion": "1.0.0", "name": "net0", "type": "sbr"});
    call(OURS, &container, 0, &with_previous(&sbr, &attached))
        .add()
        .success();
    all_are_answered(&fabric, &container);
}

fn lost_default() {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let rest = [json!({"type": "sbr"})];
    let list = List::new(OURS, &container, 1, &rest);
    let result = list.add();
    container.ip("route del default table 100");
    let (call, config) = &list.0[1];
    let check = call
        .clone()
        .stdin(&with_previous(config, &result).to_string());
    let error = check.check().failure();
    let says = "table 100 for 10.2.0.2: expected a default route via 10.2.0.1, found 10.2.0.0/24";
    assert_eq!(error["msg"], says);
}
