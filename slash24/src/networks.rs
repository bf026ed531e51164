//! The networks that are configured, for commands that look, plan and clean up.
//!
//! Directories are written by many hands: a broken file is told and passed over,
//! and a JSON file that is no network's configuration is nobody's business.

use std::path::{Path, PathBuf};

use cni::runtime::{Network, PluginConfig};
use cni::{Config, Version, fold};
use ipam::config::{Addressing, Storage};
use ipam::{Static, plan};
use serde_json::{Map, Value};

use crate::aside;
use crate::error::Error;

/// How configurations end.
const EXTENSIONS: [&str; 3] = ["conf", "json", "conflist"];

/// The IPAM plugin that keeps leases.
const HOST_LOCAL: &str = "host-local";

/// The IPAM plugin whose addresses the configuration names.
const STATIC: &str = "static";

/// A network and where it is configured.
pub(crate) struct Configured {
    pub(crate) file: PathBuf,
    pub(crate) network: Network,
}

/// The networks of a directory or a file.
#[derive(Default)]
pub(crate) struct Networks {
    pub(crate) found: Vec<Configured>,
    /// What is wrong with files that may be networks, and which are not used
    /// because another has the name.
    pub(crate) broken: Vec<Error>,
}

/// One plugin of a network that asks for addresses.
pub(crate) struct Source {
    pub(crate) network: String,
    pub(crate) ipam_type: String,
    /// The plugin's configuration, as it gets it.
    pub(crate) config: Config,
}

impl Networks {
    /// Reads a file, or the files of a directory in the order of their names.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let mut networks = Networks::default();
        if !path.is_dir() {
            networks.add(path.to_owned(), Network::load(path)?);
            return Ok(networks);
        }
        for file in files(path)? {
            match Network::load(&file) {
                Ok(network) => networks.add(file, network),
                Err(error) if may_be_network(&file) => networks.broken.push(error.into()),
                Err(_) => {}
            }
        }
        Ok(networks)
    }

    /// As [`Networks::read`]; a directory that is not there has none.
    pub(crate) fn read_existing(directory: &Path) -> Result<Self, Error> {
        match directory.exists() {
            true => Networks::read(directory),
            false => Ok(Networks::default()),
        }
    }

    /// Adds a network, if none has its name: runtimes use the first.
    pub(crate) fn add(&mut self, file: PathBuf, network: Network) {
        let name = &network.name;
        match self.found.iter().find(|other| other.network.name == *name) {
            None => self.found.push(Configured { file, network }),
            Some(first) => self.broken.push(Error::SameName {
                name: name.clone(),
                file,
                first: first.file.clone(),
            }),
        }
    }

    /// Adds all of another directory.
    pub(crate) fn extend(&mut self, other: Networks) {
        for Configured { file, network } in other.found {
            self.add(file, network);
        }
        self.broken.extend(other.broken);
    }

    /// The networks' names.
    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self.found.iter().map(|one| one.network.name.as_str());
        names.collect()
    }

    /// Tells people what is broken.
    pub(crate) fn tell_broken(&self) {
        for error in &self.broken {
            aside::say(format_args!("{error}; passed over"));
        }
    }
}

impl Configured {
    /// The plugins, and after each that has one its `delegate`, as Mesos' port mapper
    /// has.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = Result<PluginConfig, Error>> {
        self.network.plugins.iter().flat_map(|plugin| {
            std::iter::successors(Some(Ok(plugin.clone())), |plugin| {
                let plugin = plugin.as_ref().ok()?;
                self.delegate_of(plugin).transpose()
            })
        })
    }

    /// The plugins that ask for addresses.
    pub(crate) fn sources(&self) -> Result<Vec<Source>, Error> {
        let mut sources = Vec::new();
        for plugin in self.plugins() {
            let plugin = plugin?;
            if let Some(ipam_type) = plugin.ipam_type().map(str::to_owned) {
                let config = self.config_of(plugin, self.network.version())?;
                sources.push(Source {
                    network: config.name.clone(),
                    ipam_type,
                    config,
                });
            }
        }
        Ok(sources)
    }

    /// A plugin's configuration, as a runtime derives it.
    pub(crate) fn config_of(
        &self,
        plugin: PluginConfig,
        version: Version,
    ) -> Result<Config, Error> {
        let config = plugin
            .with("name", self.network.name.as_str().into())
            .with("cniVersion", version.as_str().into());
        let config = Config::from_object(config.into_raw());
        config.map_err(|error| error.in_file(&self.file).into())
    }

    fn delegate_of(&self, plugin: &PluginConfig) -> Result<Option<PluginConfig>, Error> {
        let delegate = plugin.get("delegate").and_then(Value::as_object);
        let delegate = delegate.cloned().map(PluginConfig::new).transpose();
        delegate.map_err(|error| error.in_file(&self.file).into())
    }
}

