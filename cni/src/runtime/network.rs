//! A network as an administrator configured it: the plugins of a chain and what
//! holds for all of them (specification, section 1).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::{Map, Value, json};

use super::directory;
use crate::{Error, Version, fold, name};

/// A network: a chain of plugins under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The versions that its configuration is written for and that this library
    /// speaks, oldest first; never empty.
    pub versions: Vec<Version>,
    /// CHECK must not be called.
    pub disable_check: bool,
    /// GC must not be called.
    pub disable_gc: bool,
    /// The plugins, in the order of ADD; never empty.
    pub plugins: Vec<PluginConfig>,
}

/// The configuration of one plugin of a chain, before what the runtime adds.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// `type`: the name of the plugin's file.
    pub plugin_type: String,
    capabilities: BTreeMap<String, bool>,
    raw: Map<String, Value>,
}

/// The keys of a network that the runtime itself reads.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Known {
    name: String,
    cni_version: String,
    cni_versions: Vec<String>,
    disable_check: Flag,
    #[serde(rename = "disableGC")]
    disable_gc: Flag,
    load_only_inlined_plugins: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KnownOfPlugin {
    #[serde(rename = "type")]
    plugin_type: String,
    capabilities: BTreeMap<String, bool>,
}

/// How a file says which of the two forms it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `plugins` holds the chain.
    List,
    /// The object is the only plugin's configuration.
    Single,
}

impl Network {
    /// Reads the bytes of a configuration, of a list or of a single plugin.
    ///
    /// # Errors
    /// Not JSON, a known key of the wrong type or with a value that is not
    /// allowed, no version that this library speaks, no plugins.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw = parse_object(bytes)?;
        let form = match is_list(&raw) {
            true => Form::List,
            false => Form::Single,
        };
        Network::read(raw, form, |_| Ok(Vec::new()))
    }

    /// Reads a file. One that is called `.conflist` is a list; others are if they
    /// have `plugins` and no `type`. Unless a list says `loadOnlyInlinedPlugins`,
    /// the `.conf` files in the folder beside it that has the network's name are
    /// appended to the chain, in the order of their names.
    ///
    /// # Errors
    /// [`Error::InFile`]: it cannot be read, or is wrong as [`Network::parse`] has it.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let raw = directory::read(file).and_then(|bytes| parse_object(&bytes));
        raw.and_then(|raw| Network::from_file(file, raw))
            .map_err(|error| error.in_file(file))
    }

    pub(super) fn from_file(file: &Path, raw: Map<String, Value>) -> Result<Self, Error> {
        let named_list = file.extension().is_some_and(|e| e == "conflist");
        if named_list || is_list(&raw) {
            let parent = file.parent().unwrap_or(Path::new("."));
            return Network::read(raw, Form::List, |name| {
                directory::plugins_beside(&parent.join(name))
            });
        }
        Network::read(raw, Form::Single, |_| Ok(Vec::new()))
    }

    fn read(
        raw: Map<String, Value>,
        form: Form,
        beside: impl FnOnce(&str) -> Result<Vec<PluginConfig>, Error>,
    ) -> Result<Self, Error> {
        let known: Known = fold::read_object(&raw)?;
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
        let versions = known.versions()?;
        let plugins = match form {
            Form::Single => vec![PluginConfig::new(raw)?],
            Form::List => {
                let mut plugins = inlined(&raw, known.load_only_inlined_plugins.0)?;
                if !known.load_only_inlined_plugins.0 {
                    plugins.extend(beside(&known.name)?);
                }
                plugins
            }
        };
        if plugins.is_empty() {
            return Err(Error::NoPlugins(known.name));
        }
        Ok(Network {
            name: known.name,
            versions,
            disable_check: known.disable_check.0,
            disable_gc: known.disable_gc.0,
            plugins,
        })
    }

    /// The newest of its versions.
    pub fn version(&self) -> Version {
        self.versions.last().copied().unwrap_or(Version::UNNAMED)
    }

    /// The network with every plugin's configuration changed.
    #[must_use]
    pub fn map_plugins(mut self, change: impl FnMut(PluginConfig) -> PluginConfig) -> Self {
        self.plugins = self.plugins.into_iter().map(change).collect();
        self
    }

    /// The configuration list that stands for this network and needs no other
    /// file: what the cache keeps.
    pub fn to_json(&self) -> Value {
        let plugins: Vec<_> = self.plugins.iter().map(|plugin| &plugin.raw).collect();
        let mut list = json!({
            "name": self.name,
            "cniVersion": self.version().as_str(),
            "loadOnlyInlinedPlugins": true,
            "plugins": plugins,
        });
        if self.versions.len() > 1 {
            let versions: Vec<_> = self.versions.iter().map(|v| v.as_str()).collect();
            list["cniVersions"] = json!(versions);
        }
        if self.disable_check {
            list["disableCheck"] = true.into();
        }
        if self.disable_gc {
            list["disableGC"] = true.into();
        }
        list
    }
}

