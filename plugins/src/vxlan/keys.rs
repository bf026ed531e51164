//! The keys of `vxlan`, and what follows from them alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni::Config;
use kernel::PortFlags;
use serde::Deserialize;
use serde_json::Value;

use super::names;
use super::peers::Source;
use crate::{Error, Result};

/// 24 bits, and not 0, which the kernel gives a meaning of its own.
const VNIS: std::ops::RangeInclusive<u32> = 1..=16_777_215;
/// The port that IANA assigned (RFC 7348).
const PORT: u16 = 4789;
/// The smallest MTU of IPv4, and of IPv6.
const LEAST_MTU: u32 = 68;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    vni: u32,
    port: u16,
    underlay: String,
    location: Value,
    ttl: u8,
    tos: Value,
    udp_checksum: Option<bool>,
    source_port_range: String,
    mtu: u32,
    storm_limit: u32,
    peers: RawPeers,
    isolated: bool,
    hairpin_mode: bool,
    macspoofchk: bool,
    /// Of DEL and GC ([`Keys::keeps`]); ADD refuses what is no such value.
    #[serde(rename = "keep")]
    _keep: bool,
    mode: String,
    gateway: String,
    is_gateway: bool,
    is_default_gateway: bool,
    ip_masq: bool,
    enabledad: bool,
    vlan: i64,
    vlan_trunk: Vec<Value>,
    promisc_mode: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Raw {
            vni: 0,
            port: PORT,
            underlay: String::new(),
            location: Value::Null,
            ttl: 0,
            tos: Value::Null,
            udp_checksum: None,
            source_port_range: String::new(),
            mtu: 0,
            storm_limit: 0,
            peers: RawPeers::default(),
            isolated: false,
            hairpin_mode: false,
            macspoofchk: false,
            _keep: false,
            mode: String::new(),
            gateway: String::new(),
            is_gateway: false,
            is_default_gateway: false,
            ip_masq: false,
            enabledad: false,
            vlan: 0,
            vlan_trunk: Vec::new(),
            promisc_mode: false,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPeers {
    places: Option<BTreeMap<String, Value>>,
    file: Option<String>,
    #[serde(rename = "static")]
    list: Option<Vec<String>>,
    group: Option<String>,
    evpn: bool,
}

/// What hosts have of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One segment across all hosts.
    L2,
    /// A segment a host, and routes between them.
    L3,
}

/// What the configuration says.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) vni: u32,
    pub(super) port: u16,
    /// As it is written; none is the default route's interface.
    pub(super) underlay: Option<String>,
    pub(super) location: place::Location,
    pub(super) ttl: Option<u8>,
    pub(super) tos: Option<u8>,
    pub(super) checksum: Option<bool>,
    pub(super) source_ports: Option<(u16, u16)>,
    pub(super) mtu: Option<u32>,
    pub(super) storm_limit: Option<u32>,
    pub(super) peers: Source,
    isolated: bool,
    hairpin_mode: bool,
    pub(super) macspoofchk: bool,
    pub(super) mode: Mode,
    pub(super) has_gateway: bool,
    pub(super) is_default_gateway: bool,
    pub(super) masquerades: bool,
    pub(super) detects_duplicates: bool,
}

