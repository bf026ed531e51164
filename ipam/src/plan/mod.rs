//! Checks an addressing plan before it is rolled out: what the templates of some
//! configurations make of all places of a data centre.
//!
//! That no two places share an address follows from a template's structure (every
//! field of the place has bits of its own in the prefix), and that two templates
//! cannot meet from theirs ([`meeting`]). Places are never compared in pairs.

mod meeting;

use std::net::IpAddr;

use cni::Version;
use ipnetwork::IpNetwork;

pub use place::Bounds;

use crate::Error;
use crate::config::{Addressing, RangeTemplate};
use crate::pool::Pool;
use place::family::Family;
use place::{Here, Location, Place, SubnetTemplate};

/// Blocks of addresses that are no container's, and why.
const RESERVED: [(&str, &str); 11] = [
    ("0.0.0.0/8", "this network (RFC 1122)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::/127", "unspecified and loopback (RFC 4291)"),
    ("::ffff:0:0:0/96", "translated IPv4 (RFC 2765)"),
    ("64:ff9b::/96", "translated IPv4 (RFC 6052)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("ff00::/8", "multicast (RFC 4291)"),
];

/// Something that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Values of a field do not fit.
    DoesNotFit {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
        /// The values that do not fit.
        values: (u64, u64),
        /// The largest that does.
        limit: u64,
    },
    /// A template needs a field that no place has.
    Missing {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
    },
    /// Places that differ in this field alone have the same subnet.
    NotInSubnet {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
    },
    /// Two templates have subnets that overlap.
    Overlap {
        /// Where in which network.
        one: Whose,
        /// Where in which other.
        other: Whose,
        /// An address in both.
        address: IpAddr,
    },
    /// A subnet is in a block that is no container's.
    Reserved {
        /// Where in which network.
        whose: Whose,
        /// The block.
        block: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// An address in both.
        address: IpAddr,
    },
    /// The configuration is wrong at some place.
    AtPlace {
        /// The network.
        network: String,
        /// The first such place.
        place: Place,
        /// What is wrong.
        message: String,
    },
}

/// A range of a network's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The network.
    pub network: String,
    /// The key of the range.
    pub key: String,
    /// The template of its subnet.
    pub template: String,
}

/// A network to be checked.
#[derive(Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The version of its configuration.
    pub version: Version,
    /// What it says about addresses.
    pub addressing: Addressing,
}

/// How much a range of a network serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where in which network.
    pub whose: Whose,
    /// How many places have a subnet of their own.
    pub subnets: u128,
    /// How many containers each of them can have.
    pub containers: u128,
}

/// What became of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many places there are.
    pub places: u128,
    /// What each range serves.
    pub services: Vec<Service>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// How many places are looked at one by one.
const LOOKED_AT: usize = 1 << 20;

/// Checks the plan of some networks.
pub fn check(networks: &[Network], bounds: &Bounds) -> Report {
    let mut report = Report {
        places: bounds.places(),
        ..Report::default()
    };
    let ranges: Vec<(Whose, &RangeTemplate)> = networks.iter().flat_map(ranges_of).collect();
    for (index, (whose, range)) in ranges.iter().enumerate() {
        report.fields(whose, &range.subnet, bounds);
        report.reserved(whose, &range.subnet, bounds);
        for (other_whose, other) in &ranges[..index] {
            report.pair((other_whose, other), (whose, range), bounds);
        }
    }
    for network in networks {
        report.places_of(network, bounds);
    }
    report
}

fn ranges_of(network: &Network) -> impl Iterator<Item = (Whose, &RangeTemplate)> {
    network.addressing.sets.iter().flatten().map(|range| {
        let whose = Whose {
            network: network.name.clone(),
            key: range.key().to_owned(),
            template: range.subnet.address().text().to_owned(),
        };
        (whose, range)
    })
}

