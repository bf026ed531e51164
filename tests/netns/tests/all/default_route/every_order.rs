//! Every order of attaching two, three and four networks, all at once, every one of them as the
//! owner, each family and both with different owners; detached in every order.

use libtest_mimic::Trial;
use netns::{Call, Container, Plugins, trial};
use serde_json::{Value, json};

use super::scene::{BOTH, Families, Scene, at_once, call, defaults, label, network_of, orders};

const OURS: Plugins = Plugins::Slash24;

pub(super) fn trials() -> Vec<Trial> {
    let both = [2, 3, 4].map(|count| (count, BOTH));
    let one: [(usize, Families); 4] = [(2, &[true]), (2, &[false]), (3, &[true]), (3, &[false])];
    let mut trials = Vec::new();
    for (count, families) in both.into_iter().chain(one) {
        let name = format!("{count}-networks/{}", label(families));
        for (part, owners) in parts(count, families).into_iter().enumerate() {
            trials.push(trial(
                format!("default-route/every-order/ours/{name}/{part}"),
                move || every_order(count, families, &owners),
            ));
        }
    }
    trials
}

/// Who owns the default route in one trial after the other: of four networks each has many
/// orders.
fn parts(count: usize, families: Families) -> Vec<Vec<Owners>> {
    let mut owners = owners(count);
    // In a family that no network has nobody can own anything.
    owners.retain(|owners| match families {
        [ipv4] => owners[usize::from(*ipv4)].is_none(),
        _ => true,
    });
    let size = if count == 4 { 2 } else { owners.len() };
    owners.chunks(size).map(<[Owners]>::to_vec).collect()
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

fn configuration(number: usize, families: Families, owners: Owners) -> Value {
    let owns = owners.map(|owner| owner == Some(number));
    let wish = match owns {
        [false, false] => return network_of(families, number, json!({})),
        [true, true] => json!({"priority": 7}),
        [true, false] => json!({"ipv4": {"priority": 7}}),
        [false, true] => json!({"ipv6": true}),
    };
    network_of(families, number, json!({"defaultRoute": wish}))
}

fn every_order(count: usize, families: Families, owners: &[Owners]) {
    let scene = Scene::new();
    let orders = orders(count);
    for owners in owners {
        let mut expected = None;
        // Each order of attaching, and each of detaching, and all at once.
        for (turn, order) in orders.iter().map(Some).chain([None]).enumerate() {
            let detach = &orders[(turn * 7) % orders.len()];
            one_order(&scene, families, *owners, order, detach, &mut expected);
        }
    }
}

fn one_order(
    scene: &Scene,
    families: Families,
    owners: Owners,
    attach: Option<&Vec<usize>>,
    detach: &[usize],
    expected: &mut Option<[Vec<String>; 2]>,
) {
    let container = scene.host.container("c");
    let calls: Vec<Call<'_>> = (0..detach.len())
        .map(|number| {
            call(
                OURS,
                &container,
                number,
                &configuration(number, families, owners),
            )
        })
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
    the_owner_serves(scene, &container, families, owners, &here);
    for number in detach {
        calls[*number].del().success();
        here.retain(|other| other != number);
        the_owner_serves(scene, &container, families, owners, &here);
    }
}

/// The owner if it is there, or else the first interface, is the way out of each family.
fn the_owner_serves(
    scene: &Scene,
    container: &Container<'_>,
    families: Families,
    owners: Owners,
    here: &[usize],
) {
    for (owner, ipv4) in owners.into_iter().zip([true, false]) {
        if !families.contains(&ipv4) {
            assert_eq!(defaults(container, ipv4), Vec::<String>::new());
            continue;
        }
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
