//! Waiting until the kernel has found out whether anybody else has an address
//! (duplicate address detection, RFC 4862 section 5.4): a second or two.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Address, Netlink, Result};

/// `RTNLGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const GROUP_IPV6_ADDRESS: u32 = 9;

/// What became of a link's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All are in use.
    All,
    /// Another host has this one.
    InUse(IpNetwork),
    /// This one is still being looked for.
    Late(IpNetwork),
}

impl Netlink {
    /// Waits until each of a link's IPv6 addresses is in use or found to be another
    /// host's. The thread must be in the connection's namespace: that is where the
    /// kernel's announcements are heard.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused), [`Error::Socket`](crate::Error::Socket).
    pub fn settle(&mut self, link: u32, limit: Duration) -> Result<Settled> {
        let mut announcements = Socket::new(NETLINK_ROUTE)?;
        announcements.bind_auto()?;
        announcements.add_membership(GROUP_IPV6_ADDRESS)?;
        announcements.set_non_blocking(true)?;
        let deadline = Instant::now() + limit;
        loop {
            // Only that something was announced matters, so none can be lost.
            let pending = match judge(&self.addresses(link)?) {
                Settled::Late(net) => net,
                settled => return Ok(settled),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Settled::Late(pending));
            }
            let mut waiting = [PollFd::new(announcements.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut waiting, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
            let mut buffer = Vec::with_capacity(32 * 1024);
            while announcements.recv(&mut buffer, 0).is_ok() {
                buffer.clear();
            }
        }
    }
}

fn judge(addresses: &[Address]) -> Settled {
    let ipv6 = || addresses.iter().filter(|address| address.net.is_ipv6());
    if let Some(address) = ipv6().find(|address| address.is_duplicate()) {
        return Settled::InUse(address.net);
    }
    let pending = ipv6().find(|address| !address.is_usable());
    pending.map_or(Settled::All, |address| Settled::Late(address.net))
}
