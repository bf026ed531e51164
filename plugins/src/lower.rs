//! The link below: the one of the host's interfaces that a container's interface
//! stands on.

use kernel::{Link, Netlink, RouteEntry};

use crate::routes::MAIN_TABLE;
use crate::{Error, Result};

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

/// The link of the default route that serves; of one with several ways (two
/// uplinks) the first. IPv6's when there is none for IPv4.
pub(crate) fn of_default_route(netlink: &mut Netlink) -> Result<Option<Link>> {
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

fn first_link(route: &RouteEntry) -> Option<u32> {
    let first = route.next_hops.first().map(|hop| hop.link);
    first.filter(|link| *link != 0)
}

/// Whether frames of a chosen MTU fit through the link below.
///
/// # Errors
/// [`Error::BadKey`] with the limits.
pub(crate) fn check_mtu(chosen: Option<u32>, lower: &Link) -> Result<()> {
    match chosen.filter(|mtu| *mtu > lower.mtu || *mtu < 68) {
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
