//! Sets whose addresses belong together (`ipam.paired`): what a container gets of each has
//! the same distance from the first of its range. So one address tells the others, which
//! hosts need to know that compute who has which (`vxlan`).

use std::net::IpAddr;

use place::family::number;

use crate::Error;
use crate::range::{Candidate, Range, RangeSet};
use crate::skips::Skips;

/// The only range of each set.
///
/// # Errors
/// [`Error::NotPaired`]: a set has more than one range or one that is shared, or is
/// smaller than the first.
pub(crate) fn check(sets: &[RangeSet]) -> Result<(), Error> {
    let least = sets[0].ranges()[0].size();
    let fits = |set: &RangeSet| {
        let [range] = set.ranges() else { return false };
        range.size() >= least && !range.is_shared()
    };
    match sets.iter().find(|set| !fits(set)) {
        None => Ok(()),
        Some(set) => Err(Error::NotPaired(set.to_string())),
    }
}

/// How far an address is from the first of a set.
pub(crate) fn distance(set: &RangeSet, address: IpAddr) -> u128 {
    number(address).saturating_sub(number(set.ranges()[0].first()))
}

/// The address of a set at a distance.
///
/// # Errors
/// [`Error::NotInPair`].
pub(crate) fn at(set: &RangeSet, distance: u128) -> Result<Candidate<'_>, Error> {
    let range = &set.ranges()[0];
    let inside = || distance < range.size();
    let address = number(range.first())
        .checked_add(distance)
        .filter(|_| inside())
        .map(|number| range.family().address(number));
    let candidate = address.map(|address| Candidate { address, range });
    candidate.ok_or_else(|| Error::NotInPair(set.to_string()))
}

/// What is skipped in the first set: also the distances at which another set gives nothing.
pub(crate) fn skips_of_first(ranges: &[&Range], skips: &[&Skips]) -> Skips {
    let (first, last) = (number(ranges[0].first()), number(ranges[0].last()));
    let mut all = Vec::new();
    for (range, skips) in ranges.iter().zip(skips) {
        let start = number(range.first());
        for (from, to) in skips.intervals() {
            if *to < start {
                continue;
            }
            let moved = |n: u128| first.saturating_add(n.saturating_sub(start)).min(last);
            if from.saturating_sub(start) <= last - first {
                all.push((moved(*from), moved(*to)));
            }
        }
    }
    Skips::new(all)
}
