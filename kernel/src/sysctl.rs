//! Kernel parameters of the network namespace that the thread is in.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::{Error, Result};

/// Sets a parameter such as `net/ipv4/ip_forward`. One that this kernel does not
/// have (IPv6 is off) is passed over; one that has the value already is left, so
/// that a read-only `/proc/sys` is no obstacle.
///
/// # Errors
/// [`Error::Sysctl`].
pub fn set(name: &str, value: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path(name));
    match file.and_then(|mut file| file.write_all(value.as_bytes())) {
        Err(error) if error.kind() != ErrorKind::NotFound && !has(name, value) => {
            Err(Error::Sysctl {
                name: name.to_owned(),
                value: value.to_owned(),
                error,
            })
        }
        _ => Ok(()),
    }
}

/// As [`set`], for parameters of the whole namespace: they nearly always have
/// the value, and setting some of them (forwarding) costs far more than reading.
///
/// # Errors
/// [`Error::Sysctl`].
pub fn ensure(name: &str, value: &str) -> Result<()> {
    match has(name, value) {
        true => Ok(()),
        false => set(name, value),
    }
}

/// The value of a parameter, if this kernel has it.
pub fn get(name: &str) -> Option<String> {
    let value = std::fs::read_to_string(path(name)).ok()?;
    Some(value.trim_ascii().to_owned())
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}

fn has(name: &str, value: &str) -> bool {
    let mut found = [0; 32];
    let read = File::open(path(name)).and_then(|mut file| file.read(&mut found));
    read.is_ok_and(|length| found[..length].trim_ascii() == value.as_bytes())
}

/// The parameters of one interface, such as `net/ipv6/conf/eth0`.
///
/// The way there is gone once: on a host with many containers it passes the
/// `eth0` of every other namespace that the kernel remembers.
pub struct Group {
    name: String,
    directory: Option<OwnedFd>,
}

impl Group {
    /// The parameters below `name`. When there are none, because the kernel is
    /// without IPv6, setting them does nothing.
    pub fn open(name: String) -> Self {
        let directory = File::open(path(&name)).ok().map(OwnedFd::from);
        Group { name, directory }
    }

    /// Whether this kernel has a parameter of the group. Without the group there is
    /// nothing to be missed.
    pub fn has(&self, parameter: &str) -> bool {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let Some(directory) = &self.directory else {
            return true;
        };
        openat(directory.as_fd(), parameter, flags, Mode::empty()).is_ok()
    }

    /// Sets a parameter of the group, as [`set`].
    ///
    /// # Errors
    /// [`Error::Sysctl`].
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let opened = openat(directory.as_fd(), parameter, flags, Mode::empty());
        match opened
            .map(File::from)
            .map(|mut file| file.write_all(value.as_bytes()))
        {
            Ok(Ok(())) => Ok(()),
            // The long way knows what may be passed over, and what to say.
            _ => set(&format!("{}/{parameter}", self.name), value),
        }
    }
}
