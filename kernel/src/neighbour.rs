//! Neighbours: which hardware address an IP address has on a link, as the host
//! remembers it or as somebody set it who knows.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;

use crate::address::{family, ip};
use crate::decode::{attributes, u16_at, u32_at};
use crate::netlink::{Answer, CREATE, DUMP, REPLACE};
use crate::{Mac, Netlink, Operation, Result};

/// `NDA_*`, `NUD_PERMANENT` (linux/neighbour.h), the length of `struct ndmsg`, and
/// where link and state are in it.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const NDMSG: usize = 12;
const INDEX: usize = 4;
const STATE: usize = 8;

/// Where an IP address is on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour {
    /// The IP address.
    pub ip: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

fn message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    let destination = NeighbourAttribute::Destination(destination);
    message.attributes.push(destination);
    message
}

/// Sets a neighbour for good: it is neither asked for nor forgotten, and does not
/// count against the limits of the kernel's table (Linux 5.0).
pub fn set_neighbour(link: u32, neighbour: &Neighbour) -> Operation {
    let mut message = message(link, neighbour.ip);
    let mac = neighbour.mac.0.to_vec();
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac));
    Operation::new(
        RouteNetlinkMessage::NewNeighbour(message),
        CREATE | REPLACE,
        format!("set neighbour {} to {}", neighbour.ip, neighbour.mac),
    )
}

/// Forgets a neighbour; one that is not known is no error.
pub fn delete_neighbour(link: u32, ip: IpAddr) -> Operation {
    Operation::new(
        RouteNetlinkMessage::DelNeighbour(message(link, ip)),
        0,
        format!("forget neighbour {ip} on link number {link}"),
    )
    .tolerate(&[
        Errno::ENOENT,
        Errno::ENODEV,
        Errno::EINVAL,
        Errno::EAFNOSUPPORT,
    ])
}

impl Neighbour {
    fn decode(payload: &[u8], link: u32) -> Option<Self> {
        let is_set = u16_at(payload, STATE)? & NUD_PERMANENT != 0;
        if u32_at(payload, INDEX)? != link || !is_set {
            return None;
        }
        let (mut address, mut mac) = (None, None);
        for (kind, value) in attributes(payload.get(NDMSG..)?) {
            match kind {
                NDA_DST => address = ip(value),
                NDA_LLADDR => mac = value.try_into().ok().map(Mac),
                _ => {}
            }
        }
        Some(Neighbour {
            ip: address?,
            mac: mac?,
        })
    }
}

impl Netlink {
    /// The neighbours of a link that were set for good, of both families.
    ///
    /// # Errors
    /// As [`Netlink::set_neighbours`].
    pub fn all_set_neighbours(&mut self, link: u32) -> Result<Vec<Neighbour>> {
        let mut all = self.set_neighbours(link, true)?;
        all.extend(self.set_neighbours(link, false)?);
        Ok(all)
    }

    /// The neighbours of a link and a family that were set for good.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn set_neighbours(&mut self, link: u32, ipv4: bool) -> Result<Vec<Neighbour>> {
        let any: IpAddr = match ipv4 {
            true => std::net::Ipv4Addr::UNSPECIFIED.into(),
            false => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut message = NeighbourMessage::default();
        message.header.family = family(any);
        message.attributes.push(NeighbourAttribute::IfIndex(link));
        let message = RouteNetlinkMessage::GetNeighbour(message);
        let mut found: Vec<Neighbour> = Vec::new();
        let doing = "list the neighbours of a link";
        self.ask(&message, DUMP, doing, |answer| match answer {
            Answer::Begin => found.clear(),
            Answer::Part(payload) => found.extend(Neighbour::decode(payload, link)),
        })?;
        // The kernel sets neighbours of its own for groups and broadcasts.
        found.retain(|neighbour| neighbour.mac.is_unicast() && neighbour.ip.is_ipv4() == ipv4);
        Ok(found)
    }
}
