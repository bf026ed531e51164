//! `hostAccess`: an interface of the host's own on a macvlan network, since frames
//! between a macvlan link and the link below it never pass.
//!
//! It has no address of the network's and no part in its ARP or neighbour discovery:
//! the host knows its containers, and they know the host, by what is set on both sides.
//! So the host's own address is answered for by the link below alone, as before, and
//! neighbours elsewhere hear nothing of the interface.
//!
//! Which attachment a route is for stands in its metric. The routes are the list of
//! those that need the interface: whoever takes the last one away removes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::{Attachment, Ip, Route};
use ipnetwork::IpNetwork;
use kernel::{
    Address, Driver, Link, Mac, MacvlanMode, Neighbour, Netlink, NewLink, RouteEntry, sysctl,
};

use crate::attachment::fnv1a;
use crate::link_inside::Ends;
use crate::lock::Lock;
use crate::routes::MAIN_TABLE;
use crate::{Error, Result, check, routes};

/// Who sets the host's routes to its containers. Those of default routes and of rules by
/// source are 36 and 37.
const PROTOCOL: u8 = 38;
/// `RT_SCOPE_LINK` (linux/rtnetlink.h).
const LINK_SCOPE: u8 = 253;

/// The interface's name: `host` and eleven digits that follow from the network.
fn name_of(network: &str) -> String {
    format!("host{:011x}", fnv1a(mark(network).as_bytes()) >> 20)
}

/// What is written on the interface once it is complete.
fn mark(network: &str) -> String {
    // Not how the marks of attachments begin: nobody must take it for one.
    format!("slash24-host {network}")
}

fn lock(network: &str) -> String {
    format!("host/{}", name_of(network))
}

/// The interface's hardware address. All hosts of the network are on one segment, so
/// it follows from the link below as well.
fn mac_of(network: &str, lower: &Link) -> Mac {
    let below = lower.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let [a, b, c, d, e, f, ..] =
        fnv1a(format!("{} {below}", mark(network)).as_bytes()).to_be_bytes();
    Mac::local([a, b, c, d, e, f])
}

/// The host's address on the interface where the host has none of a family. It is known
/// to the network's containers on this host alone, so it is the same on every host.
fn stand_in(network: &str, ipv4: bool) -> IpAddr {
    let hash = fnv1a(mark(network).as_bytes());
    let [.., high, low] = hash.to_be_bytes();
    if ipv4 {
        // RFC 3927 keeps the first and the last 256 back; the metadata services of
        // clouds are at 169.254.169.254.
        let high = match 1 + high % 254 {
            169 => 1,
            high => high,
        };
        return Ipv4Addr::new(169, 254, high, low).into();
    }
    // Not `fe80::`: to that a container would talk from its own link-local address,
    // which the host cannot know. RFC 4193: `fd` and 40 bits by chance.
    let prefix = 0xfd << 120 | u128::from(hash >> 24) << 80;
    Ipv6Addr::from_bits(prefix | 1).into()
}

/// The host's address that one of the container's talks to: the link below has one in
/// the same subnet, or it is the one that the host would talk from, or any of that link.
fn source(below: &[Address], would_be: Option<IpAddr>, own: IpNetwork) -> Option<IpAddr> {
    let is_fit = |ip: &IpAddr| {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        ip.is_ipv4() == own.is_ipv4() && !ip.is_loopback() && !link_local && *ip != own.ip()
    };
    let usable = below.iter().filter(|address| address.is_usable());
    let all: Vec<IpAddr> = usable.map(|address| address.net.ip()).collect();
    let fit = || all.iter().copied().filter(is_fit);
    let near = fit().find(|ip| own.contains(*ip));
    near.or(would_be.filter(is_fit)).or_else(|| fit().next())
}

/// The container's addresses that lead to it and nobody else.
fn own_addresses(layer3: &Attachment) -> impl Iterator<Item = &Ip> {
    layer3.ips.iter().filter(|ip| !ip.shared)
}

/// Connects the host with a container, and returns what the container must know of it;
/// the routes to it are added to the lease.
pub(super) fn enter(
    ends: &Ends<'_>,
    lower: &Link,
    layer3: &mut Attachment,
) -> Result<Vec<Neighbour>> {
    let network = &ends.request.config.name;
    let _lock = Lock::alone(&lock(network))?;
    let mut host = Netlink::open()?;
    let link = ensure(&mut host, network, lower)?;
    let mac = mac_of(network, lower);
    let below = host.addresses(lower.index)?;
    let mut operations = Vec::new();
    let mut sources = Vec::new();
    for ip in own_addresses(layer3) {
        let own = ip.address.ip();
        let would_be = host.route_to(own, None)?.and_then(|route| route.source);
        let source = source(&below, would_be, ip.address).unwrap_or_else(|| {
            let address = stand_in(network, own.is_ipv4());
            operations.push(kernel::add_address(link.index, IpNetwork::from(address)));
            address
        });
        let neighbour = Neighbour {
            ip: own,
            mac: ends.mac,
        };
        operations.push(kernel::set_neighbour(link.index, &neighbour));
        let route = route(ends.identity.number(), own, source, &link);
        operations.push(kernel::replace_route(&route));
        sources.push(source);
    }
    if sources.iter().any(IpAddr::is_ipv6) {
        sysctl::ensure(&format!("net/ipv6/conf/{}/disable_ipv6", link.name), "0")?;
    }
    host.apply(&operations)?;
    sources.sort();
    sources.dedup();
    lead_to(&sources, layer3);
    let neighbours = sources.into_iter().map(|ip| Neighbour { ip, mac });
    Ok(neighbours.collect())
}

