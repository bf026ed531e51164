//! The container's routes.

use std::net::IpAddr;

use cni::{Attachment, Route};
use ipnetwork::IpNetwork;
use kernel::{NextHop, Operation, RouteEntry};

/// The kernel's metric of IPv6 routes that name none (`IP6_RT_PRIO_USER`).
const DEFAULT_IPV6_METRIC: u32 = 1024;

/// The container's routes as requests.
pub(crate) fn operations<'a>(
    layer3: &'a Attachment,
    ifname: &'a str,
    link: u32,
) -> impl Iterator<Item = Operation> + 'a {
    let entries = layer3.routes.iter().map(move |route| RouteEntry {
        dst: network(route.dst),
        next_hops: vec![NextHop {
            link,
            gateway: route.gw.or_else(|| default_gateway(layer3, route)),
        }],
        priority: metric(route, ifname),
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

/// Where a route without a next hop goes: to the gateway of the first address of
/// its family; but not if its scope says that the destination is on the link.
fn default_gateway(layer3: &Attachment, route: &Route) -> Option<IpAddr> {
    /// `RT_SCOPE_LINK` (linux/rtnetlink.h); those above reach even less far.
    const LINK: u8 = 253;
    let mut gateways = layer3.ips.iter().filter_map(|ip| ip.gateway);
    let gateway = gateways.find(|ip| ip.is_ipv4() == route.dst.is_ipv4());
    gateway.filter(|_| route.scope.is_none_or(|scope| scope < LINK))
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
