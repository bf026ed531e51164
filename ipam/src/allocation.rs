//! One ADD's way through the sets of a pool.

use std::net::IpAddr;

use cni::Ip;

use crate::asked::Asked;
use crate::index::Searched;
use crate::lease::{Lease, Owner};
use crate::pool::Pool;
use crate::range::{Candidate, Range, RangeSet};
use crate::store::{Leases, Taken};
use crate::{Error, clock, local};

/// An allocation under way.
pub(crate) struct Allocation<'a> {
    pool: &'a Pool,
    leases: &'a mut Leases,
    asked: Asked<'a>,
    owner: Owner<'a>,
    /// What the owner held before and may keep.
    held: Vec<IpAddr>,
    /// What it held before and must not have any more.
    refused: Vec<IpAddr>,
    /// What it was given now.
    made: Vec<IpAddr>,
    /// Whether it was given what it asked for, or what is reserved for it.
    is_certain: bool,
}

impl<'a> Allocation<'a> {
    /// Looks up what the owner holds. Since it was given that, the address may have become
    /// a gateway or the host's own, or have been excluded.
    pub(crate) fn start(
        pool: &'a Pool,
        leases: &'a mut Leases,
        asked: Asked<'a>,
        owner: Owner<'a>,
    ) -> Result<Self, Error> {
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        for address in leases.of(owner)?.found {
            match pool.candidate(address) {
                Some(candidate) if !may_keep(pool, candidate, asked.names)? => {
                    refused.push(address);
                }
                _ => held.push(address),
            }
        }
        if pool.is_paired() && !refused.is_empty() {
            refused.append(&mut held);
        }
        Ok(Allocation {
            pool,
            leases,
            is_certain: asked.wanted.iter().any(Option::is_some),
            asked,
            owner,
            held,
            refused,
            made: Vec::new(),
        })
    }

