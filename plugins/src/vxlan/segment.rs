//! The devices of a network on this host: a bridge that the containers are ports
//! of, and the VXLAN device that leads to the other hosts. Whoever comes first makes
//! them, whoever goes last removes them, under the [lock](crate::lock).
//!
//! The mark on the bridge is written last. A bridge without it was left by a process
//! that was killed, and is made anew.

use cni::Config;
use kernel::{Errno, Link, Netlink, Vxlan, nft, sysctl};

use super::blueprint::Blueprint;
use super::changes::{self, Changes, Far};
use super::compare;
use super::exit;
use super::fault::Fault;
use super::keys::{Keys, Mode};
use super::names;
use super::renew::Renewal;
use super::router::{self, Duties, Router};
use crate::Result;
use crate::lock::Lock;
use crate::undo::Undo;

/// A network's bridge that stays for as long as this is held.
pub(super) struct Entered {
    pub(super) bridge: Link,
    _lock: Lock,
}

/// Makes sure that the network's devices and gateways are there, and that they stay.
pub(super) fn enter<'a>(
    host: &mut Netlink,
    config: &'a Config,
    keys: &Keys,
    duties: &Duties,
    undo: &mut Undo<'a>,
) -> Result<Entered> {
    let (network, vni) = (&config.name, keys.vni);
    let lock = Lock::shared(&names::lock(vni))?;
    if let Some(bridge) = find(host, network, vni)?
        && is_whole(host, &bridge, vni, keys.mode)?
        && router::serves(host, vni, duties)?
    {
        return Ok(Entered {
            bridge,
            _lock: lock,
        });
    }
    lock.make_alone()?;
    let bridge = match find(host, network, vni)? {
        Some(bridge) => {
            if !is_whole(host, &bridge, vni, keys.mode)? {
                let blueprint = Blueprint::draw(host, config, keys)?;
                let lost = Renewal::plan(host, network, &bridge, &blueprint)?.of_what_is_lost();
                lost.carry_out(host, network, &bridge, &blueprint)?;
            }
            bridge
        }
        None => {
            let blueprint = Blueprint::draw(host, config, keys)?;
            let bridge = build(host, network, &blueprint)?;
            undo.push(move || leave(vni, network).map(drop));
            bridge
        }
    };
    if !router::serves(host, vni, duties)? {
        router::serve(host, vni, network, &bridge, duties)?;
    }
    lock.share()?;
    Ok(Entered {
        bridge,
        _lock: lock,
    })
}

/// Whether a network that is in use still has its device and its filter, which another
/// program may have taken away. Two questions, however many hosts it has.
fn is_whole(host: &mut Netlink, bridge: &Link, vni: u32, mode: Mode) -> Result<bool> {
    let device = match mode {
        Mode::L2 => changes::device(host, vni)?,
        Mode::L3 => Far::find(vni, mode)?.map(|far| far.device),
    };
    let is_there = device.is_some_and(|device| compare::leads_away(&device, bridge, mode));
    Ok(is_there && nft::is_guarded_link(&bridge.name)?)
}

/// The network's bridge, if it is there and complete.
///
/// # Errors
/// [`Fault::VniTaken`] when the name is another's.
pub(super) fn find(host: &mut Netlink, network: &str, vni: u32) -> Result<Option<Link>> {
    let Some(link) = host.link(&names::bridge(vni))? else {
        return Ok(None);
    };
    if link.kind == "bridge" && names::is_of(&link.alias, network) {
        return Ok(Some(link));
    }
    let is_leftover = link.kind == "bridge" && link.alias.is_empty();
    match is_leftover && has_no_containers(host, &link, vni)? {
        true => Ok(None),
        false => Err(taken(vni, &link)),
    }
}

fn taken(vni: u32, link: &Link) -> crate::Error {
    let owner = match names::network_of(&link.alias) {
        Some(network) => format!("network \"{network}\""),
        None => format!("link {}, which is not of this network", link.name),
    };
    Fault::VniTaken { vni, owner }.into()
}

