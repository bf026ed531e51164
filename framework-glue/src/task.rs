//! Hydrogen's application document: which networks a task wants.
//!
//! The fields are those of `NetworkJSON` in Verizon's mesos-framework-sdk. Real
//! documents vary, so labels are read in every form that is in use, and both
//! keys of a map count; Hydrogen itself kept one of them, and no port mapping.

use std::net::IpAddr;

use cni::fold;
use ipnetwork::IpNetwork;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// A task, as far as its networks go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its name; may be empty.
    pub name: String,
    /// The networks it wants, in the order of its interfaces.
    pub networks: Vec<NetworkRequest>,
}

/// One entry of `container.network`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// The network's name.
    pub name: String,
    /// The addresses it wants there.
    #[serde(rename = "ipaddress")]
    pub addresses: Vec<AddressRequest>,
    /// The groups it is in.
    #[serde(rename = "group")]
    pub groups: Vec<String>,
    /// Labels for the network's plugins.
    pub labels: Labels,
    /// Ports of the host that lead to its own.
    #[serde(rename = "port_mapping")]
    pub port_mappings: Vec<PortMapping>,
    /// What it wishes of the network's default route: true for this one, false for
    /// none here, or whatever else the plugins understand.
    #[serde(alias = "defaultRoute")]
    pub default_route: Option<Value>,
}

/// An address that a task wants, or any of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AddressKeys")]
pub struct AddressRequest {
    /// Its family.
    pub family: Family,
    /// The address, if it must be a certain one.
    pub ip: Option<IpAddr>,
    /// The length of its subnet's prefix, if the document says so.
    pub prefix: Option<u8>,
}

/// A family of addresses, under the names of Mesos' protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

/// Labels, in the document's order where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<(String, String)>);

/// A port of the host that leads to a port of the container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PortMapping {
    /// The host's.
    pub host_port: u16,
    /// The container's.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in any case.
    #[serde(default = "tcp")]
    pub protocol: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Application {
    name: String,
    container: Container,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    network: Vec<NetworkRequest>,
}

impl Task {
    /// Reads a document: one application, or a list of them as Hydrogen takes.
    /// `name` chooses; it may be left out when there is one.
    ///
    /// # Errors
    /// Not JSON, a value that does not fit (with the keys that lead to it), or
    /// no application to choose.
    pub fn parse(bytes: &[u8], name: Option<&str>) -> Result<Self, Error> {
        let document: Value = serde_json::from_slice(bytes).map_err(Error::NotJson)?;
        let mut applications: Vec<Application> = match &document {
            Value::Array(_) => fold::read(&document)?,
            _ => vec![fold::read(&document)?],
        };
        let names = |applications: &[Application]| -> Vec<String> {
            applications.iter().map(|a| a.name.clone()).collect()
        };
        let chosen = match name {
            Some(name) => applications.iter().position(|a| a.name == name),
            None if applications.len() > 1 => {
                return Err(Error::SeveralTasks(names(&applications)));
            }
            None => Some(0).filter(|_| !applications.is_empty()),
        };
        let Some(chosen) = chosen else {
            return Err(match name {
                Some(wanted) => Error::NoSuchTask {
                    wanted: wanted.to_owned(),
                    known: names(&applications),
                },
                None => Error::NoTask,
            });
        };
        let application = applications.swap_remove(chosen);
        Ok(Task {
            name: application.name,
            networks: application.container.network,
        })
    }
}

fn tcp() -> String {
    "tcp".into()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddressKeys {
    ip: Option<String>,
    protocol: Option<String>,
    name: Option<String>,
}

impl TryFrom<AddressKeys> for AddressRequest {
    type Error = String;

    /// An empty text is none: Go's programs write those.
    fn try_from(keys: AddressKeys) -> Result<Self, String> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let keys = AddressKeys {
            ip: said(keys.ip),
            protocol: said(keys.protocol),
            name: said(keys.name),
        };
        if let (None, Some(name)) = (&keys.ip, &keys.name) {
            return Err(format!(
                "\"name\": \"{name}\" does not belong here; a network is an entry of \"container.network\" itself"
            ));
        }
        let asked = keys.protocol.as_deref().map(Family::parse).transpose()?;
        let Some(text) = keys.ip else {
            let family = asked.ok_or("it has neither \"ip\" nor \"protocol\"")?;
            return Ok(AddressRequest {
                family,
                ip: None,
                prefix: None,
            });
        };
        let (ip, prefix) = parse_ip(&text).ok_or_else(|| {
            format!("\"ip\": \"{text}\" is not an address such as 10.1.2.3 or fd00::3")
        })?;
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        match asked {
            Some(asked) if asked != family => Err(format!(
                "\"protocol\": \"{}\" is not that of \"ip\": \"{text}\"",
                keys.protocol.unwrap_or_default()
            )),
            _ => Ok(AddressRequest {
                family,
                ip: Some(ip),
                prefix,
            }),
        }
    }
}

