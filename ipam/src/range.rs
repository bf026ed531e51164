//! Ranges of addresses and sets of them, as the reference's host-local has them.
//!
//! A range is a subnet, the part of it that is given out, and a gateway that is
//! never given out. A container gets one address from each *set*; a set holds
//! ranges of one family that are used one after the other. Everything here is
//! arithmetic on the ends of ranges: a /8 or a /64 costs what a /24 costs.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::Error;
use crate::skips::Skips;
use place::family::{Family, number, with_prefix};

/// Addresses that are given out, and the subnet they are part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    family: Family,
    subnet: IpNetwork,
    first: u128,
    last: u128,
    gateway: Option<IpAddr>,
    excluded: Skips,
    shared: Skips,
}

/// Which addresses of a range any number of containers may hold at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shared {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// These.
    Some(Vec<IpNetwork>),
}

/// The parts of a range's description; only the subnet is necessary.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The subnet, without host bits.
    pub subnet: IpNetwork,
    /// The first address that is given out; the one after the subnet's own.
    pub start: Option<IpAddr>,
    /// The last one; the one before the broadcast address, in IPv6 the last of all.
    pub end: Option<IpAddr>,
    /// The gateway; the first address after the subnet's own.
    pub gateway: Option<IpAddr>,
    /// What is never given out.
    pub exclude: Vec<IpNetwork>,
    /// What many may hold.
    pub shared: Shared,
}

impl Bounds {
    /// A subnet and no other parts.
    pub fn of(subnet: IpNetwork) -> Self {
        Bounds {
            subnet,
            start: None,
            end: None,
            gateway: None,
            exclude: Vec::new(),
            shared: Shared::None,
        }
    }
}

impl Range {
    /// Makes a range and fills in what its description leaves out.
    ///
    /// # Errors
    /// A subnet with host bits or without room, ends that are outside of it or
    /// reversed, a gateway of the other family.
    pub fn new(bounds: &Bounds) -> Result<Self, Error> {
        let subnet = bounds.subnet;
        let family = Family::of(subnet.ip());
        // A shared address has no neighbours that a subnet would be needed for.
        let tiny = u32::from(subnet.prefix()) + 2 > family.bits();
        if tiny && bounds.shared != Shared::All {
            return Err(Error::SubnetTooSmall(subnet));
        }
        if subnet.ip() != subnet.network() {
            return Err(Error::HostBits(subnet));
        }
        let inside = |key, address: IpAddr| match subnet.contains(address) {
            true => Ok(number(address)),
            false => Err(Error::OutsideSubnet {
                key,
                address,
                subnet,
            }),
        };
        let network = number(subnet.network());
        let broadcast = network | family.host_bits(subnet.prefix());
        let (lowest, highest) = match family {
            _ if tiny => (network, broadcast),
            Family::V4 => (network + 1, broadcast - 1),
            Family::V6 => (network + 1, broadcast),
        };
        let usual = (!tiny).then(|| family.address(network + 1));
        let gateway = bounds.gateway.or(usual);
        if let Some(gateway) = gateway.filter(|gateway| Family::of(*gateway) != family) {
            return Err(Error::GatewayFamily { gateway, subnet });
        }
        let first = bounds
            .start
            .map_or(Ok(lowest), |a| inside("rangeStart", a))?;
        let last = bounds.end.map_or(Ok(highest), |a| inside("rangeEnd", a))?;
        if first > last {
            return Err(Error::ReversedRange {
                start: family.address(first),
                end: family.address(last),
            });
        }
        let intervals = |key, nets: &[IpNetwork]| {
            let interval = |net: &IpNetwork| {
                inside(key, net.ip())?;
                Ok((number(net.network()), number(net.broadcast())))
            };
            nets.iter().map(interval).collect::<Result<_, Error>>()
        };
        Ok(Range {
            family,
            subnet,
            first,
            last,
            gateway,
            excluded: Skips::new(intervals("exclude", &bounds.exclude)?),
            shared: Skips::new(match &bounds.shared {
                Shared::None => Vec::new(),
                Shared::All => vec![(first, last)],
                Shared::Some(nets) => intervals("shared", nets)?,
            }),
        })
    }

