//! Hosts on one fabric, tenants on them, and what is seen in between.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;

use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

pub(super) use crate::capture::Capture;
use crate::network::merge;

/// Hosts in slots 1, 2, … of rack 1, with `eth0` in `192.0.2.0/24` and `2001:db8::/64`.
pub(super) struct Fleet {
    pub(super) fabric: Fabric,
    pub(super) hosts: Vec<Host>,
}

impl Fleet {
    pub(super) fn new(size: usize) -> Self {
        let mut fleet = Self {
            fabric: Fabric::new(),
            hosts: Vec::new(),
        };
        for _ in 0..size {
            fleet.grow();
        }
        fleet
    }

    /// One more host.
    pub(super) fn grow(&mut self) {
        let host = self.boot(self.hosts.len() + 1);
        self.hosts.push(host);
    }

    /// The host in a slot is off for good, and another one is in its place.
    pub(super) fn reboot(&mut self, slot: usize) {
        let host = self.boot(slot);
        self.hosts[slot - 1] = host;
    }

    fn boot(&self, slot: usize) -> Host {
        let host = Host::new(&format!("r1-s{slot}"));
        let addresses = [v4(slot), v6(slot)].map(|address| match address.contains(':') {
            true => format!("{address}/64"),
            false => format!("{address}/24"),
        });
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.fabric.join(&host, "eth0", &addresses);
        // The kernel routes to an IPv6 address of its own when it has got round to it.
        let question = format!("-6 route show table local {}", v6(slot));
        host.wait_until("its address is its own", || {
            host.ip_json(&question) != json!([])
        });
        let place = json!({"rack": 1, "slot": slot});
        host.write("/etc/slash24/location.json", &place.to_string());
        host
    }
}

/// The address of the host in a slot.
pub(super) fn v4(slot: usize) -> String {
    format!("192.0.2.{slot}")
}

pub(super) fn v6(slot: usize) -> String {
    format!("2001:db8::{slot}")
}

/// A tenant's network over hosts that are listed, with more keys. Its addresses are `10.9.0.0/16`,
/// of which the host in slot 1 gives `10.9.1.2` to `10.9.1.9`, and `fd09::/64` alike.
pub(super) fn tenant(name: &str, vni: u32, hosts: usize, keys: Value) -> Value {
    let peers: Vec<String> = (1..=hosts).map(v4).collect();
    let mut config = json!({
        "cniVersion": "1.1.0",
        "name": name,
        "type": "vxlan",
        "vni": vni,
        "underlay": "eth0",
        "peers": {"static": peers},
        "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"}],
            [{"subnet": "fd09::/64", "rangeStart": "fd09::{slot}:2", "rangeEnd": "fd09::{slot}:9"}],
        ]},
    });
    merge(&mut config, keys);
    config
}

/// [`tenant`] `red` whose hosts are places.
pub(super) fn places(slots: &str, ipam: &Value) -> Value {
    let keys =
        json!({"underlay": "192.0.2.{slot}", "peers": {"places": {"slot": slots}}, "ipam": ipam});
    tenant("red", 100, 1, keys)
}

/// A container on a network.
pub(super) fn attach<'h>(host: &'h Host, config: &Value, id: &str) -> Container<'h> {
    let container = host.container(id);
    add(config, &container);
    container
}

pub(super) fn add(config: &Value, container: &Container<'_>) -> Value {
    Call::new(container.host(), Plugins::Slash24, config)
        .attach(container, "eth0")
        .add()
        .success()
}

pub(super) fn del(config: &Value, container: &Container<'_>) {
    Call::new(container.host(), Plugins::Slash24, config)
        .attach(container, "eth0")
        .del()
        .success();
}

/// Asserts that an address answers. An IPv6 address is one of a container's own when a work queue
/// of the kernel has got round to it, which on a busy machine is after ADD.
pub(super) fn reach(from: &Container<'_>, address: &str) {
    if address.contains(':') {
        from.wait_until(&format!("{address} answers"), || from.reaches(address));
    }
    from.ping(address);
}

/// Sends `size` bytes by TCP and returns how many arrived.
pub(super) fn send(from: &Container<'_>, to: &Container<'_>, address: &str, size: usize) -> usize {
    let address: IpAddr = address.parse().unwrap();
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap());
    let server = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            from.run(|| {
                let patience = std::time::Duration::from_secs(5);
                let mut stream = TcpStream::connect_timeout(&server, patience).unwrap();
                stream.write_all(&vec![7; size]).unwrap();
            });
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received.len()
    })
}

/// Attaches a container on every host, and has all reach each other.
pub(super) fn all_reach_each_other<'f>(fleet: &'f Fleet, config: &Value) -> Vec<Container<'f>> {
    let hosts = fleet.hosts.iter();
    let containers: Vec<_> = hosts.map(|host| attach(host, config, "red")).collect();
    reach_each_other(&containers);
    containers
}

/// Asserts that each of them answers all others, at each of its addresses, and by TCP with packets
/// of full size.
pub(super) fn reach_each_other(containers: &[Container<'_>]) {
    for (index, from) in containers.iter().enumerate() {
        for (other, to) in containers.iter().enumerate().filter(|(o, _)| *o != index) {
            for address in to.addresses("eth0") {
                let address = address.split('/').next().unwrap();
                reach(from, address);
                assert_eq!(send(from, to, address, 200_000), 200_000, "{index} {other}");
            }
        }
    }
}

/// What a host has, but for tables of the packet filter and the chain that masquerading starts
/// from, which are the host's while the other chains are the networks', and for what the kernel does with `eth0` in its own time.
pub(super) fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/run/netns"]).without(|key| {
        key.starts_with("nft table ")
            || (key.starts_with("nft chain inet slash24") && key.ends_with("postrouting"))
            || key.starts_with("neighbour eth0 ")
            || (key.starts_with("file ") && !key.contains("slash24"))
    })
}
