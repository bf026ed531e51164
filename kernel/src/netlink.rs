//! The socket: one a namespace, synchronous, requests sent together.

use std::cell::Cell;

use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use crate::decode::{self, DONE, DUMP_INTERRUPTED, ERROR, HEADER, Message};
use crate::{Error, Link, Result};

/// `NLM_F_*` (linux/netlink.h).
pub(crate) const REQUEST: u16 = 0x01;
pub(crate) const ACK: u16 = 0x04;
pub(crate) const ECHO: u16 = 0x08;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

/// A change to ask of the kernel.
#[derive(Debug, Clone)]
pub struct Operation {
    pub(crate) message: RouteNetlinkMessage,
    pub(crate) flags: u16,
    pub(crate) doing: String,
    pub(crate) tolerated: &'static [Errno],
}

impl Operation {
    pub(crate) fn new(message: RouteNetlinkMessage, flags: u16, doing: String) -> Self {
        Operation {
            message,
            flags,
            doing,
            tolerated: &[],
        }
    }

    /// The same operation, for which these refusals count as success.
    #[must_use]
    pub fn tolerate(mut self, errors: &'static [Errno]) -> Self {
        self.tolerated = errors;
        self
    }
}

/// A connection to the kernel's routing subsystem, in the network namespace in
/// which it was opened. It stays there when the thread moves on.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a connection in the thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // Explanations with refusals, no echo of what was asked. Kernels that
        // lack strict checking (before 4.20) list more than was asked for, which
        // is why callers filter as well.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Asks for all operations in one message to the kernel, which carries them
    /// out in order and goes on after a refusal: the caller undoes.
    ///
    /// # Errors
    /// The first refusal that is not tolerated.
    pub fn apply(&mut self, operations: &[Operation]) -> Result<()> {
        self.apply_and_hear(operations, |_| {})
    }

    /// As [`Netlink::apply`], for an operation that makes a link and wants to hear of it
    /// ([`create_veth`](crate::create_veth)): the link as it was at first, from kernels
    /// that tell (since Linux 6.2). They make up the message in any case.
    ///
    /// # Errors
    /// As [`Netlink::apply`].
    pub fn make(&mut self, operation: &Operation) -> Result<Option<Link>> {
        let mut link = None;
        let operation = std::slice::from_ref(operation);
        self.apply_and_hear(operation, |payload| link = Link::decode(payload))?;
        Ok(link)
    }

    /// `hear` is handed what the kernel echoes.
    fn apply_and_hear(
        &mut self,
        operations: &[Operation],
        mut hear: impl FnMut(&[u8]),
    ) -> Result<()> {
        let Some(last) = operations.len().checked_sub(1) else {
            return Ok(());
        };
        let first = self.sequence + 1;
        self.sequence += operations.len() as u32;
        let mut bytes = Vec::with_capacity(1024);
        for (index, operation) in operations.iter().enumerate() {
            // Refusals are always answered; of the rest the last is enough.
            let ack = if index == last { ACK } else { 0 };
            let flags = REQUEST | operation.flags | ack;
            encode(&mut bytes, &operation.message, flags, first + index as u32);
        }
        self.socket.send(&bytes, 0)?;

        let mut refused = None;
        receive(&self.socket, |message| {
            let index = message.sequence.wrapping_sub(first) as usize;
            let Some(operation) = operations.get(index) else {
                return Ok(true);
            };
            if message.kind != ERROR {
                hear(message.payload);
                return Ok(true);
            }
            if let Some((errno, reason)) = decode::refusal(message)
                && !operation.tolerated.contains(&errno)
            {
                refused.get_or_insert_with(|| Error::Refused {
                    doing: operation.doing.clone(),
                    errno,
                    reason,
                });
            }
            Ok(index != last)
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// As [`Netlink::apply`], for any number of operations: as many at a time as fit
    /// into one message. Those after the part with a refusal are not asked for.
    ///
    /// # Errors
    /// As [`Netlink::apply`].
    pub fn apply_in_parts(&mut self, operations: &[Operation]) -> Result<()> {
        /// Each has some 80 bytes, and a message at most the 200 KiB of a socket's
        /// buffer.
        const PART: usize = 1024;
        operations
            .chunks(PART)
            .try_for_each(|part| self.apply(part))
    }

    /// Asks a question and hands every part of the answer to `each`; a list that
    /// changed while it was read is read again.
    pub(crate) fn ask(
        &mut self,
        question: &RouteNetlinkMessage,
        flags: u16,
        doing: &str,
        mut each: impl FnMut(Answer<'_>),
    ) -> Result<()> {
        /// Lists of busy namespaces may change under each reading; this many
        /// tries and the last is taken as it is.
        const TRIES: usize = 8;

        for attempt in 1..=TRIES {
            each(Answer::Begin);
            if !self.ask_once(question, flags, doing, &mut each)? || attempt == TRIES {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the answer was interrupted by a change.
    fn ask_once(
        &mut self,
        question: &RouteNetlinkMessage,
        flags: u16,
        doing: &str,
        each: &mut impl FnMut(Answer<'_>),
    ) -> Result<bool> {
        self.sequence += 1;
        let sequence = self.sequence;
        let is_list = flags & DUMP == DUMP;
        let mut bytes = Vec::with_capacity(128);
        encode(&mut bytes, question, REQUEST | flags, sequence);
        self.socket.send(&bytes, 0)?;

        let mut interrupted = false;
        receive(&self.socket, |message| {
            if message.sequence != sequence {
                return Ok(true);
            }
            interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            match message.kind {
                DONE => match decode::failed(message) {
                    Some(errno) => Err(Error::Refused {
                        doing: doing.to_owned(),
                        errno,
                        reason: String::new(),
                    }),
                    None => Ok(false),
                },
                ERROR => match decode::refusal(message) {
                    Some((errno, reason)) => Err(Error::Refused {
                        doing: doing.to_owned(),
                        errno,
                        reason,
                    }),
                    None => Ok(false),
                },
                _ => {
                    each(Answer::Part(message.payload));
                    Ok(is_list)
                }
            }
        })?;
        Ok(interrupted)
    }
}

thread_local! {
    /// Where the thread's messages are received, over whichever connection: each page
    /// that a process touches for the first time costs it as much as a system call.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Receives messages for as long as `each` wants more.
pub(crate) fn receive(
    socket: &Socket,
    each: impl FnMut(&Message<'_>) -> Result<bool>,
) -> Result<()> {
    // `each` may receive something itself, and finds an empty one.
    let mut buffer = BUFFER.take();
    // The kernel's own buffers for lists are at most this large.
    buffer.clear();
    buffer.reserve(32 * 1024);
    let received = receive_into(&mut buffer, socket, each);
    BUFFER.set(buffer);
    received
}

fn receive_into(
    buffer: &mut Vec<u8>,
    socket: &Socket,
    mut each: impl FnMut(&Message<'_>) -> Result<bool>,
) -> Result<()> {
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        for message in decode::messages(buffer) {
            if !each(&message)? {
                return Ok(());
            }
        }
    }
}

/// A part of the answer to a question.
pub(crate) enum Answer<'a> {
    /// What was handed over before is void; the answer begins anew.
    Begin,
    /// A message's payload.
    Part(&'a [u8]),
}

/// Appends a message with its header, padded as netlink wants it.
pub(crate) fn encode(
    bytes: &mut Vec<u8>,
    message: &RouteNetlinkMessage,
    flags: u16,
    sequence: u32,
) {
    let start = bytes.len();
    let length = HEADER + Emitable::buffer_len(message);
    bytes.resize(start + length.next_multiple_of(4), 0);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[start + 4..start + 6].copy_from_slice(&message.message_type().to_ne_bytes());
    bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
    bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    Emitable::emit(message, &mut bytes[start + HEADER..start + length]);
}
