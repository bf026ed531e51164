//! The environment variables that carry a call's parameters.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Environment variables as a value, so that a call can be answered, or passed
/// on to a delegate, without touching the process's own.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// The process's own variables.
    pub fn of_process() -> Self {
        Environment(std::env::vars_os().collect())
    }

    /// From pairs of name and value.
    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Environment(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }

    /// The value of `name`, if it is set to anything.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let set = self.0.iter().find(|(key, _)| key == name);
        set.map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// As [`Environment::get`], for variables that are text; bytes that are not
    /// UTF-8 become replacement characters, which no name may contain.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    /// Sets `name`.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.into(), value.into()));
    }

    /// Every variable.
    pub fn pairs(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(k, v)| (k.as_os_str(), v.as_os_str()))
    }

    /// `CNI_PATH` as directories; relative ones are left out, as a plugin's
    /// working directory is anybody's guess.
    pub(crate) fn path(&self) -> Vec<PathBuf> {
        let path = self.get("CNI_PATH").unwrap_or_default();
        std::env::split_paths(path)
            .filter(|dir| dir.is_absolute())
            .collect()
    }
}
