//! Which interface of a container a packet leaves by, and why.
//!
//! The kernel is asked which way it takes ([`look`]), and its tables are read for those
//! that it does not take: what they say of themselves (metric, who set it) is what decided.

mod look;

use std::fmt;
use std::net::IpAddr;

pub(crate) use look::explain;

/// `RT_TABLE_MAIN` (linux/rtnetlink.h).
pub(crate) const MAIN: u32 = 254;

/// What holds for the packets of one family.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) ipv4: bool,
    /// Where they go; anywhere outside if nobody said.
    pub(crate) destination: Option<IpAddr>,
    /// Which half of all addresses that is, if they go by different ways.
    pub(crate) half: Option<&'static str>,
    /// The table that decides.
    pub(crate) table: u32,
    /// The routes there, and in the tables that come after it, in their order.
    pub(crate) offers: Vec<Offer>,
    /// Whether the destination is the container's own address.
    pub(crate) is_local: bool,
    /// Whether the destination is all, or a group, of those on a link.
    pub(crate) is_group: bool,
    /// Those that have one of these addresses already go by other tables.
    pub(crate) by_source: Vec<BySource>,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) to: String,
    pub(crate) prefix: u8,
    pub(crate) table: u32,
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
    /// It leads nowhere: what comes by here goes no further.
    Refuses(Refusal),
}

/// How a route refuses packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unreachable,
    Blackhole,
    Prohibited,
}

impl Refusal {
    fn text(self) -> &'static str {
        match self {
            Refusal::Unreachable => "unreachable",
            Refusal::Blackhole => "blackhole",
            Refusal::Prohibited => "prohibit",
        }
    }
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
            State::Refuses(refusal) => refusal.text(),
        }
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
        let next = offers
            .find(|offer| offer.interface != serving.interface && offer.state != State::NoCarrier);
        next.filter(|offer| !matches!(offer.state, State::Refuses(_)))
    }

    /// Why it is that way, in a sentence.
    pub(crate) fn why(&self) -> String {
        if self.is_local {
            return "it is the container's own address".into();
        }
        let Some(serving) = self.serving() else {
            return self.why_none();
        };
        if self.is_group {
            return "it is for those on the link, and no gateway has a part in that".into();
        }
        if serving.state == State::Shares {
            return "several interfaces share the load, and packets leave by either; a network with the plugin default-route takes them apart".into();
        }
        let mut before = self.offers.iter().take_while(|offer| *offer != serving);
        if let Some(down) = before.find(|offer| offer.state == State::NoCarrier) {
            return format!("{}, which comes first, has no carrier", down.interface);
        }
        let mut others = self
            .offers
            .iter()
            .filter(|offer| offer.interface != serving.interface);
        let others_there = others.clone().filter(|offer| offer.table == serving.table);
        if let Some(next) = others_there
            .clone()
            .find(|offer| offer.prefix == serving.prefix)
        {
            return reason(serving, next);
        }
        if others_there.count() > 0 {
            return format!("{} is the most specific route there", serving.to);
        }
        match others.next() {
            Some(other) if serving.table != MAIN => format!(
                "a rule sends packets to table {} before table {}, which has {}",
                serving.table, other.table, other.interface
            ),
            Some(other) => format!("table {} comes before {}", serving.table, other.table),
            None => "it is the only way there".into(),
        }
    }

    fn why_none(&self) -> String {
        let mut offers = self.offers.iter();
        match offers.find(|offer| offer.state != State::NoCarrier) {
            Some(first) => match first.state {
                State::Refuses(refusal) => format!(
                    "a route refuses it that comes first: {} {}, metric {}{}",
                    refusal.text(),
                    first.to,
                    first.metric,
                    match first.table {
                        MAIN => String::new(),
                        table => format!(", in table {table}"),
                    }
                ),
                _ => "a rule of the container refuses it".into(),
            },
            None if self.offers.is_empty() => "no network offers a way there".into(),
            None => "no interface that offers a way there has a carrier".into(),
        }
    }
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
    use plugins::default_route::order;

    use super::*;

    fn offer(interface: &str, priority: u32, state: State) -> Offer {
        Offer {
            to: "default".into(),
            prefix: 0,
            table: MAIN,
            interface: interface.into(),
            network: None,
            gateway: None,
            metric: order::metric(priority, interface),
            origin: Origin::Priority(priority),
            state,
        }
    }

    fn explanation(mut offers: Vec<Offer>) -> Explanation {
        // As the kernel does.
        let mut ways = offers.iter_mut();
        let first = ways.find(|offer| offer.state != State::NoCarrier);
        if let Some(first) = first.filter(|offer| offer.state == State::StandsBy) {
            first.state = State::Serves;
        }
        Explanation {
            ipv4: true,
            destination: None,
            half: None,
            table: MAIN,
            offers,
            is_local: false,
            is_group: false,
            by_source: Vec::new(),
        }
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

    #[test]
    fn what_refuses_and_what_rules_say() {
        use State::{NoCarrier, Refuses, StandsBy};
        let refusing = || {
            let mut offer = offer("", 7, Refuses(Refusal::Unreachable));
            offer.metric = 0;
            offer
        };
        let (serving, next, why) = told(vec![refusing(), offer("eth1", 7, StandsBy)]);
        assert_eq!((serving.as_str(), next), ("", None));
        let says = "a route refuses it that comes first: unreachable default, metric 0";
        assert_eq!(why, says);
        let (_, _, why) = told(vec![offer("eth1", 7, NoCarrier), refusing()]);
        assert_eq!(why, says);
        let all = vec![
            offer("eth0", 7, StandsBy),
            refusing(),
            offer("eth1", 7, StandsBy),
        ];
        let (serving, next, _) = told(all);
        assert_eq!((serving.as_str(), next), ("eth0", None));
        let mut ruled = offer("eth1", 100, StandsBy);
        ruled.table = 77;
        let (serving, next, why) = told(vec![ruled, offer("eth0", 0, StandsBy)]);
        assert_eq!((serving.as_str(), next.as_deref()), ("eth1", Some("eth0")));
        let says = "a rule sends packets to table 77 before table 254, which has eth0";
        assert_eq!(why, says);
    }
}
