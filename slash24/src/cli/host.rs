//! Where things are on the host.

use std::path::{Path, PathBuf};

use cni::runtime::{Cache, Runtime};

use super::output::Output;
use crate::error::Error;
use crate::registry;

/// Where plugins are when nobody says otherwise.
const PLUGIN_DIR: &str = "/opt/cni/bin";

/// Where network configurations are when nobody says otherwise.
pub(super) const CONF_DIR: &str = "/etc/cni/net.d";

/// Where things are on the host, for commands that attach containers.
#[derive(clap::Args)]
pub(super) struct HostArgs {
    /// The application that is meant, when the document lists several
    #[arg(long = "task", value_name = "NAME")]
    pub(super) task_name: Option<String>,
    #[command(flatten)]
    pub(super) runtime: RuntimeArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Json)]
    pub(super) output: Output,
}

/// Where a runtime has things on the host.
#[derive(clap::Args)]
pub(super) struct RuntimeArgs {
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    pub(super) conf_dir: PathBuf,
    /// Directory of plugins; can be repeated [default: $CNI_PATH, else /opt/cni/bin]
    #[arg(long, value_name = "DIR")]
    pub(super) plugin_dir: Vec<PathBuf>,
    /// Directory of what is noted about attachments, as libcni does
    #[arg(long, value_name = "DIR", default_value = Cache::DEFAULT)]
    pub(super) cache_dir: PathBuf,
}

impl RuntimeArgs {
    /// The runtime that these directories make.
    pub(super) fn runtime(&self) -> Result<Runtime, Error> {
        let directories = plugin_directories(&self.plugin_dir)?;
        let cache = Cache::new(absolute(&self.cache_dir)?);
        let runtime = Runtime::new(directories, cache);
        Ok(runtime.with_plugins(registry::PLUGINS))
    }
}

/// The directories of plugins that were named, or those that hold when none was. Each
/// may be a list as `CNI_PATH` is one.
pub(super) fn plugin_directories(named: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let from_environment = || {
        let path = std::env::var_os("CNI_PATH").filter(|path| !path.is_empty());
        vec![path.map_or_else(|| PathBuf::from(PLUGIN_DIR), PathBuf::from)]
    };
    let lists = match named {
        [] => from_environment(),
        named => named.to_vec(),
    };
    let directories = lists.iter().flat_map(std::env::split_paths);
    directories.map(|dir| absolute(&dir)).collect()
}

/// A plugin may be called in another directory than this process's.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::path(path, error))
}
