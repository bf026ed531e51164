//! The devices of a network on this host: a bridge that the containers are ports
//! of, and the VXLAN device that leads to the other hosts. Whoever comes first makes
//! them, whoever goes last removes them, under the [lock](super::lock).
//!
//! The mark on the bridge is written last. A bridge without it was left by a process
//! that was killed, and is made anew.

use std::net::IpAddr;

use cni::Config;
use kernel::{Errno, Link, Netlink, Tunnel, Vxlan, sysctl};

use super::desired::{Changes, Desired};
use super::fault::Fault;
use super::keys::Keys;
use super::lock::Lock;
use super::names;
use super::overlay::Overlay;
use super::peers::Source;
use super::underlay::Underlay;
use crate::Result;
use crate::check::{self, differs};
use crate::undo::Undo;

/// A network's bridge that stays for as long as this is held.
pub(super) struct Entered {
    pub(super) bridge: Link,
    _lock: Lock,
}

/// What the network is to be on this host.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) underlay: Underlay,
    pub(super) mtu: u32,
    pub(super) tunnel: Tunnel,
    pub(super) desired: Desired,
}

impl Blueprint {
    /// Draws it, without changing anything.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, the inventory or the underlay.
    pub(super) fn draw(host: &mut Netlink, config: &Config, keys: &Keys) -> Result<Self> {
        let underlay = Underlay::find(host, keys)?;
        let mtu = underlay.mtu(keys.mtu)?;
        let own = underlay.address;
        let peers = keys.peers.others(keys.underlay.as_deref(), own)?;
        let overlay = Overlay::read(config)?;
        let desired = Desired::of_segment(&keys.peers, peers.as_deref(), &overlay)?;
        let group = match keys.peers {
            Source::Group(group) if group.is_ipv4() != own.is_ipv4() => {
                return Err(Fault::PeerFamily { peer: group, own }.into());
            }
            Source::Group(group) => Some(group),
            _ => None,
        };
        let tunnel = Tunnel {
            vni: keys.vni,
            local: Some(own),
            group,
            link: group.map(|_| underlay.link.index),
            port: keys.port,
            ttl: keys.ttl,
            tos: keys.tos,
            checksum: keys.checksum,
            source_ports: keys.source_ports,
            learning: desired.knowledge.learns(),
        };
        Ok(Blueprint {
            underlay,
            mtu,
            tunnel,
            desired,
        })
    }
}

/// Makes sure that the network's devices are there, and that they stay.
pub(super) fn enter<'a>(
    host: &mut Netlink,
    config: &'a Config,
    keys: &'a Keys,
    undo: &mut Undo<'a>,
) -> Result<Entered> {
    let lock = Lock::shared(keys.vni)?;
    if let Some(bridge) = find(host, &config.name, keys.vni)? {
        return Ok(Entered {
            bridge,
            _lock: lock,
        });
    }
    lock.make_alone()?;
    let bridge = match find(host, &config.name, keys.vni)? {
        Some(bridge) => bridge,
        None => {
            let blueprint = Blueprint::draw(host, config, keys)?;
            let bridge = build(host, &config.name, &blueprint)?;
            undo.push(|| leave(keys.vni, &config.name));
            bridge
        }
    };
    lock.share()?;
    Ok(Entered {
        bridge,
        _lock: lock,
    })
}

/// The network's bridge, if it is there and complete.
///
/// # Errors
/// [`Fault::VniTaken`] when the name is another's.
pub(super) fn find(host: &mut Netlink, network: &str, vni: u32) -> Result<Option<Link>> {
    let Some(link) = host.link(&names::bridge(vni))? else {
        return Ok(None);
    };
    if link.kind == "bridge" && link.alias == names::mark(network) {
        return Ok(Some(link));
    }
    let is_leftover = link.kind == "bridge" && link.alias.is_empty();
    match is_leftover && has_no_containers(host, &link, vni)? {
        true => Ok(None),
        false => Err(taken(vni, &link)),
    }
}

fn taken(vni: u32, link: &Link) -> crate::Error {
    let owner = match link.alias.strip_prefix(&names::mark("")) {
        Some(network) => format!("network \"{network}\""),
        None => format!("link {}, which is not of this network", link.name),
    };
    Fault::VniTaken { vni, owner }.into()
}

/// Whether nothing but the network's own devices is on a bridge.
fn has_no_containers(host: &mut Netlink, bridge: &Link, vni: u32) -> Result<bool> {
    let own = names::device(vni);
    let ports = host.ports(bridge.index)?;
    Ok(ports.iter().all(|port| port.name == own))
}

/// Makes the devices, over what an earlier try has left.
fn build(host: &mut Netlink, network: &str, blueprint: &Blueprint) -> Result<Link> {
    let vni = blueprint.tunnel.vni;
    clear(host, vni)?;
    let built = try_to_build(host, network, blueprint);
    if built.is_err() {
        // What went wrong matters more than what goes wrong now.
        let _ = clear(host, vni);
    }
    built
}

