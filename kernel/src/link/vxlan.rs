//! VXLAN links (RFC 7348): a segment of hosts that are somewhere, by UDP.

use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoVxlan, LinkAttribute};
use rtnetlink::LinkVxlan;

use crate::address::ip;
use crate::decode::{attributes, u16_at, u32_at};
use crate::netlink::{CREATE, EXCLUSIVE};
use crate::{Mac, Operation};

/// `IFLA_VXLAN_*` (linux/if_link.h) that are read.
const ID: u16 = 1;
const GROUP: u16 = 2;
const LINK: u16 = 3;
const LOCAL: u16 = 4;
const TTL: u16 = 5;
const TOS: u16 = 6;
const LEARNING: u16 = 7;
const PORT_RANGE: u16 = 10;
const PROXY: u16 = 11;
const PORT: u16 = 15;
const GROUP6: u16 = 16;
const LOCAL6: u16 = 17;
const UDP_CHECKSUM: u16 = 18;
const UDP_ZERO_CHECKSUM6: u16 = 19;

/// What makes a VXLAN link: its segment, and how it sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// The segment's number (VNI), 24 bits.
    pub vni: u32,
    /// The source address of its packets.
    pub local: Option<IpAddr>,
    /// The multicast group that stands for all others.
    pub group: Option<IpAddr>,
    /// The number of the link that the group is joined on.
    pub link: Option<u32>,
    /// The UDP port of all of the segment's hosts.
    pub port: u16,
    /// The time to live of its packets; none is the kernel's default.
    pub ttl: Option<u8>,
    /// Their type of service; none is 0, and 1 that of the packet inside.
    pub tos: Option<u8>,
    /// Whether they have UDP checksums; none is the kernel's default: they have.
    pub checksum: Option<bool>,
    /// The UDP ports that they come from, both ends included; none is the kernel's
    /// range for local ports.
    pub source_ports: Option<(u16, u16)>,
    /// Whether it learns from packets where hardware addresses are.
    pub learning: bool,
    /// Whether it answers questions for neighbours by those that are set on it, and
    /// sends none of them on.
    pub answers: bool,
}

/// A VXLAN link to be made.
#[derive(Clone, Debug)]
pub struct Vxlan<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The segment.
    pub tunnel: &'a Tunnel,
    /// The namespace that the link is made in; none is that of the connection.
    /// Its packets go through the connection's namespace either way.
    pub container: Option<RawFd>,
}

/// Makes a VXLAN link, down.
pub fn create_vxlan(vxlan: &Vxlan<'_>) -> Operation {
    let tunnel = vxlan.tunnel;
    let mut link = LinkVxlan::new(vxlan.name, tunnel.vni)
        .port(tunnel.port)
        .learning(tunnel.learning)
        .proxy(tunnel.answers)
        .address(vxlan.mac.0.to_vec())
        .mtu(vxlan.mtu);
    link = match tunnel.local {
        Some(IpAddr::V4(local)) => link.local(local),
        Some(IpAddr::V6(local)) => link.local6(local),
        None => link,
    };
    link = match tunnel.group {
        Some(IpAddr::V4(group)) => link.group(group),
        Some(IpAddr::V6(group)) => link.group6(group),
        None => link,
    };
    if let Some(index) = tunnel.link {
        link = link.dev(index);
    }
    if let Some(ttl) = tunnel.ttl {
        link = link.ttl(ttl);
    }
    if let Some(tos) = tunnel.tos {
        link = link.tos(tos);
    }
    if let Some(checksum) = tunnel.checksum {
        // Over IPv4 a bit asks for checksums, over IPv6 another for none.
        link = match tunnel.local {
            Some(IpAddr::V6(_)) => link
                .append_info_data(InfoVxlan::UDPZeroCsumTX(!checksum))
                .append_info_data(InfoVxlan::UDPZeroCsumRX(!checksum)),
            _ => link.udp_csum(checksum),
        };
    }
    if let Some((low, high)) = tunnel.source_ports {
        link = link.port_range(low, high);
    }
    if let Some(container) = vxlan.container {
        link = link.append_extra_attribute(LinkAttribute::NetNsFd(container));
    }
    Operation::new(
        RouteNetlinkMessage::NewLink(link.build()),
        CREATE | EXCLUSIVE,
        format!("create VXLAN link {} for VNI {}", vxlan.name, tunnel.vni),
    )
}

impl Tunnel {
    /// Reads `IFLA_INFO_DATA` of such a link.
    pub(super) fn decode(data: &[u8]) -> Self {
        let mut tunnel = Tunnel::default();
        for (kind, value) in attributes(data) {
            match kind {
                ID => tunnel.vni = u32_at(value, 0).unwrap_or_default(),
                GROUP | GROUP6 => tunnel.group = ip(value),
                LINK => tunnel.link = u32_at(value, 0).filter(|index| *index != 0),
                LOCAL | LOCAL6 => tunnel.local = ip(value),
                TOS => tunnel.tos = value.first().copied().filter(|tos| *tos != 0),
                TTL => tunnel.ttl = value.first().copied().filter(|ttl| *ttl != 0),
                PROXY => tunnel.answers = value.first() == Some(&1),
                LEARNING => tunnel.learning = value.first() == Some(&1),
                PORT => tunnel.port = u16_at(value, 0).map_or(0, u16::from_be),
                PORT_RANGE => {
                    let ends = u16_at(value, 0).zip(u16_at(value, 2));
                    let ends = ends.map(|(low, high)| (u16::from_be(low), u16::from_be(high)));
                    tunnel.source_ports = ends.filter(|ends| *ends != (0, 0));
                }
                UDP_CHECKSUM if tunnel.checksum.is_none() => {
                    tunnel.checksum = Some(value.first() == Some(&1));
                }
                UDP_ZERO_CHECKSUM6 if matches!(tunnel.local, Some(IpAddr::V6(_))) => {
                    tunnel.checksum = Some(value.first() == Some(&0));
                }
                _ => {}
            }
        }
        tunnel
    }
}
