//! A hash table in a file: what is known of containers and of released addresses.
//!
//! The file has pages. The first, or the first few, are the index's header, each of the
//! others a bucket with a checksum. Only the pages that a call needs are read, and those
//! that it changed are written in the end, so a call costs the same whatever the
//! table holds. When a bucket overflows the table doubles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use crate::digest;
use place::family::{Family, number};

/// The size of a page in bytes.
pub(super) const PAGE: usize = 4096;

/// The size of an entry in bytes.
const ENTRY: usize = 64;

/// How many entries a bucket holds; the room of one is for its head.
const ROOM: usize = PAGE / ENTRY - 1;

/// How many leases of one owner are too many to be kept. No container has as many;
/// a script that wrote the same into a hundred lease files may have.
const MANY: usize = 16;

/// A table that stays this empty while a bucket overflows has keys that
/// collide, and doubling it does not help.
const SPARSE: u64 = 64;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The owner with this key holds an address.
    Held {
        /// The digest of the owner.
        key: u64,
        /// The address.
        address: IpAddr,
    },
    /// An address was released.
    Resting(Resting),
}

/// A released address, in the list of those of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resting {
    /// The address.
    pub(super) address: IpAddr,
    /// When it was released, in milliseconds since 1970.
    pub(super) since: u64,
    /// The one that was released before it.
    pub(super) before: Option<IpAddr>,
    /// The one that was released after it.
    pub(super) after: Option<IpAddr>,
}

/// The table is not what was written, or cannot take what should be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// A bucket in memory.
#[derive(Clone, Debug, Default)]
struct Bucket {
    entries: Vec<Entry>,
    changed: bool,
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    /// Where pages are that are not in memory; none when all are.
    file: Option<File>,
    /// The page of the first bucket.
    start: u64,
    buckets: u64,
    /// How many entries there are.
    entries: u64,
    loaded: BTreeMap<u64, Bucket>,
}

impl Table {
    /// An empty table, in memory.
    pub(super) fn new() -> Self {
        Table {
            file: None,
            start: 1,
            buckets: 1,
            entries: 0,
            loaded: BTreeMap::from([(0, Bucket::default())]),
        }
    }

    /// The table in a file whose header says so, from the page `start` on.
    pub(super) fn in_file(
        file: File,
        start: u64,
        buckets: u64,
        entries: u64,
    ) -> Result<Self, Damaged> {
        match buckets.is_power_of_two() {
            false => Err(Damaged),
            true => Ok(Table {
                file: Some(file),
                start,
                buckets,
                entries,
                loaded: BTreeMap::new(),
            }),
        }
    }