fn try_to_build(host: &mut Netlink, network: &str, blueprint: &Blueprint) -> Result<Link> {
    let vni = blueprint.tunnel.vni;
    let (device, bridge) = (names::device(vni), names::bridge(vni));
    let local = blueprint.underlay.address;
    let create = kernel::create_vxlan(&Vxlan {
        name: &device,
        mac: names::tunnel_mac(local),
        mtu: blueprint.mtu,
        tunnel: &blueprint.tunnel,
        container: None,
    });
    match host.apply(&[create]) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            let port = blueprint.tunnel.port;
            return Err(Fault::VniInUse { vni, port }.into());
        }
        created => created?,
    }
    let mac = names::bridge_mac(vni, local);
    host.apply(&[
        kernel::create_bridge(&bridge, mac, Some(blueprint.mtu), false),
        kernel::generate_no_addresses(&bridge),
        kernel::generate_no_addresses(&device),
    ])?;
    seal(&bridge)?;
    let bridge = expect(host, &bridge)?;
    let device = expect(host, &device)?;
    host.apply(&[
        kernel::attach_port(&kernel::BridgePort {
            name: &device.name,
            bridge: bridge.index,
            alias: &names::mark(network),
        }),
        kernel::set_port_role(device.index, blueprint.desired.knowledge.role()),
    ])?;
    let all = Changes::from_nothing(&blueprint.desired);
    host.apply_in_parts(&all.operations(bridge.index, device.index))?;
    host.apply(&[kernel::set_up_as(bridge.index, &names::mark(network))])?;
    Ok(bridge)
}

fn expect(host: &mut Netlink, name: &str) -> Result<Link> {
    let found = host.link(name)?;
    found.ok_or_else(|| kernel::Error::Garbled(format!("create {name}")).into())
}

/// Keeps the tenants' packets out of the host: its bridge is a switch and nothing
/// else. An interface without an address and with a reverse path filter, of either
/// kind, takes in no IPv4 packet and answers no question.
fn seal(bridge: &str) -> Result<()> {
    let v4 = sysctl::Group::open(format!("net/ipv4/conf/{bridge}"));
    v4.set("rp_filter", "1")?;
    v4.set("arp_ignore", "8")?;
    let v6 = sysctl::Group::open(format!("net/ipv6/conf/{bridge}"));
    v6.set("disable_ipv6", "1")?;
    Ok(())
}

/// Compares the devices and what they know with what they should be.
///
/// # Errors
/// [`crate::Error::Differs`].
pub(super) fn compare(host: &mut Netlink, bridge: &Link, blueprint: &Blueprint) -> Result<()> {
    let device = compare_devices(host, bridge, blueprint)?;
    if !blueprint.desired.is_ours() {
        return Ok(());
    }
    let entries = Changes::of(host, bridge, &device, &blueprint.desired)?;
    match entries.summary() {
        None => Ok(()),
        Some(summary) => Err(differs(
            &format!("entries of {}", device.name),
            "those of the inventory",
            &format!("{summary}; \"slash24 vxlan sync\" sets them right"),
        )),
    }
}

/// Compares the devices, and returns the one that leads to the other hosts.
///
/// # Errors
/// [`crate::Error::Differs`].
pub(super) fn compare_devices(
    host: &mut Netlink,
    bridge: &Link,
    blueprint: &Blueprint,
) -> Result<Link> {
    let wanted = &blueprint.tunnel;
    let name = names::device(wanted.vni);
    let device = host.link(&name)?.filter(|link| link.kind == "vxlan");
    let device = device.ok_or_else(|| differs(&name, "a VXLAN device", "none"))?;
    let tunnel = device.tunnel.clone().unwrap_or_default();
    let address = |address: Option<IpAddr>| address.map_or("none".into(), |ip| ip.to_string());
    let attribute = |what: &str| format!("{what} of {name}");
    check::same(
        &attribute("VNI"),
        &wanted.vni.to_string(),
        &tunnel.vni.to_string(),
    )?;
    check::same(
        &attribute("UDP port"),
        &wanted.port.to_string(),
        &tunnel.port.to_string(),
    )?;
    check::same(
        &attribute("local address"),
        &address(wanted.local),
        &address(tunnel.local),
    )?;
    check::same(
        &attribute("group"),
        &address(wanted.group),
        &address(tunnel.group),
    )?;
    check::same(
        &attribute("MTU"),
        &blueprint.mtu.to_string(),
        &device.mtu.to_string(),
    )?;
    let up = |link: &Link| if link.is_up { "up" } else { "down" };
    check::same(&attribute("state"), "up", up(&device))?;
    check::same(&format!("state of {}", bridge.name), "up", up(bridge))?;
    if device.controller != Some(bridge.index) {
        let expected = format!("a port of {}", bridge.name);
        return Err(differs(&name, &expected, "not one"));
    }
    Ok(device)
}

/// Whether the devices could be made.
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

/// Removes the devices of a VNI that are no network's yet.
fn clear(host: &mut Netlink, vni: u32) -> Result<()> {
    let device = host.link(&names::device(vni))?;
    if let Some(device) = device {
        let is_own = device.kind == "vxlan" && device.tunnel.as_ref().is_some_and(|t| t.vni == vni);
        if !is_own {
            return Err(taken(vni, &device));
        }
        host.apply(&[kernel::delete_link(device.index)])?;
    }
    match host.link(&names::bridge(vni))? {
        Some(bridge) => Ok(host.apply(&[kernel::delete_link(bridge.index)])?),
        None => Ok(()),
    }
}

/// Removes a network's devices if no container is left.
pub(super) fn leave(vni: u32, network: &str) -> Result<()> {
    let _lock = Lock::alone(vni)?;
    let mut host = Netlink::open()?;
    let Some(bridge) = host.link(&names::bridge(vni))? else {
        return Ok(());
    };
    let is_own = bridge.kind == "bridge" && bridge.alias == names::mark(network);
    if !is_own || !has_no_containers(&mut host, &bridge, vni)? {
        return Ok(());
    }
    if let Some(device) = host.link(&names::device(vni))? {
        kernel::remove_link(device.index, None, None)?;
    }
    Ok(kernel::remove_link(bridge.index, None, None)?)
}
