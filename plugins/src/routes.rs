//! The container's routes: which, in what order, and as requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::{Attachment, Route};
use ipnetwork::IpNetwork;
use kernel::{Operation, RouteEntry};

use crate::Result;
use crate::default_route::advertisements::Advertisements;
use crate::default_route::order;
use crate::default_route::wish::{Wish, Wishes};
use crate::routing::Routing;

/// The kernel's metric of IPv6 routes that name none (`IP6_RT_PRIO_USER`).
pub(crate) const DEFAULT_IPV6_METRIC: u32 = 1024;
/// `RT_TABLE_MAIN` (linux/rtnetlink.h).
pub(crate) const MAIN_TABLE: u32 = 254;

/// Makes of the lease's routes those that are set, and that the result lists: the
/// default routes as it is wished, with their gateways, and every route with the metric
/// that keeps it apart from the same route of other networks.
///
/// # Errors
/// [`Error::NoWayOut`], [`Error::NoWayOutBy`] when there must be a default route and
/// cannot.
pub(crate) fn settle(layer3: &mut Attachment, wishes: &Wishes, ifname: &str) -> Result<()> {
    let families = [true, false].map(|ipv4| (ipv4, wishes.of(ipv4)));
    for (ipv4, wish) in families {
        let is_it = |route: &Route| is_default(route) && route.dst.is_ipv4() == ipv4;
        match wish {
            Some(Wish::None) => layer3.routes.retain(|route| !is_it(route)),
            Some(wish) if wish.is_first() && !layer3.routes.iter().any(is_it) => {
                let mut gateways = layer3.ips.iter().filter_map(|ip| ip.gateway);
                let gateway = gateways.find(|ip| ip.is_ipv4() == ipv4);
                layer3.routes.extend(gateway.and_then(default_via));
            }
            _ => {}
        }
    }
    let has = |ipv4| {
        let mut routes = layer3.routes.iter();
        routes.any(|route| is_default(route) && route.dst.is_ipv4() == ipv4)
    };
    wishes.are_met(has)?;
    let gateways: Vec<_> = layer3
        .routes
        .iter()
        .map(|route| gateway(layer3, route))
        .collect();
    for (route, gateway) in layer3.routes.iter_mut().zip(gateways) {
        // Whoever comes after, and people, are told where everything goes; of other routes
        // the reference says no more than the lease, and so is it here.
        if is_default(route) {
            route.gw = gateway;
        }
        route.priority = metric(route, wishes, ifname);
    }
    drop_repetitions(layer3);
    Ok(())
}

/// A route that says by which gateway it goes and one that leaves that open may be the
/// same, and the kernel takes no route twice: `isDefaultGateway` besides a default
/// route in `ipam`.
fn drop_repetitions(layer3: &mut Attachment) {
    let routes = std::mem::take(&mut layer3.routes);
    for route in routes {
        let is_same = |other: &Route| {
            let place = |route: &Route| (route.dst, route.priority, route.table);
            place(other) == place(&route) && gateway(layer3, other) == gateway(layer3, &route)
        };
        if !layer3.routes.iter().any(is_same) {
            layer3.routes.push(route);
        }
    }
}

/// Whether the default route for IPv6 may have to stand in for another's or another's
/// for it: then a route whose link has no carrier must not serve. With an interface
/// that is the first there may be no other; those that follow know that there are.
pub(crate) fn may_stand_by(layer3: &Attachment, ifname: &str) -> bool {
    let mut routes = layer3.routes.iter();
    ifname != "eth0" && routes.any(|route| is_default(route) && route.dst.is_ipv6())
}

/// Whether a route leads everywhere, for packets that no rule sends elsewhere.
pub(crate) fn is_default(route: &Route) -> bool {
    route.dst.prefix() == 0 && route.table.is_none_or(|table| table == MAIN_TABLE)
}

/// The default route by a gateway.
pub(crate) fn default_via(gateway: IpAddr) -> Option<Route> {
    let any: IpAddr = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Some(via(IpNetwork::new(any, 0).ok()?, gateway))
}

/// The route to somewhere by a gateway.
pub(crate) fn via(dst: IpNetwork, gateway: IpAddr) -> Route {
    Route {
        dst,
        gw: Some(gateway),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    }
}

