//! A container: a network namespace on a host, reached by a path.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::{Host, Namespace};

/// Where runtimes keep the paths of network namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace of its own, bound to `/run/netns/<id>` in the host's mount namespace.
///
/// Only that mount holds it, as with a real runtime: dropping the value unmounts the path, and the
/// kernel ends the namespace with all its links.
#[derive(Debug)]
pub struct Container<'h> {
    host: &'h Host,
    id: String,
}

impl<'h> Container<'h> {
    pub(crate) fn new(host: &'h Host, id: &str) -> Self {
        let container = Self {
            host,
            id: id.to_owned(),
        };
        let path = container.netns();
        host.run(|| {
            fs::create_dir_all(DIRECTORY).expect("/run is the host's own");
            File::create_new(&path)
                .unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
            let source = Some("/proc/thread-self/ns/net");
            mount(source, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .unwrap_or_else(|error| panic!("cannot bind {}: {error}", path.display()));
        });
        container
    }

    /// The host that the container runs on.
    pub fn host(&self) -> &'h Host {
        self.host
    }

    /// The container's id, as in `CNI_CONTAINERID`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The path of the namespace, as in `CNI_NETNS`.
    pub fn netns(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.id)
    }

    /// Brings the loopback up, as runtimes do that do not call the loopback plugin.
    pub fn with_loopback(self) -> Self {
        self.ip("link set lo up");
        self
    }

    /// Ends the container: its namespace is gone and its path may be used again.
    pub fn destroy(self) {
        drop(self);
    }
}

impl Namespace for Container<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.host.name(), self.id)
    }

    fn enter(&self) {
        self.host.enter();
        let path = self.netns();
        let namespace = File::open(&path)
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("cannot enter {}: {error}", path.display()));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let path = self.netns();
        // A test may have taken the path away itself; there is nothing left to do then.
        self.host.run(|| {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = fs::remove_file(&path);
        });
    }
}
