//! Who holds which address of a network: what tools show, and what they free.
//!
//! Which namespaces are alive is looked up *after* the leases were read: a container
//! that came in between is not taken for one that is gone.

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use crate::Error;
use crate::config::Storage;
use crate::lease::Lease;
use crate::lease_file::Kept;
use crate::netns::{Census, Life};
use crate::record::Namespace;
use crate::store::{Found, Leases};

/// In which boot of the machine a lease was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// In this one.
    Now,
    /// In an earlier one.
    Earlier,
    /// The kernel does not tell its boots apart.
    Unknown,
}

/// An address and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The address.
    pub address: IpAddr,
    /// Who holds it; nobody when the container is empty.
    pub lease: Lease,
    /// Since when.
    pub since: SystemTime,
    /// Whether it is good; one that is not can be given away.
    pub current: bool,
    /// In which boot it was made. The reference's leases tell by their time.
    pub made: Made,
    /// Whether any number of containers may hold the address.
    pub shared: bool,
    /// The container's namespace; the reference's leases do not tell.
    pub netns: Option<Namespace>,
    /// Whether that namespace is alive.
    pub life: Life,
}

impl Holding {
    /// A lease, before anybody has looked for its namespace.
    fn of(address: IpAddr, kept: Kept, leases: &Leases) -> Self {
        let boot = leases.boot();
        let recorded = kept.record.as_ref().map(|record| record.boot.as_str());
        let made = match boot.is_after(recorded, kept.since) {
            true => Made::Earlier,
            false if boot.id().is_empty() => Made::Unknown,
            false => Made::Now,
        };
        let current = leases.is_current(&kept);
        Holding {
            address,
            shared: leases.is_shared(address).unwrap_or_default(),
            since: kept.since,
            current,
            made,
            netns: kept.record.and_then(|record| record.netns),
            lease: kept.lease,
            // No namespace outlives its boot. But a lease that does is kept for who
            // comes back, and of that one's namespace nothing is known.
            life: match made == Made::Earlier && !current {
                true => Life::Gone,
                false => Life::Unknown,
            },
        }
    }

    /// Looks for the namespace of a lease of this boot.
    fn judged(self, census: &Census) -> Self {
        let netns = self.netns.as_ref().filter(|_| self.made == Made::Now);
        let life = netns.map_or(self.life, |netns| census.life_of(netns));
        Holding { life, ..self }
    }

    /// Whether it can be taken from its holder without asking: nobody is named, it
    /// is from an earlier boot and not kept across boots, or its namespace is gone
    /// for certain.
    pub fn is_dead(&self) -> bool {
        !self.current || self.life == Life::Gone
    }

    /// Whether both are the same lease, whatever became of its namespace.
    fn is_same(&self, other: &Holding) -> bool {
        let same = (self.address, self.since) == (other.address, other.since);
        same && self.lease == other.lease && self.netns == other.netns
    }
}

/// Every lease of some networks, by address; none where there is no directory. And
/// the namespaces as they are, which may not be all.
pub fn holdings(networks: &[&Storage]) -> (Vec<Result<Found<Holding>, Error>>, Census) {
    judged(networks, Leases::all)
}

/// As [`holdings`], of one address; no other lease is read.
pub fn holdings_at(
    networks: &[&Storage],
    address: IpAddr,
) -> (Vec<Result<Found<Holding>, Error>>, Census) {
    judged(networks, |leases| leases.at(address))
}

fn judged(
    networks: &[&Storage],
    look: impl Fn(&Leases) -> Result<Found<(IpAddr, Kept)>, Error>,
) -> (Vec<Result<Found<Holding>, Error>>, Census) {
    let read = |network: &&Storage| match lock(network)? {
        Some(leases) => Ok(of_leases(&leases, look(&leases)?)),
        None => Ok(Found::default()),
    };
    let read: Vec<_> = networks.iter().map(read).collect();
    let census = Census::take();
    let judged = |found: Found<Holding>| {
        let holdings = found.found.into_iter();
        Found {
            found: holdings.map(|holding| holding.judged(&census)).collect(),
            unread: found.unread,
        }
    };
    let judged = read.into_iter().map(|read| read.map(judged));
    (judged.collect(), census)
}