fn parse_ip(text: &str) -> Option<(IpAddr, Option<u8>)> {
    if text.contains('/') {
        let network: IpNetwork = text.parse().ok()?;
        return Some((network.ip(), Some(network.prefix())));
    }
    text.parse().ok().map(|ip| (ip, None))
}

impl Family {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "ipv4" => Ok(Family::V4),
            "ipv6" => Ok(Family::V6),
            _ => Err(format!(
                "\"protocol\": \"{text}\" is neither \"ipv4\" nor \"ipv6\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut labels = Vec::new();
        read_labels(&Value::deserialize(from)?, &mut labels).map_err(de::Error::custom)?;
        Ok(Labels(labels))
    }
}

/// A map is labels; a map with the keys `key` and `value` is one label; a list
/// has either, and Mesos wraps the list as `labels`.
fn read_labels(value: &Value, labels: &mut Vec<(String, String)>) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Array(list) => list.iter().try_for_each(|value| read_labels(value, labels)),
        Value::Object(map) => match (fold::get(map, "key"), fold::get(map, "labels")) {
            (Some(Value::String(key)), _) if is_pair(map) => {
                let value = fold::get(map, "value").unwrap_or(&Value::Null);
                labels.push((key.clone(), label_text(key, value)?));
                Ok(())
            }
            (_, Some(list @ Value::Array(_))) if map.len() == 1 => read_labels(list, labels),
            _ => map.iter().try_for_each(|(key, value)| {
                labels.push((key.clone(), label_text(key, value)?));
                Ok(())
            }),
        },
        other => Err(format!(
            "{other} is not a label such as {{\"zone\": \"a\"}} or {{\"key\": \"zone\", \"value\": \"a\"}}"
        )),
    }
}

fn is_pair(map: &Map<String, Value>) -> bool {
    let known = |key: &String| ["key", "value"].contains(&key.to_ascii_lowercase().as_str());
    map.keys().all(known)
}

