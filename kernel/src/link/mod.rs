//! Links: asking for them here, making them in [`create`], changing them in
//! [`change`], deleting many at once in
//! [`batch`], bridges' ports in [`port`].

mod batch;
mod change;
mod create;
mod handover;
mod port;
mod vxlan;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use nix::errno::Errno;

pub(crate) use batch::delete_group;
pub use batch::{join_group, join_group_of};
pub use change::{
    announce_when_up, bring_up, delete_link, do_without_arp, generate_no_addresses, has_chosen_mac,
    rename, set_alias, set_alias_of, set_controller, set_mac, set_mtu, set_promiscuous, set_state,
    set_up_as,
};
pub use create::{
    Driver, IpvlanMode, MacvlanMode, NewLink, VethPair, create_bridge, create_link, create_veth,
};
pub use handover::{add_other_name, delete_other_name, hand_over};
pub use port::{
    BridgePort, PortFlags, PortRole, PortVlan, add_port_vlans, attach_port, delete_port_vlan,
    set_port_flags, set_port_role, set_up_port, set_vlan_filtering,
};
pub use vxlan::{Tunnel, Vxlan, create_vxlan};

use crate::decode::{attributes, text, u16_at, u32_at};
use crate::netlink::{Answer, DUMP};
use crate::{Error, Mac, Netlink, Result};

/// Attributes of `RTM_NEWLINK` (linux/if_link.h) that are read.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INET6_CONF: u16 = 2;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_INFO_DATA: u16 = 2;
/// `IFLA_MACVLAN_MODE`, `IFLA_IPVLAN_MODE`, `IFLA_VLAN_ID`.
const IFLA_VARIANT: u16 = 1;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_NO: u16 = 18;
const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
const IFLA_BR_FDB_N_LEARNED: u16 = 48;
/// `BR_STATE_FORWARDING` (linux/if_bridge.h).
const FORWARDING: u8 = 3;
/// The length of `struct ifinfomsg`, and where index and flags are in it.
const IFINFOMSG: usize = 16;
const INDEX: usize = 4;
const FLAGS: usize = 8;
/// `IFF_UP`, `IFF_PROMISC`, `IFF_LOWER_UP` (linux/if.h).
const UP: u32 = 0x1;
const PROMISC: u32 = 0x100;
const LOWER_UP: u32 = 0x10000;

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The names that it has besides.
    pub other_names: Vec<String>,
    /// Its driver (`bridge`, `veth`, …); empty for hardware and the loopback.
    pub kind: String,
    /// Its hardware address, if that is six bytes long.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up administratively.
    pub is_up: bool,
    /// Whether there is a signal; a bridge has one while a port of its has.
    pub has_carrier: bool,
    /// Whether it takes in all frames.
    pub is_promiscuous: bool,
    /// The bridge (or other controller) that it is a port of.
    pub controller: Option<u32>,
    /// Whether it is a bridge's port that lets frames pass.
    pub is_forwarding: bool,
    /// Its number as a bridge's port, the least that was free.
    pub port_number: u16,
    /// What it does with frames as a bridge's port.
    pub port: PortFlags,
    /// How its bridge treats it; not whether groups pass, which not every kernel tells.
    pub role: PortRole,
    /// Whether it is a bridge that looks at VLANs.
    pub filters_vlans: bool,
    /// How many hardware addresses a bridge has seen lately, since Linux 6.7.
    pub learned: u32,
    /// The VLAN that a bridge puts new ports into; 0 is none.
    pub default_vlan: u16,
    /// Whether IPv6 is turned off on it.
    pub is_without_ipv6: bool,
    /// The link below it (macvlan) or at its other end (veth), by its number in
    /// the namespace where that is.
    pub lower: Option<u32>,
    /// The mode of a macvlan or ipvlan link, the number of a VLAN's.
    pub variant: Option<u32>,
    /// What somebody wrote on it.
    pub alias: String,
    /// The segment of a VXLAN link.
    pub tunnel: Option<Tunnel>,
    /// The group that it is in; 0 unless somebody put it into another.
    pub group: u32,
}

