//! What saves a call from reading every lease: who holds what, by owner, and which
//! address of a range to give next.
//!
//! The index is a file beside the lease directories, in a folder that cannot be a
//! network's. The leases are the truth: the index is used only while it is in step
//! with their directory ([`seal`]), what it says is compared with the lease before
//! anything follows from it, and it is made anew from the leases when it is
//! missing, damaged or out of step. It is changed in memory, and written when a
//! call is done; a call that is killed leaves the seal broken.

mod header;
mod released;
mod seal;
mod table;

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub(crate) use header::Progress;
use header::{Header, RANGES};
use seal::Seal;
pub(crate) use seal::break_seal;
use table::{Entry, Table};

use crate::digest;
use crate::lease::Lease;
use crate::skips::Skips;
use place::family::{Family, number};

/// The index is not what was written.
pub(crate) use table::Damaged;

/// The part of a range set that addresses are searched in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Searched<'a> {
    /// The first address.
    pub(crate) first: IpAddr,
    /// The last address.
    pub(crate) last: IpAddr,
    /// Which of them are not given to those who ask for none.
    pub(crate) skips: &'a Skips,
}

/// The index of one lease directory.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    header: Header,
    table: Table,
    /// Whether the header is not what was read.
    changed: bool,
}

/// The key of who holds a lease.
fn key(container: &str, ifname: Option<&str>) -> u64 {
    let ifname = ifname.map_or(String::new(), |ifname| format!("\r\n{ifname}"));
    digest::of_bytes(format!("{container}{ifname}").as_bytes())
}

impl Index {
    /// The index at `path`, if it is in step with `directory`.
    pub(crate) fn open(path: &Path, directory: &Path, boot: &str) -> Option<Self> {
        let (header, table) = read(path)?;
        let in_step =
            header.whole && header.boot == boot && Seal::of(directory).ok()? == header.seal;
        in_step.then(|| Index {
            path: path.to_owned(),
            header,
            table,
            changed: false,
        })
    }

    /// Makes the index anew from all leases. The order in which addresses were
    /// released is the one thing that leases do not tell; it is taken over from
    /// what is there, as far as that can be read.
    pub(crate) fn rebuild(
        path: &Path,
        boot: &str,
        leases: &[(IpAddr, Lease)],
    ) -> Result<Self, Damaged> {
        let mut index = Index {
            path: path.to_owned(),
            header: Header::new(boot),
            table: Table::new(),
            changed: true,
        };
        for (address, lease) in leases.iter().filter(|(_, lease)| !lease.is_empty()) {
            index.hold(&lease.container, lease.ifname.as_deref(), *address)?;
        }
        if let Some((old, mut table)) = read(path) {
            let held: std::collections::BTreeSet<IpAddr> =
                leases.iter().map(|(address, _)| *address).collect();
            for range in old.ranges {
                let released = released::read(&mut table, &range);
                index.add_range(Progress::new(range.first, range.last, range.skips));
                let free = released
                    .iter()
                    .filter(|(address, _)| !held.contains(address));
                free.copied()
                    .try_for_each(|(address, since)| index.rest(address, since))?;
            }
        }
        Ok(index)
    }

    /// The addresses that an owner may hold; none when there are too many to be
    /// kept. The lease decides.
    pub(crate) fn held(
        &mut self,
        container: &str,
        ifname: Option<&str>,
    ) -> Result<Option<Vec<IpAddr>>, Damaged> {
        self.table.held(key(container, ifname))
    }

    /// Notes a lease.
    pub(crate) fn hold(
        &mut self,
        container: &str,
        ifname: Option<&str>,
        address: IpAddr,
    ) -> Result<(), Damaged> {
        let key = key(container, ifname);
        self.table.put(Entry::Held { key, address })
    }

    /// Notes that a lease is no more.
    pub(crate) fn let_go(
        &mut self,
        container: &str,
        ifname: Option<&str>,
        address: IpAddr,
    ) -> Result<(), Damaged> {
        let key = key(container, ifname);
        self.table.remove(&Entry::Held { key, address })
    }

