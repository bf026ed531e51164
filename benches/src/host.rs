//! Hosts and containers made of network namespaces, without a trace: the
//! benchmark has a mount namespace of its own with a fresh `/run`, where all its
//! files and namespaces are. They end with the process, however it ends.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_child_subreaper;

use crate::error::{Doing, Error, Result};
use crate::process::{self, Invocation};
use crate::scenario::{Network, UPLINK};

const RUN: &str = "/run";
/// The calling thread's network namespace.
const HERE: &str = "/proc/thread-self/ns/net";
const IP: &str = "/usr/sbin/ip";

/// Leaves the machine's network and mounts. Before any thread is started.
pub(crate) fn withdraw() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).doing(|| "unshare".to_owned())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .doing(|| "making mounts private".to_owned())?;
    mount(
        Some("tmpfs"),
        RUN,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .doing(|| format!("mounting {RUN}"))?;
    // What a plugin leaves behind comes to us, so that no call is timed while
    // an earlier one is still at work.
    set_child_subreaper(true).doing(|| "prctl".to_owned())
}

/// A new directory under the private `/run`.
pub(crate) fn directory(name: &str) -> Result<PathBuf> {
    let path = Path::new(RUN).join(name);
    fs::create_dir_all(&path).doing(|| path.display().to_string())?;
    Ok(path)
}

fn here() -> Result<File> {
    File::open(HERE).doing(|| HERE.to_owned())
}

fn enter(namespace: &File) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).doing(|| "setns".to_owned())
}

/// A namespace in the role of the machine: loopback up and, for macvlan, an
/// interface named `uplink`.
#[derive(Debug)]
pub(crate) struct Host(File);

impl Host {
    pub(crate) fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).doing(|| "unshare".to_owned())?;
        let host = Self(here()?);
        for line in [
            "link set lo up".to_owned(),
            format!("link add {UPLINK} type veth peer name wire"),
            "link set wire up".to_owned(),
            format!("link set {UPLINK} up"),
        ] {
            let mut ip = Invocation::new(Path::new(IP));
            ip.arguments = line.split(' ').map(Into::into).collect();
            process::run(&[ip])?;
        }
        Ok(host)
    }

    /// Puts the calling thread, and what it starts, on this host.
    pub(crate) fn enter(&self) -> Result<()> {
        enter(&self.0)
    }
}

/// A fresh namespace at a path, as an agent would hand it to a plugin.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// The last byte of a static address.
    pub(crate) number: u8,
    pub(crate) path: PathBuf,
    namespace: File,
}

impl Container {
    /// Leaves the calling thread where it was.
    pub(crate) fn new(serial: usize, number: u8) -> Result<Self> {
        let home = here()?;
        let id = format!("bench{serial:06}");
        let path = directory("containers")?.join(&id);
        File::create(&path).doing(|| path.display().to_string())?;
        unshare(CloneFlags::CLONE_NEWNET).doing(|| "unshare".to_owned())?;
        let namespace = here()?;
        mount(
            Some(HERE),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .doing(|| path.display().to_string())?;
        enter(&home)?;
        Ok(Self {
            id,
            number,
            path,
            namespace,
        })
    }

    /// The contender has not done its work unless each interface is up with an
    /// address in each subnet, and the first has the default routes.
    pub(crate) fn find_attached(
        &self,
        networks: &[Network],
        routed: bool,
    ) -> Result<Option<String>> {
        self.inside(|| {
            for network in networks {
                let name = network.interface();
                let addresses = addresses(&name)?;
                for family in network.families() {
                    if !addresses.iter().any(|address| family.contains(*address)) {
                        let subnet = family.subnet();
                        return Ok(Some(format!(
                            "{name} is not up with an address in {subnet}"
                        )));
                    }
                }
                if routed && network.has_default_route() && !has_default_route(&name)? {
                    return Ok(Some(format!("there is no default route over {name}")));
                }
            }
            Ok(None)
        })
    }

    /// The first of the networks' interfaces that is still there.
    pub(crate) fn find_left(&self, networks: &[Network]) -> Result<Option<String>> {
        self.inside(|| {
            let names = networks.iter().map(Network::interface);
            let mut left =
                names.filter(|name| nix::net::if_::if_nametoindex(name.as_str()).is_ok());
            Ok(left.next().map(|name| format!("{name} is still there")))
        })
    }

    fn inside<T>(&self, look: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = here()?;
        enter(&self.namespace)?;
        let found = look();
        enter(&home)?;
        found
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The mount namespace takes with it whatever is left here.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// The addresses of an interface that is up, in the namespace of the thread.
fn addresses(interface: &str) -> Result<Vec<IpAddr>> {
    let all = getifaddrs().doing(|| "getifaddrs".to_owned())?;
    let here = all.filter(|entry| entry.interface_name == interface);
    let up = here.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP));
    let address = up.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    });
    Ok(address.collect())
}

/// `/proc/net/route`: interface, destination and gateway are the first columns,
/// the mask is the eighth.
fn has_default_route(interface: &str) -> Result<bool> {
    let path = "/proc/thread-self/net/route";
    let table = fs::read_to_string(path).doing(|| path.to_owned())?;
    Ok(table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns.first() == Some(&interface)
            && columns.get(1) == Some(&"00000000")
            && columns.get(7) == Some(&"00000000")
    }))
}

/// Lets the kernel take apart the namespaces that were just dropped. It does so
/// in the background, holding the lock that every attachment needs.
pub(crate) fn settle() {
    thread::sleep(Duration::from_millis(200));
}
