//! Which interface of a container a packet leaves by, and why.
//!
//! The kernel is asked which way it takes, and its tables are read for those that it
//! does not take: what they say of themselves (metric, who set it) is what decided.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use kernel::{Netlink, Netns, RouteEntry};
use plugins::default_route::{PLACED, SET_ASIDE, order};

use crate::error::Error;

/// `RT_TABLE_MAIN` (linux/rtnetlink.h).
const MAIN: u32 = 254;
/// `RTPROT_KERNEL`, `RTPROT_STATIC`, `RTPROT_RA`.
const KERNEL: u8 = 2;
const STATIC: u8 = 4;
const ADVERTISED: u8 = 9;

/// What holds for the packets of one family.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) ipv4: bool,
    /// Where they go; anywhere outside if nobody said.
    pub(crate) destination: Option<IpAddr>,
    /// The table that decides.
    pub(crate) table: u32,
    /// The routes there, in the order in which they come.
    pub(crate) offers: Vec<Offer>,
    /// Whether the destination is the container's own address.
    pub(crate) is_local: bool,
    /// Those that have one of these addresses already go by other tables.
    pub(crate) by_source: Vec<BySource>,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) to: String,
    pub(crate) prefix: u8,
    pub(crate) interface: String,
    /// The network of the interface, if a plugin wrote that on it.
    pub(crate) network: Option<String>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) metric: u32,
    pub(crate) origin: Origin,
    pub(crate) state: State,
}

/// Where a route has its metric from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The priority of its network.
    Priority(u32),
    /// Another plugin's, that `default-route` set aside, behind this priority.
    SetAside(u32),
    /// Somebody chose it.
    Chosen,
    /// Another plugin's, that has none.
    None,
    /// A router's advertisement.
    Router,
    /// The subnet of an address.
    Subnet,
}

/// Whether a way is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Serves,
    /// With others, by turns.
    Shares,
    StandsBy,
    NoCarrier,
}

/// The way of packets with a certain sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BySource {
    pub(crate) from: String,
    pub(crate) table: u32,
    /// The interface and the gateway, if the table has a way.
    pub(crate) way: Option<(String, Option<IpAddr>)>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Priority(priority) => write!(f, "{priority}"),
            Origin::SetAside(priority) => write!(f, "{priority} (set aside)"),
            Origin::Chosen => f.write_str("chosen metric"),
            Origin::None => f.write_str("none: before all"),
            Origin::Router => f.write_str("router"),
            Origin::Subnet => f.write_str("own subnet"),
        }
    }
}

impl Offer {
    /// The priority that its metric says, if it is one of ours.
    pub(crate) fn priority(&self) -> Option<u32> {
        match self.origin {
            Origin::Priority(priority) | Origin::SetAside(priority) => Some(priority),
            _ => None,
        }
    }
}

impl State {
    /// For people and programs.
    pub(crate) fn text(self) -> &'static str {
        match self {
            State::Serves => "serves",
            State::Shares => "shares the load",
            State::StandsBy => "stands by",
            State::NoCarrier => "no carrier",
        }
    }
}

