//! A route as a value: read from the kernel, and written to it without a loss.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::DefaultNla;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};

use crate::address::{family, ip};
use crate::decode::{attributes, u16_at, u32_at};

/// `RTA_*` (linux/rtnetlink.h) that are read.
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_FLOW: u16 = 11;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
/// What is carried from a route that was read to one that is written, as it is.
const CARRIED: [u16; 5] = [RTA_METRICS, RTA_FLOW, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP];
/// The length of `struct rtmsg`, and where its flags are.
const RTMSG: usize = 12;
const RTMSG_FLAGS: usize = 8;
/// The length of `struct rtnexthop`, and where the link's number is in it.
const RTNEXTHOP: usize = 8;
const NEXTHOP_INDEX: usize = 4;
/// `RTNH_F_DEAD`, `RTNH_F_ONLINK`, `RTNH_F_LINKDOWN`.
const DEAD: u8 = 1;
const ON_LINK: u8 = 4;
const LINK_DOWN: u8 = 16;
/// `RTPROT_STATIC`.
const STATIC: u8 = 4;

/// What a route does with packets (`RTN_*` of linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It leads somewhere.
    Unicast,
    /// To the place itself.
    Local,
    /// To all, or some, that are on a link.
    Group,
    /// Nowhere, and the sender is told that there is no way.
    Unreachable,
    /// Nowhere, and nobody is told.
    Blackhole,
    /// Nowhere, and the sender is told that it is not allowed.
    Prohibited,
    /// Anything else.
    Other,
}

impl RouteKind {
    fn read(number: u8) -> Self {
        match number {
            1 => RouteKind::Unicast,
            2 | 4 => RouteKind::Local,
            3 | 5 => RouteKind::Group,
            6 => RouteKind::Blackhole,
            7 => RouteKind::Unreachable,
            8 => RouteKind::Prohibited,
            _ => RouteKind::Other,
        }
    }
}

/// A route out of one link, or several that share the load.
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
    /// Who set it (`RTPROT_*` of linux/rtnetlink.h, or a number of one's own from 3 on).
    pub protocol: u8,
    /// The address that packets have whose sender chose none.
    pub source: Option<IpAddr>,
    /// The seconds that it has to live, if it ends by itself.
    pub lifetime: Option<u32>,
    /// Whether it leads somewhere; others say that there is no way.
    pub is_unicast: bool,
    /// What it does with packets; those that are written lead somewhere.
    pub kind: RouteKind,
    /// Attributes that are kept as they are, and are nobody's business here.
    carried: Vec<(u16, Vec<u8>)>,
    /// The number of a next-hop object that stands for the ways.
    object: Option<u32>,
}

/// One way to a route's destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The link's number.
    pub link: u32,
    /// The neighbour to send to; none when the destination itself is one.
    pub gateway: Option<IpAddr>,
    /// Whether the neighbour is there although no route says so.
    pub on_link: bool,
    /// Whether the link is down or has no carrier.
    pub is_down: bool,
    weight: u8,
    carried: Vec<(u16, Vec<u8>)>,
}

impl NextHop {
    /// The plain way.
    pub fn new(link: u32, gateway: Option<IpAddr>) -> Self {
        NextHop {
            link,
            gateway,
            on_link: false,
            is_down: false,
            weight: 0,
            carried: Vec::new(),
        }
    }

    /// Whether it is the way of the other, apart from its weight and state.
    pub fn is_same_way(&self, other: &NextHop) -> bool {
        (self.link, self.gateway) == (other.link, other.gateway)
    }

    /// The same way with a share of the load that is this and one more.
    #[must_use]
    pub fn with_weight(mut self, weight: u8) -> Self {
        self.weight = weight;
        self
    }

    fn read_flags(&mut self, flags: u8) {
        self.on_link = flags & ON_LINK != 0;
        self.is_down = flags & (DEAD | LINK_DOWN) != 0;
    }

    fn gateway_attribute(&self, ipv4: bool) -> Option<RouteAttribute> {
        self.gateway.map(|gateway| match gateway {
            IpAddr::V6(ip) if ipv4 => RouteAttribute::Via(RouteVia::Inet6(ip)),
            ip => RouteAttribute::Gateway(ip.into()),
        })
    }

    fn message(&self, ipv4: bool) -> RouteNextHop {
        let mut message = RouteNextHop::default();
        message.flags = match self.on_link {
            true => RouteNextHopFlags::Onlink,
            false => RouteNextHopFlags::empty(),
        };
        message.hops = self.weight;
        message.interface_index = self.link;
        message.attributes.extend(self.gateway_attribute(ipv4));
        message.attributes.extend(verbatim(&self.carried));
        message
    }
}

