//! The steps of rules.

use std::net::IpAddr;

use super::message::{attribute, attribute_text, nested};

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`, as `meta nfproto` yields them.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// The verdict register, and two 16-byte ones for data, side by side.
const VERDICT: u32 = 0;
const DATA: u32 = 1;
const MORE_DATA: u32 = 2;

/// What becomes of a packet.
pub(super) enum Verdict<'a> {
    /// It goes back to the chain that it came from.
    Return,
    /// It goes through another chain.
    Jump(&'a str),
    /// It is not let through.
    Drop,
}

/// A step of a rule.
pub(super) struct Expression {
    pub(super) name: &'static str,
    pub(super) data: Vec<u8>,
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

    /// Takes the name of the link that a frame came in by.
    pub(super) fn link_name() -> Self {
        const IIFNAME: u32 = 6;
        Expression::new("meta", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &IIFNAME.to_be_bytes());
        })
    }

    /// Goes on with packets that leave by a link.
    pub(super) fn leaves_by(link: &str) -> Vec<Self> {
        const OIFNAME: u32 = 7;
        const IFNAMSIZ: usize = 16;
        let load = Expression::new("meta", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &OIFNAME.to_be_bytes());
        });
        let mut name = link.as_bytes().to_vec();
        name.resize(IFNAMSIZ, 0);
        vec![load, Expression::equals(&name)]
    }

    /// Takes the hardware address that a frame says it comes from, beside what was
    /// taken before.
    pub(super) fn beside_it_the_sender() -> Self {
        const LINK_HEADER: u32 = 0;
        const OFFSET: u32 = 6;
        const LENGTH: u32 = 6;
        Expression::new("payload", |m| {
            attribute(m, 1, &MORE_DATA.to_be_bytes());
            attribute(m, 2, &LINK_HEADER.to_be_bytes());
            attribute(m, 3, &OFFSET.to_be_bytes());
            attribute(m, 4, &LENGTH.to_be_bytes());
        })
    }

    /// Goes on if what was taken is in a set, or is not.
    pub(super) fn is_in(set: &str, id: u32, wanted: bool) -> Self {
        const INVERTED: u32 = 1;
        Expression::new("lookup", |m| {
            attribute_text(m, 1, set);
            attribute(m, 2, &DATA.to_be_bytes());
            attribute(m, 4, &id.to_be_bytes());
            if !wanted {
                attribute(m, 5, &INVERTED.to_be_bytes());
            }
        })
    }

    /// Goes on with frames that are for several: broadcasts, multicasts.
    pub(super) fn to_group() -> Vec<Self> {
        const LINK_HEADER: u32 = 0;
        const LENGTH: u32 = 6;
        /// The first bit on the wire says so.
        const GROUP: [u8; 6] = [1, 0, 0, 0, 0, 0];
        let load = Expression::new("payload", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &LINK_HEADER.to_be_bytes());
            attribute(m, 3, &0_u32.to_be_bytes());
            attribute(m, 4, &LENGTH.to_be_bytes());
        });
        let cut = Expression::new("bitwise", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &DATA.to_be_bytes());
            attribute(m, 3, &LENGTH.to_be_bytes());
            nested(m, 4, |value| attribute(value, 1, &GROUP));
            nested(m, 5, |value| attribute(value, 1, &[0; 6]));
        });
        vec![load, cut, Expression::compares(1, &[0; 6])]
    }

    /// Goes on with packets above a rate, in packets a second.
    pub(super) fn above_rate(rate: u32) -> Self {
        const SECOND: u64 = 1;
        const PACKETS: u32 = 0;
        const INVERTED: u32 = 1;
        Expression::new("limit", |m| {
            attribute(m, 1, &u64::from(rate).to_be_bytes());
            attribute(m, 2, &SECOND.to_be_bytes());
            attribute(m, 3, &rate.to_be_bytes());
            attribute(m, 4, &PACKETS.to_be_bytes());
            attribute(m, 5, &INVERTED.to_be_bytes());
        })
    }

    fn equals(value: &[u8]) -> Self {
        Expression::compares(0, value)
    }

    /// Goes on if what was taken is a value (`NFT_CMP_EQ`, 0) or is not
    /// (`NFT_CMP_NEQ`, 1).
    fn compares(operation: u32, value: &[u8]) -> Self {
        Expression::new("cmp", |m| {
            attribute(m, 1, &DATA.to_be_bytes());
            attribute(m, 2, &operation.to_be_bytes());
            nested(m, 3, |data| attribute(data, 1, value));
        })
    }

    /// Ends the rule.
    pub(super) fn verdict(verdict: Verdict<'_>) -> Self {
        const RETURN: i32 = -5;
        const JUMP: i32 = -3;
        const DROP: i32 = 0;
        let (code, chain) = match verdict {
            Verdict::Drop => (DROP, None),
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
