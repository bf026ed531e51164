//! Every order of attaching two, three and four networks, all at once, every one of them as the
//! owner, each family and both with different owners; detached in every order.

use libtest_mimic::Trial;
use netns::{Call, Container, Plugins, trial};
use serde_json::{Value, json};

use super::scene::{Scene, at_once, call, defaults, network, orders};

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    let counts = [2, 3, 4];
    let of = |count| {
        trial(
            format!("default-route/every-order/ours/{count}-networks"),
            move || every_order(count),
        )
    };
    counts.map(of).into()
}

/// Who owns the default route, for IPv4 and IPv6: a network, or nobody in particular.
type Owners = [Option<usize>; 2];

/// Nobody, everybody for both families, and for each a different one.
fn owners(count: usize) -> Vec<Owners> {
    let both = (0..count).map(|one| [Some(one), Some(one)]);
    let different = (0..count).map(|one| [Some(one), Some((one + 1) % count)]);
    let one_family = [[Some(count - 1), None], [None, Some(count - 1)]];
    let nobody = std::iter::once([None, None]);
    nobody
        .chain(both)
        .chain(different)
        .chain(one_family)
        .collect()
}

fn configuration(number: usize, owners: Owners) -> Value {
    let owns = owners.map(|owner| owner == Some(number));
    let wish = match owns {
        [false, false] => return network(number, json!({})),
        [true, true] => json!({"priority": 7}),
        [true, false] => json!({"ipv4": {"priority": 7}}),
        [false, true] => json!({"ipv6": true}),
    };
    network(number, json!({"defaultRoute": wish}))
}

fn every_order(count: usize) {
    let scene = Scene::new();
    let orders = orders(count);
    for (round, owners) in owners(count).into_iter().enumerate() {
        // Orders are many; each set of owners gets its share of them, and all at once.
        let step = owners_share(count);
        let mine: Vec<_> = orders.iter().skip(round % step).step_by(step).collect();
        let mut expected = None;
        for (turn, order) in mine.iter().enumerate() {
            let detach = &orders[(turn * 7 + round) % orders.len()];
            one_order(&scene, owners, Some(order), detach, &mut expected);
        }
        one_order(
            &scene,
            owners,
            None,
            &orders[round % orders.len()],
            &mut expected,
        );
    }
}

fn owners_share(count: usize) -> usize {
    match count {
        4 => 12,
        3 => 3,
        _ => 1,
    }
}

fn one_order(
    scene: &Scene,
    owners: Owners,
    attach: Option<&Vec<usize>>,
    detach: &[usize],
    expected: &mut Option<[Vec<String>; 2]>,
) {
    let container = scene.host.container("c");
    let calls: Vec<Call<'_>> = (0..detach.len())
        .map(|number| call(OURS, &container, number, &configuration(number, owners)))
        .collect();
    match attach {
        Some(order) => order.iter().for_each(|number| {
            calls[*number].add().success();
        }),
        None => at_once(&calls, "ADD").iter().for_each(|outcome| {
            outcome.success();
        }),
    }
    let found = [true, false].map(|ipv4| defaults(&container, ipv4));
    let expected = expected.get_or_insert_with(|| found.clone());
    assert_eq!(&found, expected, "attached in the order {attach:?}");

    let mut here: Vec<usize> = (0..detach.len()).collect();
    the_owner_serves(scene, &container, owners, &here);
    for number in detach {
        calls[*number].del().success();
        here.retain(|other| other != number);
        the_owner_serves(scene, &container, owners, &here);
    }
}

/// The owner if it is there, or else the first interface, is the way out of each family.
fn the_owner_serves(scene: &Scene, container: &Container<'_>, owners: Owners, here: &[usize]) {
    for (owner, ipv4) in owners.into_iter().zip([true, false]) {
        let owner = owner.filter(|owner| here.contains(owner));
        let expected = owner.or(here.first().copied());
        let routes = defaults(container, ipv4);
        if expected.is_some() {
            let found = scene.leaves_by(container, ipv4);
            assert_eq!(
                found, expected,
                "of {here:?}, owned by {owners:?}: {routes:?}"
            );
        }
        assert_eq!(routes.len(), here.len());
    }
}
