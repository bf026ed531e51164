//! Whether an address is one of this host's own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use nix::errno::Errno;

use crate::Error;

/// Asks the kernel which source address it would use to reach `address`: to reach
/// one of its own it uses that very address. Nothing is sent, and it costs the
/// same however many interfaces the host has.
///
/// # Errors
/// [`Error::Own`] when the kernel has no room for a socket to ask with.
pub(crate) fn is_own(address: IpAddr) -> Result<bool, Error> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        // The port is that of "discard"; any would do.
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    match source() {
        Ok(source) => Ok(source.ip() == address),
        Err(error) if is_want(&error) => Err(Error::Own { address, error }),
        // What cannot be reached at all is not here.
        Err(_) => Ok(false),
    }
}

/// Whether the error says nothing about the address.
fn is_want(error: &io::Error) -> bool {
    const WANT: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
    WANT.into_iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_and_documentation_is_not() {
        assert!(is_own("127.0.0.1".parse().unwrap()).unwrap());
        assert!(!is_own("192.0.2.1".parse().unwrap()).unwrap());
        assert!(!is_own("2001:db8::1".parse().unwrap()).unwrap());
    }
}
