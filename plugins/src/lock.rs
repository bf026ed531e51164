//! The lock of what a network has on a host for all of its containers. Whoever
//! attaches a container holds it, with others where that is enough, until the
//! container keeps it there; whoever makes or removes it holds it alone. So nothing is
//! removed under a container that is coming, and nothing is made twice. The kernel
//! takes the lock back from a process that is killed.

use std::fs::File;
use std::path::PathBuf;

use crate::{Error, Result};

/// Where the locks are. They are of no use after a boot.
const DIRECTORY: &str = "/run/slash24";

/// The lock, held until dropped.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The lock called `name`, together with others.
    pub(crate) fn shared(name: &str) -> Result<Self> {
        let lock = Lock::open(name)?;
        lock.file.lock_shared().map_err(|error| lock.fault(error))?;
        Ok(lock)
    }

    /// The lock called `name`, alone.
    pub(crate) fn alone(name: &str) -> Result<Self> {
        let lock = Lock::open(name)?;
        lock.file.lock().map_err(|error| lock.fault(error))?;
        Ok(lock)
    }

    /// From shared to alone. Others may have been first in between.
    pub(crate) fn make_alone(&self) -> Result<()> {
        let changed = self.file.unlock().and_then(|()| self.file.lock());
        changed.map_err(|error| self.fault(error))
    }

    /// From alone to shared, at once.
    pub(crate) fn share(&self) -> Result<()> {
        self.file.lock_shared().map_err(|error| self.fault(error))
    }

    fn open(name: &str) -> Result<Self> {
        let path = PathBuf::from(DIRECTORY).join(name);
        let open = || File::options().create(true).append(true).open(&path);
        let opened = open().or_else(|_| {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            open()
        });
        match opened {
            Ok(file) => Ok(Lock { file, path }),
            Err(error) => Err(Error::Lock { path, error }),
        }
    }

    fn fault(&self, error: std::io::Error) -> Error {
        Error::Lock {
            path: self.path.clone(),
            error,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not by closing: a child that deletes a link has the file open as well.
        let _ = self.file.unlock();
    }
}
