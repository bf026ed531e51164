//! What it means for a container that its network has a gateway.

use cni::{Attachment, Route};
use ipnetwork::IpNetwork;

use crate::{Error, Result, routes};

/// Fills in the gateways of a lease, the first of a subnet where the IPAM plugin names
/// none, and returns them as addresses of the gateway.
///
/// # Errors
/// [`Error::OwnGateway`].
pub(crate) fn addresses(lease: &mut Attachment) -> Result<Vec<IpNetwork>> {
    let mut gateways = Vec::new();
    for ip in &mut lease.ips {
        let gateway = *ip.gateway.get_or_insert_with(|| first(ip.address));
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
fn first(address: IpNetwork) -> std::net::IpAddr {
    match address {
        IpNetwork::V4(net) if net.prefix() == 31 => {
            std::net::Ipv4Addr::from_bits(net.ip().to_bits() ^ 1).into()
        }
        IpNetwork::V6(net) if net.prefix() == 127 => {
            std::net::Ipv6Addr::from_bits(net.ip().to_bits() ^ 1).into()
        }
        IpNetwork::V4(net) => std::net::Ipv4Addr::from_bits(net.network().to_bits() | 1).into(),
        IpNetwork::V6(net) => std::net::Ipv6Addr::from_bits(net.network().to_bits() | 1).into(),
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
