//! The configuration of host-local: its keys, and what they mean on this host.

mod kept_back;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cni::{Config, Route, Version};
use kept_back::{NetTemplate, SharedTemplate, nets_at, read_nets, read_reservations};
use serde::Deserialize;
use serde_json::Value;
pub use storage::Storage;
use storage::seconds;

use crate::Error;
use crate::error::AtKey;
use crate::pool::{self, Pool};
use crate::range::{Bounds, Range, RangeSet};
use crate::reservation::Reservations;
use crate::route::{RouteKeys, RouteTemplate, address_at, read_address};
use place::{AddressTemplate, SubnetTemplate};
use place::{Here, Location};

/// What a configuration says about addresses, before the host's place is put in.
#[derive(Debug)]
pub struct Addressing {
    /// How the place is found.
    pub location: Location,
    /// The range sets.
    pub sets: Vec<Vec<RangeTemplate>>,
    /// The routes.
    pub routes: Vec<RouteTemplate>,
    /// A file in the format of resolv.conf(5).
    pub resolv_conf: Option<PathBuf>,
    /// How long a released address rests.
    pub cooldown: Duration,
    /// Whether the addresses of a container belong together.
    pub is_paired: bool,
    /// Names, and the addresses that are kept for them.
    pub reservations: Vec<(String, AddressTemplate)>,
}

/// A range of addresses for every place.
#[derive(Clone, Debug)]
pub struct RangeTemplate {
    /// Where in the configuration it stands.
    key: String,
    /// The subnet.
    pub subnet: SubnetTemplate,
    start: Option<AddressTemplate>,
    end: Option<AddressTemplate>,
    gateway: Option<AddressTemplate>,
    exclude: Vec<NetTemplate>,
    shared: SharedTemplate,
    /// The one address of the range, where the configuration names that and no range.
    fixed: Option<SubnetTemplate>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ipam: Ipam,
    runtime_config: RuntimeConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    subnet: String,
    range_start: String,
    range_end: String,
    gateway: String,
    exclude: Vec<String>,
    shared: Option<Value>,
    cooldown: Option<f64>,
    paired: bool,
    reservations: BTreeMap<String, Value>,
    ranges: Vec<Vec<RangeKeys>>,
    routes: Vec<RouteKeys>,
    resolv_conf: String,
    location: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConfig {
    ip_ranges: Vec<Vec<RangeKeys>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RangeKeys {
    subnet: String,
    range_start: String,
    range_end: String,
    gateway: String,
    exclude: Vec<String>,
    shared: Option<Value>,
}

impl Addressing {
    /// Reads the keys. The ranges that a runtime asks for (`runtimeConfig.ipRanges`)
    /// come first, then those of `ipam` itself, then those of `ipam.ranges`.
    ///
    /// # Errors
    /// A value of the wrong type, a template or an address that is none.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let Keys {
            ipam,
            runtime_config,
        } = config.read()?;
        let flat = RangeKeys {
            subnet: ipam.subnet,
            range_start: ipam.range_start,
            range_end: ipam.range_end,
            gateway: ipam.gateway,
            exclude: ipam.exclude,
            shared: ipam.shared,
        };
        let mut sets = read_sets(&runtime_config.ip_ranges, "runtimeConfig.ipRanges")?;
        if !flat.subnet.is_empty() {
            sets.push(vec![RangeTemplate::read(&flat, "ipam".to_owned())?]);
        }
        sets.extend(read_sets(&ipam.ranges, "ipam.ranges")?);
        let routes = ipam.routes.into_iter().enumerate();
        Ok(Addressing {
            location: ipam
                .location
                .as_ref()
                .map(Location::parse)
                .transpose()?
                .unwrap_or_default(),
            sets,
            routes: routes
                .map(|(index, keys)| RouteTemplate::read(index, keys))
                .collect::<Result<_, _>>()?,
            resolv_conf: Some(ipam.resolv_conf)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            cooldown: seconds("ipam.cooldown", ipam.cooldown, pool::COOLDOWN)?,
            is_paired: ipam.paired,
            reservations: read_reservations(&ipam.reservations)?,
        })
    }