fn route(number: u32, own: IpAddr, source: IpAddr, link: &Link) -> RouteEntry {
    let mut route = RouteEntry::new(IpNetwork::from(own), link.index, None);
    route.source = Some(source);
    route.priority = Some(number);
    route.protocol = PROTOCOL;
    route
}

/// Routes to the host's addresses that are in none of the container's subnets.
fn lead_to(sources: &[IpAddr], layer3: &mut Attachment) {
    for source in sources {
        let is_near = layer3.ips.iter().any(|ip| ip.address.contains(*source));
        let dst = IpNetwork::from(*source);
        if !is_near && !layer3.routes.iter().any(|route| route.dst == dst) {
            layer3.routes.push(Route {
                gw: None,
                scope: Some(LINK_SCOPE),
                ..routes::via(dst, *source)
            });
        }
    }
}

/// The network's interface, if it is there and complete.
fn find(host: &mut Netlink, network: &str) -> Result<Option<Link>> {
    let found = host.link(&name_of(network))?;
    Ok(found.filter(|link| link.kind == "macvlan" && link.alias == mark(network)))
}

/// Makes sure that the interface is there. The caller has the lock.
fn ensure(host: &mut Netlink, network: &str, lower: &Link) -> Result<Link> {
    let name = name_of(network);
    if let Some(found) = host.link(&name)? {
        let is_own = found.alias == mark(network);
        if found.kind != "macvlan" || !(is_own || found.alias.is_empty()) {
            return Err(Error::HostLinkTaken {
                name,
                owner: found.alias,
            });
        }
        if is_own && found.lower == Some(lower.index) {
            let up = (!found.is_up).then(|| kernel::set_state(found.index, true));
            host.apply(up.as_slice())?;
            return Ok(found);
        }
        if is_own && !routes_by(host, &found)?.is_empty() {
            return Err(Error::HostAccessElsewhere {
                name,
                master: lower.name.clone(),
            });
        }
        host.apply(&[kernel::delete_link(found.index)])?;
    }
    let driver = Driver::Macvlan {
        mode: MacvlanMode::Bridge,
        broadcast_queue: None,
    };
    let link = NewLink {
        name: &name,
        driver,
        mac: Some(mac_of(network, lower)),
        mtu: None,
        lower: Some(lower.index),
        container: None,
    };
    host.apply(&[
        kernel::create_link(&link),
        kernel::generate_no_addresses(&name),
        kernel::do_without_arp(&name),
    ])?;
    // What routers advertise is for the link below to hear.
    sysctl::ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    let made = host.link(&name)?;
    let made = made.ok_or_else(|| kernel::Error::Garbled(format!("create {name}")))?;
    host.apply(&[kernel::set_up_as(made.index, &mark(network))])?;
    Ok(made)
}

/// The routes to containers by the interface.
fn routes_by(host: &mut Netlink, link: &Link) -> Result<Vec<RouteEntry>> {
    let mut routes = host.routes_by(true, MAIN_TABLE, link.index)?;
    routes.extend(host.routes_by(false, MAIN_TABLE, link.index)?);
    routes.retain(|route| route.protocol == PROTOCOL);
    Ok(routes)
}

/// Takes away what the host knows of attachments that have gone, told by their numbers,
/// and the interface if no other is left.
pub(super) fn leave(network: &str, has_gone: impl Fn(u32) -> bool) -> Result<()> {
    let mut host = Netlink::open()?;
    let is_there = host.link(&name_of(network))?.is_some();
    if !is_there {
        return Ok(());
    }
    let _lock = Lock::alone(&lock(network))?;
    let Some(link) = host.link(&name_of(network))? else {
        return Ok(());
    };
    // One without a mark is what somebody has left who was killed.
    let is_own = link.alias.is_empty() || link.alias == mark(network);
    if link.kind != "macvlan" || !is_own {
        return Ok(());
    }
    let (gone, rest): (Vec<_>, Vec<_>) = routes_by(&mut host, &link)?
        .into_iter()
        .partition(|route| has_gone(route.priority.unwrap_or(0)));
    if rest.is_empty() {
        return Ok(kernel::remove_link(link.index, None, None)?);
    }
    let mut operations: Vec<_> = gone.iter().map(kernel::delete_route).collect();
    // An address may be the next container's by now.
    let is_free = |route: &&RouteEntry| rest.iter().all(|other| other.dst != route.dst);
    let free = gone.iter().filter(is_free);
    operations.extend(free.map(|route| kernel::delete_neighbour(link.index, route.dst.ip())));
    Ok(host.apply(&operations)?)
}

