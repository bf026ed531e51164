//! Packet-filter rules: nftables over netlink, in this process.
//!
//! All rules live in the tables `slash24`: one of the family `inet`, where packets are
//! masqueraded ([`masquerade`]), and where the kernel wants it so one of the family
//! `bridge`, where frames are dropped ([`spoof`]), and of the family `netdev`, where
//! links are kept apart ([`link`]). `nft list table inet slash24` shows
//! everything there is, and deleting the tables removes it.

mod expression;
mod forward;
mod link;
mod masquerade;
mod message;
mod spoof;

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;

use crate::decode::{self, DONE, ERROR};
use crate::netlink::receive;
use crate::{Error, Result};
use message::{Batch, Family};

pub use forward::{ForwardChain, dropping_forward_chains};
pub use link::{forget_link, guard_link, is_guarded_link, limit_link, link_limit};
pub use masquerade::{
    forget_network, is_masqueraded, masquerade, masquerade_all_by, masquerades_all,
};
pub use spoof::{Guard, Release, all_guards, guard, guard_of, is_guarded};

/// The name of the tables that all rules are in.
pub const TABLE: &str = "slash24";

/// What a batch was refused for.
type Refusal = Option<(Errno, String)>;

fn done(refusal: Refusal, doing: String) -> Result<()> {
    match refusal {
        None => Ok(()),
        Some((errno, reason)) => Err(Error::Refused {
            doing,
            errno,
            reason,
        }),
    }
}

/// A connection to delete by. Whoever has it last, and closes it, waits some 10 ms for the
/// kernel to forget what was deleted: a child that deletes links waits anyway, and has it,
/// too, if it was opened before.
pub struct Deletion(Netfilter);

impl Deletion {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Socket`](crate::Error::Socket).
    pub fn open() -> Result<Self> {
        Ok(Deletion(Netfilter::open()?))
    }
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

    fn has_chain(&mut self, family: Family, chain: &str) -> Result<bool> {
        let refusal = self.commit(message::ask_for_chain(family, TABLE, chain))?;
        Ok(refusal.is_none())
    }

    /// Sends a question and hands every part of the answer to `each`. What is not
    /// there has no parts.
    fn ask(&mut self, question: Batch, mut each: impl FnMut(&[u8])) -> Result<()> {
        let (bytes, last) = question.finish();
        self.socket.send(&bytes, 0)?;
        receive(&self.socket, |message| {
            match message.kind {
                DONE => return Ok(false),
                ERROR => match decode::refusal(message) {
                    Some((Errno::ENOENT, _)) | None => return Ok(message.sequence != last),
                    refusal => {
                        done(refusal, "list packet-filter rules".to_owned())?;
                    }
                },
                _ => each(message.payload),
            }
            Ok(true)
        })
    }

    /// Sends a batch and returns the first refusal, if there is one.
    fn commit(&mut self, batch: Batch) -> Result<Refusal> {
        let (bytes, last) = batch.finish();
        self.socket.send(&bytes, 0)?;
        let mut refusal = None;
        receive(&self.socket, |message| {
            // Anything but an error message is what was asked for.
            let is_error = message.kind == ERROR;
            refusal = decode::refusal(message).filter(|_| is_error);
            Ok(is_error && refusal.is_none() && message.sequence != last)
        })?;
        Ok(refusal)
    }
}
