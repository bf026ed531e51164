//! What must not happen at the same time (specification, section 3, "Lifecycle &
//! Ordering"): two operations on one container, and GC beside ADD or DEL.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Cache;
use crate::{Error, name};

/// One container is this process's alone, until this is dropped.
#[derive(Debug)]
pub struct ContainerLock {
    file: File,
    path: PathBuf,
}

/// A lock on the whole cache, until this is dropped.
#[derive(Debug)]
pub(super) struct CacheLock(File);

impl Cache {
    /// Waits until no other process that asks for it works on `container`. The
    /// lock's file is gone when nobody holds it.
    ///
    /// # Errors
    /// [`Error::BadVariable`] for what cannot be a container's id;
    /// [`Error::Cache`].
    pub fn lock_container(&self, container: &str) -> Result<ContainerLock, Error> {
        if !name::is_identifier(container) {
            return Err(Error::BadVariable {
                variable: "CNI_CONTAINERID",
                value: container.to_owned(),
                right: name::IDENTIFIER,
            });
        }
        // libcni passes over what is not a result.
        let path = self.results().join(format!(".lock-{container}"));
        match self.make_directory().and_then(|()| lock_file(&path)) {
            Ok(file) => Ok(ContainerLock { file, path }),
            Err(error) => Err(Error::Cache { file: path, error }),
        }
    }

    /// For ADD and DEL, any number at a time.
    pub(super) fn share(&self) -> Result<CacheLock, Error> {
        self.lock_whole(File::lock_shared)
    }

    /// For GC, one at a time and nothing beside it.
    pub(super) fn exclude(&self) -> Result<CacheLock, Error> {
        self.lock_whole(File::lock)
    }

    fn lock_whole(&self, lock: fn(&File) -> io::Result<()>) -> Result<CacheLock, Error> {
        let results = self.results();
        let locked = self.make_directory().and_then(|()| {
            let directory = File::open(&results)?;
            lock(&directory).map(|()| directory)
        });
        let file = results;
        locked
            .map(CacheLock)
            .map_err(|error| Error::Cache { file, error })
    }
}

/// Whoever held the lock before may have removed the file that was waited for;
/// then the lock is on nothing, and the next file is tried.
fn lock_file(path: &Path) -> io::Result<File> {
    loop {
        let file = File::create(path)?;
        file.lock()?;
        let is_there = fs::metadata(path).is_ok_and(|there| {
            file.metadata()
                .is_ok_and(|mine| (mine.dev(), mine.ino()) == (there.dev(), there.ino()))
        });
        if is_there {
            return Ok(file);
        }
    }
}

/// Unlocking by hand matters: a plugin in this process may have left a child
/// behind that has the file open for a while.
impl Drop for ContainerLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

impl Drop for CacheLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn one_at_a_time_and_no_file_is_left() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        let (busy, turns) = (AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = cache.lock_container("c").unwrap();
                        assert!(!busy.swap(true, Ordering::SeqCst), "two hold the lock");
                        turns.fetch_add(1, Ordering::SeqCst);
                        busy.store(false, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), 400);
        assert_eq!(fs::read_dir(cache.results()).unwrap().count(), 0);
    }

    #[test]
    fn other_containers_do_not_wait() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        let _one = cache.lock_container("one").unwrap();
        let _two = cache.lock_container("two").unwrap();
        let _three = (cache.share().unwrap(), cache.share().unwrap());
        let error = cache.lock_container("../x").unwrap_err().to_string();
        assert!(error.contains("\"../x\""), "{error}");
    }
}
