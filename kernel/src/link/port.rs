//! A bridge's ports: what they do with frames, and the VLANs that they are in.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeMulticastRouterType, BridgeVlanInfoFlags, InfoKind, InfoPortKind, LinkAttribute,
    LinkExtentMask, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkBridge, LinkBridgePort, LinkBridgeVlan, LinkMessageBuilder, LinkUnspec};

use super::{IFINFOMSG, IFLA_AF_SPEC, INDEX};
use crate::decode::{attributes, u16_at, u32_at};
use crate::netlink::{Answer, DUMP};
use crate::{Netlink, Operation, Result};

/// A bridge's port to be.
#[derive(Clone, Debug)]
pub struct BridgePort<'a> {
    /// The link's name.
    pub name: &'a str,
    /// The bridge's number.
    pub bridge: u32,
    /// What to write on the link (`ip link` shows it); at most 255 bytes.
    pub alias: &'a str,
}

/// Makes a link a bridge's port and sets it up.
pub fn attach_port(port: &BridgePort<'_>) -> Operation {
    let link = LinkUnspec::new_with_name(port.name)
        .controller(port.bridge)
        .up();
    let alias = LinkAttribute::IfAlias(port.alias.to_owned());
    let message = link.append_extra_attribute(alias).build();
    Operation::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("make {} a port of the bridge", port.name),
    )
}

/// Sets a bridge's port up.
pub fn set_up_port(name: &str) -> Operation {
    let link = LinkUnspec::new_with_name(name).up();
    Operation::new(
        RouteNetlinkMessage::SetLink(link.build()),
        0,
        format!("set the bridge's port {name} up"),
    )
}

/// What a bridge's port does with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Frames go back out of the port that they came in by, so that a container
    /// reaches itself through a service's address.
    pub hairpin: bool,
    /// No frames pass from or to other ports that have this set.
    pub isolated: bool,
    /// The bridge learns nothing from frames that come in, and sends none out that are
    /// for somebody whom it does not know: who is behind the port is set.
    pub is_fixed: bool,
}

/// Sets what a bridge's port does with frames; it must be a port already.
pub fn set_port_flags(name: &str, flags: PortFlags) -> Operation {
    let port = LinkMessageBuilder::<LinkBridgePort>::default()
        .name(name.to_owned())
        .set_port_kind(InfoPortKind::Bridge)
        .hairpin(flags.hairpin);
    // Linux before 4.18 does not know isolation; it need not be told that there is none.
    let port = match flags.isolated {
        true => port.isolated(true),
        false => port,
    };
    let port = match flags.is_fixed {
        true => port.learning(false).flood(false),
        false => port,
    };
    Operation::new(
        RouteNetlinkMessage::NewLink(port.build()),
        0,
        format!("set the flags of bridge port {name}"),
    )
}

/// How a bridge treats a port that leads to other hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRole {
    /// Whether the bridge learns from frames that come in by it.
    pub learning: bool,
    /// Whether the bridge answers for neighbours that it knows, and sends questions
    /// for them nowhere else (`IFLA_BRPORT_NEIGH_SUPPRESS`).
    pub answers_for_neighbours: bool,
    /// Whether what is for somebody unknown leaves by it.
    pub floods: bool,
    /// Whether what is for a group leaves by it whoever has joined.
    pub hears_all_groups: bool,
}

/// Sets how a bridge treats a port.
pub fn set_port_role(index: u32, role: PortRole) -> Operation {
    let port = LinkBridgePort::new(index)
        .learning(role.learning)
        .flood(role.floods)
        .neigh_suppress(role.answers_for_neighbours);
    // Kernels without snooping know no such attribute.
    let port = match role.hears_all_groups {
        true => port.mcast_router(BridgeMulticastRouterType::Permanent),
        false => port,
    };
    let message = port.build();
    Operation::new(
        RouteNetlinkMessage::NewLink(message),
        0,
        format!("set how the bridge treats link number {index}"),
    )
}

/// A VLAN that a bridge's port is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortVlan {
    /// Its number, 1 to 4094.
    pub id: u16,
    /// Whether frames without a tag that come in belong to it.
    pub is_native: bool,
    /// Whether its frames leave without a tag.
    pub is_untagged: bool,
}

/// Puts a bridge's port into VLANs.
pub fn add_port_vlans(port: u32, vlans: &[PortVlan]) -> Operation {
    let mut message = LinkBridgeVlan::new(port);
    for run in vlans.chunk_by(|one, next| one.is_followed_by(*next)) {
        let [first, .., last] = run else {
            message = run
                .iter()
                .fold(message, |message, vlan| message.vlan(vlan.id, vlan.flags()));
            continue;
        };
        message = message
            .vlan_range_start(first.id, first.flags())
            .vlan_range_end(last.id, last.flags());
    }
    Operation::new(
        RouteNetlinkMessage::SetLink(message.build()),
        0,
        format!("put bridge port {port} into its VLANs"),
    )
}

