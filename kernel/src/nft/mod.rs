//! Packet-filter rules: nftables over netlink, in this process.
//!
//! All rules live in one table, `inet slash24`, so that `nft list table inet
//! slash24` shows everything there is and deleting that table removes it.

mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;

use crate::decode::{self, ERROR};
use crate::netlink::receive;
use crate::{Error, Result};
use message::{Batch, Expression, Verdict};

/// The table that all rules are in.
pub const TABLE: &str = "slash24";
/// The chain that masquerading starts from.
const POSTROUTING: &str = "postrouting";

/// Makes the packets that leave a network's subnet for elsewhere appear to come
/// from the host, as `ipMasq` wants it: everything from `subnet` but what goes to
/// the subnet itself or to a multicast group.
///
/// It is one object a subnet, not one a container: all later calls find it there,
/// and detaching a container has nothing to remove.
///
/// # Errors
/// [`Error::Refused`].
pub fn masquerade(network: &str, subnet: IpNetwork) -> Result<()> {
    let chain = chain_name(network, subnet);
    let doing = format!("masquerade {subnet} of network {network}");
    let mut filter = Netfilter::open()?;
    if filter.has_chain(&chain)? {
        return Ok(());
    }
    // Declaring again what is there makes the closing process wait 8 ms and more
    // for an RCU grace period, so the table is only declared when it is missing.
    let mut refused = filter.commit(masquerade_batch(&chain, subnet, false))?;
    if matches!(refused, Some((Errno::ENOENT, _))) {
        // A new connection: the answers to the rest of that batch are still to come.
        refused = Netfilter::open()?.commit(masquerade_batch(&chain, subnet, true))?;
    }
    match refused {
        // Another process was first: a batch is carried out as a whole or not at
        // all, so its rules are all there and ours are not there twice.
        None | Some((Errno::EEXIST, _)) => Ok(()),
        Some((errno, reason)) => Err(Error::Refused {
            doing,
            errno,
            reason,
        }),
    }
}

/// Whether [`masquerade`] has been called for a network's subnet, and its rules are
/// still there.
///
/// # Errors
/// [`Error::Socket`].
pub fn is_masqueraded(network: &str, subnet: IpNetwork) -> Result<bool> {
    Netfilter::open()?.has_chain(&chain_name(network, subnet))
}

/// `masquerade-NETWORK-SUBNET`; nft's own syntax allows no colon in a name.
fn chain_name(network: &str, subnet: IpNetwork) -> String {
    let (base, length) = (subnet.network().to_string(), subnet.prefix());
    format!("masquerade-{network}-{}/{length}", base.replace(':', "_"))
}

fn masquerade_batch(chain: &str, subnet: IpNetwork, with_table: bool) -> Batch {
    let mut batch = Batch::new();
    if with_table {
        batch.table(TABLE);
        batch.source_nat_chain(TABLE, POSTROUTING);
    }
    batch.new_chain(TABLE, chain);
    let multicast: (IpAddr, u8) = match subnet.is_ipv4() {
        true => (Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        false => (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    };
    let subnet = (subnet.network(), subnet.prefix());
    for stays in [subnet, multicast] {
        // The family is settled here, but without it nft cannot show the rule.
        let mut rule = Expression::is_family(stays.0);
        rule.extend(Expression::destination_in(stays));
        rule.push(Expression::verdict(Verdict::Return));
        batch.rule(TABLE, chain, &rule);
    }
    batch.rule(TABLE, chain, &[Expression::masquerade()]);
    let mut enter = Expression::is_family(subnet.0);
    enter.extend(Expression::source_in(subnet));
    enter.push(Expression::verdict(Verdict::Jump(chain)));
    batch.rule(TABLE, POSTROUTING, &enter);
    batch
}

/// A connection to the packet filter of the thread's namespace.
struct Netfilter {
    socket: Socket,
}

impl Netfilter {
    fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Netfilter { socket })
    }

    fn has_chain(&mut self, chain: &str) -> Result<bool> {
        let refusal = self.commit(message::ask_for_chain(TABLE, chain))?;
        Ok(refusal.is_none())
    }

    /// Sends a batch and returns the first refusal, if there is one.
    fn commit(&mut self, batch: Batch) -> Result<Option<(Errno, String)>> {
        let (bytes, last) = batch.finish();
        self.socket.send(&bytes, 0)?;
        let mut refusal = None;
        receive(&self.socket, &mut Vec::new(), |message| {
            // Anything but an error message is what was asked for.
            let is_error = message.kind == ERROR;
            refusal = decode::refusal(message).filter(|_| is_error);
            Ok(is_error && refusal.is_none() && message.sequence != last)
        })?;
        Ok(refusal)
    }
}