fn label_text(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(bool) => Ok(bool.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(format!("\"{key}\": {other} is not text")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn networks(list: Value) -> Result<Vec<NetworkRequest>, String> {
        let document = json!({"name": "t", "container": {"image": "debian", "network": list}});
        let task = Task::parse(document.to_string().as_bytes(), None);
        task.map(|task| task.networks).map_err(|e| e.to_string())
    }

    fn fails(entry: Value) -> String {
        networks(json!([entry])).unwrap_err()
    }

    #[test]
    fn every_field() {
        let list = networks(json!([{
            "name": "backend",
            "ipaddress": [{"ip": "10.2.1.25", "protocol": "ipv4"}, {"ip": "fd00::5/64"}, {"protocol": "IPv6"},
                          {"ip": "", "protocol": "ipv4"}, {"ip": "10.2.1.26", "protocol": ""}],
            "group": ["prod", "qa"],
            "labels": [{"some": "label"}],
            "port_mapping": [{"host_port": 31000, "container_port": 80},
                             {"host_port": 53, "container_port": 53, "protocol": "UDP"}],
        }]))
        .unwrap();
        let network = &list[0];
        assert_eq!(network.name, "backend");
        let address = |family, ip: Option<&str>, prefix| AddressRequest {
            family,
            ip: ip.map(|ip| ip.parse().unwrap()),
            prefix,
        };
        let expected = [
            address(Family::V4, Some("10.2.1.25"), None),
            address(Family::V6, Some("fd00::5"), Some(64)),
            address(Family::V6, None, None),
            address(Family::V4, None, None),
            address(Family::V4, Some("10.2.1.26"), None),
        ];
        assert_eq!(network.addresses, expected);
        assert_eq!(network.groups, ["prod", "qa"]);
        assert_eq!(network.labels.0, [("some".into(), "label".into())]);
        assert_eq!(network.port_mappings[0].protocol, "tcp");
        assert_eq!(network.port_mappings[1].container_port, 53);
    }

    #[test]
    fn labels_in_every_form() {
        let labels = |value: Value| {
            let list = networks(json!([{"name": "n", "labels": value}])).unwrap();
            let pairs = list[0].labels.0.iter().map(|(k, v)| format!("{k}={v}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(json!([{"a": "1"}, {"b": "2"}])), "a=1 b=2");
        assert_eq!(labels(json!([{"a": "1", "b": "2"}])), "a=1 b=2");
        assert_eq!(labels(json!([{"key": "a", "value": "1"}])), "a=1");
        assert_eq!(labels(json!([{"key": "a"}])), "a=");
        assert_eq!(labels(json!({"a": "1", "key": "2"})), "a=1 key=2");
        assert_eq!(
            labels(json!({"labels": [{"key": "a", "value": "1"}]})),
            "a=1"
        );
        assert_eq!(labels(json!([{"a": 1, "b": true}])), "a=1 b=true");
        assert_eq!(labels(json!(null)), "");
    }

    #[test]
    fn one_application_or_a_list_of_them() {
        let application = |name: &str| json!({"name": name, "container": {"network": [{"name": format!("net-{name}")}]}});
        let parse = |value: Value, name| Task::parse(value.to_string().as_bytes(), name);
        let chosen = |value, name| parse(value, name).unwrap().networks[0].name.clone();
        let fails = |value, name| parse(value, name).unwrap_err().to_string();
        let both = json!([application("a"), application("b")]);
        assert_eq!(chosen(application("a"), None), "net-a");
        assert_eq!(chosen(json!([application("a")]), None), "net-a");
        assert_eq!(chosen(both.clone(), Some("b")), "net-b");
        assert!(fails(both.clone(), None).contains("2 applications, \"a\", \"b\""));
        assert!(fails(both, Some("c")).contains("no application \"c\"; it has \"a\", \"b\""));
        assert!(fails(json!([]), None).contains("lists no application"));
        assert!(fails(json!("x"), None).contains("invalid type"));
    }

    #[test]
    fn errors_lead_to_the_value() {
        let truncated = Task::parse(b"{\"container\":", None).unwrap_err();
        assert!(truncated.to_string().contains("not valid JSON"));
        let name = fails(json!({"name": 7}));
        assert!(
            name.contains("\"container.network[0].name\"") && name.contains('7'),
            "{name}"
        );
        let ip = fails(json!({"name": "n", "ipaddress": [{"ip": "10.2.1"}]}));
        assert!(
            ip.contains("\"container.network[0].ipaddress[0]\": \"ip\": \"10.2.1\" is not"),
            "{ip}"
        );
        for (address, expected) in [
            (
                json!({"ip": "10.2.1.1", "protocol": "ipv6"}),
                "not that of \"ip\": \"10.2.1.1\"",
            ),
            (
                json!({"ip": "10.2.1.1", "protocol": "ipx"}),
                "\"ipx\" is neither",
            ),
            (json!({}), "neither \"ip\" nor \"protocol\""),
            (json!({"name": "FE-CNI"}), "\"FE-CNI\" does not belong here"),
        ] {
            let error = fails(json!({"name": "n", "ipaddress": [address]}));
            assert!(error.contains(expected), "{error}");
        }
        let port = fails(
            json!({"name": "n", "port_mapping": [{"host_port": 70000, "container_port": 1}]}),
        );
        assert!(
            port.contains("port_mapping[0].host_port") && port.contains("70000"),
            "{port}"
        );
        let label = fails(json!({"name": "n", "labels": ["x"]}));
        assert!(label.contains("labels\": \"x\" is not a label"), "{label}");
        let label = fails(json!({"name": "n", "labels": [{"a": []}]}));
        assert!(label.contains("\"a\": [] is not text"), "{label}");
    }
}
