//! What a routing daemon is told (`peers.evpn`). It hears of hardware addresses from the
//! bridge, and of IP addresses from the neighbours of the bridge's link. A bridge that is
//! nobody's gateway has none, so they are set: other hosts then answer for them.

use std::net::IpAddr;

use cni::{Attachment, Config, Request};
use kernel::{Link, Mac, Neighbour, Netlink};

use super::keys::Keys;
use super::names;
use super::peers::Source;
use crate::Result;
use crate::attachment::Identity;
use crate::check::differs;
use crate::garbage::Stale;

/// Tells the daemon a container's addresses.
pub(super) fn tell(
    host: &mut Netlink,
    segment: &Link,
    mac: Mac,
    layer3: &Attachment,
) -> Result<()> {
    let neighbour = |ip: IpAddr| Neighbour { ip, mac };
    let neighbours = layer3.ips.iter().map(|ip| neighbour(ip.address.ip()));
    let set: Vec<_> = neighbours
        .map(|one| kernel::set_neighbour(segment.index, &one))
        .collect();
    Ok(host.apply(&set)?)
}

/// Whether the daemon still hears of a container's addresses.
pub(super) fn check(
    host: &mut Netlink,
    segment: &Link,
    mac: &str,
    layer3: &Attachment,
) -> Result<()> {
    let known = host.all_set_neighbours(segment.index)?;
    for ip in layer3.ips.iter().map(|ip| ip.address.ip()) {
        let is_it = |one: &Neighbour| one.ip == ip && one.mac.to_string().eq_ignore_ascii_case(mac);
        if !known.iter().any(is_it) {
            let what = format!("neighbours of {}", segment.name);
            return Err(differs(&what, &format!("{ip} {mac}"), "none"));
        }
    }
    Ok(())
}

/// What the daemon was told of containers that go. It is found out before their ports
/// have gone, and taken back after.
#[derive(Default)]
pub(super) struct Told {
    segment: u32,
    ips: Vec<IpAddr>,
}

impl Told {
    /// Of a container that is detached: what ADD returned, or else by the hardware
    /// addresses that its bridge has seen lately behind the port.
    pub(super) fn of(request: &Request, identity: &Identity) -> Result<Self> {
        let Some((mut host, segment)) = told_segment(&request.config)? else {
            return Ok(Told::default());
        };
        if let Ok(Some(result)) = request.config.prev_result() {
            let ips = result.ips.iter().map(|ip| ip.address.ip()).collect();
            return Ok(Told { segment, ips });
        }
        let port = host.link(&identity.host_link)?;
        let port = port.filter(|port| !identity.is_anothers(port));
        Told::behind(&mut host, segment, port.as_slice())
    }

    /// Of containers that ended without a DEL.
    pub(super) fn of_stale(config: &Config, stale: &Stale) -> Result<Self> {
        let Some((mut host, segment)) = told_segment(config)? else {
            return Ok(Told::default());
        };
        let mut ports = host.ports(segment)?;
        ports.retain(|port| stale.has_port(&port.name, &port.alias));
        Told::behind(&mut host, segment, &ports)
    }

    fn behind(host: &mut Netlink, segment: u32, ports: &[Link]) -> Result<Self> {
        let mut macs = Vec::new();
        for port in ports {
            let seen = host.forwarding(port.index)?;
            macs.extend(seen.iter().map(|one| one.mac));
        }
        let mut known = host.all_set_neighbours(segment)?;
        known.retain(|one| macs.contains(&one.mac));
        let ips = known.iter().map(|one| one.ip).collect();
        Ok(Told { segment, ips })
    }

    /// Takes it back. What is left is no harm: the hardware address is gone with the port,
    /// and the same IP address has the same one when it is leased again.
    pub(super) fn take_back(self) -> Result<()> {
        let gone = self.ips.into_iter();
        let gone: Vec<_> = gone
            .map(|ip| kernel::delete_neighbour(self.segment, ip))
            .collect();
        match gone.is_empty() {
            true => Ok(()),
            false => Ok(Netlink::open()?.apply(&gone)?),
        }
    }
}

/// The segment of a network that a daemon is told of, if it is there.
fn told_segment(config: &Config) -> Result<Option<(Netlink, u32)>> {
    let keys = Keys::read(config).ok();
    let keys = keys.filter(|keys| matches!(keys.peers, Source::Evpn));
    let Some(keys) = keys else { return Ok(None) };
    let mut host = Netlink::open()?;
    let segment = host.link(&names::bridge(keys.vni))?;
    let own = segment.filter(|segment| names::is_of(&segment.alias, &config.name));
    Ok(own.map(|segment| (host, segment.index)))
}