impl Source {
    /// Whether its leases are files that host-local keeps.
    pub(crate) fn has_leases(&self) -> bool {
        self.ipam_type == HOST_LOCAL
    }

    /// Whether its configuration says which addresses there are.
    pub(crate) fn has_addresses(&self) -> bool {
        self.has_leases() || self.ipam_type == STATIC
    }

    /// Where its leases are.
    pub(crate) fn storage(&self) -> Result<Storage, Error> {
        Storage::read(&self.config).map_err(|e| self.named(e))
    }

    /// What it says about addresses.
    pub(crate) fn planned(&self) -> Result<plan::Network, Error> {
        let addressing = match self.ipam_type == STATIC {
            true => Static::addressing(&self.config),
            false => Addressing::read(&self.config),
        };
        Ok(plan::Network {
            name: self.network.clone(),
            version: self.config.version,
            addressing: addressing.map_err(|e| self.named(e))?,
        })
    }

    fn named(&self, error: ipam::Error) -> Error {
        Error::of_network(&self.network, error)
    }
}

/// The sources of all networks; what is wrong with one is told and passed over.
pub(crate) fn sources(networks: &Networks) -> Vec<Source> {
    let mut sources = Vec::new();
    for configured in &networks.found {
        match configured.sources() {
            Ok(found) => sources.extend(found),
            Err(error) => aside::say(format_args!("{error}; passed over")),
        }
    }
    sources
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::path(directory, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let extension = file.extension().and_then(|e| e.to_str());
        if extension.is_some_and(|e| EXTENSIONS.contains(&e)) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether a file that cannot be used as a network's configuration is one that is
/// broken. What is whole JSON and has none of the keys that every network has is
/// something else: the host's place, a task.
fn may_be_network(file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap_or_default();
    let value: Result<Value, _> = serde_json::from_slice(&bytes);
    let has_keys = |object: &Map<String, Value>| {
        let keys = ["cniVersion", "cniVersions", "type", "plugins"];
        keys.iter().any(|key| fold::get(object, key).is_some())
    };
    match value {
        Ok(value) => value.as_object().is_some_and(has_keys),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_network_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "a.conf",
                r#"{"name": "a", "cniVersion": "1.0.0", "type": "x", "ipam": {"type": "host-local"}}"#,
            ),
            (
                "b.conflist",
                r#"{"name": "b", "plugins": [{"type": "x", "delegate": {"type": "y", "ipam": {"type": "dhcp"}}}]}"#,
            ),
            ("c.conf", r#"{"name": "a", "type": "x"}"#),
            ("location.json", r#"{"rack": 20}"#),
            (
                "task.json",
                r#"{"name": "web", "container": {"network": []}}"#,
            ),
            ("list.json", "[1, 2]"),
            ("torn.conf", r#"{"name""#),
            ("bad.conf", r#"{"name": "bad", "type": 7}"#),
            ("README.md", "no configuration"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let networks = Networks::read(dir.path()).unwrap();
        assert_eq!(networks.names(), ["a", "b"]);
        let broken: Vec<String> = networks.broken.iter().map(Error::to_string).collect();
        assert_eq!(broken.len(), 3, "{broken:?}");
        for (broken, why) in broken.iter().zip(["bad.conf", "c.conf", "torn.conf"]) {
            assert!(broken.contains(why), "{broken}");
        }
        let sources = sources(&networks);
        let found: Vec<_> = sources
            .iter()
            .map(|s| (s.network.as_str(), s.has_leases()))
            .collect();
        assert_eq!(found, [("a", true), ("b", false)]);
        assert_eq!(sources[1].config.plugin_type, "y");
        assert!(Networks::read(&dir.path().join("location.json")).is_err());
        assert!(Networks::read(&dir.path().join("none")).is_err());
        let none = Networks::read_existing(&dir.path().join("none")).unwrap();
        assert_eq!(none.names(), [] as [&str; 0]);
    }
}
