//! `sbr`: source-based routing for an interface that another plugin made. Packets
//! from its addresses take its own routes, which leave the main table.
//!
//! It is the reference's plugin, with its keys and its tables from 100 up, one an
//! address. Our own interface plugins do the like by `sourceRouting`.

use std::net::IpAddr;

use cni::{Attachment, Call, Failure, Ip, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, RouteEntry, Rule};
use serde::Deserialize;

use crate::default_route::PLACED;
use crate::inner::Inner;
use crate::namespace::Namespace;
use crate::routes::{self, MAIN_TABLE};
use crate::undo::Undo;
use crate::{Error, Result, check, source_routing};

/// The first table that is looked at for a free one.
const FIRST_TABLE: u32 = 100;

/// The plugin.
pub struct Sbr;

impl Plugin for Sbr {
    fn name(&self) -> &'static str {
        "sbr"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let inner = Inner::of(call)?;
        forget(call.request, &inner)?;
        inner.forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let inner = Inner::of(call)?;
        check_rules(call.request, &inner)?;
        inner.forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Inner::of(call)?.forward()
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Inner::of(call)?.forward()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKeys {
    table: Option<u32>,
    gateways: Vec<String>,
    add_source_hints: bool,
}

struct Keys {
    table: Option<u32>,
    gateways: Vec<IpAddr>,
    add_source_hints: bool,
}

impl Keys {
    fn read(request: &Request) -> Result<Self> {
        let raw: RawKeys = request.config.read()?;
        let bad = |key, value: &dyn std::fmt::Display, right: &str| Error::BadKey {
            key,
            value: value.to_string(),
            right: right.into(),
        };
        if let Some(table) = raw.table.filter(|table| [0, 255].contains(table)) {
            return Err(bad(
                "table",
                &table,
                "the number of a table: 1 or more, and not 255, which is the kernel's",
            ));
        }
        let mut gateways: Vec<IpAddr> = Vec::new();
        for text in &raw.gateways {
            const RIGHT: &str = "at most one IPv4 and one IPv6 address";
            let gateway: IpAddr = text
                .parse()
                .map_err(|_| bad("gateways", &format!("\"{text}\""), RIGHT))?;
            if gateways
                .iter()
                .any(|other| other.is_ipv4() == gateway.is_ipv4())
            {
                return Err(bad("gateways", &format!("\"{text}\""), RIGHT));
            }
            gateways.push(gateway);
        }
        Ok(Keys {
            table: raw.table,
            gateways,
            add_source_hints: raw.add_source_hints,
        })
    }

    /// The way to everywhere for an address: what is configured, or else its network's.
    fn gateway(&self, ip: &Ip) -> Option<IpAddr> {
        self.configured_gateway(ip.address.is_ipv4()).or(ip.gateway)
    }

    fn configured_gateway(&self, ipv4: bool) -> Option<IpAddr> {
        self.gateways
            .iter()
            .copied()
            .find(|gateway| gateway.is_ipv4() == ipv4)
    }
}

/// The addresses of the container's interface in a result.
fn own_addresses<'r>(request: &Request, result: &'r Attachment) -> Vec<&'r Ip> {
    let is_own = |ip: &&Ip| {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(|interface| interface.name == request.ifname)
    };
    result.ips.iter().filter(is_own).collect()
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(request)?;
    let inner = Inner::of(call)?;
    let namespace = Namespace::open(request)?;
    let mut undo = Undo::default();
    let result = inner.add()?;
    undo.push(|| inner.undo());
    let ips: Vec<Ip> = own_addresses(request, &result)
        .into_iter()
        .cloned()
        .collect();
    if ips.is_empty() {
        return Err(Error::NoAddresses(request.ifname.clone()));
    }
    let _alone = namespace.lock()?;
    let mut netlink = namespace.netlink()?;
    let link = namespace.link(&mut netlink)?;
    let addresses: Vec<_> = ips.iter().map(|ip| ip.address.ip()).collect();
    let undone = &namespace;
    undo.push(move || forget_addresses(&mut undone.netlink()?, &addresses, keys.table));
    match keys.table {
        Some(table) => {
            for ip in &ips {
                lead(&mut netlink, ip.address.ip(), table)?;
            }
        }
        None => move_routes(&mut netlink, &keys, &link, &ips)?,
    }
    undo.keep();
    Ok(result)
}

/// Takes the rules of the interface's addresses away, if it is this attachment's, and
/// what has been left of ours that leads to nothing.
fn forget(request: &Request, inner: &Inner<'_>) -> Result<()> {
    let Some(namespace) = Namespace::open_if_there(request)? else {
        return Ok(());
    };
    let table = request
        .config
        .read::<RawKeys>()
        .ok()
        .and_then(|keys| keys.table);
    let result = inner.prev_result().ok().flatten();
    let _alone = namespace.lock()?;
    let mut netlink = namespace.netlink()?;
    let link = netlink.link(&request.ifname)?;
    if link.as_ref().is_some_and(|link| !namespace.is_own(link)) {
        return Ok(());
    }
    let told = result
        .iter()
        .flat_map(|result| own_addresses(request, result));
    let mut addresses: Vec<_> = told.map(|ip| ip.address.ip()).collect();
    if let Some(link) = link {
        addresses.extend(
            netlink
                .addresses(link.index)?
                .iter()
                .map(|address| address.net.ip()),
        );
    }
    forget_addresses(&mut netlink, &addresses, table)?;
    forget_dangling(&mut netlink)
}

