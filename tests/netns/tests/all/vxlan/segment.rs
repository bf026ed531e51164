//! Tenants reach themselves on every host, and nobody else.

use libtest_mimic::Trial;
use netns::{Namespace, trial};
use serde_json::{Value, json};

use super::fleet::{Capture, Fleet, attach, reach, send, tenant, v6};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/segment/two-tenants-on-three-hosts", || {
            two_tenants(json!({}), "VXLAN")
        }),
        trial("vxlan/segment/over-ipv6", || {
            let peers: Vec<String> = (1..=3).map(v6).collect();
            let keys = json!({"underlay": "2001:db8::{slot}", "peers": {"static": peers}});
            two_tenants(keys, "VXLAN")
        }),
        trial("vxlan/segment/another-port-and-checksums", || {
            let keys = json!({"port": 8472, "udpChecksum": false, "ttl": 9, "tos": 8,
                "sourcePortRange": "50000-50100"});
            two_tenants(keys, "500")
        }),
    ]
}

/// Two tenants with the same addresses on three hosts.
fn two_tenants(keys: Value, seen: &str) {
    let fleet = Fleet::new(3);
    let red = tenant("red", 100, 3, keys.clone());
    let blue = tenant("blue", 200, 3, keys.clone());
    let on_all = |config: &Value, name: &str| {
        let hosts = fleet.hosts.iter();
        let attached = hosts.map(|host| attach(host, config, name));
        attached.collect::<Vec<_>>()
    };
    let port = keys["port"].as_u64().unwrap_or(4789);
    let reds = on_all(&red, "red");
    let capture = Capture::start(&fleet.fabric, "fabric", &format!("udp port {port}"));
    for (index, from) in reds.iter().enumerate() {
        for slot in (1..=3).filter(|slot| *slot != index + 1) {
            from.ping(&format!("10.9.{slot}.2"));
            reach(from, &format!("fd09::{slot}:2"));
        }
        let to = (index + 1) % 3;
        let address = format!("10.9.{}.2", to + 1);
        assert_eq!(send(from, &reds[to], &address, 300_000), 300_000);
        let address = format!("fd09::{}:2", to + 1);
        assert_eq!(send(from, &reds[to], &address, 300_000), 300_000);
    }
    let packets = capture.stop();
    if port == 4789 {
        assert!(packets.contains("vni 100"), "{packets}");
        assert!(!packets.contains("vni 200"), "{packets}");
    }
    assert!(packets.contains(seen), "{packets}");

    let blues = on_all(&blue, "blue");
    // Blue's address is that of red, and answers on blue's segment only.
    blues[1].ip("link set eth0 down");
    assert!(!blues[0].reaches("10.9.2.2"));
    reds[0].ping("10.9.2.2");
    for place in [&reds[0], &blues[0]] {
        assert!(!place.reaches("192.0.2.1"), "the host is out of reach");
    }
}
