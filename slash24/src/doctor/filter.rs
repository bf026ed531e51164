//! Packet filters of others that drop what containers send and receive.

use std::collections::BTreeSet;

use kernel::nft::ForwardChain;
use kernel::{Result, iptables, nft};

use super::host::Parameters;
use super::{Finding, Routed, Way};

/// The filters that drop forwarded packets unless a rule accepts them.
pub(super) struct Filters {
    chains: Vec<ForwardChain>,
    /// The tables of iptables as it was before nftables, of IPv4 and IPv6.
    legacy: [Option<iptables::Table>; 2],
}

impl Filters {
    pub(super) fn read() -> Result<Self> {
        Ok(Filters {
            chains: nft::dropping_forward_chains()?,
            legacy: [false, true].map(iptables::filter),
        })
    }

    /// What each drops, as people call it; and of the links those that no rule of it
    /// names. Which packets rules accept by other things is not looked into.
    fn dropping<'l>(&self, ways: &[&'l Way]) -> Vec<(String, Vec<&'l Way>, String)> {
        let nft = self.chains.iter().map(|chain| {
            let unnamed = unnamed(ways, |way| match way {
                Way::Link(link) | Way::Router(link) => chain.names(link),
                Way::Cables => chain.names_some(Way::CABLES),
            });
            let (family, table, name) = (chain.family, &chain.table, &chain.chain);
            let accept = match (family, table.as_str()) {
                ("ip", "filter") => accept("iptables"),
                ("ip6", "filter") => accept("ip6tables"),
                _ => format!(
                    "nft add rule {family} {table} {name} iifname LINK accept, and oifname LINK"
                ),
            };
            (
                format!("the chain {name} of nftables' table {family} {table}"),
                unnamed,
                accept,
            )
        });
        let legacy = ["iptables-legacy", "ip6tables-legacy"]
            .into_iter()
            .zip(&self.legacy);
        let legacy = legacy.filter_map(|(command, table)| {
            let table = table.as_ref().filter(|table| table.drops_forwarded())?;
            let unnamed = unnamed(ways, |way| match way {
                Way::Link(link) | Way::Router(link) => table.names(link),
                Way::Cables => table.names_some(Way::CABLES),
            });
            Some((
                format!("the chain FORWARD of {command}"),
                unnamed,
                accept(command),
            ))
        });
        let all = nft.chain(legacy);
        all.filter(|(_, unnamed, _)| !unnamed.is_empty()).collect()
    }
}

fn unnamed<'l>(ways: &[&'l Way], is_named: impl Fn(&Way) -> bool) -> Vec<&'l Way> {
    let ways = ways.iter().copied();
    ways.filter(|way| !is_named(way)).collect()
}

fn accept(command: &str) -> String {
    format!("{command} -I FORWARD -i LINK -j ACCEPT; {command} -I FORWARD -o LINK -j ACCEPT")
}

pub(super) fn judge(routed: &[Routed], filters: &Filters, parameters: &Parameters) -> Vec<Finding> {
    let mut ways: Vec<_> = routed.iter().map(|routed| &routed.way).collect();
    ways.sort_unstable();
    ways.dedup();
    let dropping = filters.dropping(&ways);
    let networks_of = |ways: &[&Way]| {
        let of = routed.iter().filter(|routed| ways.contains(&&routed.way));
        let of: BTreeSet<_> = of.map(|routed| routed.network.as_str()).collect();
        of.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut findings: Vec<_> = dropping
        .iter()
        .map(|(chain, ways, accept)| {
            let links: Vec<_> = ways.iter().map(|way| way.shown()).collect();
            let all = match ways.contains(&&Way::Cables) {
                true => " (iptables writes + where others write *)",
                false => "",
            };
            Finding::warning(
                format!("{chain} drops by default, and no rule of it names {}", links.join(", ")),
                format!(
                    "what containers of {} send and receive through the host is dropped unless a rule accepts it by its address",
                    networks_of(ways)
                ),
                format!("for each: {accept}{all}"),
            )
        })
        .collect();
    let bridges = dropping.iter().flat_map(|(_, ways, _)| ways);
    let mut bridges = bridges.filter(|way| ***way != Way::Cables);
    if parameters.bridges_call_iptables && bridges.next().is_some() {
        findings.push(Finding::warning(
            "net.bridge.bridge-nf-call-iptables is 1 (br_netfilter), and forwarded packets are dropped by default",
            "so are frames between two containers of one bridge",
            "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, unless something on this host needs them",
        ));
    }
    findings
}

/// There is no nftables to be asked.
pub(super) fn none(error: &kernel::Error, is_needed: bool) -> Finding {
    let what = format!("nftables does not answer: {error}");
    let why = "\"ipMasq\" and \"macspoofchk\" need it, and whether rules drop containers' packets is not known";
    let remedy = "use a kernel with nf_tables, and run this as root";
    match is_needed {
        true => Finding::error(what, why, remedy),
        false => Finding::warning(what, why, remedy),
    }
}
