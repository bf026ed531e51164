//! Making links.

use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoMacVlan, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth};

pub use netlink_packet_route::link::MacVlanMode as MacvlanMode;

use crate::netlink::{CREATE, EXCLUSIVE};
use crate::{Mac, Operation};

fn create(message: LinkMessage, doing: String) -> Operation {
    Operation::new(
        RouteNetlinkMessage::NewLink(message),
        CREATE | EXCLUSIVE,
        doing,
    )
}

/// Makes a bridge, down. With a hardware address of its own from the start it
/// keeps it; otherwise it would take the lowest of its ports' and change as they
/// come and go, and udev would rewrite it.
pub fn create_bridge(name: &str, mac: Mac, mtu: Option<u32>, filters_vlans: bool) -> Operation {
    let bridge = LinkBridge::new(name).address(mac.0.to_vec());
    let bridge = match mtu {
        Some(mtu) => bridge.mtu(mtu),
        None => bridge,
    };
    // Kernels without VLANs know no such attribute.
    let bridge = match filters_vlans {
        true => bridge.vlan_filtering(true),
        false => bridge,
    };
    create(bridge.build(), format!("create bridge {name}"))
}

/// The two ends of a virtual cable between the host and a container.
#[derive(Clone, Debug)]
pub struct VethPair<'a> {
    /// The name of the host's end.
    pub host_name: &'a str,
    /// Its hardware address.
    pub host_mac: Mac,
    /// The name of the container's end.
    pub container_name: &'a str,
    /// Its hardware address.
    pub container_mac: Mac,
    /// The container's namespace.
    pub container: RawFd,
    /// The MTU of both ends in bytes; none is the driver's default.
    pub mtu: Option<u32>,
}

/// Makes a pair of links, both down: the host's end in the namespace of the
/// connection, the container's directly in its own, under its final name. Ends
/// that are moved or renamed later race with whatever watches for new links.
pub fn create_veth(pair: &VethPair<'_>) -> Operation {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(pair.container_name.to_owned());
    let mut peer = end(peer, pair.container_mac, pair.mtu).build();
    peer.attributes.push(LinkAttribute::NetNsFd(pair.container));
    let host = end(LinkVeth::new(pair.host_name, ""), pair.host_mac, pair.mtu);
    let host = host.set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    let (host_name, container_name) = (pair.host_name, pair.container_name);
    create(
        host.build(),
        format!("create the veth pair {host_name} (host) and {container_name} (container)"),
    )
}

/// One queue each way is what the kernel uses of a veth anyway; without saying so
/// it makes and unmakes one for every possible CPU, a millisecond on large hosts.
fn end<T>(link: LinkMessageBuilder<T>, mac: Mac, mtu: Option<u32>) -> LinkMessageBuilder<T> {
    let link = link
        .address(mac.0.to_vec())
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1));
    match mtu {
        Some(mtu) => link.mtu(mtu),
        None => link,
    }
}

/// A macvlan link.
#[derive(Clone, Debug)]
pub struct Macvlan<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; none when it takes that of the link below.
    pub mac: Option<Mac>,
    /// The number of the link below, in the namespace of the connection.
    pub lower: u32,
    /// How the links above one link reach each other.
    pub mode: MacvlanMode,
    /// Its MTU in bytes; none is that of the link below.
    pub mtu: Option<u32>,
    /// How many broadcast frames may wait; none is the driver's default.
    pub broadcast_queue: Option<u32>,
    /// The namespace that it is made in; none is that of the connection.
    pub container: Option<RawFd>,
}

/// Makes a macvlan link, down, directly in its namespace.
pub fn create_macvlan(macvlan: &Macvlan<'_>) -> Operation {
    let mut link = LinkMacVlan::new(macvlan.name, macvlan.lower, macvlan.mode);
    if let Some(length) = macvlan.broadcast_queue {
        link = link.append_info_data(InfoMacVlan::BcQueueLen(length));
    }
    if let Some(mac) = macvlan.mac {
        link = link.address(mac.0.to_vec());
    }
    if let Some(mtu) = macvlan.mtu {
        link = link.mtu(mtu);
    }
    if let Some(container) = macvlan.container {
        link = link.append_extra_attribute(LinkAttribute::NetNsFd(container));
    }
    create(
        link.build(),
        format!("create macvlan link {}", macvlan.name),
    )
}
