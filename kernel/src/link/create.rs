//! Making links.

use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, LinkAttribute, LinkInfo,
    LinkMessage, State,
};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

pub use netlink_packet_route::link::{IpVlanMode as IpvlanMode, MacVlanMode as MacvlanMode};

use crate::netlink::{CREATE, ECHO, EXCLUSIVE};
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
    /// The number of the bridge that the host's end is a port of from the start
    /// ([`set_up_port`](crate::set_up_port)).
    pub bridge: Option<u32>,
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
    let host = match pair.bridge {
        // That a new link has no signal the kernel notices later. Until then a bridge
        // would open its port, and close it again; each time it looks at all its ports.
        Some(bridge) => host
            .controller(bridge)
            .append_extra_attribute(LinkAttribute::OperState(State::Dormant)),
        None => host,
    };
    let (host_name, container_name) = (pair.host_name, pair.container_name);
    let mut create = create(
        host.build(),
        format!("create the veth pair {host_name} (host) and {container_name} (container)"),
    );
    create.flags |= ECHO;
    create
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

/// A link that stands alone or on another, which is in the namespace of the connection.
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub driver: Driver,
    /// Its hardware address; none when it takes that of the link below, or a random
    /// one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes; none is that of the link below, or the driver's default.
    pub mtu: Option<u32>,
    /// The number of the link below.
    pub lower: Option<u32>,
    /// The namespace that it is for; none is that of the connection.
    pub container: Option<RawFd>,
}

/// What a link is, and what only links of its kind have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// It swallows packets.
    Dummy,
    /// It shares the hardware address of the link below.
    Ipvlan {
        /// How it passes packets on.
        mode: IpvlanMode,
    },
    /// It has a hardware address of its own on the segment of the link below.
    Macvlan {
        /// How the links above one link reach each other.
        mode: MacvlanMode,
        /// How many broadcast frames may wait; none is the driver's default.
        broadcast_queue: Option<u32>,
    },
    /// It is one VLAN of the link below.
    Vlan {
        /// The VLAN's number, 0 to 4094.
        id: u16,
    },
}

/// Makes a link, down.
///
/// One for another namespace is made there at once. (Asked for there, kernels before 6.15
/// would make it beside the link below and move it, and wait twice for all readers.) But
/// its name must be free in the namespace of the connection as well.
pub fn create_link(link: &NewLink<'_>) -> Operation {
    let (kind, kind_name, data) = match link.driver {
        Driver::Dummy => (InfoKind::Dummy, "dummy", None),
        Driver::Ipvlan { mode } => {
            let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]);
            (InfoKind::IpVlan, "ipvlan", Some(data))
        }
        Driver::Macvlan {
            mode,
            broadcast_queue,
        } => {
            let mut data = vec![InfoMacVlan::Mode(mode)];
            data.extend(broadcast_queue.map(InfoMacVlan::BcQueueLen));
            (InfoKind::MacVlan, "macvlan", Some(InfoData::MacVlan(data)))
        }
        Driver::Vlan { id } => {
            let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
            (InfoKind::Vlan, "vlan", Some(data))
        }
    };
    let mut message = LinkMessage::default();
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    let attributes = &mut message.attributes;
    attributes.push(LinkAttribute::IfName(link.name.to_owned()));
    attributes.push(LinkAttribute::LinkInfo(info));
    if let Some(mac) = link.mac {
        attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    attributes.extend(link.mtu.map(LinkAttribute::Mtu));
    attributes.extend(link.lower.map(LinkAttribute::Link));
    attributes.extend(link.container.map(LinkAttribute::NetNsFd));
    create(message, format!("create {kind_name} link {}", link.name))
}