/// Whether nothing but the network's own devices is on a bridge.
fn has_no_containers(host: &mut Netlink, bridge: &Link, vni: u32) -> Result<bool> {
    let own = [names::device(vni), names::gateway_port(vni)];
    let ports = host.ports(bridge.index)?;
    Ok(ports.iter().all(|port| own.contains(&port.name)))
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
    built.map_err(|error| match &error {
        // The kernel says so when the device comes up.
        crate::Error::Kernel(cause) if cause.errno() == Some(Errno::EADDRINUSE) => {
            Fault::PortInUse(blueprint.tunnel.port).into()
        }
        _ => error,
    })
}

fn try_to_build(host: &mut Netlink, network: &str, blueprint: &Blueprint) -> Result<Link> {
    let vni = blueprint.tunnel.vni;
    let bridge = names::bridge(vni);
    create_device(host, blueprint)?;
    let mac = names::bridge_mac(vni, blueprint.own);
    host.apply(&[
        kernel::create_bridge(&bridge, mac, Some(blueprint.mtu), false),
        kernel::generate_no_addresses(&bridge),
    ])?;
    seal(&bridge, blueprint)?;
    let bridge = expect(host, &bridge)?;
    if blueprint.mode == Mode::L2 {
        attach_device(host, network, &bridge, blueprint)?;
    }
    let far = Far::find(vni, blueprint.mode)?;
    let mut far = far.ok_or_else(|| kernel::Error::Garbled(format!("create vx{vni}")))?;
    far.apply(&Changes::from_nothing(&blueprint.desired))?;
    let mark = names::bridge_mark(network, blueprint.is_fixed);
    host.apply(&[kernel::set_up_as(bridge.index, &mark)])?;
    expect(host, &bridge.name)
}

/// Makes the VXLAN device, in the router if hosts are routed to.
fn create_device(host: &mut Netlink, blueprint: &Blueprint) -> Result<()> {
    let vni = blueprint.tunnel.vni;
    let name = names::device(vni);
    let mut router = match blueprint.mode {
        Mode::L2 => None,
        Mode::L3 => Some(Router::ensure(vni)?),
    };
    let create = kernel::create_vxlan(&Vxlan {
        name: &name,
        mac: names::tunnel_mac(blueprint.own),
        mtu: blueprint.mtu,
        tunnel: &blueprint.tunnel,
        container: router.as_ref().map(|router| router.netns.descriptor()),
    });
    match host.apply(&[create]) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            let port = blueprint.tunnel.port;
            return Err(Fault::VniInUse { vni, port }.into());
        }
        created => created?,
    }
    let netlink = match &mut router {
        Some(router) => &mut router.netlink,
        None => host,
    };
    netlink.apply(&[kernel::generate_no_addresses(&name)])?;
    if router.is_some() {
        let netlink = &mut Router::ensure(vni)?.netlink;
        let device = expect(netlink, &name)?;
        netlink.apply(&[kernel::set_state(device.index, true)])?;
    }
    Ok(())
}

/// Makes the device of a network that is in use, and what the host filters of it.
pub(super) fn make_device(
    host: &mut Netlink,
    network: &str,
    bridge: &Link,
    blueprint: &Blueprint,
) -> Result<()> {
    create_device(host, blueprint)?;
    if blueprint.mode == Mode::L2 {
        attach_device(host, network, bridge, blueprint)?;
    }
    let device = names::device(blueprint.tunnel.vni);
    Ok(nft::limit_link(&device, blueprint.storm_limit)?)
}

fn attach_device(
    host: &mut Netlink,
    network: &str,
    bridge: &Link,
    blueprint: &Blueprint,
) -> Result<()> {
    let device = expect(host, &names::device(blueprint.tunnel.vni))?;
    Ok(host.apply(&[
        kernel::attach_port(&kernel::BridgePort {
            name: &device.name,
            bridge: bridge.index,
            alias: &names::mark(network),
        }),
        kernel::set_port_role(device.index, blueprint.role),
    ])?)
}