impl Known {
    /// `cniVersion` and `cniVersions` that were published: a configuration may
    /// name newer ones besides.
    fn versions(&self) -> Result<Vec<Version>, Error> {
        if self.cni_versions.is_empty() {
            return Ok(vec![self.cni_version.parse()?]);
        }
        let named = self.cni_versions.iter().chain([&self.cni_version]);
        let named: Vec<&String> = named.filter(|text| !text.is_empty()).collect();
        let mut versions: Vec<Version> = named.iter().filter_map(|t| t.parse().ok()).collect();
        versions.sort_unstable();
        versions.dedup();
        match versions.is_empty() {
            true => Err(Error::UnknownVersion(
                named
                    .iter()
                    .map(|t| t.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            )),
            false => Ok(versions),
        }
    }
}

impl PluginConfig {
    /// Reads the configuration of one plugin.
    ///
    /// # Errors
    /// `type` is missing, or a known key is of the wrong type.
    pub fn new(raw: Map<String, Value>) -> Result<Self, Error> {
        let known: KnownOfPlugin = fold::read_object(&raw)?;
        if known.plugin_type.is_empty() {
            return Err(Error::MissingKey("type"));
        }
        Ok(PluginConfig {
            plugin_type: known.plugin_type,
            capabilities: known.capabilities,
            raw,
        })
    }

    /// The whole object.
    pub fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The whole object, to have.
    pub fn into_raw(self) -> Map<String, Value> {
        self.raw
    }

    /// The value of `key`, in any case; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        fold::get(&self.raw, key)
    }

    /// The same configuration with one key set.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.raw.retain(|k, _| !k.eq_ignore_ascii_case(key));
        self.raw.insert(key.to_owned(), value);
        self
    }

    /// The same configuration without one key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.raw.retain(|k, _| !k.eq_ignore_ascii_case(key));
        self
    }

    /// `ipam.type`, if the plugin asks for addresses.
    pub fn ipam_type(&self) -> Option<&str> {
        let ipam = self.get("ipam")?.as_object()?;
        fold::get(ipam, "type")?.as_str().filter(|t| !t.is_empty())
    }

    /// Whether the plugin wants the runtime's data of that name in `runtimeConfig`.
    pub fn is_capable(&self, capability: &str) -> bool {
        self.capabilities.get(capability) == Some(&true)
    }
}

/// The object in `bytes`.
pub(super) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    match serde_json::from_slice(bytes).map_err(Error::NotJson)? {
        Value::Object(object) => Ok(object),
        other => Err(fold::read::<Known>(&other)
            .err()
            .map_or(Error::MissingKey("name"), Error::Shape)),
    }
}

fn is_list(raw: &Map<String, Value>) -> bool {
    fold::get(raw, "plugins").is_some() && fold::get(raw, "type").is_none()
}

fn inlined(raw: &Map<String, Value>, only: bool) -> Result<Vec<PluginConfig>, Error> {
    let plugins = match fold::get(raw, "plugins") {
        Some(plugins) => plugins,
        None if only => return Err(Error::MissingKey("plugins")),
        None => return Ok(Vec::new()),
    };
    let wrong = |value: &Value| Error::BadValue {
        key: "plugins",
        value: value.to_string(),
        right: "it is a list of at least one plugin's configuration",
    };
    let list = plugins.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| wrong(plugins))?;
    let read = |(index, value): (usize, &Value)| {
        let object = value.as_object().ok_or_else(|| wrong(value))?;
        PluginConfig::new(object.clone()).map_err(|error| Error::InPlugin {
            index,
            error: Box::new(error),
        })
    };
    list.iter().enumerate().map(read).collect()
}

