//! `macvlan`: a container on the segment of one of the host's interfaces, with a
//! hardware address of its own.

use cni::Request;
use kernel::{Driver, Link, MacvlanMode};
use serde::Deserialize;

use crate::container::Inside;
use crate::link_inside::{LinkInside, Site};
use crate::lower::Stand;
use crate::{Error, Result, check};

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKeys {
    mode: String,
    bcqueuelen: u32,
}

pub(crate) struct Macvlan {
    stand: Stand,
    mode: MacvlanMode,
    broadcast_queue: Option<u32>,
}

impl LinkInside for Macvlan {
    const NAME: &'static str = "macvlan";
    const NEEDS_ADDRESSES: bool = false;

    fn read(request: &Request) -> Result<Self> {
        let raw: RawKeys = request.config.read()?;
        let mode = match raw.mode.as_str() {
            "" | "bridge" => MacvlanMode::Bridge,
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "passthru" => MacvlanMode::Passthrough,
            other => {
                return Err(Error::BadKey {
                    key: "mode",
                    value: format!("\"{other}\""),
                    right: "\"bridge\", \"private\", \"vepa\" or \"passthru\"".into(),
                });
            }
        };
        Ok(Macvlan {
            stand: Stand::read(&request.config)?,
            mode,
            broadcast_queue: Some(raw.bcqueuelen).filter(|length| *length != 0),
        })
    }

    fn stand(&self) -> Option<&Stand> {
        Some(&self.stand)
    }

    fn create(&self, site: &mut Site<'_, '_>) -> Result<()> {
        let driver = Driver::Macvlan {
            mode: self.mode,
            broadcast_queue: self.broadcast_queue,
        };
        // In passthru mode the kernel gives it the address of the link below.
        let mac = (self.mode != MacvlanMode::Passthrough).then_some(site.mac);
        site.make(driver, mac, self.stand.mtu)
    }

    fn check(&self, _inside: &mut Inside<'_>, link: &Link) -> Result<()> {
        let name = |mode: Option<u32>| format!("{:?}", mode.map(MacvlanMode::from));
        let expected = name(Some(u32::from(self.mode)));
        check::same(
            &format!("mode of {}", link.name),
            &expected,
            &name(link.variant),
        )
    }
}
