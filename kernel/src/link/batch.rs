//! Deleting many links at once.
//!
//! Each `RTM_DELLINK` makes its caller wait some 20 ms for the kernel to forget
//! the link, however many of them are in one message. Links of one group are
//! deleted by one request, and it waits once.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::errno::Errno;

use crate::{Link, Netlink, Operation, Result, delete_link};

impl Netlink {
    /// Deletes `links`, and waits until the kernel has forgotten them. `all` are
    /// the links of the namespace, so that a group is chosen that none of them is
    /// in. Links that are gone already are no error.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn delete_links(&mut self, links: &[&Link], all: &[Link]) -> Result<()> {
        let one_by_one = || links.iter().map(|link| delete_link(link.index));
        let Some(group) = free_group(std::process::id(), all).filter(|_| links.len() > 1) else {
            return self.apply(&one_by_one().collect::<Vec<_>>());
        };
        let join = links.iter().map(|link| join_group(link.index, group));
        self.apply(&join.collect::<Vec<_>>())?;
        match self.apply(&[delete_group(group)]) {
            // A driver may have no way to delete its links in groups.
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
                self.apply(&one_by_one().collect::<Vec<_>>())
            }
            deleted => deleted,
        }
    }
}

/// A group that no link is in, and that no other process chooses meanwhile.
/// People number theirs from 0, so these are those with the highest bit.
fn free_group(process: u32, all: &[Link]) -> Option<u32> {
    /// `PID_MAX_LIMIT` (linux/threads.h): numbers of processes are below it.
    const PROCESSES: u32 = 1 << 22;
    let mut candidates = (0..512).map(|n| (1 << 31) | (n * PROCESSES) | (process % PROCESSES));
    candidates.find(|group| all.iter().all(|link| link.group != *group))
}

/// Puts a link into a group, and leaves everything else as it is. One that is gone
/// already is no error.
pub fn join_group(index: u32, group: u32) -> Operation {
    let mut message = LinkMessage::default();
    message.header.index = index;
    join(message, &format!("link number {index}"), group)
}

/// As [`join_group`], for a link whose number is not known.
pub fn join_group_of(name: &str, group: u32) -> Operation {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    join(message, &format!("link {name}"), group)
}

fn join(mut message: LinkMessage, told: &str, group: u32) -> Operation {
    message.attributes.push(LinkAttribute::Group(group));
    Operation::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("put {told} into group {group}"),
    )
    .tolerate(&[Errno::ENODEV])
}

/// Names no link: the request is for all those in the group.
pub(crate) fn delete_group(group: u32) -> Operation {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    Operation::new(
        RouteNetlinkMessage::DelLink(message),
        0,
        format!("delete the links of group {group}"),
    )
    .tolerate(&[Errno::ENODEV])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_free_and_differs_between_processes() {
        let of = |group| Link {
            group,
            ..Link::default()
        };
        let first = free_group(4711, &[of(0), of(1)]).unwrap();
        assert!(first > 1);
        assert_ne!(Some(first), free_group(4712, &[]));
        assert_ne!(Some(first), free_group(4711, &[of(first)]));
    }
}
