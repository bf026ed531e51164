//! What can be wrong with a VXLAN network in particular.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use cni::code;

/// A cause of failure.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The host's place or a template over it.
    #[error("\"{key}\": {cause}")]
    Place {
        /// The key.
        key: &'static str,
        /// What is wrong.
        cause: place::Error,
    },
    /// `underlay` is neither a link of the host nor an address.
    #[error(
        "\"underlay\": \"{0}\" is neither an interface of this host nor an address; it is one of them, or a template of an address such as \"10.{{rack}}.{{slot}}.1\""
    )]
    NoUnderlay(String),
    /// An interface, nothing, or one address for all places.
    #[error(
        "\"underlay\": \"{0}\" does not say where the hosts at other places are; with \"peers.places\" it must be a template of an address such as \"10.{{rack}}.{{slot}}.1\""
    )]
    NotTemplate(String),
    /// The underlay's link has no address.
    #[error("\"underlay\": interface {0} has no address; give it one, or name the address")]
    NoAddress(String),
    /// The underlay's address is not one of the host's.
    #[error("\"underlay\": {address} is not an address of this host{}", in_words(.written))]
    NotOwn {
        /// The address.
        address: IpAddr,
        /// How the configuration has it.
        written: String,
    },
    /// The underlay's link is down.
    #[error("\"underlay\": interface {0} is down")]
    Down(String),
    /// This host is not among the peers.
    #[error(
        "\"peers\": this host's address {address} is not among the {count} of {source_}; the others would not send to it"
    )]
    NotAmongPeers {
        /// This host's tunnel end point.
        address: IpAddr,
        /// How many there are.
        count: usize,
        /// Where they are from.
        source_: String,
    },
    /// A peer that cannot be reached over the underlay.
    #[error("\"peers\": {peer} is not of the family of this host's address {own}")]
    PeerFamily {
        /// The peer.
        peer: IpAddr,
        /// This host's tunnel end point.
        own: IpAddr,
    },
    /// A peer whose subnets nobody knows, where they are routed to.
    #[error(
        "\"mode\": \"l3\" routes to each host's subnets, and those of {0} are not known; \"ipam\" must derive them from places, or the inventory list them as \"subnets\""
    )]
    NoSubnets(IpAddr),
    /// More places than a host can have tunnels to.
    #[error("\"peers.places\" are {0} places; at most {limit} can be peers of one host", limit = super::peers::MOST)]
    TooMany(u128),
    /// The inventory cannot be read.
    #[error("\"peers.file\": cannot read {}: {error}", .path.display())]
    Inventory {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The inventory is not one.
    #[error(
        "\"peers.file\": {}: {why}; it is a list of addresses, of places such as {{\"rack\": 1, \"slot\": 2}} and of {{\"underlay\": ADDRESS, \"subnets\": [SUBNET]}}",
        .path.display()
    )]
    NotInventory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The network's bridge belongs to another network.
    #[error(
        "\"vni\": {vni} is already used on this host by {owner}; one VNI is one network, choose another"
    )]
    VniTaken {
        /// The VNI.
        vni: u32,
        /// Whose it is.
        owner: String,
    },
    /// Another VXLAN device has the VNI.
    #[error(
        "\"vni\": {vni} is already used on UDP port {port} by another device of this host; choose another VNI or port, or remove the device"
    )]
    VniInUse {
        /// The VNI.
        vni: u32,
        /// The UDP port.
        port: u16,
    },
    /// Another program has the UDP port.
    #[error(
        "\"port\": UDP port {0} of this host is already used by another program; choose another port, or stop the program"
    )]
    PortInUse(u16),
    /// The MTU does not fit.
    #[error(
        "\"mtu\": {mtu} does not fit into the tunnel: {limit} is the most that the underlay carries"
    )]
    Mtu {
        /// What the key says.
        mtu: u32,
        /// What would fit.
        limit: u32,
    },
    /// Another mode for a network that is in use.
    #[error(
        "\"mode\" of network \"{0}\" is another on this host, and it cannot be changed under its containers: detach them all, and the next that comes makes the network anew"
    )]
    ModeInUse(String),
    /// Addresses that other hosts do not compute.
    #[error(
        "addresses {leased} are not what the other hosts of network \"{network}\" compute for a container at {place}, so that none of them would find it; ask for none, or for those that belong together"
    )]
    NotComputed {
        /// The network.
        network: String,
        /// What was leased.
        leased: String,
        /// Where the host stands.
        place: String,
    },
    /// A hardware address of its own where others compute it.
    #[error(
        "\"mac\" cannot be chosen in network \"{0}\": its hosts compute hardware addresses from IP addresses"
    )]
    ChosenMac(String),
}

fn in_words(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" (\"{text}\")"),
    }
}

impl Fault {
    /// The code of the protocol for this cause.
    pub fn code(&self) -> u32 {
        match self {
            Fault::Place { cause, .. } => cause.code(),
            Fault::Inventory { .. } => code::IO,
            Fault::NotInventory { .. } => code::DECODING,
            _ => code::INVALID_CONFIG,
        }
    }
}
