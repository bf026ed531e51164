//! What we remember of a lease beyond what the reference's file says: the boot it
//! is from, and the network namespace it is for.
//!
//! It is an extended attribute of the lease's file. So it is there when the lease
//! is, goes when the lease goes, whoever removes it, and the file's content is the
//! reference's to the byte. A file system without such attributes has leases
//! without records: then the file's time tells its boot, and nothing tells the
//! namespace.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// The attribute's name.
pub const ATTRIBUTE: &str = "user.slash24";

/// The longest record. Paths beyond it are left out.
const LONGEST: usize = 1024;

/// A network namespace: the device and inode of its file, and where ADD found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The device of nsfs.
    pub device: u64,
    /// The namespace's inode; the kernel uses it again when the namespace is gone.
    pub inode: u64,
    /// The path that ADD was given.
    pub path: PathBuf,
}

impl Namespace {
    /// The namespace at `path`; none when nothing is there.
    pub fn at(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Namespace {
            device: file.dev(),
            inode: file.ino(),
            path: path.to_owned(),
        })
    }
}

/// What is remembered of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The id of the boot in which it was made.
    pub boot: String,
    /// The container's namespace, if ADD saw one.
    pub netns: Option<Namespace>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.boot)?;
        match &self.netns {
            None => Ok(()),
            Some(n) => write!(f, " {}:{} {}", n.device, n.inode, n.path.display()),
        }
    }
}

impl Record {
    /// Reads `BOOT DEVICE:INODE PATH`, of which all but the boot may be missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let boot = words.next().filter(|boot| !boot.is_empty())?.to_owned();
        let mut netns = || {
            let (device, inode) = words.next()?.split_once(':')?;
            Some(Namespace {
                device: device.parse().ok()?,
                inode: inode.parse().ok()?,
                path: words.next().unwrap_or_default().into(),
            })
        };
        Some(Record {
            boot,
            netns: netns(),
        })
    }

    /// The record of a lease's file, if it has one that can be read.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let mut buffer = [0; LONGEST];
        let length = fgetxattr(file, ATTRIBUTE, &mut buffer).ok()?;
        Record::parse(std::str::from_utf8(&buffer[..length]).ok()?)
    }

    /// Records it on a file that is not a lease yet. A lease without a record is
    /// a whole lease, so that it cannot be recorded is no failure.
    pub(crate) fn put(&self, file: &File) {
        let mut text = self.to_string();
        if text.len() > LONGEST {
            text.truncate(text.len() - self.path_length());
        }
        let _ = fsetxattr(file, ATTRIBUTE, text.as_bytes(), XattrFlags::empty());
    }

    fn path_length(&self) -> usize {
        let path = self.netns.as_ref().map(|netns| netns.path.display());
        path.map_or(0, |path| path.to_string().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        let file = File::create(&path).unwrap();
        assert_eq!(Record::of(&file), None);
        for netns in [None, Namespace::at(Path::new("/proc/self/ns/net"))] {
            let record = Record {
                boot: "b".into(),
                netns,
            };
            record.put(&file);
            assert_eq!(Record::of(&File::open(&path).unwrap()), Some(record));
        }
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_long_path_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("lease")).unwrap();
        let mut netns = Namespace::at(dir.path()).unwrap();
        netns.path = "x".repeat(3000).into();
        let record = Record {
            boot: "b".into(),
            netns: Some(netns.clone()),
        };
        record.put(&file);
        netns.path = PathBuf::new();
        assert_eq!(Record::of(&file).unwrap().netns, Some(netns));
    }

    #[test]
    fn records_that_are_none() {
        assert_eq!(Record::parse(""), None);
        assert_eq!(Record::parse("b x").unwrap().netns, None);
        assert_eq!(Record::parse("b 4:x").unwrap().netns, None);
        let netns = Record::parse("b 4:7 /a b").unwrap().netns.unwrap();
        assert_eq!(netns.path, Path::new("/a b"));
    }
}
