//! Links that a namespace gets and gives back, such as network cards. A name besides
//! its own one tells whose a link is, wherever it is and whatever it is called.

use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, Prop};
use nix::errno::Errno;

use crate::Operation;
use crate::netlink::{CREATE, EXCLUSIVE};

/// Moves a link into the namespace that the descriptor leads to, where it is down, has
/// another name and loses its addresses; and writes `alias` on it.
pub fn hand_over(index: u32, to: RawFd, name: &str, alias: &str) -> Operation {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::NetNsFd(to),
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::IfAlias(alias.to_owned()),
    ];
    Operation::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("move link number {index} into another namespace as {name}"),
    )
}

/// Gives a link one more name, by which it is found as by its own. Linux before 5.5
/// has none; that is no error.
pub fn add_other_name(index: u32, name: &str) -> Operation {
    const NONE: &[Errno] = &[Errno::EEXIST, Errno::EOPNOTSUPP, Errno::EINVAL];
    let operation = Operation::new(
        RouteNetlinkMessage::NewLinkProp(with_name(index, name)),
        CREATE | EXCLUSIVE,
        format!("give link number {index} the name {name} as well"),
    );
    operation.tolerate(NONE)
}

/// Takes such a name away; one that is gone already is no error.
pub fn delete_other_name(index: u32, name: &str) -> Operation {
    const NONE: &[Errno] = &[Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EINVAL];
    let operation = Operation::new(
        RouteNetlinkMessage::DelLinkProp(with_name(index, name)),
        0,
        format!("take the name {name} from link number {index}"),
    );
    operation.tolerate(NONE)
}

fn with_name(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let names = vec![Prop::AltIfName(name.to_owned())];
    message.attributes.push(LinkAttribute::PropList(names));
    message
}
