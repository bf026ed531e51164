//! The range sets of a network on this host: which address a container gets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cni::{Ip, Version};

use crate::Error;
use crate::allocation::Allocation;
use crate::asked::Asked;
use crate::index::Searched;
use crate::lease::Owner;
use crate::local;
use crate::pairs;
use crate::range::{Candidate, Range, RangeSet};
use crate::reservation::Reservations;
use crate::skips::Skips;
use crate::store::Leases;
use place::family::{Family, number};

/// How long a released address rests when `cooldown` does not say.
pub const COOLDOWN: Duration = Duration::from_secs(10);

/// A network's range sets. A container gets one address from each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    network: String,
    sets: Vec<RangeSet>,
    /// For each range of each set, what is not given to those who ask for nothing.
    skips: Vec<Vec<Skips>>,
    reservations: Reservations,
    cooldown: Duration,
    /// Whether the addresses of a container belong together.
    is_paired: bool,
}

/// How much of a range is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The range.
    pub range: Range,
    /// How many of its addresses are taken.
    pub used: u128,
    /// How many it can give at most: gateways, exclusions, reservations and shared
    /// addresses are not counted.
    pub total: u128,
}

impl Usage {
    /// How many of its addresses are not taken.
    pub fn free(&self) -> u128 {
        self.total.saturating_sub(self.used)
    }
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
        let pool = Pool {
            network: network.to_owned(),
            sets,
            skips: Vec::new(),
            reservations: Reservations::default(),
            cooldown: COOLDOWN,
            is_paired: false,
        };
        Ok(pool.with_reservations(Reservations::default()))
    }

    /// The same pool, with addresses that are for those of a name alone.
    #[must_use]
    pub fn with_reservations(mut self, reservations: Reservations) -> Self {
        self.reservations = reservations;
        let skips = |range: &Range| {
            let reserved = self.reservations.addresses();
            range.skips(self.gateways().chain(reserved))
        };
        let of_set = |set: &RangeSet| set.ranges().iter().map(skips).collect();
        self.skips = self.sets.iter().map(of_set).collect();
        self
    }

    /// The same pool, with another time for which released addresses rest.
    #[must_use]
    pub fn with_cooldown(self, cooldown: Duration) -> Self {
        Pool { cooldown, ..self }
    }

    /// The same pool, with sets whose addresses belong together.
    ///
    /// # Errors
    /// [`Error::NotPaired`].
    pub fn with_pairs(mut self) -> Result<Self, Error> {
        pairs::check(&self.sets)?;
        let ranges: Vec<&Range> = self.sets.iter().map(|set| &set.ranges()[0]).collect();
        let skips: Vec<&Skips> = self.skips.iter().map(|of_set| &of_set[0]).collect();
        self.skips[0][0] = pairs::skips_of_first(&ranges, &skips);
        self.is_paired = true;
        Ok(self)
    }

    /// How far an address of a set is from its first, where that tells the others.
    pub(crate) fn distance(&self, set: usize, address: IpAddr) -> Option<u128> {
        self.is_paired
            .then(|| pairs::distance(&self.sets[set], address))
    }

    /// The sets in the order of the addresses in a result.
    pub fn sets(&self) -> &[RangeSet] {
        &self.sets
    }

    /// Whether `address` is in one of the ranges; it may be a gateway.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.candidate(address).is_some()
    }

    /// `address` as one of the ranges; it may be a gateway.
    pub(crate) fn candidate(&self, address: IpAddr) -> Option<Candidate<'_>> {
        self.sets.iter().find_map(|set| set.candidate(address))
    }

    /// Whether the addresses of a container belong together.
    pub(crate) fn is_paired(&self) -> bool {
        self.is_paired
    }

    /// The address of a set that belongs to those at this distance, for somebody of these
    /// names.
    pub(crate) fn paired_with(
        &self,
        set: usize,
        distance: u128,
        names: &[String],
    ) -> Result<Candidate<'_>, Error> {
        let candidate = pairs::at(&self.sets[set], distance)?;
        self.check_allowed(candidate, names)?;
        Ok(candidate)
    }

    /// The network's name.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// How long a released address rests.
    pub(crate) fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// Gives `owner` an address of each set: what is `wanted`, else what is
    /// reserved for one of its `names`, else what it holds already, else the next
    /// that is free. All or none.
    ///
    /// # Errors
    /// A wanted address that cannot be given, a set without a free address, or
    /// [`Error::Store`].
    pub fn allocate(
        &self,
        leases: &mut Leases,
        wanted: &[IpAddr],
        names: &[String],
        owner: Owner<'_>,
    ) -> Result<Vec<Ip>, Error> {
        let asked = Asked::new(self, wanted, names)?;
        Allocation::start(self, leases, asked, owner)?.run()
    }

    /// The addresses that are kept for one of the names.
    pub(crate) fn reserved_for<'n>(
        &'n self,
        names: &'n [String],
    ) -> impl Iterator<Item = IpAddr> + 'n {
        self.reservations.of(names)
    }

    /// Whether somebody of these names may ask for an address.
    pub(crate) fn check_allowed(
        &self,
        candidate: Candidate<'_>,
        names: &[String],
    ) -> Result<(), Error> {
        let address = candidate.address;
        if self.is_gateway(address) {
            return Err(Error::RequestedGateway(address));
        }
        if let Some(name) = self.reservations.of_another(address, names) {
            return Err(Error::RequestedReserved {
                address,
                name: name.to_owned(),
            });
        }
        let is_reserved = self.reservations.of(names).any(|own| own == address);
        match candidate.range.excludes(address) && !is_reserved {
            true => Err(Error::RequestedExcluded(address)),
            false => Ok(()),
        }
    }

    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let ranges = self.sets.iter().flat_map(RangeSet::ranges);
        ranges.filter_map(Range::gateway)
    }

    fn is_gateway(&self, address: IpAddr) -> bool {
        self.sets.iter().any(|set| set.has_gateway(address))
    }

    /// All ranges, as an error lists them.
    pub(crate) fn listed(&self) -> String {
        let sets: Vec<String> = self.sets.iter().map(RangeSet::to_string).collect();
        sets.join(", ")
    }

    /// The ranges of a set to search in, with what is to be skipped.
    pub(crate) fn searched(&self, set: usize) -> impl Iterator<Item = (&Range, Searched<'_>)> {
        let ranges = self.sets[set].ranges().iter().zip(&self.skips[set]);
        ranges.map(|(range, skips)| {
            let searched = Searched {
                first: range.first(),
                last: range.last(),
                skips,
            };
            (range, searched)
        })
    }

    /// The address that those get who ask for none, of a range that all share.
    pub(crate) fn shared<'r>(&self, range: &'r Range) -> Option<Candidate<'r>> {
        let address = range.first_shared(self.gateways().chain(self.reservations.addresses()))?;
        Some(Candidate { address, range })
    }

    /// Every address that is kept for somebody, on whatever host, in the order of the
    /// configuration.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = IpAddr> {
        self.reservations.addresses()
    }

    /// How many addresses each range can give at most, set by set; none for a range that
    /// any number of containers share.
    pub(crate) fn room(&self) -> Vec<Vec<Option<u128>>> {
        let sets = 0..self.sets.len();
        let of_range = |(range, searched): (&Range, Searched<'_>)| {
            (!range.is_shared()).then(|| given(range, searched))
        };
        sets.map(|set| self.searched(set).map(of_range).collect())
            .collect()
    }

    /// How much of each range is used, set by set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn usage(&self, leases: Option<&Leases>) -> Result<Vec<Vec<Usage>>, Error> {
        Ok(self.usage_with(&self.taken(leases)?))
    }

    /// How much of each range is used when these addresses are taken, set by set.
    pub fn usage_with(&self, taken: &[IpAddr]) -> Vec<Vec<Usage>> {
        let usage = |(range, searched): (&Range, Searched<'_>)| {
            let counts =
                |a: &&IpAddr| range.contains(**a) && searched.skips.end_of(number(**a)).is_none();
            Usage {
                range: range.clone(),
                used: taken.iter().filter(counts).count() as u128,
                total: given(range, searched),
            }
        };
        let sets = 0..self.sets.len();
        sets.map(|set| self.searched(set).map(usage).collect())
            .collect()
    }

    /// Whether every set can still give an address.
    ///
    /// # Errors
    /// [`Error::Exhausted`] with the figures, [`Error::Store`] and [`Error::Own`].
    pub fn can_give(&self, leases: Option<&Leases>) -> Result<(), Error> {
        let taken = self.taken(leases)?;
        let usage = self.usage_with(&taken);
        let taken: BTreeSet<IpAddr> = taken.into_iter().collect();
        let mut own = Vec::new();
        let mut is_exhausted = false;
        for (set, usage) in usage.iter().enumerate() {
            let is_full = is_full(usage);
            is_exhausted |= is_full || self.is_own_alone(set, &taken, &mut own)?;
        }
        if !is_exhausted {
            return Ok(());
        }
        let figures = |u: &Usage| {
            let own = own.iter().filter(|own| u.range.contains(**own)).count();
            match own {
                _ if u.range.is_shared() => format!("{} shared", u.range),
                0 => format!("{} {}/{} used", u.range, u.used, u.total),
                own => format!(
                    "{} {}/{} used and {own} this host's own",
                    u.range, u.used, u.total
                ),
            }
        };
        let figures: Vec<String> = usage.iter().flatten().map(figures).collect();
        Err(Error::Exhausted {
            network: self.network.clone(),
            usage: figures.join(", "),
        })
    }

    /// Whether all that is left of a set is the host's own, which is added to `own`.
    fn is_own_alone(
        &self,
        set: usize,
        taken: &BTreeSet<IpAddr>,
        own: &mut Vec<IpAddr>,
    ) -> Result<bool, Error> {
        /// How many addresses of its own a host may have in a range before it is taken to
        /// have no more.
        const MANY: usize = 1024;

        for (range, searched) in self.searched(set) {
            if range.is_shared() {
                return Ok(false);
            }
            let left = addresses(range, searched.skips);
            for address in left.filter(|address| !taken.contains(address)).take(MANY) {
                if !local::is_own(address)? {
                    return Ok(false);
                }
                own.push(address);
            }
        }
        Ok(own.len() < MANY)
    }

    /// The addresses that somebody holds.
    fn taken(&self, leases: Option<&Leases>) -> Result<Vec<IpAddr>, Error> {
        let mut taken = leases.map_or(Ok(Vec::new()), Leases::named)?;
        if let Some(leases) = leases {
            // Whether a lease is still somebody's matters when it is for want of it
            // that nothing is left.
            if self.usage_with(&taken).iter().any(|set| is_full(set)) {
                taken.retain(|address| !leases.is_free(*address).is_ok_and(|free| free));
            }
        }
        Ok(taken)
    }
}

/// The addresses of a range that are given to those who ask for none.
fn addresses(range: &Range, skips: &Skips) -> impl Iterator<Item = IpAddr> {
    let (family, last) = (range.family(), number(range.last()));
    let mut next = Some(number(range.first()));
    let numbers = std::iter::from_fn(move || {
        let mut at = next?;
        while let Some(end) = skips.end_of(at) {
            at = end.checked_add(1)?;
        }
        next = at.checked_add(1);
        (at <= last).then_some(at)
    });
    numbers.map(move |number| family.address(number))
}

/// How many of a range's addresses are given to those who ask for none.
fn given(range: &Range, searched: Searched<'_>) -> u128 {
    let skipped = searched
        .skips
        .count(number(searched.first), number(searched.last));
    range.size() - skipped
}

fn is_full(set: &[Usage]) -> bool {
    let mut ranges = set.iter();
    ranges.all(|usage| !usage.range.is_shared() && usage.used >= usage.total)
}
