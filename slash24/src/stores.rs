//! Where leases are on this host, whether a configuration says so or not.

use std::path::{Path, PathBuf};

use ipam::config::Storage;
use ipam::{LeaseDirectory, store};

use crate::aside;
use crate::error::Error;
use crate::networks::{Networks, Source, sources};

/// The leases of a network.
pub(crate) struct Store {
    pub(crate) network: String,
    pub(crate) storage: Storage,
    /// What gives out its addresses; nothing when it is configured nowhere.
    pub(crate) sources: Vec<Source>,
}

/// The lease directories of the configured networks, and those beside them that
/// belong to networks which are not configured any more.
///
/// With `data_dir` leases are looked for there, whatever configurations say.
pub(crate) fn stores(networks: &Networks, data_dir: Option<&Path>) -> Result<Vec<Store>, Error> {
    let mut stores: Vec<Store> = Vec::new();
    let mut data_dirs: Vec<PathBuf> = vec![data_dir.unwrap_or(Path::new(store::DATA_DIR)).into()];
    for source in sources(networks) {
        if !source.has_leases() {
            continue;
        }
        let mut storage = match source.storage() {
            Ok(storage) => storage,
            Err(error) => {
                aside::say(format_args!("{error}; passed over"));
                continue;
            }
        };
        if let Some(data_dir) = data_dir {
            storage.directory = LeaseDirectory::new(data_dir, &source.network)
                .keeping_across_reboot(storage.directory.keeps_across_reboot());
        }
        let parent = storage.directory.path().parent();
        let parent = parent.map(Path::to_owned).unwrap_or_default();
        if !data_dirs.contains(&parent) {
            data_dirs.push(parent);
        }
        match stores
            .iter_mut()
            .find(|s| s.storage.directory.path() == storage.directory.path())
        {
            Some(store) => store.join(source, &storage),
            None => stores.push(Store {
                network: source.network.clone(),
                storage,
                sources: vec![source],
            }),
        }
    }
    for data_dir in data_dirs {
        for network in ipam::listing::networks(&data_dir)? {
            // Nobody says whether its leases outlive a boot, so they may.
            let directory = LeaseDirectory::new(&data_dir, &network).keeping_across_reboot(true);
            let is_known = |store: &Store| store.storage.directory.path() == directory.path();
            if !stores.iter().any(is_known) {
                let lock_timeout = store::LOCK_TIMEOUT;
                let storage = Storage {
                    directory,
                    lock_timeout,
                };
                stores.push(Store {
                    network,
                    storage,
                    sources: Vec::new(),
                });
            }
        }
    }
    stores.sort_by(|one, other| one.network.cmp(&other.network));
    Ok(stores)
}

impl Store {
    /// Another plugin keeps its leases in the same place.
    fn join(&mut self, source: Source, storage: &Storage) {
        let keep = storage.directory.keeps_across_reboot();
        let keep = keep || self.storage.directory.keeps_across_reboot();
        self.storage.directory = self.storage.directory.clone().keeping_across_reboot(keep);
        self.sources.push(source);
    }
}

/// Those of one network, if one is named.
///
/// # Errors
/// There is no such network; the error names those there are.
pub(crate) fn of_network(stores: Vec<Store>, network: Option<&str>) -> Result<Vec<Store>, Error> {
    let Some(name) = network else {
        return Ok(stores);
    };
    let known: Vec<String> = stores.iter().map(|store| store.network.clone()).collect();
    let found: Vec<Store> = stores
        .into_iter()
        .filter(|store| store.network == name)
        .collect();
    match found.is_empty() {
        true => Err(Error::NoLeasesOf {
            network: name.to_owned(),
            known,
        }),
        false => Ok(found),
    }
}
