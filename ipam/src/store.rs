//! The lease directory of a network, in the reference's format.
//!
//! `DATADIR/NETWORK/ADDRESS` holds the container's id and its interface,
//! `last_reserved_ip.N` the address that was given out last from range set N,
//! and `lock` is what every reader and writer locks. The reference's host-local
//! keeps the same files, so either can take over from the other, and both can
//! use a directory at the same time.
//!
//! A lease appears whole or not at all: it is written under another name, which
//! the reference does not take for a lease, and renamed. An empty lease file is
//! what a reference that was killed leaves; nobody holds it. Nor does anybody hold
//! a lease from an earlier boot, unless `keepAcrossReboot` says so.
//!
//! An index, `DATADIR/.slash24/NETWORK/index`, saves calls from reading all
//! leases. No network's name begins with a dot, so the reference never looks there.

mod indexed;
mod listed;
mod sharing;

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;

use crate::Error;
use crate::boot::Boot;
use crate::index::Index;
use crate::lease::{Lease, Match, Owner};
use crate::lease_file::{self, Kept, failed};
use crate::lock::Lock;
use crate::record::{Namespace, Record};
use crate::shared::Holders;

/// Where the reference keeps leases when `dataDir` does not say.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// How long to wait for the lock when `lockTimeout` does not say.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Where, beside the lease directories, lies what the reference does not know.
const BESIDE: &str = ".slash24";

/// Where a lease is written before it gets its name. The lock admits one writer,
/// so one name does, and what a killed writer left is overwritten.
const UNNAMED: &str = ".new-lease";

/// The lease directory of one network, which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDirectory {
    path: PathBuf,
    beside: PathBuf,
    keep_across_reboot: bool,
}

impl LeaseDirectory {
    /// The directory of `network`, whose name must be an identifier of CNI.
    pub fn new(data_dir: &Path, network: &str) -> Self {
        LeaseDirectory {
            path: data_dir.join(network),
            beside: data_dir.join(BESIDE).join(network),
            keep_across_reboot: false,
        }
    }

    /// The same, with leases that are good in any boot of the machine.
    #[must_use]
    pub fn keeping_across_reboot(self, keep: bool) -> Self {
        LeaseDirectory {
            keep_across_reboot: keep,
            ..self
        }
    }