    /// A range of one address, which a configuration names with the length of its prefix.
    pub fn fixed(net: IpNetwork, gateway: Option<IpAddr>) -> Result<Self, Error> {
        let at = number(net.ip());
        Ok(Range {
            family: Family::of(net.ip()),
            subnet: with_prefix(net.network(), net.prefix())?,
            first: at,
            last: at,
            gateway,
            excluded: Skips::default(),
            shared: Skips::default(),
        })
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// The gateway, if the range has one.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The first address that is given out.
    pub fn first(&self) -> IpAddr {
        self.family.address(self.first)
    }

    /// The last address that is given out.
    pub fn last(&self) -> IpAddr {
        self.family.address(self.last)
    }

    /// Whether `address` is between the ends; it may be the gateway.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&number(address))
    }

    /// Whether `address` is never given out.
    pub fn excludes(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && self.excluded.end_of(number(address)).is_some()
    }

    /// Whether any number of containers may hold `address` at once.
    pub fn shares(&self, address: IpAddr) -> bool {
        self.contains(address) && self.shared.end_of(number(address)).is_some()
    }

    /// Whether they may hold each of its addresses.
    pub fn is_shared(&self) -> bool {
        self.shared
            .end_of(self.first)
            .is_some_and(|end| end >= self.last)
    }

    /// The addresses that nobody is given who does not ask for one of them:
    /// excluded ones, shared ones, and `others` of its family.
    pub fn skips(&self, others: impl IntoIterator<Item = IpAddr>) -> Skips {
        let of_family = others.into_iter().filter(|a| Family::of(*a) == self.family);
        let others = of_family.map(|address| (number(address), number(address)));
        let own = self
            .excluded
            .intervals()
            .iter()
            .chain(self.shared.intervals());
        Skips::new(own.copied().chain(others).collect())
    }

    /// The first address that all containers share, of a range that they do.
    pub fn first_shared(&self, others: impl IntoIterator<Item = IpAddr>) -> Option<IpAddr> {
        let of_family = others.into_iter().filter(|a| Family::of(*a) == self.family);
        let others = of_family.map(|address| (number(address), number(address)));
        let excluded = self.excluded.intervals().iter().copied();
        let skipped = Skips::new(excluded.chain(others).collect());
        let first = skipped
            .end_of(self.first)
            .map_or(self.first, |end| end.saturating_add(1));
        (first <= self.last).then(|| self.family.address(first))
    }

    fn start(&self) -> Candidate<'_> {
        Candidate {
            address: self.first(),
            range: self,
        }
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// The first address that both ranges have, if there is one.
    pub fn common(&self, other: &Range) -> Option<IpAddr> {
        let first = self.first.max(other.first);
        self.overlaps(other).then(|| self.family.address(first))
    }

    /// How many addresses there are between the ends; at most `u128::MAX`.
    pub fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first(), self.last())
    }
}

/// An address and the range it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The address.
    pub address: IpAddr,
    /// Its range.
    pub range: &'a Range,
}

impl Candidate<'_> {
    /// The address as a result has it: with the length of its subnet's prefix
    /// and the gateway.
    ///
    /// # Errors
    /// None that a range can have.
    pub fn ip(&self) -> Result<cni::Ip, Error> {
        Ok(cni::Ip {
            address: with_prefix(self.address, self.range.subnet.prefix())?,
            gateway: self.range.gateway,
            interface: None,
            shared: self.range.shares(self.address),
        })
    }
}

