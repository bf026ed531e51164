//! How plans work out, against a model of the kernel's table.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["lo", "eth0", "eth1", "eth2", "eth3"];

fn name(link: u32) -> Option<&'static str> {
    NAMES.get(link as usize).copied()
}

fn hop(link: u32) -> NextHop {
    NextHop::new(link, Some(format!("fd0{link}::1").parse().unwrap()))
}

/// A route as the reference makes it: without a metric.
fn plain(link: u32) -> RouteEntry {
    let mut route = RouteEntry::new("::/0".parse().unwrap(), link, None);
    route.next_hops = vec![hop(link)];
    route.priority = Some(1024);
    route.protocol = BOOT;
    route
}

fn own(link: u32, wish: Option<Wish>) -> Own<'static> {
    Own {
        link,
        ifname: NAMES[link as usize],
        wish,
        advertisements: Advertisements::Remetric,
    }
}

/// IPv6's table: what has one metric is one route.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table(BTreeMap<u32, Vec<(u32, u8)>>);

impl Table {
    /// Adds a route as the reference does: as one more way if there is one.
    fn append(&mut self, route: &RouteEntry) {
        let hops = self.0.entry(route.priority.unwrap_or(1024)).or_default();
        hops.extend(route.next_hops.iter().map(|hop| (hop.link, route.protocol)));
    }

    fn routes(&self) -> Vec<RouteEntry> {
        let route = |(metric, hops): (&u32, &Vec<(u32, u8)>)| {
            let mut route = plain(hops[0].0);
            route.priority = Some(*metric);
            route.protocol = hops[0].1;
            route.next_hops = hops.iter().map(|(link, _)| hop(*link)).collect();
            route
        };
        self.0.iter().map(route).collect()
    }

    fn carry_out(&mut self, changes: &Changes) {
        for route in &changes.set {
            self.0.remove(&route.priority.unwrap_or(1024));
            self.append(route);
        }
        for route in &changes.add {
            let taken = self.0.contains_key(&route.priority.unwrap_or(1024));
            assert!(!taken, "exclusive: {route:?} in {self:?}");
            self.append(route);
        }
        for route in &changes.delete {
            let metric = route.priority.unwrap_or(1024);
            let hops = self.0.entry(metric).or_default();
            hops.retain(|(link, _)| !route.next_hops.iter().any(|hop| hop.link == *link));
            if hops.is_empty() {
                self.0.remove(&metric);
            }
        }
    }

    fn converge(&mut self, own: &Own<'_>) {
        for _ in 0..8 {
            let changes = changes(&self.routes(), own, name);
            if changes.is_empty() {
                return;
            }
            self.carry_out(&changes);
        }
        panic!("no end: {self:?}");
    }

    fn gone(&mut self, link: u32) {
        for hops in self.0.values_mut() {
            hops.retain(|(other, _)| *other != link);
        }
        self.0.retain(|_, hops| !hops.is_empty());
    }
}

#[test]
fn a_shared_route_is_taken_apart() {
    let mut table = Table::default();
    for link in [2, 1] {
        table.append(&plain(link));
    }
    assert_eq!(table.routes().len(), 1);
    table.converge(&own(2, Some(Wish::First)));
    let expected = BTreeMap::from([
        (order::metric(0, "eth1"), vec![(2, PLACED)]),
        (order::metric_aside("eth0"), vec![(1, SET_ASIDE)]),
    ]);
    assert_eq!(table.0, expected);
    // Its own attachment places what another set aside.
    table.converge(&own(1, None));
    let metrics: Vec<_> = table
        .0
        .iter()
        .map(|(metric, hops)| (*metric, hops[0]))
        .collect();
    assert_eq!(metrics[1], (order::metric(100, "eth0"), (1, PLACED)));
}

#[test]
fn a_metric_that_somebody_chose_stays() {
    let mut chosen = plain(1);
    chosen.priority = Some(50);
    let mut table = Table::default();
    table.append(&chosen);
    table.converge(&own(2, None));
    assert_eq!(table.0, BTreeMap::from([(50, vec![(1, BOOT)])]));
    table.converge(&own(1, None));
    assert_eq!(table.0, BTreeMap::from([(50, vec![(1, PLACED)])]));
    // Two that chose the same share nothing any more; the first keeps it.
    chosen.next_hops = vec![hop(1), hop(2)];
    let mut table = Table::default();
    table.append(&chosen);
    table.converge(&own(2, None));
    assert_eq!(
        table.0,
        BTreeMap::from([(50, vec![(1, BOOT)]), (51, vec![(2, PLACED)])])
    );
}

