//! `sbr`: source-based routing for an interface that another plugin made. Packets
//! from its addresses take its own routes, which leave the main table.
//!
//! It is the reference's plugin, with its keys and its tables from 100 up, one an
//! address. Our own interface plugins do the like by `sourceRouting`.

mod moves;

use std::net::IpAddr;

use cni::{Attachment, Call, Failure, Ip, Plugin, Request};
use kernel::{Link, Netlink, Rule};
use serde::Deserialize;

use crate::default_route::PLACED;
use crate::inner::Inner;
use crate::namespace::Namespace;
use crate::routes::MAIN_TABLE;
use crate::undo::Undo;
use crate::{Error, Result, check, source_routing};
use moves::{Found, Moves, OwnTable};

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
    let mut result = inner.add()?;
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
    let found = find(&mut netlink, keys.table, &ips)?;
    let moves = match keys.table {
        Some(table) => Moves::rules_alone(&found, &ips, table),
        None => Moves::of(&keys, &link, &ips, &found),
    };
    let undone = &namespace;
    let back = moves.back();
    undo.push(move || {
        // The turn of the ADD itself is over by now.
        let _alone = undone.lock()?;
        Ok::<_, Error>(undone.netlink()?.apply(&back)?)
    });
    moves.carry_out(&mut netlink)?;
    result.routes.retain(|route| moves.keeps(&found, route));
    undo.keep();
    Ok(result)
}

/// What is in the namespace: its rules, the routes of the main table, and the table that
/// each address has or is to have.
fn find(netlink: &mut Netlink, fixed: Option<u32>, ips: &[Ip]) -> Result<Found> {
    let mut found = Found::default();
    for ipv4 in [true, false] {
        found.rules.extend(netlink.rules(ipv4)?);
        found.main.extend(netlink.routes(ipv4, MAIN_TABLE)?);
    }
    if fixed.is_some() {
        return Ok(found);
    }
    for ip in ips {
        let address = ip.address.ip();
        // From another try of the same ADD.
        let mut own = found.rules.iter();
        let own = own
            .find(|rule| source_routing::is_for(rule, address) && rule.protocol == PLACED)
            .map(|rule| rule.table);
        found.tables.push(match own {
            Some(number) => OwnTable {
                number,
                routes: netlink.routes(address.is_ipv4(), number)?,
            },
            None => OwnTable {
                number: free_table(netlink, &found)?,
                routes: Vec::new(),
            },
        });
    }
    Ok(found)
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

/// The first table that no rule leads to and that has no routes.
fn free_table(netlink: &mut Netlink, found: &Found) -> Result<u32> {
    let mut table = FIRST_TABLE;
    loop {
        let is_reserved = (253..=255).contains(&table);
        let is_led_to = found.rules.iter().any(|rule| rule.table == table);
        let is_taken = found.tables.iter().any(|own| own.number == table);
        if !is_reserved
            && !is_led_to
            && !is_taken
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
    let namespace = Namespace::open(request)?;
    let mut netlink = namespace.netlink()?;
    let link = namespace.link(&mut netlink)?;
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
        if keys.table.is_none() {
            check_table(&mut netlink, &keys, &link, ip, rule.table)?;
        }
    }
    Ok(())
}

/// Compares the way to everywhere of an address; one that has none has its subnet.
fn check_table(netlink: &mut Netlink, keys: &Keys, link: &Link, ip: &Ip, table: u32) -> Result<()> {
    let ipv4 = ip.address.is_ipv4();
    let found = netlink.routes_by(ipv4, table, link.index)?;
    let fixed = keys.configured_gateway(ipv4);
    let is_there = match keys.gateway(ip) {
        // A route of the network's may name another gateway than the address does.
        Some(_) => found.iter().any(|route| {
            let mut hops = route.next_hops.iter();
            let is_it = fixed.is_none_or(|_| hops.any(|hop| hop.gateway == fixed));
            route.dst.prefix() == 0 && route.is_unicast && is_it
        }),
        None => !found.is_empty(),
    };
    match is_there {
        true => Ok(()),
        false => {
            let expected = match keys.gateway(ip) {
                Some(gateway) => format!("a default route via {gateway}"),
                None => "the routes of its network".into(),
            };
            let found: Vec<_> = found.iter().map(check::told).collect();
            let what = format!("table {table} for {}", ip.address.ip());
            Err(check::differs(&what, &expected, &check::listed(&found)))
        }
    }
}
