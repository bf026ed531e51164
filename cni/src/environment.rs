//! The environment variables that carry a call's parameters.

use std::ffi::OsString;
use std::path::PathBuf;

/// Environment variables as a value, so that a call can be answered, or passed
/// on to a delegate, without touching the process's own.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// What is set here, over the process's variables if those count.
    set: Vec<(OsString, OsString)>,
    of_process: bool,
}

impl Environment {
    /// The process's own variables. They are only copied for a delegate that is
    /// executed.
    pub fn of_process() -> Self {
        Environment {
            set: Vec::new(),
            of_process: true,
        }
    }

    /// From pairs of name and value.
    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Environment {
            set: pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
            of_process: false,
        }
    }

    /// The value of `name`, if it is set to anything.
    pub fn get(&self, name: &str) -> Option<OsString> {
        let here = self.set.iter().find(|(key, _)| key == name);
        let here = here.map(|(_, value)| value.clone());
        let value = here.or_else(|| std::env::var_os(name).filter(|_| self.of_process));
        value.filter(|value| !value.is_empty())
    }

    /// As [`Environment::get`], for variables that are text; bytes that are not
    /// UTF-8 become replacement characters, which no name may contain.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    /// Sets `name`.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.set.retain(|(key, _)| key != name);
        self.set.push((name.into(), value.into()));
    }

    /// Every variable; of two with the same name the later counts.
    pub fn pairs(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let process = self.of_process.then(std::env::vars_os);
        process
            .into_iter()
            .flatten()
            .chain(self.set.iter().cloned())
    }

    /// `CNI_PATH` as directories; relative ones are left out, as a plugin's
    /// working directory is anybody's guess.
    pub(crate) fn path(&self) -> Vec<PathBuf> {
        let path = self.get("CNI_PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .collect()
    }
}
