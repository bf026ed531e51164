//! What ADD changes, and how that is taken back. Pure but for asking the kernel for it.

use cni::{Ip, Route};
use ipnetwork::IpNetwork;
use kernel::{Errno, Link, Netlink, Operation, RouteEntry, Rule};

use super::Keys;
use crate::Result;
use crate::default_route::PLACED;
use crate::routes::{self, MAIN_TABLE};
use crate::source_routing;

/// What is there before anything is changed.
#[derive(Default)]
pub(super) struct Found {
    pub(super) rules: Vec<Rule>,
    /// The routes of the main table.
    pub(super) main: Vec<RouteEntry>,
    /// The table of each address, in their order.
    pub(super) tables: Vec<OwnTable>,
}

/// An address's table, with what an earlier ADD has put there.
pub(super) struct OwnTable {
    pub(super) number: u32,
    pub(super) routes: Vec<RouteEntry>,
}

/// The changes.
#[derive(Default)]
pub(super) struct Moves {
    rules: Vec<Rule>,
    set: Vec<Set>,
    /// Routes of the main table that go.
    leaving: Vec<RouteEntry>,
}

/// A route that is set, and the one in whose place that is.
struct Set {
    route: RouteEntry,
    before: Option<RouteEntry>,
}

impl Moves {
    /// The rules that lead to a table of somebody's choice.
    pub(super) fn rules_alone(found: &Found, ips: &[Ip], table: u32) -> Self {
        let rules = ips.iter().filter_map(|ip| missing(found, ip, table));
        Moves {
            rules: rules.collect(),
            ..Moves::default()
        }
    }

    /// Gives each address a table of its own with the interface's routes of its family,
    /// and a rule that leads there, and takes the routes out of the main table.
    pub(super) fn of(keys: &Keys, link: &Link, ips: &[Ip], found: &Found) -> Self {
        let movable = found.main.iter();
        let mut of_link: Vec<_> = movable
            .filter(|route| is_movable(route, link.index))
            .cloned()
            .collect();
        // What leads to a gateway comes before what goes by it, also on the way back.
        of_link.sort_by_key(leaves_subnet);
        let mut moves = Moves::default();
        for (ip, table) in ips.iter().zip(&found.tables) {
            moves.rules.extend(missing(found, ip, table.number));
            let routes = routes_for(keys, link, ip, &of_link, table.number);
            let set = routes
                .into_iter()
                .map(|route| Set::over(&table.routes, route));
            moves.set.extend(set);
        }
        if keys.add_source_hints {
            // The kernel's own for IPv4 has the address already.
            let says = |hint: &RouteEntry| {
                let is_it =
                    |route: &RouteEntry| (route.dst, route.source) == (hint.dst, hint.source);
                of_link.iter().any(is_it)
            };
            let hints = ips.iter().map(|ip| hinted(ip, link));
            let set = hints
                .filter(|hint| !says(hint))
                .map(|hint| Set::over(&of_link, hint));
            moves.set.extend(set);
        }
        // The subnets' routes stay with hints: for IPv4 in their place, for IPv6 beside.
        let is_beside = |route: &RouteEntry| !route.dst.is_ipv4() && route.source.is_none();
        of_link.retain(|route| !keys.add_source_hints || leaves_subnet(route) || is_beside(route));
        moves.leaving = of_link;
        moves
    }

    /// Does it. The rules come first: one to an empty table changes nothing, and by it the
    /// next ADD finds the table again if this one is killed.
    pub(super) fn carry_out(&self, netlink: &mut Netlink) -> Result<()> {
        let rules = self.rules.iter().map(kernel::add_rule);
        let set = self.set.iter().map(|set| kernel::replace_route(&set.route));
        netlink.apply(&rules.chain(set).collect::<Vec<_>>())?;
        let leaving = self.leaving.iter().map(kernel::delete_route);
        Ok(netlink.apply(&leaving.collect::<Vec<_>>())?)
    }

    /// What takes it back, however far it came.
    pub(super) fn back(&self) -> Vec<Operation> {
        // IPv6 takes one of the same metric besides another interface's only like this.
        let again = |route| {
            let add = kernel::append_route(route);
            add.tolerate(&[Errno::EEXIST])
        };
        let main = self.leaving.iter().map(again);
        let rules = self.rules.iter().map(kernel::delete_rule);
        let set = self.set.iter().map(|set| match &set.before {
            Some(before) => kernel::replace_route(before),
            None => kernel::delete_route(&set.route),
        });
        main.chain(rules).chain(set.rev()).collect()
    }

