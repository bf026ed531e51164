//! How the index knows that nobody else has touched the lease directory.
//!
//! Making, removing and renaming files changes a directory's modification time.
//! We set that time ourselves when we are done, to one that the kernel does not
//! produce: a second in the past. While the directory has it, the index is in
//! step with the files, and one look tells. The reference knows nothing of this,
//! and whatever it does breaks the seal.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// A lease directory as it was at one time: which one, and when it was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Seal {
    /// The seal that a directory has, whoever set it.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        fs::metadata(directory).map(|directory| Seal::from(&directory))
    }

    /// Seals a directory.
    pub(super) fn set(directory: &Path) -> io::Result<Self> {
        let ago = SystemTime::now().checked_sub(Duration::from_secs(1));
        let since = ago.and_then(|ago| ago.duration_since(SystemTime::UNIX_EPOCH).ok());
        let time = TimeSpec::from_duration(since.unwrap_or_default());
        let (keep, follow) = (TimeSpec::UTIME_OMIT, UtimensatFlags::FollowSymlink);
        utimensat(AT_FDCWD, directory, &keep, &time, follow)?;
        // What a file system has no room for is lost, so look at what it kept.
        Seal::of(directory)
    }
}

/// Breaks the seal of a directory, before something is changed that lies beside it.
pub(crate) fn break_seal(directory: &Path) -> io::Result<()> {
    let (keep, now) = (TimeSpec::UTIME_OMIT, TimeSpec::UTIME_NOW);
    utimensat(
        AT_FDCWD,
        directory,
        &keep,
        &now,
        UtimensatFlags::FollowSymlink,
    )?;
    Ok(())
}

impl From<&Metadata> for Seal {
    fn from(directory: &Metadata) -> Self {
        Seal {
            device: directory.dev(),
            inode: directory.ino(),
            seconds: directory.mtime(),
            nanoseconds: directory.mtime_nsec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_done_to_the_directory_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let changes: [&dyn Fn() -> io::Result<()>; 6] = [
            &|| fs::write(path.join("a"), "x"),
            &|| fs::rename(path.join("a"), path.join("b")),
            &|| fs::remove_file(path.join("b")),
            &|| fs::create_dir(path.join("c")),
            &|| fs::remove_dir(path.join("c")),
            &|| break_seal(path),
        ];
        for change in changes {
            let seal = Seal::set(path).unwrap();
            assert_eq!(Seal::of(path).unwrap(), seal);
            change().unwrap();
            assert_ne!(Seal::of(path).unwrap(), seal);
        }
        let seal = Seal::set(path).unwrap();
        fs::remove_dir_all(path).unwrap();
        fs::create_dir(path).unwrap();
        assert_ne!(Seal::of(path).unwrap(), seal);
    }
}
