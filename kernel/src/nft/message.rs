//! nftables' messages (linux/netfilter/nf_tables.h), as far as they are needed.

use std::net::IpAddr;

/// `NFNL_SUBSYS_NFTABLES`, and the messages of its subsystem.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
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
/// `NFPROTO_UNSPEC`, `NFPROTO_INET`.
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`, as `meta nfproto` yields them.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// The verdict register, and a 16-byte one for data.
const VERDICT: u32 = 0;
const DATA: u32 = 1;
const NESTED: u16 = 0x8000;

/// Messages that the kernel carries out together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// Where the last message that wants an answer begins.
    last: usize,
    is_transaction: bool,
}

/// The question whether a chain is there; the answer is the chain, or `ENOENT`.
pub(super) fn ask_for_chain(table: &str, chain: &str) -> Batch {
    let mut batch = Batch {
        bytes: Vec::with_capacity(128),
        sequence: 0,
        last: 0,
        is_transaction: false,
    };
    batch.message(GET_CHAIN, REQUEST, |m| {
        attribute_text(m, 1, table);
        attribute_text(m, 3, chain);
    });
    batch
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Batch {
            bytes: Vec::with_capacity(2048),
            sequence: 0,
            last: 0,
            is_transaction: true,
        };
        batch.boundary(BATCH_BEGIN);
        batch
    }

    /// A table, new or there already.
    pub(super) fn table(&mut self, name: &str) {
        self.message(NEW_TABLE, REQUEST | CREATE, |m| attribute_text(m, 1, name));
    }

    /// A chain, new or there already, that new connections pass when they leave
    /// (`type nat hook postrouting priority srcnat`).
    pub(super) fn source_nat_chain(&mut self, table: &str, name: &str) {
        const POSTROUTING: u32 = 4;
        const PRIORITY_SRCNAT: u32 = 100;
        self.message(NEW_CHAIN, REQUEST | CREATE, |m| {
            attribute_text(m, 1, table);
            attribute_text(m, 3, name);
            nested(m, 4, |hook| {
                attribute(hook, 1, &POSTROUTING.to_be_bytes());
                attribute(hook, 2, &PRIORITY_SRCNAT.to_be_bytes());
            });
            attribute_text(m, 7, "nat");
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
        put(
            &mut self.bytes,
            SUBSYSTEM << 8 | kind,
            flags,
            self.sequence,
            |m| {
                m.extend([INET, 0, 0, 0]);
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

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn attribute_text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    attribute(bytes, kind, &[text.as_bytes(), &[0]].concat());
}

fn nested(bytes: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    attribute(bytes, NESTED | kind, &inner);
}

/// What becomes of a packet.
pub(super) enum Verdict<'a> {
    /// It goes back to the chain that it came from.
    Return,
    /// It goes through another chain.
    Jump(&'a str),
}

/// A step of a rule.
pub(super) struct Expression {
    name: &'static str,
    data: Vec<u8>,
}

impl Expression {
    fn new(name: &'static str, body: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut data = Vec::new();
        body(&mut data);
        Expression { name, data }
    }

    /// Goes on with packets of the family of `ip`: what a table of both families
    /// must ask before it looks into a header.
    pub(super) fn is_family(ip: IpAddr) -> Vec<Self> {
        const NFPROTO: u32 = 15;
        let load = Expression::new("meta", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &NFPROTO.to_be_bytes());
        });
        let family = if ip.is_ipv4() { IPV4 } else { IPV6 };
        vec![load, Expression::equals(&[family])]
    }

    /// Goes on with packets that come from a subnet.
    pub(super) fn source_in(subnet: (IpAddr, u8)) -> Vec<Self> {
        let offset = if subnet.0.is_ipv4() { 12 } else { 8 };
        Expression::address_in(subnet, offset)
    }

    /// Goes on with packets that go to a subnet.
    pub(super) fn destination_in(subnet: (IpAddr, u8)) -> Vec<Self> {
        let offset = if subnet.0.is_ipv4() { 16 } else { 24 };
        Expression::address_in(subnet, offset)
    }

    fn address_in((ip, prefix): (IpAddr, u8), offset: u32) -> Vec<Self> {
        const NETWORK_HEADER: u32 = 1;
        let network = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let length = network.len() as u32;
        let bits = |byte: usize| u32::from(prefix).saturating_sub(8 * byte as u32).min(8);
        let mask: Vec<u8> = (0..network.len())
            .map(|byte| !(0xff_u32 >> bits(byte)) as u8)
            .collect();
        let load = Expression::new("payload", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &NETWORK_HEADER.to_be_bytes());
            attribute(m, 3, &offset.to_be_bytes());
            attribute(m, 4, &length.to_be_bytes());
        });
        let cut = Expression::new("bitwise", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &DATA.to_be_bytes());
            attribute(m, 3, &length.to_be_bytes());
            nested(m, 4, |value| attribute(value, 1, &mask));
            nested(m, 5, |value| attribute(value, 1, &vec![0; network.len()]));
        });
        vec![load, cut, Expression::equals(&network)]
    }

    fn equals(value: &[u8]) -> Self {
        const EQUAL: u32 = 0;
        Expression::new("cmp", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &EQUAL.to_be_bytes());
            nested(m, 3, |data| attribute(data, 1, value));
        })
    }

    /// Ends the rule.
    pub(super) fn verdict(verdict: Verdict<'_>) -> Self {
        const RETURN: i32 = -5;
        const JUMP: i32 = -3;
        let (code, chain) = match verdict {
            Verdict::Return => (RETURN, None),
            Verdict::Jump(chain) => (JUMP, Some(chain)),
        };
        Expression::new("immediate", |m| {
            attribute(m, 1, &VERDICT.to_be_bytes());
            nested(m, 2, |data| {
                nested(data, 2, |verdict| {
                    attribute(verdict, 1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        attribute_text(verdict, 2, chain);
                    }
                });
            });
        })
    }

    /// Gives the packet the host's address on the link that it leaves by.
    pub(super) fn masquerade() -> Self {
        Expression::new("masq", |_| {})
    }
}
