//! Rules: which table a packet's route is looked up in.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use crate::address::{family, ip};
use crate::decode::{attributes, u32_at};
use crate::netlink::{Answer, CREATE, DUMP, EXCLUSIVE};
use crate::{Netlink, Operation, Result};

/// `FRA_*` (linux/fib_rules.h) that are read.
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FLOW: u16 = 11;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PAD: u16 = 18;
const FRA_PROTOCOL: u16 = 21;
/// The length of `struct fib_rule_hdr`, and the action that looks a table up
/// (`FR_ACT_TO_TBL`).
const HEADER: usize = 12;
const TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`: a rule for whatever it does not describe.
const INVERT: u32 = 2;

/// A rule that sends packets of a sender to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The sender's address or subnet.
    pub from: IpNetwork,
    /// The table.
    pub table: u32,
    /// Its place among the rules; none is before all but the first.
    pub priority: Option<u32>,
    /// Who set it, as with routes.
    pub protocol: u8,
}

impl Rule {
    /// The rule for one address.
    pub fn from_address(address: IpAddr, table: u32, protocol: u8) -> Self {
        Rule {
            from: IpNetwork::from(address),
            table,
            priority: None,
            protocol,
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.from.ip());
        message.header.src_len = self.from.prefix();
        message.header.action = RuleAction::ToTable;
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Source(self.from.network()));
        attributes.push(RuleAttribute::Table(self.table));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::from(self.protocol)));
        attributes.extend(self.priority.map(RuleAttribute::Priority));
        message
    }

    /// Reads a rule; none of those that do anything else.
    fn decode(payload: &[u8]) -> Option<Self> {
        let [_, _, length, _, table, _, _, action, ..] = *payload.first_chunk::<HEADER>()?;
        if action != TO_TABLE {
            return None;
        }
        let (mut from, mut table) = (None, u32::from(table));
        let (mut priority, mut protocol) = (Some(0), 0);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                FRA_SRC => from = IpNetwork::new(ip(value)?, length).ok(),
                FRA_TABLE => table = u32_at(value, 0)?,
                FRA_PRIORITY => priority = u32_at(value, 0),
                FRA_PROTOCOL => protocol = *value.first()?,
                _ => {}
            }
        }
        Some(Rule {
            from: from?,
            table,
            priority,
            protocol,
        })
    }
}

/// The table to which a rule sends all packets; none of a rule for some.
fn table_for_all(payload: &[u8]) -> Option<u32> {
    let [_, to, from, service, table, _, _, action, ..] = *payload.first_chunk::<HEADER>()?;
    let is_inverted = u32_at(payload, HEADER - 4)? & INVERT != 0;
    if action != TO_TABLE || is_inverted || [to, from, service] != [0; 3] {
        return None;
    }
    let mut table = u32::from(table);
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            FRA_TABLE => table = u32_at(value, 0)?,
            FRA_PRIORITY | FRA_PROTOCOL | FRA_FLOW | FRA_PAD => {}
            // The kernel always tells it: -1 is none.
            FRA_SUPPRESS_PREFIXLEN if u32_at(value, 0)? == u32::MAX => {}
            // Whatever else there is, also of later kernels, chooses packets.
            _ => return None,
        }
    }
    Some(table)
}

/// Adds a rule; one that is there already is no error, if its place was chosen.
pub fn add_rule(rule: &Rule) -> Operation {
    Operation::new(
        RouteNetlinkMessage::NewRule(rule.message()),
        CREATE | EXCLUSIVE,
        format!("add the rule for {}", rule.from),
    )
    .tolerate(&[Errno::EEXIST])
}

/// Deletes a rule; one that is gone already is no error.
pub fn delete_rule(rule: &Rule) -> Operation {
    Operation::new(
        RouteNetlinkMessage::DelRule(rule.message()),
        0,
        format!("delete the rule for {}", rule.from),
    )
    .tolerate(&[Errno::ENOENT, Errno::EAFNOSUPPORT])
}

impl Netlink {
    /// The rules of a family that send a sender's packets to a table.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn rules(&mut self, ipv4: bool) -> Result<Vec<Rule>> {
        let mut rules = self.list_rules(ipv4, Rule::decode)?;
        rules.retain(|rule| rule.from.is_ipv4() == ipv4);
        Ok(rules)
    }

    /// The tables in which the ways of all packets of a family are looked up, in order.
    /// Rules for some packets only are passed over.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn tables_for_all(&mut self, ipv4: bool) -> Result<Vec<u32>> {
        let family = if ipv4 {
            nix::libc::AF_INET
        } else {
            nix::libc::AF_INET6
        };
        self.list_rules(ipv4, |payload| {
            let is_it = payload.first().map(|found| i32::from(*found)) == Some(family);
            table_for_all(payload).filter(|_| is_it)
        })
    }

    fn list_rules<T>(&mut self, ipv4: bool, decode: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>> {
        let mut message = RuleMessage::default();
        let any: IpAddr = match ipv4 {
            true => std::net::Ipv4Addr::UNSPECIFIED.into(),
            false => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        message.header.family = family(any);
        let message = RouteNetlinkMessage::GetRule(message);
        let mut rules = Vec::new();
        let asked = self.ask(&message, DUMP, "list the rules", |answer| match answer {
            Answer::Begin => rules.clear(),
            Answer::Part(payload) => rules.extend(decode(payload)),
        });
        match asked {
            // A kernel without IPv6 has no rules for it.
            Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => Ok(Vec::new()),
            asked => asked.map(|()| rules),
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for address in ["10.0.0.2", "fd00::2"] {
            let mut rule = Rule::from_address(address.parse().unwrap(), 2_400_000, 36);
            rule.priority = Some(24_000);
            let message = rule.message();
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            assert_eq!(Rule::decode(&bytes), Some(rule));
        }
    }
}
