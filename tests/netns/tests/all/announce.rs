//! Addresses that serve at once and that neighbours learn at once: no duplicate detection, no
//! router advertisements, and announcements after the link is up.

use std::net::{Ipv6Addr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
    socket, sockopt,
};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan};
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("announce/bridge/IPv6-serves-at-once", || {
            serves_at_once(bridge)
        }),
        ours("announce/macvlan/IPv6-serves-at-once", || {
            serves_at_once(macvlan)
        }),
        ours("announce/bridge/forwards-IPv6-at-once", forwards_at_once),
        ours("announce/bridge/neighbours-learn-the-new-mac", || {
            neighbours_learn(bridge, Family::Dual)
        }),
        ours(
            "announce/bridge/neighbours-learn-on-a-crowded-bridge",
            crowded,
        ),
        ours("announce/macvlan/neighbours-learn-the-new-mac", || {
            neighbours_learn(macvlan, Family::Dual)
        }),
        ours(
            "announce/macvlan/neighbours-learn-the-new-mac/IPv4-alone",
            || neighbours_learn(macvlan, Family::V4),
        ),
        ours("announce/bridge/router-advertisements-are-refused", || {
            refuses_routers(bridge)
        }),
        ours("announce/macvlan/router-advertisements-are-refused", || {
            refuses_routers(macvlan)
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

type Config = fn(Family, Value) -> Value;

/// A host on a fabric whose router is the gateway of macvlan networks.
fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    (fabric, host)
}

fn add(container: &Container<'_>, config: &Value) {
    Call::new(container.host(), Plugins::Slash24, config)
        .attach(container, "eth0")
        .add()
        .success();
}

fn on_bridge(config: &Value) -> bool {
    config["type"] == "bridge"
}

fn serves_at_once(config: Config) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    add(&container, &config(Family::V6, json!({})));
    // An address that is being probed for duplicates cannot be bound.
    let address: Ipv6Addr = "fd00:1:2::2".parse().expect("it is one");
    container
        .run(|| TcpListener::bind((address, 0)))
        .expect("the address serves");
    assert!(container.reaches("fd00:1:2::1"), "the first packet arrives");
    for link in container
        .ip_json("-6 address show dev eth0")
        .as_array()
        .into_iter()
        .flatten()
    {
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let probed = address["scope"] == "global" && address["nodad"] != true;
            assert!(!probed, "{address}");
        }
    }
}

/// The bridge is new. A packet from beyond the host must not wait for the link-local address with
/// which the bridge solicits its neighbours.
fn forwards_at_once() {
    let (fabric, host, outside) = (Fabric::new(), Host::new("host"), Host::new("outside"));
    fabric.join(&host, "eth0", &["2001:db8::1/64"]);
    fabric.join(&outside, "eth0", &["2001:db8::2/64"]);
    outside.ip("route add fd00:1:2::/64 via 2001:db8::1");
    let container = host.container("c");
    add(
        &container,
        &bridge(Family::V6, json!({"isDefaultGateway": true})),
    );
    assert!(outside.reaches("fd00:1:2::2"), "the first packet arrives");
    container.ping("2001:db8::2");
}

fn neighbours_learn(config: Config, family: Family) {
    let (fabric, host) = on_fabric();
    let config = config(family, json!({}));
    let first = host.container("first");
    add(&first, &config);
    match on_bridge(&config) {
        true => {
            // A new bridge forgets its neighbours when it gets its carrier.
            host.wait_for_carrier("br0");
            learns(&host, "br0", &host, &config, family);
        }
        false => learns(&fabric, "fabric", &host, &config, family),
    }
}

/// So many ports that nobody waits until all have heard.
fn crowded() {
    let host = Host::new("host");
    let config = bridge(Family::Dual, json!({}));
    let first = host.container("first");
    add(&first, &config);
    host.wait_for_carrier("br0");
    let port = |n| format!("link add p{n} type veth peer name q{n}\nlink set p{n} master br0\n");
    host.ip(&(0..80).map(port).collect::<String>());
    learns(&host, "br0", &host, &config, Family::Dual);
}

