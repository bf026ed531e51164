//! The range sets of a network on this host: which address a container gets.

use std::net::IpAddr;

use cni::{Ip, Version};

use crate::Error;
use crate::family::Family;
use crate::lease::Owner;
use crate::range::{Candidate, Range, RangeSet};
use crate::store::Leases;

/// A network's range sets. A container gets one address from each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    network: String,
    sets: Vec<RangeSet>,
}

/// How much of a range is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The range.
    pub range: Range,
    /// How many of its addresses are taken.
    pub used: u128,
    /// How many it can give at most; the gateway is not counted.
    pub total: u128,
}

impl Pool {
    /// The sets of `network`, whose configuration has `version`.
    ///
    /// # Errors
    /// No set, sets that overlap, more than one set of a family in a version
    /// whose result has room for one.
    pub fn new(network: &str, sets: Vec<RangeSet>, version: Version) -> Result<Self, Error> {
        if sets.is_empty() {
            return Err(Error::NoRanges);
        }
        for (index, set) in sets.iter().enumerate() {
            if let Some((one, other)) = sets[..index].iter().find_map(|other| other.overlap(set)) {
                return Err(Error::Overlap(one.to_string(), other.to_string()));
            }
        }
        for family in [Family::V4, Family::V6] {
            let sets = sets.iter().filter(|set| set.family() == family).count();
            if sets > 1 && version < Version::V0_3_0 {
                return Err(Error::TooManySets {
                    version,
                    family,
                    sets,
                });
            }
        }
        let network = network.to_owned();
        Ok(Pool { network, sets })
    }

    /// The sets in the order of the addresses in a result.
    pub fn sets(&self) -> &[RangeSet] {
        &self.sets
    }

    /// Whether `address` is in one of the ranges; it may be a gateway.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.sets.iter().any(|set| set.candidate(address).is_some())
    }

    /// Gives `owner` an address of each set: what is `wanted`, else what it holds
    /// already, else the one after the last that was given out. All or none.
    ///
    /// # Errors
    /// A wanted address that cannot be given, a set without a free address, or
    /// [`Error::Store`].
    pub fn allocate(
        &self,
        leases: &Leases,
        wanted: &[IpAddr],
        owner: Owner<'_>,
    ) -> Result<Vec<Ip>, Error> {
        let wanted = self.by_set(wanted)?;
        let mut allocation = Allocation {
            pool: self,
            leases,
            owner,
            held: leases.of(owner)?.found,
            made: Vec::new(),
        };
        let sets = self.sets.iter().enumerate();
        let chosen = sets.map(|(index, set)| allocation.choose(index, set, wanted[index])?.ip());
        let chosen: Result<Vec<Ip>, Error> = chosen.collect();
        match &chosen {
            Ok(_) => allocation.release_superseded(&wanted)?,
            Err(_) => allocation.undo(),
        }
        chosen
    }

    /// Which address is wanted of each set.
    fn by_set(&self, wanted: &[IpAddr]) -> Result<Vec<Option<Candidate<'_>>>, Error> {
        let mut by_set: Vec<Option<Candidate<'_>>> = vec![None; self.sets.len()];
        for &address in wanted {
            if self.is_gateway(address) {
                return Err(Error::RequestedGateway(address));
            }
            let mut candidates = self
                .sets
                .iter()
                .map(|set| set.candidate(address))
                .enumerate();
            let found = candidates.find_map(|(index, candidate)| Some((index, candidate?)));
            let (index, candidate) = found.ok_or_else(|| Error::RequestedOutside {
                address,
                ranges: self.listed(),
            })?;
            if let Some(first) = by_set[index]
                .replace(candidate)
                .filter(|first| *first != candidate)
            {
                return Err(Error::RequestedTwo {
                    first: first.address,
                    second: address,
                    set: self.sets[index].to_string(),
                });
            }
        }
        Ok(by_set)
    }

    fn is_gateway(&self, address: IpAddr) -> bool {
        self.sets.iter().any(|set| set.has_gateway(address))
    }

    fn listed(&self) -> String {
        let sets: Vec<String> = self.sets.iter().map(RangeSet::to_string).collect();
        sets.join(", ")
    }

    /// How much of each range is used, set by set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn usage(&self, leases: Option<&Leases>) -> Result<Vec<Vec<Usage>>, Error> {
        let taken = leases.map_or(Ok(Vec::new()), Leases::taken)?;
        let usage = |range: &Range| {
            let used = taken
                .iter()
                .filter(|a| range.contains(**a) && !self.is_gateway(**a));
            Usage {
                range: range.clone(),
                used: used.count() as u128,
                total: self.room(range),
            }
        };
        let sets = self.sets.iter();
        Ok(sets
            .map(|set| set.ranges().iter().map(usage).collect())
            .collect())
    }

    /// How many addresses a range can give.
    fn room(&self, range: &Range) -> u128 {
        let ranges = self.sets.iter().flat_map(RangeSet::ranges);
        let gateways = ranges
            .map(Range::gateway)
            .filter(|gateway| range.contains(*gateway));
        let mut gateways: Vec<IpAddr> = gateways.collect();
        gateways.sort_unstable();
        gateways.dedup();
        range.size() - gateways.len() as u128
    }

    /// Whether every set can still give an address.
    ///
    /// # Errors
    /// [`Error::Exhausted`] with the figures, and [`Error::Store`].
    pub fn can_give(&self, leases: Option<&Leases>) -> Result<(), Error> {
        let usage = self.usage(leases)?;
        let full = |set: &Vec<Usage>| set.iter().all(|range| range.used >= range.total);
        if !usage.iter().any(full) {
            return Ok(());
        }
        let figures = |u: &Usage| format!("{} {}/{} used", u.range, u.used, u.total);
        let figures: Vec<String> = usage.iter().flatten().map(figures).collect();
        Err(Error::Exhausted {
            network: self.network.clone(),
            usage: figures.join(", "),
        })
    }
}

