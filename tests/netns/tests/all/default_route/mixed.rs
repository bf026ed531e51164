//! Networks of plugins that know nothing of each other: ours, the reference's with
//! `default-route` after them or around them, and the reference's alone.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Outcome, Plugins, trial};
use serde_json::{Value, json};

use super::scene::{BOTH, Families, Scene, at_once, call, defaults, label, network_of, orders};
use crate::network::{merge, with_previous};

const OURS: Plugins = Plugins::Slash24;
const DEBIANS: Plugins = Plugins::Debian;

pub(super) fn trials() -> Vec<Trial> {
    use Kind::{Chained, Ours, Stranger, Wrapped};
    let mut trials = Vec::new();
    for (name, kinds, families) in [
        ("wrapped", vec![Wrapped, Wrapped, Wrapped, Ours], BOTH),
        ("chained", vec![Chained; 3], BOTH),
        ("wrapped-with-ours", vec![Wrapped, Ours, Chained], BOTH),
        ("with-a-stranger", vec![Stranger, Ours, Wrapped], BOTH),
        ("wrapped", vec![Wrapped, Ours], BOTH),
        ("wrapped", vec![Chained, Wrapped], BOTH),
        ("with-a-stranger", vec![Stranger, Wrapped], BOTH),
        (
            "with-two-strangers",
            vec![Stranger, Wrapped, Stranger],
            BOTH,
        ),
        ("mixed", vec![Wrapped, Ours, Chained], &[true]),
        ("mixed", vec![Ours, Chained, Wrapped], &[false]),
        ("with-a-stranger", vec![Wrapped, Stranger], &[true]),
        ("with-a-stranger", vec![Wrapped, Stranger], &[false]),
    ] {
        let (count, label) = (kinds.len(), label(families));
        let first = format!("{:?}", kinds[0]).to_lowercase();
        let name =
            format!("default-route/every-order/{name}/{count}-networks/{first}-first/{label}");
        trials.push(trial(name, move || every_order(&kinds, families)));
    }
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

impl Kind {
    /// Whether `default-route` comes with it.
    fn cares(self) -> bool {
        [Kind::Wrapped, Kind::Chained].contains(&self)
    }
}

/// One network's attachment, however many calls it takes.
pub(super) struct Network<'h> {
    pub(super) main: Call<'h>,
    fix: Option<(Call<'h>, Value)>,
}

impl<'h> Network<'h> {
    pub(super) fn new(kind: Kind, container: &Container<'h>, number: usize, keys: Value) -> Self {
        Self::of(BOTH, kind, container, number, keys)
    }

    fn of(
        families: Families,
        kind: Kind,
        container: &Container<'h>,
        number: usize,
        keys: Value,
    ) -> Self {
        let mut plain = network_of(families, number, json!({}));
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
                let config = network_of(families, number, keys);
                let main = call(OURS, container, number, &config);
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

    pub(super) fn check(&self, result: &Value) -> Outcome {
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
fn every_order(kinds: &[Kind], families: Families) {
    let scene = Scene::new();
    offer_theirs(&scene.host);
    without_probing(&scene.host);
    let orders = orders(kinds.len());
    let has_stranger = kinds.contains(&Kind::Stranger);
    // A stranger comes before all until somebody who cares comes after it.
    let is_fair = |order: &&Vec<usize>| {
        let last = kinds[order[order.len() - 1]];
        !has_stranger || last.cares()
    };
    let fair: Vec<_> = orders.iter().filter(is_fair).collect();
    let owners = std::iter::once(None).chain((0..kinds.len()).map(Some));
    for (round, owner) in owners.enumerate() {
        if owner.is_some_and(|owner| kinds[owner] == Kind::Stranger) {
            continue;
        }
        let mut expected = None;
        let mut one_order = |order: Option<&[usize]>, detach: &[usize]| {
            one_order(&scene, kinds, families, owner, order, detach, &mut expected);
        };
        // Of four there are many orders: each is one owner's.
        let share = if kinds.len() == 4 { kinds.len() + 1 } else { 1 };
        let all = fair.iter().enumerate();
        for (turn, order) in all.skip(round % share).step_by(share) {
            // Each order of detaching as well.
            let turns = if has_stranger { orders.len() } else { 1 };
            for again in 0..turns {
                one_order(Some(order), &orders[(turn * 5 + again) % orders.len()]);
            }
        }
        one_order(None, &orders[round % orders.len()]);
    }
}

/// The reference's waits until the kernel has found out that nobody else has its IPv6
/// addresses, a second or two each time; here nobody has.
fn without_probing(place: &impl Namespace) {
    place.run(|| {
        for group in ["all", "default"] {
            let parameter = format!("/proc/sys/net/ipv6/conf/{group}/accept_dad");
            std::fs::write(parameter, "0").expect("every kernel with IPv6 has it");
        }
    });
}

fn one_order(
    scene: &Scene,
    kinds: &[Kind],
    families: Families,
    owner: Option<usize>,
    attach: Option<&[usize]>,
    detach: &[usize],
    expected: &mut Option<[Vec<String>; 2]>,
) {
    let container = scene.host.container("c");
    without_probing(&container);
    let keys = |number| match owner == Some(number) {
        true => json!({"defaultRoute": {"priority": 7}}),
        false => json!({}),
    };
    let networks: Vec<Network<'_>> = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| Network::of(families, *kind, &container, number, keys(number)))
        .collect();
    match attach {
        Some(order) => order.iter().for_each(|number| {
            networks[*number].add();
        }),
        None => {
            // A stranger needs somebody who cares after it, who starts once it is there.
            let is_last = |number: usize| {
                let has_stranger = kinds.contains(&Kind::Stranger);
                has_stranger && kinds.iter().rposition(|kind| kind.cares()) == Some(number)
            };
            let (last, networks): (Vec<_>, Vec<_>) = networks
                .iter()
                .enumerate()
                .partition(|(number, _)| is_last(*number));
            let networks: Vec<_> = networks.into_iter().map(|(_, network)| network).collect();
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
            last.iter().for_each(|(_, network)| {
                network.add();
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
    the_owner_serves(scene, &container, kinds, families, owner, &here);
    for number in detach {
        networks[*number].del();
        here.retain(|other| other != number);
        the_owner_serves(scene, &container, kinds, families, owner, &here);
    }
}

fn the_owner_serves(
    scene: &Scene,
    container: &Container<'_>,
    kinds: &[Kind],
    families: Families,
    owner: Option<usize>,
    here: &[usize],
) {
    let kind_of = |number: &&usize| kinds[**number];
    let mut strangers = here
        .iter()
        .filter(|number| kind_of(number) == Kind::Stranger);
    let stranger = strangers.next().copied();
    let cares = here.iter().any(|number| kinds[*number].cares());
    let owner = owner.filter(|owner| here.contains(owner));
    // When nobody is left who cares, a stranger is before all again, as it was made; of two
    // the first that came is for IPv4, and for IPv6 both share the load.
    let is_shared = !cares && strangers.next().is_some();
    let expected = stranger
        .filter(|_| !cares)
        .or(owner)
        .or(here.first().copied());
    for ipv4 in families.iter().copied() {
        if is_shared {
            assert!(scene.leaves_by(container, ipv4).is_some());
            continue;
        }
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