fn lock(network: &Storage) -> Result<Option<Leases>, Error> {
    network.directory.lock_existing(network.lock_timeout)
}

fn of_leases(leases: &Leases, read: Found<(IpAddr, Kept)>) -> Found<Holding> {
    let holdings = read.found.into_iter();
    let holdings = holdings.map(|(address, kept)| Holding::of(address, kept, leases));
    Found {
        found: holdings.collect(),
        unread: read.unread,
    }
}

/// What was freed.
#[derive(Debug, Default)]
pub struct Freed {
    /// The leases.
    pub freed: Vec<Holding>,
    /// Why some may not have been: a lease could not be read or removed.
    pub failed: Option<Error>,
}

/// Frees every lease of some networks that is [dead](Holding::is_dead); and tells the
/// namespaces as they were seen, which may not be all.
///
/// What seems to be dead is looked at again while nobody can make a lease: whoever
/// has one then has a namespace. Two looks also catch a namespace that was handed
/// from one process to another during the first. The second is quick, as ADD may be
/// waiting.
pub fn free_dead(networks: &[&Storage]) -> (Vec<Result<Freed, Error>>, Census) {
    let (seen, census) = holdings(networks);
    let free = |(network, seen): (&&Storage, Result<Found<Holding>, Error>)| {
        let mut seen = seen?;
        seen.found.retain(Holding::is_dead);
        match seen.found.is_empty() {
            true => Ok(Freed {
                freed: Vec::new(),
                failed: seen.unread,
            }),
            false => free_again_dead(network, &seen.found),
        }
    };
    let freed = networks.iter().zip(seen).map(free).collect();
    (freed, census)
}

/// Frees what is dead now and was `dead` before.
fn free_again_dead(network: &Storage, dead: &[Holding]) -> Result<Freed, Error> {
    let was_dead = |holding: &Holding| dead.iter().any(|dead| dead.is_same(holding));
    free_judged(network, was_dead, Holding::is_dead)
}

/// Frees the leases of a network that are `meant`.
///
/// # Errors
/// [`Error::Store`] and [`Error::Locked`]; then nothing was freed.
pub fn free(network: &Storage, meant: impl Fn(&Holding) -> bool) -> Result<Freed, Error> {
    free_judged(network, meant, |_| true)
}