/// How one of the container's routes is set.
pub(crate) enum Step {
    /// By this request.
    Add(Operation),
    /// Its metric was chosen, and may be that of another network's too ([`tie`]).
    Place(RouteEntry),
}

/// How the container's routes are set, one after the other: a route's gateway may be
/// where another leads.
pub(crate) fn steps(layer3: &Attachment, link: u32, ifname: &str, routing: &Routing) -> Vec<Step> {
    // A router may be quicker than the request that follows the one for the state.
    let add = match routing.advertisements {
        Advertisements::Refuse => kernel::add_route,
        Advertisements::Keep | Advertisements::Remetric => kernel::append_route,
    };
    let entries = entries(layer3, link);
    let place = |entry: &RouteEntry| (entry.dst, entry.table, entry.priority);
    let step = |(index, entry): (usize, &RouteEntry)| {
        if is_chosen(entry, &routing.wishes, ifname) {
            return Step::Place(entry.clone());
        }
        let mut before = entries[..index].iter();
        Step::Add(match before.any(|other| place(other) == place(entry)) {
            // What keeps them from being one is not where they lead.
            true => kernel::append_route(entry),
            false => add(entry),
        })
    };
    entries.iter().enumerate().map(step).collect()
}

/// Whether the lease says with which metric a route is set.
fn is_chosen(entry: &RouteEntry, wishes: &Wishes, ifname: &str) -> bool {
    let unsaid = Route {
        dst: entry.dst,
        gw: None,
        mtu: None,
        advmss: None,
        priority: None,
        table: entry.table,
        scope: None,
    };
    entry.priority.is_some() && entry.priority != metric(&unsaid, wishes, ifname)
}

/// Writes down which metric a route got that asked for another.
pub(crate) fn note_metric(layer3: &mut Attachment, entry: &RouteEntry, metric: u32) {
    for route in &mut layer3.routes {
        if (network(route.dst), route.table, route.priority)
            == (entry.dst, entry.table, entry.priority)
        {
            route.priority = Some(metric);
        }
    }
}

/// The routes of the lease as the kernel has them: those to one place at one metric,
/// by several routers, are one that shares the load.
fn entries(layer3: &Attachment, link: u32) -> Vec<RouteEntry> {
    let mut entries: Vec<RouteEntry> = Vec::new();
    for route in &layer3.routes {
        let entry = entry(layer3, route, link);
        let without_ways = |entry: &RouteEntry| entry.with_hops(Vec::new());
        let mut others = entries.iter_mut();
        match others.find(|other| without_ways(other) == without_ways(&entry)) {
            Some(same) => same.next_hops.extend(entry.next_hops),
            None => entries.push(entry),
        }
    }
    entries
}

/// A route of the lease as the kernel has it.
pub(crate) fn entry(layer3: &Attachment, route: &Route, link: u32) -> RouteEntry {
    let mut entry = RouteEntry::new(network(route.dst), link, gateway(layer3, route));
    entry.priority = route.priority;
    entry.table = route.table;
    entry.scope = route.scope;
    entry.mtu = route.mtu;
    entry.advmss = route.advmss;
    entry
}

/// On a link that leads to nothing but gateways: routes to each, and by each to the
/// subnet of its address. Addresses of one subnet share theirs.
pub(crate) fn by_gateways(layer3: &Attachment, link: u32) -> impl Iterator<Item = RouteEntry> + '_ {
    let with_gateway = layer3.ips.iter().filter_map(|ip| Some((ip, ip.gateway?)));
    with_gateway.flat_map(move |(ip, gateway)| {
        let subnet = network(ip.address);
        let from = |dst, gateway| {
            let mut route = RouteEntry::new(dst, link, gateway);
            route.source = Some(ip.address.ip());
            route
        };
        let to_gateway = from(IpNetwork::from(gateway), None);
        let is_alone = subnet == IpNetwork::from(ip.address.ip());
        let to_subnet = (!is_alone).then(|| from(subnet, Some(gateway)));
        std::iter::once(to_gateway).chain(to_subnet)
    })
}

/// The subnets of the addresses, which are on the link.
pub(crate) fn by_link(layer3: &Attachment, link: u32) -> impl Iterator<Item = RouteEntry> + '_ {
    layer3.ips.iter().map(move |ip| {
        let mut subnet = RouteEntry::new(network(ip.address), link, None);
        if ip.address.is_ipv4() {
            subnet.source = Some(ip.address.ip());
        }
        subnet
    })
}

