//! The way out of a network (`ipMasq`): a virtual cable between its router and the host.
//!
//! The router gives what leaves an address of its own, which no other network on the
//! host has, and the host gives it one of its own after that: so tenants with the same
//! subnets can leave by one host, and answers find the right one. Nothing is asked on
//! the cable; both ends know each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use kernel::{Mac, Neighbour, Netlink, RouteEntry, VethPair, nft, sysctl};

use super::names;
use super::router::{Router, expect};
use crate::Result;

/// The name of the router's end.
const UPLINK: &str = "uplink";
/// The host's end for the router, on every such cable: link-local addresses.
const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];

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

/// Makes the way out. The caller has the lock alone.
pub(super) fn open(host: &mut Netlink, router: &mut Router, vni: u32, network: &str) -> Result<()> {
    let name = names::exit_port(vni);
    let leftover = host.link(&name)?;
    let leftover = leftover.map(|link| kernel::delete_link(link.index));
    host.apply(leftover.as_slice())?;
    let (host_mac, router_mac) = names::exit_macs(vni);
    let pair = VethPair {
        host_name: &name,
        host_mac,
        container_name: UPLINK,
        container_mac: router_mac,
        container: router.netns.descriptor(),
        mtu: None,
        bridge: None,
    };
    host.apply(&[
        kernel::create_veth(&pair),
        kernel::generate_no_addresses(&name),
    ])?;
    sysctl::set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    in_router(router, vni, host_mac)?;
    on_host(host, vni, network, router_mac)?;
    // A kernel that is asked about a link sends by it from then on; otherwise it does so
    // when a work queue has noticed that the cable has a signal.
    expect(&mut router.netlink, UPLINK)?;
    expect(host, &name).map(drop)
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
        operations.extend(route);
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
