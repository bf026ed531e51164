//! Taking turns: of several processes that do the same, one at a time.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// One place in a file that is this process's alone, as far as others ask, from when it
/// begins until it is dropped. The kernel takes it back from a process that dies, so
/// there is nothing to clean up.
#[derive(Debug)]
pub struct Turn {
    file: File,
    place: u64,
}

impl Turn {
    /// The turn at the place of that number in `file`, which must be open for writing,
    /// may be empty, and stays as it is.
    pub fn at(file: File, place: u64) -> Self {
        Turn { file, place }
    }

    /// Takes the place; false when another process has it.
    ///
    /// # Errors
    /// The file system has no such locks.
    pub fn try_begin(&self) -> io::Result<bool> {
        let lock = range(libc::F_WRLCK, self.place);
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Turn {
    /// Whether no other place of the file is taken.
    ///
    /// # Errors
    /// The file system has no such locks.
    pub fn is_alone(&self) -> io::Result<bool> {
        let mut all = range(libc::F_WRLCK, 0);
        // To the end, wherever that is.
        all.l_len = 0;
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut all))?;
        Ok(all.l_type == libc::F_UNLCK as libc::c_short)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Not by closing: a child that deletes a link has the file open as well.
        let unlock = range(libc::F_UNLCK, self.place);
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&unlock));
    }
}

fn range(kind: libc::c_int, place: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // Offsets are positive.
        l_start: (place >> 1) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_processes() {
        let path = std::env::temp_dir().join(format!("turn-{}", std::process::id()));
        let turn = |place| {
            let file = File::options().create(true).append(true).open(&path);
            Turn::at(file.unwrap(), place)
        };
        let one = turn(u64::MAX);
        assert!(one.try_begin().unwrap());
        assert!(!turn(u64::MAX).try_begin().unwrap());
        assert!(one.is_alone().unwrap());
        let other = turn(4);
        assert!(other.try_begin().unwrap());
        assert!(!one.is_alone().unwrap());
        drop(one);
        assert!(other.is_alone().unwrap());
        assert!(turn(u64::MAX).try_begin().unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
