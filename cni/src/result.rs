//! What an attachment looks like: the result of ADD, in every version.
//!
//! [`Attachment`] is the newest version's shape; older shapes are made from it
//! and read into it. As in the reference implementation the optional keys of
//! routes (`priority`, `table`, …) go out in every version, since they are only
//! there when an operator wrote them, while the keys that 1.1.0 added to
//! interfaces go out in 1.1.0 alone.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::address::{cidr, optional};
use crate::{Error, Version, fold};

/// The state of an attachment: interfaces, addresses, routes and name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The interfaces that were made, on the host and in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<Ip>,
    /// The routes inside of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Name resolution.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Its name where it is.
    pub name: String,
    /// Its hardware address, `aa:bb:cc:dd:ee:ff`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU in bytes (1.1.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// A socket that stands for it (1.1.0).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// Its PCI device (1.1.0).
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// The address and the length of its subnet's prefix.
    #[serde(with = "cidr")]
    pub address: IpNetwork,
    /// The subnet's gateway.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Which of [`Attachment::interfaces`] has it.
    #[serde(
        default,
        deserialize_with = "read_index",
        skip_serializing_if = "Option::is_none"
    )]
    pub interface: Option<usize>,
    /// Whether others may have the address at the same time (anycast). This is an
    /// extension of ours: it is there when it is true, for the plugins that follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so.
fn is_false(value: &bool) -> bool {
    !value
}

/// Plugins that were made with the reference's library of 2017 say -1 for none.
fn read_index<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let index = Option::<i64>::deserialize(from)?;
    Ok(index.and_then(|index| usize::try_from(index).ok()))
}

/// A route of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    #[serde(with = "cidr")]
    pub dst: IpNetwork,
    /// The next hop; none means the gateway of the address of that family.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Advertised maximum segment size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The metric; lower wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The scope (`rt_scope_t` of linux/rtnetlink.h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Name resolution, as resolv.conf(5) has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search list in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// A result object as it is since 1.0.0.
#[derive(Serialize)]
struct Versioned<'a> {
    #[serde(rename = "cniVersion")]
    version: &'static str,
    #[serde(flatten)]
    result: &'a Attachment,
}

/// Results of 0.1.0 and 0.2.0: one address a family, routes with it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OldResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<OldIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<OldIp>,
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct OldIp {
    #[serde(with = "cidr")]
    ip: IpNetwork,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    /// Known to plugins of this process alone: an old result has no room for it.
    #[serde(skip)]
    shared: bool,
}

impl OldResult {
    fn of(attachment: &Attachment, version: Version) -> Result<Self, Error> {
        let first = |v4: bool| {
            let ip = attachment
                .ips
                .iter()
                .find(|ip| ip.address.is_ipv4() == v4)?;
            let routes = attachment.routes.iter().filter(|r| r.dst.is_ipv4() == v4);
            Some(OldIp {
                ip: ip.address,
                gateway: ip.gateway,
                routes: routes.cloned().collect(),
                shared: ip.shared,
            })
        };
        let (ip4, ip6) = (first(true), first(false));
        if ip4.is_none() && ip6.is_none() {
            return Err(Error::NoAddressInOldResult(version));
        }
        let dns = attachment.dns.clone();
        Ok(OldResult { ip4, ip6, dns })
    }

    fn into_attachment(self) -> Attachment {
        let mut attachment = Attachment {
            dns: self.dns,
            ..Attachment::default()
        };
        for old in [self.ip4, self.ip6].into_iter().flatten() {
            attachment.ips.push(Ip {
                address: old.ip,
                gateway: old.gateway,
                interface: None,
                shared: old.shared,
            });
            attachment.routes.extend(old.routes);
        }
        attachment
    }
}

