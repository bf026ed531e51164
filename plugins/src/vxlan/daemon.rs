//! What a routing daemon is told (`peers.evpn`). It hears of hardware addresses from the
//! bridge, and of IP addresses from the neighbours of the bridge's link. A bridge that is
//! nobody's gateway has none, so they are set: other hosts then answer for them.

use std::net::IpAddr;

use cni::{Attachment, Request};
use kernel::{Link, Mac, Neighbour, Netlink};

use super::keys::Keys;
use super::names;
use super::peers::Source;
use crate::Result;
use crate::check::differs;

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
    let mut known = host.set_neighbours(segment.index, true)?;
    known.extend(host.set_neighbours(segment.index, false)?);
    for ip in layer3.ips.iter().map(|ip| ip.address.ip()) {
        let is_it = |one: &Neighbour| one.ip == ip && one.mac.to_string().eq_ignore_ascii_case(mac);
        if !known.iter().any(is_it) {
            let what = format!("neighbours of {}", segment.name);
            return Err(differs(&what, &format!("{ip} {mac}"), "none"));
        }
    }
    Ok(())
}

/// Takes it back on DEL, as far as the runtime says what ADD returned. What is left is
/// no harm: the hardware address is gone with the port, and the same IP address has the
/// same one when it is leased again.
pub(super) fn untell(request: &Request) -> Result<()> {
    let Ok(keys) = Keys::read(&request.config) else {
        return Ok(());
    };
    let result = request.config.prev_result().ok().flatten();
    let Some(result) = result.filter(|_| matches!(keys.peers, Source::Evpn)) else {
        return Ok(());
    };
    let mut host = Netlink::open()?;
    let Some(segment) = host.link(&names::bridge(keys.vni))? else {
        return Ok(());
    };
    let ips = result.ips.iter().map(|ip| ip.address.ip());
    let gone: Vec<_> = ips
        .map(|ip| kernel::delete_neighbour(segment.index, ip))
        .collect();
    Ok(host.apply(&gone)?)
}
