//! Addresses of links.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::decode::{attributes, u32_at};
use crate::netlink::{Answer, CREATE, DUMP, EXCLUSIVE};
use crate::{Netlink, Operation, Result};

/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_FLAGS` (linux/if_addr.h).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// The length of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address and the length of its prefix.
    pub net: IpNetwork,
    flags: u32,
}

impl Address {
    /// One that is in use.
    pub fn new(link: u32, net: IpNetwork) -> Self {
        Address {
            link,
            net,
            flags: 0,
        }
    }

    /// Whether the kernel made it up (`fe80::…`) or anybody can have it.
    pub fn is_link_local(&self) -> bool {
        match self.net.ip() {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// Whether it is in use: not still probed for, nor found to be another's.
    pub fn is_usable(&self) -> bool {
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
        !AddressFlags::from_bits_retain(self.flags).intersects(unusable)
    }

    /// Whether another host was found to have it.
    pub fn is_duplicate(&self) -> bool {
        AddressFlags::from_bits_retain(self.flags).contains(AddressFlags::Dadfailed)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let [_, length, flags, ..] = *payload.first_chunk::<IFADDRMSG>()?;
        let (mut local, mut address, mut flags) = (None, None, u32::from(flags));
        for (kind, value) in attributes(payload.get(IFADDRMSG..)?) {
            match kind {
                IFA_ADDRESS => address = ip(value),
                // On point-to-point links the other one is the peer's.
                IFA_LOCAL => local = ip(value),
                IFA_FLAGS => flags = u32_at(value, 0)?,
                _ => {}
            }
        }
        let net = IpNetwork::new(local.or(address)?, length).ok()?;
        let link = u32_at(payload, 4)?;
        Some(Address { link, net, flags })
    }
}

pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

pub(crate) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn message(link: u32, net: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.family = family(net.ip());
    message.header.prefix_len = net.prefix();
    message.attributes.push(AddressAttribute::Local(net.ip()));
    message.attributes.push(AddressAttribute::Address(net.ip()));
    message
}

/// Gives a link an address. IPv6 addresses are usable at once: duplicate address
/// detection is left out, as a lease is what makes an address unique, and waiting
/// for it takes seconds. An address that is there already is no error.
pub fn add_address(link: u32, net: IpNetwork) -> Operation {
    add(link, net, AddressFlags::Nodad)
}

/// As [`add_address`], but the rest of the subnet is not on the link: there is no
/// route to it.
pub fn add_address_alone(link: u32, net: IpNetwork) -> Operation {
    add(link, net, AddressFlags::Nodad | AddressFlags::Noprefixroute)
}

/// As [`add_address`], but an IPv6 address is only usable when no other host turned
/// out to have it, if the link's `accept_dad` says that this is to be found out
/// ([`Netlink::settle`]).
pub fn add_address_if_unique(link: u32, net: IpNetwork) -> Operation {
    add(link, net, AddressFlags::empty())
}

fn add(link: u32, net: IpNetwork, mut flags: AddressFlags) -> Operation {
    let mut message = message(link, net);
    if net.is_ipv4() {
        flags.remove(AddressFlags::Nodad);
    }
    if net.is_ipv6() || !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    match net {
        IpNetwork::V6(_) => {}
        IpNetwork::V4(net) if net.prefix() < 31 => {
            message
                .attributes
                .push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNetwork::V4(_) => {}
    }
    Operation::new(
        RouteNetlinkMessage::NewAddress(message),
        CREATE | EXCLUSIVE,
        format!("add address {net} to link number {link}"),
    )
    .tolerate(&[Errno::EEXIST])
}

/// Takes an address from a link; one that is gone already is no error.
pub fn delete_address(link: u32, net: IpNetwork) -> Operation {
    Operation::new(
        RouteNetlinkMessage::DelAddress(message(link, net)),
        0,
        format!("delete address {net} from link number {link}"),
    )
    .tolerate(&[Errno::EADDRNOTAVAIL, Errno::ENODEV])
}

impl Netlink {
    /// The addresses of a link, of both families.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn addresses(&mut self, link: u32) -> Result<Vec<Address>> {
        let mut addresses = self.list_addresses(link)?;
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }

    /// The addresses of all links.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn all_addresses(&mut self) -> Result<Vec<Address>> {
        self.list_addresses(0)
    }

    fn list_addresses(&mut self, link: u32) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = link;
        let message = RouteNetlinkMessage::GetAddress(message);
        let mut addresses: Vec<Address> = Vec::new();
        self.ask(&message, DUMP, "list addresses", |answer| match answer {
            Answer::Begin => addresses.clear(),
            Answer::Part(payload) => addresses.extend(Address::decode(payload)),
        })?;
        Ok(addresses)
    }
}