impl Attachment {
    /// What of the attachment a result of `version` can carry: what a reader of
    /// that result will know.
    ///
    /// # Errors
    /// [`Error::NoAddressInOldResult`]: before 0.3.0 there must be an address.
    pub fn carried_by(&self, version: Version) -> Result<Cow<'_, Self>, Error> {
        if version < Version::V0_3_0 {
            return Ok(Cow::Owned(OldResult::of(self, version)?.into_attachment()));
        }
        if version >= Version::V1_1_0 || self.interfaces.iter().all(Interface::is_plain) {
            return Ok(Cow::Borrowed(self));
        }
        let mut plain = self.clone();
        plain.interfaces.iter_mut().for_each(Interface::make_plain);
        Ok(Cow::Owned(plain))
    }

    /// The result object of `version`.
    ///
    /// # Errors
    /// [`Error::NoAddressInOldResult`]: before 0.3.0 there must be an address.
    pub fn to_json(&self, version: Version) -> Result<Value, Error> {
        let mut value = match version < Version::V0_3_0 {
            true => encode(&OldResult::of(self, version)?),
            false => encode(self.carried_by(version)?.as_ref()),
        };
        value["cniVersion"] = version.as_str().into();
        if (Version::V0_3_0..Version::V1_0_0).contains(&version) {
            let versions = self
                .ips
                .iter()
                .map(|ip| if ip.address.is_ipv4() { "4" } else { "6" });
            for (index, version) in versions.enumerate() {
                value["ips"][index]["version"] = version.into();
            }
            if self.dns.is_empty() {
                value["dns"] = json!({});
            }
        }
        Ok(value)
    }

    /// The result object of `version` as text.
    ///
    /// # Errors
    /// As [`Attachment::to_json`].
    pub fn to_text(&self, version: Version) -> Result<String, Error> {
        if version < Version::V1_0_0 {
            return Ok(self.to_json(version)?.to_string());
        }
        let result = &*self.carried_by(version)?;
        let version = version.as_str();
        Ok(serde_json::to_string(&Versioned { version, result }).unwrap_or_default())
    }

    /// Reads a result of any version. One that does not name its version has
    /// `default`; `whose` is for the error. An address that is said to belong to an
    /// interface that is not listed belongs to none: the reference does not look, and
    /// IPAM plugins have been seen to say anything.
    ///
    /// # Errors
    /// [`Error::BadResult`].
    pub fn from_json(value: &Value, default: Version, whose: &str) -> Result<Self, Error> {
        let bad = |why: String| Error::BadResult {
            whose: whose.to_owned(),
            why,
        };
        let object = value
            .as_object()
            .ok_or_else(|| bad(format!("{value} is not an object")))?;
        let version = match fold::get(object, "cniVersion").and_then(Value::as_str) {
            Some(text) if !text.is_empty() => text
                .parse()
                .map_err(|error: Error| bad(error.to_string()))?,
            _ => default,
        };
        let read = match version < Version::V0_3_0 {
            true => fold::read_object(object).map(OldResult::into_attachment),
            false => fold::read_object(object),
        };
        let mut attachment: Attachment = read.map_err(|e| bad(e.to_string()))?;
        let interfaces = attachment.interfaces.len();
        for ip in &mut attachment.ips {
            ip.interface = ip.interface.filter(|index| *index < interfaces);
        }
        Ok(attachment)
    }
}

impl Interface {
    fn is_plain(&self) -> bool {
        self.mtu.is_none() && self.socket_path.is_empty() && self.pci_id.is_empty()
    }

    fn make_plain(&mut self) {
        self.mtu = None;
        self.socket_path.clear();
        self.pci_id.clear();
    }
}

