//! Replies leave by the interface that they came in on: a table for each interface
//! with the routes of its network, and a rule for each of its addresses that sends
//! what has it as its sender there. Addresses of one family with gateways of their own
//! have tables of their own.
//!
//! The tables' numbers follow from the interface's name, so that attachments need not
//! look for free ones, and DEL finds the rules with nothing but that name. Rules are
//! of the namespace, not of a link: they are the only thing that must be taken away.
//! That there are any is marked on the link ([`GROUP`]), for a DEL whose configuration
//! does not say so any more.

use std::net::IpAddr;

use cni::{Attachment, Ip, Route};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, Operation, RouteEntry, Rule};

use crate::attachment::Identity;
use crate::default_route::PLACED;
use crate::default_route::order;
use crate::{Result, check, routes};

/// The key.
pub(crate) const KEY: &str = "sourceRouting";
/// The first of our tables; people and other programs take small numbers.
const TABLES: u32 = 24_000_000;
/// From one table of an interface to its next: more than there are interfaces.
const TABLE_STEP: u32 = 10_000_000;
/// More would not fit into 32 bits.
const LAST_TABLE: u32 = 400;
/// Where our rules stand: before the main table's, after anybody's who cares.
const RULES: u32 = 24_000;
/// The group of links whose addresses have rules: it is read with the link, and costs
/// those without rules nothing.
pub(crate) const GROUP: u32 = RULES;

/// The first table of an interface, and the only one of most.
fn table(ifname: &str) -> u32 {
    TABLES + order::within_priority(ifname)
}

/// Whether a table is one of the interface's.
fn is_own_table(number: u32, ifname: &str) -> bool {
    let behind = number.checked_sub(table(ifname));
    behind.is_some_and(|behind| behind.is_multiple_of(TABLE_STEP))
}

/// Addresses of one family with the same gateway, or none, and the table for them.
struct Group<'l> {
    gateway: Option<IpAddr>,
    ips: Vec<&'l Ip>,
    table: u32,
}

impl Group<'_> {
    fn is_ipv4(&self) -> bool {
        self.ips.iter().any(|ip| ip.address.is_ipv4())
    }

    fn is_near(&self, gateway: IpAddr) -> bool {
        self.ips.iter().any(|ip| ip.address.contains(gateway))
    }
}

/// The groups of a lease. Addresses without a gateway go with those of the first.
fn groups<'l>(layer3: &'l Attachment, ifname: &str) -> Vec<Group<'l>> {
    let mut all = Vec::new();
    for ipv4 in [true, false] {
        let mut groups: Vec<Group<'l>> = Vec::new();
        let ips = layer3.ips.iter();
        for ip in ips.filter(|ip| ip.address.is_ipv4() == ipv4) {
            let fits = |group: &&mut Group<'_>| {
                ip.gateway.is_none() || group.gateway.is_none() || group.gateway == ip.gateway
            };
            if let Some(group) = groups.iter_mut().find(fits) {
                group.gateway = group.gateway.or(ip.gateway);
                group.ips.push(ip);
                continue;
            }
            let number = (groups.len() as u32).min(LAST_TABLE);
            groups.push(Group {
                gateway: ip.gateway,
                ips: vec![ip],
                table: table(ifname) + number * TABLE_STEP,
            });
        }
        all.extend(groups);
    }
    all
}

/// The rules of an attachment: one an address.
pub(crate) fn rules(layer3: &Attachment, ifname: &str) -> Vec<Rule> {
    let groups = groups(layer3, ifname);
    let of = |group: &Group<'_>, ip: &Ip| Rule {
        priority: Some(RULES),
        ..Rule::from_address(ip.address.ip(), group.table, PLACED)
    };
    let all = groups.iter();
    all.flat_map(|group| group.ips.iter().map(move |ip| of(group, ip)))
        .collect()
}

/// The routes of the interface's tables: its subnets, what else the lease has, and the
/// way back to everywhere, also where the network offers no default route: whoever
/// came in by a network's gateway can be reached by it.
///
/// `near` are the routes to the network's own subnets.
pub(crate) fn operations(
    layer3: &Attachment,
    ifname: &str,
    link: u32,
    near: &[RouteEntry],
) -> Vec<Operation> {
    let entries = entries(layer3, ifname, link, near);
    entries.iter().map(kernel::replace_route).collect()
}

