//! Looking at a container: what the kernel does with packets, and what its tables have.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use kernel::{Netlink, Netns, RouteEntry, RouteKind};
use plugins::default_route::{PLACED, SET_ASIDE, order};

use super::{BySource, Explanation, MAIN, Offer, Origin, Refusal, State};
use crate::error::Error;

/// `RTPROT_KERNEL`, `RTPROT_STATIC`, `RTPROT_RA`.
const KERNEL: u8 = 2;
const STATIC: u8 = 4;
const ADVERTISED: u8 = 9;

/// Places outside, in each half of all addresses of a family: a route to half of them
/// comes before a default route, and programs that take all packets set two of those.
/// Several of each, since there may be a network of the container's behind some.
const OUTSIDE_IPV4: [(&str, [&str; 4]); 2] = [
    (
        "0.0.0.0/1",
        ["23.45.67.89", "45.67.89.1", "67.89.1.23", "89.1.23.45"],
    ),
    (
        "128.0.0.0/1",
        ["145.67.89.1", "167.89.1.23", "189.1.23.45", "211.23.45.67"],
    ),
];
const OUTSIDE_IPV6: [(&str, [&str; 4]); 1] = [(
    "2000::/3",
    [
        "2400:cb00::1",
        "2600:1f00::1",
        "2800:3f0::1",
        "2a00:1450::1",
    ],
)];

/// Looks at a container's namespace.
///
/// # Errors
/// It is none, or the kernel refuses to tell.
pub(crate) fn explain(
    netns: &Path,
    destination: Option<IpAddr>,
) -> Result<Vec<Explanation>, Error> {
    let netns = Netns::open(netns)?;
    let _inside = netns.enter()?;
    let mut container = Container {
        netlink: Netlink::open()?,
        links: BTreeMap::new(),
    };
    match destination {
        Some(to) => {
            let explained = container.explain(to)?;
            let destination = Some(to);
            Ok(vec![Explanation {
                destination,
                ..explained
            }])
        }
        None => {
            let mut all = container.anywhere(&OUTSIDE_IPV4)?;
            all.extend(container.anywhere(&OUTSIDE_IPV6)?);
            Ok(all)
        }
    }
}

struct Link {
    name: String,
    network: Option<String>,
    /// Whether routes out of it serve while it has no carrier.
    serves_without_carrier: [bool; 2],
}

/// The namespace that the thread is in.
struct Container {
    netlink: Netlink,
    links: BTreeMap<u32, Link>,
}