fn forget_addresses(netlink: &mut Netlink, addresses: &[IpAddr], table: Option<u32>) -> Result<()> {
    source_routing::remove_rules(netlink, |rule| {
        let mut own = addresses.iter();
        table.is_none_or(|table| rule.table == table)
            && own.any(|address| source_routing::is_for(rule, *address))
    })
}

/// The link may be gone, its routes with it, and no result say which addresses it had.
fn forget_dangling(netlink: &mut Netlink) -> Result<()> {
    let mut dangling = Vec::new();
    for ipv4 in [true, false] {
        for rule in netlink.rules(ipv4)? {
            let is_ours = rule.protocol == PLACED && rule.table != MAIN_TABLE;
            if is_ours && netlink.routes(ipv4, rule.table)?.is_empty() {
                dangling.push(kernel::delete_rule(&rule));
            }
        }
    }
    Ok(netlink.apply(&dangling)?)
}

/// Gives each address a table of its own with the interface's routes of its family,
/// then the rule that leads there, then takes the routes out of the main table.
fn move_routes(netlink: &mut Netlink, keys: &Keys, link: &Link, ips: &[Ip]) -> Result<()> {
    let mut of_link = Vec::new();
    for ipv4 in [true, false] {
        let mut routes = netlink.routes(ipv4, MAIN_TABLE)?;
        routes.retain(|route| is_movable(route, link.index));
        of_link.extend(routes);
    }
    let mut taken = Vec::new();
    for ip in ips {
        let address = ip.address.ip();
        let rules = netlink.rules(address.is_ipv4())?;
        // From another try of the same ADD.
        let own = rules
            .iter()
            .find(|rule| source_routing::is_for(rule, address) && rule.protocol == PLACED);
        let table = match own {
            Some(rule) => rule.table,
            None => free_table(netlink, &taken)?,
        };
        taken.push(table);
        let routes = routes_for(keys, link, ip, &of_link, table);
        netlink.apply(&routes.iter().map(kernel::replace_route).collect::<Vec<_>>())?;
        lead(netlink, address, table)?;
    }
    let mut operations = Vec::new();
    if keys.add_source_hints {
        operations.extend(
            ips.iter()
                .map(|ip| kernel::replace_route(&hinted(ip, link))),
        );
    }
    // The subnets' routes stay with hints: for IPv4 in their place, for IPv6 beside.
    let is_beside = |route: &RouteEntry| !route.dst.is_ipv4() && route.source.is_none();
    let goes =
        |route: &&RouteEntry| !keys.add_source_hints || leaves_subnet(route) || is_beside(route);
    operations.extend(of_link.iter().filter(goes).map(kernel::delete_route));
    Ok(netlink.apply(&operations)?)
}

/// Sends an address's packets to a table. Rules are not compared with each other by
/// the kernel when it chooses their places.
fn lead(netlink: &mut Netlink, address: IpAddr, table: u32) -> Result<()> {
    let rules = netlink.rules(address.is_ipv4())?;
    let is_it = |rule: &Rule| source_routing::is_for(rule, address) && rule.table == table;
    match rules.iter().any(is_it) {
        true => Ok(()),
        false => {
            let rule = Rule::from_address(address, table, PLACED);
            Ok(netlink.apply(&[kernel::add_rule(&rule)])?)
        }
    }
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

/// The first table that no rule leads to and that has no routes.
fn free_table(netlink: &mut Netlink, taken: &[u32]) -> Result<u32> {
    let mut led_to = taken.to_vec();
    for ipv4 in [true, false] {
        led_to.extend(netlink.rules(ipv4)?.iter().map(|rule| rule.table));
    }
    let mut table = FIRST_TABLE;
    loop {
        let is_reserved = (253..=255).contains(&table);
        if !is_reserved
            && !led_to.contains(&table)
            && netlink.routes(true, table)?.is_empty()
            && netlink.routes(false, table)?.is_empty()
        {
            return Ok(table);
        }
        table += 1;
    }
}

fn check_rules(request: &Request, inner: &Inner<'_>) -> Result<()> {
    let keys = Keys::read(request)?;
    let result = inner.prev_result()?.ok_or(Error::NoPrevResult)?;
    let mut netlink = Namespace::open(request)?.netlink()?;
    for ip in own_addresses(request, &result) {
        let address = ip.address.ip();
        let ipv4 = address.is_ipv4();
        let rules = netlink.rules(ipv4)?;
        let mut own = rules
            .iter()
            .filter(|rule| source_routing::is_for(rule, address));
        let fits = |rule: &&Rule| keys.table.is_none_or(|table| rule.table == table);
        let Some(rule) = own.find(fits) else {
            let found: Vec<_> = rules.iter().map(source_routing::told).collect();
            let table = keys
                .table
                .map_or("one of its own".into(), |table| table.to_string());
            return Err(check::differs(
                "rules in the container",
                &format!("{address} to table {table}"),
                &check::listed(&found),
            ));
        };
        if keys.table.is_none() && netlink.routes(ipv4, rule.table)?.is_empty() {
            let what = format!("table {} for {address}", rule.table);
            return Err(check::differs(&what, "the routes of its network", "none"));
        }
    }
    Ok(())
}
