//! Where an address belongs.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use place::Place;

use super::{Network, Whose, ranges_of};

/// Where an address belongs by the templates of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Which range of which network.
    pub whose: Whose,
    /// The place whose subnet it is in; without a field when the subnet is the same
    /// everywhere.
    pub place: Place,
    /// The subnet there.
    pub subnet: IpNetwork,
}

/// Where `address` belongs; more than one answer means that ranges share a subnet or
/// networks overlap.
pub fn whereabouts(networks: &[Network], address: IpAddr) -> Vec<Whereabouts> {
    let ranges = networks.iter().flat_map(ranges_of);
    let found = ranges.filter_map(|(whose, range)| {
        // One address may have fields below its prefix.
        let fixed = range.start().filter(|_| range.is_fixed());
        let place = fixed.and_then(|fixed| fixed.place_of(address));
        let place = place.or_else(|| range.subnet.place_of(address))?;
        let subnet = range.subnet.at_place(&place).ok()?;
        Some(Whereabouts {
            whose,
            place,
            subnet,
        })
    });
    found.collect()
}
