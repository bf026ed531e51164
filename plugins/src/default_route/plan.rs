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
use super::wish::Wish;
use super::{PLACED, SET_ASIDE};

/// `RTPROT_BOOT`: what routes say that were set by hand, and the reference's.
const BOOT: u8 = 3;
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

/// What must be changed: first what is set in the place of a route, then what is
/// added, then what is deleted, so that at no time there is less than there was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) set: Vec<RouteEntry>,
    pub(crate) add: Vec<RouteEntry>,
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
    routes: &[RouteEntry],
    own: &Own<'_>,
    name: impl Fn(u32) -> Option<&'n str>,
) -> Changes {
    let mut plan = Plan {
        routes,
        changes: Changes::default(),
    };
    for route in routes.iter().filter(|route| is_default(route)) {
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

/// The changes that undo what the attachments of links that are here no more did to
/// others: when none is left that has placed itself, those set aside are as before.
pub(crate) fn restore(routes: &[RouteEntry]) -> Changes {
    let defaults = || routes.iter().filter(|route| is_default(route));
    let mut changes = Changes::default();
    if defaults().any(|route| route.protocol == PLACED) {
        return changes;
    }
    for route in defaults().filter(|route| route.protocol == SET_ASIDE) {
        let mut before = route.clone();
        before.priority = None;
        before.protocol = BOOT;
        changes.add.push(before);
        changes.delete.push(route.clone());
    }
    changes
}

/// The changes that take an interface's placed routes away.
pub(crate) fn leave(routes: &[RouteEntry], link: u32) -> Changes {
    let own = |route: &&RouteEntry| {
        is_default(route) && route.protocol == PLACED && leads_by(route, link)
    };
    Changes {
        delete: routes.iter().filter(own).cloned().collect(),
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

/// The link whose default route does serve; none when several share the load.
pub(crate) fn serving(routes: &[RouteEntry]) -> Option<u32> {
    let defaults = routes.iter().filter(|route| is_default(route));
    // Of those of one metric the kernel takes the first.
    let first = defaults.min_by_key(|route| route.priority.unwrap_or(0))?;
    let link = first.next_hops.first()?.link;
    leads_by(first, link).then_some(link)
}

/// Whether all ways of a route lead out of a link.
pub(crate) fn leads_by(route: &RouteEntry, link: u32) -> bool {
    route.next_hops.iter().all(|hop| hop.link == link)
}

/// A default route that leads somewhere.
pub(crate) fn is_default(route: &RouteEntry) -> bool {
    route.dst.prefix() == 0 && route.is_unicast
}

/// Whether nobody has chosen the metric.
fn is_without_metric(route: &RouteEntry) -> bool {
    let kernels = if route.dst.is_ipv4() { 0 } else { 1024 };
    route.priority.unwrap_or(0) == kernels && route.protocol != ADVERTISED
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
    routes: &'a [RouteEntry],
    changes: Changes,
}

impl Plan<'_> {
    fn carry_out(&mut self, route: &RouteEntry, groups: Vec<(u32, Vec<NextHop>)>, fates: &[Fate]) {
        if fates.iter().all(|fate| *fate == Fate::Stay) {
            return;
        }
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
                    self.changes.add.push(placed);
                }
            }
            leaving.extend(hops);
        }
        // For IPv6 the ways are told one by one, so none that came in between goes.
        let deleted = match route.dst.is_ipv4() || !shared {
            true => route.clone(),
            false => route.with_hops(leaving),
        };
        self.changes.delete.push(deleted);
    }

    /// A metric that no other link has: hardly ever another than the one asked for.
    fn free(&self, metric: u32, link: u32) -> u32 {
        let steps = (0..).map(|step| metric.saturating_add(2 * step));
        let mut free = steps.filter(|metric| !self.is_taken(*metric, link));
        free.next().unwrap_or(metric)
    }

    fn is_taken(&self, metric: u32, link: u32) -> bool {
        let mut all = self.routes.iter().chain(&self.changes.add);
        all.any(|other| {
            let mut hops = other.next_hops.iter();
            is_default(other) && other.priority == Some(metric) && hops.any(|hop| hop.link != link)
        })
    }
}

#[cfg(test)]
mod tests;
