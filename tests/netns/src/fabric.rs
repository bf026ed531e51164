//! The network between hosts.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Host, Namespace};

/// A switch that joins hosts; with an address it is their top-of-rack router too.
#[derive(Debug)]
pub struct Fabric {
    switch: Host,
    ports: AtomicUsize,
}

/// The fabric's bridge, which carries the router's addresses.
const BRIDGE: &str = "fabric";

impl Fabric {
    /// A switch with no ports that forwards packets between the subnets of its router addresses.
    pub fn new() -> Self {
        let switch = Host::new("fabric");
        // The kernel probes its own link-local addresses for a second, and solicits no neighbour
        // for packets that it forwards before they are settled.
        switch.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
        switch.ip(&format!(
            "link add {BRIDGE} type bridge\nlink set {BRIDGE} up"
        ));
        switch.set_sysctl("net/ipv4/ip_forward", "1");
        switch.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        Self {
            switch,
            ports: AtomicUsize::new(0),
        }
    }

    /// Gives the router addresses, such as `192.0.2.1/24` and `2001:db8::1/64`.
    pub fn router(&self, addresses: &[&str]) {
        self.switch.ip(&assign(BRIDGE, addresses));
    }

    /// Makes the router send a subnet's packets to a host.
    pub fn route(&self, subnet: &str, via: &str) {
        self.switch.ip(&format!("route add {subnet} via {via}"));
    }

    /// Plugs a host in by an interface with addresses, and returns once the port forwards.
    pub fn join(&self, host: &Host, interface: &str, addresses: &[&str]) {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let netns = host.netns();
        self.switch.ip(&format!(
            "link add {port} type veth peer name {interface} netns {}\n\
             link set {port} master {BRIDGE} up",
            netns.display()
        ));
        host.set_sysctl(&format!("net/ipv6/conf/{interface}/accept_dad"), "0");
        host.ip(&format!(
            "link set {interface} up\n{}",
            assign(interface, addresses)
        ));
        self.switch.wait_for_carrier(&port);
        host.wait_for_carrier(interface);
    }
}

impl Default for Fabric {
    fn default() -> Self {
        Self::new()
    }
}

impl Namespace for Fabric {
    fn name(&self) -> String {
        self.switch.name()
    }

    fn enter(&self) {
        self.switch.enter();
    }
}

/// Addresses of the fabric are unique by construction: duplicate detection would only delay tests.
fn assign(interface: &str, addresses: &[&str]) -> String {
    let line = |address: &&str| {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        format!("address add {address} dev {interface}{nodad}\n")
    };
    addresses.iter().map(line).collect()
}
