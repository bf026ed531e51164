//! CHECK and STATUS of a network's devices.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use kernel::{Link, Netlink, PortRole, Tunnel, nft};

use super::blueprint::Blueprint;
use super::changes::{Changes, Far};
use super::fault::Fault;
use super::keys::Mode;
use super::names;
use crate::Result;
use crate::check::differs;

/// Compares the devices and what they know with what they should be.
///
/// # Errors
/// [`crate::Error::Differs`].
pub(super) fn network(network: &str, bridge: &Link, blueprint: &Blueprint) -> Result<()> {
    let mut far = devices(network, bridge, blueprint)?;
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
fn devices(network: &str, bridge: &Link, blueprint: &Blueprint) -> Result<Far> {
    let far = Far::find(blueprint.tunnel.vni, blueprint.mode)?;
    let device = far.as_ref().map(|far| &far.device);
    match unlike(network, bridge, device, blueprint)?.first() {
        Some(unlike) => Err(unlike.differs()),
        None => far.ok_or_else(|| missing(blueprint).differs()),
    }
}

/// Whether it is a device by which frames of a bridge get to other hosts.
pub(super) fn leads_away(device: &Link, bridge: &Link, mode: Mode) -> bool {
    mode == Mode::L3 || device.controller == Some(bridge.index)
}

/// What sets a difference right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// The VXLAN device is made anew: the kernel changes none of this.
    Anew,
    /// It is set on the devices that are there.
    Set,
    /// The router is told again what it has to do.
    Serve,
}

/// Something of a network's devices that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unlike {
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) found: String,
    pub(super) cure: Cure,
    /// Whether it was there, and somebody has taken it away: no configuration says so.
    pub(super) is_lost: bool,
}

impl Unlike {
    /// Something that is not there any more.
    pub(super) fn lost(what: String, wanted: &str, found: &str, cure: Cure) -> Self {
        Unlike {
            what,
            wanted: wanted.to_owned(),
            found: found.to_owned(),
            cure,
            is_lost: true,
        }
    }

    /// As CHECK tells of it.
    pub(super) fn differs(&self) -> crate::Error {
        differs(&self.what, &self.wanted, &self.found)
    }
}

fn missing(blueprint: &Blueprint) -> Unlike {
    let name = names::device(blueprint.tunnel.vni);
    Unlike::lost(name, "a VXLAN device", "none", Cure::Anew)
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.what, self.found, self.wanted)
    }
}

/// All that is not as it should be of the devices of a network.
pub(super) fn unlike(
    network: &str,
    bridge: &Link,
    device: Option<&Link>,
    blueprint: &Blueprint,
) -> Result<Vec<Unlike>> {
    let mut all = Vec::new();
    if !nft::is_guarded_link(&bridge.name)? {
        all.push(Unlike::lost(
            format!("filter of {}", bridge.name),
            "one that keeps tenants from the host",
            "none",
            Cure::Set,
        ));
    }
    match device {
        Some(device) => all.extend(unlike_of(network, bridge, device, blueprint)?),
        None => all.push(missing(blueprint)),
    }
    Ok(all)
}

fn unlike_of(
    network: &str,
    bridge: &Link,
    device: &Link,
    blueprint: &Blueprint,
) -> Result<Vec<Unlike>> {
    let tunnel = device.tunnel.clone().unwrap_or_default();
    let name = &device.name;
    let mut all: Vec<Unlike> = properties(&blueprint.tunnel)
        .into_iter()
        .zip(properties(&tunnel))
        .map(|((what, wanted), (_, found))| Unlike {
            what: format!("{what} of {name}"),
            wanted,
            found,
            cure: Cure::Anew,
            is_lost: false,
        })
        .collect();
    let state = |link: &Link| if link.is_up { "up" } else { "down" }.to_owned();
    let mut set = |what: String, wanted: String, found: String| {
        all.push(Unlike {
            what,
            wanted,
            found,
            cure: Cure::Set,
            is_lost: false,
        });
    };
    for link in [device, bridge] {
        let what = format!("MTU of {}", link.name);
        set(what, blueprint.mtu.to_string(), link.mtu.to_string());
        set(format!("state of {}", link.name), "up".into(), state(link));
    }
    if blueprint.mode == Mode::L2 && leads_away(device, bridge, blueprint.mode) {
        let what = format!("how {} treats {name}", bridge.name);
        set(what, role(blueprint.role), role(device.role));
    }
    set(
        format!("mark of {}", bridge.name),
        names::bridge_mark(network, blueprint.is_fixed),
        bridge.alias.clone(),
    );
    let limit = |limit: Option<u32>| limit.map_or("none".into(), |rate| format!("{rate} a second"));
    set(
        format!("limit of {name}"),
        limit(blueprint.storm_limit),
        limit(nft::link_limit(name)?),
    );
    if !leads_away(device, bridge, blueprint.mode) {
        let wanted = format!("a port of {}", bridge.name);
        all.push(Unlike::lost(name.clone(), &wanted, "not one", Cure::Anew));
    }
    all.retain(|one| one.wanted != one.found);
    Ok(all)
}

