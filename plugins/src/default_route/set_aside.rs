//! Routes of others that are set aside, and how they come back as they were. Pure.
//!
//! What is set aside leaves a copy in a table that no rule leads to: with the number of
//! who set it, the weights of its ways, and as its metric the place among the others in
//! the table. The kernel takes the copy away with the link, as it would have taken the
//! route itself.

use kernel::{NextHop, RouteEntry};

use super::plan::{self, Changes, Found, is_default};
use super::{KEPT, PLACED, SET_ASIDE};

/// `RTPROT_BOOT`: what routes say that were set by hand, and the reference's.
const BOOT: u8 = 3;

/// Keeps the ways of a route that are to be set aside, unless they are kept already.
pub(super) fn keep(
    route: &RouteEntry,
    is_set_aside: impl Fn(&NextHop) -> bool,
    kept: &[RouteEntry],
    changes: &mut Changes,
) {
    let hops = route.next_hops.iter().filter(|hop| is_set_aside(hop));
    let hops: Vec<_> = hops.cloned().collect();
    let is_known = |hop: &NextHop| kept.iter().any(|kept| has_way(kept, hop));
    if hops.iter().all(is_known) {
        return;
    }
    let mut copy = by(route, hops);
    let those = kept
        .iter()
        .chain(changes.add.iter().filter(|add| is_kept(add)));
    let last = those.filter_map(|kept| kept.priority).max();
    copy.priority = Some(last.unwrap_or(0) + 1);
    copy.table = Some(KEPT);
    changes.add.push(copy);
}

/// What is kept of a link is of no use when its own attachment places its route.
pub(super) fn forget(kept: &[RouteEntry], link: u32, changes: &mut Changes) {
    for route in kept {
        let (own, others): (Vec<_>, Vec<_>) = route
            .next_hops
            .iter()
            .cloned()
            .partition(|hop| hop.link == link);
        match (own.is_empty(), others.is_empty(), route.dst.is_ipv4()) {
            (true, _, _) => {}
            (_, true, _) => changes.delete.push(route.clone()),
            // For IPv6 the ways are told one by one.
            (_, _, false) => changes.delete.push(route.with_hops(own)),
            (_, _, true) => {
                changes.add.push(route.with_hops(others));
                changes.delete.push(route.clone());
            }
        }
    }
}

/// The changes that undo what the attachments of links that are here no more did to
/// others: when none is left that has placed itself, those set aside are as before.
pub(crate) fn restore(found: &Found) -> Changes {
    let defaults = || found.main.iter().filter(|route| is_default(route));
    let mut changes = Changes::default();
    if defaults().any(|route| route.protocol == PLACED) {
        return changes;
    }
    let aside: Vec<_> = defaults()
        .filter(|route| route.protocol == SET_ASIDE)
        .collect();
    let mut kept: Vec<_> = found
        .kept
        .iter()
        .filter(|route| is_default(route))
        .collect();
    kept.sort_by_key(|route| route.priority);
    // What somebody has deleted since then does not come back.
    let mut before: Vec<_> = kept
        .iter()
        .map(|kept| {
            let hops = kept.next_hops.iter();
            let hops = hops.filter(|hop| aside.iter().any(|route| has_way(route, hop)));
            by(kept, hops.cloned().collect())
        })
        .filter(|route| !route.next_hops.is_empty())
        .collect();
    let is_kept = |hop: &NextHop| kept.iter().any(|kept| has_way(kept, hop));
    before.extend(aside.iter().filter_map(|route| {
        let mut hops = route.next_hops.clone();
        hops.retain(|hop| !is_kept(hop));
        let mut route = by(route, hops);
        route.protocol = BOOT;
        (!route.next_hops.is_empty()).then_some(route)
    }));
    for route in &mut before {
        route.priority = None;
        route.table = None;
    }
    // Whatever has no metric now came later; the first that was set aside is first again.
    let missing = before.into_iter().rev();
    let missing = missing.filter_map(|route| plan::missing(&found.main, route));
    changes.put_first = missing.collect();
    changes.delete = aside.into_iter().chain(kept).cloned().collect();
    changes
}

/// Whether a route is a copy of what was set aside.
pub(super) fn is_kept(route: &RouteEntry) -> bool {
    route.table == Some(KEPT)
}

fn has_way(route: &RouteEntry, hop: &NextHop) -> bool {
    route.next_hops.iter().any(|other| other.is_same_way(hop))
}

/// A route by some of its ways, or by all and then as it is.
fn by(route: &RouteEntry, hops: Vec<NextHop>) -> RouteEntry {
    match hops.len() == route.next_hops.len() {
        true => route.clone(),
        false => route.with_hops(hops),
    }
}