    /// Makes the ranges of a pool known, so that what is released in them is put into
    /// their lists; each comes with the number of its set. When the configuration has
    /// changed, what overlaps them is forgotten, and addresses that were released there
    /// are put into their lists. Others are remembered while there is room without
    /// another page: they are of a configuration that may come back.
    ///
    /// `start` is the address that was given out last from a set, if that is known.
    pub(crate) fn know(
        &mut self,
        pool: &[(usize, Searched<'_>)],
        start: impl Fn(usize) -> Option<IpAddr>,
    ) -> Result<(), Damaged> {
        for (set, range) in pool {
            self.know_one(*range, || start(*set))?;
        }
        let is_of_pool = |known: &Progress| {
            let mut ranges = pool.iter().map(|(_, range)| (range.first, range.last));
            ranges.any(|range| range == (known.first, known.last))
        };
        while self.header.ranges.len() > RANGES {
            let mut known = self.header.ranges.iter();
            let Some(other) = known.position(|known| !is_of_pool(known)) else {
                break;
            };
            self.forget(other)?;
        }
        Ok(())
    }

    fn know_one(
        &mut self,
        range: Searched<'_>,
        start: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<(), Damaged> {
        let skips = range.skips.fingerprint();
        let same = |known: &Progress| {
            (known.first, known.last, known.skips) == (range.first, range.last, skips)
        };
        if let Some(known) = self.header.ranges.iter_mut().find(|known| same(known)) {
            // After the index was made anew, go on where others have stopped.
            if known.cursor.is_none() && known.left == known.size() {
                known.cursor = start().filter(|address| known.contains(*address));
                self.changed |= known.cursor.is_some();
            }
            return Ok(());
        }
        let mut released = self.forget_overlapping(range)?;
        released.sort_by_key(|(_, since)| *since);
        let mut progress = Progress::new(range.first, range.last, skips);
        progress.cursor = start().filter(|address| progress.contains(*address));
        self.add_range(progress);
        released
            .into_iter()
            .try_for_each(|(address, since)| self.rest(address, since))
    }

    /// How far the search has come in a range that is known.
    pub(crate) fn progress(&mut self, range: Searched<'_>) -> Result<&mut Progress, Damaged> {
        self.changed = true;
        let mut ranges = self.header.ranges.iter_mut();
        ranges
            .find(|known| (known.first, known.last) == (range.first, range.last))
            .ok_or(Damaged)
    }

    /// Has the search look at every address again.
    pub(crate) fn search_anew(&mut self) {
        self.changed = true;
        for range in &mut self.header.ranges {
            range.new_lap();
        }
    }

    /// Has the search go on after an address that was asked for, while nothing
    /// has been searched: so did the reference.
    pub(crate) fn follow(&mut self, address: IpAddr) {
        let mut ranges = self.header.ranges.iter_mut();
        let untouched = ranges.find(|r| r.contains(address) && r.left == r.size());
        if let Some(range) = untouched {
            range.cursor = Some(address);
            self.changed = true;
        }
    }

    /// Writes what has changed, and seals the directory if it was `touched` or was
    /// not sealed. Without a place to write to the next call makes an index of its
    /// own.
    pub(crate) fn write(&mut self, directory: &Path, touched: bool) -> io::Result<()> {
        let touched = touched || self.header.seal == Seal::default();
        if !touched && !self.changed && !self.table.is_changed() {
            return Ok(());
        }
        let moved = self.table.move_to(self.header.pages());
        moved.map_err(|Damaged| io::ErrorKind::InvalidData)?;
        (self.header.buckets, self.header.entries) = self.table.size();
        self.header.whole = false;
        let file = match self.table.file() {
            None => &self.write_all()?,
            Some(file) if self.table.is_changed() => {
                // If this is killed the seal says that the index is out of step,
                // or the header says that it is not whole.
                if !touched {
                    self.header.write(file)?;
                }
                self.table.write(file)?;
                file
            }
            Some(file) => file,
        };
        if touched {
            self.header.seal = Seal::set(directory)?;
        }
        self.header.whole = true;
        self.header.write(file)
    }

    /// Writes all of it to a new file in the place of the old one.
    fn write_all(&self) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        let new = self.path.with_extension("new");
        let open = || options.open(&new);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/")))?;
                open()?
            }
            file => file?,
        };
        let written = self
            .header
            .write(&file)
            .and_then(|()| self.table.write(&file))
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // The first error counts. What is left is overwritten one day.
            let _ = fs::remove_file(&new);
        }
        written.map(|()| file)
    }

    fn add_range(&mut self, range: Progress) {
        self.header.ranges.push(range);
        self.changed = true;
    }
}

/// Reads the index at `path`, in step or not.
fn read(path: &Path) -> Option<(Header, Table)> {
    let file = File::options().read(true).write(true).open(path).ok();
    // On a disk that is read-only nothing will have to be written.
    let file = file.or_else(|| File::open(path).ok())?;
    let header = Header::read(&file)?;
    let table = Table::in_file(file, header.pages(), header.buckets, header.entries).ok()?;
    Some((header, table))
}

impl Progress {
    /// All of a range is still to be searched.
    fn new(first: IpAddr, last: IpAddr, skips: u64) -> Self {
        let range = Progress {
            first,
            last,
            skips,
            cursor: None,
            left: 0,
            forgotten: 0,
            resting: 0,
            oldest: None,
            newest: None,
        };
        let left = range.size();
        Progress { left, ..range }
    }

    /// Whether the address is between the ends.
    fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == Family::of(self.first)
            && (number(self.first)..=number(self.last)).contains(&number(address))
    }

    /// How many addresses there are between the ends, or as many as can be counted.
    fn size(&self) -> u64 {
        let size = (number(self.last) - number(self.first)).saturating_add(1);
        u64::try_from(size).unwrap_or(u64::MAX)
    }

    /// Has the search look at every address again.
    pub(crate) fn new_lap(&mut self) {
        self.left = self.size();
        self.forgotten = 0;
    }

    /// Takes the next address of the lap, past those that are to be skipped.
    pub(crate) fn step(&mut self, skips: &Skips) -> Option<IpAddr> {
        let family = Family::of(self.first);
        let (first, last) = (number(self.first), number(self.last));
        while self.left > 0 {
            let next = match self.cursor.map(number) {
                Some(cursor) if cursor < last => cursor + 1,
                _ => first,
            };
            let end = skips.end_of(next).map(|end| end.min(last));
            let passed = end.map_or(1, |end| (end - next).saturating_add(1));
            self.left = self
                .left
                .saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
            self.cursor = Some(family.address(end.unwrap_or(next)));
            if end.is_none() {
                return self.cursor;
            }
        }
        None
    }
}
