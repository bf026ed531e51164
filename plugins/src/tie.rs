//! Routes to one place for which several networks of a container chose the same metric.
//!
//! A metric that a lease names is the route's, as the reference has it, as long as no
//! other network's route to the same place has it too. Of those that do the first
//! interface's keeps it, and the others follow, each one further. So who serves depends
//! on the metrics that were chosen and on the interfaces, never on who came first; and as
//! the order is always right, the next serves when one goes.
//!
//! To put a newcomer among those that are there, what they chose must be known: how far
//! a route is from what it chose is in the number of who set it.

use std::collections::BTreeSet;

use kernel::{Netlink, RouteEntry};

use crate::default_route::order;
use crate::routes::MAIN_TABLE;
use crate::{Error, Result};

/// Who set a route with a metric that was chosen (`RTPROT_*` numbers that nobody else
/// has): this, and one more for each step that it is from there.
const CHOSEN: u8 = 200;
/// The most steps. Nobody has as many networks that chose the same.
const STEPS: u32 = 31;
/// Others may change routes in the meantime.
const ROUNDS: usize = 16;

/// The metric that was chosen for a route, if one was.
pub(crate) fn chosen(route: &RouteEntry) -> Option<u32> {
    let steps = u32::from(route.protocol.checked_sub(CHOSEN)?);
    let metric = route.priority.unwrap_or(0);
    (steps <= STEPS).then(|| metric.saturating_sub(steps))
}

/// Whether a result that tells this metric may mean the route: it can have made room for
/// another since then.
pub(crate) fn was_at(route: &RouteEntry, told: u32) -> bool {
    let metric = route.priority.unwrap_or(0);
    told == metric || chosen(route).is_some_and(|chosen| (chosen..metric).contains(&told))
}

/// Adds a route with a chosen metric, and returns the one that it has. The namespace must
/// be locked.
///
/// # Errors
/// What the kernel refuses; [`Error::RoutesInFlux`].
pub(crate) fn place(netlink: &mut Netlink, own: &RouteEntry, ifname: &str) -> Result<u32> {
    let (ipv4, table) = (own.dst.is_ipv4(), own.table.unwrap_or(MAIN_TABLE));
    for _ in 0..ROUNDS {
        let mut there = Vec::new();
        for route in netlink.routes(ipv4, table)? {
            if route.dst == own.dst {
                there.push(Known::new(netlink, route)?);
            }
        }
        let (moves, placed) = arrange(&there, own, order::within_priority(ifname));
        let mut is_done = true;
        for (from, to) in &moves {
            is_done &= add(netlink, to)?;
            if is_done {
                netlink.apply(&[kernel::delete_route(from)])?;
            }
        }
        if is_done && add(netlink, &placed)? {
            return Ok(placed.priority.unwrap_or(0));
        }
    }
    Err(Error::RoutesInFlux)
}

