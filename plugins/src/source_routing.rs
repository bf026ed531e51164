//! Replies leave by the interface that they came in on: a table for each interface
//! with the routes of its network, and a rule for each of its addresses that sends
//! what has it as its sender there.
//!
//! The table's number follows from the interface's name, so that attachments need not
//! look for free ones, and DEL finds the rules with nothing but that name. Rules are
//! of the namespace, not of a link: they are the only thing that must be taken away.

use std::net::IpAddr;

use cni::{Attachment, Route};
use ipnetwork::IpNetwork;
use kernel::{Netlink, Operation, RouteEntry, Rule};

use crate::attachment::Identity;
use crate::default_route::PLACED;
use crate::default_route::order;
use crate::{Result, check, routes};

/// The key.
pub(crate) const KEY: &str = "sourceRouting";
/// The first of our tables; people and other programs take small numbers.
const TABLES: u32 = 24_000_000;
/// Where our rules stand: before the main table's, after anybody's who cares.
const RULES: u32 = 24_000;

/// The table of an interface.
pub(crate) fn table(ifname: &str) -> u32 {
    TABLES + order::within_priority(ifname)
}

/// The rules of an attachment: one an address.
pub(crate) fn rules(layer3: &Attachment, ifname: &str) -> Vec<Rule> {
    let of = |ip: &cni::Ip| Rule {
        priority: Some(RULES),
        ..Rule::from_address(ip.address.ip(), table(ifname), PLACED)
    };
    layer3.ips.iter().map(of).collect()
}

/// The routes of the interface's table: its subnets, what else the lease has, and the
/// way back to everywhere, also where the network offers no default route: whoever
/// came in by a network's gateway can be reached by it.
///
/// `near` are the routes to the network's own subnets.
pub(crate) fn operations(
    layer3: &Attachment,
    ifname: &str,
    link: u32,
    near: Vec<RouteEntry>,
) -> Vec<Operation> {
    let entries = entries(layer3, ifname, link, near);
    entries.iter().map(kernel::replace_route).collect()
}

fn entries(layer3: &Attachment, ifname: &str, link: u32, near: Vec<RouteEntry>) -> Vec<RouteEntry> {
    let of_main = |route: &&Route| route.table.is_none_or(|table| table == routes::MAIN_TABLE);
    let leased = layer3.routes.iter().filter(of_main);
    let (everywhere, others): (Vec<_>, Vec<_>) =
        leased.partition(|route| routes::is_default(route));
    let mut entries = near;
    // Gateways may be beyond the subnet, so what leads to them comes before.
    entries.extend(
        others
            .into_iter()
            .map(|route| routes::entry(layer3, route, link)),
    );
    for ipv4 in [true, false] {
        let leased = everywhere.iter().find(|route| route.dst.is_ipv4() == ipv4);
        let mut gateways = layer3.ips.iter().filter_map(|ip| ip.gateway);
        let gateway = gateways.find(|gateway| gateway.is_ipv4() == ipv4);
        let own = gateway.and_then(routes::default_via);
        let default = leased.copied().or(own.as_ref());
        entries.extend(default.map(|route| routes::entry(layer3, route, link)));
    }
    for entry in &mut entries {
        entry.table = Some(table(ifname));
        entry.priority = None;
    }
    entries
}

/// Takes the rules of an interface away, unless the interface of that name is another
/// attachment's: a path may lead to another container's namespace by now.
pub(crate) fn forget(netlink: &mut Netlink, identity: &Identity, ifname: &str) -> Result<()> {
    let link = netlink.link(ifname)?;
    if link.is_some_and(|link| identity.is_anothers(&link)) {
        return Ok(());
    }
    remove_rules(netlink, |rule| rule.table == table(ifname))
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

/// Compares the rules and the table with what ADD made.
pub(crate) fn verify(netlink: &mut Netlink, expected: &Attachment, ifname: &str) -> Result<()> {
    let table = table(ifname);
    for rule in rules(expected, ifname) {
        let address = rule.from.ip();
        let found = netlink.rules(address.is_ipv4())?;
        if !found
            .iter()
            .any(|found| found.from == rule.from && found.table == table)
        {
            return Err(check::differs(
                "rules in the container",
                &told(&rule),
                &check::listed(&found.iter().map(told).collect::<Vec<_>>()),
            ));
        }
    }
    for ipv4 in families(expected) {
        if netlink.routes(ipv4, table)?.is_empty() {
            let what = format!("table {table} of {ifname}");
            return Err(check::differs(&what, "the routes of its network", "none"));
        }
    }
    Ok(())
}

fn families(layer3: &Attachment) -> impl Iterator<Item = bool> + '_ {
    let has = |ipv4| layer3.ips.iter().any(|ip| ip.address.is_ipv4() == ipv4);
    [true, false].into_iter().filter(move |ipv4| has(*ipv4))
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
    }

    #[test]
    fn the_way_to_a_gateway_comes_before_the_route_by_it() {
        let told = |entry: &RouteEntry| {
            let gateway = entry.next_hops[0].gateway;
            (
                entry.dst.to_string(),
                gateway.map(|gateway| gateway.to_string()),
            )
        };
        let lease = lease();
        let entries = entries(&lease, "eth1", 2, routes::by_link(&lease, 2).collect());
        let found: Vec<_> = entries.iter().map(told).collect();
        let via = |dst: &str, gateway: &str| (dst.to_owned(), Some(gateway.to_owned()));
        let expected = [
            ("10.1.2.0/24".to_owned(), None),
            ("fd00::/64".to_owned(), None),
            ("192.0.2.9/32".to_owned(), None),
            via("0.0.0.0/0", "192.0.2.9"),
            via("::/0", "fd00::1"),
        ];
        assert_eq!(found, expected);
        assert!(
            entries
                .iter()
                .all(|entry| entry.table == Some(24_100_001) && entry.priority.is_none())
        );
    }
}
