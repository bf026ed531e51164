//! The container's side of an attachment: the same for every kind of link.

use std::net::IpAddr;
use std::path::Path;

use cni::{Attachment, Request, Route};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, Netns, NextHop, Operation, RouteEntry, sysctl};

use crate::attachment::Identity;
use crate::{Error, Result, removal};

/// The kernel's metric of IPv6 routes that name none (`IP6_RT_PRIO_USER`).
const DEFAULT_IPV6_METRIC: u32 = 1024;

/// Opens the container's namespace for ADD and CHECK.
///
/// # Errors
/// There is none, or it is the host's own and nobody allowed that.
pub(crate) fn open(request: &Request) -> Result<Netns> {
    let path = request.netns.as_deref().unwrap_or(Path::new(""));
    let netns = Netns::open(path)?;
    if !request.own_netns_allowed && netns.is_current()? {
        return Err(kernel::Error::OwnNetns(path.to_owned()).into());
    }
    Ok(netns)
}

/// Opens the container's namespace for DEL: none when it has gone.
pub(crate) fn open_if_there(request: &Request) -> Option<Netns> {
    let netns = Netns::open(request.netns.as_deref()?).ok()?;
    let is_own = netns.is_current().unwrap_or(true);
    (request.own_netns_allowed || !is_own).then_some(netns)
}

/// What the container's interface shall be.
pub(crate) struct Interior<'a> {
    /// Its name.
    pub(crate) ifname: &'a str,
    /// Whose it is.
    pub(crate) identity: &'a Identity,
    /// Its addresses and routes.
    pub(crate) layer3: &'a Attachment,
}

/// Configures an interface that is there and down: sysctls that must hold before
/// it comes up, then addresses, state and routes in one message. Nothing is
/// waited for.
pub(crate) fn configure(netns: &Netns, interior: &Interior<'_>) -> Result<Link> {
    let _inside = netns.enter()?;
    let mut netlink = Netlink::open()?;
    let link = existing(&mut netlink, interior.ifname)?;
    prepare(interior)?;
    let mut operations = vec![kernel::set_alias(link.index, &interior.identity.alias)];
    let nets = interior.layer3.ips.iter().map(|ip| ip.address);
    operations.extend(nets.map(|net| kernel::add_address(link.index, net)));
    operations.push(kernel::set_state(link.index, true));
    operations.extend(routes(interior, link.index));
    netlink.apply(&operations)?;
    Ok(link)
}

fn existing(netlink: &mut Netlink, ifname: &str) -> Result<Link> {
    let link = netlink.link(ifname)?;
    link.ok_or_else(|| Error::Differs {
        what: "the container's interface".into(),
        expected: ifname.to_owned(),
        found: "none of that name".into(),
    })
}

/// A router's advertisements would add addresses and a default route that nobody
/// asked for, so they are refused before the interface can hear one. The kernel
/// announces the new addresses to the neighbours when told to.
fn prepare(interior: &Interior<'_>) -> Result<()> {
    let ifname = interior.ifname;
    let ipv6 = interior.layer3.ips.iter().any(|ip| ip.address.is_ipv6());
    sysctl::set(&format!("net/ipv4/conf/{ifname}/arp_notify"), "1")?;
    sysctl::set(&format!("net/ipv6/conf/{ifname}/accept_ra"), "0")?;
    if ipv6 {
        sysctl::ensure(&format!("net/ipv6/conf/{ifname}/disable_ipv6"), "0")?;
        sysctl::set(&format!("net/ipv6/conf/{ifname}/ndisc_notify"), "1")?;
    }
    Ok(())
}

fn routes<'a>(interior: &'a Interior<'a>, link: u32) -> impl Iterator<Item = Operation> + 'a {
    let layer3 = interior.layer3;
    let entries = layer3.routes.iter().map(move |route| RouteEntry {
        dst: network(route.dst),
        next_hops: vec![NextHop {
            link,
            gateway: route.gw.or_else(|| gateway(layer3, route.dst.is_ipv4())),
        }],
        priority: metric(route, interior.ifname),
        table: route.table,
        scope: route.scope,
        mtu: route.mtu,
        advmss: route.advmss,
    });
    entries.map(|entry| kernel::add_route(&entry))
}

