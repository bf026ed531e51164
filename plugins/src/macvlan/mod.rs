//! `macvlan`: a container on the segment of one of the host's interfaces, with a
//! hardware address of its own.

mod host_access;

use cni::{Attachment, Request};
use kernel::{Driver, Link, MacvlanMode, Neighbour};
use serde::Deserialize;

use crate::attachment::Identity;
use crate::container::Inside;
use crate::garbage::Stale;
use crate::link_inside::{Ends, LinkInside, Site};
use crate::lower::Stand;
use crate::{Error, Result, check};

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKeys {
    mode: String,
    bcqueuelen: u32,
    #[serde(rename = "hostAccess")]
    host_access: bool,
}

pub(crate) struct Macvlan {
    stand: Stand,
    mode: MacvlanMode,
    broadcast_queue: Option<u32>,
    host_access: bool,
}

impl Macvlan {
    /// Whether host and containers could talk, if that is asked for.
    fn examine_host_access(&self, request: &Request) -> Result<()> {
        let wrong = |right: &str| {
            Err(Error::BadKey {
                key: "hostAccess",
                value: "true".into(),
                right: right.into(),
            })
        };
        if !self.host_access {
            Ok(())
        } else if self.mode != MacvlanMode::Bridge {
            wrong("frames between host and container pass in \"mode\": \"bridge\" alone")
        } else if self.stand.in_container {
            wrong(
                "with \"linkInContainer\" the link below is not the host's; leave one of them out",
            )
        } else if request.config.ipam_type().is_none() {
            wrong("the host has routes to addresses, and without \"ipam\" there are none")
        } else {
            Ok(())
        }
    }
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
        let keys = Macvlan {
            stand: Stand::read(&request.config)?,
            mode,
            broadcast_queue: Some(raw.bcqueuelen).filter(|length| *length != 0),
            host_access: raw.host_access,
        };
        keys.examine_host_access(request)?;
        Ok(keys)
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

    fn connect_host(&self, ends: &Ends<'_>, layer3: &mut Attachment) -> Result<Vec<Neighbour>> {
        match ends.lower.filter(|_| self.host_access) {
            Some(lower) => host_access::enter(ends, lower, layer3),
            None => Ok(Vec::new()),
        }
    }

    /// Also when the network has the key no more.
    fn leave_host(request: &Request, identity: &Identity) -> Result<()> {
        host_access::leave(&request.config.name, |number| number == identity.number())
    }

    /// Also when the network has the key no more.
    fn collect(stale: &Stale) -> Result<()> {
        host_access::leave(stale.network(), |number| stale.has_number(number))
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

    fn check_host(
        &self,
        ends: &Ends<'_>,
        inside: &mut Inside<'_>,
        link: &Link,
        expected: &Attachment,
    ) -> Result<()> {
        match self.host_access {
            true => host_access::check(ends, inside.netlink(), link, expected),
            false => Ok(()),
        }
    }
}
