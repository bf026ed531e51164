//! Who else is in the network: every host's tunnel end point, and where the
//! inventory says so its place and its subnets.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use place::{AddressTemplate, Bounds, Place};
use serde_json::{Map, Value};

use super::fault::Fault;
use crate::Result;

/// The most hosts of a network.
pub(super) const MOST: u128 = 1 << 17;

/// How the hosts of a network find each other (`peers`).
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// All places within bounds are hosts; `underlay` is the template of their
    /// addresses.
    Places(Bounds),
    /// A file lists them.
    File(PathBuf),
    /// The configuration lists them.
    Static(Vec<IpAddr>),
    /// They are in a multicast group.
    Group(IpAddr),
    /// A routing daemon knows them.
    Evpn,
}

/// A host of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its tunnel end point.
    pub(super) underlay: IpAddr,
    /// Where it stands, if the inventory says so.
    pub(super) place: Option<Place>,
    /// Its subnets of the overlay, if the inventory says so.
    pub(super) subnets: Vec<IpNetwork>,
}

impl Peer {
    fn at(underlay: IpAddr) -> Self {
        Peer {
            underlay,
            place: None,
            subnets: Vec::new(),
        }
    }
}

impl Source {
    /// Whether what is for everybody is copied to each host of a list.
    pub(super) fn is_listed(&self) -> bool {
        !matches!(self, Source::Group(_) | Source::Evpn)
    }

    /// Whether what is for everybody may have to be copied to so many hosts that
    /// nobody should wait for it. An inventory is not read to find out.
    pub(super) fn may_be_many(&self) -> bool {
        /// From here on a child costs less than what it saves.
        const MANY: u128 = 64;
        match self {
            Source::Places(bounds) => bounds.places() > MANY,
            Source::Static(list) => list.len() as u128 > MANY,
            Source::File(_) => true,
            Source::Group(_) | Source::Evpn => false,
        }
    }

    /// All other hosts, if this is known; `underlay` is the template of their
    /// addresses.
    ///
    /// # Errors
    /// The inventory cannot be read, or `own` is not in it.
    pub(super) fn others(&self, underlay: Option<&str>, own: IpAddr) -> Result<Option<Vec<Peer>>> {
        let (all, source) = match self {
            Source::Group(_) | Source::Evpn => return Ok(None),
            Source::Static(list) => {
                let peers = list.iter().copied().map(Peer::at).collect();
                (peers, "\"peers.static\"".to_owned())
            }
            Source::Places(bounds) => {
                let template = template(underlay)?;
                (in_bounds(bounds, &template)?, "\"peers.places\"".to_owned())
            }
            Source::File(path) => (read_file(path, underlay)?, path.display().to_string()),
        };
        except(all, own, source).map(Some)
    }
}

/// The peers without this host itself.
fn except(mut all: Vec<Peer>, own: IpAddr, source: String) -> Result<Vec<Peer>> {
    let count = all.len();
    if let Some(other) = all.iter().find(|p| p.underlay.is_ipv4() != own.is_ipv4()) {
        let peer = other.underlay;
        return Err(Fault::PeerFamily { peer, own }.into());
    }
    all.retain(|peer| peer.underlay != own);
    if all.len() == count {
        return Err(Fault::NotAmongPeers {
            address: own,
            count,
            source_: source,
        }
        .into());
    }
    all.sort_by_key(|peer| peer.underlay);
    all.dedup_by_key(|peer| peer.underlay);
    Ok(all)
}

fn template(underlay: Option<&str>) -> Result<AddressTemplate> {
    let text = underlay.unwrap_or_default();
    let template = match AddressTemplate::parse(text) {
        Err(place::Error::NotAddress(_)) => {
            return Err(Fault::NotTemplate(text.to_owned()).into());
        }
        parsed => parsed.map_err(|cause| Fault::Place {
            key: "underlay",
            cause,
        })?,
    };
    match template.fields().is_empty() {
        true => Err(Fault::NotTemplate(text.to_owned()).into()),
        false => Ok(template),
    }
}

