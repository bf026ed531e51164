//! What must be changed in a namespace so that its default routes are in order. Pure:
//! from the routes that are there to those to add and to delete.
//!
//! An attachment changes its own interface's routes, and those of others that are
//! before all only because they have no metric: they are set aside, at the place that
//! their interface's name gives them. What other attachments have placed is theirs.
//! So the order of attaching makes no difference, and whoever comes last finds little
//! to do.

use kernel::{NextHop, RouteEntry};

use super::advertisements::Advertisements;
use super::order;
use super::set_aside;
use super::wish::Wish;
use super::{PLACED, SET_ASIDE};
use crate::tie;

/// `RTPROT_RA`: from a router's advertisement.
pub(super) const ADVERTISED: u8 = 9;

/// The attachment that the change is for.
pub(crate) struct Own<'a> {
    /// Its interface's number, and name.
    pub(crate) link: u32,
    pub(crate) ifname: &'a str,
    /// What is wished of it in this family.
    pub(crate) wish: Option<Wish>,
    pub(crate) advertisements: Advertisements,
}

/// One family's routes, as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Of the main table.
    pub(crate) main: Vec<RouteEntry>,
    /// As those were that have been set aside ([`KEPT`](super::KEPT)).
    pub(crate) kept: Vec<RouteEntry>,
}

/// What must be changed: first what is set in the place of a route, then what is
/// added, then what is deleted, so that at no time there is less than there was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) set: Vec<RouteEntry>,
    pub(crate) add: Vec<RouteEntry>,
    /// Added before others of the same metric, one after the other.
    pub(crate) put_first: Vec<RouteEntry>,
    pub(crate) delete: Vec<RouteEntry>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// What becomes of the ways of a route that lead out of one link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stay,
    Go,
    /// This metric, set by this.
    Place(u32, u8),
}

/// The changes that bring one family's default routes in order. `name` knows the
/// names of links by their numbers.
pub(crate) fn changes<'n>(
    found: &Found,
    own: &Own<'_>,
    name: impl Fn(u32) -> Option<&'n str>,
) -> Changes {
    let mut plan = Plan {
        found,
        changes: Changes::default(),
    };
    set_aside::forget(&found.kept, own.link, &mut plan.changes);
    for route in found.main.iter().filter(|route| is_default(route)) {
        let groups = by_link(route);
        let shared = groups.len() > 1;
        let mut fates: Vec<_> = groups
            .iter()
            .map(|(link, _)| match *link == own.link {
                true => own_fate(route, own),
                false => others_fate(route, name(*link)),
            })
            .collect();
        if shared {
            // With a metric of somebody's choice there: one after the other from it.
            let mut places: Vec<_> = (0..groups.len()).collect();
            places.sort_by_key(|index| name(groups[*index].0).map(order::within_priority));
            for (place, index) in places.into_iter().enumerate() {
                let metric = route.priority.unwrap_or(0) + place as u32;
                fates[index] = match fates[index] {
                    Fate::Stay if place > 0 => Fate::Place(metric, route.protocol),
                    // The first keeps its metric, and is alone the next time around.
                    Fate::Place(same, _) if route.priority == Some(same) && place == 0 => {
                        Fate::Stay
                    }
                    Fate::Place(same, by) if route.priority == Some(same) => {
                        Fate::Place(metric, by)
                    }
                    other => other,
                };
            }
        }
        plan.carry_out(route, groups, &fates);
    }
    plan.changes
}

/// The changes that take an interface's placed routes away.
pub(crate) fn leave(routes: &[RouteEntry], link: u32) -> Changes {
    let own = |route: &&RouteEntry| {
        is_default(route) && route.protocol == PLACED && leads_by(route, link)
    };
    let own_routes = routes.iter().filter(own);
    Changes {
        delete: own_routes
            .map(|route| by_anybody(route, route.clone()))
            .collect(),
        ..Changes::default()
    }
}

