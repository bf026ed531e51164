//! The networks of a configuration directory.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::network::{Network, PluginConfig, parse_object};
use crate::{Error, fold};

/// The configurations in a directory, in the order of their files' names.
///
/// One broken file does not make the others unusable: an agent's directory is
/// written by many hands. It is reported when it is asked for, or may be.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// The network's name, as far as it could be read.
    name: Option<String>,
    /// Whether the file's name says that it has a list of plugins.
    is_list: bool,
    network: Result<Network, Error>,
}

impl Directory {
    /// Reads the `.conf`, `.json` and `.conflist` files of `path`. A directory
    /// that does not exist has none.
    ///
    /// # Errors
    /// [`Error::InFile`] when the directory is there and cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let files = files_of(path, &["conf", "json", "conflist"])?;
        Ok(Directory {
            path: path.to_owned(),
            entries: files.iter().map(|file| Entry::read(file)).collect(),
        })
    }

    /// The networks that could be read. Of several with one name only one is ever
    /// used, so only that is here.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.entries.iter().filter_map(|entry| {
            let network = entry.network.as_ref().ok()?;
            let used = self.entry(&network.name);
            used.is_some_and(|used| std::ptr::eq(used, entry))
                .then_some(network)
        })
    }

    /// What is wrong with the files that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &Error> {
        self.entries.iter().filter_map(|e| e.network.as_ref().err())
    }

    /// The network of that name.
    ///
    /// # Errors
    /// Its file is broken, or there is none: [`Error::NoSuchNetwork`] says which
    /// there are, and which files may have been it but could not be read.
    pub fn find(&self, name: &str) -> Result<&Network, Error> {
        match self.entry(name).map(|entry| &entry.network) {
            Some(Ok(network)) => Ok(network),
            Some(Err(error)) => Err(Error::BrokenNetwork {
                name: name.to_owned(),
                reason: error.to_string(),
            }),
            None => Err(self.no_such(name)),
        }
    }

    /// Of several files for one network the first is used, and as in libcni a
    /// `.conflist` before the others.
    fn entry(&self, name: &str) -> Option<&Entry> {
        let named = |entry: &&Entry| entry.name.as_deref() == Some(name);
        let list = self.entries.iter().find(|e| e.is_list && named(e));
        list.or_else(|| self.entries.iter().find(named))
    }

    fn no_such(&self, name: &str) -> Error {
        let nameless = self.entries.iter().filter(|e| e.name.is_none());
        Error::NoSuchNetwork {
            name: name.to_owned(),
            directory: self.path.clone(),
            known: self.networks().map(|n| n.name.clone()).collect(),
            unreadable: nameless
                .filter_map(|e| e.network.as_ref().err().map(Error::to_string))
                .collect(),
        }
    }
}

impl Entry {
    fn read(file: &Path) -> Self {
        let raw = read(file).and_then(|bytes| parse_object(&bytes));
        let is_list = file.extension().is_some_and(|e| e == "conflist");
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                return Entry {
                    name: None,
                    is_list,
                    network: Err(error.in_file(file)),
                };
            }
        };
        let name = fold::get(&raw, "name").and_then(Value::as_str);
        Entry {
            name: name.map(str::to_owned),
            is_list,
            network: Network::from_file(file, raw).map_err(|error| error.in_file(file)),
        }
    }
}

/// The plugins' configurations in the folder that belongs to a network; none when
/// there is no such folder.
pub(super) fn plugins_beside(folder: &Path) -> Result<Vec<PluginConfig>, Error> {
    let load = |file: &PathBuf| {
        let plugin = read(file)
            .and_then(|bytes| parse_object(&bytes))
            .and_then(PluginConfig::new);
        plugin.map_err(|error| error.in_file(file))
    };
    files_of(folder, &["conf"])?.iter().map(load).collect()
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(Error::Unreadable)
}

