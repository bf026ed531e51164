//! The place of a host: which rack, chassis and slot it stands in.
//!
//! A place is a set of named non-negative integers. The names are the
//! operator's; templates of addresses refer to them. Every host of a data centre
//! can then have the same configuration files, and still its own subnets.
//!
//! ```
//! let location = serde_json::json!({"rack": 50, "slot": 11});
//! let place = place::Location::parse(&location)?.place()?;
//! assert_eq!(place.get("rack"), Some(50));
//! assert_eq!(place.to_string(), "rack=50 slot=11");
//! # Ok::<(), place::Error>(())
//! ```

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Error;
use crate::pattern::Pattern;

/// Where the place is read from when `ipam.location` does not say.
pub const LOCATION_FILE: &str = "/etc/slash24/location.json";

/// Where Linux shows what the firmware says about the machine.
const DMI: &str = "/sys/class/dmi/id";

/// Named non-negative integers that say where a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(BTreeMap<String, u64>);

impl Place {
    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<u64> {
        self.0.get(field).copied()
    }

    /// Sets a field that is not set, or that has this value already; false when
    /// it has another one.
    pub fn agree(&mut self, field: &str, value: u64) -> bool {
        *self.0.entry(field.to_owned()).or_insert(value) == value
    }

    /// Every field and its value, in the order of names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Reads `{"rack": 50, "slot": 11}`; `whose` is for the error.
    fn from_object(object: &Map<String, Value>, whose: &str) -> Result<Self, Error> {
        let field = |(name, value): (&String, &Value)| match value.as_u64() {
            Some(number) => Ok((name.clone(), number)),
            None => Err(Error::FieldNotNumber {
                whose: whose.to_owned(),
                field: name.clone(),
                value: value.to_string(),
            }),
        };
        object
            .iter()
            .map(field)
            .collect::<Result<_, _>>()
            .map(Place)
    }
}

impl FromIterator<(String, u64)> for Place {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(fields: I) -> Self {
        Place(fields.into_iter().collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no field");
        }
        for (index, (name, value)) in self.fields().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

/// How a host learns its place (`ipam.location`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The configuration says it: `{"rack": 50, "slot": 11}`.
    Literal(Place),
    /// A file holds such an object: `{"file": "/etc/slash24/location.json"}`.
    File(PathBuf),
    /// The host's name tells: `{"hostname": "r{rack}-s{slot}"}`. A pattern
    /// without a dot is matched against the name's first label, one with a dot
    /// against the whole name.
    Hostname(Pattern),
    /// The firmware tells: `{"dmi": "chassis_asset_tag", "pattern": "R{rack}-S{slot}"}`.
    Dmi {
        /// A file of `/sys/class/dmi/id`.
        attribute: String,
        /// What the file holds.
        pattern: Pattern,
    },
}

impl Default for Location {
    fn default() -> Self {
        Location::File(LOCATION_FILE.into())
    }
}

/// The machine that a location is asked of: this one, or one that a test made.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The host's name; the kernel is asked when there is none.
    pub hostname: Option<String>,
    /// The folder with the attributes of the firmware.
    pub dmi: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            hostname: None,
            dmi: DMI.into(),
        }
    }
}

impl Location {
    /// Reads the value of `ipam.location`. Where a key may be a kind of location
    /// or the name of a field, its value decides: `{"file": 3}` is a place.
    ///
    /// # Errors
    /// A value that is none of the forms, a pattern that is not one, an attribute
    /// that would lead out of its folder.
    pub fn parse(value: &Value) -> Result<Self, Error> {
        let unknown = || Error::UnknownLocation(value.to_string());
        let object = value.as_object().ok_or_else(unknown)?;
        let text = |key: &str| cni::fold::get(object, key).and_then(Value::as_str);
        let kind = ["file", "hostname", "dmi"]
            .into_iter()
            .find(|kind| text(kind).is_some());
        let location = match (kind.and_then(text), kind) {
            (Some(path), Some("file")) => Location::File(path.into()),
            (Some(pattern), Some("hostname")) => Location::Hostname(Pattern::parse(pattern)?),
            (Some(attribute), Some(_)) => Location::Dmi {
                attribute: attribute_name(attribute)?,
                pattern: Pattern::parse(text("pattern").ok_or_else(unknown)?)?,
            },
            _ => return Place::from_object(object, "ipam.location").map(Location::Literal),
        };
        let keys = if kind == Some("dmi") { 2 } else { 1 };
        if object.len() == keys {
            Ok(location)
        } else {
            Err(unknown())
        }
    }

    /// The place of this machine.
    ///
    /// # Errors
    /// What the location points to cannot be read or says something else.
    pub fn place(&self) -> Result<Place, Error> {
        self.place_of(&Machine::default())
    }

    /// The place of `machine`.
    ///
    /// # Errors
    /// As [`Location::place`].
    pub fn place_of(&self, machine: &Machine) -> Result<Place, Error> {
        match self {
            Location::Literal(place) => Ok(place.clone()),
            Location::File(path) => read_file(path),
            Location::Hostname(pattern) => {
                let name = machine.hostname.clone().map_or_else(hostname, Ok)?;
                let label = if pattern.text().contains('.') {
                    &name
                } else {
                    first_label(&name)
                };
                pattern.place_in(label, "the host's name")
            }
            Location::Dmi { attribute, pattern } => {
                let path = machine.dmi.join(attribute);
                let tag = read(&path)?;
                pattern.place_in(tag.trim(), &path.display().to_string())
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Literal(_) => f.write_str("ipam.location"),
            Location::File(path) => path.display().fmt(f),
            Location::Hostname(pattern) => write!(f, "the host's name, {}", pattern.text()),
            Location::Dmi { attribute, pattern } => {
                write!(f, "{DMI}/{attribute}, {}", pattern.text())
            }
        }
    }
}

/// The place of this host, read when a template first needs it and only once:
/// configurations without templates need no location.
#[derive(Debug, Default)]
pub struct Here {
    location: Location,
    place: OnceCell<Place>,
}

impl Here {
    /// The place that `location` leads to.
    pub fn new(location: Location) -> Self {
        Here {
            location,
            place: OnceCell::new(),
        }
    }

