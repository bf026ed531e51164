//! GC: what belongs to no container that the runtime knows is removed.

use serde_json::{Map, json};

use super::{Cached, Network, Runtime};
use crate::{Failure, ValidAttachment};

impl Runtime {
    /// Removes from a network what belongs to none of the `valid` attachments:
    /// those in the cache by DEL, and since 1.1.0 the rest by the plugins' GC.
    /// Nothing is done for a network with `disableGC`.
    ///
    /// No ADD or DEL of this library runs meanwhile.
    ///
    /// # Errors
    /// The first failure, with all others in its details; nothing is left out
    /// because of one.
    pub fn gc(&self, network: &Network, valid: &[ValidAttachment]) -> Result<(), Failure> {
        if network.disable_gc {
            return Ok(());
        }
        let _alone = self.cache.exclude()?;
        let cached = self.cache.attachments(None)?;
        let stale = cached
            .iter()
            .filter(|cached| cached.network == network.name && !cached.is_among(valid));
        let mut failures: Vec<Failure> = stale
            .filter_map(|cached| self.del_stale(network, cached).err())
            .collect();
        failures.extend(self.gc_plugins(network, &keys(valid)));
        joined(failures)
    }

    /// With the configuration of ADD if that can still be read: the one of today
    /// may not know what there is to remove.
    fn del_stale(&self, network: &Network, cached: &Cached) -> Result<(), Failure> {
        let of_add = cached.network().ok();
        self.del_without_lock(of_add.as_ref().unwrap_or(network), &cached.parameters)
    }
}

impl Cached {
    /// A valid attachment that names no interface is every one of its container.
    fn is_among(&self, valid: &[ValidAttachment]) -> bool {
        valid.iter().any(|valid| {
            let any = valid.ifname.is_empty();
            valid.container_id == self.parameters.container_id
                && (any || valid.ifname == self.parameters.ifname)
        })
    }
}

/// The key of the specification, and the one that libcni sent at first.
fn keys(valid: &[ValidAttachment]) -> Map<String, serde_json::Value> {
    let list: Vec<_> = valid
        .iter()
        .map(|valid| json!({"containerID": valid.container_id, "ifname": valid.ifname}))
        .collect();
    let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let keys = names.map(|name| (name.to_owned(), json!(list)));
    keys.into_iter().collect()
}

fn joined(failures: Vec<Failure>) -> Result<(), Failure> {
    let mut failures = failures.into_iter();
    let Some(mut first) = failures.next() else {
        return Ok(());
    };
    for other in failures {
        let separator = if first.details.is_empty() { "" } else { "; " };
        first.details = format!("{}{separator}{other}", first.details);
    }
    Err(first)
}
