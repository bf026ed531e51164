//! Checks an addressing plan before it is rolled out: what the templates of some
//! configurations make of all places of a data centre.
//!
//! That no two places share an address follows from a template's structure (every
//! field of the place has bits of its own in the prefix), and that two templates
//! cannot meet from theirs ([`meeting`]). Places are never compared in pairs.

mod block;
mod fault;
mod meeting;
mod tally;
mod whereabouts;

use cni::Version;
use ipnetwork::IpNetwork;
use place::{Place, SubnetTemplate};

pub use fault::{Fault, Whose};
pub use place::Bounds;
pub use tally::Room;
use tally::{LOOKED_AT, Tally};
pub use whereabouts::{Whereabouts, whereabouts};

use crate::config::{Addressing, RangeTemplate};

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

/// What a range of a network serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where in which network.
    pub whose: Whose,
    /// Each field of the subnet, with its first and its last bit from the left.
    pub fields: Vec<(String, u32, u32)>,
    /// The length of the prefix that no two places have in common: that of the
    /// subnet, or of the part of it that the range stays in.
    pub apart: u8,
    /// How many places have room in it.
    pub places: u128,
    /// How many subnets they have.
    pub subnets: u128,
    /// The subnets of the first and of the last of them.
    pub ends: Option<(IpNetwork, IpNetwork)>,
    /// How many containers places can have; none when all share its addresses,
    /// and any number can.
    pub containers: Option<Room>,
}

/// What a network serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The network.
    pub network: String,
    /// How many hosts have room in all of its ranges.
    pub hosts: u128,
    /// How many containers hosts can have, with an address of each range set; none for any
    /// number.
    pub containers: Option<Room>,
}

/// What became of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many places there are.
    pub places: u128,
    /// What each range serves.
    pub services: Vec<Service>,
    /// What each network serves.
    pub served: Vec<Served>,
    /// What is wrong, and what the operator should know.
    pub faults: Vec<Fault>,
}

/// A range with what is known of it wherever the host stands.
struct Planned<'a> {
    whose: Whose,
    range: &'a RangeTemplate,
    /// The part of the subnet that the range stays in.
    block: SubnetTemplate,
}

