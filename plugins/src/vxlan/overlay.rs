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
        Ok(Overlay { sets })
    }

    fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.sets.iter().flatten()
    }

    /// Whether every place has addresses of its own of which each leads to one
    /// hardware address: one of a family a container, in ranges that have fields.
    pub(super) fn is_computable(&self) -> bool {
        self.sets.len() == 1 && self.ranges().all(Range::follows_place)
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

    /// The addresses that containers of a place can have.
    pub(super) fn addresses_at(&self, place: &Place) -> Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for range in self.ranges() {
            let (first, last, gateway) = range.ends_at(place)?;
            let family = Family::of(range.subnet.at_place(place).map_err(of_ipam)?.ip());
            let all = (first..=last).map(|number| family.address(number));
            addresses.extend(all.filter(|address| Some(*address) != gateway));
        }
        Ok(addresses)
    }

    /// How many addresses a place has, without listing them.
    pub(super) fn size_at(&self, place: &Place) -> Result<u128> {
        let mut size: u128 = 0;
        for range in self.ranges() {
            let (first, last, _) = range.ends_at(place)?;
            size = size.saturating_add(last.saturating_sub(first).saturating_add(1));
        }
        Ok(size)
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
    fn ends_at(&self, place: &Place) -> Result<(u128, u128, Option<IpAddr>)> {
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
        Ok((first, last, gateway))
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
        assert!(by_place.is_computable() && by_place.has_subnets_by_place());
        assert_eq!(
            texts(by_place.subnets_at(&at(1, 2)).unwrap()),
            ["10.1.2.0/29"]
        );
        let addresses = texts(by_place.addresses_at(&at(1, 2)).unwrap());
        assert_eq!(
            addresses,
            ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]
        );
        assert_eq!(by_place.size_at(&at(1, 2)).unwrap(), 6);
        assert_eq!(texts(by_place.whole()), ["10.0.0.0/8"]);

        let slices = overlay(json!({"type": "host-local", "ranges": [[{
            "subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.3",
        }]]}));
        assert!(slices.is_computable() && !slices.has_subnets_by_place());
        assert_eq!(
            texts(slices.addresses_at(&at(1, 7)).unwrap()),
            ["10.9.7.2", "10.9.7.3"]
        );

        let wide = overlay(json!({"type": "host-local", "subnet": "fd00:{rack}:{slot}::/64"}));
        assert_eq!(texts(wide.whole()), ["fd00::/16"]);
        assert!(wide.size_at(&at(1, 1)).unwrap() > 1 << 63);
    }

    #[test]
    fn what_cannot_be_computed() {
        for ipam in [
            json!({"type": "host-local", "subnet": "10.9.0.0/16"}),
            json!({"type": "host-local", "subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2"}),
            json!({"type": "static"}),
            json!({"type": "host-local", "ranges": [
                [{"subnet": "10.{rack}.{slot}.0/24"}], [{"subnet": "fd00:{rack}:{slot}::/64"}],
            ]}),
        ] {
            assert!(!overlay(ipam.clone()).is_computable(), "{ipam}");
        }
    }
}
