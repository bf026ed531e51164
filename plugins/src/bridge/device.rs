//! The bridge itself: shared by its containers, made by whoever comes first.

use kernel::{Link, Mac, Netlink, Operation, set_promiscuous, set_state, sysctl};

use super::keys::Keys;
use crate::sharing::{Sharing, Users};
use crate::undo::Undo;
use crate::{Error, Result, lower, vxlan};

/// What is written on bridges that were made here. Not how an attachment's mark
/// begins: a bridge is no attachment's.
const MARK: &str = "slash24-bridge";

/// The bridge, if it is there.
///
/// # Errors
/// [`Error::NotABridge`] when another kind of link has its name, [`Error::Segment`] when
/// it is a tenant's.
pub(super) fn find(host: &mut Netlink, keys: &Keys) -> Result<Option<Link>> {
    match host.link(&keys.bridge)? {
        Some(link) if vxlan::is_segment(&link) => Err(Error::Segment(link.name)),
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

/// Whether a bridge that is there can serve.
///
/// # Errors
/// [`Error::IgnoresVlans`]. A bridge of ours that does is told not to: it has only had
/// containers that asked for no VLAN, which are in the default one and do not notice.
/// What passes through others' we do not know.
pub(super) fn check_vlans(found: Option<&Link>, keys: &Keys) -> Result<()> {
    let ignores = |bridge: &&Link| !bridge.filters_vlans && bridge.alias != MARK;
    match found.filter(|_| keys.vlans.are_used).filter(ignores) {
        Some(bridge) => Err(Error::IgnoresVlans(bridge.name.clone())),
        None => Ok(()),
    }
}

/// Makes sure that the bridge is there and up. Of several processes that find it
/// missing one makes it, and all go on. `gets_address` says whether it is to be the
/// gateway from now on.
pub(super) fn ensure<'a>(
    host: &mut Netlink,
    keys: &Keys,
    (found, gets_address): (Option<Link>, bool),
    mtu: Option<u32>,
    sharing: &Sharing<'a>,
    undo: &mut Undo<'a>,
) -> Result<Link> {
    let mut bridge = match found {
        Some(bridge) if bridge.alias == MARK => bridge,
        Some(bridge) => adopt(host, bridge, gets_address)?,
        None => create(host, keys, mtu, undo)?,
    };
    if keys.vlans.are_used && !bridge.filters_vlans {
        let filter = host.apply(&[kernel::set_vlan_filtering(bridge.index, true)]);
        filter.map_err(|error| match error.errno() {
            Some(kernel::Errno::EOPNOTSUPP) => Error::NoVlans(error),
            _ => error.into(),
        })?;
        bridge.filters_vlans = true;
    }
    let mut changes: Vec<fn(u32, bool) -> Operation> = Vec::new();
    if !bridge.is_up {
        changes.push(set_state);
    }
    if keys.promisc_mode && !bridge.is_promiscuous {
        changes.push(set_promiscuous);
    }
    if changes.is_empty() {
        return Ok(bridge);
    }
    let (index, sharing) = (bridge.index, sharing.clone());
    let turn = move |host: &mut Netlink, on| {
        let all: Vec<_> = changes.iter().map(|change| change(index, on)).collect();
        host.apply(&all)
    };
    turn(host, true)?;
    undo.push(move || {
        let set = |on| turn(&mut Netlink::open()?, on);
        sharing.take_back(Users::PortsOf(index), || set(false), || set(true))
    });
    Ok(bridge)
}

/// Prepares a bridge that somebody else made, before it has a port of ours. As long as
/// nobody chose its hardware address it takes the least of its ports': what hosts and
/// containers know of their gateway would be wrong whenever one comes or goes.
fn adopt(host: &mut Netlink, bridge: Link, gets_address: bool) -> Result<Link> {
    match bridge.is_up {
        true => sysctl::ensure(&format!("net/ipv6/conf/{}/accept_ra", bridge.name), "0")?,
        false => route_for_others(&bridge.name)?,
    }
    // The kernel forgets the neighbours with this, so not each time.
    let is_new = gets_address || !bridge.has_carrier;
    if is_new || kernel::has_chosen_mac(&bridge.name) == Some(false) {
        let pin = bridge.mac.map(|mac| kernel::set_mac(bridge.index, mac));
        host.apply(pin.as_slice())?;
    }
    Ok(bridge)
}

fn create(host: &mut Netlink, keys: &Keys, mtu: Option<u32>, undo: &mut Undo<'_>) -> Result<Link> {
    let name = keys.bridge.clone();
    let vlans = keys.vlans.are_used;
    let bridge = kernel::create_bridge(&name, random_mac()?, mtu, vlans);
    let made_it = match host.apply(&[bridge]) {
        Ok(()) => true,
        Err(error) if error.errno() == Some(kernel::Errno::EEXIST) => false,
        Err(error) => return Err(error.into()),
    };
    if made_it {
        undo.push(move || remove_if_unused(&name));
    }
    route_for_others(&keys.bridge)?;
    let found = find(host, keys)?;
    let mut found =
        found.ok_or_else(|| kernel::Error::Garbled(format!("create bridge {}", keys.bridge)))?;
    if made_it {
        host.apply(&[kernel::set_alias(found.index, MARK)])?;
        found.alias = MARK.into();
    }
    Ok(found)
}

/// Prepares an interface of the host's that is its containers' router: it is not to
/// be told routes by them, and it can only ask who has an IPv6 address once its own
/// link-local one is in use.
pub(super) fn route_for_others(link: &str) -> Result<()> {
    for (parameter, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
        sysctl::set(&format!("net/ipv6/conf/{link}/{parameter}"), value)?;
    }
    Ok(())
}

/// The MTU of the container's link, if it is not to be the driver's default: the
/// chosen one, or that of the bridge, which has the least of its ports'. A bridge
/// without ports has none of its own: then it is that of the link by which packets
/// leave the host, so that what fits into the first fits through the second.
pub(super) fn mtu(host: &mut Netlink, keys: &Keys, found: Option<&Link>) -> Result<Option<u32>> {
    if keys.mtu().is_some() {
        return Ok(keys.mtu());
    }
    match found.filter(|bridge| bridge.is_up && bridge.has_carrier) {
        Some(bridge) => Ok(Some(bridge.mtu)),
        None => lower::mtu_outside(host),
    }
}

/// Another host's bridge of the same name may be on the same segment, so the
/// hardware address must not follow from the name.
pub(super) fn random_mac() -> Result<Mac> {
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
        true => kernel::remove_link(bridge.index, None, None),
        false => Ok(()),
    }
}

/// Waits until the bridge lets the frames of a port pass, so that what the
/// container announces is heard. The kernel opens the port when it has noticed
/// that the cable has a signal: since Linux 6.8 at the latest when it is asked
/// about the link, before that in a work queue, some 100 µs later.
pub(crate) fn wait_for_port(host: &mut Netlink, name: &str) -> Result<Option<Link>> {
    const TRIES: u32 = 20;
    const PAUSE: std::time::Duration = std::time::Duration::from_micros(100);
    let mut port = host.link(name)?;
    for _ in 1..TRIES {
        if port.as_ref().is_none_or(|port| port.is_forwarding) {
            break;
        }
        std::thread::sleep(PAUSE);
        port = host.link(name)?;
    }
    Ok(port)
}

/// Whether a frame to everybody goes to so many ports that nobody should wait for it.
/// How many there are the kernel does not say without listing them: these are the
/// addresses that the bridge knows, and the port's number, the least that was free.
pub(super) fn is_crowded(bridge: &Link, port: Option<&Link>) -> bool {
    /// From here on a child costs less than what it saves.
    const MANY: u32 = 64;
    let number = port.map_or(0, |port| u32::from(port.port_number));
    bridge.learned.max(number) > MANY
}