/// Returns whether nobody had the metric.
fn add(netlink: &mut Netlink, route: &RouteEntry) -> Result<bool> {
    match netlink.apply(&[kernel::add_new_route(route)]) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(kernel::Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A route to the same place as the newcomer.
#[derive(Clone, Debug)]
struct Known {
    route: RouteEntry,
    /// Where its interface stands, if its metric was chosen; others do not move.
    rank: Option<u32>,
}

impl Known {
    fn new(netlink: &mut Netlink, route: RouteEntry) -> Result<Self> {
        let link = route.next_hops.first().map_or(0, |hop| hop.link);
        let link = match chosen(&route) {
            Some(_) => netlink.link_by_index(link)?,
            None => None,
        };
        let rank = link.map(|link| order::within_priority(&link.name));
        Ok(Known { route, rank })
    }

    fn metric(&self) -> u32 {
        self.route.priority.unwrap_or(0)
    }
}

/// Where a newcomer comes among the routes to the same place: which of them move, in an
/// order in which none meets another, and the newcomer itself.
fn arrange(
    there: &[Known],
    own: &RouteEntry,
    rank: u32,
) -> (Vec<(RouteEntry, RouteEntry)>, RouteEntry) {
    let fixed = there.iter().filter(|known| known.rank.is_none());
    let fixed: BTreeSet<_> = fixed.map(Known::metric).collect();
    let movable = there
        .iter()
        .filter_map(|known| Some((chosen(&known.route)?, known.rank?, Some(known))));
    let own_metric = own.priority.unwrap_or(0);
    let mut all: Vec<_> = movable.chain([(own_metric, rank, None)]).collect();
    all.sort_by_key(|(chosen, rank, _)| (*chosen, *rank));

    let (mut moves, mut placed) = (Vec::new(), own.clone());
    let mut next = 0;
    for (chosen, _, known) in all {
        let mut metric = known.map_or(chosen, Known::metric).max(next);
        if known.is_none_or(|known| known.metric() != metric) {
            while fixed.contains(&metric) {
                metric = metric.saturating_add(1);
            }
        }
        next = metric.saturating_add(1);
        let mut route = known.map_or(own, |known| &known.route).clone();
        route.priority = Some(metric);
        route.protocol = CHOSEN + (metric - chosen).min(STEPS) as u8;
        match known {
            Some(known) if known.metric() != metric => moves.push((known.route.clone(), route)),
            Some(_) => {}
            None => placed = route,
        }
    }
    moves.reverse();
    (moves, placed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn route(link: u32, metric: u32) -> RouteEntry {
        let mut route = RouteEntry::new("::/0".parse().unwrap(), link, None);
        route.priority = Some(metric);
        route
    }

    /// Each metric has one route, as for IPv6.
    #[derive(Default)]
    struct Table(BTreeMap<u32, RouteEntry>);

    impl Table {
        fn add(&mut self, route: RouteEntry) {
            let taken = self.0.insert(route.priority.unwrap(), route);
            assert_eq!(taken, None);
        }

        fn place(&mut self, link: u32, chosen: u32) {
            let known = |route: &RouteEntry| Known {
                rank: super::chosen(route).map(|_| route.next_hops[0].link),
                route: route.clone(),
            };
            let there: Vec<_> = self.0.values().map(known).collect();
            let (moves, placed) = arrange(&there, &route(link, chosen), link);
            for (from, to) in moves {
                self.add(to);
                assert_eq!(self.0.remove(&from.priority.unwrap()), Some(from));
            }
            self.add(placed);
        }

        fn links(&self) -> Vec<u32> {
            let ours = self
                .0
                .values()
                .filter(|route| super::chosen(route).is_some());
            ours.map(|route| route.next_hops[0].link).collect()
        }
    }

    #[test]
    fn a_metric_that_one_has_chosen_is_its_own() {
        let mut table = Table::default();
        table.place(3, 50);
        assert!(table.0.contains_key(&50));
        table.place(1, 50);
        table.place(2, 51);
        let found: Vec<_> = table
            .0
            .iter()
            .map(|(metric, route)| (*metric, route.next_hops[0].link, chosen(route).unwrap()))
            .collect();
        assert_eq!(found, [(50, 1, 50), (51, 3, 50), (52, 2, 51)]);
        assert!(was_at(&table.0[&51], 50) && was_at(&table.0[&51], 51));
        assert!(!was_at(&table.0[&51], 49) && !was_at(&table.0[&51], 52));
        let foreign = route(9, 52);
        assert!(was_at(&foreign, 52) && !was_at(&foreign, 51));
    }

    proptest! {
        /// Whoever comes and goes, those that are there stand by what they chose, and of
        /// equals by their interfaces.
        #[test]
        fn the_order_is_that_of_the_set(
            chosen in prop::collection::vec(0..6_u32, 7),
            steps in prop::collection::vec(0..7_usize, 1..40),
            foreign in prop::collection::btree_set(0..12_u32, 0..4),
        ) {
            let mut table = Table::default();
            for metric in &foreign {
                table.add(route(100, *metric));
            }
            let mut here = BTreeSet::new();
            for step in steps {
                let link = step as u32;
                match here.insert(step) {
                    true => table.place(link, chosen[step]),
                    false => {
                        here.remove(&step);
                        table.0.retain(|_, route| route.next_hops[0].link != link);
                    }
                }
                let mut expected: Vec<_> = here.iter().map(|one| (chosen[*one], *one as u32)).collect();
                expected.sort_unstable();
                let expected: Vec<_> = expected.into_iter().map(|(_, link)| link).collect();
                prop_assert_eq!(table.links(), expected);
                for metric in &foreign {
                    prop_assert_eq!(table.0[metric].next_hops[0].link, 100);
                }
            }
        }
    }
}