    /// Whether its leases are good in any boot.
    pub fn keeps_across_reboot(&self) -> bool {
        self.keep_across_reboot
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether leases can be made in it, or it can be made where it is not.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn can_be_written(&self) -> Result<(), Error> {
        let mut there = self.path.ancestors();
        let there = there.find_map(|path| fs::metadata(path).ok().map(|found| (path, found)));
        let written = match there {
            Some((_, found)) if !found.is_dir() => Err(ErrorKind::NotADirectory.into()),
            Some((path, _)) => {
                let access = Access::WRITE_OK | Access::EXEC_OK;
                rustix::fs::access(path, access).map_err(Into::into)
            }
            None => Err(ErrorKind::NotFound.into()),
        };
        written.map_err(|error| Error::Unwritable {
            directory: self.path.clone(),
            error,
        })
    }

    /// Locks it, and makes it if need be.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Locked`].
    pub fn lock(&self, timeout: Duration) -> Result<Leases, Error> {
        if let Some(leases) = self.lock_existing(timeout)? {
            return Ok(leases);
        }
        fs::create_dir_all(&self.path).map_err(|e| failed("make", &self.path, e))?;
        let lock = Lock::acquire(&self.path.join("lock"), timeout)?;
        Ok(self.locked(lock))
    }

    /// Locks it; `None` when it does not exist, and so no lease does.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Locked`].
    pub fn lock_existing(&self, timeout: Duration) -> Result<Option<Leases>, Error> {
        match Lock::acquire(&self.path.join("lock"), timeout) {
            Ok(lock) => Ok(Some(self.locked(lock))),
            Err(Error::Store { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn locked(&self, lock: Lock) -> Leases {
        Leases {
            directory: self.path.clone(),
            index_path: self.beside.join("index"),
            shared: self.beside.join("shared"),
            boot: Boot::now(),
            keep_across_reboot: self.keep_across_reboot,
            netns: None,
            index: None,
            unread: false,
            touched: Cell::new(false),
            _lock: lock,
        }
    }
}

/// What a look through a lease directory found.
#[derive(Debug)]
pub struct Found<T> {
    /// What was looked for.
    pub found: Vec<T>,
    /// A file that could not be read, and so may be what was looked for. It must
    /// not keep others from what can be read.
    pub unread: Option<Error>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Found {
            found: Vec::new(),
            unread: None,
        }
    }
}

/// The leases of a network, while nobody else can change them.
#[derive(Debug)]
pub struct Leases {
    directory: PathBuf,
    index_path: PathBuf,
    /// The folder with the holders of shared addresses.
    shared: PathBuf,
    boot: Boot,
    keep_across_reboot: bool,
    netns: Option<Namespace>,
    /// Loaded when it is first needed.
    index: Option<Index>,
    /// Whether a lease could not be read, and so the index is not all.
    unread: bool,
    /// Whether this call has changed the directory.
    touched: Cell<bool>,
    _lock: Lock,
}

impl Drop for Leases {
    /// Whatever became of the call, leases and index agree; unless it panicked.
    fn drop(&mut self) {
        let usable = !self.unread && !std::thread::panicking();
        if let Some(index) = self.index.as_mut().filter(|_| usable) {
            // Without an index the next call makes one.
            let _ = index.write(&self.directory, self.touched.get());
        }
    }
}

impl Leases {
    /// Remembers that the leases to be made are for the namespace at `path`.
    pub fn set_netns(&mut self, path: Option<&Path>) {
        self.netns = path.and_then(Namespace::at);
    }

    /// The boot that leases are compared with.
    pub fn boot(&self) -> &Boot {
        &self.boot
    }

    /// The addresses that `owner` holds, in order. Leases without an interface
    /// count for any interface of their container, but only if none has it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn of(&mut self, owner: Owner<'_>) -> Result<Found<IpAddr>, Error> {
        if self.unread {
            self.index = None;
        }
        let unread = self.load_index()?;
        let exact = self.held(owner, Match::Exact)?;
        let mut found = match exact.is_empty() {
            true => self.held(owner, Match::Container)?,
            false => exact,
        };
        found.sort_unstable();
        Ok(Found { found, unread })
    }

    /// The addresses of leases that name the owner in one way.
    fn held(&mut self, owner: Owner<'_>, by: Match) -> Result<Vec<IpAddr>, Error> {
        let ifname = (by == Match::Exact).then_some(owner.ifname);
        let indexed = self.in_index(|index| index.held(owner.container, ifname))?;
        let candidates = indexed.map_or_else(|| self.named(), Ok)?;
        let mut held = Vec::with_capacity(candidates.len());
        for address in candidates {
            // What the index says is only where to look.
            let lease = self.kept(address)?.map(|kept| kept.lease);
            let named = lease.is_some_and(|lease| owner.is_named_by(&lease) == Some(by));
            if named || (by == Match::Exact && self.shares(address, owner)?) {
                held.push(address);
            }
        }
        Ok(held)
    }

    /// The lease of an address; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn kept(&self, address: IpAddr) -> Result<Option<Kept>, Error> {
        let path = self.path(address);
        Kept::read(&path).map_err(|error| failed("read", &path, error))
    }

    /// Whether a lease is somebody's: it names somebody, and is not from an
    /// earlier boot.
    pub fn is_current(&self, kept: &Kept) -> bool {
        let boot = kept.record.as_ref().map(|record| record.boot.as_str());
        let earlier = self.boot.is_after(boot, kept.since);
        !kept.lease.is_empty() && (self.keep_across_reboot || !earlier)
    }

    /// Whether `owner` holds an address in this boot.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn holds(&self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        let named = self.kept(address)?;
        let named = named.filter(|kept| owner.is_named_by(&kept.lease).is_some());
        let kept = match named {
            Some(kept) => Some(kept),
            None => Holders::of(&self.shared, address).get(owner)?,
        };
        Ok(kept.is_some_and(|kept| self.is_current(&kept)))
    }

    /// Whether an address can be given to anybody.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn is_free(&self, address: IpAddr) -> Result<bool, Error> {
        Ok(!matches!(self.look(address)?, Taken::Yes))
    }

    /// How an address is taken.
    pub(crate) fn look(&self, address: IpAddr) -> Result<Taken, Error> {
        let path = self.path(address);
        match lease_file::look(&path)? {
            None => Ok(Taken::No),
            Some(file) if !file.is_file() => Ok(Taken::Yes),
            Some(file) if file.len() == 0 => Ok(Taken::ByNobody(None)),
            Some(_) if self.keep_across_reboot => Ok(Taken::Yes),
            // What cannot be read may be anybody's.
            Some(_) => match Kept::read(&path) {
                Ok(Some(kept)) if !kept.lease.is_empty() && !self.is_current(&kept) => {
                    Ok(Taken::ByNobody(Some(kept.lease)))
                }
                _ => Ok(Taken::Yes),
            },
        }
    }

    /// Gives `address` to `owner`; false when it is taken.
    ///
    /// # Errors
    /// [`Error::Store`]; then there is no lease.
    pub fn reserve(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        let reserved = self.try_reserve(address, owner);
        reserved.inspect_err(|error| self.distrust_after(error))
    }

    fn try_reserve(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        self.load_index()?;
        let taken = self.look(address)?;
        self.try_take(address, owner, taken)
    }

    /// Gives `address` to `owner`, when it is known how it is taken.
    ///
    /// # Errors
    /// As [`Leases::reserve`].
    pub(crate) fn take(
        &mut self,
        address: IpAddr,
        owner: Owner<'_>,
        taken: Taken,
    ) -> Result<bool, Error> {
        let given = self.try_take(address, owner, taken);
        given.inspect_err(|error| self.distrust_after(error))
    }

