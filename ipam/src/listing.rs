//! Who holds which address of a network: what tools show, and what they free.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::lease::Lease;
use crate::lease_file::Kept;
use crate::netns::{Census, Life};
use crate::record::Namespace;
use crate::store::{Found, LeaseDirectory, Leases};

/// An address and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The address.
    pub address: IpAddr,
    /// Who holds it; nobody when the container is empty.
    pub lease: Lease,
    /// Since when.
    pub since: SystemTime,
    /// Whether it is from this boot; one from an earlier boot can be given away.
    pub current: bool,
    /// The id of its boot; the reference's leases do not tell.
    pub boot: Option<String>,
    /// The container's namespace; the reference's leases do not tell.
    pub netns: Option<Namespace>,
    /// Whether that namespace is alive.
    pub life: Life,
}

impl Holding {
    fn of(address: IpAddr, kept: Kept, leases: &Leases, census: &Census) -> Self {
        let current = leases.is_current(&kept);
        let (boot, netns) = kept
            .record
            .map_or((None, None), |record| (Some(record.boot), record.netns));
        let life = match &netns {
            // No namespace outlives its boot.
            _ if !current && boot.as_ref().is_some_and(|b| *b != leases.boot().id()) => Life::Gone,
            None => Life::Unknown,
            Some(netns) => census.life_of(netns),
        };
        Holding {
            address,
            lease: kept.lease,
            since: kept.since,
            current,
            boot,
            netns,
            life,
        }
    }

    /// Whether it can be taken from its holder without asking: nobody is named, it
    /// is from an earlier boot, or its namespace is gone for certain.
    pub fn is_dead(&self) -> bool {
        !self.current || self.life == Life::Gone
    }
}

/// Every lease of a network, by address; none when there is no directory.
///
/// # Errors
/// [`Error::Store`] and [`Error::Locked`].
pub fn holdings(
    directory: &LeaseDirectory,
    timeout: Duration,
    census: &Census,
) -> Result<Found<Holding>, Error> {
    match directory.lock_existing(timeout)? {
        Some(leases) => of_leases(&leases, census),
        None => Ok(Found {
            found: Vec::new(),
            unread: None,
        }),
    }
}

fn of_leases(leases: &Leases, census: &Census) -> Result<Found<Holding>, Error> {
    let Found { found, unread } = leases.all()?;
    let holdings = found
        .into_iter()
        .map(|(address, kept)| Holding::of(address, kept, leases, census));
    Ok(Found {
        found: holdings.collect(),
        unread,
    })
}

/// Frees every lease that is [dead](Holding::is_dead), and tells which they were.
///
/// # Errors
/// [`Error::Store`] and [`Error::Locked`].
pub fn free_dead(directory: &LeaseDirectory, timeout: Duration) -> Result<Vec<Holding>, Error> {
    free(directory, timeout, Holding::is_dead)
}

/// Frees the leases of an address: of all its holders, or of a container.
///
/// # Errors
/// [`Error::Store`] and [`Error::Locked`].
pub fn free_address(
    directory: &LeaseDirectory,
    timeout: Duration,
    address: IpAddr,
    container: Option<&str>,
) -> Result<Vec<Holding>, Error> {
    let is_meant = |holding: &Holding| {
        let is_its = container.is_none_or(|container| holding.lease.container == container);
        holding.address == address && is_its
    };
    free(directory, timeout, is_meant)
}

/// Frees what is `meant`. The census is taken under the lock: an ADD that runs has
/// its lease after it, or its namespace in it.
fn free(
    directory: &LeaseDirectory,
    timeout: Duration,
    meant: impl Fn(&Holding) -> bool,
) -> Result<Vec<Holding>, Error> {
    let Some(mut leases) = directory.lock_existing(timeout)? else {
        return Ok(Vec::new());
    };
    let census = Census::take();
    let mut freed = Vec::new();
    for holding in of_leases(&leases, &census)?.found {
        if meant(&holding) {
            leases.release(holding.address, &holding.lease)?;
            freed.push(holding);
        }
    }
    Ok(freed)
}

