//! The first page of the index: what it is an index of, and how far the search
//! for free addresses has come in each range.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::seal::Seal;
use super::table::PAGE;
use crate::digest;

/// What has changed when an older program's index cannot be read.
const FORMAT: u32 = 1;

/// The checksum is so many hexadecimal digits; a line feed follows.
const CHECKSUM: usize = 16;

/// How many ranges are remembered; a page holds more.
pub(super) const RANGES: usize = 10;

/// The first page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Reads the first page; none when it is not what was written.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut page = [0; PAGE];
        let length = file.read_at(&mut page, 0).ok()?;
        let (checksum, rest) = page[..length].split_at_checked(CHECKSUM)?;
        let expected = u64::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
        // What an earlier and longer header has left behind it does not count.
        let json = rest[1..].split(|byte| *byte == b'\n').next()?;
        if digest::of_bytes(json) != expected {
            return None;
        }
        let header: Header = serde_json::from_slice(json).ok()?;
        (header.format == FORMAT).then_some(header)
    }

    /// Writes the first page, as text: people look at it when they wonder.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        let page = format!("{:016x}\n{json}\n", digest::of_bytes(json.as_bytes()));
        match page.len() > PAGE {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => file.write_all_at(page.as_bytes(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> IpAddr {
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()
    }

    fn largest() -> Header {
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
            ranges: vec![range; RANGES],
            ..Header::new(&"b".repeat(36))
        }
    }

    #[test]
    fn the_largest_fits_into_the_page() {
        let file = tempfile::tempfile().unwrap();
        largest().write(&file).unwrap();
        assert!(file.metadata().unwrap().len() <= PAGE as u64);
        assert_eq!(Header::read(&file), Some(largest()));
        Header::new("b").write(&file).unwrap();
        assert_eq!(Header::read(&file), Some(Header::new("b")));
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
    }
}