    fn try_take(&mut self, address: IpAddr, owner: Owner<'_>, taken: Taken) -> Result<bool, Error> {
        let nobody = match taken {
            Taken::Yes => return Ok(false),
            Taken::ByNobody(lease) => lease,
            Taken::No => None,
        };
        self.load_index()?;
        self.make(address, owner)?;
        self.in_index(|index| {
            if let Some(lease) = &nobody {
                index.let_go(&lease.container, lease.ifname.as_deref(), address)?;
            }
            index.unrest(address)?;
            index.hold(owner.container, Some(owner.ifname), address)
        })?;
        Ok(true)
    }

    /// Makes sure that a lease of `owner` is one of this boot, and for the
    /// namespace that the container has now.
    ///
    /// # Errors
    /// [`Error::Store`]; then the lease is as it was.
    pub fn confirm(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<(), Error> {
        let confirmed = self.try_confirm(address, owner);
        confirmed.inspect_err(|error| self.distrust_after(error))
    }

    fn try_confirm(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<(), Error> {
        let good = |kept: &Kept| self.is_current(kept) && kept.record == self.record();
        let holders = Holders::of(&self.shared, address);
        let shares = holders.get(owner)?;
        if let Some(kept) = shares.as_ref().filter(|kept| !good(kept)) {
            if !self.is_current(kept) {
                holders.sweep(|kept| self.is_current(kept));
            }
            holders.put(owner, self.record().as_ref())?;
        }
        let named = self.kept(address)?;
        let names_owner = |kept: &&Kept| owner.is_named_by(&kept.lease).is_some();
        match named.as_ref().filter(names_owner) {
            Some(kept) if good(kept) => return Ok(()),
            Some(_) => self.make(address, owner)?,
            // Others have the file, or the reference has taken it away.
            None if shares.is_some() && self.is_free(address)? => self.make(address, owner)?,
            None => return Ok(()),
        }
        self.in_index(|index| index.hold(owner.container, Some(owner.ifname), address))
    }

    fn make(&self, address: IpAddr, owner: Owner<'_>) -> Result<(), Error> {
        self.make_with(address, owner, self.record().as_ref())
    }

    fn make_with(
        &self,
        address: IpAddr,
        owner: Owner<'_>,
        record: Option<&Record>,
    ) -> Result<(), Error> {
        self.touched.set(true);
        let unnamed = self.directory.join(UNNAMED);
        lease_file::make(&unnamed, &self.path(address), &owner.content(), record)
    }

    fn record(&self) -> Option<Record> {
        let boot = Some(self.boot.id().to_owned()).filter(|boot| !boot.is_empty());
        boot.map(|boot| Record {
            boot,
            netns: self.netns.clone(),
        })
    }

    /// Takes an address from who holds it; it is free when nobody shares it.
    ///
    /// # Errors
    /// [`Error::Store`]. That there is no such lease is none.
    pub fn release(&mut self, address: IpAddr, holder: &Lease) -> Result<(), Error> {
        let released = self.try_release(address, holder);
        released.inspect_err(|error| self.distrust_after(error))
    }

    fn try_release(&mut self, address: IpAddr, holder: &Lease) -> Result<(), Error> {
        self.load_index()?;
        let named = self.kept(address)?.map(|kept| kept.lease);
        let is_named = named.as_ref().is_none_or(|named| named.is_of(holder));
        let handed_over = self.leave(address, holder, is_named)?;
        let freed = is_named && !handed_over;
        if freed {
            self.touched.set(true);
            lease_file::remove(&self.path(address))?;
        }
        let now = crate::clock::milliseconds();
        self.in_index(|index| {
            for lease in [Some(holder), named.as_ref().filter(|_| freed)] {
                let Some(lease) = lease else { continue };
                index.let_go(&lease.container, lease.ifname.as_deref(), address)?;
            }
            if freed {
                index.rest(address, now)
            } else {
                Ok(())
            }
        })
    }

    /// The address that was given out last from a range set, if that is known.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        last_reserved(&self.directory, set)
    }

    /// Remembers the address that was given out last from a range set, for the
    /// reference.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_last_reserved(&self, set: usize, address: IpAddr) -> Result<(), Error> {
        let path = last_reserved_path(&self.directory, set);
        lease_file::write_text(&path, &address.to_string()).map_err(|e| failed("write", &path, e))
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.directory.join(address.to_string())
    }
}

/// The reference's file that tells the address that was given out last.
fn last_reserved_path(directory: &Path, set: usize) -> PathBuf {
    directory.join(format!("last_reserved_ip.{set}"))
}

fn last_reserved(directory: &Path, set: usize) -> Option<IpAddr> {
    lease_file::read_text(&last_reserved_path(directory, set))?
        .parse()
        .ok()
}

/// How an address is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Somebody holds it, or something is in the way.
    Yes,
    /// It is not.
    No,
    /// There is a file, and nobody holds the address.
    ByNobody(Option<Lease>),
}

#[cfg(test)]
mod tests;
