//! Filters of one link, for the links of private networks.
//!
//! ```text
//! table netdev slash24 {
//!   chain in-vxbr5 {
//!     type filter hook ingress device "vxbr5" priority 0; policy drop;
//!   }
//!   chain out-vx5 {
//!     type filter hook egress device "vx5" priority 0; policy accept;
//!     ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 limit rate over 100/second drop
//!   }
//! }
//! ```
//!
//! A bridge's own link takes in what is for the host; what the bridge forwards does
//! not pass it. So the first chain makes the bridge a switch and nothing else.

use nix::errno::Errno;

use super::expression::{Expression, Verdict};
use super::message::{Batch, Family, LinkHook};
use super::{Netfilter, Refusal, TABLE, done};
use crate::Result;

/// `NF_NETDEV_INGRESS`, `NF_NETDEV_EGRESS` (linux/netfilter.h).
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;

fn inward(bridge: &str) -> String {
    format!("in-{bridge}")
}

fn outward(device: &str) -> String {
    format!("out-{device}")
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
        let hook = LinkHook {
            link: device,
            number: EGRESS,
            drops: false,
        };
        let name = outward(device);
        batch.link_chain(TABLE, &name, &hook);
        let mut rule = Expression::to_group();
        rule.push(Expression::above_rate(rate));
        rule.push(Expression::verdict(Verdict::Drop));
        batch.rule(TABLE, &name, &rule);
    }
    batch
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
    for chain in [inward(bridge), outward(device)] {
        let mut filter = Netfilter::open()?;
        if !filter.has_chain(Family::Netdev, &chain)? {
            continue;
        }
        let mut batch = Batch::new(Family::Netdev);
        batch.delete_chain(TABLE, &chain);
        match Netfilter::open()?.commit(batch)? {
            Some((Errno::ENOENT, _)) => {}
            refused => done(refused, format!("take the guard of {chain} away"))?,
        }
    }
    Ok(())
}
