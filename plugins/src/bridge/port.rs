//! The host's end of the cable as the bridge's port.

use cni::Interface;
use kernel::{Link, Netlink};

use super::keys::Keys;
use super::vlan;
use crate::attachment::Identity;
use crate::check::{differs, same};
use crate::{Result, cable};

/// Makes the host's end of the cable a port. The other end is down until all is set:
/// no frame passes by what is still missing.
pub(super) fn plug_in(
    host: &mut Netlink,
    keys: &Keys,
    bridge: &Link,
    identity: &Identity,
) -> Result<()> {
    cable::plug_in(host, identity, keys.port_flags())?;
    vlan::join(host, &keys.vlans, bridge, &identity.host_link)
}

/// Compares a port with what ADD made of it.
pub(super) fn check(
    host: &mut Netlink,
    keys: &Keys,
    bridge: &Link,
    port: &Link,
    told: &Interface,
) -> Result<()> {
    let name = &port.name;
    if port.controller != Some(bridge.index) {
        let what = format!("host's end {name}");
        return Err(differs(
            &what,
            &format!("a port of {}", bridge.name),
            "not one",
        ));
    }
    let switch = |on| if on { "on" } else { "off" };
    let (wanted, found) = (keys.port_flags(), port.port);
    for (flag, wanted, found) in [
        ("hairpin mode", wanted.hairpin, found.hairpin),
        ("isolation", wanted.isolated, found.isolated),
    ] {
        same(
            &format!("{flag} of port {name}"),
            switch(wanted),
            switch(found),
        )?;
    }
    if let Some(mtu) = told.mtu.or(keys.mtu()) {
        same(
            &format!("MTU of {name}"),
            &mtu.to_string(),
            &port.mtu.to_string(),
        )?;
    }
    if keys.vlans.are_used {
        same(
            &format!("VLAN filtering of {}", bridge.name),
            "on",
            switch(bridge.filters_vlans),
        )?;
        let found = host.port_vlans(port.index)?;
        let expected = keys.vlans.expected(bridge.default_vlan);
        same(
            &format!("VLANs of port {name}"),
            &vlan::shown(&expected),
            &vlan::shown(&found),
        )?;
    }
    Ok(())
}
