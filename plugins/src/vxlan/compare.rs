//! CHECK and STATUS of a network's devices.

use std::net::IpAddr;

use kernel::{Link, Netlink, Tunnel, nft};

use super::blueprint::Blueprint;
use super::changes::{Changes, Far};
use super::fault::Fault;
use super::keys::Mode;
use super::names;
use crate::Result;
use crate::check::{differs, same};

/// Compares the devices and what they know with what they should be.
///
/// # Errors
/// [`crate::Error::Differs`].
pub(super) fn network(bridge: &Link, blueprint: &Blueprint) -> Result<()> {
    let mut far = devices(bridge, blueprint)?;
    if !blueprint.desired.is_ours() {
        return Ok(());
    }
    let entries = Changes::of(&mut far, &blueprint.desired)?;
    match entries.summary() {
        None => Ok(()),
        Some(summary) => Err(differs(
            &format!("entries of {}", far.device.name),
            "those of the inventory",
            &format!("{summary}; \"slash24 vxlan sync\" sets them right"),
        )),
    }
}

/// Compares the devices, and returns the one that leads to the other hosts.
///
/// # Errors
/// [`crate::Error::Differs`].
pub(super) fn devices(bridge: &Link, blueprint: &Blueprint) -> Result<Far> {
    let wanted = &blueprint.tunnel;
    let name = names::device(wanted.vni);
    let far = Far::find(wanted.vni, blueprint.mode)?;
    let far = far.ok_or_else(|| differs(&name, "a VXLAN device", "none"))?;
    let device = &far.device;
    let tunnel = device.tunnel.clone().unwrap_or_default();
    let address = |address: Option<IpAddr>| address.map_or("none".into(), |ip| ip.to_string());
    let number = |number: u32| number.to_string();
    let state = |link: &Link| if link.is_up { "up" } else { "down" }.to_owned();
    for (what, wanted, found) in [
        ("VNI", number(wanted.vni), number(tunnel.vni)),
        (
            "UDP port",
            number(wanted.port.into()),
            number(tunnel.port.into()),
        ),
        (
            "local address",
            address(wanted.local),
            address(tunnel.local),
        ),
        ("group", address(wanted.group), address(tunnel.group)),
        ("MTU", number(blueprint.mtu), number(device.mtu)),
        ("state", "up".into(), state(device)),
    ] {
        same(&format!("{what} of {name}"), &wanted, &found)?;
    }
    same(&format!("state of {}", bridge.name), "up", &state(bridge))?;
    if blueprint.mode == Mode::L2 && device.controller != Some(bridge.index) {
        let expected = format!("a port of {}", bridge.name);
        return Err(differs(&name, &expected, "not one"));
    }
    if !nft::is_guarded_link(&bridge.name)? {
        let what = format!("filter of {}", bridge.name);
        return Err(differs(
            &what,
            "one that keeps tenants from the host",
            "none",
        ));
    }
    Ok(far)
}

/// Whether the devices could be made.
///
/// # Errors
/// [`Fault::VniInUse`].
pub(super) fn could_be_built(host: &mut Netlink, blueprint: &Blueprint) -> Result<()> {
    let (vni, port) = (blueprint.tunnel.vni, blueprint.tunnel.port);
    let links = host.links()?;
    let is_ours = |link: &&Link| link.name == names::device(vni);
    let same = |tunnel: &Tunnel| tunnel.vni == vni && tunnel.port == port;
    let mut others = links.iter().filter(|link| !is_ours(link));
    match others.any(|link| link.tunnel.as_ref().is_some_and(same)) {
        true => Err(Fault::VniInUse { vni, port }.into()),
        false => Ok(()),
    }
}
