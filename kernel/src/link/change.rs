//! Changing and deleting links.

use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::{Mac, Operation};

/// `AF_INET` (linux/socket.h), as the kind of an attribute.
const AF_INET: u16 = 2;

fn set(message: LinkMessage, doing: String) -> Operation {
    Operation::new(RouteNetlinkMessage::SetLink(message), 0, doing)
}

/// Keeps the kernel from giving a link an IPv6 address of its own. A bridge's
/// port needs none, and finding out that it is unique, and reporting it, floods
/// every other port each time that one comes up.
pub fn generate_no_addresses(name: &str) -> Operation {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let inet6 = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    let link = LinkUnspec::new_with_name(name).append_extra_attribute(inet6);
    // A kernel without IPv6 generates none in the first place.
    const WITHOUT_IPV6: &[Errno] = &[Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::EINVAL];
    set(
        link.build(),
        format!("turn IPv6 address generation off on {name}"),
    )
    .tolerate(WITHOUT_IPV6)
}

/// Has a link neither ask who has an IPv4 address nor answer whoever asks: it knows its
/// neighbours by [`set_neighbour`](crate::set_neighbour) alone.
pub fn do_without_arp(name: &str) -> Operation {
    let link = LinkUnspec::new_with_name(name).arp(false);
    set(link.build(), format!("turn ARP off on {name}"))
}

/// Sets a link up and writes on it what it is.
pub fn set_up_as(index: u32, alias: &str) -> Operation {
    let link = LinkUnspec::new_with_index(index)
        .up()
        .append_extra_attribute(LinkAttribute::IfAlias(alias.to_owned()));
    set(
        link.build(),
        format!("set link number {index} up as \"{alias}\""),
    )
}

/// Sets a link up or down.
pub fn set_state(index: u32, up: bool) -> Operation {
    let link = LinkUnspec::new_with_index(index);
    let (link, state) = if up {
        (link.up(), "up")
    } else {
        (link.down(), "down")
    };
    set(link.build(), format!("set link number {index} {state}"))
}

/// Writes on a link whose it is, and leaves everything else as it is.
pub fn set_alias(index: u32, alias: &str) -> Operation {
    let alias = LinkAttribute::IfAlias(alias.to_owned());
    let link = LinkUnspec::new_with_index(index).append_extra_attribute(alias);
    set(link.build(), format!("write on link number {index}"))
}

/// As [`set_alias`], for a link that has just been asked for and has no known number.
pub fn set_alias_of(name: &str, alias: &str) -> Operation {
    let alias = LinkAttribute::IfAlias(alias.to_owned());
    let link = LinkUnspec::new_with_name(name).append_extra_attribute(alias);
    set(link.build(), format!("write on link {name}"))
}

/// Gives a link, which is down, another name.
pub fn rename(index: u32, name: &str) -> Operation {
    let link = LinkUnspec::new_with_index(index).name(name.to_owned());
    set(
        link.build(),
        format!("give link number {index} the name {name}"),
    )
}

/// Gives a link a hardware address. The kernel tells neighbours about it where
/// `arp_notify` and `ndisc_notify` say so, also when it is the one it had.
pub fn set_mac(index: u32, mac: Mac) -> Operation {
    let link = LinkUnspec::new_with_index(index).address(mac.0.to_vec());
    set(
        link.build(),
        format!("set the hardware address of link number {index} to {mac}"),
    )
}

/// Whether somebody chose a link's hardware address. One that nobody chose changes with
/// a bridge's ports. The kernel says so in sysfs alone: `None` is a host without it.
pub fn has_chosen_mac(name: &str) -> Option<bool> {
    /// `NET_ADDR_SET` (linux/netdevice.h).
    const SET: &str = "3";
    let kind = std::fs::read_to_string(format!("/sys/class/net/{name}/addr_assign_type"));
    Some(kind.ok()?.trim_ascii() == SET)
}

/// Sets a container's interface up, writes on it whose it is, has it announce a
/// hardware address that it is given from then on ([`set_mac`]), and has IPv4 routes
/// pass it by while it has no carrier, so that those of another interface serve.
pub fn bring_up(index: u32, alias: &str) -> Operation {
    let link = LinkUnspec::new_with_index(index)
        .up()
        .append_extra_attribute(LinkAttribute::IfAlias(alias.to_owned()))
        .append_extra_attribute(turn_on(&[ARP_NOTIFY, IGNORE_ROUTES_WITH_LINKDOWN]));
    set(link.build(), format!("set link number {index} up"))
}

/// Has a link announce its addresses already when it comes up.
pub fn announce_when_up(index: u32) -> Operation {
    let notify = turn_on(&[ARP_NOTIFY]);
    let link = LinkUnspec::new_with_index(index).append_extra_attribute(notify);
    set(
        link.build(),
        format!("have link number {index} announce itself"),
    )
}

/// `IPV4_DEVCONF_*` (linux/ip.h).
const ARP_NOTIFY: u16 = 22;
const IGNORE_ROUTES_WITH_LINKDOWN: u16 = 29;

/// Sets IPv4 parameters of a link to 1.
fn turn_on(parameters: &[u16]) -> LinkAttribute {
    /// `IFLA_INET_CONF` (linux/if_link.h).
    const INET_CONF: u16 = 1;
    let on = |parameter: &u16| emitted(&DefaultNla::new(*parameter, 1_u32.to_ne_bytes().to_vec()));
    let parameters: Vec<u8> = parameters.iter().flat_map(on).collect();
    let conf = DefaultNla::new(INET_CONF, parameters);
    let inet = AfSpecUnspec::Other(DefaultNla::new(AF_INET, emitted(&conf)));
    LinkAttribute::AfSpecUnspec(vec![inet])
}

fn emitted(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// Makes a link a port of a bridge (or of another controller), and nothing else.
pub fn set_controller(index: u32, controller: u32) -> Operation {
    let link = LinkUnspec::new_with_index(index).controller(controller);
    set(
        link.build(),
        format!("make link number {index} a port of link number {controller}"),
    )
}

/// Sets a link's MTU.
pub fn set_mtu(index: u32, mtu: u32) -> Operation {
    let link = LinkUnspec::new_with_index(index).mtu(mtu);
    set(
        link.build(),
        format!("set the MTU of link number {index} to {mtu}"),
    )
}

/// Has a link take in all frames, or only its own.
pub fn set_promiscuous(index: u32, on: bool) -> Operation {
    let link = LinkUnspec::new_with_index(index).promiscuous(on);
    set(
        link.build(),
        format!("set promiscuous mode to {on} on link number {index}"),
    )
}

/// Deletes a link and waits until the kernel has forgotten it, some 20 ms; see
/// [`remove_link`](crate::remove_link). One that is gone already is no error.
pub fn delete_link(index: u32) -> Operation {
    let link = LinkMessageBuilder::<LinkUnspec>::new().index(index).build();
    Operation::new(
        RouteNetlinkMessage::DelLink(link),
        0,
        format!("delete link number {index}"),
    )
    .tolerate(&[Errno::ENODEV])
}
