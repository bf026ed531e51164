//! Which leases a command is about.

use std::path::PathBuf;

use super::host::CONF_DIR;
use crate::error::Error;
use crate::networks::Networks;
use crate::stores::{self, Store};

/// Where leases are looked for.
#[derive(clap::Args)]
pub(super) struct StoreArgs {
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    pub(super) conf_dir: PathBuf,
    /// Directory of leases [default: those that configurations name, and
    /// /var/lib/cni/networks]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The configured networks; what is broken is told.
    pub(super) fn networks(&self) -> Result<Networks, Error> {
        let networks = Networks::read_existing(&self.conf_dir)?;
        networks.tell_broken();
        Ok(networks)
    }

    /// The lease directories of this host.
    pub(super) fn stores(&self, networks: &Networks) -> Result<Vec<Store>, Error> {
        stores::stores(networks, self.data_dir.as_deref())
    }
}