/// Nothing in these types can fail to be JSON: no maps with odd keys, no floats.
fn encode(result: &impl Serialize) -> Value {
    serde_json::to_value(result).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dual() -> Attachment {
        Attachment {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "0a:58:0a:32:0b:02".into(),
                mtu: Some(1400),
                sandbox: "/run/netns/c".into(),
                ..Interface::default()
            }],
            ips: ["10.50.11.2/24", "fd00:24:32:b::2/64"]
                .map(|ip| Ip {
                    address: ip.parse().unwrap(),
                    gateway: None,
                    interface: Some(0),
                    shared: false,
                })
                .to_vec(),
            routes: vec![Route {
                dst: "::/0".parse().unwrap(),
                gw: Some("fd00:24:32:b::1".parse().unwrap()),
                mtu: None,
                advmss: None,
                priority: Some(5),
                table: None,
                scope: None,
            }],
            dns: Dns::default(),
        }
    }

    #[test]
    fn every_version_has_its_shape() {
        let json = |version| dual().to_json(version).unwrap();
        let old = json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.50.11.2/24"},
            "ip6": {"ip": "fd00:24:32:b::2/64",
                    "routes": [{"dst": "::/0", "gw": "fd00:24:32:b::1", "priority": 5}]},
            "dns": {},
        });
        assert_eq!(json(Version::V0_2_0), old);
        let mut first = old;
        first["cniVersion"] = "0.1.0".into();
        assert_eq!(json(Version::V0_1_0), first);
        for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
            let value = json(version);
            assert_eq!(value["ips"][0]["version"], "4");
            assert_eq!(value["ips"][1]["version"], "6");
            assert_eq!(value["dns"], json!({}));
            assert_eq!(value["interfaces"][0].get("mtu"), None);
        }
        let value = json(Version::V1_0_0);
        assert_eq!(value["ips"][0].get("version"), None);
        assert_eq!(value.get("dns"), None);
        assert_eq!(value["interfaces"][0].get("mtu"), None);
        assert_eq!(json(Version::V1_1_0)["interfaces"][0]["mtu"], 1400);
    }

    #[test]
    fn reading_gives_what_the_version_carried() {
        for version in Version::ALL {
            let json = dual().to_json(version).unwrap();
            let text = dual().to_text(version).unwrap();
            assert_eq!(text.parse::<Value>().unwrap(), json);
            let read = Attachment::from_json(&json, Version::V1_1_0, "test").unwrap();
            assert_eq!(read, *dual().carried_by(version).unwrap(), "{version}");
        }
    }

    #[test]
    fn an_attachment_without_addresses_needs_a_newer_version() {
        let bare = Attachment::default();
        assert!(bare.to_json(Version::V0_2_0).is_err());
        assert!(bare.carried_by(Version::V0_1_0).is_err());
        assert!(bare.to_json(Version::V0_3_0).is_ok());
    }

    #[test]
    fn results_that_are_none() {
        let bad = |value: Value| {
            Attachment::from_json(&value, Version::V1_0_0, "x")
                .unwrap_err()
                .to_string()
        };
        assert!(bad(json!("")).contains("not an object"));
        assert!(bad(json!({"ips": [{"address": "10.0.0.1"}]})).contains("\"ips[0].address\""));
        assert!(bad(json!({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]})).contains("\"x\""));
        let newer = bad(json!({"cniVersion": "9.0.0"}));
        assert!(newer.starts_with("x: ") && newer.contains("\"9.0.0\""));
    }

    #[test]
    fn what_the_reference_reads_is_read() {
        let read = |value: Value| Attachment::from_json(&value, Version::V1_0_0, "x").unwrap();
        let attachment = read(json!({
            "interfaces": [{"name": "eth0"}],
            "ips": [
                {"address": "10.0.0.2/8", "interface": 0, "gateway": ""},
                {"address": "10.0.0.3/8", "interface": 1},
                {"address": "10.0.0.4/8", "interface": -1, "gateway": null},
            ],
            "routes": [{"dst": "10.0.0.0/8", "gw": ""}],
        }));
        let indices: Vec<_> = attachment.ips.iter().map(|ip| ip.interface).collect();
        assert_eq!(indices, [Some(0), None, None]);
        assert!(attachment.ips.iter().all(|ip| ip.gateway.is_none()));
        assert_eq!(attachment.routes[0].gw, None);
        let old = read(json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/8", "gateway": ""}}));
        assert_eq!(old.ips[0].gateway, None);
    }

    #[test]
    fn what_is_shared_is_said_and_nothing_else() {
        let mut attachment = dual();
        attachment.ips[1].shared = true;
        let value = attachment.to_json(Version::V1_0_0).unwrap();
        assert_eq!(value["ips"][0].get("shared"), None);
        assert_eq!(value["ips"][1]["shared"], true);
        let read = Attachment::from_json(&value, Version::V1_0_0, "test").unwrap();
        assert!(read.ips[1].shared && !read.ips[0].shared);
        let old = attachment.carried_by(Version::V0_2_0).unwrap();
        assert!(old.ips[1].shared, "a plugin of this process knows");
    }
}