    /// How the place is found.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The place.
    ///
    /// # Errors
    /// As [`Location::place`].
    pub fn place(&self) -> Result<&Place, Error> {
        match self.place.get() {
            Some(place) => Ok(place),
            None => {
                let place = self.location.place()?;
                Ok(self.place.get_or_init(|| place))
            }
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Location {
        path: path.to_owned(),
        error,
    })
}

fn read_file(path: &Path) -> Result<Place, Error> {
    let text = read(path)?;
    let object = serde_json::from_str(&text).map_err(|error| Error::LocationNotJson {
        path: path.to_owned(),
        error,
    })?;
    Place::from_object(&object, &path.display().to_string())
}

fn hostname() -> Result<String, Error> {
    let name = nix::unistd::gethostname().map_err(Error::Hostname)?;
    Ok(name.to_string_lossy().into_owned())
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The kernel's attributes are lower case letters, digits and `_`; nothing else
/// may become part of a path.
fn attribute_name(name: &str) -> Result<String, Error> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match !name.is_empty() && name.bytes().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(Error::DmiAttribute(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(value: Value, machine: &Machine) -> Result<String, String> {
        let location = Location::parse(&value).map_err(|e| e.to_string())?;
        location
            .place_of(machine)
            .map(|p| p.to_string())
            .map_err(|e| e.to_string())
    }

    fn named(hostname: &str) -> Machine {
        Machine {
            hostname: Some(hostname.into()),
            ..Machine::default()
        }
    }

    #[test]
    fn literals_have_any_names() {
        let place = |value| place(value, &Machine::default());
        assert_eq!(
            place(json!({"slot": 11, "rack": 50})).unwrap(),
            "rack=50 slot=11"
        );
        assert_eq!(place(json!({"file": 3})).unwrap(), "file=3");
        assert_eq!(place(json!({})).unwrap(), "no field");
        for wrong in [
            json!({"rack": -1}),
            json!({"rack": 1.5}),
            json!({"rack": "50"}),
            json!({"rack": null}),
        ] {
            let error = place(wrong.clone()).unwrap_err();
            assert!(
                error.contains("\"rack\"") && error.contains(&wrong["rack"].to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn hostnames_by_label_and_whole() {
        let host = named("r50-s011.dc1.example.net");
        assert_eq!(
            place(json!({"hostname": "r{rack}-s{slot}"}), &host).unwrap(),
            "rack=50 slot=11"
        );
        let whole = json!({"hostname": "r{rack}-s{slot}.dc{dc}.example.net"});
        assert_eq!(place(whole, &host).unwrap(), "dc=1 rack=50 slot=11");
        let error = place(json!({"hostname": "r{rack}-s{slot}.dc{dc}"}), &host).unwrap_err();
        assert!(
            error.contains("r50-s011.dc1.example.net") && error.contains("the host's name"),
            "{error}"
        );
    }

    #[test]
    fn the_kernel_knows_a_hostname() {
        let name = nix::unistd::gethostname()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let found =
            place(json!({"hostname": "no-such-host-{n}"}), &Machine::default()).unwrap_err();
        assert!(found.contains(first_label(&name)), "{found}");
    }

    #[test]
    fn firmware_attributes_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("chassis_asset_tag"), "R50-C2-S11\n").unwrap();
        let machine = Machine {
            dmi: dir.path().into(),
            ..Machine::default()
        };
        let dmi = |name: &str| json!({"dmi": name, "pattern": "R{rack}-C{chassis}-S{slot}"});
        assert_eq!(
            place(dmi("chassis_asset_tag"), &machine).unwrap(),
            "chassis=2 rack=50 slot=11"
        );
        assert!(
            place(dmi("../../x"), &machine)
                .unwrap_err()
                .contains("../../x")
        );
        assert!(place(dmi(""), &machine).is_err());
        assert!(
            place(dmi("board_serial"), &machine)
                .unwrap_err()
                .contains("board_serial")
        );
        assert!(
            place(json!({"dmi": "board_serial"}), &machine)
                .unwrap_err()
                .contains("pattern")
        );
    }

    #[test]
    fn files_are_read_late_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("location.json");
        let here = Here::new(Location::parse(&json!({"file": path})).unwrap());
        assert!(
            here.place()
                .unwrap_err()
                .to_string()
                .contains("location.json")
        );
        fs::write(&path, "{\"rack\": 50").unwrap();
        assert!(
            here.place()
                .unwrap_err()
                .to_string()
                .contains("location.json")
        );
        fs::write(&path, "{\"rack\": 50}").unwrap();
        assert_eq!(here.place().unwrap().get("rack"), Some(50));
        fs::remove_file(&path).unwrap();
        assert_eq!(here.place().unwrap().get("rack"), Some(50));
    }

    #[test]
    fn locations_that_are_none() {
        for wrong in [
            json!("/etc/x"),
            json!([50]),
            json!({"file": "/x", "rack": 5}),
            json!({"hostname": "a{"}),
        ] {
            assert!(Location::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
