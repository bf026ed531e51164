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
use crate::family::{Family, number, with_prefix};

/// Addresses that are given out, and the subnet they are part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    family: Family,
    subnet: IpNetwork,
    first: u128,
    last: u128,
    gateway: IpAddr,
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
        if u32::from(subnet.prefix()) + 2 > family.bits() {
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
        let highest = if family == Family::V4 {
            broadcast - 1
        } else {
            broadcast
        };
        let gateway = bounds
            .gateway
            .unwrap_or_else(|| family.address(network + 1));
        if Family::of(gateway) != family {
            return Err(Error::GatewayFamily { gateway, subnet });
        }
        let first = bounds
            .start
            .map_or(Ok(network + 1), |a| inside("rangeStart", a))?;
        let last = bounds.end.map_or(Ok(highest), |a| inside("rangeEnd", a))?;
        if first > last {
            return Err(Error::ReversedRange {
                start: family.address(first),
                end: family.address(last),
            });
        }
        Ok(Range {
            family,
            subnet,
            first,
            last,
            gateway,
        })
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// The gateway.
    pub fn gateway(&self) -> IpAddr {
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

    fn start(&self) -> Candidate<'_> {
        Candidate {
            address: self.first(),
            range: self,
        }
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
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
            gateway: Some(self.range.gateway),
            interface: None,
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
        self.0.iter().any(|range| range.gateway == address)
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
            subnet: subnet.parse().unwrap(),
            start: address(start),
            end: address(end),
            gateway: address(gateway),
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
            assert_eq!(range.gateway().to_string(), gateway);
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
