//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use nix::errno::Errno;

use crate::address::{family, ip};
use crate::decode::{attributes, u16_at, u32_at};
use crate::netlink::{APPEND, Answer, CREATE, DUMP, EXCLUSIVE, REPLACE};
use crate::{Netlink, Operation, Result};

/// `RTA_*` (linux/rtnetlink.h) that are read.
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
/// The length of `struct rtmsg`, and of `struct rtnexthop` and where the link's
/// number is in it.
const RTMSG: usize = 12;
const RTNEXTHOP: usize = 8;
const NEXTHOP_INDEX: usize = 4;

/// A route out of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Where it leads.
    pub dst: IpNetwork,
    /// The ways there: one, or several that share the load.
    pub next_hops: Vec<NextHop>,
    /// The metric; lower wins. None is the kernel's default: 0, or 1024 for IPv6.
    pub priority: Option<u32>,
    /// The table; none is the main one.
    pub table: Option<u32>,
    /// The scope; none is what fits the next hop.
    pub scope: Option<u8>,
    /// The path MTU in bytes.
    pub mtu: Option<u32>,
    /// The advertised maximum segment size in bytes.
    pub advmss: Option<u32>,
}

/// One way to a route's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The link's number.
    pub link: u32,
    /// The neighbour to send to; none when the destination itself is one.
    pub gateway: Option<IpAddr>,
}

impl RouteEntry {
    /// The plain route to `dst`.
    pub fn new(dst: IpNetwork, link: u32, gateway: Option<IpAddr>) -> Self {
        RouteEntry {
            dst,
            next_hops: vec![NextHop { link, gateway }],
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
        }
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let [family, length, _, _, table, _, scope, ..] = *payload.first_chunk::<RTMSG>()?;
        let any = match family as i32 {
            nix::libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            nix::libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut route = RouteEntry::new(IpNetwork::new(any, length).ok()?, 0, None);
        route.table = Some(u32::from(table));
        route.scope = Some(scope);
        let (mut link, mut gateway) = (None, None);
        for (kind, value) in attributes(payload.get(RTMSG..)?) {
            match kind {
                RTA_DST => route.dst = IpNetwork::new(ip(value)?, length).ok()?,
                RTA_OIF => link = u32_at(value, 0),
                RTA_GATEWAY => gateway = ip(value),
                RTA_PRIORITY => route.priority = u32_at(value, 0),
                RTA_TABLE => route.table = u32_at(value, 0),
                RTA_MULTIPATH => route.next_hops = next_hops(value),
                RTA_METRICS => {
                    for (kind, value) in attributes(value) {
                        match kind {
                            RTAX_MTU => route.mtu = u32_at(value, 0),
                            RTAX_ADVMSS => route.advmss = u32_at(value, 0),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(link) = link {
            route.next_hops = vec![NextHop { link, gateway }];
        }
        Some(route)
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let hop = self.next_hops.first();
        let gateway = hop.and_then(|hop| hop.gateway);
        message.header = RouteHeader {
            address_family: family(self.dst.ip()),
            destination_prefix_length: self.dst.prefix(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: match (self.scope, gateway) {
                (Some(scope), _) => scope.into(),
                (None, None) if self.dst.is_ipv4() => RouteScope::Link,
                _ => RouteScope::Universe,
            },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        let attributes = &mut message.attributes;
        if self.dst.prefix() > 0 {
            let network = RouteAddress::from(self.dst.network());
            attributes.push(RouteAttribute::Destination(network));
        }
        attributes.extend(gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
        attributes.extend(hop.map(|hop| RouteAttribute::Oif(hop.link)));
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        attributes.extend(self.table.map(RouteAttribute::Table));
        let mtu = self.mtu.map(RouteMetric::Mtu);
        let metrics: Vec<_> = mtu
            .into_iter()
            .chain(self.advmss.map(RouteMetric::Advmss))
            .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }
}

/// `RTA_MULTIPATH`: `struct rtnexthop` with attributes of their own.
fn next_hops(mut bytes: &[u8]) -> Vec<NextHop> {
    let mut hops = Vec::new();
    while let (Some(length), Some(link)) = (u16_at(bytes, 0), u32_at(bytes, NEXTHOP_INDEX)) {
        let length = usize::from(length);
        let Some(nested) = bytes.get(RTNEXTHOP..length) else {
            break;
        };
        let gateway = attributes(nested).find(|(kind, _)| *kind == RTA_GATEWAY);
        let gateway = gateway.and_then(|(_, value)| ip(value));
        hops.push(NextHop { link, gateway });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// Adds a route. Never as one more way of a route that is there: for IPv4 the
/// kernel keeps routes of one destination and metric apart, the first serving;
/// for IPv6 it would share the load between them, so there it must be new.
pub fn add_route(route: &RouteEntry) -> Operation {
    let flags = match route.dst.is_ipv4() {
        true => CREATE | APPEND,
        false => CREATE | EXCLUSIVE,
    };
    let hop = route.next_hops.first().and_then(|hop| hop.gateway);
    let via = hop
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    Operation::new(
        RouteNetlinkMessage::NewRoute(route.message()),
        flags,
        format!("add the route to {}{via}", route.dst),
    )
}

/// Adds a route, or replaces the one to the same destination, whose next hop is on
/// the link although no address of the link says so: the other end of a tunnel.
pub fn add_onlink_route(dst: IpNetwork, link: u32, gateway: IpAddr) -> Operation {
    let mut message = RouteEntry::new(dst, link, Some(gateway)).message();
    message.header.flags = RouteFlags::Onlink;
    Operation::new(
        RouteNetlinkMessage::NewRoute(message),
        CREATE | REPLACE,
        format!("add the route to {dst} via {gateway}"),
    )
}

/// Deletes a route; one that is gone already is no error.
pub fn delete_route(route: &RouteEntry) -> Operation {
    Operation::new(
        RouteNetlinkMessage::DelRoute(route.message()),
        0,
        format!("delete the route to {}", route.dst),
    )
    .tolerate(&[Errno::ESRCH])
}

impl Netlink {
    /// The routes of one family in one table (254 is the main one).
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn routes(&mut self, ipv4: bool, table: u32) -> Result<Vec<RouteEntry>> {
        let mut message = RouteMessage::default();
        let any: IpAddr = if ipv4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        message.header.address_family = family(any);
        message.attributes.push(RouteAttribute::Table(table));
        let message = RouteNetlinkMessage::GetRoute(message);
        let mut routes: Vec<RouteEntry> = Vec::new();
        self.ask(&message, DUMP, "list the routes", |answer| match answer {
            Answer::Begin => routes.clear(),
            Answer::Part(payload) => routes.extend(RouteEntry::decode(payload)),
        })?;
        routes.retain(|route| route.table == Some(table) && route.dst.is_ipv4() == ipv4);
        Ok(routes)
    }
}