/// A neighbour still believes in the previous owner of the addresses. It must learn of the new one
/// without having sent anything.
fn learns(neighbour: &impl Namespace, device: &str, host: &Host, config: &Value, family: Family) {
    let nets: &[&str] = match family {
        Family::V4 => &["10.1.2.3/24"],
        Family::V6 => &["fd00:1:2::3/64"],
        Family::Dual => &["10.1.2.3/24", "fd00:1:2::3/64"],
    };
    let addresses = || nets.iter().filter_map(|net| net.split('/').next());
    for address in addresses() {
        let old = "02:00:00:00:00:99";
        neighbour.ip(&format!(
            "neighbour replace {address} lladdr {old} dev {device} nud reachable"
        ));
    }
    let container = host.container("c");
    add(&container, config);
    assert_eq!(container.addresses("eth0"), nets);
    let mac = container.link("eth0").expect("it was attached")["address"].clone();
    let known = |address: &str| {
        let table = neighbour.ip_json("neighbour show");
        let entry = table
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["dst"] == address);
        entry.is_some_and(|entry| entry["lladdr"] == mac)
    };
    for address in addresses() {
        neighbour.wait_until(&format!("the owner of {address} is known"), || {
            known(address)
        });
    }
}

/// Sends one router advertisement for `prefix` (RFC 4861, section 4.2) to all nodes.
fn advertise(interface: &str, prefix: Ipv6Addr) -> nix::Result<()> {
    let raw = SockFlag::SOCK_CLOEXEC;
    let sender = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        raw,
        SockProtocol::IcmpV6,
    )?;
    setsockopt(&sender, sockopt::BindToDevice, &interface.into())?;
    // Receivers ignore what may have come from beyond the link.
    setsockopt(&sender, sockopt::Ipv6MulticastHops, &255)?;
    let (router_lifetime, forever) = (1800_u16.to_be_bytes(), 3600_u32.to_be_bytes());
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(router_lifetime);
    message.extend([0; 8]);
    // The prefix is on the link and for autonomous configuration.
    message.extend([3, 4, 64, 0xc0]);
    message.extend(forever);
    message.extend(forever);
    message.extend([0; 4]);
    message.extend(prefix.octets());
    let nodes: Ipv6Addr = "ff02::1".parse().expect("it is one");
    let to = SockaddrIn6::from(SocketAddrV6::new(nodes, 0, 0, 0));
    sendto(sender.as_raw_fd(), &message, &to, MsgFlags::empty())?;
    Ok(())
}

/// A router shouts on the link all the while. The container listens to it only if asked to.
fn refuses_routers(config: Config) {
    let (fabric, host) = on_fabric();
    let config = config(Family::V6, json!({}));
    let first = host.container("first");
    add(&first, &config);
    thread::scope(|scope| {
        // The router falls silent when this end is dropped, also when an assertion ends the story.
        let (_audience, heard) = channel();
        let (host, fabric, config) = (&host, &fabric, &config);
        scope.spawn(move || match on_bridge(config) {
            true => host.run(|| shout("br0", heard)),
            false => fabric.run(|| shout("fabric", heard)),
        });
        let control = host.container("control");
        plain_interface(&control, config);
        control.wait_until("the router is heard", || !learnt(&control).is_empty());

        let container = host.container("c");
        add(&container, config);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(learnt(&container), Vec::<String>::new());
        assert_eq!(learnt(&first), Vec::<String>::new());
    });
}

/// Without a plugin: an interface on the same link with the kernel's own settings.
fn plain_interface(container: &Container<'_>, config: &Value) {
    let netns = container.netns();
    let netns = netns.display();
    container.host().ip(&match on_bridge(config) {
        true => format!("link add v0 up master br0 type veth peer name eth0 netns {netns}"),
        false => format!("link add link eth0 name eth0 netns {netns} type macvlan mode bridge"),
    });
    container.ip("link set eth0 up");
}

/// The addresses and default routes that came from router advertisements.
fn learnt(container: &Container<'_>) -> Vec<String> {
    let addresses = container.addresses("eth0");
    let addresses = addresses
        .into_iter()
        .filter(|address| address.starts_with("2001:db8:bad:"));
    let routes = container.routes("-6").into_iter();
    let routes = routes
        .filter(|route| route["protocol"] == "ra")
        .map(|route| route.to_string());
    addresses.chain(routes).collect()
}

pub(crate) fn shout(interface: &str, audience: Receiver<()>) {
    let prefix: Ipv6Addr = "2001:db8:bad::".parse().expect("it is one");
    while audience.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        // The interface may not have its link-local address yet.
        let _ = advertise(interface, prefix);
    }
}
