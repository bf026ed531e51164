//! Deleting a link without waiting for the kernel to forget it.
//!
//! `RTM_DELLINK` takes some 20 ms, and all but the first is spent after the link
//! is gone: the caller sits out an RCU barrier before `send` returns. So a child
//! process makes the request, and the caller goes on when the kernel announces
//! that the link is gone, after which nothing can fail any more. Guards of the link
//! are taken away then: that takes as long to be forgotten, and the child, which has
//! the connection too, waits for both.

use std::io;
use std::os::fd::AsFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::decode::{self, u32_at};
use crate::link::{delete_group, join_group};
use crate::netlink::{ACK, REQUEST, encode};
use crate::raw::fork_child;
use crate::{Netlink, Netns, Result, delete_link, nft};

/// `RTNLGRP_LINK`, `RTM_DELLINK` (linux/rtnetlink.h).
const GROUP_LINK: u32 = 1;
const DELETED: u16 = 17;

/// The other end of a virtual cable, which goes with the link.
#[derive(Clone, Copy)]
pub struct OtherEnd<'a> {
    /// Where it is.
    pub netns: &'a Netns,
    /// Its number there.
    pub index: u32,
}

/// Deletes a link of the thread's namespace and returns as soon as it is gone. If
/// the child fails or dies before that, or no child can be had, the link is
/// deleted by the caller itself, which also finds out why it could not be.
///
/// Where there is an `other_end`, its end is waited for: a container's namespace
/// announces little, while on the host everybody hears of every link. Its `guards`
/// stay until it is gone.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused). A link that is gone already is none.
pub fn remove_link(
    index: u32,
    other_end: Option<OtherEnd<'_>>,
    guards: Option<nft::Release>,
) -> Result<()> {
    match remove_by_child(index, other_end) {
        Ok(true) => {}
        Ok(false) | Err(_) => Netlink::open()?.apply(&[delete_link(index)])?,
    }
    guards.map_or(Ok(()), nft::Release::commit)
}

/// Deletes links of the thread's namespace as [`remove_link`] does one, together: each by
/// itself would have to wait until the one before is forgotten. They are put into `group`,
/// which nobody else may use.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused). Links that are gone already are none.
pub fn remove_links(indices: &[u32], group: u32) -> Result<()> {
    let mut requests = Vec::new();
    let mut ask = |flags, message| {
        encode(&mut requests, &message, REQUEST | flags, 1);
    };
    for index in indices {
        ask(0, join_group(*index, group).message);
    }
    ask(ACK, delete_group(group).message);
    match ask_by_child(&requests, None, indices.to_vec()) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => {
            let each: Vec<_> = indices.iter().map(|index| delete_link(*index)).collect();
            Netlink::open()?.apply(&each)
        }
    }
}

/// Returns whether the link's end was announced.
fn remove_by_child(index: u32, other_end: Option<OtherEnd<'_>>) -> Result<bool> {
    let mut request = Vec::new();
    let mut link = LinkMessage::default();
    link.header.index = index;
    let message = RouteNetlinkMessage::DelLink(link);
    encode(&mut request, &message, REQUEST | ACK, 1);
    let announced = other_end.map_or(index, |end| end.index);
    ask_by_child(&request, other_end, vec![announced])
}

/// Has a child ask, and returns whether the end of all links was announced: of those with
/// the numbers `awaited`, in the namespace of the `other_end` if there is one.
fn ask_by_child(
    request: &[u8],
    other_end: Option<OtherEnd<'_>>,
    awaited: Vec<u32>,
) -> Result<bool> {
    // All is prepared before the fork: the child must not allocate.
    let mut announcements = {
        let _inside = other_end.map(|end| end.netns.enter()).transpose()?;
        Socket::new(NETLINK_ROUTE)?
    };
    // Without an address of its own a socket is taken for the kernel's and hears
    // nothing.
    announcements.bind_auto()?;
    announcements.add_membership(GROUP_LINK)?;
    let requests = Socket::new(NETLINK_ROUTE)?;
    let (child_lives, held_by_child) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;

    fork_child(|| {
        // The runtime waits for the end of the plugin's output, not of this child.
        for descriptor in 0..=2 {
            let _ = crate::raw::close(descriptor);
        }
        i32::from(requests.send(request, 0).is_err())
    })
    .map_err(io::Error::from)?;
    drop(held_by_child);
    drop(requests);
    Ok(wait_for_ends(&announcements, child_lives.as_fd(), awaited)?)
}

fn wait_for_ends(
    announcements: &Socket,
    child_lives: std::os::fd::BorrowedFd<'_>,
    mut awaited: Vec<u32>,
) -> io::Result<bool> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    loop {
        let mut waiting = [
            PollFd::new(announcements.as_fd(), PollFlags::POLLIN),
            PollFd::new(child_lives, PollFlags::POLLIN),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let [announced, child] = waiting.map(|fd| fd.any().unwrap_or(true));
        if announced {
            buffer.clear();
            // On a busy host announcements can be lost (ENOBUFS): the caller then
            // deletes by itself, and finds the link gone or waits for it.
            announcements.recv(&mut buffer, 0)?;
            for message in decode::messages(&buffer) {
                awaited.retain(|index| !is_end(&message, *index));
            }
            if awaited.is_empty() {
                return Ok(true);
            }
        } else if child {
            return Ok(false);
        }
    }
}

/// Whether a message announces the end of the link itself. The end of its being
/// a bridge's port comes as the same message, with a family.
fn is_end(message: &decode::Message<'_>, index: u32) -> bool {
    let family = message.payload.first().copied();
    message.kind == DELETED && family == Some(0) && u32_at(message.payload, 4) == Some(index)
}
