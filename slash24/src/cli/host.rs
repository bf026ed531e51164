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
        let from_environment = || {
            let path = std::env::var_os("CNI_PATH").filter(|path| !path.is_empty());
            vec![path.map_or_else(|| PathBuf::from(PLUGIN_DIR), PathBuf::from)]
        };
        let lists = match self.plugin_dir.is_empty() {
            true => from_environment(),
            false => self.plugin_dir.clone(),
        };
        // Both may be lists as CNI_PATH is one.
        let directories = lists.iter().flat_map(std::env::split_paths);
        let directories = directories.map(|dir| absolute(&dir));
        let cache = Cache::new(absolute(&self.cache_dir)?);
        let runtime = Runtime::new(directories.collect::<Result<_, _>>()?, cache);
        Ok(runtime.with_plugins(registry::PLUGINS))
    }
}

/// A plugin may be called in another directory than this process's.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::path(path, error))
}
