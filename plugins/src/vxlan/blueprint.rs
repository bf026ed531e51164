//! What a network is to be on this host, worked out before anything is changed.

use std::net::IpAddr;

use cni::Config;
use kernel::{Netlink, PortRole, Tunnel};

use super::desired::{Desired, Knowledge};
use super::fault::Fault;
use super::keys::{Keys, Mode};
use super::overlay::Overlay;
use super::peers::Source;
use super::underlay::Underlay;
use crate::Result;

/// The network on this host.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) mode: Mode,
    pub(super) mtu: u32,
    pub(super) tunnel: Tunnel,
    pub(super) desired: Desired,
    /// How the bridge treats the tunnel.
    pub(super) role: PortRole,
    /// How many frames to groups may leave a second.
    pub(super) storm_limit: Option<u32>,
    /// Whether it is known of every hardware address on the segment where it is, so that
    /// nothing is learned from frames.
    pub(super) is_fixed: bool,
    /// This host's tunnel end point.
    pub(super) own: IpAddr,
}

impl Blueprint {
    /// Draws it.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, the inventory or the underlay.
    pub(super) fn draw(host: &mut Netlink, config: &Config, keys: &Keys) -> Result<Self> {
        let underlay = Underlay::find(host, keys)?;
        let mtu = underlay.mtu(keys.mtu)?;
        let own = underlay.address;
        let peers = keys.peers.others(keys.underlay.as_deref(), own)?;
        let overlay = Overlay::read(config)?;
        let desired = match keys.mode {
            Mode::L2 => Desired::of_segment(&keys.peers, peers.as_deref(), &overlay)?,
            Mode::L3 => Desired::of_routes(peers.as_deref().unwrap_or_default(), &overlay)?,
        };
        let group = match keys.peers {
            Source::Group(group) if group.is_ipv4() != own.is_ipv4() => {
                return Err(Fault::PeerFamily { peer: group, own }.into());
            }
            Source::Group(group) => Some(group),
            _ => None,
        };
        let is_fixed = keys.mode == Mode::L2 && desired.knowledge == Knowledge::Computed;
        let mut role = desired.knowledge.role();
        // Every host has the gateway: it is the bridge's to answer for.
        role.answers_for_neighbours |= keys.has_gateway;
        Ok(Blueprint {
            mode: keys.mode,
            mtu,
            tunnel: Tunnel {
                vni: keys.vni,
                local: Some(own),
                group,
                link: group.map(|_| underlay.link.index),
                port: keys.port,
                ttl: keys.ttl,
                tos: keys.tos,
                checksum: keys.checksum,
                source_ports: keys.source_ports,
                learning: desired.knowledge.learns(),
                answers: is_fixed,
            },
            desired,
            role,
            // Where hosts are routed to, or known, there is nothing that floods.
            storm_limit: keys
                .storm_limit
                .filter(|_| keys.mode == Mode::L2 && !is_fixed),
            is_fixed,
            own,
        })
    }
}