impl Keys {
    pub(super) fn read(config: &Config) -> Result<Self> {
        let raw: Raw = config.read()?;
        if !VNIS.contains(&raw.vni) {
            return Err(Error::BadKey {
                key: "vni",
                value: raw.vni.to_string(),
                right: format!("a number from {} to {}", VNIS.start(), VNIS.end()),
            });
        }
        if raw.port == 0 {
            return Err(bad("port", "0", "a UDP port from 1 to 65535"));
        }
        if raw.mtu != 0 && raw.mtu < LEAST_MTU {
            let right = format!("{LEAST_MTU} bytes or more, or 0 for what fits");
            return Err(bad("mtu", &raw.mtu.to_string(), &right));
        }
        refuse_keys_of_bridge(&raw)?;
        let mode = mode(&raw.mode)?;
        let source = peers(&raw.peers)?;
        if matches!(source, Source::Places(_)) && raw.underlay.is_empty() {
            return Err(super::fault::Fault::NotTemplate(raw.underlay).into());
        }
        let has_gateway = has_gateway(&raw, mode)?;
        if mode == Mode::L3 && matches!(source, Source::Group(_) | Source::Evpn) {
            return Err(bad(
                "mode",
                "\"l3\"",
                "with \"peers\" whose subnets are known: \"places\" or \"file\"",
            ));
        }
        Ok(Keys {
            vni: raw.vni,
            port: raw.port,
            underlay: Some(raw.underlay).filter(|text| !text.is_empty()),
            location: location(config, &raw.location)?,
            ttl: Some(raw.ttl).filter(|ttl| *ttl != 0),
            tos: tos(&raw.tos)?,
            checksum: raw.udp_checksum,
            source_ports: source_ports(&raw.source_port_range)?,
            mtu: Some(raw.mtu).filter(|mtu| *mtu != 0),
            storm_limit: Some(raw.storm_limit).filter(|limit| *limit != 0),
            peers: source,
            isolated: raw.isolated,
            hairpin_mode: raw.hairpin_mode,
            macspoofchk: raw.macspoofchk,
            mode,
            has_gateway,
            is_default_gateway: raw.is_default_gateway,
            masquerades: raw.ip_masq,
            detects_duplicates: raw.enabledad,
        })
    }

    /// What a bridge with this mark does with a container's frames.
    pub(super) fn port_flags(&self, mark: &str) -> PortFlags {
        PortFlags {
            hairpin: self.hairpin_mode,
            isolated: self.isolated,
            is_fixed: names::is_fixed(mark),
        }
    }

    /// The VNI alone, for DEL, which must go on with whatever it is given.
    pub(super) fn vni(config: &Config) -> Option<u32> {
        #[derive(Deserialize)]
        struct Vni {
            vni: u32,
        }
        let read: Vni = config.read().ok()?;
        VNIS.contains(&read.vni).then_some(read.vni)
    }

    /// Whether the devices stay after the last container; also of a network that is on
    /// another plugin by now.
    pub(super) fn keeps(config: &Config) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Keep {
            keep: bool,
        }
        config.read().is_ok_and(|Keep { keep }| keep)
    }
}

pub(super) fn bad(key: &'static str, value: &str, right: &str) -> Error {
    Error::BadKey {
        key,
        value: value.to_owned(),
        right: right.to_owned(),
    }
}

/// What `bridge` has and a tenant's segment has not: who moves a network is to know.
fn refuse_keys_of_bridge(raw: &Raw) -> Result<()> {
    let vlans = "none, as a segment has no VLANs; another network with a \"vni\" of its own is one";
    if raw.vlan != 0 {
        return Err(bad("vlan", &raw.vlan.to_string(), vlans));
    }
    if !raw.vlan_trunk.is_empty() {
        return Err(bad("vlanTrunk", "[…]", vlans));
    }
    if raw.promisc_mode {
        let right = "false, as the host takes nothing in from a tenant's segment";
        return Err(bad("promiscMode", "true", right));
    }
    Ok(())
}

fn mode(text: &str) -> Result<Mode> {
    match text {
        "" | "l2" => Ok(Mode::L2),
        "l3" => Ok(Mode::L3),
        other => Err(bad("mode", &format!("\"{other}\""), "\"l2\" or \"l3\"")),
    }
}