    /// How many buckets and how many entries it has.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.buckets, self.entries)
    }

    /// The file that changes can be written to; none when all must be written.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether anything was changed.
    pub(super) fn is_changed(&self) -> bool {
        self.file.is_none() || self.loaded.values().any(|bucket| bucket.changed)
    }

    /// The addresses that an owner's key leads to; none when there are too many to
    /// be kept.
    pub(super) fn held(&mut self, key: u64) -> Result<Option<Vec<IpAddr>>, Damaged> {
        let entries = self.bucket(key)?.entries.iter();
        let held = entries.filter_map(|entry| match entry {
            Entry::Held {
                key: found,
                address,
            } if *found == key => Some(*address),
            _ => None,
        });
        let held: Vec<IpAddr> = held.collect();
        Ok((held.len() < MANY).then_some(held))
    }

    /// Whether the owner of a lease has too many of them, and stays as it is.
    fn is_one_of_many(&mut self, entry: &Entry) -> Result<bool, Damaged> {
        match entry {
            Entry::Held { key, .. } => Ok(self.held(*key)?.is_none()),
            Entry::Resting(_) => Ok(false),
        }
    }

    /// What is known of a released address.
    pub(super) fn resting(&mut self, address: IpAddr) -> Result<Option<Resting>, Damaged> {
        let mut entries = self.bucket(key_of(address))?.entries.iter();
        Ok(entries.find_map(|entry| match entry {
            Entry::Resting(resting) if resting.address == address => Some(*resting),
            _ => None,
        }))
    }

    /// Puts an entry in, once; what was known of a released address is replaced.
    pub(super) fn put(&mut self, entry: Entry) -> Result<(), Damaged> {
        if self.is_one_of_many(&entry)? {
            return Ok(());
        }
        self.remove(&entry)?;
        let hash = entry.hash();
        while self.bucket(hash)?.entries.len() >= ROOM {
            self.double()?;
        }
        let bucket = self.bucket(hash)?;
        bucket.entries.push(entry);
        bucket.changed = true;
        self.entries += 1;
        Ok(())
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, entry: &Entry) -> Result<(), Damaged> {
        if self.is_one_of_many(entry)? {
            return Ok(());
        }
        let bucket = self.bucket(entry.hash())?;
        let same = |other: &Entry| match (other, entry) {
            (Entry::Resting(one), Entry::Resting(other)) => one.address == other.address,
            (one, other) => one == other,
        };
        if let Some(index) = bucket.entries.iter().position(same) {
            bucket.entries.swap_remove(index);
            bucket.changed = true;
            self.entries = self.entries.saturating_sub(1);
        }
        Ok(())
    }

    /// Has the table begin at another page; then all of it must be written.
    pub(super) fn move_to(&mut self, start: u64) -> Result<(), Damaged> {
        if self.start != start {
            self.load_all()?;
            self.start = start;
        }
        Ok(())
    }

    /// Writes the buckets that were changed to `file`.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let changed = |bucket: &Bucket| bucket.changed || self.file.is_none();
        for (number, bucket) in self.loaded.iter().filter(|(_, bucket)| changed(bucket)) {
            file.write_all_at(&encode(&bucket.entries), self.offset(*number))?;
        }
        Ok(())
    }

    /// The bucket for `hash`, read if need be.
    fn bucket(&mut self, hash: u64) -> Result<&mut Bucket, Damaged> {
        let number = hash & (self.buckets - 1);
        self.numbered(number)
    }

    fn numbered(&mut self, number: u64) -> Result<&mut Bucket, Damaged> {
        use std::collections::btree_map::Entry::{Occupied, Vacant};
        let offset = self.offset(number);
        match self.loaded.entry(number) {
            Occupied(bucket) => Ok(bucket.into_mut()),
            Vacant(place) => {
                let mut page = [0; PAGE];
                let file = self.file.as_ref().ok_or(Damaged)?;
                file.read_exact_at(&mut page, offset).map_err(|_| Damaged)?;
                let entries = decode(&page).ok_or(Damaged)?;
                Ok(place.insert(Bucket {
                    entries,
                    changed: false,
                }))
            }
        }
    }

    fn offset(&self, number: u64) -> u64 {
        (self.start + number) * PAGE as u64
    }

    /// Has all buckets in memory and none in a file.
    fn load_all(&mut self) -> Result<(), Damaged> {
        for number in 0..self.buckets {
            self.numbered(number)?;
        }
        self.file = None;
        Ok(())
    }

    /// Twice as many buckets, all in memory.
    fn double(&mut self) -> Result<(), Damaged> {
        if self.buckets > SPARSE * (self.entries / ROOM as u64 + 1) {
            return Err(Damaged);
        }
        self.load_all()?;
        let all = std::mem::take(&mut self.loaded);
        self.buckets *= 2;
        let empty = (0..self.buckets).map(|number| (number, Bucket::default()));
        self.loaded = empty.collect();
        for entry in all.into_values().flat_map(|bucket| bucket.entries) {
            let hash = entry.hash();
            self.bucket(hash)?.entries.push(entry);
        }
        Ok(())
    }
}

impl Entry {
    fn hash(&self) -> u64 {
        match self {
            Entry::Held { key, .. } => *key,
            Entry::Resting(resting) => key_of(resting.address),
        }
    }
}

fn key_of(address: IpAddr) -> u64 {
    let number = number(address);
    digest::of_words([number as u64, (number >> 64) as u64].into_iter())
}