fn entries(layer3: &Attachment, ifname: &str, link: u32, near: &[RouteEntry]) -> Vec<RouteEntry> {
    let groups = groups(layer3, ifname);
    let all = groups.iter();
    all.flat_map(|group| {
        let others = groups.iter().filter(|other| other.table != group.table);
        let others: Vec<_> = others.collect();
        of_group(layer3, group, &others, link, near)
    })
    .collect()
}

/// The routes of one table. A route by another group's gateway is that group's alone.
fn of_group(
    layer3: &Attachment,
    group: &Group<'_>,
    others: &[&Group<'_>],
    link: u32,
    near: &[RouteEntry],
) -> Vec<RouteEntry> {
    let ipv4 = group.is_ipv4();
    // What goes by the network's gateway goes by this one's.
    let own = Attachment {
        ips: group.ips.iter().copied().cloned().collect(),
        ..Attachment::default()
    };
    let is_others = |gateway: IpAddr| {
        !group.is_near(gateway) && others.iter().any(|other| other.is_near(gateway))
    };
    let is_of_main = |route: &Route| route.table.is_none_or(|table| table == routes::MAIN_TABLE);
    let leased = layer3.routes.iter().filter(|route| {
        route.dst.is_ipv4() == ipv4 && is_of_main(route) && !route.gw.is_some_and(is_others)
    });
    // Gateways may be beyond the subnet, so what leads to them comes before.
    let (everywhere, elsewhere): (Vec<_>, Vec<_>) =
        leased.partition(|route| routes::is_default(route));
    let gateway = group.gateway.filter(|_| everywhere.is_empty());
    let default = gateway.and_then(routes::default_via);
    let near = near.iter().filter(|route| route.dst.is_ipv4() == ipv4);
    let mut entries: Vec<RouteEntry> = Vec::new();
    for entry in near.cloned() {
        place(&mut entries, entry);
    }
    let leased = elsewhere.into_iter().chain(everywhere).chain(&default);
    for route in leased {
        place(&mut entries, routes::entry(&own, route, link));
    }
    for entry in &mut entries {
        entry.table = Some(group.table);
        entry.priority = None;
    }
    entries
}

/// Adds a route to those of a table, which has one for each destination: the one with the
/// lowest metric, and of equals by a gateway the ways of all.
fn place(entries: &mut Vec<RouteEntry>, entry: RouteEntry) {
    let rank = |route: &RouteEntry| route.priority.unwrap_or(0);
    let Some(there) = entries.iter_mut().find(|there| there.dst == entry.dst) else {
        entries.push(entry);
        return;
    };
    let by_gateways = |route: &RouteEntry| route.next_hops.iter().all(|hop| hop.gateway.is_some());
    if rank(there) == rank(&entry) && by_gateways(there) && by_gateways(&entry) {
        let new = |hop: &kernel::NextHop| !there.next_hops.contains(hop);
        let hops: Vec<_> = entry.next_hops.into_iter().filter(new).collect();
        there.next_hops.extend(hops);
    } else if rank(&entry) <= rank(there) || !by_gateways(there) {
        *there = entry;
    }
}

/// Marks a link that has rules, if nobody has put it into a group of theirs.
pub(crate) fn mark(link: &Link) -> Option<Operation> {
    (link.group == 0).then(|| kernel::join_group(link.index, GROUP))
}

/// Takes the mark off a link that lives on.
pub(crate) fn unmark(link: &Link) -> Option<Operation> {
    (link.group == GROUP).then(|| kernel::join_group(link.index, 0))
}

/// Takes the rules of an interface away, unless the interface of that name is another
/// attachment's: a path may lead to another container's namespace by now.
pub(crate) fn forget(netlink: &mut Netlink, identity: &Identity, ifname: &str) -> Result<()> {
    let link = netlink.link(ifname)?;
    if link.is_some_and(|link| identity.is_anothers(&link)) {
        return Ok(());
    }
    remove_rules(netlink, |rule| is_own_table(rule.table, ifname))
}

/// The requests that leave an interface with these rules and no others: of an attachment
/// that ended without its namespace there may be some.
pub(crate) fn settle(
    netlink: &mut Netlink,
    rules: &[Rule],
    ifname: &str,
) -> Result<Vec<Operation>> {
    let mut operations: Vec<_> = rules.iter().map(kernel::add_rule).collect();
    for ipv4 in [true, false] {
        let found = netlink.rules(ipv4)?;
        let is_wanted = |found: &Rule| {
            let mut rules = rules.iter();
            rules.any(|rule| (rule.from, rule.table) == (found.from, found.table))
        };
        let stale = found
            .iter()
            .filter(|rule| is_own_table(rule.table, ifname) && !is_wanted(rule));
        operations.extend(stale.map(kernel::delete_rule));
    }
    Ok(operations)
}

/// Takes away the rules of both families that `is_it` says.
pub(crate) fn remove_rules(netlink: &mut Netlink, is_it: impl Fn(&Rule) -> bool) -> Result<()> {
    let mut stale = Vec::new();
    for ipv4 in [true, false] {
        let rules = netlink.rules(ipv4)?;
        stale.extend(
            rules
                .iter()
                .filter(|rule| is_it(rule))
                .map(kernel::delete_rule),
        );
    }
    Ok(netlink.apply(&stale)?)
}

/// Compares the rules and the tables with what ADD made.
pub(crate) fn verify(
    netlink: &mut Netlink,
    expected: &Attachment,
    ifname: &str,
    link: u32,
    near: &[RouteEntry],
) -> Result<()> {
    for rule in rules(expected, ifname) {
        let address = rule.from.ip();
        let found = netlink.rules(address.is_ipv4())?;
        if !found
            .iter()
            .any(|found| found.from == rule.from && found.table == rule.table)
        {
            return Err(check::differs(
                "rules in the container",
                &told(&rule),
                &check::listed(&found.iter().map(told).collect::<Vec<_>>()),
            ));
        }
    }
    for entry in entries(expected, ifname, link, near) {
        let Some(table) = entry.table else {
            continue;
        };
        let found = netlink.routes(entry.dst.is_ipv4(), table)?;
        if !is_there(&entry, &found) {
            let found: Vec<_> = found.iter().map(check::told).collect();
            return Err(check::differs(
                &format!("routes of {ifname} in table {table}"),
                &check::told(&entry),
                &check::listed(&found),
            ));
        }
    }
    Ok(())
}

/// Whether a table has all ways of a route. The kernel gives those of one destination as
/// one route or as several.
fn is_there(expected: &RouteEntry, found: &[RouteEntry]) -> bool {
    let same = found
        .iter()
        .filter(|found| found.is_unicast && found.dst == expected.dst);
    let hops: Vec<_> = same.flat_map(|found| &found.next_hops).collect();
    expected.next_hops.iter().all(|hop| {
        let way = |hop: &kernel::NextHop| (hop.link, hop.gateway);
        hops.iter().any(|found| way(found) == way(hop))
    })
}

/// A rule, for people.
pub(crate) fn told(rule: &Rule) -> String {
    format!("{} to table {}", rule.from.ip(), rule.table)
}

/// Whether a rule is for this very address.
pub(crate) fn is_for(rule: &Rule, address: IpAddr) -> bool {
    rule.from == IpNetwork::from(address)
}

#[cfg(test)]
mod tests {
    use cni::Ip;

    use super::*;

    fn lease() -> Attachment {
        let ip = |address: &str, gateway: Option<&str>| Ip {
            address: address.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            interface: None,
            shared: false,
        };
        let mut near = routes::default_via("192.0.2.9".parse().unwrap()).unwrap();
        near.dst = "192.0.2.9/32".parse().unwrap();
        near.gw = None;
        near.scope = Some(253);
        let mut everywhere = routes::default_via("192.0.2.9".parse().unwrap()).unwrap();
        everywhere.priority = Some(9);
        Attachment {
            ips: vec![
                ip("10.1.2.7/24", Some("10.1.2.1")),
                ip("fd00::7/64", Some("fd00::1")),
            ],
            routes: vec![everywhere, near],
            ..Attachment::default()
        }
    }

    #[test]
    fn a_table_and_a_rule_an_address() {
        assert_eq!(table("eth1"), 24_100_001);
        let rules = rules(&lease(), "eth1");
        let from: Vec<_> = rules.iter().map(|rule| rule.from.to_string()).collect();
        assert_eq!(from, ["10.1.2.7/32", "fd00::7/128"]);
        assert!(rules.iter().all(|rule| rule.table == 24_100_001));
        assert!(is_own_table(24_100_001, "eth1") && is_own_table(34_100_001, "eth1"));
        assert!(!is_own_table(24_000_001, "eth1") && !is_own_table(100, "eth1"));
        for ifname in ["eth0", "net98", "eth99", "front"] {
            assert!(order::within_priority(ifname) < TABLE_STEP, "{ifname}");
        }
        assert!(TABLES.checked_add((LAST_TABLE + 1) * TABLE_STEP).is_some());
    }

    /// Table, destination and gateways.
    fn told(entry: &RouteEntry) -> (u32, String, Vec<String>) {
        let gateways = entry.next_hops.iter().filter_map(|hop| hop.gateway);
        let gateways = gateways.map(|gateway| gateway.to_string()).collect();
        (entry.table.unwrap(), entry.dst.to_string(), gateways)
    }

    fn found(lease: &Attachment) -> Vec<(u32, String, Vec<String>)> {
        let near: Vec<_> = routes::by_link(lease, 2).collect();
        let entries = entries(lease, "eth1", 2, &near);
        assert!(entries.iter().all(|entry| entry.priority.is_none()));
        entries.iter().map(told).collect()
    }

    fn via(table: u32, dst: &str, gateways: &[&str]) -> (u32, String, Vec<String>) {
        let gateways = gateways.iter().map(|gateway| (*gateway).to_owned());
        (table, dst.to_owned(), gateways.collect())
    }

    #[test]
    fn the_way_to_a_gateway_comes_before_the_route_by_it() {
        let table = 24_100_001;
        let expected = [
            via(table, "10.1.2.0/24", &[]),
            via(table, "192.0.2.9/32", &[]),
            via(table, "0.0.0.0/0", &["192.0.2.9"]),
            via(table, "fd00::/64", &[]),
            via(table, "::/0", &["fd00::1"]),
        ];
        assert_eq!(found(&lease()), expected);
    }

    #[test]
    fn each_gateway_has_a_table() {
        let mut lease = lease();
        for (address, gateway) in [
            ("10.1.3.7/24", Some("10.1.3.1")),
            ("10.1.4.7/24", None),
            ("10.1.3.8/24", Some("10.1.3.1")),
        ] {
            lease.ips.push(Ip {
                address: address.parse().unwrap(),
                gateway: gateway.map(|gateway| gateway.parse().unwrap()),
                interface: None,
                shared: false,
            });
        }
        let route = |dst: &str, gateway: Option<&str>| Route {
            dst: dst.parse().unwrap(),
            gw: gateway.map(|gateway| gateway.parse().unwrap()),
            ..routes::default_via("10.1.2.1".parse().unwrap()).unwrap()
        };
        lease.routes = vec![
            route("0.0.0.0/0", None),
            route("10.9.0.0/16", Some("10.1.2.9")),
            route("10.8.0.0/16", None),
        ];
        let (one, two) = (24_100_001, 34_100_001);
        let subnets = ["10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24"];
        let mut expected: Vec<_> = subnets.map(|subnet| via(one, subnet, &[])).into();
        expected.extend([
            via(one, "10.9.0.0/16", &["10.1.2.9"]),
            via(one, "10.8.0.0/16", &["10.1.2.1"]),
            via(one, "0.0.0.0/0", &["10.1.2.1"]),
        ]);
        expected.extend(subnets.map(|subnet| via(two, subnet, &[])));
        expected.extend([
            via(two, "10.8.0.0/16", &["10.1.3.1"]),
            via(two, "0.0.0.0/0", &["10.1.3.1"]),
            via(one, "fd00::/64", &[]),
            via(one, "::/0", &["fd00::1"]),
        ]);
        assert_eq!(found(&lease), expected);
        let rules = rules(&lease, "eth1");
        let tables: Vec<_> = rules
            .iter()
            .map(|rule| (rule.from.ip().to_string(), rule.table))
            .collect();
        let rule = |address: &str, table| (address.to_owned(), table);
        let expected = [
            rule("10.1.2.7", one),
            rule("10.1.4.7", one),
            rule("10.1.3.7", two),
            rule("10.1.3.8", two),
            rule("fd00::7", one),
        ];
        assert_eq!(tables, expected);
    }

    #[test]
    fn a_table_has_one_route_for_a_destination() {
        let mut lease = lease();
        lease.ips.truncate(1);
        let by = |gateway: &str, priority| Route {
            priority: Some(priority),
            ..routes::default_via(gateway.parse().unwrap()).unwrap()
        };
        lease.routes = vec![by("10.1.2.9", 7), by("10.1.2.1", 5), by("10.1.2.3", 5)];
        let expected = [
            via(24_100_001, "10.1.2.0/24", &[]),
            via(24_100_001, "0.0.0.0/0", &["10.1.2.1", "10.1.2.3"]),
        ];
        assert_eq!(found(&lease), expected);
    }
}
