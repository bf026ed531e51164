//! Addresses as numbers, so that ranges are arithmetic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::Error;

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// How many bits its addresses have.
    pub fn bits(self) -> u32 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The address that `number` is; bits that the family does not have are cut.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::from_bits((number & u128::from(u32::MAX)) as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(number).into(),
        }
    }

    /// The number of the last address: all bits set.
    pub fn last(self) -> u128 {
        match self {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        }
    }

    /// The bits of an address that a prefix of `length` bits leaves to hosts.
    pub fn host_bits(self, length: u8) -> u128 {
        let width = self.bits() - u32::from(length).min(self.bits());
        match width {
            128 => u128::MAX,
            width => (1 << width) - 1,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// The number that `address` is.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// `address` with the length of its subnet's prefix.
///
/// # Errors
/// [`Error::NotSubnet`] when the family has fewer bits.
pub fn with_prefix(address: IpAddr, prefix: u8) -> Result<IpNetwork, Error> {
    IpNetwork::new(address, prefix).map_err(|_| Error::NotSubnet(format!("{address}/{prefix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses() {
        for text in [
            "0.0.0.0",
            "10.50.11.1",
            "255.255.255.255",
            "::",
            "fd00::1",
            "ffff::",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Family::of(address).address(number(address)), address);
        }
        assert_eq!(Family::V4.host_bits(24), 255);
        assert_eq!(Family::V4.host_bits(32), 0);
        assert_eq!(Family::V4.host_bits(0), Family::V4.last());
        assert_eq!(Family::V6.host_bits(0), Family::V6.last());
        assert_eq!(Family::V6.host_bits(64), u128::from(u64::MAX));
    }
}
