//! nftables' messages (linux/netfilter/nf_tables.h), as far as they are needed.

use super::expression::Expression;
use crate::decode::{attributes, text};

/// `NFNL_SUBSYS_NFTABLES`, and the messages of its subsystem.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DELETE_ELEMENTS: u16 = 14;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`: what lies between is carried out
/// as a whole or not at all.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NLM_F_*` (linux/netlink.h).
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const DUMP: u16 = 0x300;
/// `NFPROTO_UNSPEC`.
const UNSPECIFIED: u8 = 0;
const NESTED: u16 = 0x8000;
/// The length of `struct nfgenmsg` (linux/netfilter/nfnetlink.h).
pub(super) const NFGENMSG: usize = 4;

/// Which packets a table sees (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// All of them, for questions.
    Any = 0,
    /// Packets of IPv4 and of IPv6.
    Inet = 1,
    /// Packets of IPv4.
    Ipv4 = 2,
    /// Whatever passes one link.
    Netdev = 5,
    /// Frames that bridges forward.
    Bridge = 7,
    /// Packets of IPv6.
    Ipv6 = 10,
}

/// A chain that packets come to by themselves.
pub(super) struct Hook {
    /// What it does: `nat`, `filter`.
    pub(super) kind: &'static str,
    /// Where packets pass it (`NF_INET_*`, `NF_BR_*`).
    pub(super) number: u32,
    /// Before (lower) and after which others.
    pub(super) priority: i32,
}

/// Where the packets of one link pass.
pub(super) struct LinkHook<'a> {
    /// The link's name.
    pub(super) link: &'a str,
    /// Coming in or going out (`NF_NETDEV_*`).
    pub(super) number: u32,
    /// Whether the last word on them is to drop them.
    pub(super) drops: bool,
}

/// A set of keys.
pub(super) struct Set<'a> {
    pub(super) name: &'a str,
    /// Its number in the batch.
    pub(super) id: u32,
    /// What nft takes the keys for; concatenations have six bits a part.
    pub(super) key_type: u32,
    /// The length of a key in bytes.
    pub(super) key_length: u32,
}

/// An element of a set.
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    /// What `nft list` shows beside it; empty is none.
    pub(super) comment: String,
}

/// Messages that the kernel carries out together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    family: Family,
    sequence: u32,
    /// Where the last message that wants an answer begins.
    last: usize,
    is_transaction: bool,
}

/// The question whether a chain is there; the answer is the chain, or `ENOENT`.
pub(super) fn ask_for_chain(family: Family, table: &str, chain: &str) -> Batch {
    let mut batch = Batch::question(family);
    batch.message(GET_CHAIN, REQUEST, |m| {
        attribute_text(m, 1, table);
        attribute_text(m, 3, chain);
    });
    batch
}

/// The question for all chains of a family.
pub(super) fn ask_for_chains(family: Family) -> Batch {
    let mut batch = Batch::question(family);
    batch.message(GET_CHAIN, REQUEST | DUMP, |_| {});
    batch
}

/// The question for the rules of a chain, or of all chains of a table.
pub(super) fn ask_for_rules(family: Family, table: &str, chain: Option<&str>) -> Batch {
    let mut batch = Batch::question(family);
    batch.message(GET_RULE, REQUEST | DUMP, |m| {
        attribute_text(m, 1, table);
        if let Some(chain) = chain {
            attribute_text(m, 2, chain);
        }
    });
    batch
}

/// The question for one element of a set, or for all.
pub(super) fn ask_for_elements(
    family: Family,
    table: &str,
    set: &str,
    element: Option<&Element>,
) -> Batch {
    let mut batch = Batch::question(family);
    let flags = if element.is_none() { DUMP } else { 0 };
    batch.message(GET_ELEMENTS, REQUEST | flags, |m| {
        attribute_text(m, 1, table);
        attribute_text(m, 2, set);
        if let Some(element) = element {
            put_elements(m, std::slice::from_ref(element));
        }
    });
    batch
}

impl Batch {
    /// Changes that are carried out as a whole or not at all.
    pub(super) fn new(family: Family) -> Self {
        let mut batch = Batch {
            bytes: Vec::with_capacity(2048),
            family,
            sequence: 0,
            last: 0,
            is_transaction: true,
        };
        batch.boundary(BATCH_BEGIN);
        batch
    }

    fn question(family: Family) -> Self {
        Batch {
            bytes: Vec::with_capacity(128),
            family,
            sequence: 0,
            last: 0,
            is_transaction: false,
        }
    }

    /// A table, new or there already.
    pub(super) fn table(&mut self, name: &str) {
        self.message(NEW_TABLE, REQUEST | CREATE, |m| attribute_text(m, 1, name));
    }