/// Looks at a container's namespace.
///
/// # Errors
/// It is none, or the kernel refuses to tell.
pub(crate) fn explain(
    netns: &Path,
    destination: Option<IpAddr>,
) -> Result<Vec<Explanation>, Error> {
    let netns = Netns::open(netns)?;
    let inside = netns.enter()?;
    let mut container = Container {
        netlink: Netlink::open()?,
        links: BTreeMap::new(),
    };
    let families = match destination {
        Some(to) => vec![to.is_ipv4()],
        None => vec![true, false],
    };
    let explained = families
        .into_iter()
        .map(|ipv4| container.explain(ipv4, destination))
        .collect();
    drop(inside);
    explained
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
    fn explain(&mut self, ipv4: bool, destination: Option<IpAddr>) -> Result<Explanation, Error> {
        let entry = match destination {
            Some(to) => self.netlink.entry_for(to, None)?,
            None => None,
        };
        let is_local = entry.as_ref().is_some_and(RouteEntry::is_local);
        let table = entry.as_ref().and_then(|entry| entry.table).unwrap_or(MAIN);
        let mut routes = self.netlink.routes(ipv4, table)?;
        routes.retain(|route| route.is_unicast && leads_to(route, destination));
        // The kernel's order; of one metric the first serves.
        routes.sort_by_key(|route| (u8::MAX - route.dst.prefix(), route.priority.unwrap_or(0)));
        let taken = match destination {
            Some(to) => self.netlink.route_to(to, None)?,
            None => None,
        };
        let mut offers = Vec::new();
        for route in &routes {
            for hop in &route.next_hops {
                let link = self.link(hop.link)?;
                let passed_by = hop.is_down && !link.serves_without_carrier[usize::from(!ipv4)];
                offers.push(Offer {
                    to: to_text(route),
                    prefix: route.dst.prefix(),
                    interface: link.name.clone(),
                    network: link.network.clone(),
                    gateway: hop.gateway,
                    metric: route.priority.unwrap_or(0),
                    origin: origin(route),
                    state: match (passed_by, route.next_hops.len() > 1) {
                        (true, _) => State::NoCarrier,
                        (false, true) => State::Shares,
                        (false, false) => State::StandsBy,
                    },
                });
            }
        }
        let served = taken.as_ref().and_then(|route| route.next_hops.first());
        let served = match served {
            Some(hop) => Some((self.link(hop.link)?.name.clone(), hop.gateway)),
            None => None,
        };
        settle(&mut offers, destination.is_some(), served.as_ref());
        Ok(Explanation {
            ipv4,
            destination,
            table,
            offers,
            is_local,
            by_source: self.by_source(ipv4, destination)?,
        })
    }

    fn by_source(
        &mut self,
        ipv4: bool,
        destination: Option<IpAddr>,
    ) -> Result<Vec<BySource>, Error> {
        let mut rules = self.netlink.rules(ipv4)?;
        // The kernel's own rules are for everybody.
        rules.retain(|rule| rule.from.prefix() > 0);
        let mut found = Vec::new();
        for rule in rules {
            let mut routes = self.netlink.routes(ipv4, rule.table)?;
            routes.retain(|route| route.is_unicast && leads_to(route, destination));
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

/// A route by which a packet could go, or for any destination a default route.
fn leads_to(route: &RouteEntry, destination: Option<IpAddr>) -> bool {
    match destination {
        Some(to) => route.dst.contains(to),
        None => route.dst.prefix() == 0,
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

/// Says which way is taken: the one that the kernel told, or of the ways to anywhere
/// the first that can be.
fn settle(offers: &mut [Offer], is_asked: bool, served: Option<&(String, Option<IpAddr>)>) {
    let taken = match (is_asked, served) {
        (true, None) => return,
        (true, Some((interface, gateway))) => offers
            .iter_mut()
            .find(|offer| offer.interface == *interface && offer.gateway == *gateway),
        (false, _) => offers
            .iter_mut()
            .find(|offer| offer.state != State::NoCarrier),
    };
    if let Some(offer) = taken
        && offer.state != State::Shares
    {
        offer.state = State::Serves;
    }
}

impl Explanation {
    /// The way that is taken; the first of those that share the load.
    pub(crate) fn serving(&self) -> Option<&Offer> {
        let mut offers = self.offers.iter();
        offers.find(|offer| matches!(offer.state, State::Serves | State::Shares))
    }

    /// The way that is taken when the interface of that one fails.
    pub(crate) fn next(&self) -> Option<&Offer> {
        let serving = self.serving()?;
        let mut offers = self.offers.iter();
        offers.find(|offer| offer.interface != serving.interface && offer.state != State::NoCarrier)
    }

    /// Why it is that way, in a sentence.
    pub(crate) fn why(&self) -> String {
        if self.is_local {
            return "it is the container's own address".into();
        }
        let Some(serving) = self.serving() else {
            return match self.offers.is_empty() {
                true => "no network offers a way there".into(),
                false => "no interface that offers a way there has a carrier".into(),
            };
        };
        if serving.state == State::Shares {
            return "several interfaces share the load, and packets leave by either; a network with the plugin default-route takes them apart".into();
        }
        if let Some(down) = self
            .offers
            .iter()
            .find(|offer| offer.state == State::NoCarrier && before(offer, serving))
        {
            return format!("{}, which comes first, has no carrier", down.interface);
        }
        let others = self
            .offers
            .iter()
            .filter(|offer| offer.interface != serving.interface);
        let Some(next) = others.clone().find(|offer| offer.prefix == serving.prefix) else {
            return match others.count() {
                0 => "it is the only way there".into(),
                _ => format!("{} is the most specific route there", serving.to),
            };
        };
        reason(serving, next)
    }
}

/// Whether one comes before the other by itself.
fn before(one: &Offer, other: &Offer) -> bool {
    (u8::MAX - one.prefix, one.metric) < (u8::MAX - other.prefix, other.metric)
}

fn reason(serving: &Offer, next: &Offer) -> String {
    use Origin::{Chosen, None, Priority, Router, SetAside};
    match (serving.origin, next.origin) {
        (None, _) => format!(
            "another plugin set it without a metric, which comes before all; put the plugin default-route after it to give {} its place",
            serving.interface
        ),
        (Router, _) => {
            "a router advertised it, and \"routerAdvertisements\" is \"keep\" or nobody's".into()
        }
        (Chosen, _) | (_, Chosen) => format!(
            "its metric {} is lower than {} of {}",
            serving.metric, next.metric, next.interface
        ),
        (Priority(own) | SetAside(own), Priority(other) | SetAside(other)) if own < other => {
            format!("priority {own} is before {other} of {}", next.interface)
        }
        (Priority(own) | SetAside(own), _) => format!(
            "of priority {own} {} is the first interface",
            serving.interface
        ),
        (Origin::Subnet, _) => "it is the interface's own subnet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(interface: &str, priority: u32, state: State) -> Offer {
        Offer {
            to: "default".into(),
            prefix: 0,
            interface: interface.into(),
            network: None,
            gateway: None,
            metric: order::metric(priority, interface),
            origin: Origin::Priority(priority),
            state,
        }
    }

    fn explanation(offers: Vec<Offer>) -> Explanation {
        let mut explanation = Explanation {
            ipv4: true,
            destination: None,
            table: MAIN,
            offers,
            is_local: false,
            by_source: Vec::new(),
        };
        settle(&mut explanation.offers, false, None);
        explanation
    }

    fn told(offers: Vec<Offer>) -> (String, Option<String>, String) {
        let explanation = explanation(offers);
        let name = |offer: &Offer| offer.interface.clone();
        let serving = explanation.serving().map(name).unwrap_or_default();
        (serving, explanation.next().map(name), explanation.why())
    }

    #[test]
    fn why_it_is_that_one() {
        use State::{NoCarrier, Shares, StandsBy};
        let (serving, next, why) = told(vec![
            offer("eth1", 7, StandsBy),
            offer("eth0", 100, StandsBy),
        ]);
        assert_eq!((serving.as_str(), next.as_deref()), ("eth1", Some("eth0")));
        assert_eq!(why, "priority 7 is before 100 of eth0");
        let (_, _, why) = told(vec![
            offer("eth0", 100, StandsBy),
            offer("eth1", 100, StandsBy),
        ]);
        assert_eq!(why, "of priority 100 eth0 is the first interface");
        let (serving, next, why) = told(vec![
            offer("eth0", 7, NoCarrier),
            offer("eth1", 100, StandsBy),
        ]);
        assert_eq!((serving.as_str(), next), ("eth1", None));
        assert_eq!(why, "eth0, which comes first, has no carrier");
        let (_, next, why) = told(vec![offer("eth0", 7, StandsBy)]);
        assert_eq!((next, why.as_str()), (None, "it is the only way there"));
        let (_, _, why) = told(vec![offer("eth0", 7, NoCarrier)]);
        assert!(why.contains("no interface"), "{why}");
        let (_, _, why) = told(vec![]);
        assert!(why.contains("no network"), "{why}");
        let (_, _, why) = told(vec![offer("eth0", 7, Shares), offer("eth1", 7, Shares)]);
        assert!(why.contains("share the load"), "{why}");
        let mut foreign = offer("eth1", 7, StandsBy);
        (foreign.metric, foreign.origin) = (0, Origin::None);
        let (_, _, why) = told(vec![foreign, offer("eth0", 7, StandsBy)]);
        assert!(why.contains("default-route"), "{why}");
        let mut near = offer("eth1", 7, StandsBy);
        (near.prefix, near.to) = (8, "10.0.0.0/8".into());
        let (_, _, why) = told(vec![near, offer("eth0", 7, StandsBy)]);
        assert_eq!(why, "10.0.0.0/8 is the most specific route there");
    }
}