impl Link {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let flags = u32_at(payload, FLAGS)?;
        let mut link = Link {
            index: u32_at(payload, INDEX)?,
            is_up: flags & UP != 0,
            has_carrier: flags & LOWER_UP != 0,
            is_promiscuous: flags & PROMISC != 0,
            ..Link::default()
        };
        for (kind, value) in attributes(payload.get(IFINFOMSG..)?) {
            match kind {
                IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
                IFLA_IFNAME => link.name = text(value),
                IFLA_MTU => link.mtu = u32_at(value, 0)?,
                IFLA_LINK => link.lower = u32_at(value, 0).filter(|index| *index != 0),
                IFLA_MASTER => link.controller = u32_at(value, 0),
                IFLA_IFALIAS => link.alias = text(value),
                IFLA_GROUP => link.group = u32_at(value, 0)?,
                IFLA_LINKINFO => link.read_info(value),
                IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                    link.other_names = names.map(|(_, name)| text(name)).collect();
                }
                IFLA_AF_SPEC => link.is_without_ipv6 = is_without_ipv6(value),
                _ => {}
            }
        }
        Some(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        for (kind, value) in attributes(info) {
            match kind {
                IFLA_INFO_KIND => self.kind = text(value),
                // The kind comes before its data.
                IFLA_INFO_DATA if self.kind == "bridge" => self.read_bridge(value),
                IFLA_INFO_DATA if self.kind == "vxlan" => {
                    self.tunnel = Some(Tunnel::decode(value));
                }
                IFLA_INFO_DATA => self.read_variant(value),
                IFLA_INFO_SLAVE_DATA => self.read_port(value),
                _ => {}
            }
        }
    }

    /// macvlan has its mode in 32 bits, ipvlan in 16; vlan has its number in the place
    /// of a mode.
    fn read_variant(&mut self, data: &[u8]) {
        let first = attributes(data).find(|(kind, _)| *kind == IFLA_VARIANT);
        self.variant = match (self.kind.as_str(), first) {
            ("macvlan", Some((_, value))) => u32_at(value, 0),
            ("ipvlan" | "vlan", Some((_, value))) => u16_at(value, 0).map(u32::from),
            _ => None,
        };
    }

    fn read_bridge(&mut self, bridge: &[u8]) {
        for (kind, value) in attributes(bridge) {
            match kind {
                IFLA_BR_VLAN_FILTERING => self.filters_vlans = value == [1],
                IFLA_BR_FDB_N_LEARNED => self.learned = u32_at(value, 0).unwrap_or(0),
                IFLA_BR_VLAN_DEFAULT_PVID => self.default_vlan = u16_at(value, 0).unwrap_or(0),
                _ => {}
            }
        }
    }

    fn read_port(&mut self, port: &[u8]) {
        self.role = PortRole {
            learning: true,
            floods: true,
            ..PortRole::default()
        };
        for (kind, value) in attributes(port) {
            match kind {
                IFLA_BRPORT_STATE => self.is_forwarding = value == [FORWARDING],
                IFLA_BRPORT_NO => self.port_number = u16_at(value, 0).unwrap_or(0),
                IFLA_BRPORT_MODE => self.port.hairpin = value == [1],
                IFLA_BRPORT_ISOLATED => self.port.isolated = value == [1],
                IFLA_BRPORT_LEARNING => self.role.learning = value == [1],
                IFLA_BRPORT_UNICAST_FLOOD => self.role.floods = value == [1],
                IFLA_BRPORT_NEIGH_SUPPRESS => {
                    self.role.answers_for_neighbours = value == [1];
                }
                _ => {}
            }
        }
        self.port.is_fixed = !self.role.learning && !self.role.floods;
    }
}

/// `IFLA_INET6_CONF` is an array of numbers in the order of linux/ipv6.h.
fn is_without_ipv6(families: &[u8]) -> bool {
    const AF_INET6: u16 = 10;
    const DISABLE_IPV6: usize = 26;
    let of = |bytes, wanted| {
        attributes(bytes)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let conf = of(families, AF_INET6).and_then(|inet6| of(inet6, IFLA_INET6_CONF));
    conf.and_then(|conf| u32_at(conf, 4 * DISABLE_IPV6))
        .is_some_and(|off| off != 0)
}

impl Netlink {
    /// The link called `name`, if there is one. Not asked for by `SIOCGIFINDEX`, which
    /// looks cheaper: for a name that no link has it makes the kernel execute modprobe.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Garbled`].
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        /// `IFNAMSIZ - 1` (linux/if.h): the kernel would call the question invalid.
        const LONGEST: usize = 15;
        if !(1..=LONGEST).contains(&name.len()) {
            return Ok(None);
        }
        self.find_link(0, Some(name), &format!("look up link {name}"))
    }

    /// The link with the number `index`, if there is one.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Garbled`].
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        self.find_link(index, None, &format!("look up link number {index}"))
    }

    /// The ports of the controller (bridge) with the number `index`.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn ports(&mut self, index: u32) -> Result<Vec<Link>> {
        let mut message = question(0);
        message.attributes.push(LinkAttribute::Controller(index));
        let mut ports = self.list(message, "list the ports of a bridge")?;
        ports.retain(|port| port.controller == Some(index));
        Ok(ports)
    }

    /// All links of the namespace. On a large host they are many: nothing that a
    /// container waits for may ask for them.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.list(question(0), "list the links")
    }

    fn list(&mut self, message: LinkMessage, doing: &str) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        let message = RouteNetlinkMessage::GetLink(message);
        self.ask(&message, DUMP, doing, |answer| match answer {
            Answer::Begin => links.clear(),
            Answer::Part(payload) => links.extend(Link::decode(payload)),
        })?;
        Ok(links)
    }

    fn find_link(&mut self, index: u32, name: Option<&str>, doing: &str) -> Result<Option<Link>> {
        let mut message = question(index);
        if let Some(name) = name {
            message
                .attributes
                .push(LinkAttribute::IfName(name.to_owned()));
        }
        let message = RouteNetlinkMessage::GetLink(message);
        let mut link = None;
        let asked = self.ask(&message, 0, doing, |answer| {
            if let Answer::Part(payload) = answer {
                link = Link::decode(payload);
            }
        });
        match asked {
            Ok(()) => link
                .map(Some)
                .ok_or_else(|| Error::Garbled(doing.to_owned())),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn question(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    // Counters of every queue are most of an answer, and not wanted.
    let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    message.attributes.push(mask);
    message
}
