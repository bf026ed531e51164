//! A simulated machine.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use crate::{Container, Namespace, Plugins, call, program};

/// Directories that a machine keeps for itself. The first of each pair exists on every Linux and is
/// shadowed by a writable layer, so that the second can be made where it is missing.
const OWN_DIRECTORIES: [(&str, &str); 3] = [
    ("/etc", "/etc/slash24"),
    ("/etc", "/etc/cni"),
    ("/var/lib", "/var/lib/cni"),
];

/// A machine of its own as far as networking is concerned: its network, mount and host-name
/// namespaces, with empty `/run`, `/etc/slash24`, `/etc/cni` and `/var/lib/cni`.
///
/// It exists as three file descriptors, which programs do not inherit; when the value is dropped or
/// the process dies the kernel takes everything back.
#[derive(Debug)]
pub struct Host {
    name: String,
    network: File,
    mounts: File,
    host_name: File,
    own_plugins: OnceLock<PathBuf>,
}

impl Host {
    /// Starts a machine with a host name. Its loopback is up, as on every machine.
    pub fn new(name: &str) -> Self {
        let boot = || {
            let namespaces =
                CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
            unshare(namespaces).unwrap_or_else(|error| {
                panic!("cannot make namespaces (they need root or become_root()): {error}")
            });
            sethostname(name).expect("the host-name namespace is ours");
            own_directories();
            let open = |kind| {
                let path = format!("/proc/thread-self/ns/{kind}");
                File::open(&path).unwrap_or_else(|error| panic!("cannot open {path}: {error}"))
            };
            Self {
                name: name.to_owned(),
                network: open("net"),
                mounts: open("mnt"),
                host_name: open("uts"),
                own_plugins: OnceLock::new(),
            }
        };
        let host = thread::scope(|scope| scope.spawn(boot).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        host.ip("link set lo up");
        host
    }

    /// Makes a container whose namespace has a path on this host and no interface up.
    pub fn container(&self, id: &str) -> Container<'_> {
        Container::new(self, id)
    }

    /// The network namespace as a path, for `ip link add ... netns PATH`.
    pub fn netns(&self) -> PathBuf {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.network.as_raw_fd()
        )
        .into()
    }

    /// Writes a file on the host, with the folders above it.
    pub fn write(&self, path: &str, content: &str) {
        self.run(|| write(Path::new(path), content));
    }

    /// As [`Host::write`], for a program. Another process writes it: while this one has it
    /// open for writing a trial beside may start a program, which then has it open as well,
    /// and the kernel executes no such file (`ETXTBSY`).
    pub fn write_program(&self, path: &str, content: &str) {
        const WRITE: &str = r#"mkdir -p "${0%/*}" && cat > "$0" && chmod 755 "$0""#;
        let written = self.run(|| program::run("sh", &["-c", WRITE, path], content));
        assert!(written.status.success(), "cannot write {path}: {written:?}");
    }

    /// Copies a program to `path`, by another process as [`Host::write_program`].
    pub fn copy_program(&self, from: &Path, path: &str) {
        const COPY: &str = r#"mkdir -p "${0%/*}" && cp "$1" "$0""#;
        let from = from.to_str().expect("paths of programs are text");
        let copied = self.run(|| program::run("sh", &["-c", COPY, path, from], ""));
        assert!(copied.status.success(), "cannot copy {from}: {copied:?}");
    }

    /// Reads a file of the host; `None` if there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        self.run(|| fs::read_to_string(path).ok())
    }

    /// Gives the host a DMI attribute, which the kernel shows below `/sys/class/dmi/id`.
    pub fn set_dmi(&self, attribute: &str, value: &str) {
        self.run(|| {
            // Folders cannot be made in sysfs, and a virtual machine may have no DMI at all.
            tmpfs(Path::new("/sys/class"));
            write(
                &Path::new("/sys/class/dmi/id").join(attribute),
                &format!("{value}\n"),
            );
        });
    }

    /// Gives the host an empty directory for each that the kernel shows devices in, for
    /// [`Host::write`] to fill.
    pub fn replace_sys(&self) {
        self.run(|| {
            for directory in ["/sys/bus", "/sys/class/net", "/sys/devices"] {
                tmpfs(Path::new(directory));
            }
        });
    }

    /// The directory in which a set of plugins is installed on this host.
    pub fn plugin_dir(&self, plugins: Plugins) -> PathBuf {
        match plugins {
            Plugins::Slash24 => self
                .own_plugins
                .get_or_init(|| self.run(call::install))
                .clone(),
            Plugins::Debian => call::debian(),
        }
    }
}

impl Namespace for Host {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn enter(&self) {
        // A thread that shares its root and working directory may not change mount namespaces.
        unshare(CloneFlags::CLONE_FS).expect("a thread may have its own working directory");
        for (namespace, kind) in [
            (&self.mounts, CloneFlags::CLONE_NEWNS),
            (&self.network, CloneFlags::CLONE_NEWNET),
            (&self.host_name, CloneFlags::CLONE_NEWUTS),
        ] {
            setns(namespace, kind)
                .unwrap_or_else(|error| panic!("cannot enter {}: {error}", self.name));
        }
    }
}

/// Replaces the state directories by empty ones and leaves the real file system untouched.
fn own_directories() {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .expect("the mount namespace is ours");
    tmpfs(Path::new("/run"));
    for (parent, directory) in OWN_DIRECTORIES {
        let layers = PathBuf::from("/run/layers").join(parent.trim_start_matches('/'));
        if !layers.exists() {
            overlay(parent, &layers);
        }
        fs::create_dir_all(directory)
            .unwrap_or_else(|error| panic!("cannot make {directory}: {error}"));
        tmpfs(Path::new(directory));
    }
}

fn overlay(directory: &str, layers: &Path) {
    let [upper, work] = ["upper", "work"].map(|layer| layers.join(layer));
    for layer in [&upper, &work] {
        fs::create_dir_all(layer).expect("/run is ours");
    }
    let options = format!(
        "lowerdir={directory},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        directory,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .unwrap_or_else(|error| panic!("cannot mount an overlay over {directory}: {error}"));
}

fn tmpfs(directory: &Path) {
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap_or_else(|error| panic!("cannot mount over {}: {error}", directory.display()));
}

fn write(path: &Path, content: &str) {
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
