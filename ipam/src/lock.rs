//! An advisory lock on a file that is never waited for in vain.
//!
//! It is the `flock(2)` that the reference's host-local takes, so both keep out
//! of each other's way; unlike the reference's it has a deadline.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// The lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file would do, if no child process had inherited it.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id in this process's pid namespace.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

impl Lock {
    /// Locks the file at `path`, which is made if its directory exists.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be opened, [`Error::Locked`] when others
    /// held it until `timeout` had passed.
    pub(crate) fn acquire(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let start = Instant::now();
        let failed = |error| Error::Store {
            action: "lock",
            path: path.to_owned(),
            error,
        };
        loop {
            let file = open(path).map_err(failed)?;
            let locked = match file.try_lock() {
                Ok(()) => Some(Lock(file)),
                Err(TryLockError::WouldBlock) => {
                    wait(file, timeout.saturating_sub(start.elapsed())).map_err(failed)?
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            };
            let lock = locked.ok_or_else(|| Error::Locked {
                path: path.to_owned(),
                seconds: timeout.as_secs_f64(),
                holder: holder_of(path),
            })?;
            // Operators clear lease directories. Who waited for a lock that has
            // been removed would share the directory with who made a new one.
            if lock.0.metadata().map_err(failed)?.nlink() > 0 {
                return Ok(lock);
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Opening for reading only is enough, and all that a read-only disk allows.
    let flags = nix::fcntl::OFlag::O_CREAT.bits();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags)
        .mode(0o644)
        .open(path)
}

/// Waits until the lock is free or the time is over. The kernel has no flock
/// with a deadline; a thread sits in the one it has. If it gets the lock after
/// nobody waits any more it lets go at once.
fn wait(file: File, time: Duration) -> io::Result<Option<Lock>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut locked = file.lock();
        while locked
            .as_ref()
            .is_err_and(|e| e.kind() == ErrorKind::Interrupted)
        {
            locked = file.lock();
        }
        // When nobody waits any more the lock comes back and is dropped.
        let _ = sender.send(locked.map(|()| Lock(file)));
    })?;
    receiver.recv_timeout(time).ok().transpose()
}

/// Finds who holds the lock. The kernel lists the locks piece by piece and counts
/// on from where it was, so one that stands still is passed over when others before
/// it go away meanwhile: what is not found is looked for again.
fn holder_of(path: &Path) -> Option<Holder> {
    let file = fs::metadata(path).ok()?;
    let holder = (0..LOOKS).find_map(|_| holder_among(&locks().ok()?, &file));
    let pid = holder.or_else(|| heir_of(&file))?;
    Some(Holder {
        pid,
        command: command_of(pid),
    })
}

/// How often the list of locks is read before a holder counts as gone.
const LOOKS: usize = 16;

/// `/proc/locks`, in as few pieces as the kernel allows: it gives a page at a time,
/// and less when asked for less.
fn locks() -> io::Result<String> {
    let mut locks = String::with_capacity(1 << 16);
    File::open("/proc/locks")?.read_to_string(&mut locks)?;
    Ok(locks)
}

/// The process that has the lock of `file`, by the kernel's list. It names files by
/// inode alone where a file system has several devices, so the process must have the
/// file open too.
fn holder_among(locks: &str, file: &fs::Metadata) -> Option<u32> {
    let mut pids = locks.lines().filter_map(|line| {
        // "1: FLOCK  ADVISORY  WRITE 708 00:13:11284 0 EOF"; waiters have "->".
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, inode, ..] = words[..] else {
            return None;
        };
        let inode: u64 = inode.rsplit(':').next()?.parse().ok()?;
        pid.parse::<u32>().ok().filter(|_| inode == file.ino())
    });
    pids.find(|pid| has_open(*pid, file))
}

fn has_open(pid: u32, file: &fs::Metadata) -> bool {
    descriptors(pid, file).next().is_some()
}

/// The process that has the lock of `file` from one that is gone: the list names who took
/// it, and a descriptor that was inherited keeps it.
fn heir_of(file: &fs::Metadata) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        let mut descriptors = descriptors(*pid, file);
        descriptors.any(|descriptor| {
            let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}"));
            about.is_ok_and(|about| about.lines().any(is_lock))
        })
    };
    pids.filter(holds).min()
}

/// Whether a line about a descriptor tells of a lock that is held by it:
/// "lock: 1: FLOCK  ADVISORY  WRITE 708 00:13:11284 0 EOF".
fn is_lock(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("lock:") && words.nth(1) == Some("FLOCK")
}

/// The numbers by which a process has `file` open.
fn descriptors(pid: u32, file: &fs::Metadata) -> impl Iterator<Item = String> {
    let same = |other: &fs::Metadata| (other.dev(), other.ino()) == (file.dev(), file.ino());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let descriptors = descriptors.into_iter().flatten().flatten();
    descriptors.filter_map(move |descriptor| {
        let found = fs::metadata(descriptor.path()).ok()?;
        let name = descriptor.file_name().to_str()?.to_owned();
        same(&found).then_some(name)
    })
}

fn command_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|b| *b == 0)
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_deadline_holds_and_the_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, SHORT).unwrap();
        let error = Lock::acquire(&path, SHORT).unwrap_err();
        let Error::Locked {
            holder: Some(holder),
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.command.is_empty());
        assert!(error.to_string().contains("0.05 s by process"), "{error}");
        drop(held);
        Lock::acquire(&path, LONG).unwrap();
    }

    /// A child that outlives who took the lock has it.
    #[test]
    fn who_inherited_the_lock_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut flock = Command::new("flock");
        let mut flock = flock.arg(&path).args(["sleep", "600"]).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", flock.id());
        let child = loop {
            let children = fs::read_to_string(&children).unwrap();
            if let Some(child) = children.split_whitespace().next() {
                break child.to_owned();
            }
        };
        flock.kill().unwrap();
        flock.wait().unwrap();
        let refused = Lock::acquire(&path, SHORT);
        let killed = Command::new("kill").arg(&child).status().unwrap();
        let error = refused.unwrap_err().to_string();
        assert!(
            killed.success() && error.contains(&format!("by process {child} (")),
            "{error}"
        );
        Lock::acquire(&path, LONG).unwrap();
    }

    #[test]
    fn waiting_ends_when_the_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, SHORT).unwrap();
        let waiter = thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, LONG).map(drop)
        });
        thread::sleep(SHORT);
        drop(held);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_that_was_removed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, SHORT).unwrap();
        let waiter = thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, LONG)
        });
        thread::sleep(SHORT);
        fs::remove_file(&path).unwrap();
        drop(held);
        let _new = waiter.join().unwrap().unwrap();
        assert!(matches!(
            Lock::acquire(&path, SHORT),
            Err(Error::Locked { .. })
        ));
    }

    #[test]
    fn a_lock_that_cannot_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::acquire(&dir.path().join("none/lock"), SHORT).unwrap_err();
        assert!(error.to_string().contains("none/lock"), "{error}");
    }
}
