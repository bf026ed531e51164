//! The host's parameters: whether it forwards packets, and which it lets in.

use std::collections::BTreeSet;

use kernel::{Link, Netlink, Result, sysctl};

use super::{Finding, Routed, Way};

/// `RT_TABLE_MAIN` (linux/rtnetlink.h).
const MAIN_TABLE: u32 = 254;

/// What is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Whether packets of IPv4 and IPv6 are forwarded.
    pub(super) forwards: [bool; 2],
    /// The links of gateways that are there, and whether they have addresses of IPv4
    /// and IPv6.
    pub(super) gateways: Vec<(String, [bool; 2])>,
    /// The links of default routes, and whether packets must come in by the link by
    /// which answers would leave.
    pub(super) uplinks: Vec<(String, bool)>,
    /// Frames between containers of one bridge go through iptables.
    pub(super) bridges_call_iptables: bool,
}

impl Parameters {
    pub(super) fn read(routed: &[Routed]) -> Result<Self> {
        let is_on = |name: &str| sysctl::get(name).is_some_and(|value| value == "1");
        let mut host = Netlink::open()?;
        let mut gateways = Vec::new();
        for routed in routed {
            gateways.extend(of_network(&mut host, routed)?);
        }
        let mut uplinks = BTreeSet::new();
        let routes = host.routes(true, MAIN_TABLE)?;
        for route in routes.iter().filter(|route| route.dst.prefix() == 0) {
            for hop in &route.next_hops {
                let link = host.link_by_index(hop.link)?;
                uplinks.extend(link.map(|link| link.name));
            }
        }
        let strict = |link: &str| {
            let of = |name: &str| sysctl::get(&format!("net/ipv4/conf/{name}/rp_filter"));
            // The kernel takes the larger of the two; 2 is the loose one.
            let larger = [of("all"), of(link)].into_iter().flatten().max();
            larger.is_some_and(|value| value == "1")
        };
        Ok(Parameters {
            forwards: ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].map(is_on),
            gateways,
            uplinks: uplinks
                .into_iter()
                .map(|name| (name.clone(), strict(&name)))
                .collect(),
            bridges_call_iptables: ["iptables", "ip6tables"]
                .iter()
                .any(|of| is_on(&format!("net/bridge/bridge-nf-call-{of}"))),
        })
    }
}

/// The links of a network's gateways, with the families that they serve.
fn of_network(host: &mut Netlink, routed: &Routed) -> Result<Vec<(String, [bool; 2])>> {
    let links = match &routed.way {
        // Its addresses are the router's.
        Way::Router(link) => {
            let link = host.link(link)?;
            return Ok(link
                .into_iter()
                .map(|link| (link.name, [true; 2]))
                .collect());
        }
        Way::Link(link) => host.link(link)?.into_iter().collect(),
        Way::Cables => {
            let mark = format!("slash24 {} ", routed.network);
            let is_cable = |link: &Link| link.alias.starts_with(&mark) && link.controller.is_none();
            let mut links = host.links()?;
            links.retain(is_cable);
            links
        }
    };
    let mut gateways = Vec::new();
    for link in links {
        let found = host.addresses(link.index)?;
        let global = found.iter().filter(|address| !address.is_link_local());
        let has = |ipv4| global.clone().any(|address| address.net.is_ipv4() == ipv4);
        gateways.push((link.name, [has(true), has(false)]));
    }
    Ok(gateways)
}

pub(super) fn judge(routed: &[Routed], parameters: &Parameters) -> Vec<Finding> {
    let mut findings = Vec::new();
    let families = [
        ("IPv4", "net.ipv4.ip_forward"),
        ("IPv6", "net.ipv6.conf.all.forwarding"),
    ];
    for (at, (family, key)) in families.into_iter().enumerate() {
        let with_addresses = parameters.gateways.iter().filter(|(_, has)| has[at]);
        let links: BTreeSet<_> = with_addresses.map(|(link, _)| link.as_str()).collect();
        if !links.is_empty() && !parameters.forwards[at] {
            let links: Vec<_> = links.into_iter().collect();
            findings.push(Finding::warning(
                format!("{key} is 0, and {} is a gateway for {family}", links.join(", ")),
                "its containers reach the host and nothing beyond; the next ADD sets it, but somebody has turned it off",
                format!("sysctl -w {key}=1, and see that nothing in /etc/sysctl.d sets it to 0"),
            ));
        }
    }
    let strict: Vec<_> = parameters
        .uplinks
        .iter()
        .filter(|(_, strict)| *strict)
        .map(|(link, _)| link.as_str())
        .collect();
    if parameters.uplinks.len() > 1 && !strict.is_empty() && !routed.is_empty() {
        findings.push(Finding::warning(
            format!("rp_filter is 1 (strict) on {}, and the host has {} uplinks", strict.join(", "), parameters.uplinks.len()),
            "packets to containers that come in by one uplink are dropped when the answer would leave by the other",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed() -> Vec<Routed> {
        vec![Routed {
            network: "n".into(),
            way: Way::Link("br0".into()),
        }]
    }

    #[test]
    fn forwarding_matters_where_the_host_is_a_gateway() {
        let parameters = |forwards, has| Parameters {
            forwards,
            gateways: vec![("br0".into(), has)],
            ..Parameters::default()
        };
        let found = |parameters| judge(&routed(), &parameters).len();
        assert_eq!(found(parameters([true, true], [true, true])), 0);
        assert_eq!(found(parameters([false, false], [false, false])), 0);
        assert_eq!(found(parameters([true, false], [true, false])), 0);
        let one = judge(&routed(), &parameters([false, true], [true, true]));
        assert!(one[0].what.contains("net.ipv4.ip_forward is 0"), "{one:?}");
        assert_eq!(found(parameters([false, false], [true, true])), 2);
    }

    #[test]
    fn strict_filtering_matters_with_two_uplinks() {
        let with = |uplinks: &[(&str, bool)]| Parameters {
            uplinks: uplinks
                .iter()
                .map(|(link, strict)| ((*link).into(), *strict))
                .collect(),
            ..Parameters::default()
        };
        let found = |parameters| judge(&routed(), &parameters).len();
        assert_eq!(found(with(&[("eth0", true)])), 0);
        assert_eq!(found(with(&[("eth0", false), ("eth1", false)])), 0);
        assert_eq!(found(with(&[("eth0", true), ("eth1", false)])), 1);
        assert!(judge(&[], &with(&[("eth0", true), ("eth1", true)])).is_empty());
    }
}
