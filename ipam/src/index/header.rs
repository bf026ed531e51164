//! The first page of the index: what it is an index of, and how far the search
//! for free addresses has come in each range. Where there are many ranges it goes on
//! over the next pages.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::str::{FromStr, Split};

use super::seal::Seal;
use super::table::PAGE;
use crate::digest;

/// What has changed when an older program's index cannot be read.
const FORMAT: u32 = 2;

/// The longest first line: 16 digits of a checksum, and some that say how much it is of.
const HEAD: usize = 16 + 1 + 20 + 1;

/// How many ranges the first page has room for, whatever their addresses.
pub(super) const RANGES: usize = 10;

/// How many each of the next has.
const MORE_RANGES: usize = 13;

/// The first page, and those that its ranges need besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    format: u32,
    /// False while the rest of the file is being written.
    pub(super) whole: bool,
    /// The lease directory that it is the index of.
    pub(super) seal: Seal,
    /// The boot in which it was written. What a crash of the machine leaves of a
    /// file is anybody's guess.
    pub(super) boot: String,
    /// The size of the table.
    pub(super) buckets: u64,
    /// How many entries the table has.
    pub(super) entries: u64,
    /// The ranges that addresses have been given from; they do not overlap.
    pub(super) ranges: Vec<Progress>,
}

/// How far the search for free addresses has come in a range.
///
/// An address that nobody holds is in the list of released ones, or among the
/// `left` ones after `cursor`, or it was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The first address of the range.
    pub(crate) first: IpAddr,
    /// The last address of the range.
    pub(crate) last: IpAddr,
    /// The fingerprint of what is not given out.
    pub(crate) skips: u64,
    /// The address that was looked at last.
    pub(crate) cursor: Option<IpAddr>,
    /// How many addresses are still to be looked at in this lap.
    pub(crate) left: u64,
    /// How many free addresses are neither ahead nor in the list.
    pub(crate) forgotten: u64,
    /// How many addresses are in the list of released ones.
    pub(super) resting: u64,
    /// The one that was released first.
    pub(super) oldest: Option<IpAddr>,
    /// The one that was released last.
    pub(super) newest: Option<IpAddr>,
}

impl Header {
    /// The header of an empty index.
    pub(super) fn new(boot: &str) -> Self {
        Header {
            format: FORMAT,
            boot: boot.to_owned(),
            ..Header::default()
        }
    }

    /// How many pages it takes. That follows from the number of ranges alone, so that
    /// what comes after it stays where it is.
    pub(super) fn pages(&self) -> u64 {
        let more = self.ranges.len().saturating_sub(RANGES);
        1 + more.div_ceil(MORE_RANGES) as u64
    }

    /// Reads it; none when it is not what was written.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut page = [0; PAGE];
        let length = file.read_at(&mut page, 0).ok()?;
        let page = page.get(..length)?;
        let head = page.iter().take(HEAD).position(|byte| *byte == b'\n')?;
        let (checksum, size) = std::str::from_utf8(&page[..head]).ok()?.split_once(' ')?;
        let size = size.parse().ok()?;
        let rest = &page[head + 1..];
        // What an earlier and longer header has left behind it does not count.
        let text = match rest.get(..size) {
            Some(text) => text,
            None => &read_on(file, rest, size)?,
        };
        match u64::from_str_radix(checksum, 16).ok()? == digest::of_bytes(text) {
            true => Header::parse(std::str::from_utf8(text).ok()?),
            false => None,
        }
    }

    /// Writes it, as text: people look at it when they wonder.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let text = self.to_string();
        let checksum = digest::of_bytes(text.as_bytes());
        let written = format!("{checksum:016x} {:04}\n{text}", text.len());
        match written.len() as u64 > self.pages() * PAGE as u64 {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => file.write_all_at(written.as_bytes(), 0),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let format = next(&mut words)?;
        let header = Header {
            format: (format == FORMAT).then_some(format)?,
            whole: next(&mut words)?,
            seal: Seal {
                device: next(&mut words)?,
                inode: next(&mut words)?,
                seconds: next(&mut words)?,
                nanoseconds: next(&mut words)?,
            },
            buckets: next(&mut words)?,
            entries: next(&mut words)?,
            boot: words.next()?.to_owned(),
            ranges: lines.map(Progress::parse).collect::<Option<_>>()?,
        };
        Some(header)
    }
}

