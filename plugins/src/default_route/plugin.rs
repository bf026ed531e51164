//! `default-route`: the place of a network's default route among those of the other
//! networks of its container, for interface plugins that do not know of it.
//!
//! It comes after the interface plugin in a network's list, or has it in `delegate`.
//! Each run brings the whole namespace in order under a lock that is the namespace's
//! own; what is written on the routes is all the state there is.

use cni::{Attachment, Call, Failure, Plugin, Request, Route};
use kernel::{Netlink, RouteEntry, sysctl};

use super::advertisements::Advertisements;
use super::converge::{self, Names};
use super::order;
use super::plan::{self, Found, Own};
use super::wish::{Wish, Wishes};
use crate::attachment::Identity;
use crate::inner::Inner;
use crate::namespace::Namespace;
use crate::routes::{self, MAIN_TABLE};
use crate::undo::Undo;
use crate::{Error, Result, check};

/// The plugin.
pub struct DefaultRoute;

impl Plugin for DefaultRoute {
    fn name(&self) -> &'static str {
        "default-route"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    /// The attachment's own route goes first, so that the next serves before the
    /// interface goes. Those that it set aside come back last.
    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let inner = Inner::of(call)?;
        let namespace = Namespace::open_if_there(call.request)?;
        if let Some(namespace) = &namespace {
            leave(namespace, &call.request.ifname)?;
        }
        inner.forward()?;
        match &namespace {
            Some(namespace) => Ok(restore(namespace)?),
            None => Ok(()),
        }
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let inner = Inner::of(call)?;
        check_owner(call.request, &inner)?;
        inner.forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Inner::of(call)?.forward()
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Inner::of(call)?.forward()
    }
}

/// What the configuration wishes.
struct Keys {
    wishes: Wishes,
    advertisements: Advertisements,
    /// Whether that was asked for.
    is_asked: bool,
}

impl Keys {
    fn read(request: &Request) -> Result<Self> {
        let advertisements = Advertisements::read(&request.config)?;
        Ok(Keys {
            wishes: Wishes::read(&request.config)?,
            // Here the interface is somebody else's, who may want its addresses.
            advertisements: advertisements.unwrap_or(Advertisements::Remetric),
            is_asked: advertisements.is_some(),
        })
    }

    fn own<'a>(&self, ipv4: bool, link: u32, ifname: &'a str) -> Own<'a> {
        Own {
            link,
            ifname,
            wish: self.wishes.of(ipv4),
            advertisements: self.advertisements,
        }
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(request)?;
    let inner = Inner::of(call)?;
    let namespace = Namespace::open(request)?;
    let ifname = &request.ifname;
    let mut undo = Undo::default();
    let mut result = inner.add()?;
    undo.push(|| restore(&namespace));
    undo.push(|| inner.undo());
    undo.push(|| leave(&namespace, ifname));
    let alias = Identity::of(request).alias;
    let found = settle(&namespace, &keys, ifname, &result, &alias)?;
    list(&mut result, &found);
    undo.keep();
    Ok(result)
}

/// Puts the default routes into the result as they are.
fn list(result: &mut Attachment, found: &[RouteEntry]) {
    result.routes.retain(|route| !routes::is_default(route));
    for route in found {
        result.routes.extend(route.next_hops.iter().map(|hop| {
            Route {
                dst: route.dst,
                gw: hop.gateway,
                mtu: route.mtu,
                advmss: route.advmss,
                priority: route.priority,
                table: None,
                scope: route
                    .scope
                    .filter(|_| hop.gateway.is_none() && route.dst.is_ipv4()),
            }
        }));
    }
}

/// Brings everything in order, and returns the interface's default routes.
fn settle(
    namespace: &Namespace<'_>,
    keys: &Keys,
    ifname: &str,
    result: &Attachment,
    alias: &str,
) -> Result<Vec<RouteEntry>> {
    let _alone = namespace.lock()?;
    let mut netlink = namespace.netlink()?;
    let link = namespace.link(&mut netlink)?;
    prepare(namespace, keys, ifname)?;
    // For people, and for `slash24 explain`: which network the interface is of.
    if link.alias.is_empty() {
        netlink.apply(&[kernel::set_alias(link.index, alias)])?;
    }
    let mut found = Vec::new();
    for ipv4 in [true, false] {
        let own = keys.own(ipv4, link.index, ifname);
        let mut defaults = converge::converge(&mut netlink, ipv4, &own)?;
        if defaults.is_empty()
            && own.wish.is_some_and(Wish::is_first)
            && let Some(mut route) = made(result, ipv4, &own)
        {
            reach_gateway(&mut netlink, &mut route)?;
            netlink.apply(&[kernel::append_route(&route)])?;
            defaults = converge::converge(&mut netlink, ipv4, &own)?;
        }
        found.extend(defaults);
    }
    let has = |ipv4| {
        let mut found = found.iter();
        found.any(|route: &RouteEntry| route.dst.is_ipv4() == ipv4)
    };
    keys.wishes.are_met(has)?;
    Ok(found)
}

