//! The list of released addresses of each range, oldest first.
//!
//! It is linked through the table, so that an address leaves it from anywhere at
//! a constant cost. It is bounded: of a /8 or a /64 the addresses that were
//! released last are remembered, and the search meets the others when it has come
//! around.

use std::net::IpAddr;

use super::header::Progress;
use super::table::{Damaged, Entry, Resting, Table};
use super::{Index, Searched};

/// How many released addresses of a range are remembered: all of a /16.
const REMEMBERED: u64 = 65_536;

impl Index {
    /// Notes that an address was released at `since`, in milliseconds since 1970.
    pub(crate) fn rest(&mut self, address: IpAddr, since: u64) -> Result<(), Damaged> {
        self.unrest(address)?;
        let Some(range) = self.range_of(address) else {
            return Ok(());
        };
        let newest = self.header.ranges[range].newest;
        self.table.put(Entry::Resting(Resting {
            address,
            since,
            before: newest,
            after: None,
        }))?;
        match newest {
            Some(newest) => self.link(newest, |entry| entry.after = Some(address))?,
            None => self.header.ranges[range].oldest = Some(address),
        }
        let range = &mut self.header.ranges[range];
        range.newest = Some(address);
        range.resting += 1;
        self.changed = true;
        match range.oldest.filter(|_| range.resting > REMEMBERED) {
            None => Ok(()),
            Some(oldest) => {
                range.forgotten += 1;
                self.unrest(oldest)
            }
        }
    }

    /// Takes an address off its list, if it is on one.
    pub(crate) fn unrest(&mut self, address: IpAddr) -> Result<(), Damaged> {
        let Some(entry) = self.table.resting(address)? else {
            return Ok(());
        };
        self.table.remove(&Entry::Resting(entry))?;
        let Some(range) = self.range_of(address) else {
            return Ok(());
        };
        match entry.before {
            Some(before) => self.link(before, |other| other.after = entry.after)?,
            None => self.header.ranges[range].oldest = entry.after,
        }
        match entry.after {
            Some(after) => self.link(after, |other| other.before = entry.before)?,
            None => self.header.ranges[range].newest = entry.before,
        }
        let range = &mut self.header.ranges[range];
        range.resting = range.resting.saturating_sub(1);
        self.changed = true;
        Ok(())
    }

    /// Whether an address is on the list of its range.
    pub(crate) fn is_resting(&mut self, address: IpAddr) -> Result<bool, Damaged> {
        Ok(self.table.resting(address)?.is_some())
    }

    /// The address of a range that was released first, and when.
    pub(crate) fn oldest(&mut self, range: Searched<'_>) -> Result<Option<(IpAddr, u64)>, Damaged> {
        match self.progress(range)?.oldest {
            None => Ok(None),
            Some(oldest) => {
                let entry = self.table.resting(oldest)?.ok_or(Damaged)?;
                Ok(Some((oldest, entry.since)))
            }
        }
    }

    /// Forgets the ranges that overlap `range`, and tells what was released there.
    pub(super) fn forget_overlapping(
        &mut self,
        range: Searched<'_>,
    ) -> Result<Vec<(IpAddr, u64)>, Damaged> {
        let overlaps = |known: &Progress| {
            known.contains(range.first)
                || known.contains(range.last)
                || (known.first >= range.first && known.last <= range.last)
        };
        let mut all = Vec::new();
        while let Some(index) = self.header.ranges.iter().position(overlaps) {
            all.extend(self.forget(index)?);
        }
        Ok(all)
    }

    /// Forgets a range, and tells what was released there, oldest first.
    pub(super) fn forget(&mut self, index: usize) -> Result<Vec<(IpAddr, u64)>, Damaged> {
        self.changed = true;
        let known = self.header.ranges.remove(index);
        let released = read(&mut self.table, &known);
        for (address, _) in &released {
            if let Some(entry) = self.table.resting(*address)? {
                self.table.remove(&Entry::Resting(entry))?;
            }
        }
        Ok(released)
    }

    fn range_of(&self, address: IpAddr) -> Option<usize> {
        let mut ranges = self.header.ranges.iter();
        ranges.position(|range| range.contains(address))
    }

    /// Changes an entry that must be there.
    fn link(&mut self, address: IpAddr, change: impl FnOnce(&mut Resting)) -> Result<(), Damaged> {
        let mut entry = self.table.resting(address)?.ok_or(Damaged)?;
        change(&mut entry);
        self.table.put(Entry::Resting(entry))
    }
}

/// The released addresses of a range, oldest first, as far as the list leads.
pub(super) fn read(table: &mut Table, range: &Progress) -> Vec<(IpAddr, u64)> {
    let mut released = Vec::new();
    let mut next = range.oldest;
    while let Some(address) = next.filter(|_| (released.len() as u64) < range.resting) {
        let Ok(Some(entry)) = table.resting(address) else {
            break;
        };
        released.push((address, entry.since));
        next = entry.after;
    }
    released
}
