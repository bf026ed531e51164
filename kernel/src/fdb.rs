//! Forwarding entries: which hardware address is where, of VXLAN links (behind
//! which host) and of bridges (behind which port).

use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::address::ip;
use crate::decode::{attributes, u16_at, u32_at};
use crate::netlink::{APPEND, Answer, CREATE, DUMP, REPLACE};
use crate::{Mac, Netlink, Operation, Result};

/// `NDA_*`, `NTF_*`, `NUD_*` (linux/neighbour.h) that are read, the length of
/// `struct ndmsg`, and where state and flags are in it.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NTF_SELF: u8 = 0x02;
const NUD_REACHABLE: u16 = 0x02;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NDMSG: usize = 12;
const INDEX: usize = 4;
const STATE: usize = 8;
const FLAGS: usize = 10;

/// The address that stands for everybody whose own is not known: what is sent to
/// it goes to each of its hosts.
pub const EVERYBODY: Mac = Mac([0; 6]);

/// A forwarding entry of a VXLAN link: the host that has a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remote {
    /// The hardware address, or [`EVERYBODY`].
    pub mac: Mac,
    /// The address of its host.
    pub host: IpAddr,
}

/// A forwarding entry as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The hardware address.
    pub mac: Mac,
    /// The host behind a VXLAN link; none when the entry is a bridge's.
    pub host: Option<IpAddr>,
    /// Whether it was set, not learned.
    pub is_set: bool,
}

fn message(link: u32, mac: Mac, flags: NeighbourFlags, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.flags = flags;
    message.header.state = state;
    let address = NeighbourAttribute::LinkLayerAddress(mac.0.to_vec());
    message.attributes.push(address);
    message
}

fn remote(link: u32, remote: &Remote) -> NeighbourMessage {
    let state = NeighbourState::Other(NUD_REACHABLE | NUD_NOARP);
    let mut message = message(link, remote.mac, NeighbourFlags::Own, state);
    let host = match remote.host {
        IpAddr::V4(host) => NeighbourAddress::Inet(host),
        IpAddr::V6(host) => NeighbourAddress::Inet6(host),
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(host));
    message
}

/// Tells a VXLAN link which host has a hardware address. Of [`EVERYBODY`] there may be
/// any number of hosts, of others one, the last that was set.
pub fn add_remote(link: u32, entry: &Remote) -> Operation {
    let flags = match entry.mac {
        EVERYBODY => CREATE | APPEND,
        _ => CREATE | REPLACE,
    };
    Operation::new(
        RouteNetlinkMessage::NewNeighbour(remote(link, entry)),
        flags,
        format!("add host {} of {} to the tunnel", entry.host, entry.mac),
    )
    .tolerate(&[Errno::EEXIST])
}

/// Takes back [`add_remote`]; an entry that is gone already is no error.
pub fn delete_remote(link: u32, entry: &Remote) -> Operation {
    Operation::new(
        RouteNetlinkMessage::DelNeighbour(remote(link, entry)),
        0,
        format!("take host {} of {} from the tunnel", entry.host, entry.mac),
    )
    .tolerate(&[Errno::ENOENT])
}

/// Tells a bridge that a hardware address is behind a port, and is to stay there
/// whatever frames come in by others (`NTF_STICKY`).
pub fn pin_to_port(port: u32, mac: Mac) -> Operation {
    let flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    let message = message(port, mac, flags, NeighbourState::Noarp);
    Operation::new(
        RouteNetlinkMessage::NewNeighbour(message),
        CREATE | REPLACE,
        format!("pin {mac} to port number {port}"),
    )
}

impl Forwarding {
    fn decode(payload: &[u8], link: u32) -> Option<Self> {
        let flags = *payload.get(FLAGS)?;
        if u32_at(payload, INDEX)? != link {
            return None;
        }
        let (mut mac, mut host) = (None, None);
        for (kind, value) in attributes(payload.get(NDMSG..)?) {
            match kind {
                NDA_LLADDR => mac = value.try_into().ok().map(Mac),
                NDA_DST => host = ip(value),
                _ => {}
            }
        }
        Some(Forwarding {
            mac: mac?,
            host: host.filter(|_| flags & NTF_SELF != 0),
            is_set: u16_at(payload, STATE)? & (NUD_NOARP | NUD_PERMANENT) != 0,
        })
    }
}

impl Netlink {
    /// The forwarding entries of a link, its own and those of its bridge for it.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn forwarding(&mut self, link: u32) -> Result<Vec<Forwarding>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = link;
        let message = RouteNetlinkMessage::GetNeighbour(message);
        let mut entries = Vec::new();
        let doing = "list the forwarding entries of a link";
        self.ask(&message, DUMP, doing, |answer| match answer {
            Answer::Begin => entries.clear(),
            Answer::Part(payload) => entries.extend(Forwarding::decode(payload, link)),
        })?;
        Ok(entries)
    }

    /// The hosts that were set for a VXLAN link; not those that it learned.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn remotes(&mut self, link: u32) -> Result<Vec<Remote>> {
        let entries = self.forwarding(link)?;
        let set = entries.iter().filter(|entry| entry.is_set);
        let remote = |entry: &Forwarding| {
            let mac = entry.mac;
            entry.host.map(|host| Remote { mac, host })
        };
        Ok(set.filter_map(remote).collect())
    }
}