#[test]
fn advertised_routes_are_kept_placed_or_refused() {
    let mut advertised = plain(1);
    advertised.protocol = ADVERTISED;
    let with = |advertisements, wish| {
        let mut table = Table::default();
        table.append(&advertised);
        table.converge(&Own {
            advertisements,
            ..own(1, wish)
        });
        table
            .0
            .into_iter()
            .map(|(metric, hops)| (metric, hops[0].1))
            .collect::<Vec<_>>()
    };
    let placed = (order::metric(100, "eth0"), ADVERTISED);
    assert_eq!(with(Advertisements::Remetric, None), [placed]);
    assert_eq!(with(Advertisements::Keep, None), [(1024, ADVERTISED)]);
    assert_eq!(with(Advertisements::Refuse, None), []);
    assert_eq!(with(Advertisements::Remetric, Some(Wish::None)), []);
}

#[test]
fn a_route_of_several_ways_out_of_one_link_stays_one() {
    let mut two_routers = plain(1);
    two_routers
        .next_hops
        .push(NextHop::new(1, Some("fd01::2".parse().unwrap())));
    let changes = changes(&[two_routers.clone()], &own(1, None), name);
    assert_eq!(changes.add[0].next_hops, two_routers.next_hops);
    assert_eq!(changes.delete, [two_routers]);
}

#[test]
fn routes_that_lead_nowhere_and_other_tables_are_not_looked_at() {
    let mut unreachable = plain(1);
    unreachable.is_unicast = false;
    let mut near = plain(2);
    near.dst = "fd00::/64".parse().unwrap();
    assert!(changes(&[unreachable, near], &own(1, None), name).is_empty());
}

proptest! {
    /// Foreign plugins add routes without metrics, as more ways of those that are
    /// there; each is followed at any later time by its own attachment's run.
    /// Whatever comes between, the end is the same, and so is what is left of it.
    #[test]
    fn any_interleaving_ends_the_same(
        wishes in prop::collection::vec(prop::option::of(0..=200_u32), 4),
        steps in Just([1, 2, 3, 4, 1, 2, 3, 4].to_vec()).prop_shuffle(),
        leaving in Just([1, 2, 3, 4].to_vec()).prop_shuffle(),
        strangers in prop::collection::vec(any::<bool>(), 4),
    ) {
        let own_of = |link: u32| own(link, wishes[link as usize - 1].map(Wish::Priority));
        let is_stranger = |link: u32| strangers[link as usize - 1] && link != 4;
        let mut table = Table::default();
        let mut seen = std::collections::BTreeSet::new();
        for link in steps {
            if seen.insert(link) {
                table.append(&plain(link));
            } else if !is_stranger(link) {
                table.converge(&own_of(link));
            }
        }
        // The last of those that care, once more: nobody comes after it.
        table.converge(&own_of(4));
        let expected: BTreeMap<_, _> = (1..=4).map(|link| {
            let own = own_of(link);
            match is_stranger(link) {
                true => (order::metric_aside(own.ifname), vec![(link, SET_ASIDE)]),
                false => {
                    let priority = wishes[link as usize - 1].unwrap_or(order::DEFAULT_PRIORITY);
                    (order::metric(priority, own.ifname), vec![(link, PLACED)])
                }
            }
        }).collect();
        prop_assert_eq!(&table.0, &expected);
        let owner = expected.values().next().unwrap()[0].0;
        prop_assert_eq!(rightful_owner(&table.routes(), name), Some(owner));

        for (count, link) in leaving.iter().enumerate() {
            if !is_stranger(*link) {
                table.carry_out(&leave(&table.routes(), *link));
            }
            table.gone(*link);
            table.carry_out_restored();
            let left = &leaving[count + 1..];
            let cares = left.iter().any(|link| !is_stranger(*link));
            let strangers = left.iter().filter(|link| is_stranger(**link)).count();
            let before_all = table.0.get(&1024).map_or(0, Vec::len);
            prop_assert_eq!(before_all, if cares { 0 } else { strangers });
        }
    }
}

impl Table {
    /// Those that are put back share the load again, as they did before.
    fn carry_out_restored(&mut self) {
        let changes = restore(&self.routes());
        for route in &changes.add {
            self.append(route);
        }
        self.carry_out(&Changes {
            delete: changes.delete,
            ..Changes::default()
        });
    }
}