/// Whether there is a gateway: where hosts are routed to there must be one. The keys
/// of `bridge` say the same as `gateway`.
fn has_gateway(raw: &Raw, mode: Mode) -> Result<bool> {
    let asked = raw.is_gateway || raw.is_default_gateway || raw.ip_masq || mode == Mode::L3;
    match raw.gateway.as_str() {
        "" => Ok(asked),
        "anycast" => Ok(true),
        "none" if !asked => Ok(false),
        other => Err(bad(
            "gateway",
            &format!("\"{other}\""),
            "\"anycast\", or \"none\", which \"mode\": \"l3\", \"isDefaultGateway\" and \"ipMasq\" exclude",
        )),
    }
}

/// `location`, or where `ipam` says that the host's place is found: an operator
/// has one place a host.
fn location(config: &Config, own: &Value) -> Result<place::Location> {
    let of_ipam = config.get("ipam").and_then(Value::as_object);
    let of_ipam = of_ipam.and_then(|ipam| cni::fold::get(ipam, "location"));
    let (key, value) = match (own, of_ipam) {
        (Value::Null, Some(value)) => ("ipam.location", value),
        (Value::Null, None) => return Ok(place::Location::default()),
        (value, _) => ("location", value),
    };
    let parsed = place::Location::parse(value);
    Ok(parsed.map_err(|cause| super::fault::Fault::Place { key, cause })?)
}

fn tos(tos: &Value) -> Result<Option<u8>> {
    let number = tos.as_u64().map(u8::try_from);
    match (tos, number) {
        (Value::Null, _) => Ok(None),
        (_, Some(Ok(number))) => Ok(Some(number).filter(|tos| *tos != 0)),
        // As the kernel has it: 1 is no value of its own.
        (Value::String(word), _) if word == "inherit" => Ok(Some(1)),
        _ => Err(bad(
            "tos",
            &tos.to_string(),
            "a number from 0 to 255, or \"inherit\"",
        )),
    }
}

fn source_ports(text: &str) -> Result<Option<(u16, u16)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let ends = text.split_once('-');
    let ends =
        ends.and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    match ends {
        Some((low, high)) if 0 < low && low < high => Ok(Some((low, high))),
        _ => Err(bad(
            "sourcePortRange",
            &format!("\"{text}\""),
            "two UDP ports, the smaller first, such as \"49152-65535\"",
        )),
    }
}

fn peers(raw: &RawPeers) -> Result<Source> {
    let kinds = [
        raw.places.is_some(),
        raw.file.is_some(),
        raw.list.is_some(),
        raw.group.is_some(),
        raw.evpn,
    ];
    if kinds.into_iter().filter(|is_set| *is_set).count() != 1 {
        return Err(bad(
            "peers",
            "{…}",
            "exactly one of \"places\", \"file\", \"static\", \"group\" and \"evpn\"",
        ));
    }
    if let Some(places) = &raw.places {
        return Ok(Source::Places(bounds(places)?));
    }
    if let Some(path) = &raw.file {
        return Ok(Source::File(path.into()));
    }
    if let Some(list) = &raw.list {
        let address = |text: &String| {
            let right = "the address of a host's tunnel end point";
            text.parse()
                .map_err(|_| bad("peers.static", &format!("\"{text}\""), right))
        };
        return Ok(Source::Static(
            list.iter().map(address).collect::<Result<_>>()?,
        ));
    }
    if let Some(group) = &raw.group {
        let parsed: Option<IpAddr> = group.parse().ok();
        let parsed = parsed.filter(IpAddr::is_multicast);
        let right = "the address of a multicast group, such as \"239.1.1.1\"";
        return parsed
            .map(Source::Group)
            .ok_or_else(|| bad("peers.group", &format!("\"{group}\""), right));
    }
    Ok(Source::Evpn)
}

