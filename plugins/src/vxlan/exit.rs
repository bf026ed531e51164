//! The way out of a network (`ipMasq`): a virtual cable between its router and the host.
//!
//! The router gives what leaves an address of its own, which no other network on the
//! host has, and the host gives it one of its own after that: so tenants with the same
//! subnets can leave by one host, and answers find the right one. Nothing is asked on
//! the cable; both ends know each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use kernel::{Errno, Link, Mac, Neighbour, Netlink, RouteEntry, VethPair, nft, sysctl};

use super::compare::{Cure, Unlike};
use super::names;
use super::router::{Router, expect};
use crate::Result;

/// The name of the router's end.
pub(super) const UPLINK: &str = "uplink";
/// The host's end for the router, on every such cable: link-local addresses.
const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];

/// How many bits all routers' addresses have in common.
const OTHERS: [u8; 2] = [8, 64];

/// The router's addresses. 240.0.0.0/4 is reserved for future use (RFC 1112): nobody has
/// it, Linux routes it, and it never leaves the host. There is one a VNI.
fn addresses(vni: u32) -> [IpAddr; 2] {
    let v4 = Ipv4Addr::from_bits(240 << 24 | vni);
    let [_, a, b, c] = vni.to_be_bytes();
    let low = u16::from_be_bytes([b, c]);
    // A unique local prefix (RFC 4193) that was drawn at random once and for all.
    let v6 = Ipv6Addr::new(0xfd5b, 0x24e1, 0x90c7, 0x24, 0, 0, a.into(), low);
    [v4.into(), v6.into()]
}

fn alone(ip: IpAddr) -> Option<IpNetwork> {
    IpNetwork::new(ip, if ip.is_ipv4() { 32 } else { 128 }).ok()
}

fn everywhere(ip: IpAddr) -> Option<IpNetwork> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(any, 0).ok()
}

/// Makes the way out, or what of it is not there. The caller has the lock alone.
pub(super) fn open(
    host: &mut Netlink,
    router: &mut Router,
    vni: u32,
    network: &str,
    mtu: u32,
) -> Result<()> {
    let (host_mac, router_mac) = names::exit_macs(vni);
    lay(host, router, vni, mtu)?;
    in_router(router, vni, host_mac)?;
    on_host(host, vni, network, router_mac)?;
    // A kernel that is asked about a link sends by it from then on; otherwise it does so
    // when a work queue has noticed that the cable has a signal.
    expect(&mut router.netlink, UPLINK)?;
    expect(host, &names::exit_port(vni)).map(drop)
}

/// Lays the cable, if it is not there.
fn lay(host: &mut Netlink, router: &mut Router, vni: u32, mtu: u32) -> Result<()> {
    let name = names::exit_port(vni);
    let found = host.link(&name)?;
    let inner = router.netlink.link(UPLINK)?;
    let are_ends = |port: &Link| {
        inner
            .as_ref()
            .is_some_and(|inner| port.lower == Some(inner.index))
    };
    if found.as_ref().is_some_and(are_ends) {
        return Ok(());
    }
    let leftover = found.map(|link| kernel::delete_link(link.index));
    host.apply(leftover.as_slice())?;
    let (host_mac, router_mac) = names::exit_macs(vni);
    let pair = VethPair {
        host_name: &name,
        host_mac,
        container_name: UPLINK,
        container_mac: router_mac,
        container: router.netns.descriptor(),
        mtu: Some(mtu),
        bridge: None,
    };
    host.apply(&[
        kernel::create_veth(&pair),
        kernel::generate_no_addresses(&name),
    ])?;
    Ok(sysctl::set(
        &format!("net/ipv6/conf/{name}/accept_ra"),
        "0",
    )?)
}

