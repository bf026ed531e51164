//! Names and hardware addresses of a VXLAN network. They follow from its VNI and
//! from the hosts' addresses, so that every host knows those of all others, and
//! what is left by a process that was killed is found again.

use std::net::IpAddr;
use std::path::PathBuf;

use kernel::Mac;

use crate::attachment::fnv1a;

/// The VXLAN device: `vx` and the VNI, at most ten letters.
pub(super) fn device(vni: u32) -> String {
    format!("vx{vni}")
}

/// The bridge that it and the containers are ports of.
pub(super) fn bridge(vni: u32) -> String {
    format!("vxbr{vni}")
}

/// The VNI of a bridge with this name.
pub(super) fn vni_of_bridge(name: &str) -> Option<u32> {
    name.strip_prefix("vxbr")?.parse().ok()
}

/// The bridge's port that leads to the network's router.
pub(super) fn gateway_port(vni: u32) -> String {
    format!("vxgw{vni}")
}

/// The host's link to the network's router, for packets that leave the network.
pub fn exit_port(vni: u32) -> String {
    format!("vxup{vni}")
}

/// The group (`ip link show group`) that a network's links are put into to be deleted
/// together. People number theirs from 0.
pub(super) fn group(vni: u32) -> u32 {
    (1 << 31) | vni
}

/// Where the namespace of the network's router is.
pub(super) fn router(vni: u32) -> PathBuf {
    format!("/run/netns/slash24-vx{vni}").into()
}

/// Whether any network of this host has a router.
pub(super) fn has_routers() -> bool {
    let all = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let mut names = all.map(|entry| entry.file_name());
    names.any(|name| name.as_encoded_bytes().starts_with(b"slash24-vx"))
}

/// The lock of a network's devices.
pub(super) fn lock(vni: u32) -> String {
    format!("vxlan/{vni}")
}

/// How what is written on a network's links begins. Not how the marks of attachments
/// begin: nobody must take it for one.
const MARK: &str = "slash24-vxlan";
/// What is written besides on a bridge that learns nothing.
const FIXED: &str = "fixed";

/// What is written on a network's links.
pub(super) fn mark(network: &str) -> String {
    format!("{MARK} {network}")
}

/// What is written on the bridge of a network once it is complete, and whether who is
/// where on it is set: an ADD has to know this, and does not look at the inventory.
pub(super) fn bridge_mark(network: &str, is_fixed: bool) -> String {
    match is_fixed {
        true => format!("{MARK} {network} {FIXED}"),
        false => mark(network),
    }
}

/// Whether the mark on a bridge says that who is where on it is set.
pub(super) fn is_fixed(mark: &str) -> bool {
    mark.split(' ').nth(2) == Some(FIXED)
}

/// The network that a mark is of.
pub(super) fn network_of(mark: &str) -> Option<&str> {
    let mut words = mark.split(' ');
    words.next().filter(|word| *word == MARK)?;
    words.next()
}

/// Whether a mark is a network's.
pub(super) fn is_of(mark: &str, network: &str) -> bool {
    network_of(mark) == Some(network)
}

/// The hardware address of a host's tunnel end point.
pub(super) fn tunnel_mac(underlay: IpAddr) -> Mac {
    match underlay {
        // Of containers the first two bytes are 0a:58.
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            Mac([0x0e, 0x58, a, b, c, d])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = fnv1a(&ip.octets()).to_be_bytes();
            Mac([0x0e, 0x59, a, b, c, d])
        }
    }
}

/// The hardware address of a network's bridge on a host. All of a network's
/// bridges are on one segment, so it must not be the same on two hosts.
pub(super) fn bridge_mac(vni: u32, underlay: IpAddr) -> Mac {
    derived("bridge", &format!("{vni} {underlay}"))
}

/// The hardware address of a network's gateway, the same on every host.
pub(super) fn gateway_mac(vni: u32) -> Mac {
    derived("gateway", &vni.to_string())
}

/// The hardware address of the port that leads to it, which nobody sends to.
pub(super) fn gateway_port_mac(vni: u32) -> Mac {
    derived("gateway port", &vni.to_string())
}

/// The hardware addresses of the link between the host and a network's router.
pub(super) fn exit_macs(vni: u32) -> (Mac, Mac) {
    let mac = |end| derived(end, &vni.to_string());
    (mac("exit host"), mac("exit router"))
}

fn derived(kind: &str, of: &str) -> Mac {
    let [a, b, c, d, e, f, ..] = fnv1a(format!("{MARK} {kind} {of}").as_bytes()).to_be_bytes();
    Mac::local([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_whose_a_bridge_is_and_what_it_knows() {
        for is_known in [true, false] {
            let mark = bridge_mark("red", is_known);
            assert!(is_of(&mark, "red") && !is_of(&mark, "re"), "{mark}");
            assert_eq!(is_fixed(&mark), is_known, "{mark}");
        }
        assert_eq!(network_of("slash24 red c eth0"), None);
        assert!(!is_fixed("slash24-vxlan fixed"));
    }

    #[test]
    fn names_fit_and_addresses_differ() {
        assert_eq!(bridge(16_777_215), "vxbr16777215");
        assert_eq!(vni_of_bridge("vxbr16777215"), Some(16_777_215));
        assert_eq!(vni_of_bridge("cni0"), None);
        assert_eq!(device(5), "vx5");
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(tunnel_mac(v4).to_string(), "0e:58:c0:00:02:07");
        assert!(tunnel_mac(v6).is_unicast());
        assert_ne!(tunnel_mac(v6), tunnel_mac(v4));
        assert_ne!(bridge_mac(5, v4), bridge_mac(6, v4));
        assert_ne!(bridge_mac(5, v4), bridge_mac(5, v6));
    }
}