    /// A chain, new or there already, that packets come to by themselves.
    pub(super) fn base_chain(&mut self, table: &str, name: &str, hook: &Hook) {
        self.message(NEW_CHAIN, REQUEST | CREATE, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 3, name);
            nested(m, 4, |attributes| {
                attribute(attributes, 1, &hook.number.to_be_bytes());
                attribute(attributes, 2, &hook.priority.to_be_bytes());
            });
            attribute_text(m, 7, hook.kind);
        });
    }

    /// A chain that the packets of one link come to; `hook` is where. The last word on
    /// them is to let them pass, or to drop them.
    pub(super) fn link_chain(&mut self, table: &str, name: &str, hook: &LinkHook<'_>) {
        const DROP: u32 = 0;
        const ACCEPT: u32 = 1;
        self.message(NEW_CHAIN, REQUEST | CREATE, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 3, name);
            nested(m, 4, |attributes| {
                attribute(attributes, 1, &hook.number.to_be_bytes());
                attribute(attributes, 2, &0_u32.to_be_bytes());
                attribute_text(attributes, 3, hook.link);
            });
            let policy = if hook.drops { DROP } else { ACCEPT };
            attribute(m, 5, &policy.to_be_bytes());
            attribute_text(m, 7, "filter");
        });
    }

    /// A chain that must not be there yet.
    pub(super) fn new_chain(&mut self, table: &str, name: &str) {
        self.message(NEW_CHAIN, REQUEST | CREATE | EXCLUSIVE, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 3, name);
        });
    }

    /// A rule at the end of a chain.
    pub(super) fn rule(&mut self, table: &str, chain: &str, expressions: &[Expression]) {
        self.message(NEW_RULE, REQUEST | CREATE | APPEND, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 2, chain);
            nested(m, 4, |list| {
                for expression in expressions {
                    nested(list, 1, |element| {
                        attribute_text(element, 1, expression.name);
                        nested(element, 2, |data| data.extend(&expression.data));
                    });
                }
            });
        });
    }

    /// Deletes a rule by the number that the kernel gave it.
    pub(super) fn delete_rule(&mut self, table: &str, chain: &str, handle: u64) {
        self.message(DELETE_RULE, REQUEST, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 2, chain);
            attribute(m, 3, &handle.to_be_bytes());
        });
    }

    /// Deletes a chain with its rules.
    pub(super) fn delete_chain(&mut self, table: &str, name: &str) {
        self.message(DELETE_RULE, REQUEST, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 2, name);
        });
        self.message(DELETE_CHAIN, REQUEST, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 3, name);
        });
    }

    /// A set that must not be there yet.
    pub(super) fn new_set(&mut self, table: &str, set: &Set<'_>) {
        self.message(NEW_SET, REQUEST | CREATE | EXCLUSIVE, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 2, set.name);
            attribute(m, 3, &0_u32.to_be_bytes());
            attribute(m, 4, &set.key_type.to_be_bytes());
            attribute(m, 5, &set.key_length.to_be_bytes());
            attribute(m, 10, &set.id.to_be_bytes());
        });
    }

    /// Puts elements into a set.
    pub(super) fn add_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.change_elements(NEW_ELEMENTS, CREATE, table, set, elements);
    }

    /// Takes elements out of a set, all of which must be there.
    pub(super) fn delete_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.change_elements(DELETE_ELEMENTS, 0, table, set, elements);
    }

    fn change_elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        // An attribute is 64 KiB at most, an element here some 300 bytes.
        for elements in elements.chunks(128) {
            self.message(kind, REQUEST | flags, |m| {
                attribute_text(m, 1, table);
                attribute_text(m, 2, set);
                put_elements(m, elements);
            });
        }
    }

    /// The bytes to send, and the number of the message that is answered last.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        let flags = self.last + 6;
        let with_ack = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&with_ack.to_ne_bytes());
        let last = self.sequence;
        if self.is_transaction {
            self.boundary(BATCH_END);
        }
        (self.bytes, last)
    }

    fn boundary(&mut self, kind: u16) {
        let header = [UNSPECIFIED, 0, 0, SUBSYSTEM as u8];
        put(&mut self.bytes, kind, REQUEST, 0, |m| m.extend(header));
    }

    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.sequence += 1;
        self.last = self.bytes.len();
        let family = self.family as u8;
        put(
            &mut self.bytes,
            SUBSYSTEM << 8 | kind,
            flags,
            self.sequence,
            |m| {
                m.extend([family, 0, 0, 0]);
                body(m);
            },
        );
    }
}

/// Appends a netlink message.
fn put(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    body(bytes);
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(super) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(super) fn attribute_text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    attribute(bytes, kind, &[text.as_bytes(), &[0]].concat());
}

pub(super) fn nested(bytes: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    attribute(bytes, NESTED | kind, &inner);
}

fn put_elements(bytes: &mut Vec<u8>, elements: &[Element]) {
    nested(bytes, 3, |list| {
        for element in elements {
            nested(list, 1, |m| {
                nested(m, 1, |key| attribute(key, 1, &element.key));
                if !element.comment.is_empty() {
                    attribute(m, 6, &comment(&element.comment));
                }
            });
        }
    });
}

/// A comment as nft writes it into an element's user data: kind 0, its length, and
/// text that ends with a NUL.
fn comment(text: &str) -> Vec<u8> {
    const LONGEST: usize = 250;
    let text = &text.as_bytes()[..text.floor_char_boundary(LONGEST)];
    [&[0, text.len() as u8 + 1], text, &[0]].concat()
}

/// An attribute of an answer, which is text.
pub(super) fn text_of(payload: &[u8], wanted: u16) -> String {
    let mut attributes = attributes(payload.get(NFGENMSG..).unwrap_or_default());
    let found = attributes.find(|(kind, _)| *kind == wanted);
    found.map(|(_, value)| text(value)).unwrap_or_default()
}

/// The elements in an answer: their keys and comments.
pub(super) fn elements(payload: &[u8]) -> Vec<Element> {
    let of = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted);
    let list = of(payload.get(NFGENMSG..).unwrap_or_default(), 3);
    let list = list.into_iter().flat_map(|(_, list)| attributes(list));
    let element = |(_, element)| {
        let (_, key) = of(element, 1)?;
        let comment = of(element, 6).and_then(|(_, data)| data.get(2..));
        Some(Element {
            key: of(key, 1)?.1.to_vec(),
            comment: comment.map(text).unwrap_or_default(),
        })
    };
    list.filter_map(element).collect()
}
