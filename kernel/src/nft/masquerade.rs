//! Masquerading: what leaves a subnet appears to come from the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::expression::{Expression, Verdict};
use super::message::{self, Batch, Family, Hook, NFGENMSG, text_of};
use super::{Deletion, Netfilter, TABLE, done};
use crate::Result;
use crate::decode::attributes;

/// The chain that masquerading starts from, and where packets come to it: `type nat
/// hook postrouting priority srcnat`.
const POSTROUTING: &str = "postrouting";
const SOURCE_NAT: Hook = Hook {
    kind: "nat",
    number: 4,
    priority: 100,
};

/// Makes the packets that leave a network's subnet for elsewhere appear to come
/// from the host, as `ipMasq` wants it: everything from `subnet` but what goes to
/// the subnet itself or to a multicast group.
///
/// It is one object a subnet, not one a container: all later calls find it there,
/// and detaching a container has nothing to remove. Whether this call made it.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn masquerade(network: &str, subnet: IpNetwork) -> Result<bool> {
    let chain = chain_name(network, subnet);
    let doing = format!("masquerade {subnet} of network {network}");
    let mut filter = Netfilter::open()?;
    if filter.has_chain(Family::Inet, &chain)? {
        return Ok(false);
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
        Some((Errno::EEXIST, _)) => Ok(false),
        refused => done(refused, doing).map(|()| true),
    }
}

/// Makes all packets that leave by a link appear to come from the host, in a namespace
/// that has no other packet-filter rules of ours.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn masquerade_all_by(link: &str) -> Result<()> {
    if masquerades_all()? {
        return Ok(());
    }
    let mut batch = Batch::new(Family::Inet);
    batch.table(TABLE);
    batch.base_chain(TABLE, POSTROUTING, &SOURCE_NAT);
    let mut rule = Expression::leaves_by(link);
    rule.push(Expression::masquerade());
    batch.rule(TABLE, POSTROUTING, &rule);
    let refused = Netfilter::open()?.commit(batch)?;
    done(refused, format!("masquerade what leaves by {link}"))
}

/// Whether [`masquerade_all_by`] has been called in the thread's namespace, and what it made
/// is still there.
///
/// # Errors
/// [`Error::Socket`](crate::Error::Socket).
pub fn masquerades_all() -> Result<bool> {
    Netfilter::open()?.has_chain(Family::Inet, POSTROUTING)
}

/// Whether [`masquerade`] has been called for a network's subnet, and its rules are
/// still there.
///
/// # Errors
/// [`Error::Socket`](crate::Error::Socket).
pub fn is_masqueraded(network: &str, subnet: IpNetwork) -> Result<bool> {
    Netfilter::open()?.has_chain(Family::Inet, &chain_name(network, subnet))
}

/// Removes all of a network's masquerading, when it has no containers any more. Closing
/// the connection then takes 8 ms and more, so this is nothing for a DEL.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn forget_network(network: &str) -> Result<()> {
    let mut deletion = Deletion::open()?;
    deletion.forget_chains(network, |chain| is_of_network(chain, network))
}

impl Deletion {
    /// Takes back [`masquerade`] for some subnets.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn forget_subnets(&mut self, network: &str, subnets: &[IpNetwork]) -> Result<()> {
        let names = subnets.iter().map(|net| chain_name(network, *net));
        let all: Vec<String> = names.collect();
        self.forget_chains(network, |chain| all.iter().any(|name| name == chain))
    }

    fn forget_chains(&mut self, network: &str, is_meant: impl Fn(&str) -> bool) -> Result<()> {
        let filter = &mut self.0;
        let mut chains = Vec::new();
        filter.ask(message::ask_for_chains(Family::Inet), |payload| {
            let (table, chain) = (text_of(payload, 1), text_of(payload, 3));
            if table == TABLE && is_meant(&chain) {
                chains.push(chain);
            }
        })?;
        if chains.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(Family::Inet);
        let rules = message::ask_for_rules(Family::Inet, TABLE, Some(POSTROUTING));
        filter.ask(rules, |payload| {
            let jumps = |chain: &String| contains(payload, &destination(chain));
            if let Some(handle) = handle_of(payload).filter(|_| chains.iter().any(jumps)) {
                batch.delete_rule(TABLE, POSTROUTING, handle);
            }
        })?;
        for chain in &chains {
            batch.delete_chain(TABLE, chain);
        }
        match filter.commit(batch)? {
            // Another process was first.
            Some((Errno::ENOENT, _)) => Ok(()),
            refused => done(refused, format!("stop masquerading network {network}")),
        }
    }
}

/// `NFTA_RULE_HANDLE`.
fn handle_of(rule: &[u8]) -> Option<u64> {
    let mut attributes = attributes(rule.get(NFGENMSG..)?);
    let (_, handle) = attributes.find(|(kind, _)| *kind == 3)?;
    Some(u64::from_be_bytes(handle.try_into().ok()?))
}

/// `NFTA_VERDICT_CHAIN`, as it is in a rule that jumps to the chain.
fn destination(chain: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::attribute_text(&mut bytes, 2, chain);
    bytes
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether [`chain_name`] made a name for the network. Names of networks may have
/// hyphens, subnets have none.
fn is_of_network(chain: &str, network: &str) -> bool {
    let rest = chain.strip_prefix("masquerade-");
    rest.and_then(|rest| rest.rsplit_once('-'))
        .is_some_and(|(name, _)| name == network)
}

/// `masquerade-NETWORK-SUBNET`; nft's own syntax allows no colon in a name.
fn chain_name(network: &str, subnet: IpNetwork) -> String {
    let (base, length) = (subnet.network().to_string(), subnet.prefix());
    format!("masquerade-{network}-{}/{length}", base.replace(':', "_"))
}

fn masquerade_batch(chain: &str, subnet: IpNetwork, with_table: bool) -> Batch {
    let mut batch = Batch::new(Family::Inet);
    if with_table {
        batch.table(TABLE);
        batch.base_chain(TABLE, POSTROUTING, &SOURCE_NAT);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_told_apart_by_the_whole_name_of_their_network() {
        let net = |net: &str| net.parse().unwrap();
        let chain = chain_name("back-end", net("10.1.2.7/24"));
        assert_eq!(chain, "masquerade-back-end-10.1.2.0/24");
        assert!(is_of_network(&chain, "back-end"));
        assert!(!is_of_network(&chain, "back"));
        assert!(!is_of_network(&chain, "end"));
        assert!(is_of_network(&chain_name("v6", net("fd00::1/64")), "v6"));
        assert!(!is_of_network("postrouting", "postrouting"));
    }
}
