//! The underlay: the host's own tunnel end point, and how much fits through.

use std::net::IpAddr;

use kernel::{Link, Netlink};
use place::{AddressTemplate, Here};

use super::fault::Fault;
use super::keys::Keys;
use crate::{Result, lower};

/// What a tunnel adds to a packet: an inner Ethernet header (14), VXLAN (8), UDP
/// (8) and IPv4 (20) or IPv6 (40); RFC 7348.
const OVER_IPV4: u32 = 50;
const OVER_IPV6: u32 = 70;

/// This host's end of the tunnels.
#[derive(Clone, Debug)]
pub(super) struct Underlay {
    /// Its address.
    pub(super) address: IpAddr,
    /// The link that packets leave by, or one of them.
    pub(super) link: Link,
}

impl Underlay {
    /// Finds it, by what `underlay` says.
    ///
    /// # Errors
    /// There is no such link or address on this host, or the link is down.
    pub(super) fn find(host: &mut Netlink, keys: &Keys) -> Result<Self> {
        let Some(text) = keys.underlay.as_deref() else {
            let link = lower::find(host, None, "this host")?;
            return Underlay::of_link(host, link);
        };
        let template = AddressTemplate::parse(text);
        let template = match template {
            Err(place::Error::NotAddress(_)) => {
                let link = host.link(text)?;
                let link = link.ok_or_else(|| Fault::NoUnderlay(text.to_owned()))?;
                return Underlay::of_link(host, link);
            }
            parsed => parsed.map_err(of_place)?,
        };
        let address = template
            .at(&Here::new(keys.location.clone()))
            .map_err(of_place)?;
        Underlay::of_address(host, address, text)
    }

    fn of_link(host: &mut Netlink, link: Link) -> Result<Self> {
        let addresses = host.addresses(link.index)?;
        let mut own = addresses
            .iter()
            .filter(|address| !address.is_link_local())
            .map(|address| address.net.ip());
        let address = own.clone().find(IpAddr::is_ipv4).or_else(|| own.next());
        let address = address.ok_or_else(|| Fault::NoAddress(link.name.clone()))?;
        Underlay { address, link }.that_is_up()
    }

    fn of_address(host: &mut Netlink, address: IpAddr, text: &str) -> Result<Self> {
        let all = host.all_addresses()?;
        let found = all.iter().find(|found| found.net.ip() == address);
        let not_own = || Fault::NotOwn {
            address,
            written: match text == address.to_string() {
                true => String::new(),
                false => text.to_owned(),
            },
        };
        let index = found.ok_or_else(not_own)?.link;
        let link = host.link_by_index(index)?.ok_or_else(not_own)?;
        // An address of its own, on the loopback, is reached by any way there is.
        let link = match link.name.as_str() {
            "lo" => lower::find(host, None, "this host")?,
            _ => link,
        };
        Underlay { address, link }.that_is_up()
    }

    fn that_is_up(self) -> Result<Self> {
        match self.link.is_up {
            true => Ok(self),
            false => Err(Fault::Down(self.link.name).into()),
        }
    }

    /// The MTU of the overlay: what fits, or what was chosen if it fits.
    ///
    /// # Errors
    /// [`Fault::Mtu`].
    pub(super) fn mtu(&self, chosen: Option<u32>) -> Result<u32> {
        let overhead = match self.address {
            IpAddr::V4(_) => OVER_IPV4,
            IpAddr::V6(_) => OVER_IPV6,
        };
        let limit = self.link.mtu.saturating_sub(overhead);
        match chosen {
            Some(mtu) if mtu > limit => Err(Fault::Mtu { mtu, limit }.into()),
            chosen => Ok(chosen.unwrap_or(limit)),
        }
    }
}

fn of_place(cause: place::Error) -> Fault {
    Fault::Place {
        key: "underlay",
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnels_headers_must_fit() {
        let through = |address: &str, mtu| Underlay {
            address: address.parse().unwrap(),
            link: Link {
                mtu,
                ..Link::default()
            },
        };
        let v4 = through("192.0.2.1", 1500);
        assert_eq!(v4.mtu(None).unwrap(), 1450);
        assert_eq!(v4.mtu(Some(1450)).unwrap(), 1450);
        assert_eq!(through("2001:db8::1", 9000).mtu(None).unwrap(), 8930);
        let error = v4.mtu(Some(1451)).unwrap_err().to_string();
        assert!(
            error.contains("\"mtu\": 1451") && error.contains("1450"),
            "{error}"
        );
    }
}
