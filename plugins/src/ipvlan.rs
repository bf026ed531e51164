//! `ipvlan`: a container that shares the hardware address of one of the host's
//! interfaces and differs by its IP addresses. For segments that allow one hardware
//! address a port, and for hosts with more containers than their network card has
//! room for addresses.

use cni::{Attachment, Request};
use kernel::{Driver, IpvlanMode, Link};
use serde::Deserialize;

use crate::container::{Announcement, Inside};
use crate::link_inside::{LinkInside, Site};
use crate::lower::Stand;
use crate::{Error, Result, check};

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKeys {
    mode: String,
}

pub(crate) struct Ipvlan {
    stand: Stand,
    mode: IpvlanMode,
}

impl LinkInside for Ipvlan {
    const NAME: &'static str = "ipvlan";

    fn read(request: &Request) -> Result<Self> {
        let raw: RawKeys = request.config.read()?;
        let mode = match raw.mode.as_str() {
            "" | "l2" => IpvlanMode::L2,
            "l3" => IpvlanMode::L3,
            "l3s" => IpvlanMode::L3S,
            other => {
                return Err(Error::BadKey {
                    key: "mode",
                    value: format!("\"{other}\""),
                    right: "\"l2\", \"l3\" or \"l3s\"".into(),
                });
            }
        };
        let mut stand = Stand::read(&request.config)?;
        if stand.master.is_none() && request.command == cni::Command::Add {
            stand.master = chained_master(request)?;
        }
        Ok(Ipvlan { stand, mode })
    }

    fn stand(&self) -> Option<&Stand> {
        Some(&self.stand)
    }

    /// After another plugin it takes over that one's addresses, unless it has an IPAM
    /// plugin of its own.
    fn inherited(&self, request: &Request) -> Result<Option<Attachment>> {
        match request.config.ipam_type() {
            Some(_) => Ok(None),
            None => {
                let before = request.config.prev_result()?;
                Ok(before.filter(|result| !result.ips.is_empty()))
            }
        }
    }

    /// Its hardware address is that of the link below, and nobody can set it. Without
    /// a segment there are no neighbours.
    fn announcement(&self) -> Announcement {
        match self.mode {
            IpvlanMode::L2 => Announcement::WhenUp,
            _ => Announcement::Never,
        }
    }

    fn create(&self, site: &mut Site<'_, '_>) -> Result<()> {
        let driver = Driver::Ipvlan { mode: self.mode };
        site.make(driver, None, self.stand.mtu)
    }

    fn check(&self, _inside: &mut Inside<'_>, link: &Link) -> Result<()> {
        let name = |mode: Option<u32>| match mode {
            Some(0) => "l2".to_owned(),
            Some(1) => "l3".to_owned(),
            Some(2) => "l3s".to_owned(),
            other => format!("{other:?}"),
        };
        let expected = name(Some(u32::from(u16::from(self.mode))));
        check::same(
            &format!("mode of {}", link.name),
            &expected,
            &name(link.variant),
        )
    }
}

/// After another plugin it stands on the one interface that is in that one's result.
fn chained_master(request: &Request) -> Result<Option<String>> {
    let Some(before) = request.config.prev_result()? else {
        return Ok(None);
    };
    match before.interfaces.as_slice() {
        [only] if cni::name::is_interface(&only.name) => Ok(Some(only.name.clone())),
        others => Err(Error::BadKey {
            key: "prevResult",
            value: format!("a result with {} interfaces", others.len()),
            right: "exactly one, with a name, to stand on; or set \"master\"".into(),
        }),
    }
}