fn in_bounds(bounds: &Bounds, underlay: &AddressTemplate) -> Result<Vec<Peer>> {
    if bounds.places() > MOST {
        return Err(Fault::TooMany(bounds.places()).into());
    }
    bounds
        .each()
        .map(|place| at_place(place, underlay))
        .collect()
}

fn at_place(place: Place, underlay: &AddressTemplate) -> Result<Peer> {
    let address = underlay.at_place(&place).map_err(|cause| Fault::Place {
        key: "underlay",
        cause,
    })?;
    Ok(Peer {
        place: Some(place),
        ..Peer::at(address)
    })
}

/// Reads an inventory: a list, or an object whose `hosts` is one.
fn read_file(path: &Path, underlay: Option<&str>) -> Result<Vec<Peer>> {
    let text = std::fs::read(path).map_err(|error| Fault::Inventory {
        path: path.to_owned(),
        error,
    })?;
    let not = |why: String| Fault::NotInventory {
        path: path.to_owned(),
        why,
    };
    let value: Value = serde_json::from_slice(&text).map_err(|error| not(error.to_string()))?;
    let hosts = match &value {
        Value::Object(object) => cni::fold::get(object, "hosts").unwrap_or(&Value::Null),
        other => other,
    };
    let hosts = hosts
        .as_array()
        .ok_or_else(|| not("there is no list of hosts".into()))?;
    // The template is only needed where an entry is a place.
    let template = template(underlay);
    let mut peers = Vec::with_capacity(hosts.len());
    for entry in hosts {
        let wrong = || not(format!("{entry} is not a host"));
        peers.push(match entry {
            Value::String(text) => Peer::at(text.parse().map_err(|_| wrong())?),
            Value::Object(object) => match explicit(object) {
                Some(peer) => peer.ok_or_else(wrong)?,
                None => {
                    let place = place(object).ok_or_else(wrong)?;
                    match &template {
                        Ok(template) => at_place(place, template)?,
                        Err(_) => {
                            return Err(not(format!(
                                "{entry} is a place, and \"underlay\" is not a template"
                            ))
                            .into());
                        }
                    }
                }
            },
            _ => return Err(wrong().into()),
        });
    }
    Ok(peers)
}

/// `{"underlay": "192.0.2.7", "place": {"rack": 1}, "subnets": ["10.7.0.0/24"]}`, of which
/// the address alone must be there; the inner option is none when it is that and wrong.
fn explicit(object: &Map<String, Value>) -> Option<Option<Peer>> {
    let underlay = cni::fold::get(object, "underlay")?;
    let subnets = cni::fold::get(object, "subnets");
    let read = || {
        let subnets = match subnets {
            None => Vec::new(),
            Some(list) => {
                let subnet = |text: &Value| text.as_str()?.parse().ok();
                list.as_array()?.iter().map(subnet).collect::<Option<_>>()?
            }
        };
        let underlay = underlay.as_str()?.parse().ok()?;
        let place = match cni::fold::get(object, "place") {
            None => None,
            Some(_) => Some(place(object)?),
        };
        Some(Peer {
            underlay,
            place,
            subnets,
        })
    };
    Some(read())
}

