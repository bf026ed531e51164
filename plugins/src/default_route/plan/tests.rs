//! How plans work out, against a model of the kernel's tables.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::KEPT;
use super::super::set_aside::restore;
use super::*;

const NAMES: [&str; 7] = ["lo", "eth0", "eth1", "eth2", "eth3", "eth4", "eth5"];
const BOOT: u8 = 3;

fn name(link: u32) -> Option<&'static str> {
    NAMES.get(link as usize).copied()
}

fn hop(ipv4: bool, link: u32) -> NextHop {
    let gateway = match ipv4 {
        true => format!("10.{link}.0.1"),
        false => format!("fd0{link}::1"),
    };
    NextHop::new(link, Some(gateway.parse().unwrap()))
}

/// A route as the reference makes it: without a metric.
fn plain_of(ipv4: bool, link: u32) -> RouteEntry {
    let dst = if ipv4 { "0.0.0.0/0" } else { "::/0" };
    let mut route = RouteEntry::new(dst.parse().unwrap(), link, None);
    route.next_hops = vec![hop(ipv4, link)];
    route.protocol = BOOT;
    route.priority = Some(kernels_metric(&route));
    route
}

fn plain(link: u32) -> RouteEntry {
    plain_of(false, link)
}

fn own(link: u32, wish: Option<Wish>) -> Own<'static> {
    Own {
        link,
        ifname: NAMES[link as usize],
        wish,
        advertisements: Advertisements::Remetric,
    }
}

