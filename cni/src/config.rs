//! The network configuration of one plugin: what comes on its standard input.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Attachment, Dns, Error, Version, fold, name};

/// A plugin's configuration. It keeps every key that it was given, as delegates
/// and chained plugins have keys of their own.
#[derive(Clone, Debug)]
pub struct Config {
    /// `cniVersion`; 0.1.0 when there is none.
    pub version: Version,
    /// `name`, the network's.
    pub name: String,
    /// `type`, the plugin's. May be empty on a plugin's input: it knows who it is.
    pub plugin_type: String,
    /// `dns`.
    pub dns: Dns,
    ipam_type: Option<String>,
    raw: Map<String, Value>,
}

/// An attachment that the runtime vouches for
/// (`cni.dev/valid-attachments`, GC of 1.1.0).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    #[serde(default)]
    pub ifname: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Known {
    cni_version: String,
    name: String,
    #[serde(rename = "type")]
    plugin_type: String,
    ipam: Ipam,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type")]
    plugin_type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Gc {
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<ValidAttachment>>,
    #[serde(rename = "cni.dev/attachments")]
    old: Option<Vec<ValidAttachment>>,
}

impl Config {
    /// Reads the bytes of standard input.
    ///
    /// # Errors
    /// Not JSON, not an object, a known key of the wrong type, a version that
    /// was never published, a network name that is missing or not an identifier.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(bytes).map_err(Error::NotJson)?;
        match value {
            Value::Object(object) => Config::from_object(object),
            other => {
                fold::read::<Known>(&other)?;
                Err(Error::MissingKey("name"))
            }
        }
    }

    /// As [`Config::parse`], from an object that is already decoded.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn from_object(raw: Map<String, Value>) -> Result<Self, Error> {
        let known: Known = fold::read_object(&raw)?;
        let version = known.cni_version.parse()?;
        if known.name.is_empty() {
            return Err(Error::MissingKey("name"));
        }
        if !name::is_identifier(&known.name) {
            return Err(Error::BadValue {
                key: "name",
                value: known.name,
                right: name::IDENTIFIER,
            });
        }
        Ok(Config {
            version,
            name: known.name,
            plugin_type: known.plugin_type,
            dns: known.dns,
            ipam_type: Some(known.ipam.plugin_type).filter(|t| !t.is_empty()),
            raw,
        })
    }

    /// The version of a configuration that may otherwise be wrong, so that the
    /// error about it can be printed in that version.
    pub fn version_of(bytes: &[u8]) -> Version {
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        let version = value
            .as_ref()
            .and_then(Value::as_object)
            .and_then(|object| {
                fold::get(object, "cniVersion")
                    .and_then(Value::as_str)?
                    .parse()
                    .ok()
            });
        version.unwrap_or(Version::UNNAMED)
    }

    /// The whole object.
    pub fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The value of `key`, in any case; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        fold::get(&self.raw, key)
    }

    /// `ipam.type`, if the configuration asks for addresses.
    pub fn ipam_type(&self) -> Option<&str> {
        self.ipam_type.as_deref()
    }

    /// The plugin's own keys, typed; keys match in any case.
    ///
    /// # Errors
    /// The first key of the wrong type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(fold::read_object(&self.raw)?)
    }

    /// The same configuration with one key set.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.raw.retain(|k, _| !k.eq_ignore_ascii_case(key));
        self.raw.insert(key.to_owned(), value);
        self
    }

    /// `prevResult`: what the plugin before this one returned, or for CHECK and
    /// DEL what the whole chain did. It may lack `cniVersion`, then it has the
    /// configuration's.
    ///
    /// # Errors
    /// [`Error::BadResult`] when it is there and not a result.
    pub fn prev_result(&self) -> Result<Option<Attachment>, Error> {
        let Some(value) = self.get("prevResult") else {
            return Ok(None);
        };
        Attachment::from_json(value, self.version, "prevResult").map(Some)
    }

    /// The attachments that GC must keep. `None` when the runtime sent no list,
    /// which is not an empty one: then nothing may be removed.
    ///
    /// # Errors
    /// [`Error::Shape`] when the list is not one.
    pub fn valid_attachments(&self) -> Result<Option<Vec<ValidAttachment>>, Error> {
        let gc: Gc = self.read()?;
        Ok(gc.valid.or(gc.old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        Config::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn no_version_is_the_first() {
        let config = Config::parse(br#"{"name":"n","Type":"bridge","ipam":{}}"#).unwrap();
        assert_eq!(config.version, Version::V0_1_0);
        assert_eq!(config.plugin_type, "bridge");
        assert_eq!(config.ipam_type(), None);
    }

    #[test]
    fn errors_name_key_and_value() {
        assert!(fails("{\"name\":").contains("not valid JSON"));
        assert!(fails("[1]").contains("invalid type"));
        assert!(fails("{}").contains("\"name\" is missing"));
        assert!(fails(r#"{"name":"a/b"}"#).contains("\"a/b\""));
        assert!(fails(r#"{"name":"a","cniVersion":"7.0"}"#).contains("\"7.0\" is unknown"));
        assert!(
            fails(r#"{"name":"a","ipam":{"type":3}}"#)
                .starts_with("the network configuration: \"ipam.type\"")
        );
    }

    #[test]
    fn absent_and_empty_lists_of_attachments_differ() {
        let valid = |text: &str| {
            Config::parse(text.as_bytes())
                .unwrap()
                .valid_attachments()
                .unwrap()
        };
        assert_eq!(valid(r#"{"name":"n"}"#), None);
        assert_eq!(
            valid(r#"{"name":"n","cni.dev/valid-attachments":null}"#),
            None
        );
        assert_eq!(
            valid(r#"{"name":"n","cni.dev/valid-attachments":[]}"#),
            Some(vec![])
        );
        let some =
            valid(r#"{"name":"n","cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]}"#);
        assert_eq!(some.unwrap()[0].container_id, "c");
    }
}
