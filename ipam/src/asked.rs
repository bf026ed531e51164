//! What a container asks for, and what is kept for it, set by set.

use std::net::IpAddr;

use crate::Error;
use crate::pool::Pool;
use crate::range::Candidate;

/// What a container is to be given.
pub(crate) struct Asked<'a> {
    /// The names that it is known by.
    pub(crate) names: &'a [String],
    /// What it asks for, of each set.
    pub(crate) wanted: Vec<Option<Candidate<'a>>>,
    /// What is kept for it, of each set, in the order of the configuration. Where sets are
    /// paired this is said of the first, which tells the others.
    pub(crate) reserved: Vec<Vec<Candidate<'a>>>,
}

impl<'a> Asked<'a> {
    /// Sorts addresses by sets.
    ///
    /// # Errors
    /// An address that is in no range or that this container must not have, two of one
    /// set, two that are no pair where they have to be.
    pub(crate) fn new(
        pool: &'a Pool,
        wanted: &[IpAddr],
        names: &'a [String],
    ) -> Result<Self, Error> {
        let mut asked = Asked {
            names,
            wanted: vec![None; pool.sets().len()],
            reserved: vec![Vec::new(); pool.sets().len()],
        };
        asked.want(pool, wanted)?;
        // As every host may have the same configuration, others' are passed over.
        for address in pool.reserved_for(names) {
            if let Some((set, candidate)) = set_of(pool, address) {
                pool.check_allowed(candidate, names)?;
                asked.keep(pool, set, candidate)?;
            }
        }
        Ok(asked)
    }

    fn want(&mut self, pool: &'a Pool, wanted: &[IpAddr]) -> Result<(), Error> {
        for &address in wanted {
            let found = set_of(pool, address);
            let (set, candidate) = found.ok_or_else(|| Error::RequestedOutside {
                address,
                ranges: pool.listed(),
            })?;
            pool.check_allowed(candidate, self.names)?;
            let before = self.wanted[set].replace(candidate);
            if let Some(first) = before.filter(|first| *first != candidate) {
                return Err(Error::RequestedTwo {
                    first: first.address,
                    second: address,
                    set: pool.sets()[set].to_string(),
                });
            }
        }
        self.pair(pool)
    }

    /// Where sets are paired, what is wanted of one tells what is wanted of the others.
    fn pair(&mut self, pool: &'a Pool) -> Result<(), Error> {
        let mut wanted = self.wanted.iter().enumerate();
        let first = wanted.find_map(|(set, wanted)| {
            let first = wanted.as_ref()?.address;
            Some((first, pool.distance(set, first)?))
        });
        let Some((first, distance)) = first else {
            return Ok(());
        };
        for (set, wanted) in self.wanted.iter_mut().enumerate() {
            let pair = pool.paired_with(set, distance, self.names);
            *wanted = match *wanted {
                Some(other) if pool.distance(set, other.address) != Some(distance) => {
                    return Err(Error::RequestedNoPair {
                        first,
                        second: other.address,
                        pair: pair.ok().map(|pair| pair.address),
                    });
                }
                _ => Some(pair?),
            };
        }
        Ok(())
    }

    fn keep(&mut self, pool: &'a Pool, set: usize, candidate: Candidate<'a>) -> Result<(), Error> {
        let (set, candidate) = match pool.distance(set, candidate.address) {
            Some(distance) => (0, pool.paired_with(0, distance, self.names)?),
            None => (set, candidate),
        };
        let reserved = &mut self.reserved[set];
        if !reserved.contains(&candidate) {
            reserved.push(candidate);
        }
        Ok(())
    }
}

/// The set that an address is in, and the address as one of it.
fn set_of(pool: &Pool, address: IpAddr) -> Option<(usize, Candidate<'_>)> {
    let mut sets = pool.sets().iter().enumerate();
    sets.find_map(|(set, ranges)| Some((set, ranges.candidate(address)?)))
}