/// CHECK: whether host and container can still reach each other.
pub(super) fn check(
    ends: &Ends<'_>,
    inside: &mut Netlink,
    container: &Link,
    expected: &Attachment,
) -> Result<()> {
    let network = &ends.request.config.name;
    let mut host = Netlink::open()?;
    let name = name_of(network);
    let what = format!("interface {name} of the host");
    let link = find(&mut host, network)?;
    let link = link.ok_or_else(|| check::differs(&what, "one on the network", "none"))?;
    let number = |index: Option<u32>| format!("link number {}", index.unwrap_or(0));
    let below = format!("link below {name}");
    check::same(&below, &number(container.lower), &number(link.lower))?;
    let state = if link.is_up { "up" } else { "down" };
    check::same(&format!("state of {name}"), "up", state)?;
    let routes = routes_by(&mut host, &link)?;
    for ip in own_addresses(expected) {
        let own = ip.address.ip();
        let is_it = |route: &&RouteEntry| {
            route.dst == IpNetwork::from(own) && route.priority == Some(ends.identity.number())
        };
        let route = routes.iter().find(is_it);
        let source = route.and_then(|route| route.source);
        let source = source.ok_or_else(|| {
            let way = format!("one to {own} by {name}, from an address of the host");
            check::differs("routes of the host", &way, "none")
        })?;
        let mac = |link: &Link| link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        let known = told(&mut host, &link, own)?;
        let what = format!("hardware address of {own} as the host knows it");
        check::same(&what, &mac(container), &known)?;
        let known = told(inside, container, source)?;
        let what = format!("hardware address of the host's {source} as the container knows it");
        check::same(&what, &mac(&link), &known)?;
    }
    Ok(())
}

/// The hardware address that was set for a neighbour.
fn told(netlink: &mut Netlink, link: &Link, ip: IpAddr) -> Result<String> {
    let neighbours = netlink.set_neighbours(link.index, ip.is_ipv4())?;
    let found = neighbours.iter().find(|neighbour| neighbour.ip == ip);
    Ok(found.map_or("none".into(), |neighbour| neighbour.mac.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_follow_from_the_network() {
        assert_eq!(name_of("net").len(), 15);
        assert_ne!(name_of("net"), name_of("net2"));
        let on = |mac| Link {
            mac: Some(Mac(mac)),
            ..Link::default()
        };
        let (one, two) = (on([2, 0, 0, 0, 0, 1]), on([2, 0, 0, 0, 0, 2]));
        assert_ne!(mac_of("net", &one), mac_of("net", &two), "on one segment");
        assert!(mac_of("net", &one).is_unicast());
    }

    #[test]
    fn stand_ins_are_of_nobody_else() {
        for number in 0..2000 {
            let network = format!("net{number}");
            let IpAddr::V4(v4) = stand_in(&network, true) else {
                panic!("it is of another family");
            };
            let [_, _, high, _] = v4.octets();
            assert!(v4.is_link_local() && ![0, 169, 255].contains(&high), "{v4}");
            let v6 = stand_in(&network, false);
            assert!(v6.to_string().starts_with("fd"), "{v6}");
        }
    }

    #[test]
    fn the_hosts_address_is_near_or_the_usual_one() {
        let own = "10.1.2.7/24".parse().unwrap();
        let would_be = Some(ip("192.0.2.9"));
        let of_link = |nets: &[&str]| -> Vec<Address> {
            let nets = nets.iter().map(|net| net.parse().unwrap());
            nets.map(|net| Address::new(2, net)).collect()
        };
        let below = of_link(&["fe80::1/64", "172.16.0.1/16", "10.1.2.200/24"]);
        assert_eq!(source(&below, would_be, own), Some(ip("10.1.2.200")));
        let far = of_link(&["169.254.0.5/16", "fd00::1/64", "172.16.0.1/16"]);
        assert_eq!(source(&far, would_be, own), would_be);
        assert_eq!(source(&far, None, own), Some(ip("172.16.0.1")));
        // Neither its own nor one that is nobody's in particular.
        let odd = of_link(&["10.1.2.7/24", "127.0.0.1/8"]);
        assert_eq!(source(&odd, Some(ip("169.254.0.5")), own), None);
        let six = "fd00::7/64".parse().unwrap();
        assert_eq!(source(&far, None, six), Some(ip("fd00::1")));
    }

    #[test]
    fn only_what_is_far_needs_a_route() {
        let mut lease = Attachment {
            ips: vec![Ip {
                address: "10.1.2.7/24".parse().unwrap(),
                gateway: Some(ip("10.1.2.1")),
                interface: None,
                shared: false,
            }],
            ..Attachment::default()
        };
        let sources = [ip("10.1.2.200"), ip("192.0.2.9")];
        lead_to(&sources, &mut lease);
        lead_to(&sources, &mut lease);
        assert_eq!(lease.routes.len(), 1);
        assert_eq!(lease.routes[0].dst.to_string(), "192.0.2.9/32");
        assert_eq!(
            (lease.routes[0].gw, lease.routes[0].scope),
            (None, Some(253))
        );
    }
}
