//! The lock of a VNI. Whoever attaches a container holds it with others until the
//! container is on the bridge; whoever makes or removes the bridge holds it alone.
//! So no bridge is removed under a container that is coming, and none is made
//! twice. The kernel takes the lock back from a process that is killed.

use std::fs::File;
use std::path::PathBuf;

use super::fault::Fault;
use crate::Result;

/// Where the locks are. They are of no use after a boot.
const DIRECTORY: &str = "/run/slash24/vxlan";

/// The lock, held until dropped.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The lock, together with others.
    pub(super) fn shared(vni: u32) -> Result<Self> {
        let lock = Lock::open(vni)?;
        lock.file.lock_shared().map_err(|error| lock.fault(error))?;
        Ok(lock)
    }

    /// The lock, alone.
    pub(super) fn alone(vni: u32) -> Result<Self> {
        let lock = Lock::open(vni)?;
        lock.file.lock().map_err(|error| lock.fault(error))?;
        Ok(lock)
    }

    /// From shared to alone. Others may have been first in between.
    pub(super) fn make_alone(&self) -> Result<()> {
        let changed = self.file.unlock().and_then(|()| self.file.lock());
        Ok(changed.map_err(|error| self.fault(error))?)
    }

    /// From alone to shared, at once.
    pub(super) fn share(&self) -> Result<()> {
        Ok(self.file.lock_shared().map_err(|error| self.fault(error))?)
    }

    fn open(vni: u32) -> Result<Self> {
        let path = PathBuf::from(DIRECTORY).join(vni.to_string());
        let open = || File::options().create(true).append(true).open(&path);
        let opened = open().or_else(|_| {
            std::fs::create_dir_all(DIRECTORY)?;
            open()
        });
        match opened {
            Ok(file) => Ok(Lock { file, path }),
            Err(error) => Err(Fault::Lock { path, error }.into()),
        }
    }

    fn fault(&self, error: std::io::Error) -> Fault {
        Fault::Lock {
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