/// Frees leases that are `meant`, and of which it is `certain` when their namespaces have
/// been looked for; a failure does not keep the others.
fn free_judged(
    network: &Storage,
    meant: impl Fn(&Holding) -> bool,
    certain: impl Fn(&Holding) -> bool,
) -> Result<Freed, Error> {
    let Some(mut leases) = lock(network)? else {
        return Ok(Freed::default());
    };
    let Found { found, unread } = of_leases(&leases, leases.all()?);
    let mut freed = Freed {
        freed: Vec::new(),
        failed: unread,
    };
    let found: Vec<Holding> = found.into_iter().filter(meant).collect();
    if found.is_empty() {
        return Ok(freed);
    }
    let census = Census::take_quickly();
    let judged = found.into_iter().map(|holding| holding.judged(&census));
    for holding in judged.filter(certain) {
        match leases.release(holding.address, &holding.lease) {
            Ok(()) => freed.freed.push(holding),
            Err(error) => freed.failed = freed.failed.or(Some(error)),
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
    use std::time::Duration;

    use crate::lease::Owner;
    use crate::store::{LOCK_TIMEOUT, LeaseDirectory};

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

    fn network(dir: &Path, keep: bool) -> Storage {
        Storage {
            directory: LeaseDirectory::new(dir, "net").keeping_across_reboot(keep),
            lock_timeout: LOCK_TIMEOUT,
        }
    }

    fn lives(network: &Storage) -> Vec<(IpAddr, Life)> {
        let (mut found, _) = holdings(&[network]);
        let found = found.pop().unwrap().unwrap().found;
        found.into_iter().map(|h| (h.address, h.life)).collect()
    }

    fn addresses(freed: Freed) -> Vec<IpAddr> {
        assert!(freed.failed.is_none(), "{freed:?}");
        freed.freed.iter().map(|holding| holding.address).collect()
    }

    fn free_dead_of(network: &Storage) -> Freed {
        let (mut freed, _) = free_dead(&[network]);
        freed.pop().unwrap().unwrap()
    }

    #[test]
    fn a_lease_is_dead_when_its_namespace_is() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), false);
        let (stays, goes) = (InNamespace::start(), InNamespace::start());
        let mut leases = network.directory.lock(LOCK_TIMEOUT).unwrap();
        let paths = [Some(stays.path()), Some(goes.path()), None];
        for (n, path) in (2..).zip(&paths) {
            leases.set_netns(path.as_deref());
            assert!(leases.reserve(ip(n), BY).unwrap());
        }
        drop(leases);
        fs::write(dir.path().join("net/10.0.0.9"), "reference\r\neth0").unwrap();
        let unknown = [(ip(4), Life::Unknown), (ip(9), Life::Unknown)];
        let before = [(ip(2), Life::Alive), (ip(3), Life::Alive)];
        assert_eq!(lives(&network), [before, unknown].concat());
        assert_eq!(addresses(free_dead_of(&network)), [] as [IpAddr; 0]);
        drop(goes);
        if Census::take().unseen().is_some() {
            return; // Not everything can be seen from here, so nothing is proven.
        }
        // The kernel may give the number of a namespace that is gone to another, and
        // other tests make some.
        let mut freed = Vec::new();
        for _ in 0..500 {
            freed.extend(addresses(free_dead_of(&network)));
            if !freed.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(freed, [ip(3)]);
        let after = [(ip(2), Life::Alive)];
        assert_eq!(lives(&network), [&after[..], &unknown[..]].concat());
        drop(stays);
    }

    #[test]
    fn leases_of_earlier_boots_and_of_nobody_are_dead() {
        for keep in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let network = network(dir.path(), keep);
            let mut leases = network.directory.lock(LOCK_TIMEOUT).unwrap();
            for n in [2, 5] {
                assert!(leases.reserve(ip(n), BY).unwrap());
            }
            drop(leases);
            let path = |n: u8| dir.path().join(format!("net/10.0.0.{n}"));
            fs::File::create(path(3)).unwrap();
            fs::write(path(4), "c4\r\neth0").unwrap();
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            let file = fs::File::options().append(true).open(path(4)).unwrap();
            file.set_modified(long_ago).unwrap();
            // Its namespace had a number that nobody has now.
            let record = "00000000-0000-0000-0000-000000000000 4:1 /run/netns/gone";
            let flags = rustix::fs::XattrFlags::empty();
            let attribute = crate::record::ATTRIBUTE;
            rustix::fs::setxattr(path(5), attribute, record.as_bytes(), flags).unwrap();
            let (mut found, _) = holdings(&[&network]);
            let found = found.pop().unwrap().unwrap().found;
            let made: Vec<Made> = found.iter().map(|holding| holding.made).collect();
            assert_eq!(made, [Made::Now, Made::Now, Made::Earlier, Made::Earlier]);
            let freed = addresses(free_dead_of(&network));
            match keep {
                false => assert_eq!(freed, [ip(3), ip(4), ip(5)]),
                true => assert_eq!(freed, [ip(3)], "the others are kept for who comes back"),
            }
            let other = |holding: &Holding| holding.lease.container == "other";
            assert_eq!(addresses(free(&network, other).unwrap()), [] as [IpAddr; 0]);
            let two = |holding: &Holding| holding.address == ip(2);
            assert_eq!(addresses(free(&network, two).unwrap()), [ip(2)]);
            assert_eq!(addresses(free(&network, two).unwrap()), [] as [IpAddr; 0]);
            assert_eq!(networks(dir.path()).unwrap(), ["net"]);
        }
        let none = networks(Path::new("/nonexistent")).unwrap();
        assert_eq!(none, [] as [&str; 0]);
    }

    #[test]
    fn a_lease_that_cannot_be_read_keeps_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), false);
        drop(network.directory.lock(LOCK_TIMEOUT).unwrap());
        fs::File::create(dir.path().join("net/10.0.0.3")).unwrap();
        // Reading this process's memory at address 0 is an input/output error.
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("net/10.0.0.4")).unwrap();
        let freed = free_dead_of(&network);
        assert_eq!(freed.freed.len(), 1);
        let failed = freed.failed.unwrap().to_string();
        assert!(failed.contains("10.0.0.4"), "{failed}");
    }
}