/// What is not there of the way out, or is too narrow.
pub(super) fn unlike(
    host: &mut Netlink,
    router: &mut Router,
    vni: u32,
    network: &str,
    bridge: &Link,
) -> Result<Vec<Unlike>> {
    let what = format!("way out of {}", bridge.name);
    let lost = |wanted: &str, found: &str| Unlike::lost(what.clone(), wanted, found, Cure::Serve);
    let port = host.link(&names::exit_port(vni))?;
    let inner = router.netlink.link(UPLINK)?;
    let (Some(port), Some(inner)) = (port, inner) else {
        return Ok(vec![lost("a cable to the router", "none")]);
    };
    let mut all = Vec::new();
    if !port.is_up || !inner.is_up {
        all.push(lost("up", "down"));
    }
    let has = router.netlink.addresses(inner.index)?;
    for net in addresses(vni).into_iter().filter_map(alone) {
        if !has.iter().any(|address| address.net == net) {
            all.push(lost(&net.ip().to_string(), "not the router's address"));
        }
        let way = host.route_to(net.ip(), None)?;
        if !way.is_some_and(|way| way.next_hops.iter().any(|hop| hop.link == port.index)) {
            let wanted = format!("a route of the host's to {}", net.ip());
            all.push(lost(&wanted, "none"));
        }
        if !nft::is_masqueraded(network, net)? {
            all.push(lost(
                &format!("{} masqueraded by the host", net.ip()),
                "not",
            ));
        }
    }
    let mut is_masqueraded = false;
    router.inside(|| nft::masquerades_all().map(|is| is_masqueraded = is))?;
    if !is_masqueraded {
        all.push(lost("masqueraded by the router", "not"));
    }
    for link in [port, inner].iter().filter(|link| link.mtu != bridge.mtu) {
        all.push(Unlike {
            what: format!("MTU of {}", link.name),
            wanted: bridge.mtu.to_string(),
            found: link.mtu.to_string(),
            cure: Cure::Set,
            is_lost: false,
        });
    }
    Ok(all)
}

/// Takes back what the host does for the network's packets; the way itself goes with the
/// router.
pub(super) fn close(vni: u32, network: &str, deletion: &mut nft::Deletion) -> Result<()> {
    let subnets: Vec<IpNetwork> = addresses(vni).into_iter().filter_map(alone).collect();
    Ok(deletion.forget_subnets(network, &subnets)?)
}

fn in_router(router: &mut Router, vni: u32, host_mac: Mac) -> Result<()> {
    let uplink = expect(&mut router.netlink, UPLINK)?.index;
    let own = addresses(vni).into_iter().filter_map(alone);
    let mut operations: Vec<_> = own.map(|net| kernel::add_address(uplink, net)).collect();
    operations.push(kernel::set_state(uplink, true));
    for ip in HOST {
        let host = Neighbour { ip, mac: host_mac };
        operations.push(kernel::set_neighbour(uplink, &host));
        let default = everywhere(ip);
        operations.extend(default.map(|net| kernel::add_onlink_route(net, uplink, ip)));
    }
    // Other networks' routers on this host are nobody's business.
    let others = addresses(vni).into_iter().zip(OTHERS);
    operations.extend(
        others
            .filter_map(|(ip, length)| IpNetwork::new(ip, length).ok())
            .map(kernel::refuse_route),
    );
    router.netlink.apply(&operations)?;
    router.inside(|| nft::masquerade_all_by(UPLINK))
}

fn on_host(host: &mut Netlink, vni: u32, network: &str, router_mac: Mac) -> Result<()> {
    let port = expect(host, &names::exit_port(vni))?.index;
    let mut operations = vec![kernel::set_up_as(port, &names::mark(network))];
    for ip in addresses(vni) {
        let router = Neighbour {
            ip,
            mac: router_mac,
        };
        operations.push(kernel::set_neighbour(port, &router));
        let route = alone(ip).map(|net| kernel::add_route(&RouteEntry::new(net, port, None)));
        operations.extend(route.map(|route| route.tolerate(&[Errno::EEXIST])));
    }
    host.apply(&operations)?;
    sysctl::ensure("net/ipv4/ip_forward", "1")?;
    sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
    for net in addresses(vni).into_iter().filter_map(alone) {
        nft::masquerade(network, net)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vni_has_addresses_of_its_own() {
        let texts = |vni| addresses(vni).map(|ip| ip.to_string());
        assert_eq!(texts(1), ["240.0.0.1", "fd5b:24e1:90c7:24::1"]);
        let last = texts(16_777_215);
        assert_eq!(last, ["240.255.255.255", "fd5b:24e1:90c7:24::ff:ffff"]);
    }
}
