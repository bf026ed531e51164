//! Reading and writing the small files of a lease directory.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::Error;
use crate::lease::Lease;
use crate::record::Record;

/// The longest lease that is looked at. Longer ones are nobody's.
const LONGEST: usize = 4096;

/// A lease, and what is known of it beyond what the reference's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose it is.
    pub lease: Lease,
    /// When it was made.
    pub since: SystemTime,
    /// What we remember of it; the reference's leases have none.
    pub record: Option<Record>,
}

impl Kept {
    /// Reads the lease at `path`; none when that is something else than a file.
    ///
    /// # Errors
    /// It may be a lease and cannot be read.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let open = || -> io::Result<Self> {
            let mut file = open(path)?;
            let mut buffer = [0; LONGEST];
            let length = file.read(&mut buffer)?;
            let since = file.metadata()?.modified()?;
            Ok(Kept {
                lease: Lease::parse(&buffer[..length]),
                since,
                record: Record::of(&file),
            })
        };
        match open() {
            Ok(kept) => Ok(Some(kept)),
            Err(error) if is_foreign(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is at the path of a lease.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path, error)),
    }
}

/// Makes a lease, whole or not at all: it is written as `unnamed` and renamed.
pub(crate) fn make(
    unnamed: &Path,
    path: &Path,
    content: &str,
    record: Option<&Record>,
) -> Result<(), Error> {
    let written = write_new(unnamed, content.as_bytes(), record)
        .map_err(|e| failed("write", unnamed, e))
        .and_then(|()| fs::rename(unnamed, path).map_err(|e| failed("make", path, e)));
    if written.is_err() {
        // The first error counts, and what is left is harmless.
        let _ = fs::remove_file(unnamed);
    }
    written
}

/// Removes a file that need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let removed = fs::remove_file(path).or_else(unless_missing);
    removed.map_err(|error| failed("remove", path, error))
}

fn unless_missing(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

pub(crate) fn failed(action: &'static str, path: &Path, error: io::Error) -> Error {
    Error::Store {
        action,
        path: path.to_owned(),
        error,
    }
}

/// Whether the error says that something else than a lease has an address for a
/// name: a directory, a socket, a link that leads nowhere; or that something else has the
/// name of a folder of ours.
fn is_foreign(error: &io::Error) -> bool {
    const FOREIGN: [Errno; 5] = [
        Errno::EISDIR,
        Errno::ENOENT,
        Errno::ENOTDIR,
        Errno::ELOOP,
        Errno::ENXIO,
    ];
    let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
    FOREIGN.into_iter().any(is)
}

/// Reads a short text.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    let mut buffer = [0; 64];
    let length = open(path).ok()?.read(&mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    Some(text.trim().to_owned())
}

/// Opens what may be anything; should it be a pipe, nothing is waited for.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    options.open(path)
}

/// Leases say who runs here; as the reference's they are for root alone.
const MODE: u32 = 0o600;

/// Writes a new file. One that a killed process left has another's record.
fn write_new(path: &Path, content: &[u8], record: Option<&Record>) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(MODE);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)?
        }
        file => file?,
    };
    file.write_all(content)?;
    if let Some(record) = record {
        record.put(&file);
    }
    Ok(())
}

/// Writes a short text.
///
/// A file that is there is written over and then cut: on ext4, truncating it to
/// nothing first would make close(2) wait for the disk (`auto_da_alloc`).
pub(crate) fn write_text(path: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(MODE);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    match file.metadata()?.len() > text.len() as u64 {
        true => file.set_len(text.len() as u64),
        false => Ok(()),
    }
}