/// The link whose default route should serve, by the order of what is there: metrics
/// that somebody chose as they are, routes without one at their interface's place.
pub(crate) fn rightful_owner<'n>(
    routes: &[RouteEntry],
    name: impl Fn(u32) -> Option<&'n str>,
) -> Option<u32> {
    let offers = routes
        .iter()
        .filter(|route| is_default(route))
        .flat_map(|route| {
            let name = &name;
            route.next_hops.iter().map(move |hop| {
                let metric = match is_without_metric(route) {
                    true => name(hop.link).map_or(u32::MAX, order::metric_aside),
                    false => route.priority.unwrap_or(0),
                };
                (metric, hop.link)
            })
        });
    offers.min().map(|(_, link)| link)
}

/// What a family's packets to everywhere else meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// No route.
    Nothing,
    /// One by this link.
    Link(u32),
    /// One that several links share.
    Several,
    /// One that says that there is no way: `unreachable`, `blackhole`, `prohibit`.
    NoWay,
}

/// What does serve: of the routes of one metric the kernel takes the first.
pub(crate) fn serving(routes: &[RouteEntry]) -> Serving {
    let to_everywhere = routes.iter().filter(|route| route.dst.prefix() == 0);
    let Some(first) = to_everywhere.min_by_key(|route| route.priority.unwrap_or(0)) else {
        return Serving::Nothing;
    };
    match first.next_hops.first() {
        _ if !first.is_unicast => Serving::NoWay,
        Some(hop) if leads_by(first, hop.link) => Serving::Link(hop.link),
        _ => Serving::Several,
    }
}

/// Whether all ways of a route lead out of a link.
pub(crate) fn leads_by(route: &RouteEntry, link: u32) -> bool {
    route.next_hops.iter().all(|hop| hop.link == link)
}

/// A default route that leads somewhere.
pub(crate) fn is_default(route: &RouteEntry) -> bool {
    route.dst.prefix() == 0 && route.is_unicast
}

/// What there is to add of a route: all, nothing because a run has left it that was
/// killed, or for IPv6 the ways that are missing.
pub(super) fn missing(routes: &[RouteEntry], route: RouteEntry) -> Option<RouteEntry> {
    let metric = |route: &RouteEntry| route.priority.unwrap_or(kernels_metric(route));
    let same = || {
        let others = routes.iter().filter(|other| is_default(other));
        others.filter(|other| metric(other) == metric(&route))
    };
    let has =
        |other: &RouteEntry, hop: &NextHop| other.next_hops.iter().any(|one| one.is_same_way(hop));
    if route.dst.is_ipv4() {
        let is_it = |other: &RouteEntry| {
            other.next_hops.len() == route.next_hops.len()
                && route.next_hops.iter().all(|hop| has(other, hop))
        };
        let is_there = same().any(is_it);
        return (!is_there).then_some(route);
    }
    let is_there = |hop: &NextHop| same().any(|other| has(other, hop));
    let mut hops = route.next_hops.clone();
    hops.retain(|hop| !is_there(hop));
    match hops.len() {
        0 => None,
        all if all == route.next_hops.len() => Some(route),
        _ => Some(route.with_hops(hops)),
    }
}

/// A route's ways as those to delete. Of IPv6 ways that share the load the kernel tells
/// who set the first, and deletes those alone whose setter is named; none is any.
fn by_anybody(route: &RouteEntry, mut deleted: RouteEntry) -> RouteEntry {
    /// `RTPROT_UNSPEC`.
    const ANYBODY: u8 = 0;
    if !route.dst.is_ipv4() && route.next_hops.len() > 1 {
        deleted.protocol = ANYBODY;
    }
    deleted
}

/// The metric of a route that names none.
fn kernels_metric(route: &RouteEntry) -> u32 {
    if route.dst.is_ipv4() { 0 } else { 1024 }
}

/// Whether nobody has chosen the metric. A network of ours whose lease
/// says 1024 has.
fn is_without_metric(route: &RouteEntry) -> bool {
    route.priority.unwrap_or(0) == kernels_metric(route)
        && route.protocol != ADVERTISED
        && tie::chosen(route).is_none()
}

