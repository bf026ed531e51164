//! Hardware addresses.

use std::fmt::{self, Write};
use std::str::FromStr;

/// An Ethernet hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Makes six bytes an address that any interface may have: locally
    /// administered (bit 1 of the first byte), not a group's (bit 0).
    pub fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfe) | 0x02;
        Mac(bytes)
    }

    /// Whether it can be an interface's own: neither a group's nor all zeros.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each ADD writes it four times, and formatting six numbers is dear.
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
        self.0.iter().enumerate().try_for_each(|(index, byte)| {
            if index > 0 {
                f.write_char(':')?;
            }
            f.write_char(digit(byte >> 4))?;
            f.write_char(digit(byte & 0xf))
        })
    }
}

/// The text is not six bytes in hexadecimal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address such as 0a:58:0a:32:0b:02")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    /// Bytes separated by `:` or `-`, or pairs of bytes by `.`, as the reference has it.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let separator = [':', '-', '.']
            .into_iter()
            .find(|sign| text.contains(*sign));
        let separator = separator.ok_or(NotAMac)?;
        let width = if separator == '.' { 4 } else { 2 };
        let parts: Vec<_> = text.split(separator).collect();
        let digits = parts.concat();
        let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if parts.iter().any(|part| part.len() != width) || digits.len() != 12 || !is_hexadecimal {
            return Err(NotAMac);
        }
        let mut bytes = [0; 6];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = digits.get(2 * index..2 * index + 2).ok_or(NotAMac)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAMac)?;
        }
        Ok(Mac(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let mac: Mac = "0A-58-0a-32-0b-02".parse().unwrap();
        assert_eq!(mac.to_string(), "0a:58:0a:32:0b:02");
        assert_eq!("0a58.0A32.0b02".parse(), Ok(mac));
        for bad in [
            "",
            "0a580a320b02",
            "0a58.0a32",
            "0a:580a.32:0b02",
            "+a:58:0a:32:0b:02",
            "ä:58:0a:32:0b:02",
            "0a:58",
            "0a:58:0a:32:0b:02:03",
            "+a:58:0a:32:0b:0",
            "zz:58:0a:32:0b:02",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(NotAMac), "{bad}");
        }
    }

    #[test]
    fn local_addresses_are_unicast() {
        assert_eq!(Mac::local([0xff; 6]).0[0], 0xfe);
        assert!(Mac::local([0xff; 6]).is_unicast());
        assert!(!Mac([1, 0, 0, 0, 0, 0]).is_unicast());
    }
}