impl PortVlan {
    /// Whether both can be said as a range. The native one is always alone.
    fn is_followed_by(self, next: Self) -> bool {
        let alike = self.flags() == next.flags() && !self.is_native;
        alike && u32::from(self.id) + 1 == u32::from(next.id)
    }

    fn flags(self) -> BridgeVlanInfoFlags {
        let mut flags = BridgeVlanInfoFlags::empty();
        flags.set(BridgeVlanInfoFlags::Pvid, self.is_native);
        flags.set(BridgeVlanInfoFlags::Untagged, self.is_untagged);
        flags
    }
}

/// Takes a bridge's port out of a VLAN; one that it is not in is no error.
pub fn delete_port_vlan(port: u32, id: u16) -> Operation {
    let message = LinkBridgeVlan::new(port).vlan(id, BridgeVlanInfoFlags::empty());
    Operation::new(
        RouteNetlinkMessage::DelLink(message.build()),
        0,
        format!("take bridge port {port} out of VLAN {id}"),
    )
    .tolerate(&[Errno::ENOENT])
}

/// Has a bridge look at VLANs: frames pass between ports that are in the same.
pub fn set_vlan_filtering(bridge: u32, on: bool) -> Operation {
    let message = LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge)
        .index(bridge)
        .vlan_filtering(on);
    Operation::new(
        RouteNetlinkMessage::NewLink(message.build()),
        0,
        format!("set VLAN filtering to {on} on link number {bridge}"),
    )
}

impl Netlink {
    /// The VLANs that a bridge's port is in, in the order of their numbers. The
    /// kernel lists those of all ports of all bridges for it.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn port_vlans(&mut self, port: u32) -> Result<Vec<PortVlan>> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::BrvlanCompressed]);
        message.attributes.push(mask);
        let message = RouteNetlinkMessage::GetLink(message);
        let mut vlans = Vec::new();
        self.ask(
            &message,
            DUMP,
            "list the VLANs of a port",
            |answer| match answer {
                Answer::Begin => vlans.clear(),
                Answer::Part(payload) if u32_at(payload, INDEX) == Some(port) => {
                    vlans.extend(decode_vlans(payload));
                }
                Answer::Part(_) => {}
            },
        )?;
        vlans.sort_unstable();
        Ok(vlans)
    }
}

/// `IFLA_BRIDGE_VLAN_INFO` (linux/if_bridge.h): flags and number, and two of them
/// for a range.
fn decode_vlans(payload: &[u8]) -> Vec<PortVlan> {
    const VLAN_INFO: u16 = 2;
    let spec = attributes(payload.get(IFINFOMSG..).unwrap_or_default())
        .find(|(kind, _)| *kind == IFLA_AF_SPEC);
    let infos = spec.into_iter().flat_map(|(_, spec)| attributes(spec));
    let infos = infos.filter(|(kind, _)| *kind == VLAN_INFO);
    let mut vlans = Vec::new();
    let mut begin = None;
    for (flags, id) in infos.filter_map(|(_, info)| u16_at(info, 0).zip(u16_at(info, 2))) {
        let flags = BridgeVlanInfoFlags::from_bits_retain(flags);
        if flags.contains(BridgeVlanInfoFlags::RangeBegin) {
            begin = Some(id);
            continue;
        }
        vlans.extend((begin.take().unwrap_or(id)..=id).map(|id| PortVlan {
            id,
            is_native: flags.contains(BridgeVlanInfoFlags::Pvid),
            is_untagged: flags.contains(BridgeVlanInfoFlags::Untagged),
        }));
    }
    vlans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlan(id: u16, is_native: bool) -> PortVlan {
        PortVlan {
            id,
            is_native,
            is_untagged: is_native,
        }
    }

    #[test]
    fn vlans_are_told_in_ranges_and_read_back() {
        let wanted: Vec<_> = [vlan(1, false), vlan(5, true)]
            .into_iter()
            .chain((6..=4094).map(|id| vlan(id, false)))
            .collect();
        let operation = add_port_vlans(7, &wanted);
        let mut bytes = Vec::new();
        crate::netlink::encode(&mut bytes, &operation.message, 0, 1);
        assert!(bytes.len() < 100, "{} bytes", bytes.len());
        assert_eq!(decode_vlans(&bytes[crate::decode::HEADER..]), wanted);
    }
}
