//! What it means for a container that its network has a gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::{Attachment, Route};
use ipnetwork::IpNetwork;

use crate::{Error, Result, routes};

/// Fills in the gateways of a lease, the first of a subnet where the IPAM plugin names
/// none, and returns them as addresses of the gateway. An address that is a subnet of
/// its own has none: an anycast address is not to be the host's as well.
///
/// # Errors
/// [`Error::OwnGateway`].
pub(crate) fn addresses(lease: &mut Attachment) -> Result<Vec<IpNetwork>> {
    let mut gateways = Vec::new();
    for ip in &mut lease.ips {
        let Some(gateway) = ip.gateway.or_else(|| first(ip.address)) else {
            continue;
        };
        ip.gateway = Some(gateway);
        if gateway == ip.address.ip() {
            return Err(Error::OwnGateway(ip.address));
        }
        // A prefix that an address of the same family already has fits it.
        gateways.extend(IpNetwork::new(gateway, ip.address.prefix()));
    }
    Ok(gateways)
}

/// The first address of an address's subnet; of two that are all there are (RFC 3021,
/// RFC 6164) the other one.
fn first(address: IpNetwork) -> Option<IpAddr> {
    match address {
        IpNetwork::V4(net) => {
            let bits = match net.prefix() {
                32 => return None,
                31 => net.ip().to_bits() ^ 1,
                _ => net.network().to_bits() | 1,
            };
            Some(Ipv4Addr::from_bits(bits).into())
        }
        IpNetwork::V6(net) => {
            let bits = match net.prefix() {
                128 => return None,
                127 => net.ip().to_bits() ^ 1,
                _ => net.network().to_bits() | 1,
            };
            Some(Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// A default route a family, unless the IPAM plugin gave one with a next hop.
pub(crate) fn add_default_routes(lease: &mut Attachment) {
    for ip in &lease.ips {
        let is_default =
            |route: &Route| route.dst.prefix() == 0 && route.dst.is_ipv4() == ip.address.is_ipv4();
        if lease
            .routes
            .iter()
            .any(|route| is_default(route) && route.gw.is_some())
        {
            continue;
        }
        lease
            .routes
            .extend(ip.gateway.and_then(routes::default_via));
    }
}