fn network(net: IpNetwork) -> IpNetwork {
    // The prefix comes from a network, so it fits the family.
    IpNetwork::new(net.network(), net.prefix()).unwrap_or(net)
}

/// The gateway of the first address of a family: where routes without one go.
fn gateway(layer3: &Attachment, ipv4: bool) -> Option<IpAddr> {
    let gateways = layer3.ips.iter().filter_map(|ip| ip.gateway);
    gateways.into_iter().find(|ip| ip.is_ipv4() == ipv4)
}

/// The metric of a route that names none: the number in the interface's name, so
/// that of several networks with the same route the first interface's serves,
/// in whatever order they were attached, and the others stand by.
fn metric(route: &Route, ifname: &str) -> Option<u32> {
    let digits = ifname.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number: u32 = ifname[digits..].parse().unwrap_or(0);
    let by_order = match (number, route.dst.is_ipv4()) {
        (0, _) => None,
        (number, true) => Some(number),
        (number, false) => Some(DEFAULT_IPV6_METRIC.saturating_add(number)),
    };
    route.priority.or(by_order)
}

/// The routes as they were set, for the result.
pub(crate) fn with_metrics(routes: &[Route], ifname: &str) -> Vec<Route> {
    let mut routes = routes.to_vec();
    for route in &mut routes {
        route.priority = metric(route, ifname);
    }
    routes
}

/// Removes the container's interface on DEL, if it is this attachment's: a path
/// may lead to another container's namespace by now.
pub(crate) fn remove(netns: &Netns, request: &Request, identity: &Identity) -> Result<()> {
    let prev_mac = prev_mac(request);
    let host = Netlink::open()?;
    let _inside = netns.enter()?;
    let Some(link) = Netlink::open()?.link(&request.ifname)? else {
        return Ok(());
    };
    let other_mac =
        prev_mac.is_some_and(|mac| link.mac.is_some_and(|found| found.to_string() != mac));
    if identity.is_anothers(&link) || other_mac || is_anothers_cable(host, &link, identity)? {
        return Ok(());
    }
    removal::remove(request, link.index)
}

/// Whether a veth's other end, on the host, was made for another attachment.
fn is_anothers_cable(mut host: Netlink, link: &Link, identity: &Identity) -> Result<bool> {
    let Some(other) = link.lower.filter(|_| link.kind == "veth") else {
        return Ok(false);
    };
    let other = host.link_by_index(other)?.filter(|end| end.kind == "veth");
    Ok(other.is_some_and(|end| identity.is_anothers(&end)))
}

/// The hardware address that the interface had when ADD made it.
fn prev_mac(request: &Request) -> Option<String> {
    let result = request.config.prev_result().ok().flatten()?;
    let mut interfaces = result.interfaces.into_iter();
    let interface = interfaces.find(|i| i.name == request.ifname && !i.sandbox.is_empty())?;
    Some(interface.mac.to_ascii_lowercase()).filter(|mac| !mac.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(dst: &str, priority: Option<u32>) -> Route {
        Route {
            dst: dst.parse().unwrap(),
            gw: None,
            mtu: None,
            advmss: None,
            priority,
            table: None,
            scope: None,
        }
    }

    #[test]
    fn metrics_follow_the_order_of_interfaces() {
        let (v4, v6) = (route("0.0.0.0/0", None), route("::/0", None));
        assert_eq!(metric(&v4, "eth0"), None);
        assert_eq!(metric(&v6, "eth0"), None);
        assert_eq!(metric(&v4, "eth1"), Some(1));
        assert_eq!(metric(&v6, "net12"), Some(1036));
        assert_eq!(metric(&v4, "front"), None);
        assert_eq!(metric(&v4, "e99999999999"), None);
        assert_eq!(metric(&route("0.0.0.0/0", Some(7)), "eth3"), Some(7));
    }
}