/// How a bridge treats the tunnel, in words.
fn role(role: PortRole) -> String {
    let on = |is: bool| if is { "on" } else { "off" };
    format!(
        "learning {}, flood {}, neigh_suppress {}",
        on(role.learning),
        on(role.floods),
        on(role.answers_for_neighbours)
    )
}

/// What a tunnel is, in words.
fn properties(tunnel: &Tunnel) -> [(&'static str, String); 10] {
    fn or<T: ToString>(value: Option<T>, none: &str) -> String {
        value.map_or(none.to_owned(), |value| value.to_string())
    }
    let ports = tunnel.source_ports;
    let on = |is: bool| if is { "on" } else { "off" }.to_owned();
    [
        ("VNI", tunnel.vni.to_string()),
        ("UDP port", tunnel.port.to_string()),
        ("local address", or(tunnel.local, "none")),
        ("group", or(tunnel.group, "none")),
        ("link of the group", or(tunnel.link, "none")),
        ("ttl", or(tunnel.ttl, "the kernel's")),
        ("tos", or(tunnel.tos, "0")),
        (
            "source ports",
            or(
                ports.map(|(low, high)| format!("{low}-{high}")),
                "the kernel's",
            ),
        ),
        // It is the kernel's default.
        ("UDP checksum", on(tunnel.checksum.unwrap_or(true))),
        (
            "learning",
            match tunnel.answers {
                true => "off, it answers questions".to_owned(),
                false => on(tunnel.learning),
            },
        ),
    ]
}

/// Whether the devices could be made.
///
/// # Errors
/// [`Fault::VniInUse`], [`Fault::PortInUse`].
pub(super) fn could_be_built(host: &mut Netlink, blueprint: &Blueprint) -> Result<()> {
    let (vni, port) = (blueprint.tunnel.vni, blueprint.tunnel.port);
    let links = host.links()?;
    let is_ours = |link: &&Link| link.name == names::device(vni);
    let same = |tunnel: &Tunnel| tunnel.vni == vni && tunnel.port == port;
    let mut others = links.iter().filter(|link| !is_ours(link));
    if others.any(|link| link.tunnel.as_ref().is_some_and(same)) {
        return Err(Fault::VniInUse { vni, port }.into());
    }
    // Where the kernel has the port already, all networks share it; those with routers as
    // well, whose devices may not be among these links.
    let has_port = |link: &Link| link.tunnel.as_ref().is_some_and(|t| t.port == port);
    if links.iter().any(has_port) || names::has_routers() {
        return Ok(());
    }
    let any: IpAddr = match blueprint.own {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    match UdpSocket::bind((any, port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(Fault::PortInUse(port).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_kernel_are_no_difference() {
        let wanted = Tunnel {
            vni: 5,
            port: 4789,
            ..Tunnel::default()
        };
        let mut found = Tunnel {
            checksum: Some(true),
            ..wanted.clone()
        };
        assert_eq!(properties(&wanted), properties(&found));
        found.ttl = Some(9);
        let differ = properties(&wanted).into_iter().zip(properties(&found));
        let differ: Vec<_> = differ.filter(|(one, other)| one != other).collect();
        assert_eq!(differ.len(), 1);
        assert_eq!(differ[0].1, ("ttl", "9".to_owned()));
    }
}
