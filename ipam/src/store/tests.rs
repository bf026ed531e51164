//! The lease directory, its index, and what others do to both.

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

    /// Lets go of the lock and takes it again, as another call does.
    fn again(&mut self) {
        let directory = LeaseDirectory::new(self.dir.path(), "net");
        let closed = LeaseDirectory::new(self.dir.path(), "other").lock(LOCK_TIMEOUT);
        drop(std::mem::replace(&mut self.leases, closed.unwrap()));
        self.leases = directory.lock(LOCK_TIMEOUT).unwrap();
    }

    fn release(&mut self, address: &str, owner: Owner<'_>) {
        self.leases.release(ip(address), &Lease::of(owner)).unwrap();
    }

    fn lease(&self, address: &str) -> Option<Lease> {
        self.leases
            .kept(ip(address))
            .unwrap()
            .map(|kept| kept.lease)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.file(name), content).unwrap();
    }

    /// What is held, as the next call sees it.
    fn of(&mut self, owner: Owner<'_>) -> String {
        self.again();
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
    let mut f = Fixture::new();
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
    let mut f = Fixture::new();
    let other = Owner {
        container: "c2",
        ..C1
    };
    assert!(f.leases.reserve(ip("10.0.0.2"), C1).unwrap());
    assert!(!f.leases.reserve(ip("10.0.0.2"), other).unwrap());
    assert_eq!(
        f.lease("10.0.0.2").unwrap().to_string(),
        "container c1, interface eth0"
    );
    f.release("10.0.0.2", C1);
    f.release("10.0.0.2", C1);
    assert_eq!(f.lease("10.0.0.2"), None);
    assert!(f.leases.reserve(ip("10.0.0.2"), other).unwrap());
}

#[test]
fn owners_are_told_apart() {
    let mut f = Fixture::new();
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
    let mut f = Fixture::new();
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
    assert_eq!(f.leases.named().unwrap().len(), 7);
    assert!(f.leases.of(C1).unwrap().unread.is_none());
    assert!(f.lease("10.0.0.2").unwrap().is_empty());
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
    let mut f = Fixture::new();
    f.put("10.0.0.4", b"c1\r\neth0");
    // Reading this process's memory at address 0 is an input/output error.
    symlink("/proc/self/mem", f.file("10.0.0.3")).unwrap();
    assert_eq!(f.of(C1), "10.0.0.4");
    let unread = f.leases.of(C1).unwrap().unread.unwrap().to_string();
    assert!(unread.contains("10.0.0.3: Input/output error"), "{unread}");
}

#[test]
fn a_failed_reservation_leaves_nothing() {
    let mut f = Fixture::new();
    fs::create_dir(f.file(UNNAMED)).unwrap();
    let error = f
        .leases
        .reserve(ip("10.0.0.2"), C1)
        .unwrap_err()
        .to_string();
    assert!(error.contains(UNNAMED), "{error}");
    assert_eq!(f.lease("10.0.0.2"), None);
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

impl Fixture {
    fn index(&self) -> PathBuf {
        self.dir.path().join(".slash24/net/index")
    }

    /// Leases of c0, c1, ... of the addresses 10.0.0.0, 10.0.0.1, ...
    fn with_leases(count: u8) -> Self {
        let mut f = Fixture::new();
        for n in 0..count {
            f.reserve(n);
        }
        f.again();
        f
    }

    fn reserve(&mut self, n: u8) {
        let container = format!("c{n}");
        let owner = Owner {
            container: &container,
            ..C1
        };
        let address = IpAddr::from([10, 0, 0, n]);
        assert!(self.leases.reserve(address, owner).unwrap());
    }

    fn of_container(&mut self, n: u8) -> String {
        let container = format!("c{n}");
        self.of(Owner {
            container: &container,
            ..C1
        })
    }
}

#[test]
fn no_other_lease_is_read_while_the_index_is_in_step() {
    let mut f = Fixture::with_leases(9);
    // This changes a lease without changing the directory. Who reads all leases
    // finds it.
    f.put("10.0.0.5", b"c1\r\neth0");
    assert_eq!(f.of_container(1), "10.0.0.1");
    assert_eq!(f.of_container(5), "", "and the lease decides");
    f.again();
    f.put("other", b"");
    assert_eq!(f.of_container(1), "10.0.0.1 10.0.0.5");
    f.reserve(20);
    f.release("10.0.0.2", Lease::of(C1).owner().unwrap());
    assert_eq!(f.of_container(1), "10.0.0.1 10.0.0.5");
    assert_eq!(f.of_container(20), "10.0.0.20");
}

#[test]
fn what_others_do_is_seen() {
    let mut f = Fixture::with_leases(9);
    f.again();
    fs::remove_file(f.file("10.0.0.3")).unwrap();
    assert_eq!(f.of_container(3), "");
    f.again();
    f.put("10.0.0.33", b"c3\r\neth0");
    assert_eq!(f.of_container(3), "10.0.0.33");
    f.again();
    fs::rename(f.file("10.0.0.33"), f.file("10.0.0.34")).unwrap();
    assert_eq!(f.of_container(3), "10.0.0.34");
    f.again();
    fs::remove_dir_all(f.dir.path().join("net")).unwrap();
    f.again();
    assert_eq!(f.of_container(3), "");
    f.reserve(3);
    assert_eq!(f.of_container(3), "10.0.0.3");
}

#[test]
fn an_index_is_no_more_than_an_index() {
    let mut f = Fixture::with_leases(9);
    let size = fs::metadata(f.index()).unwrap().len();
    for at in (0..size).step_by(37) {
        let mut index = fs::read(f.index()).unwrap();
        index[at as usize] ^= 0x55;
        fs::write(f.index(), index).unwrap();
        assert_eq!(f.of_container(3), "10.0.0.3", "{at}");
        assert_eq!(f.of_container(10), "");
    }
    for damage in [b"".to_vec(), vec![0; 100], vec![b'x'; 100_000]] {
        fs::write(f.index(), damage).unwrap();
        assert_eq!(f.of_container(3), "10.0.0.3");
    }
    fs::remove_file(f.index()).unwrap();
    fs::create_dir(f.index()).unwrap();
    assert_eq!(f.of_container(3), "10.0.0.3");
    fs::remove_dir(f.index()).unwrap();
    fs::remove_dir_all(f.dir.path().join(".slash24")).unwrap();
    fs::write(f.dir.path().join(".slash24"), "in the way").unwrap();
    assert_eq!(f.of_container(3), "10.0.0.3");
    f.reserve(10);
    assert_eq!(f.of_container(10), "10.0.0.10");
}

#[test]
fn one_owner_may_have_written_everything() {
    let mut f = Fixture::new();
    for n in 0..200 {
        f.put(&format!("10.0.1.{n}"), b"reserved by hand");
    }
    f.reserve(7);
    assert_eq!(f.of_container(7), "10.0.0.7");
    let hand = Owner {
        container: "reserved by hand",
        ..C1
    };
    assert_eq!(f.of(hand).split(' ').count(), 200);
}

#[test]
fn what_a_killed_process_left_is_swept_up() {
    let mut f = Fixture::with_leases(3);
    f.put(UNNAMED, b"c9\r\neth0");
    assert_eq!(f.of_container(9), "");
    assert!(!f.file(UNNAMED).exists());
}