/// `{"rack": "1-40", "slot": 3}`.
fn bounds(places: &BTreeMap<String, Value>) -> Result<place::Bounds> {
    let field = |(name, value): (&String, &Value)| {
        let values = match value {
            Value::String(text) => place::Bounds::parse(text),
            Value::Number(number) => number.as_u64().map(|number| (number, number)),
            _ => None,
        };
        let right = "values of a field of the place, such as \"1-40\"";
        values
            .map(|values| (name.clone(), values))
            .ok_or_else(|| bad("peers.places", &format!("{{\"{name}\": {value}}}"), right))
    };
    places.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(extra: Value) -> Result<Keys> {
        let mut config = json!({
            "name": "n", "type": "vxlan", "vni": 5, "peers": {"static": ["192.0.2.1"]},
        });
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Keys::read(&Config::parse(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn defaults() {
        let keys = keys(json!({})).unwrap();
        assert_eq!(
            (keys.vni, keys.port, keys.mtu, keys.ttl),
            (5, 4789, None, None)
        );
        assert_eq!(keys.underlay, None);
        assert_eq!(keys.location, place::Location::default());
        assert!(!keys.isolated && keys.source_ports.is_none());
    }

    #[test]
    fn values_are_read() {
        let all = keys(json!({
            "vni": 7, "PORT": 8472, "underlay": "eth0", "ttl": 64, "tos": "inherit",
            "sourcePortRange": "49152-65535", "mtu": 1400,
            "location": {"rack": 1}, "peers": {"places": {"rack": "1-40", "slot": 3}},
        }))
        .unwrap();
        assert_eq!(
            (all.vni, all.port, all.tos, all.ttl),
            (7, 8472, Some(1), Some(64))
        );
        assert_eq!(all.source_ports, Some((49152, 65535)));
        let Source::Places(bounds) = all.peers else {
            panic!("{:?}", all.peers)
        };
        assert_eq!(bounds.places(), 40);
        let shared = keys(json!({"ipam": {"type": "host-local", "location": {"rack": 2}}}));
        let here = place::Here::new(shared.unwrap().location);
        assert_eq!(here.place().unwrap().get("rack"), Some(2));
    }

    #[test]
    fn errors_name_key_and_value() {
        for (extra, says) in [
            (json!({"vni": 0}), ["\"vni\"", "16777215"]),
            (
                json!({"vni": 16_777_216}),
                ["\"vni\": 16777216", "16777215"],
            ),
            (json!({"vni": -1}), ["\"vni\"", "-1"]),
            (json!({"port": 0}), ["\"port\": 0", "65535"]),
            (json!({"port": 65536}), ["\"port\"", "65536"]),
            (json!({"mtu": 60}), ["\"mtu\": 60", "68"]),
            (json!({"tos": "high"}), ["\"tos\": \"high\"", "inherit"]),
            (json!({"tos": 300}), ["\"tos\": 300", "255"]),
            (json!({"vlan": 5}), ["\"vlan\": 5", "\"vni\""]),
            (
                json!({"vlanTrunk": [{"id": 1}]}),
                ["\"vlanTrunk\"", "\"vni\""],
            ),
            (json!({"promiscMode": true}), ["\"promiscMode\"", "false"]),
            (
                json!({"peers": {"places": {"rack": "1-4"}}}),
                ["\"underlay\"", "template"],
            ),
            (
                json!({"sourcePortRange": "9-1"}),
                ["\"sourcePortRange\": \"9-1\"", "49152"],
            ),
            (json!({"peers": {}}), ["\"peers\"", "\"evpn\""]),
            (
                json!({"peers": {"evpn": true, "file": "/x"}}),
                ["\"peers\"", "exactly one"],
            ),
            (
                json!({"peers": {"static": ["x"]}}),
                ["\"peers.static\": \"x\"", "address"],
            ),
            (
                json!({"peers": {"group": "10.0.0.1"}}),
                ["\"peers.group\": \"10.0.0.1\"", "239"],
            ),
            (
                json!({"peers": {"places": {"rack": "4-1"}}}),
                ["\"peers.places\"", "rack"],
            ),
            (json!({"location": 5}), ["\"location\"", "5"]),
        ] {
            let error = keys(extra.clone()).unwrap_err().to_string();
            for part in says {
                assert!(error.contains(part), "{extra}: {error}");
            }
        }
    }
}
