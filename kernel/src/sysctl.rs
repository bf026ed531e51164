//! Kernel parameters of the network namespace that the thread is in.

use std::fs;
use std::io::{ErrorKind, Read};

use crate::{Error, Result};

/// Sets a parameter such as `net/ipv4/ip_forward`. One that this kernel does not
/// have (IPv6 is off) is passed over; one that has the value already is left, so
/// that a read-only `/proc/sys` is no obstacle.
///
/// # Errors
/// [`Error::Sysctl`].
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    let error = match fs::write(&path, value) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    match has(name, value) {
        true => Ok(()),
        false => Err(Error::Sysctl {
            name: name.to_owned(),
            value: value.to_owned(),
            error,
        }),
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

fn has(name: &str, value: &str) -> bool {
    let mut found = [0; 32];
    let read =
        fs::File::open(format!("/proc/sys/{name}")).and_then(|mut file| file.read(&mut found));
    read.is_ok_and(|length| found[..length].trim_ascii() == value.as_bytes())
}
