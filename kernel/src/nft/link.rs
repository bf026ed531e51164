//! Filters of one link, for the links of private networks.
//!
//! ```text
//! table netdev slash24 {
//!   chain in-vxbr5 {
//!     type filter hook ingress device "vxbr5" priority 0; policy drop;
//!   }
//!   chain out-vx5-100 {
//!     type filter hook egress device "vx5" priority 0; policy accept;
//!     ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 limit rate over 100/second drop
//!   }
//! }
//! ```
//!
//! A bridge's own link takes in what is for the host; what the bridge forwards does
//! not pass it. So the first chain makes the bridge a switch and nothing else. The second
//! has its limit in its name, where it is easily read.

use nix::errno::Errno;

use super::expression::{Expression, Verdict};
use super::message::{self, Batch, Family, LinkHook, text_of};
use super::{Deletion, Netfilter, Refusal, TABLE, done};
use crate::Result;

/// `NF_NETDEV_INGRESS`, `NF_NETDEV_EGRESS` (linux/netfilter.h).
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;

fn inward(bridge: &str) -> String {
    format!("in-{bridge}")
}

/// How the names begin of chains that limit a device.
fn outward(device: &str) -> String {
    format!("out-{device}-")
}

/// Keeps what comes in by `bridge` from the host, and lets at most `groups` frames a
/// second to groups and to everybody go out by `device`, if that is limited.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn guard_link(bridge: &str, device: &str, groups: Option<u32>) -> Result<()> {
    let commit = |with_table| Netfilter::open()?.commit(batch(bridge, device, groups, with_table));
    let mut refused: Refusal = commit(false)?;
    if matches!(refused, Some((Errno::ENOENT, _))) {
        refused = commit(true)?;
    }
    done(refused, format!("keep {bridge} apart"))
}

fn batch(bridge: &str, device: &str, groups: Option<u32>, with_table: bool) -> Batch {
    let mut batch = Batch::new(Family::Netdev);
    if with_table {
        batch.table(TABLE);
    }
    let hook = LinkHook {
        link: bridge,
        number: INGRESS,
        drops: true,
    };
    batch.link_chain(TABLE, &inward(bridge), &hook);
    if let Some(rate) = groups {
        add_limit(&mut batch, device, rate);
    }
    batch
}

fn add_limit(batch: &mut Batch, device: &str, rate: u32) {
    let hook = LinkHook {
        link: device,
        number: EGRESS,
        drops: false,
    };
    let name = format!("{}{rate}", outward(device));
    batch.link_chain(TABLE, &name, &hook);
    let mut rule = Expression::to_group();
    rule.push(Expression::above_rate(rate));
    rule.push(Expression::verdict(Verdict::Drop));
    batch.rule(TABLE, &name, &rule);
}

/// Sets the limit of what goes out by a `device`, as [`guard_link`] does, whatever limit it
/// had before, or its name's bearer.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn limit_link(device: &str, groups: Option<u32>) -> Result<()> {
    forget_limits(device)?;
    let Some(rate) = groups else { return Ok(()) };
    let mut batch = Batch::new(Family::Netdev);
    add_limit(&mut batch, device, rate);
    let refused = Netfilter::open()?.commit(batch)?;
    done(refused, format!("limit what leaves by {device}"))
}

/// Whether [`guard_link`] has been called for a bridge, and its chain is there.
///
/// # Errors
/// [`Error::Socket`](crate::Error::Socket).
pub fn is_guarded_link(bridge: &str) -> Result<bool> {
    Netfilter::open()?.has_chain(Family::Netdev, &inward(bridge))
}

/// Takes back [`guard_link`]. Kernels before 6.16 do so by themselves when the link
/// goes, later ones keep the chains for a link of that name that may come.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn forget_link(bridge: &str, device: &str) -> Result<()> {
    Deletion::open()?.forget_link(bridge, device)
}

fn forget_limits(device: &str) -> Result<()> {
    Deletion::open()?.forget_hooks(&limits(device)?)
}

impl Deletion {
    /// As [`forget_link`].
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn forget_link(&mut self, bridge: &str, device: &str) -> Result<()> {
        let mut chains = limits(device)?;
        if is_guarded_link(bridge)? {
            chains.push(inward(bridge));
        }
        self.forget_hooks(&chains)
    }

    fn forget_hooks(&mut self, chains: &[String]) -> Result<()> {
        for chain in chains {
            let mut batch = Batch::new(Family::Netdev);
            batch.delete_chain(TABLE, chain);
            match self.0.commit(batch)? {
                Some((Errno::ENOENT, _)) => {}
                refused => done(refused, format!("take the guard of {chain} away"))?,
            }
        }
        Ok(())
    }
}

/// The chains that limit a device; there should be one at most.
fn limits(device: &str) -> Result<Vec<String>> {
    let mut chains = Vec::new();
    Netfilter::open()?.ask(message::ask_for_chains(Family::Netdev), |payload| {
        let (table, chain) = (text_of(payload, 1), text_of(payload, 3));
        if table == TABLE && chain.starts_with(&outward(device)) {
            chains.push(chain);
        }
    })?;
    Ok(chains)
}

/// How many frames a second to groups and to everybody may go out by a device, if that is
/// limited.
///
/// # Errors
/// [`Error::Socket`](crate::Error::Socket).
pub fn link_limit(device: &str) -> Result<Option<u32>> {
    let limits = limits(device)?;
    let rate = |chain: &String| chain.strip_prefix(&outward(device))?.parse().ok();
    Ok(limits.iter().find_map(rate))
}