/// A place, by itself or as the value of `place` beside other things.
fn place(object: &Map<String, Value>) -> Option<Place> {
    let object = match cni::fold::get(object, "place") {
        Some(place) => place.as_object()?,
        None => object,
    };
    let field = |(name, value): (&String, &Value)| Some((name.clone(), value.as_u64()?));
    object.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(peers: &[Peer]) -> Vec<String> {
        peers.iter().map(|peer| peer.underlay.to_string()).collect()
    }

    fn others(
        source: &Source,
        underlay: &str,
        own: &str,
    ) -> std::result::Result<Vec<Peer>, String> {
        let found = source.others(Some(underlay), own.parse().unwrap());
        found.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_without_the_host_itself() {
        let list =
            |list: &[&str]| Source::Static(list.iter().map(|a| a.parse().unwrap()).collect());
        let three = list(&["192.0.2.3", "192.0.2.1", "192.0.2.2", "192.0.2.1"]);
        let found = others(&three, "eth0", "192.0.2.2").unwrap();
        assert_eq!(addresses(&found), ["192.0.2.1", "192.0.2.3"]);
        let error = others(&three, "eth0", "192.0.2.9").unwrap_err();
        assert!(
            error.contains("192.0.2.9") && error.contains("\"peers.static\""),
            "{error}"
        );
        let mixed = list(&["192.0.2.1", "2001:db8::1"]);
        assert!(
            others(&mixed, "eth0", "192.0.2.1")
                .unwrap_err()
                .contains("2001:db8::1")
        );
    }

    #[test]
    fn places_within_bounds() {
        let bounds = |rack: &str| {
            let field =
                |(name, text): (&str, &str)| (name.to_owned(), Bounds::parse(text).unwrap());
            Source::Places(
                [("rack", rack), ("slot", "0-1")]
                    .into_iter()
                    .map(field)
                    .collect(),
            )
        };
        let found = others(&bounds("1-2"), "10.{rack}.{slot}.1", "10.1.1.1").unwrap();
        assert_eq!(addresses(&found), ["10.1.0.1", "10.2.0.1", "10.2.1.1"]);
        assert_eq!(
            found[0].place.as_ref().unwrap().to_string(),
            "rack=1 slot=0"
        );
        for (source, underlay, own, says) in [
            (bounds("1-2"), "10.{rack}.{slot}.1", "10.9.0.1", "10.9.0.1"),
            (
                bounds("1-300"),
                "10.{rack}.{slot}.1",
                "10.1.0.1",
                "\"underlay\"",
            ),
            (bounds("1-2"), "eth0", "10.1.0.1", "\"underlay\""),
            (
                bounds("0-9999999"),
                "10.{rack}.{slot}.1",
                "10.1.0.1",
                "20000000",
            ),
        ] {
            let error = others(&source, underlay, own).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn files_have_addresses_places_and_both() {
        let path = std::env::temp_dir().join(format!("slash24-hosts-{}.json", std::process::id()));
        let with = |text: &str, underlay: &str| {
            std::fs::write(&path, text).unwrap();
            others(&Source::File(path.clone()), underlay, "10.1.2.1")
        };
        let found = with(
            r#"{"hosts": ["10.9.9.9", {"rack": 1, "slot": 2}, {"name": "x", "place": {"rack": 1, "slot": 3}},
                {"underlay": "10.8.8.8", "subnets": ["10.200.0.0/24"]},
                {"underlay": "10.7.7.7", "place": {"rack": 4, "slot": 5}}]}"#,
            "10.{rack}.{slot}.1",
        )
        .unwrap();
        assert_eq!(
            addresses(&found),
            ["10.1.3.1", "10.7.7.7", "10.8.8.8", "10.9.9.9"]
        );
        let place = found[1].place.as_ref().unwrap();
        assert_eq!(place.to_string(), "rack=4 slot=5");
        assert_eq!(found[2].subnets, ["10.200.0.0/24".parse().unwrap()]);
        for (text, says) in [
            ("{", "EOF"),
            ("{}", "no list"),
            ("[7]", "7 is not a host"),
            (r#"["x"]"#, "\"x\" is not a host"),
            (
                r#"[{"underlay": "10.8.8.8", "subnets": "x"}]"#,
                "is not a host",
            ),
            (
                r#"[{"underlay": "10.8.8.8", "place": {"rack": "x"}}]"#,
                "is not a host",
            ),
            (r#"[{"rack": "one"}]"#, "is not a host"),
            (r#"[{"rack": 1}]"#, "slot"),
        ] {
            let error = with(text, "10.{rack}.{slot}.1").unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = with(r#"[{"rack": 1, "slot": 2}]"#, "eth0").unwrap_err();
        assert!(error.contains("\"underlay\" is not a template"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = others(&Source::File(path), "eth0", "10.1.2.1").unwrap_err();
        assert!(error.contains("cannot read"), "{error}");
    }
}