/// The files in `directory` with one of the extensions, by name. As in the
/// reference only directories are passed over: a link that leads nowhere is a
/// broken configuration, not an absent one.
fn files_of(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::Unreadable(error).in_file(directory);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(unreadable)?.path();
        let extension = file.extension().and_then(|e| e.to_str());
        if extension.is_some_and(|e| extensions.contains(&e)) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> (TempDir, Directory) {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let read = Directory::read(dir.path()).unwrap();
        (dir, read)
    }

    fn names(directory: &Directory) -> Vec<&str> {
        directory.networks().map(|n| n.name.as_str()).collect()
    }

    #[test]
    fn files_in_the_order_of_their_names() {
        let (_dir, directory) = directory(&[
            ("20-b.conf", r#"{"name":"b","type":"x"}"#),
            ("10-c.conflist", r#"{"name":"c","plugins":[{"type":"x"}]}"#),
            ("30-a.json", r#"{"name":"a","type":"x"}"#),
            ("40-list.conf", r#"{"name":"l","plugins":[{"type":"x"}]}"#),
            ("90-b.conf", r#"{"name":"b","type":"other"}"#),
            ("README.md", "not a network"),
            ("c/sub.conf.off", "{"),
        ]);
        assert_eq!(names(&directory), ["c", "b", "a", "l"]);
        assert_eq!(directory.find("b").unwrap().plugins[0].plugin_type, "x");
    }

    #[test]
    fn a_list_comes_before_other_files_of_its_network() {
        let (_dir, directory) = directory(&[
            ("10-n.conf", r#"{"name":"n","type":"alone"}"#),
            ("20-m.conf", r#"{"name":"m","type":"x"}"#),
            (
                "90-n.conflist",
                r#"{"name":"n","plugins":[{"type":"listed"}]}"#,
            ),
            (
                "95-n.conflist",
                r#"{"name":"n","plugins":[{"type":"late"}]}"#,
            ),
        ]);
        assert_eq!(names(&directory), ["m", "n"]);
        assert_eq!(
            directory.find("n").unwrap().plugins[0].plugin_type,
            "listed"
        );
    }

    #[test]
    fn a_broken_file_matters_when_it_is_or_may_be_the_one() {
        let (_dir, directory) = directory(&[
            ("10-torn.conf", r#"{"name":"to"#),
            ("20-bad.conf", r#"{"name":"bad","type":7}"#),
            ("30-good.conf", r#"{"name":"good","type":"x"}"#),
        ]);
        assert_eq!(names(&directory), ["good"]);
        assert_eq!(directory.broken().count(), 2);
        assert!(directory.find("good").is_ok());
        let bad = directory.find("bad").unwrap_err().to_string();
        assert!(
            bad.contains("20-bad.conf") && bad.contains("\"type\""),
            "{bad}"
        );
        let torn = directory.find("torn").unwrap_err().to_string();
        assert!(torn.contains("which has \"good\""), "{torn}");
        assert!(
            torn.contains("10-torn.conf") && !torn.contains("20-bad"),
            "{torn}"
        );
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_networks() {
        let directory = Directory::read(Path::new("/nowhere/at/all")).unwrap();
        let error = directory.find("a").unwrap_err().to_string();
        assert_eq!(error, "no network \"a\" in /nowhere/at/all, which has none");
    }

    #[test]
    fn plugins_in_the_folder_beside_the_list() {
        let list = |only: bool| {
            format!(r#"{{"name":"n","loadOnlyInlinedPlugins":{only},"plugins":[{{"type":"a"}}]}}"#)
        };
        let types = |network: &Network| {
            let types = network.plugins.iter().map(|p| p.plugin_type.clone());
            types.collect::<Vec<_>>()
        };
        for (only, expected) in [(false, vec!["a", "b", "c"]), (true, vec!["a"])] {
            let (_dir, directory) = directory(&[
                ("n.conflist", &list(only)),
                ("n/20-c.conf", r#"{"type":"c"}"#),
                ("n/10-b.conf", r#"{"type":"b"}"#),
                ("n/30.json", r#"{"type":"not this"}"#),
            ]);
            assert_eq!(types(directory.find("n").unwrap()), expected);
        }
        let (_dir, directory) = directory(&[
            ("m.conflist", r#"{"name":"m"}"#),
            ("m/1.conf", r#"{"type":"only"}"#),
            ("e.conflist", r#"{"name":"e"}"#),
            (
                "o.conflist",
                r#"{"name":"o","loadOnlyInlinedPlugins":true}"#,
            ),
            ("p.conflist", r#"{"name":"p"}"#),
            ("p/1.conf", r#"{"type":1}"#),
        ]);
        assert_eq!(types(directory.find("m").unwrap()), ["only"]);
        let fails = |name| directory.find(name).unwrap_err().to_string();
        assert!(fails("e").contains("network \"e\" has no plugins"));
        assert!(fails("o").contains("\"plugins\" is missing"));
        assert!(fails("p").contains("p/1.conf"));
    }
}