    /// Whether a route of a result is still where it says.
    pub(super) fn keeps(&self, found: &Found, listed: &Route) -> bool {
        if listed.table.is_some_and(|table| table != MAIN_TABLE) {
            return true;
        }
        let mut staying = found
            .main
            .iter()
            .filter(|route| !self.leaving.contains(route));
        staying.any(|route| {
            let mut hops = route.next_hops.iter();
            (route.dst.network(), route.dst.prefix()) == (listed.dst.network(), listed.dst.prefix())
                && (listed.gw.is_none() || hops.any(|hop| hop.gateway == listed.gw))
                && (listed.priority).is_none_or(|metric| metric == route.priority.unwrap_or(0))
        })
    }
}

impl Set {
    fn over(there: &[RouteEntry], route: RouteEntry) -> Self {
        let place = |route: &RouteEntry| (route.dst, metric(route));
        let before = there.iter().find(|other| place(other) == place(&route));
        Set {
            before: before.cloned(),
            route,
        }
    }
}

/// The metric that the kernel has for a route.
fn metric(route: &RouteEntry) -> u32 {
    match route.priority {
        Some(metric) if metric != 0 => metric,
        _ if route.dst.is_ipv4() => 0,
        _ => routes::DEFAULT_IPV6_METRIC,
    }
}

/// The rule that sends an address's packets to a table, if it is not there. Rules are not
/// compared with each other by the kernel when it chooses their places.
fn missing(found: &Found, ip: &Ip, table: u32) -> Option<Rule> {
    let address = ip.address.ip();
    let is_it = |rule: &Rule| source_routing::is_for(rule, address) && rule.table == table;
    let rule = || Rule::from_address(address, table, PLACED);
    (!found.rules.iter().any(is_it)).then(rule)
}

/// The routes of one address's table.
fn routes_for(
    keys: &Keys,
    link: &Link,
    ip: &Ip,
    of_link: &[RouteEntry],
    table: u32,
) -> Vec<RouteEntry> {
    let ipv4 = ip.address.is_ipv4();
    let fixed = keys.configured_gateway(ipv4).is_some();
    let same_family = of_link.iter().filter(|route| route.dst.is_ipv4() == ipv4);
    let fits = |route: &&RouteEntry| {
        let mut near = route
            .next_hops
            .iter()
            .filter_map(|hop| hop.gateway)
            .chain(route.source);
        let is_fixed = fixed && route.dst.prefix() == 0;
        // A route is of this address if it says nothing else.
        let is_plain =
            route.source.is_none() && route.next_hops.iter().all(|hop| hop.gateway.is_none());
        !is_fixed && (is_plain || near.any(|near| ip.address.contains(near)))
    };
    let (far, near): (Vec<_>, Vec<_>) = same_family
        .filter(fits)
        .partition(|route| leaves_subnet(route));
    let default = keys.gateway(ip).and_then(routes::default_via);
    let default = default.map(|route| RouteEntry::new(route.dst, link.index, route.gw));
    let mut routes: Vec<RouteEntry> = near.into_iter().cloned().collect();
    routes.extend(default);
    routes.extend(far.into_iter().cloned());
    for route in &mut routes {
        route.table = Some(table);
        if route.dst.prefix() == 0 {
            // It is the only one there, or takes the place of the one from the gateway.
            route.priority = None;
        }
    }
    routes
}

/// The subnet's route in the main table, with the address as the sender's.
fn hinted(ip: &Ip, link: &Link) -> RouteEntry {
    let subnet = IpNetwork::new(ip.address.network(), ip.address.prefix());
    let mut route = RouteEntry::new(subnet.unwrap_or(ip.address), link.index, None);
    route.source = Some(ip.address.ip());
    route
}

fn leaves_subnet(route: &RouteEntry) -> bool {
    route.next_hops.iter().any(|hop| hop.gateway.is_some()) || route.dst.prefix() == 0
}

/// A route of the interface alone. Link-local ones stay: every gateway needs them.
fn is_movable(route: &RouteEntry, link: u32) -> bool {
    let is_link_local = match route.dst {
        IpNetwork::V4(net) => net.ip().is_link_local(),
        IpNetwork::V6(net) => net.ip().is_unicast_link_local() || net.ip().is_multicast(),
    };
    let mut hops = route.next_hops.iter();
    route.is_unicast && !is_link_local && hops.all(|hop| hop.link == link)
}
