//! A network's router on this host: a namespace of its own, with the gateway's
//! addresses on a port of the network's bridge, and in mode `l3` the tunnel.
//!
//! Tenants may have the same subnets. In one namespace their gateways would share the
//! table of local addresses, connection tracking and the reverse path filter, whatever
//! tables their routes were in. In namespaces they share nothing.
//!
//! The namespace is bound to a path, as runtimes do it for containers, and lives for
//! as long as the network does.

use std::fmt;

use ipnetwork::IpNetwork;
use kernel::{Link, Neighbour, Netlink, Netns, PortFlags, VethPair, sysctl};

use super::compare::{Cure, Unlike};
use super::{exit, names};
use crate::Result;
use crate::bridge::wait_for_port;

/// The name of the router's link to the bridge.
const GATEWAY: &str = "gateway";
const LOOPBACK: &str = "lo";
/// What fits on a link (`IFALIASZ`). An address that is not in the mark any more is
/// looked for each time, and found.
const LONGEST_MARK: usize = 250;

/// The router.
pub(super) struct Router {
    pub(super) netns: Netns,
    pub(super) netlink: Netlink,
}

impl Router {
    /// The router of a VNI, if there is one.
    pub(super) fn open(vni: u32) -> Result<Option<Self>> {
        match Netns::open(&names::router(vni)) {
            Ok(netns) => Router::of(netns).map(Some),
            Err(kernel::Error::NotNetns { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The router of a VNI, which is made if there is none.
    pub(super) fn ensure(vni: u32) -> Result<Self> {
        if let Some(router) = Router::open(vni)? {
            return Ok(router);
        }
        let mut router = Router::of(Netns::create(&names::router(vni))?)?;
        router.inside(|| {
            sysctl::set("net/ipv4/ip_forward", "1")?;
            sysctl::set("net/ipv6/conf/all/forwarding", "1")?;
            sysctl::set("net/ipv6/conf/default/accept_ra", "0")?;
            // Gateways are on every host; none of them is a duplicate.
            sysctl::set("net/ipv6/conf/default/accept_dad", "0")
        })?;
        if let Some(loopback) = router.netlink.link(LOOPBACK)? {
            router
                .netlink
                .apply(&[kernel::set_state(loopback.index, true)])?;
        }
        Ok(router)
    }

    fn of(netns: Netns) -> Result<Self> {
        let entered = netns.enter()?;
        let netlink = Netlink::open()?;
        drop(entered);
        Ok(Router { netns, netlink })
    }

    /// Sets the MTU of its links.
    pub(super) fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        for name in [GATEWAY, exit::UPLINK] {
            if let Some(link) = self.netlink.link(name)? {
                self.netlink.apply(&[kernel::set_mtu(link.index, mtu)])?;
            }
        }
        Ok(())
    }

    /// Does something in the router's namespace.
    pub(super) fn inside(&self, work: impl FnOnce() -> kernel::Result<()>) -> Result<()> {
        let _inside = self.netns.enter()?;
        Ok(work()?)
    }

    /// Gives the router gateway addresses on the bridge.
    fn connect(
        &mut self,
        host: &mut Netlink,
        vni: u32,
        bridge: &Link,
        gateways: &[IpNetwork],
    ) -> Result<Link> {
        let port = names::gateway_port(vni);
        let found = host.link(&port)?;
        let inner = self.netlink.link(GATEWAY)?;
        let port = match (found, inner) {
            (Some(port), Some(_)) if port.controller == Some(bridge.index) => port,
            (found, _) => {
                let rest = found.map(|link| kernel::delete_link(link.index));
                host.apply(rest.as_slice())?;
                self.plug_in(host, vni, bridge)?
            }
        };
        let inner = expect(&mut self.netlink, GATEWAY)?;
        let addresses = gateways.iter();
        let mut operations: Vec<_> = addresses
            .map(|net| kernel::add_address(inner.index, *net))
            .collect();
        operations.push(kernel::set_state(inner.index, true));
        self.netlink.apply(&operations)?;
        Ok(port)
    }

    fn plug_in(&mut self, host: &mut Netlink, vni: u32, bridge: &Link) -> Result<Link> {
        let name = names::gateway_port(vni);
        let pair = VethPair {
            host_name: &name,
            host_mac: names::gateway_port_mac(vni),
            container_name: GATEWAY,
            container_mac: names::gateway_mac(vni),
            container: self.netns.descriptor(),
            mtu: Some(bridge.mtu),
            bridge: None,
        };
        host.apply(&[
            kernel::create_veth(&pair),
            kernel::generate_no_addresses(&name),
            kernel::attach_port(&kernel::BridgePort {
                name: &name,
                bridge: bridge.index,
                alias: "",
            }),
        ])?;
        if names::is_fixed(&bridge.alias) {
            let flags = PortFlags {
                is_fixed: true,
                ..PortFlags::default()
            };
            host.apply(&[kernel::set_port_flags(&name, flags)])?;
        }
        let port = expect(host, &name)?;
        // Other hosts' gateways have the same address: whatever comes from them, the
        // way to the gateway is this one.
        host.apply(&[kernel::pin_to_port(port.index, pair.container_mac)])?;
        Ok(port)
    }
}

pub(super) fn expect(netlink: &mut Netlink, name: &str) -> Result<Link> {
    let found = netlink.link(name)?;
    found.ok_or_else(|| kernel::Error::Garbled(format!("create {name}")).into())
}

/// What a router is to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Duties {
    /// The gateways' addresses.
    pub(super) gateways: Vec<IpNetwork>,
    /// Whether packets may leave the network, as the host's.
    pub(super) masquerades: bool,
}

/// What is written on the port of a router that masquerades.
const MASQUERADES: &str = "masquerades";

impl Duties {
    /// What the router of a VNI has been told to do: it is written on its port, and, as
    /// that may be gone, inside.
    pub(super) fn known(host: &mut Netlink, vni: u32) -> Result<Self> {
        let port = host.link(&names::gateway_port(vni))?;
        let on_port = port.map(|port| Duties::of_mark(&port.alias));
        if let Some(duties) = on_port.filter(|duties| !duties.gateways.is_empty()) {
            return Ok(duties);
        }
        let inside = match Router::open(vni)? {
            Some(mut router) => router.netlink.link(LOOPBACK)?,
            None => None,
        };
        Ok(inside.map_or_else(Duties::default, |link| Duties::of_mark(&link.alias)))
    }

    fn of_mark(mark: &str) -> Self {
        let words = || mark.split(' ').skip(2);
        Duties {
            gateways: words().filter_map(|word| word.parse().ok()).collect(),
            masquerades: words().any(|word| word == MASQUERADES),
        }
    }

    /// These and others.
    fn and(mut self, others: &Duties) -> Self {
        let new = others.gateways.iter();
        let new: Vec<_> = new.filter(|net| !self.gateways.contains(net)).collect();
        self.gateways.extend(new);
        self.masquerades |= others.masquerades;
        self
    }

    /// As words of the mark on the router's port.
    fn words(&self) -> Vec<String> {
        let masquerades = self.masquerades.then(|| MASQUERADES.to_owned());
        let gateways = self.gateways.iter().map(IpNetwork::to_string);
        masquerades.into_iter().chain(gateways).collect()
    }

    /// As what is written on the router.
    fn mark(&self, network: &str) -> String {
        let mut mark = names::mark(network);
        for word in self.words() {
            if mark.len() + word.len() < LONGEST_MARK {
                mark = format!("{mark} {word}");
            }
        }
        mark
    }
}

impl fmt::Display for Duties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

fn has_words(mark: &str, words: &[String]) -> bool {
    let has = |word: &String| mark.split(' ').any(|known| known == word);
    words.iter().all(has)
}

/// Whether the router does this already, as its port's mark says: one question.
pub(super) fn serves(host: &mut Netlink, vni: u32, duties: &Duties) -> Result<bool> {
    if duties.gateways.is_empty() {
        return Ok(true);
    }
    let port = host.link(&names::gateway_port(vni))?;
    let mark = port.map(|port| port.alias).unwrap_or_default();
    Ok(has_words(&mark, &duties.words()))
}

/// What the router does not do, or has not what it takes. Questions for CHECK and sync; ADD
/// goes by the mark.
pub(super) fn unlike(
    host: &mut Netlink,
    network: &str,
    vni: u32,
    bridge: &Link,
    duties: &Duties,
) -> Result<Vec<Unlike>> {
    if duties.gateways.is_empty() {
        return Ok(Vec::new());
    }
    let what = format!("gateway of {}", bridge.name);
    let lost = |wanted: &str, found: &str| Unlike::lost(what.clone(), wanted, found, Cure::Serve);
    let port = host.link(&names::gateway_port(vni))?;
    let mut router = Router::open(vni)?;
    let inner = match &mut router {
        Some(router) => router.netlink.link(GATEWAY)?,
        None => None,
    };
    let (Some(port), Some(mut router), Some(inner)) = (port, router, inner) else {
        return Ok(vec![lost(&duties.to_string(), "none")]);
    };
    let mut all = Vec::new();
    if port.controller != Some(bridge.index) {
        all.push(lost(&format!("a port of {}", bridge.name), "not one"));
    }
    if !has_words(&port.alias, &duties.words()) {
        let found = Duties::of_mark(&port.alias);
        let found = Some(found).filter(|found| !found.gateways.is_empty());
        let found = found.map_or("none".to_owned(), |found| found.to_string());
        all.push(lost(&duties.to_string(), &found));
    }
    if !port.is_up || !inner.is_up {
        all.push(lost("up", "down"));
    }
    let has = router.netlink.addresses(inner.index)?;
    let known = host.all_set_neighbours(bridge.index)?;
    for net in &duties.gateways {
        if !has.iter().any(|address| address.net == *net) {
            all.push(lost(&net.to_string(), "not its address"));
        }
        let neighbour = gateway(vni, net);
        if !known.contains(&neighbour) {
            let what = format!("neighbours of {}", bridge.name);
            let wanted = format!("{} {}", neighbour.ip, neighbour.mac);
            all.push(Unlike::lost(what, &wanted, "none", Cure::Serve));
        }
    }
    if duties.masquerades {
        all.extend(exit::unlike(host, &mut router, vni, network, bridge)?);
    }
    Ok(all)
}

/// How a bridge knows a gateway.
fn gateway(vni: u32, net: &IpNetwork) -> Neighbour {
    Neighbour {
        ip: net.ip(),
        mac: names::gateway_mac(vni),
    }
}

/// Makes the router serve these gateway addresses, and those that it has served before;
/// the caller has the lock alone.
pub(super) fn serve(
    host: &mut Netlink,
    vni: u32,
    network: &str,
    bridge: &Link,
    duties: &Duties,
) -> Result<()> {
    let duties = Duties::known(host, vni)?.and(duties);
    let mut router = Router::ensure(vni)?;
    let port = router.connect(host, vni, bridge, &duties.gateways)?;
    if duties.masquerades {
        exit::open(host, &mut router, vni, network, bridge.mtu)?;
    }
    // The bridge answers for the gateway, so that no question for it leaves the host.
    let known = duties.gateways.iter().map(|net| gateway(vni, net));
    let mut operations: Vec<_> = known
        .map(|one| kernel::set_neighbour(bridge.index, &one))
        .collect();
    let mark = duties.mark(network);
    let inside = expect(&mut router.netlink, LOOPBACK)?;
    router
        .netlink
        .apply(&[kernel::set_up_as(inside.index, &mark)])?;
    operations.push(kernel::set_up_as(port.index, &mark));
    host.apply(&operations)?;
    // As both ends of a cable to a container: asked about, they send at once.
    expect(&mut router.netlink, GATEWAY)?;
    wait_for_port(host, &port.name).map(drop)
}

/// Removes the router of a VNI, if it has one.
pub(super) fn remove(host: &mut Netlink, vni: u32) -> Result<()> {
    for name in [names::gateway_port(vni), names::exit_port(vni)] {
        if let Some(port) = host.link(&name)? {
            kernel::remove_link(port.index, None, None)?;
        }
    }
    remove_device(vni)?;
    Ok(Netns::remove(&names::router(vni))?)
}

/// Removes the tunnel from a router that has it. Not with the namespace, which ends in its
/// own time: the VNI is to be free.
pub(super) fn remove_device(vni: u32) -> Result<()> {
    let Some(mut router) = Router::open(vni)? else {
        return Ok(());
    };
    match router.netlink.link(&names::device(vni))? {
        Some(device) => router.inside(|| kernel::remove_link(device.index, None, None)),
        None => Ok(()),
    }
}