impl Container {
    /// What holds for packets to the outside: once, or for each half.
    fn anywhere(
        &mut self,
        halves: &[(&'static str, [&str; 4])],
    ) -> Result<Vec<Explanation>, Error> {
        let mut all: Vec<Explanation> = Vec::new();
        for (half, places) in halves {
            let mut widest: Option<(u8, IpAddr)> = None;
            for to in places.iter().filter_map(|place| place.parse().ok()) {
                let entry = self.netlink.entry_for(to, None)?;
                let prefix = entry.map_or(0, |entry| entry.dst.prefix());
                if widest.is_none_or(|(least, _)| prefix < least) {
                    widest = Some((prefix, to));
                }
            }
            let Some((_, to)) = widest else {
                continue;
            };
            let mut explained = self.explain(to)?;
            explained.half = Some(half);
            if !all.iter().any(|other| is_same_way(other, &explained)) {
                all.push(explained);
            }
        }
        if let [only] = &mut all[..] {
            only.half = None;
        }
        Ok(all)
    }

    fn explain(&mut self, to: IpAddr) -> Result<Explanation, Error> {
        let ipv4 = to.is_ipv4();
        let entry = self.netlink.entry_for(to, None)?;
        let taken = self.netlink.route_to(to, None)?;
        let kind = taken.as_ref().map(|route| route.kind);
        let is_local = kind == Some(RouteKind::Local);
        let is_group = kind == Some(RouteKind::Group);
        let told = entry.as_ref().or(taken.as_ref());
        let told = told
            .and_then(|route| route.table)
            .filter(|table| *table != 0);
        let mut tables = Vec::new();
        if !is_local {
            tables = self.tables(ipv4, to, told)?;
        }
        let mut offers = Vec::new();
        for table in &tables {
            offers.extend(self.offers(ipv4, *table, to, is_group)?);
        }
        let served = taken.as_ref().and_then(|route| route.next_hops.first());
        if let Some(hop) = served {
            let interface = self.link(hop.link)?.name.clone();
            let mut ways = offers.iter_mut();
            let is_it = |offer: &&mut Offer| {
                let is_way = offer.interface == interface && offer.gateway == hop.gateway;
                is_way && !matches!(offer.state, State::NoCarrier | State::Refuses(_))
            };
            if let Some(offer) = ways.find(is_it).filter(|it| it.state != State::Shares) {
                offer.state = State::Serves;
            }
        }
        let table = tables.first().copied().or(told);
        Ok(Explanation {
            ipv4,
            destination: None,
            half: None,
            table: table.unwrap_or(MAIN),
            offers,
            is_local,
            is_group,
            by_source: self.by_source(ipv4, to)?,
        })
    }

    /// The tables that have a say about a destination: the one that the kernel told of, or
    /// the first that has a route there, and those that come after it.
    fn tables(&mut self, ipv4: bool, to: IpAddr, told: Option<u32>) -> Result<Vec<u32>, Error> {
        let mut all = self.netlink.tables_for_all(ipv4)?;
        match told {
            Some(told) => {
                if let Some(place) = all.iter().position(|table| *table == told) {
                    all.drain(..place);
                } else {
                    // A rule for some packets, of which these are.
                    all.insert(0, told);
                }
            }
            None => {
                while let Some(first) = all.first() {
                    let routes = self.netlink.routes(ipv4, *first)?;
                    if routes.iter().any(|route| says(route, to)) {
                        break;
                    }
                    all.remove(0);
                }
            }
        }
        Ok(all)
    }

    fn offers(
        &mut self,
        ipv4: bool,
        table: u32,
        to: IpAddr,
        is_group: bool,
    ) -> Result<Vec<Offer>, Error> {
        let mut routes = self.netlink.routes(ipv4, table)?;
        routes.retain(|route| says(route, to));
        // The kernel's order; of one metric the first serves.
        routes.sort_by_key(|route| (u8::MAX - route.dst.prefix(), route.priority.unwrap_or(0)));
        let mut offers = Vec::new();
        for route in &routes {
            let offer = Offer {
                to: to_text(route),
                prefix: route.dst.prefix(),
                table,
                interface: String::new(),
                network: None,
                gateway: None,
                metric: route.priority.unwrap_or(0),
                origin: origin(route),
                state: State::StandsBy,
            };
            if let Some(refusal) = refusal(route.kind) {
                let state = State::Refuses(refusal);
                offers.push(Offer { state, ..offer });
                continue;
            }
            for hop in &route.next_hops {
                let link = self.link(hop.link)?;
                let passed_by = hop.is_down && !link.serves_without_carrier[usize::from(!ipv4)];
                offers.push(Offer {
                    interface: link.name.clone(),
                    network: link.network.clone(),
                    // What is for those on the link is given to no gateway.
                    gateway: hop.gateway.filter(|_| !is_group),
                    state: match (passed_by, route.next_hops.len() > 1) {
                        (true, _) => State::NoCarrier,
                        (false, true) => State::Shares,
                        (false, false) => State::StandsBy,
                    },
                    ..offer.clone()
                });
            }
        }
        Ok(offers)
    }

    fn by_source(&mut self, ipv4: bool, to: IpAddr) -> Result<Vec<BySource>, Error> {
        let mut rules = self.netlink.rules(ipv4)?;
        // The kernel's own rules are for everybody.
        rules.retain(|rule| rule.from.prefix() > 0);
        let mut found = Vec::new();
        for rule in rules {
            let mut routes = self.netlink.routes(ipv4, rule.table)?;
            routes.retain(|route| route.is_unicast && route.dst.contains(to));
            let best = routes
                .iter()
                .max_by_key(|route| (route.dst.prefix(), u32::MAX - route.priority.unwrap_or(0)));
            let way = match best.and_then(|route| route.next_hops.first()) {
                Some(hop) => Some((self.link(hop.link)?.name.clone(), hop.gateway)),
                None => None,
            };
            let from = match rule.from.prefix() {
                32 | 128 => rule.from.ip().to_string(),
                _ => rule.from.to_string(),
            };
            found.push(BySource {
                from,
                table: rule.table,
                way,
            });
        }
        Ok(found)
    }

    fn link(&mut self, index: u32) -> Result<&Link, Error> {
        if !self.links.contains_key(&index) {
            let link = self.netlink.link_by_index(index)?.unwrap_or_default();
            let mut words = link.alias.split(' ');
            let network = match words.next() {
                Some("slash24") => words.next().map(str::to_owned),
                _ => None,
            };
            let serves = |family: &str| {
                let all = is_on(&format!(
                    "net/{family}/conf/all/ignore_routes_with_linkdown"
                ));
                !all && !is_on(&format!(
                    "net/{family}/conf/{}/ignore_routes_with_linkdown",
                    link.name
                ))
            };
            let serves_without_carrier = ["ipv4", "ipv6"].map(serves);
            let name = match link.name.is_empty() {
                true => format!("link {index}"),
                false => link.name,
            };
            self.links.insert(
                index,
                Link {
                    name,
                    network,
                    serves_without_carrier,
                },
            );
        }
        Ok(&self.links[&index])
    }
}

fn is_on(parameter: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/{parameter}")).is_ok_and(|text| text.trim() == "1")
}

/// Whether a route decides on packets to a destination.
fn says(route: &RouteEntry, to: IpAddr) -> bool {
    let kinds = [RouteKind::Unicast, RouteKind::Group];
    let refuses = refusal(route.kind).is_some();
    // Some kernels list what is there when nothing is.
    let is_empty = refuses && route.priority == Some(u32::MAX);
    route.dst.contains(to) && !is_empty && (refuses || kinds.contains(&route.kind))
}

fn refusal(kind: RouteKind) -> Option<Refusal> {
    match kind {
        RouteKind::Unreachable => Some(Refusal::Unreachable),
        RouteKind::Blackhole => Some(Refusal::Blackhole),
        RouteKind::Prohibited => Some(Refusal::Prohibited),
        _ => None,
    }
}

fn is_same_way(one: &Explanation, other: &Explanation) -> bool {
    let way = |explanation: &Explanation| {
        let serving = explanation.serving();
        serving.map(|offer| (offer.interface.clone(), offer.gateway))
    };
    match (way(one), way(other)) {
        (None, None) => one.why() == other.why(),
        (one, other) => one == other,
    }
}

fn to_text(route: &RouteEntry) -> String {
    match route.dst.prefix() {
        0 => "default".into(),
        _ => route.dst.to_string(),
    }
}

fn origin(route: &RouteEntry) -> Origin {
    let metric = route.priority.unwrap_or(0);
    let kernels = if route.dst.is_ipv4() { 0 } else { 1024 };
    match (route.protocol, order::read(metric)) {
        (KERNEL, _) => Origin::Subnet,
        (ADVERTISED, None) => Origin::Router,
        (SET_ASIDE, Some(rank)) => Origin::SetAside(rank.priority),
        (PLACED | STATIC | ADVERTISED, Some(rank)) => Origin::Priority(rank.priority),
        _ if metric == kernels => Origin::None,
        _ => Origin::Chosen,
    }
}