fn network(net: IpNetwork) -> IpNetwork {
    // The prefix comes from a network, so it fits the family.
    IpNetwork::new(net.network(), net.prefix()).unwrap_or(net)
}

/// Where a route goes.
pub(crate) fn gateway(layer3: &Attachment, route: &Route) -> Option<IpAddr> {
    route.gw.or_else(|| default_gateway(layer3, route))
}

/// Where a route without a next hop goes: to the gateway of the first address of
/// its family; but not if its scope says that the destination is on the link.
fn default_gateway(layer3: &Attachment, route: &Route) -> Option<IpAddr> {
    /// `RT_SCOPE_LINK` (linux/rtnetlink.h); those above reach even less far.
    const LINK: u8 = 253;
    let mut gateways = layer3.ips.iter().filter_map(|ip| ip.gateway);
    let gateway = gateways.find(|ip| ip.is_ipv4() == route.dst.is_ipv4());
    gateway.filter(|_| route.scope.is_none_or(|scope| scope < LINK))
}

/// The metric of a route. A default route's follows from the network's priority and
/// the interface's place, unless the lease names one and nobody wished for another.
/// Any other route's that names none is a function of the interface's name.
fn metric(route: &Route, wishes: &Wishes, ifname: &str) -> Option<u32> {
    let ipv4 = route.dst.is_ipv4();
    if is_default(route) {
        let by_order = || {
            wishes
                .priority(ipv4)
                .map(|priority| order::metric(priority, ifname))
        };
        return match wishes.of(ipv4) {
            Some(_) => by_order(),
            None => route.priority.or_else(by_order),
        };
    }
    let by_order = match (order::metric_of_others(ifname), ipv4) {
        (0, _) => None,
        (metric, true) => Some(metric),
        (metric, false) => Some(DEFAULT_IPV6_METRIC.saturating_add(metric)),
    };
    route.priority.or(by_order)
}

#[cfg(test)]
mod tests {
    use cni::Ip;
    use proptest::prelude::*;

    use super::*;
    use crate::Error;

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

    fn lease(routes: Vec<Route>) -> Attachment {
        let ip = |address: &str, gateway: &str| Ip {
            address: address.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            interface: None,
            shared: false,
        };
        Attachment {
            ips: vec![ip("10.1.2.7/24", "10.1.2.1"), ip("fd00::7/64", "fd00::1")],
            routes,
            ..Attachment::default()
        }
    }

    fn settled(routes: Vec<Route>, wishes: Wishes) -> Vec<(String, Option<u32>)> {
        let mut lease = lease(routes);
        settle(&mut lease, &wishes, "eth3").unwrap();
        let told = |route: Route| (route.dst.to_string(), route.priority);
        lease.routes.into_iter().map(told).collect()
    }

    #[test]
    fn metrics_of_other_routes_follow_the_order_of_interfaces() {
        let none = Wishes::default();
        let (v4, v6) = (route("10.0.0.0/8", None), route("fd00::/8", None));
        assert_eq!(metric(&v4, &none, "eth0"), None);
        assert_eq!(metric(&v6, &none, "eth0"), None);
        assert_eq!(metric(&v4, &none, "eth1"), Some(1));
        assert_eq!(metric(&v6, &none, "eth12"), Some(1036));
        assert_eq!(metric(&v4, &none, "net1"), Some(200_003));
        assert_eq!(metric(&v6, &none, "net1"), Some(201_027));
        assert_ne!(metric(&v4, &none, "front"), metric(&v4, &none, "back"));
        assert_eq!(
            metric(&route("10.0.0.0/8", Some(7)), &none, "eth3"),
            Some(7)
        );
    }