impl RouteEntry {
    /// The plain route to `dst`.
    pub fn new(dst: IpNetwork, link: u32, gateway: Option<IpAddr>) -> Self {
        RouteEntry {
            dst,
            next_hops: vec![NextHop::new(link, gateway)],
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
            protocol: STATIC,
            source: None,
            lifetime: None,
            is_unicast: true,
            kind: RouteKind::Unicast,
            carried: Vec::new(),
            object: None,
        }
    }

    /// Whether it leads to an address of the place itself.
    pub fn is_local(&self) -> bool {
        self.kind == RouteKind::Local
    }

    pub(super) fn leads_on(&self) -> bool {
        use RouteKind::{Group, Local, Unicast};
        matches!(self.kind, Unicast | Local | Group)
    }

    /// The same route by some of its ways.
    #[must_use]
    pub fn with_hops(&self, next_hops: Vec<NextHop>) -> Self {
        RouteEntry {
            next_hops,
            // The object stands for all of them.
            object: None,
            ..self.clone()
        }
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let [family, length, _, _, table, protocol, scope, kind, ..] =
            *payload.first_chunk::<RTMSG>()?;
        let any = match family as i32 {
            nix::libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            nix::libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut route = RouteEntry::new(IpNetwork::new(any, length).ok()?, 0, None);
        route.table = Some(u32::from(table));
        route.scope = Some(scope);
        route.protocol = protocol;
        route.kind = RouteKind::read(kind);
        route.is_unicast = route.kind == RouteKind::Unicast;
        let mut hop = NextHop::new(0, None);
        hop.read_flags(u32_at(payload, RTMSG_FLAGS)? as u8);
        let mut several = None;
        for (kind, value) in attributes(payload.get(RTMSG..)?) {
            match kind {
                RTA_DST => route.dst = IpNetwork::new(ip(value)?, length).ok()?,
                RTA_OIF => hop.link = u32_at(value, 0)?,
                RTA_GATEWAY => hop.gateway = ip(value),
                // `struct rtvia`: two bytes of family before the address.
                RTA_VIA => hop.gateway = ip(value.get(2..)?),
                RTA_PRIORITY => route.priority = u32_at(value, 0),
                RTA_TABLE => route.table = u32_at(value, 0),
                RTA_PREFSRC => route.source = ip(value),
                RTA_NH_ID => route.object = u32_at(value, 0),
                RTA_MULTIPATH => several = Some(next_hops(value)),
                RTA_CACHEINFO => route.lifetime = lifetime(value),
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
            if CARRIED.contains(&kind) {
                route.carried.push((kind, value.to_vec()));
            }
        }
        route.next_hops = several.unwrap_or_else(|| vec![hop]);
        Some(route)
    }

    pub(super) fn message(&self) -> RouteMessage {
        let ipv4 = self.dst.is_ipv4();
        let mut message = RouteMessage::default();
        let single = match &self.next_hops[..] {
            [hop] => Some(hop),
            _ => None,
        };
        let first = self.next_hops.first();
        let has_gateway = first.is_some_and(|hop| hop.gateway.is_some()) || self.object.is_some();
        message.header = RouteHeader {
            address_family: family(self.dst.ip()),
            destination_prefix_length: self.dst.prefix(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::from(self.protocol),
            scope: match self.scope {
                Some(scope) => scope.into(),
                None if ipv4 && !has_gateway => RouteScope::Link,
                None => RouteScope::Universe,
            },
            kind: RouteType::Unicast,
            flags: match single {
                Some(hop) if hop.on_link => RouteFlags::Onlink,
                _ => RouteFlags::empty(),
            },
            ..RouteHeader::default()
        };
        let attributes = &mut message.attributes;
        if self.dst.prefix() > 0 {
            let network = RouteAddress::from(self.dst.network());
            attributes.push(RouteAttribute::Destination(network));
        }
        match (self.object, single) {
            (Some(object), _) => attributes.push(RouteAttribute::NhId(object)),
            (None, Some(hop)) => {
                attributes.extend(hop.gateway_attribute(ipv4));
                attributes.push(RouteAttribute::Oif(hop.link));
                attributes.extend(verbatim(&hop.carried));
            }
            (None, None) => {
                let hops = self.next_hops.iter().map(|hop| hop.message(ipv4));
                attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        attributes.extend(self.table.map(RouteAttribute::Table));
        let source = self.source.map(RouteAddress::from);
        attributes.extend(source.map(RouteAttribute::PrefSource));
        attributes.extend(self.lifetime.map(RouteAttribute::Expires));
        attributes.extend(verbatim(&self.carried));
        if !self.carried.iter().any(|(kind, _)| *kind == RTA_METRICS) {
            let mtu = self.mtu.map(RouteMetric::Mtu);
            let advmss = self.advmss.map(RouteMetric::Advmss);
            let metrics: Vec<_> = mtu.into_iter().chain(advmss).collect();
            if !metrics.is_empty() {
                attributes.push(RouteAttribute::Metrics(metrics));
            }
        }
        message
    }
}

fn verbatim(carried: &[(u16, Vec<u8>)]) -> impl Iterator<Item = RouteAttribute> + '_ {
    let attribute = |(kind, value): &(u16, Vec<u8>)| DefaultNla::new(*kind, value.clone());
    carried.iter().map(attribute).map(RouteAttribute::Other)
}

/// `struct rta_cacheinfo`: the time left is its third number, in hundredths of a
/// second; 0 is for ever.
fn lifetime(cache_info: &[u8]) -> Option<u32> {
    let left = u32_at(cache_info, 8)? as i32;
    u32::try_from(left)
        .ok()
        .filter(|left| *left > 0)
        .map(|left| left.div_ceil(100))
}

/// `RTA_MULTIPATH`: `struct rtnexthop` with attributes of their own.
fn next_hops(mut bytes: &[u8]) -> Vec<NextHop> {
    let mut hops = Vec::new();
    while let (Some(length), Some(link)) = (u16_at(bytes, 0), u32_at(bytes, NEXTHOP_INDEX)) {
        let length = usize::from(length);
        let Some(nested) = bytes.get(RTNEXTHOP..length) else {
            break;
        };
        let mut hop = NextHop::new(link, None);
        let [_, _, flags, weight, ..] = *bytes else {
            break;
        };
        hop.read_flags(flags);
        hop.weight = weight;
        for (kind, value) in attributes(nested) {
            match kind {
                RTA_GATEWAY => hop.gateway = ip(value),
                RTA_VIA => hop.gateway = value.get(2..).and_then(ip),
                RTA_ENCAP | RTA_ENCAP_TYPE | RTA_FLOW => {
                    hop.carried.push((kind, value.to_vec()));
                }
                _ => {}
            }
        }
        hops.push(hop);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    fn again(route: &RouteEntry) -> RouteEntry {
        let message = route.message();
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        RouteEntry::decode(&bytes).unwrap()
    }

    /// What was not named comes back as what the kernel takes it for.
    fn named(mut route: RouteEntry) -> RouteEntry {
        let has_gateway = route.next_hops.iter().any(|hop| hop.gateway.is_some());
        let near = route.dst.is_ipv4() && !has_gateway;
        route.table.get_or_insert(254);
        route.scope.get_or_insert(if near { 253 } else { 0 });
        route
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let gateway = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut on_link = RouteEntry::new("0.0.0.0/0".parse().unwrap(), 3, gateway("192.0.2.1"));
        on_link.next_hops[0].on_link = true;
        on_link.priority = Some(7);
        on_link.source = gateway("10.0.0.9");
        let near = RouteEntry::new("10.0.0.0/8".parse().unwrap(), 2, None);
        let mut over_ipv6 = RouteEntry::new("0.0.0.0/0".parse().unwrap(), 2, gateway("fe80::1"));
        over_ipv6.carried = vec![(RTA_FLOW, vec![1, 0, 0, 0])];
        over_ipv6.protocol = 9;
        let mut several = RouteEntry::new("::/0".parse().unwrap(), 2, gateway("fd00::1"));
        several.next_hops.push(NextHop::new(4, gateway("fd01::1")));
        several.next_hops[1].weight = 3;
        several.table = Some(5000);
        for route in [on_link, near, over_ipv6, several] {
            assert_eq!(again(&route), named(route));
        }
    }

    #[test]
    fn an_object_stands_for_all_ways_or_for_none() {
        let mut route = RouteEntry::new("::/0".parse().unwrap(), 2, None);
        route.object = Some(9);
        let attributes = route.message().attributes;
        assert!(attributes.contains(&RouteAttribute::NhId(9)));
        assert!(!attributes.contains(&RouteAttribute::Oif(2)));
        let some = route
            .with_hops(route.next_hops.clone())
            .message()
            .attributes;
        assert!(some.contains(&RouteAttribute::Oif(2)));
    }
}