/// Checks the plan of some networks.
pub fn check(networks: &[Network], bounds: &Bounds) -> Report {
    let mut report = Report {
        places: bounds.places(),
        ..Report::default()
    };
    let ranges = networks.iter().flat_map(ranges_of);
    let ranges: Vec<Planned<'_>> = ranges
        .map(|(whose, range)| Planned {
            whose,
            range,
            block: block::block(range),
        })
        .collect();
    for (index, planned) in ranges.iter().enumerate() {
        report.fields(planned, bounds);
        report.reserved(planned, bounds);
        for other in &ranges[..index] {
            report.pair(other, planned, bounds);
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
            template: range.text().to_owned(),
        };
        (whose, range)
    })
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_right(&self) -> bool {
        !self.faults.iter().any(Fault::is_grave)
    }

    /// Every field of the plan must be in the template, and fit.
    fn fields(&mut self, planned: &Planned<'_>, bounds: &Bounds) {
        let Planned {
            whose,
            range,
            block,
        } = planned;
        for (field, (low, high)) in bounds.fields() {
            let own = block.address().fields().iter();
            let limit = own.filter(|f| f.name == field).map(|f| f.limit()).min();
            if let Some(limit) = limit.filter(|limit| high > *limit) {
                self.faults.push(Fault::DoesNotFit {
                    whose: whose.clone(),
                    field: field.to_owned(),
                    values: (low.max(limit + 1), high),
                    limit,
                });
            }
            // What is shared may be the same everywhere, and so may one address that is
            // named: it is for a container that is somewhere.
            let is_one = range.is_fixed() && block.address().fields().is_empty();
            let apart = range.is_shared() || is_one || block::contains(block, field);
            if low < high && !apart {
                self.faults.push(Fault::NotInSubnet {
                    whose: whose.clone(),
                    field: field.to_owned(),
                });
            }
        }
        let fields = block.address().fields().iter();
        for field in fields.filter(|f| !has(bounds, &f.name)) {
            let fault = Fault::Missing {
                whose: whose.clone(),
                field: field.name.clone(),
            };
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    fn reserved(&mut self, planned: &Planned<'_>, bounds: &Bounds) {
        let family = planned.range.subnet.address().family();
        for (block, purpose) in RESERVED {
            let Ok(reserved) = SubnetTemplate::parse(block) else {
                continue;
            };
            if let Some(number) = meeting::meeting(&planned.range.subnet, &reserved, bounds) {
                self.faults.push(Fault::Reserved {
                    whose: planned.whose.clone(),
                    block,
                    purpose,
                    address: family.address(number),
                });
            }
        }
    }

    /// Whether two ranges give the same addresses, or two networks have a subnet in
    /// common.
    fn pair(&mut self, one: &Planned<'_>, other: &Planned<'_>, bounds: &Bounds) {
        if one.range.is_shared() && other.range.is_shared() {
            return;
        }
        let is_one_network = one.whose.network == other.whose.network;
        let (whose, others) = (one.whose.clone(), other.whose.clone());
        let family = one.range.subnet.address().family();
        let meeting = |one: &SubnetTemplate, other: &SubnetTemplate| {
            let number = meeting::meeting(one, other, bounds);
            number.map(|number| family.address(number))
        };
        // Blocks are few; what a range consists of exactly may be many.
        let overlap = meeting(&one.block, &other.block).and_then(|_| {
            let (ones, others) = (block::blocks(one.range), block::blocks(other.range));
            let pairs = ones.iter().flat_map(|x| others.iter().map(move |y| (x, y)));
            let mut given = pairs.filter(|(x, y)| {
                !block::is_excluded(one.range, y) && !block::is_excluded(other.range, x)
            });
            given.find_map(|(x, y)| meeting(x, y))
        });
        if let Some(address) = overlap {
            self.faults.push(Fault::Overlap {
                one: whose,
                other: others,
                address,
            });
        } else if !is_one_network
            && let Some(address) = meeting(&one.range.subnet, &other.range.subnet)
        {
            self.faults.push(Fault::CommonSubnet {
                one: whose,
                other: others,
                address,
            });
        }
    }

    /// Counts what a network serves, and looks at the rest of its configuration at
    /// every place, as the hosts there will.
    fn places_of(&mut self, network: &Network, bounds: &Bounds) {
        let ranges: Vec<(Whose, &RangeTemplate)> = ranges_of(network).collect();
        let needed = ranges
            .iter()
            .flat_map(|(_, range)| range.subnet.address().fields());
        if needed.into_iter().any(|field| !has(bounds, &field.name)) {
            return;
        }
        let templates = ranges.iter().map(|(_, range)| &range.subnet);
        let Some(fitting) = bounds.fitting(templates) else {
            return;
        };
        let tally = Tally::of(network, &fitting);
        self.count(&tally, bounds, &fitting);
        self.faults.extend(tally.faults(bounds));
        if fitting.places() > LOOKED_AT as u128 {
            self.faults.push(Fault::NotAllLookedAt {
                network: network.name.clone(),
                places: fitting.places(),
            });
        }
    }

    fn count(&mut self, tally: &Tally<'_>, bounds: &Bounds, fitting: &Bounds) {
        let Some(containers) = tally.hosts() else {
            return;
        };
        for (whose, range, containers) in tally.ranges() {
            let own = bounds.fitting(std::iter::once(&range.subnet));
            let (Some(own), Some(containers)) = (own, containers) else {
                continue;
            };
            let block = block::block(range);
            let address = range.subnet.address();
            let at = |place: Option<Place>| range.subnet.at_place(&place?).ok();
            self.services.push(Service {
                whose: whose.clone(),
                fields: bits_of(&block),
                apart: block.prefix(),
                places: own.places(),
                subnets: own.places_by(|name| address.fields().iter().any(|f| f.name == name)),
                ends: at(own.each().next()).zip(at(Some(own.last()))),
                containers,
            });
        }
        self.served.push(Served {
            network: tally.network().to_owned(),
            hosts: fitting.places(),
            containers,
        });
    }
}

fn has(bounds: &Bounds, field: &str) -> bool {
    bounds.get(field).is_some()
}

/// The fields of a template with their first and last bits, counted from the left.
fn bits_of(template: &SubnetTemplate) -> Vec<(String, u32, u32)> {
    let address = template.address();
    let width = address.family().bits();
    let bits = address.fields().iter().map(|field| {
        let last = width - field.shift;
        (field.name.clone(), last - field.bits + 1, last)
    });
    bits.collect()
}

/// The subnet of each range at every place where it has one.
pub fn subnets<'a>(
    networks: &'a [Network],
    bounds: &'a Bounds,
) -> impl Iterator<Item = (Place, Whose, IpNetwork)> + 'a {
    bounds.each().flat_map(|place| {
        let ranges = networks.iter().flat_map(ranges_of);
        let there = ranges.filter_map(|(whose, range)| {
            let subnet = range.subnet.at_place(&place).ok()?;
            Some((place.clone(), whose, subnet))
        });
        there.collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests;