/// One ADD's way through the sets.
struct Allocation<'a> {
    pool: &'a Pool,
    leases: &'a Leases,
    owner: Owner<'a>,
    /// What the owner held before.
    held: Vec<IpAddr>,
    /// What it was given now.
    made: Vec<IpAddr>,
}

impl Allocation<'_> {
    fn choose<'s>(
        &mut self,
        index: usize,
        set: &'s RangeSet,
        wanted: Option<Candidate<'s>>,
    ) -> Result<Candidate<'s>, Error> {
        // A runtime that repeats an ADD gets the same again: it may have missed
        // the first answer.
        let mut held = self.held.iter().copied();
        match wanted {
            Some(wanted) if held.any(|address| address == wanted.address) => Ok(wanted),
            Some(wanted) => match self.reserve(index, wanted.address)? {
                true => Ok(wanted),
                false => Err(self.held_by_other(wanted.address)),
            },
            None => match held.find_map(|address| set.candidate(address)) {
                Some(held) => Ok(held),
                None => self.next_free(index, set),
            },
        }
    }

    fn next_free<'s>(&mut self, index: usize, set: &'s RangeSet) -> Result<Candidate<'s>, Error> {
        let last = self.leases.last_reserved(index);
        let first = last.map_or_else(|| set.start(), |last| set.after(last));
        let mut candidate = first;
        loop {
            if !self.pool.is_gateway(candidate.address) && self.reserve(index, candidate.address)? {
                return Ok(candidate);
            }
            candidate = set.after(candidate.address);
            if candidate == first {
                return Err(Error::NoneFree {
                    set: set.to_string(),
                    network: self.pool.network.clone(),
                });
            }
        }
    }

    fn reserve(&mut self, index: usize, address: IpAddr) -> Result<bool, Error> {
        if !self.leases.reserve(address, self.owner)? {
            return Ok(false);
        }
        self.made.push(address);
        self.leases.set_last_reserved(index, address)?;
        Ok(true)
    }

    fn held_by_other(&self, address: IpAddr) -> Error {
        let holder = match self.leases.lease(address) {
            Ok(Some(lease)) => lease.to_string(),
            Ok(None) => "nobody now".to_owned(),
            Err(error) => error.to_string(),
        };
        Error::Held { address, holder }
    }

    /// Who asks for another address than it holds has no use for the old one.
    fn release_superseded(&self, wanted: &[Option<Candidate<'_>>]) -> Result<(), Error> {
        for (set, wanted) in self.pool.sets.iter().zip(wanted) {
            let Some(wanted) = wanted else { continue };
            let old = self
                .held
                .iter()
                .filter(|a| **a != wanted.address && set.candidate(**a).is_some());
            old.copied()
                .try_for_each(|address| self.leases.release(address))?;
        }
        Ok(())
    }

    fn undo(&self) {
        for address in &self.made {
            // The error that led here counts. What is left the next ADD or DEL
            // of the same owner finds.
            let _ = self.leases.release(*address);
        }
    }
}
