//! Who holds an address that many may hold (anycast).
//!
//! The reference's file of an address names one holder. So that the reference
//! never gives the address to anybody it is there as long as anybody holds it, and
//! every holder has a file of its own in `DATADIR/.slash24/NETWORK/shared/ADDRESS/`
//! with the same content.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::lease::{Lease, Owner};
use crate::lease_file::{self, Kept, failed};
use crate::record::Record;
use crate::store::Found;
use crate::{Error, digest};

/// The holders of one shared address.
#[derive(Debug)]
pub(crate) struct Holders(PathBuf);

/// Where a holder's file is written before it gets its name.
const UNNAMED: &str = ".new";

impl Holders {
    /// The holders of `address`; `folder` is that of all shared addresses.
    pub(crate) fn of(folder: &Path, address: IpAddr) -> Self {
        Holders(folder.join(address.to_string()))
    }

    /// Whether the address was ever shared and is still held.
    pub(crate) fn are_any(&self) -> Result<bool, Error> {
        match self.0.try_exists() {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
            exists => exists.map_err(|error| failed("look at", &self.0, error)),
        }
    }

    /// What is kept of one holder.
    pub(crate) fn get(&self, owner: Owner<'_>) -> Result<Option<Kept>, Error> {
        let path = self.path(owner);
        Kept::read(&path).map_err(|error| failed("read", &path, error))
    }

    /// Adds a holder, or what is remembered of it.
    pub(crate) fn put(&self, owner: Owner<'_>, record: Option<&Record>) -> Result<(), Error> {
        fs::create_dir_all(&self.0).map_err(|e| failed("make", &self.0, e))?;
        let unnamed = self.0.join(UNNAMED);
        lease_file::make(&unnamed, &self.path(owner), &owner.content(), record)
    }

    /// Removes a holder that need not be there.
    pub(crate) fn remove(&self, owner: Owner<'_>) -> Result<(), Error> {
        lease_file::remove(&self.path(owner))?;
        // What a killed process may have left, and the folder when that was all.
        let _ = fs::remove_file(self.0.join(UNNAMED));
        let _ = fs::remove_dir(&self.0);
        Ok(())
    }

    /// Every holder of the address, and the first that could not be read.
    pub(crate) fn all(&self) -> Result<Found<Kept>, Error> {
        let (mut found, mut unread) = (Vec::new(), None);
        for path in files(&self.0)? {
            match Kept::read(&path) {
                Ok(kept) => found.extend(kept),
                Err(error) => unread = unread.or(Some(failed("read", &path, error))),
            }
        }
        Ok(Found { found, unread })
    }

    /// Removes the holders that are not current: those of an earlier boot. That one
    /// cannot be read or removed is no failure; it is looked at again when it counts.
    pub(crate) fn sweep(&self, is_current: impl Fn(&Kept) -> bool) {
        for path in files(&self.0).unwrap_or_default() {
            let stale = Kept::read(&path).ok().flatten();
            if stale.is_some_and(|kept| !is_current(&kept)) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// A holder that is not `owner` and that `is_current`.
    pub(crate) fn another(
        &self,
        owner: Owner<'_>,
        is_current: impl Fn(&Kept) -> bool,
    ) -> Result<Option<Kept>, Error> {
        let other = |kept: &Kept| !owner.is(&kept.lease) && is_current(kept);
        for path in files(&self.0)? {
            let kept = Kept::read(&path).map_err(|e| failed("read", &path, e))?;
            if let Some(kept) = kept.filter(other) {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    fn path(&self, owner: Owner<'_>) -> PathBuf {
        let content = owner.content();
        let (one, two) = (
            digest::of_bytes(content.as_bytes()),
            digest::of_bytes(format!("\n{content}").as_bytes()),
        );
        self.0.join(format!("{one:016x}{two:016x}"))
    }
}

/// Every holder of every shared address, and the first that could not be read.
pub(crate) fn all(folder: &Path) -> Result<Found<(IpAddr, Kept)>, Error> {
    let (mut found, mut unread) = (Vec::new(), None);
    for of_address in files(folder)? {
        let name = of_address.file_name().and_then(|name| name.to_str());
        let Some(address) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        let holders = Holders(of_address).all()?;
        found.extend(holders.found.into_iter().map(|kept| (address, kept)));
        unread = unread.or(holders.unread);
    }
    Ok(Found { found, unread })
}

/// What is in a folder that need not be there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| failed("read", folder, error);
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(unreadable)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable));
    let paths: Result<Vec<PathBuf>, Error> = paths.collect();
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name != UNNAMED);
    Ok(paths?.into_iter().filter(named).collect())
}

impl Owner<'_> {
    /// Whether a lease names exactly this owner.
    pub(crate) fn is(&self, lease: &Lease) -> bool {
        lease.container == self.container && lease.ifname.as_deref() == Some(self.ifname)
    }
}