    /// The fields of the place that any of its templates needs.
    pub fn fields(&self) -> BTreeSet<&str> {
        let ranges = self
            .sets
            .iter()
            .flatten()
            .flat_map(RangeTemplate::templates);
        let routes = self.routes.iter().flat_map(RouteTemplate::templates);
        let reserved = self.reservations.iter().map(|(_, address)| address);
        let templates = ranges.chain(routes).chain(reserved);
        let fields = templates.flat_map(AddressTemplate::fields);
        fields.map(|field| field.name.as_str()).collect()
    }

    /// The pool of a network at a place: what containers get there.
    ///
    /// # Errors
    /// As [`Addressing::sets_at`], [`Addressing::reservations_at`], [`Pool::new`] and
    /// [`Pool::with_pairs`].
    pub fn pool_at(&self, network: &str, version: Version, here: &Here) -> Result<Pool, Error> {
        let pool = Pool::new(network, self.sets_at(here)?, version)?
            .with_cooldown(self.cooldown)
            .with_reservations(self.reservations_at(here)?);
        match self.is_paired {
            true => pool.with_pairs(),
            false => Ok(pool),
        }
    }

    /// The range sets at a place.
    ///
    /// # Errors
    /// What does not fit together; the error names the key.
    pub fn sets_at(&self, here: &Here) -> Result<Vec<RangeSet>, Error> {
        let set = |templates: &Vec<RangeTemplate>| {
            let ranges: Result<Vec<Range>, Error> =
                templates.iter().map(|range| range.at(here)).collect();
            RangeSet::new(ranges?)
        };
        self.sets.iter().map(set).collect()
    }

    /// The reservations at a place.
    ///
    /// # Errors
    /// What the place lacks; the error names the key.
    pub fn reservations_at(&self, here: &Here) -> Result<Reservations, Error> {
        let reservations = self.reservations.iter().map(|(name, template)| {
            let address = template.at(here);
            let address = address.map_err(|e| e.at(format!("ipam.reservations.{name}")));
            Ok((name.clone(), address?))
        });
        reservations.collect()
    }

    /// The routes at a place.
    ///
    /// # Errors
    /// What the place lacks; the error names the key.
    pub fn routes_at(&self, here: &Here) -> Result<Vec<Route>, Error> {
        self.routes.iter().map(|route| route.at(here)).collect()
    }
}

fn read_sets(sets: &[Vec<RangeKeys>], key: &str) -> Result<Vec<Vec<RangeTemplate>>, Error> {
    let read_set = |(set, ranges): (usize, &Vec<RangeKeys>)| {
        let ranges = ranges.iter().enumerate();
        ranges
            .map(|(index, keys)| RangeTemplate::read(keys, format!("{key}[{set}][{index}]")))
            .collect()
    };
    sets.iter().enumerate().map(read_set).collect()
}

impl RangeTemplate {
    fn read(keys: &RangeKeys, key: String) -> Result<Self, Error> {
        if keys.subnet.is_empty() {
            return Err(Error::NoSubnet.at(key));
        }
        let subnet =
            SubnetTemplate::parse(&keys.subnet).map_err(|e| e.at(format!("{key}.subnet")))?;
        let address = |name: &str, text: &str| read_address(text, || format!("{key}.{name}"));
        Ok(RangeTemplate {
            subnet,
            start: address("rangeStart", &keys.range_start)?,
            end: address("rangeEnd", &keys.range_end)?,
            gateway: address("gateway", &keys.gateway)?,
            exclude: read_nets(&keys.exclude, &format!("{key}.exclude"))?,
            shared: SharedTemplate::read(keys.shared.as_ref(), &format!("{key}.shared"))?,
            fixed: None,
            key,
        })
    }

