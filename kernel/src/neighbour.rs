//! What the host remembers of its neighbours: which hardware address an IP address
//! has on a link.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use nix::errno::Errno;

use crate::Operation;
use crate::address::family;

/// Forgets a neighbour; one that is not known is no error.
pub fn delete_neighbour(link: u32, ip: IpAddr) -> Operation {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = link;
    message
        .attributes
        .push(NeighbourAttribute::Destination(ip.into()));
    Operation::new(
        RouteNetlinkMessage::DelNeighbour(message),
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