/// A boolean, which libcni also takes as the strings "true" and "false".
#[derive(Clone, Copy, Default)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                match text.to_ascii_lowercase().as_str() {
                    "true" => Ok(Flag(true)),
                    "false" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(FlagVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<Network, String> {
        Network::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_single_plugin_is_a_chain_of_one() {
        let network = parse(json!({"Name": "n", "TYPE": "bridge", "mtu": 9000})).unwrap();
        assert_eq!(network.name, "n");
        assert_eq!(network.versions, [Version::V0_1_0]);
        assert_eq!(network.plugins.len(), 1);
        assert_eq!(network.plugins[0].plugin_type, "bridge");
        assert_eq!(network.plugins[0].get("MTU"), Some(&json!(9000)));
    }

    #[test]
    fn the_newest_version_that_we_speak_is_chosen() {
        let chosen = |value: Value| parse(value).map(|network| network.version());
        let list = |version: &str, versions: Value| {
            json!({"name": "n", "cniVersion": version, "cniVersions": versions,
                   "plugins": [{"type": "a"}]})
        };
        assert_eq!(
            chosen(list("0.3.1", json!(["1.0.0", "0.4.0", "7.1.0"]))),
            Ok(Version::V1_0_0)
        );
        assert_eq!(chosen(list("1.1.0", json!(["0.4.0"]))), Ok(Version::V1_1_0));
        assert_eq!(chosen(list("9.0.0", json!(["0.4.0"]))), Ok(Version::V0_4_0));
        assert_eq!(chosen(list("0.4.0", json!([]))), Ok(Version::V0_4_0));
        assert!(
            chosen(list("9.0.0", json!([])))
                .unwrap_err()
                .contains("\"9.0.0\"")
        );
        assert!(
            chosen(list("", json!(["9.0.0"])))
                .unwrap_err()
                .contains("9.0.0")
        );
        assert!(
            chosen(list("1.0.0", json!([1])))
                .unwrap_err()
                .contains("cniVersions[0]")
        );
    }

    #[test]
    fn flags_may_be_strings() {
        let network = parse(
            json!({"name": "n", "disableCheck": "TRUE", "disablegc": true,
            "plugins": [{"type": "a"}]}),
        )
        .unwrap();
        assert!(network.disable_check && network.disable_gc);
        let error = parse(json!({"name": "n", "disableGC": "yes", "plugins": [{"type": "a"}]}));
        assert!(error.unwrap_err().contains("\"disableGC\""));
    }

    #[test]
    fn errors_name_key_and_value() {
        let fails = |value: Value| parse(value).unwrap_err();
        assert!(fails(json!([])).contains("invalid type"));
        assert!(fails(json!({"plugins": [{"type": "a"}]})).contains("\"name\" is missing"));
        assert!(fails(json!({"name": "a/b", "type": "a"})).contains("\"a/b\""));
        assert!(fails(json!({"name": "n"})).contains("\"type\" is missing"));
        assert!(fails(json!({"name": "n", "plugins": {}})).contains("\"plugins\": \"{}\""));
        assert!(fails(json!({"name": "n", "plugins": []})).contains("\"plugins\": \"[]\""));
        let second = fails(json!({"name": "n", "plugins": [{"type": "a"}, {"typ": "b"}]}));
        assert_eq!(
            second,
            "plugins[1]: \"type\" is missing in the network configuration"
        );
    }

    #[test]
    fn what_the_cache_keeps_reads_as_the_same_network() {
        let network = parse(json!({
            "name": "n", "cniVersions": ["0.4.0", "1.1.0"], "disableGC": "true",
            "plugins": [{"type": "a", "capabilities": {"ips": true}}, {"type": "b", "x": 1.5}],
        }))
        .unwrap();
        assert_eq!(parse(network.to_json()), Ok(network));
    }
}