/// A bucket as a page: a checksum of the rest, how many entries there are, then
/// the entries.
fn encode(entries: &[Entry]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[8] = entries.len().min(ROOM) as u8;
    for (entry, place) in entries.iter().zip(page[ENTRY..].chunks_exact_mut(ENTRY)) {
        encode_entry(entry, place);
    }
    let checksum = digest::of_bytes(used(&page));
    page[..8].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// What the checksum is of: how many entries there are, and those.
fn used(page: &[u8; PAGE]) -> &[u8] {
    let end = ENTRY * (1 + usize::from(page[8]));
    &page[8..end.min(PAGE)]
}

fn decode(page: &[u8; PAGE]) -> Option<Vec<Entry>> {
    if read_u64(&page[..8]) != digest::of_bytes(used(page)) {
        return None;
    }
    let entries = page[ENTRY..].chunks_exact(ENTRY);
    entries.take(page[8].into()).map(decode_entry).collect()
}

/// An entry: its kind, the families of its three addresses, a number, and the
/// addresses.
fn encode_entry(entry: &Entry, place: &mut [u8]) {
    let (kind, number, addresses) = match entry {
        Entry::Held { key, address } => (1, *key, [Some(*address), None, None]),
        Entry::Resting(r) => (2, r.since, [Some(r.address), r.before, r.after]),
    };
    place[0] = kind;
    place[8..16].copy_from_slice(&number.to_le_bytes());
    for (index, address) in addresses.into_iter().enumerate() {
        let Some(address) = address else { continue };
        place[1 + index] = if address.is_ipv4() { 4 } else { 6 };
        let from = 16 + 16 * index;
        place[from..from + 16].copy_from_slice(&self::number(address).to_le_bytes());
    }
}

fn decode_entry(place: &[u8]) -> Option<Entry> {
    let address = |index: usize| {
        let from = 16 + 16 * index;
        let number = u128::from_le_bytes(place[from..from + 16].try_into().ok()?);
        match place[1 + index] {
            4 => Some(Family::V4.address(number)),
            6 => Some(Family::V6.address(number)),
            _ => None,
        }
    };
    let number = read_u64(&place[8..16]);
    match place[0] {
        1 => Some(Entry::Held {
            key: number,
            address: address(0)?,
        }),
        2 => Some(Entry::Resting(Resting {
            address: address(0)?,
            since: number,
            before: address(1),
            after: address(2),
        })),
        _ => None,
    }
}

fn read_u64(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn held(key: u64, n: u32) -> Entry {
        Entry::Held {
            key,
            address: ip(n),
        }
    }

    fn resting(n: u32) -> Resting {
        Resting {
            address: ip(n),
            since: 7,
            before: Some("fd00::1".parse().unwrap()),
            after: None,
        }
    }

    fn reopened(table: &Table) -> Table {
        let file = tempfile::tempfile().unwrap();
        table.write(&file).unwrap();
        let (buckets, entries) = table.size();
        Table::in_file(file, table.start, buckets, entries).unwrap()
    }

    #[test]
    fn what_is_put_is_found() {
        let mut table = Table::new();
        for n in 0..5000 {
            let key = digest::of_bytes(&n.to_string().into_bytes());
            table.put(held(key, n)).unwrap();
            table.put(held(key, n)).unwrap();
            table.put(Entry::Resting(resting(n))).unwrap();
        }
        assert_eq!(table.size().1, 10_000);
        let mut table = reopened(&table);
        table.move_to(3).unwrap();
        assert!(table.is_changed());
        let mut table = reopened(&table);
        assert!(!table.is_changed());
        for n in 0..5000u32 {
            let key = digest::of_bytes(&n.to_string().into_bytes());
            assert_eq!(table.held(key).unwrap().unwrap(), [ip(n)]);
            assert_eq!(table.resting(ip(n)).unwrap(), Some(resting(n)));
            table.remove(&held(key, n)).unwrap();
            table.remove(&Entry::Resting(resting(n))).unwrap();
            assert_eq!(table.held(key).unwrap().unwrap(), [] as [IpAddr; 0]);
            assert_eq!(table.resting(ip(n)).unwrap(), None);
        }
        assert_eq!(table.size().1, 0);
    }

    #[test]
    fn only_what_is_needed_is_read() {
        let mut table = Table::new();
        (0..5000).for_each(|n| {
            table
                .put(held(digest::of_words([n.into()].into_iter()), n))
                .unwrap()
        });
        let mut table = reopened(&table);
        table.held(digest::of_words([7].into_iter())).unwrap();
        table.put(Entry::Resting(resting(7))).unwrap();
        assert!(table.loaded.len() <= 2, "{}", table.loaded.len());
    }

    #[test]
    fn damage_is_found() {
        let mut table = Table::new();
        (0..10).for_each(|n| table.put(held(n.into(), n)).unwrap());
        for at in [0, 8, 9, 100, 64 * 11 - 1] {
            let mut other = reopened(&table);
            let file = other.file.as_ref().unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, PAGE as u64 + at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], PAGE as u64 + at).unwrap();
            assert_eq!(other.held(1), Err(Damaged), "{at}");
        }
        let mut short = reopened(&table);
        short.file.as_ref().unwrap().set_len(5000).unwrap();
        assert_eq!(short.held(1), Err(Damaged));
        assert!(Table::in_file(tempfile::tempfile().unwrap(), 1, 3, 0).is_err());
        assert!(Table::in_file(tempfile::tempfile().unwrap(), 1, 0, 0).is_err());
    }

    #[test]
    fn owners_of_very_much_do_not_fill_the_table() {
        let mut table = Table::new();
        (0..1000).for_each(|n| table.put(held(5, n)).unwrap());
        (0..1000).for_each(|n| table.remove(&held(5, n)).unwrap());
        assert_eq!(table.held(5).unwrap(), None);
        assert_eq!(table.size().0, 1);
    }

    #[test]
    fn keys_that_collide_do_not_fill_the_disk() {
        let mut table = Table::new();
        let failed = (0..1000).find_map(|n| table.put(held(u64::from(n) << 32, n)).err());
        assert_eq!(failed, Some(Damaged));
        assert!(table.size().0 <= 4 * SPARSE);
    }
}
