//! CHECK: whether an attachment is still as ADD left it. Only what ADD made is
//! looked at; what others added is theirs.

use cni::{Attachment, Interface, Request};
use kernel::{Link, Netlink, RouteEntry};

use crate::container::Inside;
use crate::routes::MAIN_TABLE;
use crate::{Error, Result, tie};

/// The result of ADD that CHECK compares with, and the container's interface in
/// it.
pub(crate) fn expected(request: &Request) -> Result<(Attachment, Interface)> {
    let result = request.config.prev_result()?.ok_or(Error::NoPrevResult)?;
    let mut interfaces = result.interfaces.iter();
    let interface = interfaces.find(|i| i.name == request.ifname && !i.sandbox.is_empty());
    let interface = interface.cloned().ok_or_else(|| Error::Differs {
        what: "interfaces in prevResult".into(),
        expected: format!("{} in the container", request.ifname),
        found: "none of that name".into(),
    })?;
    Ok((result, interface))
}

/// Which state the container's interface must be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Up.
    Up,
    /// That is the container's business.
    Any,
}

/// Compares what is in the container: the interface, its kind, state, hardware
/// address and MTU, and that its addresses and routes are there.
pub(crate) fn container(
    inside: &mut Inside<'_>,
    expected: &Attachment,
    interface: &Interface,
    kind: &str,
    state: State,
) -> Result<Link> {
    let ifname = &interface.name;
    inside.check_routing(expected)?;
    let netlink = inside.netlink();
    let found = netlink.link(ifname)?;
    let link = found.ok_or_else(|| differs(ifname, "an interface in the container", "none"))?;
    same(&format!("kind of {ifname}"), kind, &link.kind)?;
    if state == State::Up && !link.is_up {
        return Err(differs(&format!("state of {ifname}"), "up", "down"));
    }
    if !interface.mac.is_empty() {
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        same(
            &format!("hardware address of {ifname}"),
            &interface.mac.to_ascii_lowercase(),
            &mac,
        )?;
    }
    if let Some(mtu) = interface.mtu {
        same(
            &format!("MTU of {ifname}"),
            &mtu.to_string(),
            &link.mtu.to_string(),
        )?;
    }
    addresses(netlink, expected, interface, &link)?;
    routes(netlink, expected, &link)?;
    Ok(link)
}

fn addresses(
    netlink: &mut Netlink,
    expected: &Attachment,
    interface: &Interface,
    link: &Link,
) -> Result<()> {
    let found = netlink.addresses(link.index)?;
    let index = expected.interfaces.iter().position(|i| i == interface);
    let own = expected
        .ips
        .iter()
        .filter(|ip| ip.interface.is_none() || ip.interface == index);
    for ip in own {
        if !found.iter().any(|address| address.net == ip.address) {
            let list: Vec<_> = found
                .iter()
                .map(|address| address.net.to_string())
                .collect();
            return Err(differs(
                &format!("addresses of {}", interface.name),
                &ip.address.to_string(),
                &listed(&list),
            ));
        }
    }
    Ok(())
}

fn routes(netlink: &mut Netlink, expected: &Attachment, link: &Link) -> Result<()> {
    for route in &expected.routes {
        let found = netlink.routes(route.dst.is_ipv4(), route.table.unwrap_or(MAIN_TABLE))?;
        let gateway = crate::routes::gateway(expected, route);
        let is_there = found.iter().any(|entry| {
            let same = entry.dst.network() == route.dst.network()
                && entry.dst.prefix() == route.dst.prefix();
            let same = same && route.priority.is_none_or(|told| tie::was_at(entry, told));
            let mut hops = entry.next_hops.iter();
            same && hops.any(|hop| hop.link == link.index && hop.gateway == gateway)
        });
        if !is_there {
            let via = gateway.map(|gw| format!(" via {gw}")).unwrap_or_default();
            let metric = route.priority.map(metric).unwrap_or_default();
            let list: Vec<_> = found.iter().map(told).collect();
            return Err(differs(
                &format!("routes of {}", link.name),
                &format!("{}{via}{metric}", route.dst),
                &listed(&list),
            ));
        }
    }
    Ok(())
}

pub(crate) fn told(route: &RouteEntry) -> String {
    let gateways = route.next_hops.iter().filter_map(|hop| hop.gateway);
    let via: String = gateways.map(|gw| format!(" via {gw}")).collect();
    let metric = route.priority.map(metric).unwrap_or_default();
    format!("{}{via}{metric}", route.dst)
}

fn metric(metric: u32) -> String {
    format!(" metric {metric}")
}

pub(crate) fn listed(found: &[String]) -> String {
    match found {
        [] => "none".into(),
        found => found.join(", "),
    }
}

pub(crate) fn differs(what: &str, expected: &str, found: &str) -> Error {
    Error::Differs {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// Compares one thing.
pub(crate) fn same(what: &str, expected: &str, found: &str) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(differs(what, expected, found)),
    }
}