/// The default route that a network has to have and was not given.
fn made(result: &Attachment, ipv4: bool, own: &Own<'_>) -> Option<RouteEntry> {
    let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
    let gateway = gateways.find(|gateway| gateway.is_ipv4() == ipv4)?;
    let dst = routes::default_via(gateway)?.dst;
    let mut route = RouteEntry::new(dst, own.link, Some(gateway));
    route.priority = Some(order::metric(own.wish?.priority()?, own.ifname));
    route.protocol = super::PLACED;
    Some(route)
}

/// Has a route take its gateway for a neighbour where no other route says so: `sbr` may
/// have moved the subnet's to a table.
fn reach_gateway(netlink: &mut Netlink, route: &mut RouteEntry) -> Result<()> {
    for hop in &mut route.next_hops {
        let near = netlink.routes_by(route.dst.is_ipv4(), MAIN_TABLE, hop.link)?;
        let mut subnets = near.iter().filter(|near| near.dst.prefix() > 0);
        hop.on_link = !hop
            .gateway
            .is_some_and(|gateway| subnets.any(|subnet| subnet.dst.contains(gateway)));
    }
    Ok(())
}

/// What holds for routes to come, and for those of links that lose their carrier.
fn prepare(namespace: &Namespace<'_>, keys: &Keys, ifname: &str) -> Result<()> {
    let _inside = namespace.netns().enter()?;
    let parameters = sysctl::Group::open(format!("net/ipv6/conf/{ifname}"));
    match keys
        .advertisements
        .prepare(&parameters, &keys.wishes, ifname)
    {
        // Then what has been advertised is put in its place, and what will be is not.
        Err(Error::KernelLacks { .. }) if !keys.is_asked => {}
        prepared => prepared?,
    }
    for family in ["ipv4", "ipv6"] {
        let parameter = format!("net/{family}/conf/all/ignore_routes_with_linkdown");
        sysctl::ensure(&parameter, "1")?;
    }
    Ok(())
}

/// Takes the interface's own routes away, if it is this attachment's.
fn leave(namespace: &Namespace<'_>, ifname: &str) -> Result<()> {
    let _alone = namespace.lock()?;
    let mut netlink = namespace.netlink()?;
    match netlink.link(ifname)? {
        Some(link) if namespace.is_own(&link) => converge::leave(&mut netlink, link.index),
        _ => Ok(()),
    }
}

fn restore(namespace: &Namespace<'_>) -> Result<()> {
    let _alone = namespace.lock()?;
    converge::restore(&mut namespace.netlink()?)
}

/// Fails when the wrong interface has the default route, of the families in which
/// this attachment has one.
fn check_owner(request: &Request, inner: &Inner<'_>) -> Result<()> {
    let keys = Keys::read(request)?;
    let result = inner.prev_result()?.ok_or(Error::NoPrevResult)?;
    let namespace = Namespace::open(request)?;
    let mut netlink = namespace.netlink()?;
    let link = namespace.link(&mut netlink)?;
    for ipv4 in [true, false] {
        let is_it = |route: &&Route| routes::is_default(route) && route.dst.is_ipv4() == ipv4;
        let Some(told) = result.routes.iter().find(is_it) else {
            continue;
        };
        let found = Found {
            main: converge::verify_owner(&mut netlink, ipv4)?,
            kept: Vec::new(),
        };
        let names = Names::of(&mut netlink, &found.main)?;
        let own = keys.own(ipv4, link.index, &request.ifname);
        let changes = plan::changes(&found, &own, |link| names.get(link));
        let mut metrics = found
            .main
            .iter()
            .filter(|route| plan::is_default(route) && plan::leads_by(route, link.index));
        if !changes.is_empty() || !metrics.any(|route| route.priority == told.priority) {
            let all = found
                .main
                .iter()
                .filter(|route| plan::is_default(route))
                .map(check::told);
            return Err(check::differs(
                &format!("default routes of {}", request.ifname),
                &format!(
                    "one with metric {}, and every other with one of its own",
                    told.priority.unwrap_or(0)
                ),
                &check::listed(&all.collect::<Vec<_>>()),
            ));
        }
    }
    Ok(())
}
