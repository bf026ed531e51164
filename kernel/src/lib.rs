//! What slash24 asks of Linux: namespaces, links, addresses, routes, sysctls and
//! packet-filter rules, and nothing else.
//!
//! Requests are built as values ([`Operation`]) and sent together over one
//! synchronous socket a namespace ([`Netlink`]): a netlink request is complete
//! when `send` returns, so there is nothing to wait for. The messages are those
//! of rtnetlink and netlink-packet-route; replies are decoded here, as only a
//! handful of attributes matter and one that a newer kernel adds must not fail a
//! whole message.
//!
//! Whatever this crate does happens in the network namespace of the calling
//! thread, or in that in which a [`Netlink`] was opened.

mod address;
mod announce;
mod decode;
mod error;
mod fdb;
pub mod iptables;
mod link;
mod mac;
mod neighbour;
mod netlink;
mod netns;
pub mod nft;
mod raw;
mod removal;
mod route;
mod rule;
mod settle;
pub mod sysctl;
mod tap;
mod turn;

pub use address::{add_address, add_address_alone, add_address_if_unique};
pub use announce::Announcement;
pub use error::Error;
pub use fdb::{EVERYBODY, Forwarding, Remote, add_remote, delete_remote, pin_to_port};
pub use link::{
    BridgePort, Driver, IpvlanMode, Link, MacvlanMode, NewLink, PortFlags, PortRole, PortVlan,
    Tunnel, VethPair, Vxlan, add_other_name, add_port_vlans, announce_when_up, attach_port,
    bring_up, create_bridge, create_link, create_veth, create_vxlan, delete_link,
    delete_other_name, delete_port_vlan, do_without_arp, generate_no_addresses, hand_over,
    has_chosen_mac, join_group, join_group_of, rename, set_alias, set_alias_of, set_controller,
    set_mac, set_mtu, set_port_flags, set_port_role, set_promiscuous, set_state, set_up_as,
    set_up_port, set_vlan_filtering,
};
pub use mac::Mac;
pub use neighbour::{Neighbour, delete_neighbour, set_neighbour};
pub use netlink::{Netlink, Operation};
pub use netns::{Entered, Netns, NetnsLock};
pub use nix::errno::Errno;
pub use raw::begin;
pub use removal::{OtherEnd, remove_link, remove_links};
pub use route::{
    NextHop, RouteEntry, RouteKind, add_new_route, add_onlink_route, add_route, append_route,
    delete_route, prepend_route, refuse_route, replace_route,
};
pub use rule::{Rule, add_rule, delete_rule};
pub use settle::Settled;
pub use tap::{NewTap, Tap};
pub use turn::Turn;

pub use address::{Address, delete_address};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