    /// Chooses an address of each set, or of none.
    pub(crate) fn run(mut self) -> Result<Vec<Ip>, Error> {
        /// How many addresses of the first set are tried whose pairs turn out to be
        /// somebody's.
        const TRIES: usize = 64;

        let mut tries = 0..TRIES;
        loop {
            tries.next();
            match self.choose_all() {
                Ok(chosen) => {
                    self.release_superseded(&chosen)?;
                    return chosen.iter().map(|(candidate, _)| candidate.ip()).collect();
                }
                Err(Error::Held { .. } | Error::RequestedOwn(_))
                    if !self.is_certain && !tries.is_empty() =>
                {
                    self.give_back();
                }
                Err(error) => {
                    self.undo(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Where sets are paired, the address that is chosen of the first tells which are
    /// wanted of the others. Each comes with whether no other would have done.
    fn choose_all(&mut self) -> Result<Vec<(Candidate<'a>, bool)>, Error> {
        let pool = self.pool;
        let mut distance = None;
        let mut all = Vec::with_capacity(pool.sets().len());
        for set in 0..pool.sets().len() {
            let pair = distance.map(|d| pool.paired_with(set, d, self.asked.names));
            let wanted = match self.asked.wanted[set] {
                None => pair.transpose()?,
                wanted => wanted,
            };
            let chosen = self.choose(set, wanted)?;
            distance = distance.or_else(|| pool.distance(set, chosen.address));
            let is_reserved = self.asked.reserved[set].contains(&chosen);
            all.push((chosen, wanted.is_some() || is_reserved));
        }
        Ok(all)
    }

    fn choose(
        &mut self,
        set: usize,
        wanted: Option<Candidate<'a>>,
    ) -> Result<Candidate<'a>, Error> {
        if let Some(wanted) = wanted {
            return self.grant(set, wanted);
        }
        if let Some(reserved) = self.reserved(set)? {
            self.is_certain = true;
            return Ok(reserved);
        }
        let ranges = &self.pool.sets()[set];
        let mut held = self.held.iter();
        match held.find_map(|address| ranges.candidate(*address)) {
            Some(again) => self.again(again),
            None => self.next_free(set),
        }
    }

    /// A runtime that repeats an ADD gets the same again: it may have missed the first
    /// answer.
    fn again(&mut self, held: Candidate<'a>) -> Result<Candidate<'a>, Error> {
        self.leases.confirm(held.address, self.owner)?;
        Ok(held)
    }

    /// Gives what is reserved for the container: what it holds, else the first that nobody
    /// does; none when another interface of it has what is reserved.
    fn reserved(&mut self, set: usize) -> Result<Option<Candidate<'a>>, Error> {
        let reserved = &self.asked.reserved[set];
        let held = reserved.iter().find(|r| self.held.contains(&r.address));
        if let Some(held) = held {
            return self.again(*held).map(Some);
        }
        let (mut refused, mut another_has) = (None, false);
        for reserved in reserved.clone() {
            match self.grant(set, reserved) {
                Ok(given) => return Ok(Some(given)),
                Err(error @ (Error::Held { .. } | Error::RequestedOwn(_))) => {
                    let kept = self.leases.kept(reserved.address).ok().flatten();
                    another_has |=
                        kept.is_some_and(|kept| kept.lease.container == self.owner.container);
                    refused = refused.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        refused.filter(|_| !another_has).map_or(Ok(None), Err)
    }

    /// Has the index know all ranges of the pool, of which it must lose none.
    fn know_pool(&mut self) -> Result<(), Error> {
        let pool = self.pool;
        let sets = 0..pool.sets().len();
        let of_set = |set| pool.searched(set).map(move |(_, range)| (set, range));
        let ranges: Vec<(usize, Searched<'_>)> = sets.flat_map(of_set).collect();
        self.leases.know(&ranges)
    }

    /// Gives the address that was asked for.
    fn grant(&mut self, set: usize, wanted: Candidate<'a>) -> Result<Candidate<'a>, Error> {
        if self.held.contains(&wanted.address) {
            return self.again(wanted);
        }
        self.know_pool()?;
        if wanted.range.shares(wanted.address) {
            return self.share(wanted);
        }
        let address = wanted.address;
        if local::is_own(address)? {
            return Err(Error::RequestedOwn(address));
        }
        if !self.reserve(set, address)? {
            return Err(self.held_by_other(address));
        }
        self.leases.in_index(|index| {
            index.follow(address);
            Ok(())
        })?;
        Ok(wanted)
    }

    fn share(&mut self, wanted: Candidate<'a>) -> Result<Candidate<'a>, Error> {
        match self.leases.share(wanted.address, self.owner)? {
            true => {
                self.made.push(wanted.address);
                Ok(wanted)
            }
            false => Err(self.held_by_other(wanted.address)),
        }
    }

    /// Gives an address to who asks for none: of the first range that has one that
    /// was never given or has rested long enough; else of all ranges the one that
    /// has rested longest; else one that was forgotten.
    fn next_free(&mut self, set: usize) -> Result<Candidate<'a>, Error> {
        self.know_pool()?;
        let pool = self.pool;
        let rested = clock::milliseconds().saturating_sub(millis(pool));
        for (range, searched) in pool.searched(set) {
            if range.is_shared() {
                if let Some(shared) = pool.shared(range) {
                    return self.share(shared);
                }
                continue;
            }
            let unused = self.unused(set, range, searched)?;
            let free = match unused {
                None => self.rested(set, range, searched, rested)?,
                unused => unused,
            };
            if let Some(free) = free {
                return Ok(free);
            }
        }
        if let Some(free) = self.longest_rested(set)? {
            return Ok(free);
        }
        if self.search_forgotten(set)? {
            for (range, searched) in pool.searched(set) {
                if let Some(free) = self.unused(set, range, searched)? {
                    return Ok(free);
                }
            }
        }
        Err(Error::NoneFree {
            set: pool.sets()[set].to_string(),
            network: pool.network().to_owned(),
        })
    }

    /// The next address of the lap that nobody holds and that was not released.
    fn unused(
        &mut self,
        set: usize,
        range: &'a Range,
        searched: Searched<'_>,
    ) -> Result<Option<Candidate<'a>>, Error> {
        loop {
            let next = self.leases.in_index(|index| {
                while let Some(next) = index.progress(searched)?.step(searched.skips) {
                    if !index.is_resting(next)? {
                        return Ok(Some(next));
                    }
                }
                Ok(None)
            })?;
            let Some(address) = next else {
                return Ok(None);
            };
            let taken = self.leases.look(address)?;
            if taken == Taken::Yes || self.pass_own(searched, address)? {
                continue;
            }
            if self.leases.take(address, self.owner, taken)? {
                self.given(set, address)?;
                return Ok(Some(Candidate { address, range }));
            }
        }
    }

    /// The address that was released first, if that was before `until`.
    fn rested(
        &mut self,
        set: usize,
        range: &'a Range,
        searched: Searched<'_>,
        until: u64,
    ) -> Result<Option<Candidate<'a>>, Error> {
        loop {
            let oldest = self.leases.in_index(|index| index.oldest(searched))?;
            let Some((address, _)) = oldest.filter(|(_, since)| *since <= until) else {
                return Ok(None);
            };
            let skipped = searched.skips.end_of(crate::family::number(address));
            let given = skipped.is_none() && !self.pass_own(searched, address)?;
            if given && self.reserve(set, address)? {
                return Ok(Some(Candidate { address, range }));
            }
            self.leases.in_index(|index| index.unrest(address))?;
        }
    }

    /// Whether an address is the host's own; then the search comes back to it before it
    /// says that nothing is left, as the host may have given it up.
    fn pass_own(&mut self, searched: Searched<'_>, address: IpAddr) -> Result<bool, Error> {
        let own = local::is_own(address)?;
        if own {
            self.leases.in_index(|index| {
                index.progress(searched)?.forgotten += 1;
                Ok(())
            })?;
        }
        Ok(own)
    }

    /// Of all ranges of a set the address that was released first.
    fn longest_rested(&mut self, set: usize) -> Result<Option<Candidate<'a>>, Error> {
        let pool = self.pool;
        loop {
            let mut first: Option<(u64, &'a Range, Searched<'_>)> = None;
            for (range, searched) in pool.searched(set) {
                let oldest = self.leases.in_index(|index| index.oldest(searched))?;
                let since = oldest.map(|(_, since)| since);
                if let Some(since) = since.filter(|s| first.is_none_or(|(first, ..)| *s < first)) {
                    first = Some((since, range, searched));
                }
            }
            let Some((since, range, searched)) = first else {
                return Ok(None);
            };
            if let Some(free) = self.rested(set, range, searched, since)? {
                return Ok(Some(free));
            }
        }
    }

    /// Starts a new lap in the ranges that have forgotten addresses; false when
    /// none has.
    fn search_forgotten(&mut self, set: usize) -> Result<bool, Error> {
        let mut any = false;
        for (_, searched) in self.pool.searched(set) {
            any |= self.leases.in_index(|index| {
                let progress = index.progress(searched)?;
                let forgotten = progress.forgotten > 0;
                if forgotten {
                    progress.new_lap();
                }
                Ok(forgotten)
            })?;
        }
        Ok(any)
    }

    fn reserve(&mut self, set: usize, address: IpAddr) -> Result<bool, Error> {
        if !self.leases.reserve(address, self.owner)? {
            return Ok(false);
        }
        self.given(set, address)?;
        Ok(true)
    }

    fn given(&mut self, set: usize, address: IpAddr) -> Result<(), Error> {
        self.made.push(address);
        self.leases.set_last_reserved(set, address)
    }

    fn held_by_other(&self, address: IpAddr) -> Error {
        let holder = match self.leases.kept(address) {
            Ok(Some(kept)) => kept.lease.to_string(),
            Ok(None) => "something that is no lease".to_owned(),
            Err(error) => error.to_string(),
        };
        Error::Held { address, holder }
    }

    /// Who asks for another address than it holds has no use for the old one; nor has who
    /// must not keep it.
    fn release_superseded(&mut self, chosen: &[(Candidate<'_>, bool)]) -> Result<(), Error> {
        let is_chosen = |address| chosen.iter().any(|(c, _)| c.address == address);
        let certain = self.pool.sets().iter().zip(chosen);
        let certain = certain.filter(|(_, (_, is_certain))| *is_certain);
        let certain: Vec<&RangeSet> = certain.map(|(set, _)| set).collect();
        let of_certain = |a: &IpAddr| certain.iter().any(|set| set.candidate(*a).is_some());
        let held = self.held.iter().copied().filter(of_certain);
        let old = self.refused.iter().copied().chain(held);
        for address in old.filter(|address| !is_chosen(*address)) {
            self.leases.release(address, &Lease::of(self.owner))?;
        }
        Ok(())
    }

    fn undo(&mut self, error: &Error) {
        // The search may have passed an address that it could not give.
        self.leases.distrust_after(error);
        self.give_back();
    }

    fn give_back(&mut self) {
        for address in self.made.drain(..) {
            // The error that led here counts. What is left the next ADD or DEL
            // of the same owner finds.
            let _ = self.leases.release(address, &Lease::of(self.owner));
        }
    }
}

/// Whether an address that was given may be given to the same again. One that many may
/// hold may be the host's as well.
fn may_keep(pool: &Pool, held: Candidate<'_>, names: &[String]) -> Result<bool, Error> {
    let is_given = pool.check_allowed(held, names).is_ok();
    let is_shared = held.range.shares(held.address);
    Ok(is_given && (is_shared || !local::is_own(held.address)?))
}

fn millis(pool: &Pool) -> u64 {
    u64::try_from(pool.cooldown().as_millis()).unwrap_or(u64::MAX)
}
