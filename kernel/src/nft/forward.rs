//! What others' tables do with packets that the host forwards. Only for looking.

use super::Netfilter;
use super::message::{self, Family, NFGENMSG, text_of};
use crate::Result;
use crate::decode::attributes;

/// A chain that packets come to when they are forwarded, and that drops what no rule
/// of its decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardChain {
    /// The table's family, as nft calls it.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    rules: Vec<Vec<u8>>,
}

impl ForwardChain {
    /// Whether any rule of its table has a link's name in it.
    pub fn names(&self, link: &str) -> bool {
        self.has(&[link.as_bytes(), &[0]].concat())
    }

    /// As [`ForwardChain::names`], of links whose names begin like that, or some of them.
    pub fn names_some(&self, begin: &str) -> bool {
        self.has(begin.as_bytes())
    }

    fn has(&self, bytes: &[u8]) -> bool {
        let has = |rule: &Vec<u8>| rule.windows(bytes.len()).any(|part| part == bytes);
        self.rules.iter().any(has)
    }

    /// Whether packets of a family pass it.
    pub fn sees(&self, ipv6: bool) -> bool {
        match self.family {
            "ip" => !ipv6,
            "ip6" => ipv6,
            _ => true,
        }
    }
}

/// The chains of all tables, those of iptables on nftables among them, that drop what
/// is forwarded unless a rule accepts it.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused), [`Error::Socket`](crate::Error::Socket).
pub fn dropping_forward_chains() -> Result<Vec<ForwardChain>> {
    let mut filter = Netfilter::open()?;
    let mut chains = Vec::new();
    filter.ask(message::ask_for_chains(Family::Any), |payload| {
        chains.extend(read(payload));
    })?;
    for chain in &mut chains {
        let family = match chain.family {
            "ip" => Family::Ipv4,
            "ip6" => Family::Ipv6,
            _ => Family::Inet,
        };
        let question = message::ask_for_rules(family, &chain.table, None);
        let rules = &mut chain.rules;
        filter.ask(question, |payload| rules.push(payload.to_vec()))?;
    }
    Ok(chains)
}

fn read(payload: &[u8]) -> Option<ForwardChain> {
    /// `NFTA_CHAIN_HOOK`, `NFTA_HOOK_HOOKNUM`, `NFTA_CHAIN_POLICY`; `NF_INET_FORWARD`
    /// and `NF_DROP`.
    const HOOK: u16 = 4;
    const NUMBER: u16 = 1;
    const POLICY: u16 = 5;
    const FORWARD: [u8; 4] = [0, 0, 0, 2];
    const DROP: [u8; 4] = [0; 4];

    let family = match *payload.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let of = |bytes, wanted| {
        let mut found = attributes(bytes).filter(|(kind, _)| *kind == wanted);
        found.next().map(|(_, value)| value)
    };
    let body = payload.get(NFGENMSG..)?;
    let number = of(of(body, HOOK)?, NUMBER)?;
    let drops = number == FORWARD && of(body, POLICY)? == DROP;
    drops.then(|| ForwardChain {
        family,
        table: text_of(payload, 1),
        chain: text_of(payload, 3),
        rules: Vec::new(),
    })
}
