//! Which version of the protocol a chain is run in.
//!
//! A configuration may be written for several (`cniVersions` of 1.1.0). The
//! newest is taken that every plugin of the chain speaks; plugins are only asked
//! when there is a choice.

use serde::Deserialize;
use serde_json::{Value, json};

use super::run::{Step, call};
use super::{Network, Parameters, Runtime};
use crate::delegate::{self, Found};
use crate::{Command, Error, Failure, Version, fold};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spoken {
    cni_version: String,
    supported_versions: Vec<String>,
}

impl Runtime {
    /// The versions that a plugin says it speaks, oldest first; versions that
    /// this library does not know are left out.
    ///
    /// # Errors
    /// There is no such plugin, or its answer is none.
    pub fn versions(&self, plugin_type: &str) -> Result<Vec<Version>, Failure> {
        let found = delegate::find_in(&self.path, plugin_type, self.plugins)?;
        self.spoken(plugin_type, &found)
    }

    /// The newest version that `network` is written for and all of `steps` speak.
    pub(super) fn agree(&self, network: &Network, steps: &[Step<'_>]) -> Result<Version, Failure> {
        let mut versions = network.versions.clone();
        if versions.len() == 1 {
            return Ok(network.version());
        }
        for step in steps {
            let spoken = self.spoken(&step.plugin.plugin_type, &step.found)?;
            let offered = listed(&versions);
            versions.retain(|version| spoken.contains(version));
            if versions.is_empty() {
                let error = Error::NoCommonVersion {
                    offered,
                    plugin: step.plugin.plugin_type.clone(),
                    speaks: listed(&spoken),
                };
                return Err(error.into());
            }
        }
        Ok(versions.pop().unwrap_or_else(|| network.version()))
    }

    fn spoken(&self, name: &str, found: &Found) -> Result<Vec<Version>, Failure> {
        if found.is_own() {
            return Ok(Version::ALL.to_vec());
        }
        // Plugins of the first version check their environment before the verb.
        let dummy = Parameters {
            container_id: "dummy".into(),
            netns: Some("/dummy".into()),
            ifname: "dummy".into(),
            ..Parameters::default()
        };
        let environment = self.environment(Command::Version, &dummy)?;
        let stdin = json!({"cniVersion": Version::V1_1_0.as_str()});
        let stdout = match call(self, found, &environment, &stdin) {
            Ok(stdout) => stdout,
            // What a plugin of 0.1.0 says to a verb that it does not know.
            Err(failure) if failure.msg.contains("unknown CNI_COMMAND") => {
                return Ok(vec![Version::V0_1_0]);
            }
            Err(failure) => return Err(failure),
        };
        read_answer(name, &stdout).map_err(Failure::from)
    }
}

fn read_answer(name: &str, stdout: &[u8]) -> Result<Vec<Version>, Error> {
    let bad = |why: String| Error::BadResult {
        whose: format!("VERSION of plugin \"{name}\""),
        why,
    };
    let value: Value = serde_json::from_slice(stdout).map_err(|error| bad(error.to_string()))?;
    let mut spoken: Spoken = fold::read(&value).map_err(|error| bad(error.to_string()))?;
    if spoken.supported_versions.is_empty() {
        spoken.supported_versions.push(spoken.cni_version);
    }
    let known = spoken
        .supported_versions
        .iter()
        .filter_map(|v| v.parse().ok());
    let mut versions: Vec<Version> = known.collect();
    versions.sort_unstable();
    Ok(versions)
}

fn listed(versions: &[Version]) -> String {
    let names: Vec<_> = versions.iter().map(|version| version.as_str()).collect();
    names.join(", ")
}
