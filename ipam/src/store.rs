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
//! what a reference that was killed leaves; nobody holds it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::Error;
use crate::lease::{Lease, Match, Owner};
use crate::lock::Lock;

/// Where the reference keeps leases when `dataDir` does not say.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// How long to wait for the lock when `lockTimeout` does not say.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a lease is written before it gets its name. The lock admits one writer,
/// so one name does, and what a killed writer left is overwritten.
const UNNAMED: &str = ".new-lease";

/// The longest lease that is looked at. Longer ones are nobody's.
const LONGEST: usize = 4096;

/// The lease directory of one network, which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDirectory(PathBuf);

impl LeaseDirectory {
    /// The directory of `network`, whose name must be an identifier of CNI.
    pub fn new(data_dir: &Path, network: &str) -> Self {
        LeaseDirectory(data_dir.join(network))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Locks it, and makes it if need be.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Locked`].
    pub fn lock(&self, timeout: Duration) -> Result<Leases, Error> {
        if let Some(leases) = self.lock_existing(timeout)? {
            return Ok(leases);
        }
        fs::create_dir_all(&self.0).map_err(|e| failed("make", &self.0, e))?;
        let lock = Lock::acquire(&self.0.join("lock"), timeout)?;
        Ok(self.locked(lock))
    }

    /// Locks it; `None` when it does not exist, and so no lease does.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Locked`].
    pub fn lock_existing(&self, timeout: Duration) -> Result<Option<Leases>, Error> {
        match Lock::acquire(&self.0.join("lock"), timeout) {
            Ok(lock) => Ok(Some(self.locked(lock))),
            Err(Error::Store { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn locked(&self, lock: Lock) -> Leases {
        Leases {
            directory: self.0.clone(),
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

/// The leases of a network, while nobody else can change them.
#[derive(Debug)]
pub struct Leases {
    directory: PathBuf,
    _lock: Lock,
}

impl Leases {
    /// The addresses that `owner` holds, in order. Leases without an interface
    /// count for any interface of their container, but only if none has it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn of(&self, owner: Owner<'_>) -> Result<Found<IpAddr>, Error> {
        let (mut exact, mut legacy) = (Vec::new(), Vec::new());
        let unread = self.read_each(|address, content| match owner.holds(content) {
            Some(Match::Exact) => exact.push(address),
            Some(Match::Container) => legacy.push(address),
            None => {}
        })?;
        let mut found = if exact.is_empty() { legacy } else { exact };
        found.sort_unstable();
        Ok(Found { found, unread })
    }

    /// Every lease, those that nobody holds too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn all(&self) -> Result<Found<(IpAddr, Lease)>, Error> {
        let mut found = Vec::new();
        let unread =
            self.read_each(|address, content| found.push((address, Lease::parse(content))))?;
        found.sort_unstable_by_key(|(address, _)| *address);
        Ok(Found { found, unread })
    }

    /// The addresses that are taken.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn taken(&self) -> Result<Vec<IpAddr>, Error> {
        let mut taken = Vec::new();
        self.each(|address, path| {
            if !is_empty_file(path) {
                taken.push(address);
            }
            Ok(())
        })?;
        Ok(taken)
    }

    /// The lease of an address; `None` when there is no file.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn lease(&self, address: IpAddr) -> Result<Option<Lease>, Error> {
        let path = self.path(address);
        let content = read(&path, &mut [0; LONGEST]).map(Lease::parse);
        match content {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// Gives `address` to `owner`; false when it is taken.
    ///
    /// # Errors
    /// [`Error::Store`]; then there is no lease.
    pub fn reserve(&self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        let path = self.path(address);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at", &path, error)),
            Ok(file) if file.is_file() && file.len() == 0 => {}
            Ok(_) => return Ok(false),
        }
        let unnamed = self.directory.join(UNNAMED);
        let content = owner.content();
        let written = write(&unnamed, content.as_bytes())
            .map_err(|e| failed("write", &unnamed, e))
            .and_then(|()| fs::rename(&unnamed, &path).map_err(|e| failed("make", &path, e)));
        if written.is_err() {
            // The first error counts, and what is left is harmless.
            let _ = fs::remove_file(&unnamed);
        }
        written.map(|()| true)
    }

    /// Frees an address.
    ///
    /// # Errors
    /// [`Error::Store`]. That there is no lease is none.
    pub fn release(&self, address: IpAddr) -> Result<(), Error> {
        let path = self.path(address);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// The address that was given out last from a range set, if that is known.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        let mut buffer = [0; 64];
        let content = read(&self.last_reserved_path(set), &mut buffer).ok()?;
        std::str::from_utf8(content).ok()?.trim().parse().ok()
    }

    /// Remembers the address that was given out last from a range set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_last_reserved(&self, set: usize, address: IpAddr) -> Result<(), Error> {
        let path = self.last_reserved_path(set);
        write(&path, address.to_string().as_bytes()).map_err(|e| failed("write", &path, e))
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.directory.join(address.to_string())
    }

    fn last_reserved_path(&self, set: usize) -> PathBuf {
        self.directory.join(format!("last_reserved_ip.{set}"))
    }

    /// Reads every lease and returns the first error about one.
    fn read_each(&self, mut visit: impl FnMut(IpAddr, &[u8])) -> Result<Option<Error>, Error> {
        let mut buffer = [0; LONGEST];
        let mut unread = None;
        self.each(|address, path| {
            match read(path, &mut buffer) {
                Ok(content) => visit(address, content),
                Err(error) if is_foreign(&error) => {}
                Err(error) => unread = unread.take().or(Some(failed("read", path, error))),
            }
            Ok(())
        })?;
        Ok(unread)
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

fn failed(action: &'static str, path: &Path, error: io::Error) -> Error {
    Error::Store {
        action,
        path: path.to_owned(),
        error,
    }
}

/// Whether the error says that something else than a lease has an address for a
/// name: a directory, a socket, a link that leads nowhere.
fn is_foreign(error: &io::Error) -> bool {
    const FOREIGN: [Errno; 4] = [Errno::EISDIR, Errno::ENOENT, Errno::ELOOP, Errno::ENXIO];
    let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
    FOREIGN.into_iter().any(is)
}

fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// Reads what fits into `buffer`; leases and counters are shorter than that. It
/// does not wait for what may never come, should the file be a pipe.
fn read<'b>(path: &Path, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut options = File::options();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let length = options.open(path)?.read(buffer)?;
    Ok(&buffer[..length])
}

/// Leases say who runs here; as the reference's they are for root alone.
///
/// A file that is there is written over and then cut: on ext4, truncating it to
/// nothing first would make close(2) wait for the disk (`auto_da_alloc`).
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    match file.metadata()?.len() > content.len() as u64 {
        true => file.set_len(content.len() as u64),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    const C1: Owner<'_> = Owner {
        container: "c1",
        ifname: "eth0",
    };

    struct Fixture {
        dir: tempfile::TempDir,
        leases: Leases,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let leases = LeaseDirectory::new(dir.path(), "net")
                .lock(LOCK_TIMEOUT)
                .unwrap();
            Fixture { dir, leases }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.dir.path().join("net").join(name)
        }

        fn put(&self, name: &str, content: &[u8]) {
            fs::write(self.file(name), content).unwrap();
        }

        fn of(&self, owner: Owner<'_>) -> String {
            let held: Vec<String> = self
                .leases
                .of(owner)
                .unwrap()
                .found
                .iter()
                .map(IpAddr::to_string)
                .collect();
            held.join(" ")
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn files_are_the_references() {
        let f = Fixture::new();
        assert!(f.leases.reserve(ip("10.0.0.2"), C1).unwrap());
        assert!(f.leases.reserve(ip("fd00:0::0a"), C1).unwrap());
        f.leases.set_last_reserved(0, ip("10.0.0.2")).unwrap();
        assert_eq!(fs::read(f.file("10.0.0.2")).unwrap(), b"c1\r\neth0");
        assert_eq!(fs::read(f.file("fd00::a")).unwrap(), b"c1\r\neth0");
        assert_eq!(fs::read(f.file("last_reserved_ip.0")).unwrap(), b"10.0.0.2");
        assert_eq!(f.leases.last_reserved(0), Some(ip("10.0.0.2")));
        assert_eq!(f.leases.last_reserved(1), None);
        assert_eq!(f.of(C1), "10.0.0.2 fd00::a");
        assert!(!f.file(UNNAMED).exists());
    }

    #[test]
    fn an_address_is_given_once() {
        let f = Fixture::new();
        let other = Owner {
            container: "c2",
            ..C1
        };
        assert!(f.leases.reserve(ip("10.0.0.2"), C1).unwrap());
        assert!(!f.leases.reserve(ip("10.0.0.2"), other).unwrap());
        assert_eq!(
            f.leases.lease(ip("10.0.0.2")).unwrap().unwrap().to_string(),
            "container c1, interface eth0"
        );
        f.leases.release(ip("10.0.0.2")).unwrap();
        f.leases.release(ip("10.0.0.2")).unwrap();
        assert_eq!(f.leases.lease(ip("10.0.0.2")).unwrap(), None);
        assert!(f.leases.reserve(ip("10.0.0.2"), other).unwrap());
    }

    #[test]
    fn owners_are_told_apart() {
        let f = Fixture::new();
        f.put("10.0.0.2", b"c1\r\neth0");
        f.put("10.0.0.3", b"c1\r\neth01");
        f.put("10.0.0.4", b"c11\r\neth0");
        f.put("10.0.0.5", b"c1\r\neth0\n");
        f.put("10.0.0.6", b"c1");
        f.put("last_reserved_ip.0", b"c1\r\neth0");
        assert_eq!(f.of(C1), "10.0.0.2 10.0.0.5");
        let eth1 = Owner {
            ifname: "eth1",
            ..C1
        };
        assert_eq!(f.of(eth1), "10.0.0.6");
        assert_eq!(
            f.of(Owner {
                container: "c",
                ..C1
            }),
            ""
        );
    }

    #[test]
    fn what_is_damaged_is_in_nobodys_way() {
        let f = Fixture::new();
        f.put("10.0.0.2", b"");
        f.put("10.0.0.3", &[0xff; 5000]);
        f.put("10.0.0.4", b"c1\r\neth0");
        f.put("notes.txt", b"c1\r\neth0");
        fs::create_dir(f.file("10.0.0.5")).unwrap();
        symlink("/nonexistent", f.file("10.0.0.6")).unwrap();
        nix::unistd::mkfifo(&f.file("10.0.0.7"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        UnixListener::bind(f.file("10.0.0.8")).unwrap();
        f.put("last_reserved_ip.0", b"");
        assert_eq!(f.of(C1), "10.0.0.4");
        assert_eq!(f.leases.last_reserved(0), None);
        assert_eq!(f.leases.taken().unwrap().len(), 6);
        assert!(f.leases.of(C1).unwrap().unread.is_none());
        assert!(f.leases.lease(ip("10.0.0.2")).unwrap().unwrap().is_empty());
        for (address, free) in [
            ("10.0.0.2", true),
            ("10.0.0.3", false),
            ("10.0.0.5", false),
            ("10.0.0.6", false),
        ] {
            assert_eq!(
                f.leases.reserve(ip(address), C1).unwrap(),
                free,
                "{address}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let f = Fixture::new();
        f.put("10.0.0.4", b"c1\r\neth0");
        // Reading this process's memory at address 0 is an input/output error.
        symlink("/proc/self/mem", f.file("10.0.0.3")).unwrap();
        assert_eq!(f.of(C1), "10.0.0.4");
        let unread = f.leases.of(C1).unwrap().unread.unwrap().to_string();
        assert!(unread.contains("10.0.0.3: Input/output error"), "{unread}");
    }

    #[test]
    fn a_failed_reservation_leaves_nothing() {
        let f = Fixture::new();
        fs::create_dir(f.file(UNNAMED)).unwrap();
        let error = f
            .leases
            .reserve(ip("10.0.0.2"), C1)
            .unwrap_err()
            .to_string();
        assert!(error.contains(UNNAMED), "{error}");
        assert_eq!(f.leases.lease(ip("10.0.0.2")).unwrap(), None);
    }

    #[test]
    fn looking_makes_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let directory = LeaseDirectory::new(&dir.path().join("a/b"), "net");
        assert!(directory.lock_existing(LOCK_TIMEOUT).unwrap().is_none());
        assert!(!dir.path().join("a").exists());
        directory.lock(LOCK_TIMEOUT).unwrap();
        assert!(dir.path().join("a/b/net/lock").exists());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(
            LeaseDirectory::new(&dir.path().join("file"), "net")
                .lock(LOCK_TIMEOUT)
                .is_err()
        );
    }
}
