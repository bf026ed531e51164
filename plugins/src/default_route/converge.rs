//! Brings a namespace's default routes in order, step by step until they are.

use std::collections::BTreeMap;

use kernel::{Netlink, RouteEntry};

use super::plan::{self, Changes, Found, Own, Serving};
use super::{KEPT, set_aside};
use crate::routes::MAIN_TABLE;
use crate::{Error, Result, check};

/// Others may change routes while they are changed here; each time around there is
/// less to do.
const ROUNDS: usize = 16;

/// The names of the links that default routes lead out of.
pub(crate) struct Names(BTreeMap<u32, String>);

impl Names {
    pub(crate) fn of(netlink: &mut Netlink, routes: &[RouteEntry]) -> Result<Self> {
        let mut names = BTreeMap::new();
        let hops = routes.iter().filter(|route| plan::is_default(route));
        for hop in hops.flat_map(|route| &route.next_hops) {
            if !names.contains_key(&hop.link)
                && let Some(link) = netlink.link_by_index(hop.link)?
            {
                names.insert(hop.link, link.name);
            }
        }
        Ok(Names(names))
    }

    pub(crate) fn get(&self, link: u32) -> Option<&str> {
        self.0.get(&link).map(String::as_str)
    }
}

/// Brings the default routes of a family in order for an attachment. Returns those
/// of its interface.
///
/// # Errors
/// What the kernel refuses; [`Error::RoutesInFlux`].
pub(crate) fn converge(
    netlink: &mut Netlink,
    ipv4: bool,
    own: &Own<'_>,
) -> Result<Vec<RouteEntry>> {
    let mut refused = None;
    for _ in 0..ROUNDS {
        let found = find(netlink, ipv4)?;
        let names = Names::of(netlink, &found.main)?;
        let changes = plan::changes(&found, own, |link| names.get(link));
        if changes.is_empty() {
            let mut defaults = found.main;
            defaults.retain(|route| {
                let mut hops = route.next_hops.iter();
                plan::is_default(route) && hops.any(|hop| hop.link == own.link)
            });
            return Ok(defaults);
        }
        // A link can go in between, and then there is nothing to be done about it.
        refused = carry_out(netlink, &changes).err();
    }
    Err(refused.unwrap_or(Error::RoutesInFlux))
}

/// Takes the placed default routes of a link away, so that the next serve at once.
pub(crate) fn leave(netlink: &mut Netlink, link: u32) -> Result<()> {
    for ipv4 in [true, false] {
        let routes = netlink.routes(ipv4, MAIN_TABLE)?;
        carry_out(netlink, &plan::leave(&routes, link))?;
    }
    Ok(())
}

/// Puts those back that were set aside, if there is nobody left whom they hindered.
pub(crate) fn restore(netlink: &mut Netlink) -> Result<()> {
    for ipv4 in [true, false] {
        restore_family(netlink, ipv4)?;
    }
    Ok(())
}

fn restore_family(netlink: &mut Netlink, ipv4: bool) -> Result<()> {
    let mut refused = None;
    for _ in 0..ROUNDS {
        let changes = set_aside::restore(&find(netlink, ipv4)?);
        if changes.is_empty() {
            return Ok(());
        }
        refused = carry_out(netlink, &changes).err();
    }
    match refused {
        // What the kernel does not take back, because its gateway is out of reach by now,
        // stays aside and serves from there: DEL has done what can be done.
        Some(Error::Kernel(kernel::Error::Refused { .. })) => Ok(()),
        refused => Err(refused.unwrap_or(Error::RoutesInFlux)),
    }
}

fn find(netlink: &mut Netlink, ipv4: bool) -> Result<Found> {
    Ok(Found {
        main: netlink.routes(ipv4, MAIN_TABLE)?,
        kept: netlink.routes(ipv4, KEPT)?,
    })
}

/// Nothing is deleted before all that comes in its place is there. A route that has come
/// in between is refused, and the next time around is seen.
fn carry_out(netlink: &mut Netlink, changes: &Changes) -> Result<()> {
    let set = changes.set.iter().map(kernel::replace_route);
    let add = changes.add.iter().map(kernel::append_route);
    let first = changes.put_first.iter().map(kernel::prepend_route);
    let made: Vec<_> = set.chain(add).chain(first).collect();
    netlink.apply(&made)?;
    let deleted: Vec<_> = changes.delete.iter().map(kernel::delete_route).collect();
    Ok(netlink.apply(&deleted)?)
}

/// Compares who has a family's default route with who should: the network with the
/// lowest priority, of equals the first interface, whoever set the route.
///
/// # Errors
/// [`Error::Differs`] with both interfaces. Returns the routes, for more to compare.
pub(crate) fn verify_owner(netlink: &mut Netlink, ipv4: bool) -> Result<Vec<RouteEntry>> {
    let found = netlink.routes(ipv4, MAIN_TABLE)?;
    let names = Names::of(netlink, &found)?;
    let rightful = match plan::rightful_owner(&found, |link| names.get(link)) {
        Some(link) => Serving::Link(link),
        None => Serving::Nothing,
    };
    let serving = plan::serving(&found);
    if rightful == serving {
        return Ok(found);
    }
    let describe = |serving| -> String {
        match serving {
            Serving::Nothing => "none".into(),
            Serving::Link(link) => format!("that of {}", names.get(link).unwrap_or("no interface")),
            Serving::Several => "one that several interfaces share".into(),
            Serving::NoWay => "one that leads nowhere (blackhole, unreachable or prohibit)".into(),
        }
    };
    let family = if ipv4 { "IPv4" } else { "IPv6" };
    let what = format!("default route for {family}");
    Err(check::differs(
        &what,
        &describe(rightful),
        &describe(serving),
    ))
}