/// Ranges of one family that do not overlap; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// Makes a set.
    ///
    /// # Errors
    /// No range, ranges of both families, or ranges that overlap.
    pub fn new(ranges: Vec<Range>) -> Result<Self, Error> {
        let Some(first) = ranges.first() else {
            return Err(Error::EmptyRangeSet);
        };
        if let Some(other) = ranges.iter().find(|range| range.family != first.family) {
            return Err(Error::MixedFamilies(first.to_string(), other.to_string()));
        }
        for (index, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[..index].iter().find(|other| other.overlaps(range)) {
                return Err(Error::Overlap(other.to_string(), range.to_string()));
            }
        }
        Ok(RangeSet(ranges))
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.0[0].family
    }

    /// The ranges in the order they are used.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// `address` as one of this set, if it is in a range; it may be a gateway.
    pub fn candidate(&self, address: IpAddr) -> Option<Candidate<'_>> {
        let range = self.0.iter().find(|range| range.contains(address))?;
        Some(Candidate { address, range })
    }

    /// Whether `address` is the gateway of any of its ranges.
    pub fn has_gateway(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.gateway == Some(address))
    }

    /// The first address to try. It may be a gateway.
    pub fn start(&self) -> Candidate<'_> {
        self.0[0].start()
    }

    /// The address to try after `address`: the next one of its range, or the
    /// first of the next range, after the last range of the first. It may be a
    /// gateway. An address of no range is followed by the first.
    pub fn after(&self, address: IpAddr) -> Candidate<'_> {
        let Some(index) = self.0.iter().position(|range| range.contains(address)) else {
            return self.start();
        };
        let range = &self.0[index];
        match number(address) {
            number if number < range.last => Candidate {
                address: range.family.address(number + 1),
                range,
            },
            _ => self.0[(index + 1) % self.0.len()].start(),
        }
    }

    /// Two ranges of this set and another that overlap, if any do.
    pub fn overlap<'a>(&'a self, other: &'a RangeSet) -> Option<(&'a Range, &'a Range)> {
        let pair = |range: &'a Range| Some((range, other.0.iter().find(|o| o.overlaps(range))?));
        self.0.iter().find_map(pair)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(subnet: &str, start: &str, end: &str, gateway: &str) -> Bounds {
        let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Bounds {
            start: address(start),
            end: address(end),
            gateway: address(gateway),
            ..Bounds::of(subnet.parse().unwrap())
        }
    }

    fn range(subnet: &str, start: &str, end: &str, gateway: &str) -> Range {
        Range::new(&bounds(subnet, start, end, gateway)).unwrap()
    }

    #[test]
    fn what_is_left_out() {
        for (subnet, expected, gateway) in [
            ("10.50.11.0/24", "10.50.11.1-10.50.11.254", "10.50.11.1"),
            (
                "10.50.11.128/25",
                "10.50.11.129-10.50.11.254",
                "10.50.11.129",
            ),
            ("10.0.0.0/8", "10.0.0.1-10.255.255.254", "10.0.0.1"),
            ("10.0.0.0/30", "10.0.0.1-10.0.0.2", "10.0.0.1"),
            ("0.0.0.0/0", "0.0.0.1-255.255.255.254", "0.0.0.1"),
            ("fd00::/64", "fd00::1-fd00::ffff:ffff:ffff:ffff", "fd00::1"),
            ("::/0", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"),
        ] {
            let range = range(subnet, "", "", "");
            assert_eq!(range.to_string(), expected);
            assert_eq!(range.gateway().unwrap().to_string(), gateway);
        }
    }

    #[test]
    fn descriptions_that_are_wrong() {
        for (subnet, start, end, gateway, why) in [
            ("10.0.0.0/31", "", "", "", "10.0.0.0/31"),
            ("10.0.0.1/32", "", "", "", "10.0.0.1/32"),
            ("fd00::/127", "", "", "", "fd00::/127"),
            ("fd00::/128", "", "", "", "fd00::/128"),
            ("10.0.0.5/24", "", "", "", "10.0.0.0/24"),
            (
                "10.0.0.0/24",
                "10.0.1.1",
                "",
                "",
                "\"rangeStart\": 10.0.1.1",
            ),
            ("10.0.0.0/24", "", "10.0.1.1", "", "\"rangeEnd\": 10.0.1.1"),
            ("10.0.0.0/24", "fd00::1", "", "", "\"rangeStart\": fd00::1"),
            ("10.0.0.0/24", "10.0.0.9", "10.0.0.8", "", "10.0.0.9"),
            ("10.0.0.0/24", "10.0.0.255", "", "", "10.0.0.255"),
            ("10.0.0.0/24", "", "", "fd00::1", "fd00::1"),
        ] {
            let error = Range::new(&bounds(subnet, start, end, gateway))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn sets_that_are_wrong() {
        let v4 = range("10.0.0.0/24", "10.0.0.10", "10.0.0.20", "");
        let beside = range("10.0.0.0/24", "10.0.0.21", "10.0.0.30", "");
        let within = range("10.0.0.0/24", "10.0.0.12", "10.0.0.13", "");
        let v6 = range("fd00::/64", "", "", "");
        assert!(RangeSet::new(vec![]).is_err());
        assert!(RangeSet::new(vec![v4.clone(), v6.clone()]).is_err());
        assert!(RangeSet::new(vec![v4.clone(), within.clone()]).is_err());
        assert!(RangeSet::new(vec![within, v4.clone()]).is_err());
        assert!(RangeSet::new(vec![v4.clone(), beside.clone()]).is_ok());
        let set = |range| RangeSet::new(vec![range]).unwrap();
        assert!(set(v4.clone()).overlap(&set(beside)).is_none());
        assert!(set(v4.clone()).overlap(&set(v6)).is_none());
        assert!(set(v4.clone()).overlap(&set(v4)).is_some());
    }

    #[test]
    fn addresses_follow_each_other_around_the_set() {
        let set = RangeSet::new(vec![
            range("10.0.0.0/24", "10.0.0.10", "10.0.0.11", "10.0.0.1"),
            range("10.1.0.0/24", "10.1.0.1", "10.1.0.3", "10.1.0.2"),
        ])
        .unwrap();
        let mut seen = vec![set.start()];
        for _ in 0..5 {
            seen.push(set.after(seen.last().unwrap().address));
        }
        let seen: Vec<String> = seen.iter().map(|c| c.address.to_string()).collect();
        assert_eq!(
            seen.join(" "),
            "10.0.0.10 10.0.0.11 10.1.0.1 10.1.0.2 10.1.0.3 10.0.0.10"
        );
        assert_eq!(set.after("192.0.2.1".parse().unwrap()), set.start());
        assert_eq!(
            set.ranges().iter().map(Range::size).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(set.has_gateway("10.1.0.2".parse().unwrap()));
    }

    #[test]
    fn shared_ranges_may_be_one_address() {
        let bounds = |subnet: &str| Bounds {
            shared: Shared::All,
            ..Bounds::of(subnet.parse().unwrap())
        };
        for (subnet, first) in [
            ("192.0.2.53/32", "192.0.2.53"),
            ("2001:db8::53/128", "2001:db8::53"),
            ("192.0.2.0/31", "192.0.2.0"),
            ("192.0.2.0/24", "192.0.2.2"),
        ] {
            let range = Range::new(&bounds(subnet)).unwrap();
            assert!(range.is_shared());
            let given = range.first_shared(range.gateway());
            assert_eq!(given.unwrap().to_string(), first);
            assert!(range.shares(given.unwrap()));
        }
        let some = Range::new(&Bounds {
            shared: Shared::Some(vec!["10.0.0.64/26".parse().unwrap()]),
            exclude: vec!["10.0.0.9/32".parse().unwrap()],
            ..Bounds::of("10.0.0.0/24".parse().unwrap())
        })
        .unwrap();
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert!(!some.is_shared() && some.shares(at(64)) && !some.shares(at(63)));
        assert!(some.excludes(at(9)) && !some.excludes(at(10)));
        assert_eq!(some.skips([at(1)]).count(0, u128::MAX), 66);
        let outside = Bounds {
            exclude: vec!["10.0.1.0/24".parse().unwrap()],
            ..Bounds::of("10.0.0.0/24".parse().unwrap())
        };
        let error = Range::new(&outside).unwrap_err().to_string();
        assert!(error.contains("\"exclude\": 10.0.1.0"), "{error}");
    }

    #[test]
    fn the_largest_ranges_do_not_overflow() {
        let all = range("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "");
        let set = RangeSet::new(vec![all]).unwrap();
        assert_eq!(set.ranges()[0].size(), u128::MAX);
        assert_eq!(
            set.after("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
            set.start()
        );
    }
}
