//! Network namespaces.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::{Error, Result, raw};

/// The calling thread's namespace. Not `/proc/self`: that is the process's
/// first thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// Opens the calling thread's namespace. The kernel gives that of a socket at once; on
/// the way through `/proc` it makes an entry for each step, as it does for every process
/// that looks at itself there.
fn own() -> io::Result<File> {
    let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Unix, kind, flags, None)?;
    match raw::namespace_of(&socket) {
        Ok(namespace) => Ok(namespace.into()),
        Err(_) => File::open(OWN),
    }
}

/// A network namespace, held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
    /// The namespace that the thread was in when this one was opened.
    home: File,
    path: PathBuf,
}

impl Netns {
    /// Opens the namespace that `path` leads to: a bind mount, or a
    /// `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`Error::NotNetns`] when it leads to none; [`Error::Unopened`] when that cannot be
    /// found out.
    pub fn open(path: &Path) -> Result<Self> {
        let not = |why: String| Error::NotNetns {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => not(error.to_string()),
            _ => Error::Unopened {
                path: path.to_owned(),
                error,
            },
        })?;
        let is_namespace = nix::sys::statfs::fstatfs(&file)
            .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
        match is_namespace {
            true => Ok(Netns {
                file,
                home: own()?,
                path: path.to_owned(),
            }),
            false => Err(not("it is an ordinary file".into())),
        }
    }

    /// Makes a namespace that lives on without a process, and binds it to `path`, a
    /// file that is made, as `ip netns add` and runtimes do.
    ///
    /// # Errors
    /// [`Error::NotNetns`] when the path cannot be had; [`Error::Socket`] when the
    /// kernel makes no namespace.
    pub fn create(path: &Path) -> Result<Self> {
        let not = |why: String| Error::NotNetns {
            path: path.to_owned(),
            why,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| not(error.to_string()))?;
        }
        File::create(path).map_err(|error| not(error.to_string()))?;
        let home = own()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        let entered = Entered { home: &home };
        let bind = MsFlags::MS_BIND;
        mount(Some(OWN), path, None::<&str>, bind, None::<&str>)
            .map_err(|errno| not(errno.desc().to_owned()))?;
        let file = File::open(path).map_err(|error| not(error.to_string()))?;
        drop(entered);
        Ok(Netns {
            file,
            home,
            path: path.to_owned(),
        })
    }

    /// Takes back [`Netns::create`]: the namespace ends, with the links in it, once
    /// nobody has it open. A path that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::NotNetns`] when the path cannot be freed.
    pub fn remove(path: &Path) -> Result<()> {
        // EINVAL: nothing is mounted there; ENOENT: there is nothing at all.
        let _ = umount2(path, MntFlags::MNT_DETACH);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::NotNetns {
                path: path.to_owned(),
                why: error.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the one that the thread was in when it was opened.
    ///
    /// # Errors
    /// [`Error::Socket`] when the kernel does not say.
    pub fn is_home(&self) -> Result<bool> {
        let (this, home) = (self.file.metadata()?, self.home.metadata()?);
        Ok((this.dev(), this.ino()) == (home.dev(), home.ino()))
    }

    /// Moves the calling thread into the namespace until the value is dropped; then
    /// it goes back to where it was when the namespace was opened.
    ///
    /// # Errors
    /// [`Error::NotNetns`] when it is a namespace of another kind; [`Error::Refused`]
    /// when the process may not.
    pub fn enter(&self) -> Result<Entered<'_>> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            nix::errno::Errno::EINVAL => Error::NotNetns {
                path: self.path.clone(),
                why: "it is a namespace of another kind".into(),
            },
            errno => Error::Refused {
                doing: format!("enter the network namespace {}", self.path.display()),
                errno,
                reason: String::new(),
            },
        })?;
        Ok(Entered { home: &self.home })
    }

    /// Waits until no other process that asks for it works on the namespace. It is
    /// the namespace's own file that is locked (flock), whichever path leads there,
    /// so there is no file to keep, and the kernel lets go when a process dies. None
    /// when others held it until `limit` had passed.
    ///
    /// # Errors
    /// [`Error::Socket`] when the kernel cannot lock it.
    pub fn lock(&self, limit: Duration) -> Result<Option<NetnsLock>> {
        let file = self.file.try_clone()?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(NetnsLock(file))),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // There is no flock with a deadline; a thread sits in the one there is.
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let locked = loop {
                match file.lock() {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let _ = sender.send(locked.map(|()| NetnsLock(file)));
        })?;
        Ok(receiver.recv_timeout(limit).ok().transpose()?)
    }

    /// The descriptor of the namespace that the thread was in when this one was
    /// opened.
    pub fn home(&self) -> RawFd {
        self.home.as_fd().as_raw_fd()
    }

    /// The descriptor, for messages that name a namespace by it.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_fd().as_raw_fd()
    }
}

/// A namespace that is this process's alone, as far as others ask; dropping it lets
/// go.
#[derive(Debug)]
pub struct NetnsLock(File);

impl Drop for NetnsLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// The time during which the thread is in another namespace.
#[must_use = "the thread goes back as soon as this is dropped"]
pub struct Entered<'a> {
    home: &'a File,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if setns(self.home, CloneFlags::CLONE_NEWNET).is_err() {
            // Going on in the wrong namespace would do to a container what was
            // meant for the host.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_the_namespaces_whichever_path_leads_there() {
        let one = Netns::open(Path::new(OWN)).unwrap();
        let path = format!("/proc/{}/ns/net", std::process::id());
        let other = Netns::open(Path::new(&path)).unwrap();
        let held = one.lock(Duration::ZERO).unwrap();
        assert!(held.is_some());
        assert!(other.lock(Duration::from_millis(20)).unwrap().is_none());
        let waits = thread::spawn(move || other.lock(Duration::from_secs(10)).unwrap().is_some());
        drop(held);
        assert!(waits.join().unwrap());
    }
}