fn own_fate(route: &RouteEntry, own: &Own<'_>) -> Fate {
    let by_wish = own.wish.map(Wish::priority);
    let by = match (route.protocol == ADVERTISED, own.advertisements) {
        (true, Advertisements::Keep) => return Fate::Stay,
        (true, Advertisements::Refuse) => return Fate::Go,
        (true, Advertisements::Remetric) => ADVERTISED,
        (false, _) => PLACED,
    };
    let metric = match by_wish {
        Some(None) => return Fate::Go,
        Some(Some(priority)) => order::metric(priority, own.ifname),
        None => {
            let has_none =
                is_without_metric(route) || route.protocol == SET_ASIDE || by == ADVERTISED;
            let chosen = route.priority.filter(|_| !has_none);
            chosen.unwrap_or_else(|| order::metric(order::DEFAULT_PRIORITY, own.ifname))
        }
    };
    match route.priority == Some(metric) && route.protocol == by {
        true => Fate::Stay,
        false => Fate::Place(metric, by),
    }
}

fn others_fate(route: &RouteEntry, name: Option<&str>) -> Fate {
    match name.filter(|_| is_without_metric(route)) {
        Some(name) => Fate::Place(order::metric_aside(name), SET_ASIDE),
        // Its metric is somebody's choice, or its link has just gone.
        None => Fate::Stay,
    }
}

/// The ways of a route, together by the link that they lead out of.
fn by_link(route: &RouteEntry) -> Vec<(u32, Vec<NextHop>)> {
    let mut groups: Vec<(u32, Vec<NextHop>)> = Vec::new();
    for hop in &route.next_hops {
        match groups.iter_mut().find(|(link, _)| *link == hop.link) {
            Some((_, hops)) => hops.push(hop.clone()),
            None => groups.push((hop.link, vec![hop.clone()])),
        }
    }
    groups
}

struct Plan<'a> {
    found: &'a Found,
    changes: Changes,
}

impl Plan<'_> {
    fn carry_out(&mut self, route: &RouteEntry, groups: Vec<(u32, Vec<NextHop>)>, fates: &[Fate]) {
        if fates.iter().all(|fate| *fate == Fate::Stay) {
            return;
        }
        let is_set_aside = |hop: &NextHop| {
            let mut all = groups.iter().zip(fates);
            let fate = all.find(|((link, _), _)| *link == hop.link);
            matches!(fate, Some((_, Fate::Place(_, SET_ASIDE))))
        };
        set_aside::keep(route, is_set_aside, &self.found.kept, &mut self.changes);
        let shared = groups.len() > 1;
        let mut leaving = Vec::new();
        for ((link, hops), fate) in groups.into_iter().zip(fates) {
            let part = match shared {
                true => route.with_hops(hops.clone()),
                false => route.clone(),
            };
            match *fate {
                // Of a route of several ways IPv4 keeps none when one must go.
                Fate::Stay if route.dst.is_ipv4() => self.changes.add.push(part),
                Fate::Stay => continue,
                Fate::Go => {}
                Fate::Place(metric, protocol) => {
                    let mut placed = part;
                    placed.protocol = protocol;
                    if !shared && route.priority == Some(metric) {
                        // The kernel would not tell the new one from the old.
                        if !self.is_taken(metric, link) {
                            self.changes.set.push(placed);
                        }
                        return;
                    }
                    placed.priority = Some(self.free(metric, link));
                    self.changes.add.extend(missing(&self.found.main, placed));
                }
            }
            leaving.extend(hops);
        }
        // For IPv6 the ways are told one by one, so none that came in between goes.
        let deleted = match route.dst.is_ipv4() || !shared {
            true => route.clone(),
            false => route.with_hops(leaving),
        };
        self.changes.delete.push(by_anybody(route, deleted));
    }

    /// A metric that no other link has: hardly ever another than the one asked for.
    fn free(&self, metric: u32, link: u32) -> u32 {
        let steps = (0..).map(|step| metric.saturating_add(2 * step));
        let mut free = steps.filter(|metric| !self.is_taken(*metric, link));
        free.next().unwrap_or(metric)
    }

    fn is_taken(&self, metric: u32, link: u32) -> bool {
        let mut all = self.found.main.iter().chain(&self.changes.add);
        all.any(|other| {
            let mut hops = other.next_hops.iter();
            is_default(other)
                && !set_aside::is_kept(other)
                && other.priority == Some(metric)
                && hops.any(|hop| hop.link != link)
        })
    }
}

#[cfg(test)]
mod tests;
