//! `vlan`: a container in one VLAN of one of the host's interfaces. A VLAN of an
//! interface is one link, so it serves one container of a host.

use cni::Request;
use kernel::{Driver, Link};
use serde::Deserialize;

use crate::container::Inside;
use crate::link_inside::{LinkInside, Site};
use crate::lower::Stand;
use crate::{Error, Result, check};

/// The numbers that a VLAN may have; 4095 is reserved (IEEE 802.1Q), 0 is only a
/// priority.
const IDS: std::ops::RangeInclusive<i64> = 0..=4094;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKeys {
    vlan_id: i64,
}

pub(crate) struct Vlan {
    stand: Stand,
    id: u16,
}

impl LinkInside for Vlan {
    const NAME: &'static str = "vlan";

    fn read(request: &Request) -> Result<Self> {
        let raw: RawKeys = request.config.read()?;
        let id = u16::try_from(raw.vlan_id).ok();
        let id = id.filter(|_| IDS.contains(&raw.vlan_id));
        let id = id.ok_or_else(|| Error::BadKey {
            key: "vlanId",
            value: raw.vlan_id.to_string(),
            right: format!("{} to {}", IDS.start(), IDS.end()),
        })?;
        let stand = Stand::read(&request.config)?;
        if stand.master.is_none() {
            return Err(Error::BadKey {
                key: "master",
                value: "\"\"".into(),
                right: "the interface whose VLAN it is".into(),
            });
        }
        Ok(Vlan { stand, id })
    }

    fn stand(&self) -> Option<&Stand> {
        Some(&self.stand)
    }

    fn create(&self, site: &mut Site<'_, '_>) -> Result<()> {
        site.make(Driver::Vlan { id: self.id }, None, self.stand.mtu)
    }

    fn check(&self, _inside: &mut Inside<'_>, link: &Link) -> Result<()> {
        let what = format!("VLAN of {}", link.name);
        let found = link.variant.map(|id| id.to_string());
        check::same(&what, &self.id.to_string(), &found.unwrap_or_default())
    }
}