impl Report {
    /// Every field of the plan must be in the template, and fit.
    fn fields(&mut self, whose: &Whose, template: &SubnetTemplate, bounds: &Bounds) {
        let fields = template.address().fields();
        for (field, (low, high)) in bounds.fields() {
            let own = fields.iter().filter(|f| f.name == *field);
            let Some(limit) = own.map(|f| f.limit()).min() else {
                if low < high {
                    self.faults.push(Fault::NotInSubnet {
                        whose: whose.clone(),
                        field: field.to_owned(),
                    });
                }
                continue;
            };
            if high > limit {
                self.faults.push(Fault::DoesNotFit {
                    whose: whose.clone(),
                    field: field.to_owned(),
                    values: (low.max(limit + 1), high),
                    limit,
                });
            }
        }
        for field in fields.iter().filter(|f| bounds.get(&f.name).is_none()) {
            let fault = Fault::Missing {
                whose: whose.clone(),
                field: field.name.clone(),
            };
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    fn reserved(&mut self, whose: &Whose, template: &SubnetTemplate, bounds: &Bounds) {
        let family = template.address().family();
        for (block, purpose) in RESERVED {
            let Ok(reserved) = SubnetTemplate::parse(block) else {
                continue;
            };
            if let Some(number) = meeting::meeting(template, bounds, &reserved, bounds) {
                self.faults.push(Fault::Reserved {
                    whose: whose.clone(),
                    block,
                    purpose,
                    address: family.address(number),
                });
            }
        }
    }

    /// Ranges of one subnet belong together; whether they overlap the range sets
    /// themselves find out.
    fn pair(
        &mut self,
        (one, first): (&Whose, &RangeTemplate),
        (other, second): (&Whose, &RangeTemplate),
        bounds: &Bounds,
    ) {
        if one.network == other.network && first.subnet == second.subnet {
            return;
        }
        let family = first.subnet.address().family();
        if let Some(number) = meeting::meeting(&first.subnet, bounds, &second.subnet, bounds) {
            self.faults.push(Fault::Overlap {
                one: one.clone(),
                other: other.clone(),
                address: family.address(number),
            });
        }
    }

    /// Counts what a network serves, and looks at the rest of its configuration at
    /// every place, as the hosts there will.
    fn places_of(&mut self, network: &Network, bounds: &Bounds) {
        let ranges: Vec<(Whose, &RangeTemplate)> = ranges_of(network).collect();
        let fitting = bounds.fitting(ranges.iter().map(|(_, range)| &range.subnet));
        let mut counted = false;
        for place in fitting.each().take(LOOKED_AT) {
            match pool_at(network, &place) {
                Err(error) => {
                    self.faults.push(Fault::AtPlace {
                        network: network.name.clone(),
                        place,
                        message: error.to_string(),
                    });
                    return;
                }
                Ok(pool) if !counted => {
                    counted = true;
                    self.count(&ranges, &pool, bounds);
                }
                Ok(_) => {}
            }
        }
    }

    fn count(&mut self, ranges: &[(Whose, &RangeTemplate)], pool: &Pool, bounds: &Bounds) {
        let Ok(usage) = pool.usage(None) else { return };
        for ((whose, range), usage) in ranges.iter().zip(usage.iter().flatten()) {
            let names: std::collections::BTreeSet<&str> = range
                .subnet
                .address()
                .fields()
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            let sizes = names.into_iter().map(|name| {
                let (low, high) = bounds.of(&range.subnet, name);
                u128::from(high.saturating_sub(low)) + 1
            });
            self.services.push(Service {
                whose: whose.clone(),
                subnets: sizes.fold(1, u128::saturating_mul),
                containers: usage.total,
            });
        }
    }
}

fn pool_at(network: &Network, place: &Place) -> Result<Pool, Error> {
    let here = Here::new(Location::Literal(place.clone()));
    network.addressing.routes_at(&here)?;
    let reservations = network.addressing.reservations_at(&here)?;
    let sets = network.addressing.sets_at(&here)?;
    Ok(Pool::new(&network.name, sets, network.version)?.with_reservations(reservations))
}

/// The subnet of every place, in a template.
pub fn subnets<'a>(
    template: &'a SubnetTemplate,
    bounds: &'a Bounds,
) -> impl Iterator<Item = (Place, Result<IpNetwork, place::Error>)> + 'a {
    bounds.each().map(|place| {
        let subnet = template.at_place(&place);
        (place, subnet)
    })
}

/// Where an address belongs by the templates of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Which range of which network.
    pub whose: Whose,
    /// The place whose subnet it is in.
    pub place: Place,
    /// The subnet there.
    pub subnet: IpNetwork,
}

/// Where `address` belongs; more than one answer means that networks overlap.
pub fn whereabouts(networks: &[Network], address: IpAddr) -> Vec<Whereabouts> {
    let family = Family::of(address);
    let ranges = networks.iter().flat_map(ranges_of);
    let found = ranges.filter_map(|(whose, range)| {
        let place = range.subnet.place_of(address)?;
        let subnet = range.subnet.at_place(&place).ok()?;
        Some(Whereabouts {
            whose,
            place,
            subnet,
        })
    });
    found
        .filter(|found| Family::of(found.subnet.ip()) == family)
        .collect()
}

#[cfg(test)]
mod tests;