    /// The range of one address, with the length of its prefix.
    pub(crate) fn fixed(
        key: String,
        address: SubnetTemplate,
        gateway: Option<AddressTemplate>,
    ) -> Self {
        RangeTemplate {
            subnet: SubnetTemplate::of_first_bits(address.address(), address.prefix()),
            start: Some(address.address().clone()),
            end: Some(address.address().clone()),
            gateway,
            exclude: Vec::new(),
            shared: SharedTemplate::All(false),
            fixed: Some(address),
            key,
        }
    }

    /// Whether it is one address that the configuration names, and not a range.
    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The subnet, or the one address, as it was written.
    pub fn text(&self) -> &str {
        let written = self.fixed.as_ref().unwrap_or(&self.subnet);
        written.address().text()
    }

    /// Where in the configuration it stands.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The first address, if `rangeStart` says it.
    pub fn start(&self) -> Option<&AddressTemplate> {
        self.start.as_ref()
    }

    /// The last address, if `rangeEnd` says it.
    pub fn end(&self) -> Option<&AddressTemplate> {
        self.end.as_ref()
    }

    /// The gateway, if `gateway` says it.
    pub fn gateway(&self) -> Option<&AddressTemplate> {
        self.gateway.as_ref()
    }

    /// Whether any number of containers may hold each of its addresses, on any host.
    pub fn is_shared(&self) -> bool {
        matches!(self.shared, SharedTemplate::All(true))
    }