fn found(main: &[RouteEntry]) -> Found {
    Found {
        main: main.to_vec(),
        kept: Vec::new(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Append,
    Prepend,
    Replace,
}

/// A table of one family. IPv4 has routes one after the other, also of one metric. IPv6
/// has ways, and those of one metric are one route: whoever adds another adds to it.
#[derive(Clone, Debug, PartialEq)]
struct Routes {
    ipv4: bool,
    entries: Vec<RouteEntry>,
}

fn metric_of(route: &RouteEntry) -> u32 {
    route.priority.unwrap_or(kernels_metric(route))
}

fn same_ways(one: &RouteEntry, other: &RouteEntry) -> bool {
    let mut both = one.next_hops.iter().zip(&other.next_hops);
    one.next_hops.len() == other.next_hops.len() && both.all(|(one, other)| one.is_same_way(other))
}

impl Routes {
    /// Whether it was not there yet.
    fn insert(&mut self, route: &RouteEntry, how: How) -> bool {
        let metric = metric_of(route);
        let mut route = route.clone();
        route.priority = Some(metric);
        let parts = match self.ipv4 {
            true => vec![route],
            false => {
                let ways = route.next_hops.iter();
                ways.map(|hop| route.with_hops(vec![hop.clone()])).collect()
            }
        };
        if how == How::Replace {
            self.entries.retain(|entry| metric_of(entry) != metric);
        }
        let is_there = |part: &RouteEntry| {
            let mut entries = self.entries.iter();
            entries.any(|entry| metric_of(entry) == metric && same_ways(entry, part))
        };
        if parts.iter().any(is_there) {
            return false;
        }
        for part in parts {
            let after = |entry: &RouteEntry| match how {
                How::Prepend if self.ipv4 => metric_of(entry) >= metric,
                _ => metric_of(entry) > metric,
            };
            let place = self.entries.iter().position(after);
            self.entries
                .insert(place.unwrap_or(self.entries.len()), part);
        }
        true
    }

    /// Who set it counts, if it is said.
    fn delete(&mut self, route: &RouteEntry) {
        let is_it = |entry: &RouteEntry, ways: &RouteEntry| {
            metric_of(entry) == metric_of(route)
                && same_ways(entry, ways)
                && (route.protocol == 0 || route.protocol == entry.protocol)
        };
        if self.ipv4 {
            let place = self.entries.iter().position(|entry| is_it(entry, route));
            place.map(|place| self.entries.remove(place));
            return;
        }
        for hop in &route.next_hops {
            let way = route.with_hops(vec![hop.clone()]);
            self.entries.retain(|entry| !is_it(entry, &way));
        }
    }

    /// As the kernel tells them.
    fn told(&self) -> Vec<RouteEntry> {
        let mut told: Vec<RouteEntry> = Vec::new();
        for entry in &self.entries {
            match told.last_mut() {
                Some(last) if !self.ipv4 && last.priority == entry.priority => {
                    last.next_hops.extend(entry.next_hops.clone());
                }
                _ => told.push(entry.clone()),
            }
        }
        told
    }

    /// With one way IPv4 loses all of a route.
    fn gone(&mut self, link: u32) {
        self.entries
            .retain(|entry| entry.next_hops.iter().all(|hop| hop.link != link));
    }
}

/// The main table, and that of copies.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    main: Routes,
    kept: Routes,
}

impl Default for Table {
    fn default() -> Self {
        Table::of(false)
    }
}

impl Table {
    fn of(ipv4: bool) -> Self {
        let empty = || Routes {
            ipv4,
            entries: Vec::new(),
        };
        Table {
            main: empty(),
            kept: empty(),
        }
    }

    /// Adds a route as the reference does: as one more way if there is one.
    fn append(&mut self, route: &RouteEntry) {
        assert!(self.main.insert(route, How::Append));
    }

    fn found(&self) -> Found {
        Found {
            main: self.main.told(),
            kept: self.kept.told(),
        }
    }

    fn routes(&self) -> Vec<RouteEntry> {
        self.main.told()
    }

    fn place(&mut self, route: &RouteEntry) -> &mut Routes {
        match route.table == Some(KEPT) {
            true => &mut self.kept,
            false => &mut self.main,
        }
    }

    /// As converge does it: what is refused keeps what it was to take the place of. One
    /// who is killed has deleted nothing.
    fn carry_out(&mut self, changes: &Changes, is_killed: bool) {
        let mut made = true;
        for (routes, how) in [
            (&changes.set, How::Replace),
            (&changes.add, How::Append),
            (&changes.put_first, How::Prepend),
        ] {
            for route in routes {
                made &= self.place(route).insert(route, how);
            }
        }
        if made && !is_killed {
            changes
                .delete
                .iter()
                .for_each(|route| self.place(route).delete(route));
        }
    }

    fn step(&mut self, plan: impl Fn(&Found) -> Changes) {
        for _ in 0..16 {
            let changes = plan(&self.found());
            if changes.is_empty() {
                return;
            }
            self.carry_out(&changes, false);
        }
        panic!("no end: {self:?}");
    }

    fn converge(&mut self, own: &Own<'_>) {
        self.step(|found| changes(found, own, name));
    }

    fn gone(&mut self, link: u32) {
        self.main.gone(link);
        self.kept.gone(link);
    }

    /// What is at each metric: by which link, set by whom.
    fn by_metric(&self) -> BTreeMap<u32, Vec<(u32, u8)>> {
        let mut all: BTreeMap<u32, Vec<(u32, u8)>> = BTreeMap::new();
        for entry in &self.main.entries {
            let hops = entry.next_hops.iter().map(|hop| (hop.link, entry.protocol));
            all.entry(metric_of(entry)).or_default().extend(hops);
        }
        all
    }
}

#[test]
fn a_shared_route_is_taken_apart() {
    let mut table = Table::default();
    for link in [2, 1] {
        table.append(&plain(link));
    }
    assert_eq!(table.routes().len(), 1);
    table.converge(&own(2, Some(Wish::FIRST)));
    let expected = BTreeMap::from([
        (order::metric(0, "eth1"), vec![(2, PLACED)]),
        (order::metric_aside("eth0"), vec![(1, SET_ASIDE)]),
    ]);
    assert_eq!(table.by_metric(), expected);
    // Its own attachment places what another set aside.
    table.converge(&own(1, None));
    let metrics: Vec<_> = table
        .by_metric()
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
    assert_eq!(table.by_metric(), BTreeMap::from([(50, vec![(1, BOOT)])]));
    table.converge(&own(1, None));
    assert_eq!(table.by_metric(), BTreeMap::from([(50, vec![(1, PLACED)])]));
    // Two that chose the same share nothing any more; the first keeps it.
    chosen.next_hops = vec![hop(false, 1), hop(false, 2)];
    let mut table = Table::default();
    table.append(&chosen);
    table.converge(&own(2, None));
    assert_eq!(
        table.by_metric(),
        BTreeMap::from([(50, vec![(1, BOOT)]), (51, vec![(2, PLACED)])])
    );
}

#[test]
fn ways_that_share_a_chosen_metric_may_have_been_set_by_different_ones() {
    let mut table = Table::default();
    for (link, protocol) in [(1, BOOT), (2, 4)] {
        let mut route = plain(link);
        (route.priority, route.protocol) = (Some(50), protocol);
        table.append(&route);
    }
    table.converge(&own(2, None));
    let expected = BTreeMap::from([(50, vec![(1, BOOT)]), (51, vec![(2, PLACED)])]);
    assert_eq!(table.by_metric(), expected);
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
            .by_metric()
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
    let changes = changes(&found(&[two_routers.clone()]), &own(1, None), name);
    assert_eq!(changes.add[0].next_hops, two_routers.next_hops);
    assert!(same_ways(&changes.delete[0], &two_routers));
}

#[test]
fn what_serves_is_what_comes_first_also_when_it_leads_nowhere() {
    let with = |link, metric| {
        let mut route = plain(link);
        route.priority = Some(metric);
        route
    };
    let mut no_way = with(1, 1024);
    no_way.is_unicast = false;
    let mut shared = with(1, 9);
    shared.next_hops.push(hop(false, 2));
    for (routes, expected) in [
        (vec![], Serving::Nothing),
        (vec![with(2, 2000), with(1, 1500)], Serving::Link(1)),
        (vec![with(2, 2000), no_way.clone()], Serving::NoWay),
        (vec![with(2, 1000), no_way], Serving::Link(2)),
        (vec![with(3, 10), shared], Serving::Several),
    ] {
        assert_eq!(serving(&routes), expected, "{routes:?}");
    }
}

#[test]
fn the_kernels_own_metric_may_be_chosen() {
    let mut chosen = plain(2);
    chosen.protocol = 200;
    let mut first = plain(1);
    first.priority = Some(order::metric(100, "eth0"));
    let routes = [chosen, first.clone()];
    assert_eq!(rightful_owner(&routes, name), Some(2));
    assert_eq!(rightful_owner(&[plain(2), first], name), Some(1));
}

#[test]
fn routes_that_lead_nowhere_and_other_tables_are_not_looked_at() {
    let mut unreachable = plain(1);
    unreachable.is_unicast = false;
    let mut near = plain(2);
    near.dst = "fd00::/64".parse().unwrap();
    assert!(changes(&found(&[unreachable, near]), &own(1, None), name).is_empty());
}

#[test]
fn who_comes_back_is_who_it_was() {
    for ipv4 in [true, false] {
        let mut table = Table::of(ipv4);
        let mut shared = plain_of(ipv4, 1);
        shared.next_hops = vec![hop(ipv4, 3).with_weight(2), hop(ipv4, 1)];
        shared.protocol = 16;
        table.append(&shared);
        table.append(&plain_of(ipv4, 4));
        let before = table.clone();
        table.append(&plain_of(ipv4, 2));
        table.converge(&own(2, None));
        assert_eq!(table.by_metric().len(), 4, "each has a metric");
        table.gone(2);
        table.step(restore);
        // Of IPv6 ways the kernel tells one's setter.
        if ipv4 {
            assert_eq!(table, before);
        }
        assert_eq!(ways(&table), ways(&before));
    }
}

/// What matters of the routes that nobody gave a metric.
fn ways(table: &Table) -> Vec<Vec<NextHop>> {
    let mut ways: Vec<_> = table
        .main
        .entries
        .iter()
        .map(|entry| entry.next_hops.clone())
        .collect();
    if !table.main.ipv4 {
        ways.sort_by_key(|hops| hops[0].link);
    }
    ways
}

proptest! {
    /// Foreign plugins add routes without metrics, as more ways of those that are
    /// there; each is followed at any later time by its own attachment's run, which may
    /// be killed and done again. Whatever comes between, the end is the same, and when
    /// all have gone that care what is left is as if they had never been.
    #[test]
    fn any_interleaving_ends_the_same(
        ipv4 in any::<bool>(),
        wishes in prop::collection::vec(prop::option::of(0..=200_u32), 4),
        steps in Just([1, 2, 3, 4, 1, 2, 3, 4, 5].to_vec()).prop_shuffle(),
        leaving in Just([1, 2, 3, 4].to_vec()).prop_shuffle(),
        strangers in prop::collection::vec(any::<bool>(), 4),
        protocols in prop::collection::vec(prop::sample::select(vec![BOOT, 4, 16]), 6),
        killed in prop::collection::vec(any::<bool>(), 9),
    ) {
        let own_of = |link: u32| own(link, wishes[link as usize - 1].map(Wish::Priority));
        let is_stranger = |link: u32| link == 5 || (strangers[link as usize - 1] && link != 4);
        let route_of = |link: u32| {
            let mut route = plain_of(ipv4, link);
            route.protocol = protocols[link as usize];
            if link == 5 {
                // One that somebody shares between two links, which stay.
                route.next_hops = vec![hop(ipv4, 6), hop(ipv4, 5).with_weight(2)];
            }
            route
        };
        let (mut table, mut without) = (Table::of(ipv4), Table::of(ipv4));
        let mut seen = std::collections::BTreeSet::new();
        for (link, is_killed) in steps.into_iter().zip(killed) {
            if seen.insert(link) {
                table.append(&route_of(link));
                if is_stranger(link) {
                    without.append(&route_of(link));
                }
            } else if !is_stranger(link) {
                if is_killed {
                    let changes = changes(&table.found(), &own_of(link), name);
                    table.carry_out(&changes, true);
                }
                table.converge(&own_of(link));
            }
        }
        // The last of those that care, once more: nobody comes after it.
        table.converge(&own_of(4));
        let expected: BTreeMap<_, _> = (1..=6).map(|link| {
            let ifname = NAMES[link as usize];
            match link > 4 || is_stranger(link) {
                true => (order::metric_aside(ifname), vec![(link, SET_ASIDE)]),
                false => {
                    let priority = wishes[link as usize - 1].unwrap_or(order::DEFAULT_PRIORITY);
                    (order::metric(priority, ifname), vec![(link, PLACED)])
                }
            }
        }).collect();
        prop_assert_eq!(table.by_metric(), expected.clone());
        let owner = expected.values().next().unwrap()[0].0;
        prop_assert_eq!(rightful_owner(&table.routes(), name), Some(owner));

        for (count, link) in leaving.iter().enumerate() {
            if !is_stranger(*link) {
                table.carry_out(&leave(&table.routes(), *link), false);
            }
            table.gone(*link);
            without.gone(*link);
            table.step(restore);
            let left = &leaving[count + 1..];
            if left.iter().any(|link| !is_stranger(*link)) {
                prop_assert!(!table.by_metric().contains_key(&kernels_metric(&plain_of(ipv4, 1))));
                continue;
            }
            prop_assert_eq!(ways(&table), ways(&without));
            prop_assert_eq!(table.kept.entries.len(), 0);
            if ipv4 {
                prop_assert_eq!(&table, &without);
            }
        }
    }
}
