//! Telling neighbours which hardware address an IP address has, by a child process.
//!
//! A bridge hands such a frame to each of its ports, and whoever sends it does the
//! receiving of all of them: with 500 ports that takes as long as half an attachment. A
//! tunnel to 10,000 hosts takes more. Nobody else can have the processor meanwhile, so the
//! child does that when the caller has ended. It only sends frames: by then
//! others may have given the link another address, which asking the kernel to
//! announce it ([`set_mac`](crate::set_mac)) would take back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{pipe2, read};

use crate::raw::{self, fork_child};
use crate::{Mac, Result};

const BROADCAST: [u8; 6] = [0xff; 6];
/// `ETH_P_ARP`, `ETH_P_IPV6` (linux/if_ether.h).
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Frames to be sent out of a link.
pub struct Announcement {
    socket: OwnedFd,
    link: u32,
    frames: Vec<Vec<u8>>,
}

impl Announcement {
    /// Prepares to tell that `ips` have `mac` on a link of the thread's namespace.
    ///
    /// # Errors
    /// [`Error::Socket`](crate::Error::Socket).
    pub fn of(link: u32, mac: Mac, ips: impl Iterator<Item = IpAddr>) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None);
        Ok(Announcement {
            socket: socket.map_err(io::Error::from)?,
            link,
            frames: ips.map(|ip| frame(mac, ip)).collect(),
        })
    }

    /// Has a child send them, soon after this process has ended.
    ///
    /// # Errors
    /// [`Error::Socket`](crate::Error::Socket) when there is no child to be had.
    pub fn send_by_child(&self) -> Result<()> {
        /// Its files are closed before it has ended, and it may share a processor with
        /// the child.
        const LAST_STEPS: u8 = 10;

        let (caller, held) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        let child = fork_child(|| {
            // The runtime waits for the end of the plugin's output, not of this child.
            for descriptor in 0..=2 {
                let _ = raw::close(descriptor);
            }
            let _ = raw::close(held.as_raw_fd());
            while read(&caller, &mut [0]) == Err(Errno::EINTR) {}
            let _ = poll(&mut [], PollTimeout::from(LAST_STEPS));
            let sent = self
                .frames
                .iter()
                .all(|frame| raw::send_frame(&self.socket, self.link, frame).is_ok());
            i32::from(!sent)
        });
        child.map_err(io::Error::from)?;
        // Open for as long as this process lives.
        let _ = held.into_raw_fd();
        Ok(())
    }
}

fn frame(mac: Mac, ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(mac, ip),
        IpAddr::V6(ip) => advertisement(mac, ip),
    }
}

/// An ARP announcement (RFC 5227 section 3): a request for the sender's own address.
fn arp(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    // Ethernet and IPv4, the lengths of their addresses, a request.
    let header = [0, 1, 8, 0, 6, 4, 0, 1];
    let sender = [&mac.0[..], &ip.octets()].concat();
    let target = [&[0; 6][..], &ip.octets()].concat();
    [&BROADCAST, &mac.0[..], &ARP, &header, &sender, &target].concat()
}

/// An unsolicited neighbour advertisement (RFC 4861 section 7.2.6) that overrides what
/// is remembered.
fn advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    const ADVERTISEMENT: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];
    let body = [
        &[OVERRIDE, 0, 0, 0],
        &ip.octets()[..],
        &TARGET_LINK_ADDRESS,
        &mac.0,
    ]
    .concat();
    let length = (body.len() as u16 + 4).to_be_bytes();
    let addresses = [ip.octets(), ALL_NODES.octets()].concat();
    let pseudo = [&addresses[..], &[0, 0], &length, &[0, 0, 0, ICMPV6]].concat();
    let unsummed = [&[ADVERTISEMENT, 0, 0, 0], &body[..]].concat();
    let sum = checksum(&[pseudo, unsummed].concat()).to_be_bytes();
    // Version 6, and a hop limit that says that no router has passed it on.
    let header = [&[0x60, 0, 0, 0], &length[..], &[ICMPV6, 255], &addresses].concat();
    let group = [0x33, 0x33, 0, 0, 0, 1];
    let icmp = [&[ADVERTISEMENT, 0], &sum[..], &body].concat();
    [&group, &mac.0[..], &IPV6, &header, &icmp].concat()
}

/// The Internet's (RFC 1071), of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x0a, 0x58, 10, 1, 2, 3]);

    #[test]
    fn arp_asks_for_the_own_address() {
        let frame = frame(MAC, Ipv4Addr::new(10, 1, 2, 3).into());
        let expected = [
            &[0xff; 6][..],
            &[0x0a, 0x58, 10, 1, 2, 3, 8, 6],
            &[0, 1, 8, 0, 6, 4, 0, 1],
            &[0x0a, 0x58, 10, 1, 2, 3, 10, 1, 2, 3],
            &[0, 0, 0, 0, 0, 0, 10, 1, 2, 3],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn advertisements_are_whole() {
        let ip: Ipv6Addr = "fd00:1:2::3".parse().unwrap();
        let frame = frame(MAC, ip.into());
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame[14 + 4..14 + 8], [0, 32, 58, 255]);
        assert_eq!(frame[14 + 40..14 + 42], [136, 0]);
        // A message with its checksum in it sums up to nothing.
        let addresses = &frame[14 + 8..14 + 40];
        let whole = [addresses, &[0, 0, 0, 32, 0, 0, 0, 58], &frame[14 + 40..]].concat();
        assert_eq!(checksum(&whole), 0);
    }
}