    #[test]
    fn default_routes_are_as_it_is_wished() {
        let defaults = || {
            vec![
                route("0.0.0.0/0", None),
                route("::/0", Some(7)),
                route("10.0.0.0/8", None),
            ]
        };
        let entry = |dst: &str, metric| (dst.to_owned(), Some(metric));
        let rest = entry("10.0.0.0/8", 3);
        let by_order = order::metric(order::DEFAULT_PRIORITY, "eth3");
        let unsaid = settled(defaults(), Wishes::default());
        assert_eq!(
            unsaid,
            [entry("0.0.0.0/0", by_order), entry("::/0", 7), rest.clone()]
        );

        let wishes = Wishes {
            ipv4: Some(Wish::None),
            ipv6: Some(Wish::Priority(20)),
        };
        let some = settled(defaults(), wishes);
        assert_eq!(
            some,
            [entry("::/0", order::metric(20, "eth3")), rest.clone()]
        );

        let wishes = Wishes {
            ipv4: Some(Wish::FIRST),
            ipv6: None,
        };
        let made = settled(vec![route("10.0.0.0/8", None)], wishes);
        assert_eq!(made, [rest, entry("0.0.0.0/0", order::metric(0, "eth3"))]);
        let mut elsewhere = route("0.0.0.0/0", None);
        elsewhere.table = Some(100);
        let kept = settled(
            vec![elsewhere],
            Wishes {
                ipv4: Some(Wish::None),
                ipv6: None,
            },
        );
        assert_eq!(kept, [entry("0.0.0.0/0", 3)]);
    }

    #[test]
    fn the_same_route_said_twice_is_set_once() {
        let mut named = route("0.0.0.0/0", None);
        named.gw = Some("10.1.2.1".parse().unwrap());
        let mut elsewhere = named.clone();
        elsewhere.gw = Some("10.1.2.9".parse().unwrap());
        let twice = vec![route("0.0.0.0/0", None), named, elsewhere];
        assert_eq!(settled(twice, Wishes::default()).len(), 2);
    }

    #[test]
    fn several_routers_share_the_load() {
        let by = |dst: &str, gateway: &str, mtu| Route {
            gw: Some(gateway.parse().unwrap()),
            mtu,
            ..route(dst, Some(9))
        };
        let lease = lease(vec![
            by("::/0", "fd00::1", None),
            by("0.0.0.0/0", "10.1.2.1", None),
            by("::/0", "fd00::9", None),
            by("::/0", "fd00::8", Some(1300)),
            by("0.0.0.0/0", "10.1.2.9", None),
        ]);
        let told = |entry: &RouteEntry| {
            let hops = entry.next_hops.iter().filter_map(|hop| hop.gateway);
            hops.map(|gateway| gateway.to_string()).collect::<Vec<_>>()
        };
        let ways: Vec<_> = entries(&lease, 2).iter().map(told).collect();
        let expected: [&[&str]; 3] = [
            &["fd00::1", "fd00::9"],
            &["10.1.2.1", "10.1.2.9"],
            &["fd00::8"],
        ];
        assert_eq!(ways, expected);
    }

    #[test]
    fn a_network_without_gateway_cannot_lead_everywhere() {
        let wishes = Wishes {
            ipv4: Some(Wish::FIRST),
            ipv6: Some(Wish::FIRST),
        };
        let mut bare = Attachment::default();
        assert!(matches!(
            settle(&mut bare, &wishes, "eth0"),
            Err(Error::NoWayOut)
        ));
    }

    proptest! {
        /// Each attachment's metric is its own alone, so an order of attaching has
        /// nothing to change: the winner is the one with the least priority, then
        /// number.
        #[test]
        fn the_winner_does_not_depend_on_the_order(
            networks in prop::collection::vec(prop::option::of(0..=200_u32), 1..6).prop_shuffle(),
            first in 0..6_usize,
        ) {
            let metric_of = |index: usize| {
                let wishes = Wishes { ipv4: networks[index].map(Wish::Priority), ipv6: None };
                let mut lease = lease(vec![route("0.0.0.0/0", None)]);
                settle(&mut lease, &wishes, &format!("eth{index}")).unwrap();
                lease.routes[0].priority
            };
            let count = networks.len();
            let order = (0..count).map(|step| (first + step) % count);
            let set: Vec<_> = order.map(|index| (metric_of(index), index)).collect();
            let winner = set.iter().min().unwrap().1;
            let priority = |index: usize| networks[index].unwrap_or(order::DEFAULT_PRIORITY);
            let expected = (0..count).min_by_key(|index| (priority(*index), *index)).unwrap();
            prop_assert_eq!(winner, expected);
        }
    }
}