/// A line of the words of [`Header::parse`], in its order, and one for each range.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seal {
            device,
            inode,
            seconds,
            nanoseconds,
        } = self.seal;
        let (format, whole) = (self.format, self.whole);
        let (buckets, entries, boot) = (self.buckets, self.entries, &self.boot);
        write!(
            f,
            "{format} {whole} {device} {inode} {seconds} {nanoseconds} "
        )?;
        writeln!(f, "{buckets} {entries} {boot}")?;
        self.ranges
            .iter()
            .try_for_each(|range| writeln!(f, "{range}"))
    }
}

/// The text that goes on behind the first page, which ends with `begin`.
fn read_on(file: &File, begin: &[u8], size: usize) -> Option<Vec<u8>> {
    // A length that is garbage must not be taken for one.
    let written = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut text = begin.to_vec();
    text.resize((size <= written).then_some(size)?, 0);
    let rest = text.get_mut(begin.len()..)?;
    file.read_exact_at(rest, PAGE as u64).ok()?;
    Some(text)
}

impl Progress {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Progress {
            first: next(&mut words)?,
            last: next(&mut words)?,
            skips: next(&mut words)?,
            left: next(&mut words)?,
            forgotten: next(&mut words)?,
            resting: next(&mut words)?,
            cursor: next_address(&mut words)?,
            oldest: next_address(&mut words)?,
            newest: next_address(&mut words)?,
        })
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last, skips) = (self.first, self.last, self.skips);
        let (left, forgotten, resting) = (self.left, self.forgotten, self.resting);
        write!(f, "{first} {last} {skips} {left} {forgotten} {resting}")?;
        [self.cursor, self.oldest, self.newest]
            .iter()
            .try_for_each(|address| match address {
                Some(address) => write!(f, " {address}"),
                None => f.write_str(" -"),
            })
    }
}

fn next<T: FromStr>(words: &mut Split<'_, char>) -> Option<T> {
    words.next()?.parse().ok()
}

/// An address, or `-` for none.
fn next_address(words: &mut Split<'_, char>) -> Option<Option<IpAddr>> {
    match words.next()? {
        "-" => Some(None),
        word => word.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> IpAddr {
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()
    }

    fn largest(ranges: usize) -> Header {
        let range = Progress {
            first: longest(),
            last: longest(),
            skips: u64::MAX,
            cursor: Some(longest()),
            left: u64::MAX,
            forgotten: u64::MAX,
            resting: u64::MAX,
            oldest: Some(longest()),
            newest: Some(longest()),
        };
        Header {
            seal: Seal {
                device: u64::MAX,
                inode: u64::MAX,
                seconds: i64::MIN,
                nanoseconds: i64::MIN,
            },
            buckets: u64::MAX,
            entries: u64::MAX,
            ranges: vec![range; ranges],
            ..Header::new(&"b".repeat(36))
        }
    }

    #[test]
    fn the_largest_fits_into_its_pages() {
        for (ranges, pages) in [
            (0, 1),
            (10, 1),
            (11, 2),
            (23, 2),
            (24, 3),
            (60, 5),
            (1000, 78),
        ] {
            let file = tempfile::tempfile().unwrap();
            let largest = largest(ranges);
            assert_eq!(largest.pages(), pages, "{ranges}");
            largest.write(&file).unwrap();
            assert!(
                file.metadata().unwrap().len() <= pages * PAGE as u64,
                "{ranges}"
            );
            assert_eq!(Header::read(&file), Some(largest), "{ranges}");
            Header::new("b").write(&file).unwrap();
            assert_eq!(Header::read(&file), Some(Header::new("b")));
        }
    }

    #[test]
    fn damage_is_found() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Header::read(&file), None);
        Header::new("b").write(&file).unwrap();
        file.write_all_at(b"9", 30).unwrap();
        assert_eq!(Header::read(&file), None);
        let other = Header {
            format: FORMAT + 1,
            ..Header::new("b")
        };
        other.write(&file).unwrap();
        assert_eq!(Header::read(&file), None);
        for at in [5, 100, PAGE as u64 - 1, PAGE as u64, PAGE as u64 + 5000] {
            largest(60).write(&file).unwrap();
            file.write_all_at(b"x", at).unwrap();
            assert_eq!(Header::read(&file), None, "{at}");
        }
        largest(60).write(&file).unwrap();
        file.set_len(PAGE as u64 + 5000).unwrap();
        assert_eq!(Header::read(&file), None);
        let garbage = format!("{:016x} {}\n", 0, u64::MAX);
        file.write_all_at(garbage.as_bytes(), 0).unwrap();
        assert_eq!(Header::read(&file), None);
    }
}
