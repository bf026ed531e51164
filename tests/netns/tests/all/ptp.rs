//! `ptp`: containers that the host routes for, each on a cable of its own.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use crate::network::{Family, network, with_previous};
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("ptp/routes", routes),
        both(
            "ptp/containers-reach-each-other-through-the-host",
            through_the_host,
        ),
        both("ptp/ipMasq", masquerades),
        ours("ptp/mtu-follows-the-uplink", mtu_follows_the_uplink),
        ours("ptp/check-finds-what-is-gone", check_finds),
        ours("ptp/gc-removes-the-cables-of-the-dead", garbage),
        vec![trial("ptp/dns/slash24", dns)],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn config(keys: Value) -> Value {
    network("ptp", "1.0.0", Family::Dual, keys)
}

fn add(plugins: Plugins, container: &Container<'_>, config: &Value) -> Value {
    Call::new(container.host(), plugins, config)
        .attach(container, "eth0")
        .add()
        .success()
}

/// What is the same in all kernels of a route: where it leads, by what, and from where.
fn told(route: &Value) -> String {
    let text = |key: &str| route[key].as_str().unwrap_or("-").to_owned();
    format!(
        "{} via {} dev {} src {}",
        text("dst"),
        text("gateway"),
        text("dev"),
        text("prefsrc")
    )
}

fn routes(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let mut config = config(json!({}));
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let result = add(plugins, &container, &config);
    let name = result["interfaces"][0]["name"]
        .as_str()
        .expect("the host's end");
    let mut found: Vec<_> = ["-4", "-6"]
        .iter()
        .flat_map(|family| container.routes(family))
        .map(|route| told(&route))
        .collect();
    found.retain(|route| !route.starts_with("fe80"));
    found.sort();
    assert_eq!(
        found,
        [
            "10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.2",
            "10.1.2.1 via - dev eth0 src 10.1.2.2",
            "default via 10.1.2.1 dev eth0 src -",
            "default via fd00:1:2::1 dev eth0 src -",
            "fd00:1:2::/64 via fd00:1:2::1 dev eth0 src fd00:1:2::2",
            "fd00:1:2::1 via - dev eth0 src fd00:1:2::2",
        ]
    );
    assert_eq!(host.addresses(name), ["10.1.2.1/32", "fd00:1:2::1/128"]);
    for (family, address) in [("-4", "10.1.2.2"), ("-6", "fd00:1:2::2")] {
        let routes = host.routes(family);
        let leads = routes
            .iter()
            .any(|route| route["dst"] == address && route["dev"] == name);
        assert!(leads, "{address} is not in {routes:?}");
    }
}

fn through_the_host(plugins: Plugins) {
    let host = Host::new("host");
    let containers = ["one", "two"].map(|id| host.container(id));
    for container in &containers {
        add(plugins, container, &config(json!({})));
    }
    for (from, to) in [(0, "3"), (1, "2")] {
        for network in ["10.1.2.", "fd00:1:2::"] {
            let address = format!("{network}{to}");
            match plugins {
                Plugins::Slash24 => containers[from].ping(&address),
                // It looks for duplicates of the gateway's address first.
                Plugins::Debian => containers[from]
                    .wait_until("packets pass", || containers[from].reaches(&address)),
            }
        }
    }
}

fn masquerades(plugins: Plugins) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&["192.0.2.1/24", "2001:db8::1/64"]);
    fabric.join(&host, "eth0", &["192.0.2.9/24", "2001:db8::9/64"]);
    let container = host.container("c");
    let mut config = config(json!({"ipMasq": true}));
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    add(plugins, &container, &config);
    for (server, seen) in [("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9")] {
        // The reference looks for duplicates of the gateway's address first.
        container.wait_until("packets pass", || container.reaches(server));
        let source = container.tcp(&fabric, server).expect("the router listens");
        assert_eq!(source.ip().to_string(), seen);
    }
}

fn mtu_follows_the_uplink() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&["192.0.2.1/24"]);
    fabric.join(&host, "eth0", &["192.0.2.9/24"]);
    host.ip("link set eth0 mtu 1430");
    host.default_route(&["192.0.2.1"]);
    let container = host.container("c");
    let result = add(
        Plugins::Slash24,
        &container,
        &config(json!({"cniVersion": "1.1.0"})),
    );
    for interface in [0, 1] {
        assert_eq!(result["interfaces"][interface]["mtu"], 1430);
    }
    assert_eq!(container.link("eth0").expect("it is there")["mtu"], 1430);
}

fn check_finds() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = config(json!({"ipMasq": true}));
    let result = add(Plugins::Slash24, &container, &config);
    let call = Call::new(&host, Plugins::Slash24, &with_previous(&config, &result))
        .attach(&container, "eth0");
    let name = result["interfaces"][0]["name"]
        .as_str()
        .expect("the host's end");
    call.check().success();
    for (harm, says) in [
        (
            format!("address delete fd00:1:2::1/128 dev {name}"),
            "fd00:1:2::1/128",
        ),
        (
            format!(
                "address add fd00:1:2::1/128 dev {name} nodad\nroute delete 10.1.2.2 dev {name}"
            ),
            "10.1.2.2",
        ),
        (format!("link set {name} down"), name),
    ] {
        host.ip(&harm);
        let failure = call.check().failure();
        assert!(
            failure["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains(says)),
            "{failure}"
        );
    }
}

fn garbage() {
    let host = Host::new("host");
    let (dead, living) = (host.container("dead"), host.container("living"));
    let config = config(json!({"cniVersion": "1.1.0"}));
    for container in [&dead, &living] {
        add(Plugins::Slash24, container, &config);
    }
    let mut gc = config.clone();
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "living", "ifname": "eth0"}]);
    Call::new(&host, Plugins::Slash24, &gc)
        .command("GC")
        .success();
    assert!(dead.link("eth0").is_none());
    living.ping("10.1.2.1");
}

fn dns() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = config(json!({"dns": {"nameservers": ["192.0.2.53"]}}));
    let result = add(Plugins::Slash24, &container, &config);
    assert_eq!(result["dns"]["nameservers"], json!(["192.0.2.53"]));
}