fn expect(host: &mut Netlink, name: &str) -> Result<Link> {
    let found = host.link(name)?;
    found.ok_or_else(|| kernel::Error::Garbled(format!("create {name}")).into())
}

/// Keeps the tenants' packets out of the host: its bridge is a switch and nothing
/// else. IPv6 stays on, as the bridge's table of neighbours is what it answers from.
fn seal(bridge: &str, blueprint: &Blueprint) -> Result<()> {
    let v6 = sysctl::Group::open(format!("net/ipv6/conf/{bridge}"));
    v6.set("accept_ra", "0")?;
    v6.set("accept_dad", "0")?;
    let device = names::device(blueprint.tunnel.vni);
    Ok(nft::guard_link(bridge, &device, blueprint.storm_limit)?)
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
    router::remove(host, vni)?;
    if let Some(bridge) = host.link(&names::bridge(vni))? {
        host.apply(&[kernel::delete_link(bridge.index)])?;
    }
    Ok(nft::forget_link(&names::bridge(vni), &names::device(vni))?)
}

/// As [`leave`], also where the container was on a bridge (by its number) that the network
/// had when it had another VNI.
pub(super) fn leave_with(vni: Option<u32>, network: &str, bridge: Option<u32>) -> Result<()> {
    let looked_at = match vni {
        Some(vni) => leave(vni, network)?,
        None => None,
    };
    let Some(former) = bridge.filter(|_| looked_at != bridge) else {
        return Ok(());
    };
    let former = Netlink::open()?.link_by_index(former)?;
    let former = former.filter(|link| names::is_of(&link.alias, network));
    match former.and_then(|link| names::vni_of_bridge(&link.name)) {
        Some(vni) => leave(vni, network).map(drop),
        None => Ok(()),
    }
}

/// Removes all devices of a network, of whatever VNI but one, that have no container.
pub(super) fn leave_all(network: &str, but: Option<u32>) -> Result<()> {
    let links = Netlink::open()?.links()?;
    let own = links
        .iter()
        .filter(|link| names::is_of(&link.alias, network));
    let vnis = own.filter_map(|link| names::vni_of_bridge(&link.name));
    for vni in vnis.filter(|vni| Some(*vni) != but) {
        leave(vni, network)?;
    }
    Ok(())
}

/// Removes the devices of a network with a VNI if no container is left. Returns its bridge's number.
pub(super) fn leave(vni: u32, network: &str) -> Result<Option<u32>> {
    let _lock = Lock::alone(&names::lock(vni))?;
    let mut host = Netlink::open()?;
    let Some(bridge) = host.link(&names::bridge(vni))? else {
        return forget(&mut host, vni, network).map(|()| None);
    };
    // One without a mark is what somebody has left who was killed.
    let is_own = bridge.alias.is_empty() || names::is_of(&bridge.alias, network);
    if bridge.kind != "bridge" || !is_own || !has_no_containers(&mut host, &bridge, vni)? {
        return Ok(Some(bridge.index));
    }
    // From here on it is not complete, whoever comes after a kill.
    host.apply(&[kernel::set_alias(bridge.index, "")])?;
    router::remove_device(vni)?;
    let mut links = vec![bridge.index];
    for name in [
        names::device(vni),
        names::gateway_port(vni),
        names::exit_port(vni),
    ] {
        links.extend(host.link(&name)?.map(|link| link.index));
    }
    // Before the child is made, which has it, too.
    let mut deletion = nft::Deletion::open()?;
    kernel::remove_links(&links, names::group(vni))?;
    deletion.forget_link(&bridge.name, &names::device(vni))?;
    exit::close(vni, network, &mut deletion)?;
    router::remove(&mut host, vni)?;
    Ok(Some(bridge.index))
}

/// Removes what is left of a network whose bridge has gone, by somebody who was killed.
fn forget(host: &mut Netlink, vni: u32, network: &str) -> Result<()> {
    let mut deletion = nft::Deletion::open()?;
    deletion.forget_link(&names::bridge(vni), &names::device(vni))?;
    exit::close(vni, network, &mut deletion)?;
    router::remove(host, vni)
}