/// The networks that have leases in a data directory.
///
/// # Errors
/// [`Error::Store`] when there is a directory that cannot be read.
pub fn networks(data_dir: &Path) -> Result<Vec<String>, Error> {
    let unreadable = |error| crate::lease_file::failed("read", data_dir, error);
    let entries = match std::fs::read_dir(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut networks = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if cni::name::is_identifier(&name) && entry.path().is_dir() {
            networks.push(name);
        }
    }
    networks.sort();
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::lease::Owner;
    use crate::store::LOCK_TIMEOUT;

    const BY: Owner<'_> = Owner {
        container: "c1",
        ifname: "eth0",
    };

    /// A process in a network namespace of its own.
    struct InNamespace(Child);

    impl InNamespace {
        fn start() -> Self {
            let mut child = Command::new("unshare")
                .args(["--net", "sh", "-c", "echo; exec sleep 60"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // The line says that it is inside.
            let mut line = [0];
            std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut line).unwrap();
            InNamespace(child)
        }

        fn path(&self) -> std::path::PathBuf {
            format!("/proc/{}/ns/net", self.0.id()).into()
        }
    }

    impl Drop for InNamespace {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn a_lease_is_dead_when_its_namespace_is() {
        let dir = tempfile::tempdir().unwrap();
        let directory = LeaseDirectory::new(dir.path(), "net");
        let (stays, goes) = (InNamespace::start(), InNamespace::start());
        let mut leases = directory.lock(LOCK_TIMEOUT).unwrap();
        let paths = [Some(stays.path()), Some(goes.path()), None];
        for (n, path) in (2..).zip(&paths) {
            leases.set_netns(path.as_deref());
            assert!(leases.reserve(ip(n), BY).unwrap());
        }
        drop(leases);
        fs::write(dir.path().join("net/10.0.0.9"), "reference\r\neth0").unwrap();
        let lives = |directory: &LeaseDirectory| {
            let census = Census::take();
            let all = holdings(directory, LOCK_TIMEOUT, &census).unwrap().found;
            all.into_iter()
                .map(|h| (h.address, h.life))
                .collect::<Vec<_>>()
        };
        let unknown = [(ip(4), Life::Unknown), (ip(9), Life::Unknown)];
        let before = [(ip(2), Life::Alive), (ip(3), Life::Alive)];
        assert_eq!(lives(&directory), [before, unknown].concat());
        assert_eq!(free_dead(&directory, LOCK_TIMEOUT).unwrap(), []);
        drop(goes);
        let census = Census::take();
        if census.unseen().is_some() {
            return; // Not everything can be seen from here, so nothing is proven.
        }
        // The kernel takes namespaces apart a little later.
        let freed = free_dead(&directory, LOCK_TIMEOUT).unwrap();
        assert_eq!(freed.len(), 1);
        assert_eq!(freed[0].address, ip(3));
        let after = [(ip(2), Life::Alive)];
        assert_eq!(lives(&directory), [&after[..], &unknown[..]].concat());
        drop(stays);
    }

    #[test]
    fn leases_of_earlier_boots_and_of_nobody_are_dead() {
        let dir = tempfile::tempdir().unwrap();
        let directory = LeaseDirectory::new(dir.path(), "net");
        let mut leases = directory.lock(LOCK_TIMEOUT).unwrap();
        assert!(leases.reserve(ip(2), BY).unwrap());
        drop(leases);
        let file = fs::File::create(dir.path().join("net/10.0.0.3")).unwrap();
        drop(file);
        let old = dir.path().join("net/10.0.0.4");
        fs::write(&old, "c4\r\neth0").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let file = fs::File::options().append(true).open(&old).unwrap();
        file.set_modified(long_ago).unwrap();
        let freed = free_dead(&directory, LOCK_TIMEOUT).unwrap();
        let freed: Vec<IpAddr> = freed.iter().map(|holding| holding.address).collect();
        assert_eq!(freed, [ip(3), ip(4)]);
        let freed = free_address(&directory, LOCK_TIMEOUT, ip(2), Some("other")).unwrap();
        assert_eq!(freed, []);
        let freed = free_address(&directory, LOCK_TIMEOUT, ip(2), None).unwrap();
        assert_eq!(freed.len(), 1);
        assert_eq!(networks(dir.path()).unwrap(), ["net"]);
        assert_eq!(
            networks(Path::new("/nonexistent")).unwrap(),
            [] as [&str; 0]
        );
    }
}
