//! The addresses of the overlay, where they follow from places: what `host-local`
//! gives on each host. It is read from `ipam` as the IPAM plugin reads it, since a
//! host must know it for all others.

use std::net::IpAddr;

use cni::Config;
use ipnetwork::IpNetwork;
use place::{AddressTemplate, Family, Place, SubnetTemplate};
use serde::Deserialize;

use super::fault::Fault;
use crate::Result;

const HOST_LOCAL: &str = "host-local";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "type")]
    plugin: String,
    ranges: Vec<Vec<RawRange>>,
    paired: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawRange {
    subnet: String,
    range_start: String,
    range_end: String,
    gateway: String,
}

/// The ranges of a network, for every place.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    sets: Vec<Vec<Range>>,
    is_paired: bool,
}

/// Why nobody can know from places alone who has which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Another plugin than `host-local` gives them.
    Plugin,
    /// A range is the same at all places.
    NoFields,
    /// A container has several that do not follow from each other.
    NotPaired,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unknown::Plugin => "\"ipam\" is not \"host-local\"",
            Unknown::NoFields => "a range of \"ipam\" has no fields of the place",
            Unknown::NotPaired => {
                "a container has several addresses, which follow from each other with \"paired\": true in \"ipam\" and one range a set"
            }
        })
    }
}

#[derive(Debug)]
struct Range {
    subnet: SubnetTemplate,
    start: Option<AddressTemplate>,
    end: Option<AddressTemplate>,
    gateway: Option<AddressTemplate>,
}

/// Whether `host-local` gives addresses, whichever implementation of it: it needs no
/// interface to do so.
pub(super) fn is_leased(config: &Config) -> bool {
    let ipam = config.get("ipam").map(cni::fold::read::<Raw>);
    ipam.is_some_and(|raw| raw.is_ok_and(|raw| raw.plugin == HOST_LOCAL))
}

impl Overlay {
    /// Reads `ipam`; nothing when another plugin than `host-local` gives addresses.
    pub(super) fn read(config: &Config) -> Result<Self> {
        let Some(ipam) = config.get("ipam") else {
            return Ok(Overlay::default());
        };
        let raw: Raw = cni::fold::read(ipam).map_err(cni::Error::from)?;
        if raw.plugin != HOST_LOCAL {
            return Ok(Overlay::default());
        }
        let single: RawRange = cni::fold::read(ipam).map_err(cni::Error::from)?;
        let mut sets = Vec::new();
        if !single.subnet.is_empty() {
            sets.push(vec![Range::read(&single)?]);
        }
        for set in &raw.ranges {
            sets.push(set.iter().map(Range::read).collect::<Result<_>>()?);
        }
        Ok(Overlay {
            sets,
            is_paired: raw.paired,
        })
    }

    fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.sets.iter().flatten()
    }

    /// Whether every place has addresses of its own of which each leads to one
    /// hardware address: one a container, or one of each of paired sets, in ranges that
    /// have fields. If not, why not.
    pub(super) fn is_computable(&self) -> std::result::Result<(), Unknown> {
        let pairs =
            self.sets.len() == 1 || (self.is_paired && self.sets.iter().all(|set| set.len() == 1));
        match self.sets.is_empty() {
            true => Err(Unknown::Plugin),
            false if !self.ranges().all(Range::follows_place) => Err(Unknown::NoFields),
            false if !pairs => Err(Unknown::NotPaired),
            false => Ok(()),
        }
    }

    /// Whether every place has subnets of its own.
    pub(super) fn has_subnets_by_place(&self) -> bool {
        !self.sets.is_empty()
            && self
                .ranges()
                .all(|range| has_fields(range.subnet.address()))
    }

    /// The subnets of a place.
    pub(super) fn subnets_at(&self, place: &Place) -> Result<Vec<IpNetwork>> {
        let subnet = |range: &Range| Ok(range.subnet.at_place(place).map_err(of_ipam)?);
        let mut subnets: Vec<IpNetwork> = self.ranges().map(subnet).collect::<Result<_>>()?;
        subnets.sort();
        subnets.dedup();
        Ok(subnets)
    }

    /// The addresses that containers of a place can have, container by container.
    pub(super) fn addresses_at(&self, place: &Place) -> Result<Vec<Vec<IpAddr>>> {
        let mut all = Vec::new();
        let Some((first, others)) = self.sets.split_first() else {
            return Ok(all);
        };
        let others: Vec<Ends> = others
            .iter()
            .flatten()
            .map(|range| range.ends_at(place))
            .collect::<Result<_>>()?;
        for range in first {
            let ends = range.ends_at(place)?;
            for distance in 0..ends.size() {
                let others = others.iter().map(|other| other.at(distance));
                all.extend(
                    std::iter::once(ends.at(distance))
                        .chain(others)
                        .collect::<Option<_>>(),
                );
            }
        }
        Ok(all)
    }

    /// How many addresses a place has, without listing them.
    pub(super) fn size_at(&self, place: &Place) -> Result<u128> {
        let mut size: u128 = 0;
        for range in self.sets.first().into_iter().flatten() {
            size = size.saturating_add(range.ends_at(place)?.size());
        }
        Ok(size.saturating_mul(self.sets.len() as u128))
    }

    /// Whether other hosts compute these addresses of a container at a place.
    pub(super) fn is_known_at(&self, place: &Place, ips: &[IpAddr]) -> Result<bool> {
        let Some((first, others)) = self.sets.split_first() else {
            return Ok(false);
        };
        let (Some((ip, rest)), true) = (ips.split_first(), ips.len() == self.sets.len()) else {
            return Ok(false);
        };
        for range in first {
            let Some(distance) = range.ends_at(place)?.distance(*ip) else {
                continue;
            };
            for (range, ip) in others.iter().flatten().zip(rest) {
                if range.ends_at(place)?.at(distance) != Some(*ip) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// The part of the address plan that all places are in: the bits before the
    /// first field of each subnet.
    pub(super) fn whole(&self) -> Vec<IpNetwork> {
        let whole = |range: &Range| {
            let address = range.subnet.address();
            let family = address.family();
            let first = address.fields().first();
            let above = first.map(|field| family.bits() - field.shift - field.bits);
            let prefix = above.map_or(range.subnet.prefix(), |bits| bits as u8);
            let net = IpNetwork::new(family.address(address.literal()), prefix).ok()?;
            IpNetwork::new(net.network(), prefix).ok()
        };
        let mut all: Vec<IpNetwork> = self.ranges().filter_map(whole).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn has_fields(template: &AddressTemplate) -> bool {
    !template.fields().is_empty()
}

fn of_ipam(cause: place::Error) -> Fault {
    Fault::Place { key: "ipam", cause }
}

impl Range {
    fn read(raw: &RawRange) -> Result<Self> {
        let address = |text: &str| match text {
            "" => Ok(None),
            text => AddressTemplate::parse(text).map(Some).map_err(of_ipam),
        };
        Ok(Range {
            subnet: SubnetTemplate::parse(&raw.subnet).map_err(of_ipam)?,
            start: address(&raw.range_start)?,
            end: address(&raw.range_end)?,
            gateway: address(&raw.gateway)?,
        })
    }

    fn follows_place(&self) -> bool {
        let both = [&self.start, &self.end]
            .into_iter()
            .all(|end| end.as_ref().is_some_and(has_fields));
        has_fields(self.subnet.address()) || both
    }

    /// The first and the last address, and the gateway, as `host-local` has them.
    fn ends_at(&self, place: &Place) -> Result<Ends> {
        let subnet = self.subnet.at_place(place).map_err(of_ipam)?;
        let family = Family::of(subnet.ip());
        let network = place::family::number(subnet.network());
        let broadcast = network | family.host_bits(subnet.prefix());
        let at = |template: &Option<AddressTemplate>| {
            let address = template.as_ref().map(|template| template.at_place(place));
            address.transpose().map_err(of_ipam)
        };
        let usual_last = match family {
            Family::V4 => broadcast.saturating_sub(1),
            Family::V6 => broadcast,
        };
        let first = at(&self.start)?.map_or(network + 1, place::family::number);
        let last = at(&self.end)?.map_or(usual_last, place::family::number);
        let gateway = at(&self.gateway)?.or(Some(family.address(network + 1)));
        Ok(Ends {
            family,
            first,
            last,
            gateway,
        })
    }
}

/// A range at a place.
struct Ends {
    family: Family,
    first: u128,
    last: u128,
    gateway: Option<IpAddr>,
}

impl Ends {
    fn size(&self) -> u128 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// What a container gets at a distance from the first, if anything.
    fn at(&self, distance: u128) -> Option<IpAddr> {
        let number = self.first.checked_add(distance)?;
        let address = self.family.address(number);
        (number <= self.last && Some(address) != self.gateway).then_some(address)
    }

    fn distance(&self, ip: IpAddr) -> Option<u128> {
        let distance = place::family::number(ip).checked_sub(self.first)?;
        (self.at(distance) == Some(ip)).then_some(distance)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn overlay(ipam: Value) -> Overlay {
        let config = json!({"name": "n", "type": "vxlan", "ipam": ipam});
        Overlay::read(&Config::parse(config.to_string().as_bytes()).unwrap()).unwrap()
    }

    fn at(rack: u64, slot: u64) -> Place {
        [("rack".to_owned(), rack), ("slot".to_owned(), slot)]
            .into_iter()
            .collect()
    }

    fn texts<T: ToString>(list: Vec<T>) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }

    #[test]
    fn subnets_and_addresses_follow_from_places() {
        let by_place = overlay(json!({"type": "host-local", "subnet": "10.{rack}.{slot}.0/29"}));
        assert!(by_place.is_computable().is_ok() && by_place.has_subnets_by_place());
        assert_eq!(
            texts(by_place.subnets_at(&at(1, 2)).unwrap()),
            ["10.1.2.0/29"]
        );
        let addresses = texts(by_place.addresses_at(&at(1, 2)).unwrap().concat());
        assert_eq!(
            addresses,
            ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]
        );
        assert_eq!(by_place.size_at(&at(1, 2)).unwrap(), 6);
        assert_eq!(texts(by_place.whole()), ["10.0.0.0/8"]);

        let slices = overlay(json!({"type": "host-local", "ranges": [[{
            "subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.3",
        }]]}));
        assert!(slices.is_computable().is_ok() && !slices.has_subnets_by_place());
        assert_eq!(
            texts(slices.addresses_at(&at(1, 7)).unwrap().concat()),
            ["10.9.7.2", "10.9.7.3"]
        );

        let wide = overlay(json!({"type": "host-local", "subnet": "fd00:{rack}:{slot}::/64"}));
        assert_eq!(texts(wide.whole()), ["fd00::/16"]);
        assert!(wide.size_at(&at(1, 1)).unwrap() > 1 << 63);
    }

    #[test]
    fn what_cannot_be_computed() {
        let both = json!([
            [{"subnet": "10.{rack}.{slot}.0/24"}], [{"subnet": "fd00:{rack}:{slot}::/64"}],
        ]);
        for (ipam, why) in [
            (
                json!({"type": "host-local", "subnet": "10.9.0.0/16"}),
                Unknown::NoFields,
            ),
            (
                json!({"type": "host-local", "subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2"}),
                Unknown::NoFields,
            ),
            (json!({"type": "static"}), Unknown::Plugin),
            (
                json!({"type": "host-local", "ranges": both}),
                Unknown::NotPaired,
            ),
        ] {
            assert_eq!(overlay(ipam.clone()).is_computable(), Err(why), "{ipam}");
        }
    }

    #[test]
    fn pairs_are_computed_together() {
        let both = overlay(json!({"type": "host-local", "paired": true, "ranges": [
            [{"subnet": "10.{rack}.{slot}.0/29", "gateway": "10.{rack}.{slot}.6"}],
            [{"subnet": "fd00:{rack}:{slot}::/64"}],
        ]}));
        assert_eq!(both.is_computable(), Ok(()));
        let addresses = both.addresses_at(&at(1, 2)).unwrap();
        let texts: Vec<_> = addresses
            .iter()
            .map(|ips| texts(ips.clone()).join(" "))
            .collect();
        // Neither family's gateway is anybody's, nor what would go with it.
        assert_eq!(
            texts,
            [
                "10.1.2.2 fd00:1:2::2",
                "10.1.2.3 fd00:1:2::3",
                "10.1.2.4 fd00:1:2::4",
                "10.1.2.5 fd00:1:2::5",
            ]
        );
        assert_eq!(both.size_at(&at(1, 2)).unwrap(), 12);
        let is_known = |ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            both.is_known_at(&at(1, 2), &ips).unwrap()
        };
        assert!(is_known(&["10.1.2.3", "fd00:1:2::3"]));
        assert!(!is_known(&["10.1.2.3", "fd00:1:2::4"]));
        assert!(!is_known(&["10.1.3.3", "fd00:1:2::3"]));
        assert!(!is_known(&["10.1.2.3"]));
    }
}