    /// What is never given, as far as it is subnets; a single address is one too.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = SubnetTemplate> + '_ {
        self.exclude.iter().map(NetTemplate::as_subnet)
    }

    fn templates(&self) -> impl Iterator<Item = &AddressTemplate> {
        let ends = [&self.start, &self.end, &self.gateway]
            .into_iter()
            .flatten();
        let kept_back = self.exclude.iter().chain(self.shared.nets());
        let kept_back = kept_back.map(NetTemplate::address);
        std::iter::once(self.subnet.address())
            .chain(ends)
            .chain(kept_back)
    }

    /// The range at a place.
    ///
    /// # Errors
    /// What the place lacks or what does not fit together; the error names the key.
    pub fn at(&self, here: &Here) -> Result<Range, Error> {
        let key = |name: &str| format!("{}.{name}", self.key);
        let address = |name: &str, template: &Option<AddressTemplate>| {
            address_at(template.as_ref(), here).map_err(|e| e.at(key(name)))
        };
        if let Some(fixed) = &self.fixed {
            let net = fixed.at(here).map_err(|e| e.at(key("address")))?;
            return Range::fixed(net, address("gateway", &self.gateway)?);
        }
        let bounds = Bounds {
            subnet: self.subnet.at(here).map_err(|e| e.at(key("subnet")))?,
            start: address("rangeStart", &self.start)?,
            end: address("rangeEnd", &self.end)?,
            gateway: address("gateway", &self.gateway)?,
            exclude: nets_at(&self.exclude, here).map_err(|e| e.at(key("exclude")))?,
            shared: self.shared.at(here).map_err(|e| e.at(key("shared")))?,
        };
        Range::new(&bounds).map_err(|e| e.at(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(mut value: Value) -> Config {
        value["name"] = "net".into();
        Config::parse(value.to_string().as_bytes()).unwrap()
    }

    fn sets(value: Value) -> Result<String, String> {
        let addressing = Addressing::read(&config(value)).map_err(|e| e.to_string())?;
        let sets = addressing
            .sets_at(&Here::new(addressing.location.clone()))
            .map_err(|e| e.to_string())?;
        Ok(sets
            .iter()
            .map(RangeSet::to_string)
            .collect::<Vec<_>>()
            .join(" | "))
    }

    #[test]
    fn sets_have_an_order() {
        let value = json!({
            "IPAM": {
                "Subnet": "10.{rack}.{slot}.128/25", "rangestart": "10.{rack}.{slot}.130",
                "ranges": [
                    [{"subnet": "10.1.0.0/30"}, {"subnet": "10.2.0.0/30", "gateway": ""}],
                    [{"subnet": "fd00:24:{rack}:{slot}::/64"}],
                ],
                "location": {"rack": 50, "slot": 11},
            },
            "runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/30"}]]},
        });
        assert_eq!(
            sets(value).unwrap(),
            "10.9.0.1-10.9.0.2 | 10.50.11.130-10.50.11.254 | 10.1.0.1-10.1.0.2,10.2.0.1-10.2.0.2 | \
             fd00:24:32:b::1-fd00:24:32:b:ffff:ffff:ffff:ffff"
        );
    }

    #[test]
    fn errors_name_the_key_and_the_value() {
        for (ipam, key, value) in [
            (json!({"subnet": 5}), "ipam.subnet", "integer `5`"),
            (json!({"subnet": "10.0.0.0"}), "ipam.subnet", "10.0.0.0"),
            (
                json!({"subnet": "10.0.0.0/24", "gateway": "x"}),
                "ipam.gateway",
                "\"x\"",
            ),
            (json!({"subnet": "10.0.0.9/24"}), "ipam", "10.0.0.9/24"),
            (
                json!({"ranges": [[{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.1"}]]}),
                "ipam.ranges[0][0]",
                "10.0.1.1",
            ),
            (json!({"ranges": [[{}]]}), "ipam.ranges[0][0]", "subnet"),
            (
                json!({"subnet": "10.{rack}.0.0/16", "location": {"rack": 700}}),
                "ipam.subnet",
                "700",
            ),
            (
                json!({"routes": [{"dst": "10.0.0.0"}]}),
                "ipam.routes[0].dst",
                "10.0.0.0",
            ),
            (json!({"location": 7}), "ipam.location", "7"),
            (
                json!({"subnet": "10.0.0.0/24", "exclude": ["10.0.0.9", "x"]}),
                "ipam.exclude[1]",
                "\"x\"",
            ),
            (
                json!({"subnet": "10.0.0.0/24", "exclude": ["10.0.1.0/25"]}),
                "exclude",
                "10.0.1.0",
            ),
            (
                json!({"ranges": [[{"subnet": "10.0.0.0/24", "shared": "yes"}]]}),
                "ipam.ranges[0][0].shared",
                "\"yes\"",
            ),
            (json!({"cooldown": -1}), "ipam.cooldown", "-1"),
            (
                json!({"reservations": {"c1": 7}}),
                "ipam.reservations.c1",
                "7",
            ),
            (
                json!({"reservations": {"c1": ["10.0.0.2", "10.0.0/3"]}}),
                "ipam.reservations.c1",
                "10.0.0/3",
            ),
        ] {
            let error = sets(json!({"ipam": ipam})).unwrap_err();
            assert!(
                error.contains(&format!("\"{key}\"")) && error.contains(value),
                "{error}"
            );
        }
    }

    #[test]
    fn routes_keep_their_metrics() {
        let value = json!({"ipam": {
            "location": {"rack": 3},
            "routes": [
                {"dst": "0.0.0.0/0"},
                {"dst": "10.{rack}.0.0/16", "gw": "10.{rack}.0.1", "mtu": 1400, "priority": 0, "table": 0, "scope": 253},
            ],
        }});
        let addressing = Addressing::read(&config(value)).unwrap();
        let routes = addressing
            .routes_at(&Here::new(addressing.location.clone()))
            .unwrap();
        let json = serde_json::to_value(routes).unwrap();
        let second =
            json!({"dst": "10.3.0.0/16", "gw": "10.3.0.1", "mtu": 1400, "table": 0, "scope": 253});
        assert_eq!(json, json!([{"dst": "0.0.0.0/0"}, second]));
    }
}
