//! The side of a runtime: configurations of networks, chains of plugins, cached
//! results.
//!
//! What libcni does for the runtimes that are written in Go: it reads the files
//! of a [`Directory`], runs the plugins of a [`Network`] in order, hands results
//! from one to the next, and keeps the last in a [`Cache`] that libcni reads and
//! writes too. Unlike libcni, an ADD that fails takes back what was done, and a
//! DEL that fails goes on through the chain.
//!
//! ```no_run
//! use cni::runtime::{Cache, Directory, Parameters, Runtime};
//!
//! # fn main() -> Result<(), cni::Failure> {
//! let networks = Directory::read("/etc/cni/net.d".as_ref())?;
//! let runtime = Runtime::new(vec!["/opt/cni/bin".into()], Cache::new(Cache::DEFAULT));
//! let parameters = Parameters {
//!     container_id: "web-1".into(),
//!     netns: Some("/run/netns/web-1".into()),
//!     ifname: "eth0".into(),
//!     ..Parameters::default()
//! };
//! let attachment = runtime.add(networks.find("backend")?, &parameters)?;
//! println!("{} addresses", attachment.ips.len());
//! # Ok(())
//! # }
//! ```

mod cache;
mod chain;
mod collect;
mod directory;
mod lock;
mod negotiation;
mod network;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Map, Value};

pub use cache::{Cache, Cached};
pub use directory::Directory;
pub use lock::ContainerLock;
pub use network::{Network, PluginConfig};

use crate::{Command, Environment, Error, Plugins};

/// What a runtime says about one attachment (specification, section 3,
/// "Attachment Parameters").
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The container.
    pub container_id: String,
    /// The path of its network namespace. DEL can do without.
    pub netns: Option<PathBuf>,
    /// The name of the interface inside.
    pub ifname: String,
    /// `CNI_ARGS`, for every plugin of the chain.
    pub args: Vec<(String, String)>,
    /// What goes into the `runtimeConfig` of the plugins that have the capability.
    pub capability_args: Map<String, Value>,
}

/// Runs plugins.
///
/// Operations on one container must not overlap, and its caller sees to that:
/// [`Cache::lock_container`] is there for it.
#[derive(Clone)]
pub struct Runtime {
    /// Where plugins are looked for, in order: absolute directories.
    pub path: Vec<PathBuf>,
    /// The plugins that live in this executable.
    pub plugins: Plugins,
    /// Where results are kept.
    pub cache: Cache,
    /// The variables that plugins inherit.
    pub environment: Environment,
}

impl Runtime {
    /// A runtime that executes every plugin, with this process's environment.
    pub fn new(path: Vec<PathBuf>, cache: Cache) -> Self {
        Runtime {
            path,
            plugins: &[],
            cache,
            environment: Environment::of_process(),
        }
    }

    /// The same runtime, which calls `plugins` in this process where it can.
    #[must_use]
    pub fn with_plugins(mut self, plugins: Plugins) -> Self {
        self.plugins = plugins;
        self
    }

    /// The environment of one call. Variables that do not apply are set to
    /// nothing, so that none is inherited from the runtime's own caller.
    fn environment(&self, command: Command, parameters: &Parameters) -> Result<Environment, Error> {
        let netns = parameters.netns.as_ref();
        let path = std::env::join_paths(&self.path).unwrap_or_default();
        let values: [(&str, OsString); 6] = [
            ("CNI_COMMAND", command.as_str().into()),
            ("CNI_CONTAINERID", parameters.container_id.clone().into()),
            ("CNI_NETNS", netns.map(OsString::from).unwrap_or_default()),
            ("CNI_IFNAME", parameters.ifname.clone().into()),
            ("CNI_ARGS", parameters.args_text()?.into()),
            ("CNI_PATH", path),
        ];
        let mut environment = self.environment.clone();
        for (name, value) in values {
            environment.set(name, value);
        }
        Ok(environment)
    }
}

impl Parameters {
    /// `CNI_ARGS` as the environment has it.
    fn args_text(&self) -> Result<String, Error> {
        let spoils = |(key, value): &&(String, String)| {
            key.is_empty() || key.contains(['=', ';']) || value.contains(';')
        };
        if let Some((key, value)) = self.args.iter().find(spoils) {
            return Err(Error::BadArgument {
                key: key.clone(),
                value: value.clone(),
            });
        }
        let pairs = self
            .args
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        Ok(pairs.collect::<Vec<_>>().join(";"))
    }
}
