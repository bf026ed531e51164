//! Looking through a lease directory: every lease, or those of one address.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::{Found, Leases};
use crate::Error;
use crate::lease_file::{Kept, failed};
use crate::shared::{self, Holders};

impl Leases {
    /// Every lease, those that nobody holds too. A shared address has one for each
    /// of its holders.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn all(&self) -> Result<Found<(IpAddr, Kept)>, Error> {
        self.all_with(shared::all(&self.shared)?)
    }

    /// The same, when the holders of shared addresses are known.
    pub(super) fn all_with(
        &self,
        shared: Found<(IpAddr, Kept)>,
    ) -> Result<Found<(IpAddr, Kept)>, Error> {
        let Found {
            mut found,
            mut unread,
        } = shared;
        self.each(|address, path| {
            match Kept::read(path) {
                Ok(kept) => found.extend(kept.map(|kept| (address, kept))),
                Err(error) => unread = unread.take().or(Some(failed("read", path, error))),
            }
            Ok(())
        })?;
        Ok(Found {
            found: each_once(found),
            unread,
        })
    }

    /// The leases of one address, as [`Leases::all`] has them; no other is read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn at(&self, address: IpAddr) -> Result<Found<(IpAddr, Kept)>, Error> {
        let Found { mut found, unread } = Holders::of(&self.shared, address).all()?;
        let unread = match self.kept(address) {
            Ok(kept) => {
                found.extend(kept);
                unread
            }
            Err(error) => unread.or(Some(error)),
        };
        let found = found.into_iter().map(|kept| (address, kept)).collect();
        Ok(Found {
            found: each_once(found),
            unread,
        })
    }

    /// The addresses that are taken, by the names of files. Whose they are, and
    /// whether still, is not looked at.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn named(&self) -> Result<Vec<IpAddr>, Error> {
        let mut named = Vec::new();
        self.each(|address, _| {
            named.push(address);
            Ok(())
        })?;
        Ok(named)
    }

    /// Visits every file that is named as an address.
    fn each(&self, mut visit: impl FnMut(IpAddr, &Path) -> Result<(), Error>) -> Result<(), Error> {
        let unreadable = |e| failed("read", &self.directory, e);
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if let Some(address) = name.to_str().and_then(|name| name.parse().ok()) {
                visit(address, &entry.path())?;
            }
        }
        Ok(())
    }
}

/// Leases in order. One of the holders of a shared address is named twice.
fn each_once(mut found: Vec<(IpAddr, Kept)>) -> Vec<(IpAddr, Kept)> {
    let order = |(address, kept): &(IpAddr, Kept)| {
        let lease = &kept.lease;
        (*address, lease.container.clone(), lease.ifname.clone())
    };
    found.sort_by_cached_key(order);
    found.dedup_by(|a, b| a.0 == b.0 && a.1.lease == b.1.lease);
    found
}
