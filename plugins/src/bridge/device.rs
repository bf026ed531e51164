//! The bridge itself: shared by its containers, made by whoever comes first.

use ipnetwork::IpNetwork;
use kernel::{Link, Mac, Netlink, set_promiscuous, set_state, sysctl};

use super::keys::Keys;
use crate::undo::Undo;
use crate::{Error, Result};

/// The bridge, if it is there.
///
/// # Errors
/// [`Error::NotABridge`] when another kind of link has its name.
pub(super) fn find(host: &mut Netlink, keys: &Keys) -> Result<Option<Link>> {
    match host.link(&keys.bridge)? {
        Some(link) if link.kind != "bridge" => Err(Error::NotABridge {
            name: link.name,
            kind: if link.kind.is_empty() {
                "hardware".into()
            } else {
                link.kind
            },
        }),
        found => Ok(found),
    }
}

/// Makes sure that the bridge is there and up. Of several processes that find it
/// missing one makes it, and all go on.
pub(super) fn ensure(
    host: &mut Netlink,
    keys: &Keys,
    found: Option<Link>,
    undo: &mut Undo<'_>,
) -> Result<Link> {
    let bridge = match found {
        Some(bridge) => bridge,
        None => create(host, keys, undo)?,
    };
    let mut changes = Vec::new();
    if !bridge.is_up {
        changes.push(set_state(bridge.index, true));
    }
    if keys.promisc_mode && !bridge.is_promiscuous {
        changes.push(set_promiscuous(bridge.index, true));
    }
    host.apply(&changes)?;
    Ok(bridge)
}

fn create(host: &mut Netlink, keys: &Keys, undo: &mut Undo<'_>) -> Result<Link> {
    let name = keys.bridge.clone();
    let created = host.apply(&[kernel::create_bridge(&name, random_mac()?, keys.mtu())]);
    match created {
        Ok(()) => undo.push(move || remove_if_unused(&name)),
        Err(error) if error.errno() == Some(kernel::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // The host routes for its containers; it is not to be told routes by them. And
    // it can only ask who has an IPv6 address once its own link-local one is in use.
    for (parameter, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
        sysctl::set(&format!("net/ipv6/conf/{}/{parameter}", keys.bridge), value)?;
    }
    let found = find(host, keys)?;
    found.ok_or_else(|| kernel::Error::Garbled(format!("create bridge {}", keys.bridge)).into())
}

/// Another host's bridge of the same name may be on the same segment, so the
/// hardware address must not follow from the name.
fn random_mac() -> Result<Mac> {
    let mut bytes = [0; 6];
    let mut source = std::fs::File::open("/dev/urandom").map_err(kernel::Error::Socket)?;
    std::io::Read::read_exact(&mut source, &mut bytes).map_err(kernel::Error::Socket)?;
    Ok(Mac::local(bytes))
}

fn remove_if_unused(name: &str) -> kernel::Result<()> {
    let mut host = Netlink::open()?;
    let Some(bridge) = host.link(name)? else {
        return Ok(());
    };
    match host.ports(bridge.index)?.is_empty() {
        true => kernel::remove_link(bridge.index, None),
        false => Ok(()),
    }
}

/// Waits until the bridge lets the frames of a port pass, so that what the
/// container announces is heard. The kernel opens the port when it has noticed
/// that the cable has a signal: since Linux 6.8 at the latest when it is asked
/// about the link, before that in a work queue, some 100 µs later.
pub(super) fn wait_for_port(host: &mut Netlink, name: &str) -> Result<()> {
    const TRIES: u32 = 20;
    const PAUSE: std::time::Duration = std::time::Duration::from_micros(100);
    for _ in 0..TRIES {
        if host.link(name)?.is_none_or(|port| port.is_forwarding) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Has the host forward packets of the families that its containers have.
pub(super) fn forward(nets: impl Iterator<Item = IpNetwork> + Clone) -> kernel::Result<()> {
    if nets.clone().any(|net| net.is_ipv4()) {
        sysctl::ensure("net/ipv4/ip_forward", "1")?;
    }
    if nets.clone().any(|net| net.is_ipv6()) {
        sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}
