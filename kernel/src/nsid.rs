//! Numbers by which one network namespace knows another, so that a link can be made
//! in the one above a link of the other.

use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;

use crate::decode::{attributes, u32_at};
use crate::netlink::Answer;
use crate::{Error, Netlink, Operation, Result};

/// `NETNSA_NSID_NOT_ASSIGNED` (linux/net_namespace.h); in a request: any number.
const NONE: i32 = -1;
const ANY: i32 = NONE;
const FIRST: i32 = 0;
const DOING: &str = "number the other network namespace";

impl Netlink {
    /// The number by which the connection's namespace knows the one that the
    /// descriptor leads to. It is given one if it has none.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Garbled`].
    pub fn number_of(&mut self, other: RawFd) -> Result<i32> {
        // A container's namespace that is new knows no other.
        match self.apply(&[number(other, FIRST)]) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            numbered => return numbered.map(|()| FIRST),
        }
        if let Some(number) = self.find_number(other)? {
            return Ok(number);
        }
        // Another process may do the same at the same time.
        self.apply(&[number(other, ANY).tolerate(&[Errno::EEXIST])])?;
        let number = self.find_number(other)?;
        number.ok_or_else(|| Error::Garbled(DOING.into()))
    }

    fn find_number(&mut self, other: RawFd) -> Result<Option<i32>> {
        /// The length of `struct rtgenmsg`, padded, and `NETNSA_NSID`.
        const RTGENMSG: usize = 4;
        const NSID: u16 = 1;
        let question = RouteNetlinkMessage::GetNsId(message(other, None));
        let mut number = None;
        self.ask(&question, 0, DOING, |answer| {
            if let Answer::Part(payload) = answer {
                let attributes = attributes(payload.get(RTGENMSG..).unwrap_or_default());
                let mut numbers = attributes.filter(|(kind, _)| *kind == NSID);
                number = numbers.find_map(|(_, value)| Some(u32_at(value, 0)? as i32));
            }
        })?;
        Ok(number.filter(|number| *number != NONE))
    }
}

fn number(other: RawFd, number: i32) -> Operation {
    let message = message(other, Some(number));
    Operation::new(RouteNetlinkMessage::NewNsId(message), 0, DOING.into())
}

fn message(other: RawFd, number: Option<i32>) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes.extend(number.map(NsidAttribute::Id));
    message.attributes.push(NsidAttribute::Fd(other as u32));
    message
}
