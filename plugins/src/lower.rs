//! The link below: the one of the host's interfaces that a container's interface
//! stands on.

use cni::Config;
use kernel::{Link, Netlink, RouteEntry};
use serde::Deserialize;

use crate::container::Inside;
use crate::routes::MAIN_TABLE;
use crate::{Error, Result, check};

/// The keys that say which link is below, and how large its packets may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// The link's name; none is the one of the default route.
    pub(crate) master: Option<String>,
    /// The MTU of the container's link in bytes; none is that of the link below.
    pub(crate) mtu: Option<u32>,
    /// Whether the link below is in the container too.
    pub(crate) in_container: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStand {
    master: String,
    mtu: i64,
    link_in_container: bool,
}

impl Stand {
    pub(crate) fn read(config: &Config) -> Result<Self> {
        let raw: RawStand = config.read()?;
        if !raw.master.is_empty() && !cni::name::is_interface(&raw.master) {
            return Err(Error::BadKey {
                key: "master",
                value: format!("\"{}\"", raw.master),
                right: cni::name::INTERFACE.into(),
            });
        }
        Ok(Stand {
            master: Some(raw.master).filter(|master| !master.is_empty()),
            mtu: chosen_mtu(raw.mtu)?,
            in_container: raw.link_in_container,
        })
    }

    /// The link below, if the MTU fits it.
    pub(crate) fn find(&self, inside: &mut Inside<'_>) -> Result<Link> {
        let link = match self.in_container {
            true => self.look(inside.netlink(), "the container")?,
            false => self.look(inside.outside()?, "the host")?,
        };
        check_mtu(self.mtu, &link)?;
        Ok(link)
    }

    fn look(&self, netlink: &mut Netlink, place: &'static str) -> Result<Link> {
        find(netlink, self.master.as_deref(), place)
    }

    /// STATUS: whether the next ADD would find the link, and it carries frames. What
    /// is in a container is only known when there is one.
    pub(crate) fn is_ready(&self) -> Result<()> {
        if self.in_container {
            return Ok(());
        }
        let look = || {
            let link = self.look(&mut Netlink::open()?, "the host")?;
            check_mtu(self.mtu, &link)?;
            match link.is_up {
                true => Ok(()),
                false => Err(Error::MasterDown(link.name)),
            }
        };
        look().map_err(|error| Error::NotAvailable(Box::new(error)))
    }

    /// CHECK: whether the container's link stands on it, and has the MTU that was
    /// chosen. A default route may have moved since; that does not move the link.
    pub(crate) fn check(&self, inside: &mut Inside<'_>, link: &Link) -> Result<()> {
        let Stand { mtu, master, .. } = self;
        if let Some(mtu) = mtu.filter(|mtu| *mtu != link.mtu) {
            let what = format!("MTU of {}", link.name);
            check::same(&what, &mtu.to_string(), &link.mtu.to_string())?;
        }
        if master.is_none() {
            return Ok(());
        }
        let lower = self.find(inside)?;
        let name = |index: Option<u32>| format!("link number {}", index.unwrap_or(0));
        let what = format!("link below {}", link.name);
        check::same(&what, &name(Some(lower.index)), &name(link.lower))
    }
}

/// The link of the host's that a network's interfaces stand on; none if it is in the
/// container.
///
/// # Errors
/// [`Error::NoMaster`], [`Error::NoDefaultRoute`], [`Error::BadKey`].
pub fn master_of(config: &Config) -> Result<Option<Link>> {
    let stand = Stand::read(config)?;
    match stand.in_container {
        true => Ok(None),
        false => stand.look(&mut Netlink::open()?, "the host").map(Some),
    }
}

/// The link that `master` names, or that of the default route. `place` says in
/// messages where it was looked for.
///
/// # Errors
/// [`Error::NoMaster`], [`Error::NoDefaultRoute`].
pub(crate) fn find(
    netlink: &mut Netlink,
    master: Option<&str>,
    place: &'static str,
) -> Result<Link> {
    match master {
        Some(name) => {
            let link = netlink.link(name)?;
            link.ok_or_else(|| Error::NoMaster(name.to_owned(), place))
        }
        None => of_default_route(netlink)?.ok_or(Error::NoDefaultRoute(place)),
    }
}

/// The smallest MTU that IPv4 allows, and the largest that an IP packet has.
const MTU: std::ops::RangeInclusive<i64> = 68..=65535;

/// An MTU as a configuration has it; 0 leaves it to the kernel.
///
/// # Errors
/// [`Error::BadKey`].
pub(crate) fn chosen_mtu(mtu: i64) -> Result<Option<u32>> {
    match mtu {
        0 => Ok(None),
        mtu if MTU.contains(&mtu) => Ok(u32::try_from(mtu).ok()),
        mtu => Err(Error::BadKey {
            key: "mtu",
            value: mtu.to_string(),
            right: format!(
                "{} to {} bytes, or 0 for the default",
                MTU.start(),
                MTU.end()
            ),
        }),
    }
}

/// The link of the default route that serves; of one with several ways (two
/// uplinks) the first. IPv6's when there is none for IPv4.
fn of_default_route(netlink: &mut Netlink) -> Result<Option<Link>> {
    for ipv4 in [true, false] {
        let routes = netlink.routes(ipv4, MAIN_TABLE)?;
        let defaults = routes.iter().filter(|route| route.dst.prefix() == 0);
        let serving = defaults.min_by_key(|route| route.priority.unwrap_or(0));
        if let Some(link) = serving.and_then(first_link) {
            return Ok(netlink.link_by_index(link)?);
        }
    }
    Ok(None)
}

/// The MTU of what has no link below: that of the link by which packets leave, so
/// that what fits into the first fits through the second. None when nothing leaves.
pub(crate) fn mtu_outside(netlink: &mut Netlink) -> Result<Option<u32>> {
    let uplink = of_default_route(netlink)?;
    let mtu = uplink.map(|link| link.mtu);
    Ok(mtu.filter(|mtu| MTU.contains(&i64::from(*mtu))))
}

fn first_link(route: &RouteEntry) -> Option<u32> {
    let first = route.next_hops.first().map(|hop| hop.link);
    first.filter(|link| *link != 0)
}

/// Whether frames of a chosen MTU fit through the link below.
///
/// # Errors
/// [`Error::BadKey`] with the limits.
fn check_mtu(chosen: Option<u32>, lower: &Link) -> Result<()> {
    match chosen.filter(|mtu| *mtu > lower.mtu) {
        Some(mtu) => Err(Error::BadKey {
            key: "mtu",
            value: mtu.to_string(),
            right: format!(
                "68 to {} bytes, which is the MTU of {}, or 0 for that",
                lower.mtu, lower.name
            ),
        }),
        None => Ok(()),
    }
}
