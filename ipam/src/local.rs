//! Whether an address is one of this host's own.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use nix::errno::Errno;

use crate::Error;

/// Asks the kernel by binding a socket, which it allows for its own addresses alone
/// (and for broadcast addresses of its subnets, which are no container's either).
/// It costs the same however many interfaces the host has. The source address that
/// the kernel would use to get there does not tell: to an interface's second address
/// it goes from the first.
///
/// # Errors
/// [`Error::Own`] when the kernel has no room for a socket to ask with.
pub(crate) fn is_own(address: IpAddr) -> Result<bool, Error> {
    match UdpSocket::bind((address, 0)) {
        Err(error) if is_want(&error) => Err(Error::Own { address, error }),
        // That no port is left the kernel finds out after it has looked at the address.
        Err(error) => Ok(error.kind() == io::ErrorKind::AddrInUse),
        Ok(_) if is_any_allowed(address) => Ok(is_listed(address)),
        Ok(socket) => Ok(is_reached(&socket, address)),
    }
}

/// Whether what a socket could be bound to can be reached from there. Where no
/// interface ever had an address, not even the loopback, sockets can be bound to
/// any. Nothing is sent; the port is that of "discard".
fn is_reached(socket: &UdpSocket, address: IpAddr) -> bool {
    let connected = socket.connect((address, 9));
    // Broadcast addresses need leave.
    connected.map_or_else(
        |error| error.kind() == io::ErrorKind::PermissionDenied,
        |()| true,
    )
}

/// Whether the error says nothing about the address.
fn is_want(error: &io::Error) -> bool {
    const WANT: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
    WANT.into_iter().any(is)
}

/// Whether sockets may be bound to any address here, as hosts with floating
/// addresses have it.
fn is_any_allowed(address: IpAddr) -> bool {
    let sysctl = match address {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_nonlocal_bind",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/ip_nonlocal_bind",
    };
    fs::read_to_string(sysctl).is_ok_and(|value| value.trim() != "0")
}

/// Looks through the kernel's lists. What cannot be read lists nothing.
fn is_listed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let list = fs::read_to_string("/proc/net/fib_trie");
            list.is_ok_and(|list| is_in_trie(&list, address))
        }
        IpAddr::V6(address) => {
            let list = fs::read_to_string("/proc/net/if_inet6");
            list.is_ok_and(|list| is_in_list(&list, address))
        }
    }
}

/// Whether a leaf of the routing tables is a route to the host itself. A leaf has its
/// address in a line, and in the lines after it the prefixes and what they are.
fn is_in_trie(list: &str, address: Ipv4Addr) -> bool {
    let leaf = format!("|-- {address}");
    let mut in_leaf = false;
    list.lines().map(str::trim).any(|line| {
        match line.starts_with(['|', '+']) {
            true => in_leaf = line == leaf,
            false => return in_leaf && line == "/32 host LOCAL",
        }
        false
    })
}

/// Whether an address is in the list of IPv6 addresses: 32 digits at the beginning
/// of a line.
fn is_in_list(list: &str, address: Ipv6Addr) -> bool {
    let digits = format!("{:032x}", address.to_bits());
    list.lines().any(|line| line.starts_with(&digits))
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

    #[test]
    fn the_kernels_lists_are_read() {
        assert!(is_listed("127.0.0.1".parse().unwrap()));
        assert!(!is_listed("192.0.2.1".parse().unwrap()));
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.0\n        /24 link UNICAST\n\
                    Local:\n     |-- 10.1.2.2\n        /32 host LOCAL\n     |-- 10.1.2.255\n        \
                    /32 link BROADCAST\n";
        let is_in = |address: &str| is_in_trie(trie, address.parse().unwrap());
        assert!(is_in("10.1.2.2"));
        assert!(!is_in("10.1.2.0") && !is_in("10.1.2.255") && !is_in("10.1.2.25"));
        let list = "fd000001000200000000000000000002 02 40 00 80 v0\n";
        let is_in = |address: &str| is_in_list(list, address.parse().unwrap());
        assert!(is_in("fd00:1:2::2") && !is_in("fd00:1:2::3"));
    }
}
