//! What a tenant sends to everybody stays the tenant's, and can be limited where it leaves.

use std::net::UdpSocket;

use libtest_mimic::Trial;
use netns::{Container, Namespace, trial};
use serde_json::{Value, json};

use super::fleet::{Capture, Fleet, attach, tenant};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/storm/stays-in-the-tenant", || {
            storm(json!({}), 3000..=3000)
        }),
        trial("vxlan/storm/is-limited", || {
            // What may leave at once, and a little for the time that it takes.
            storm(json!({"stormLimit": 100}), 100..=400)
        }),
    ]
}

const FRAMES: usize = 3000;

/// Sends frames to everybody on the segment as fast as possible.
fn broadcast(from: &Container<'_>) {
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_broadcast(true).unwrap();
        for _ in 0..FRAMES {
            socket.send_to(b"storm", "10.9.255.255:9").unwrap();
        }
    });
}

fn received(container: &Container<'_>) -> u64 {
    let links = container.ip_json("-s link show eth0");
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

fn storm(keys: Value, arriving: std::ops::RangeInclusive<u64>) {
    let fleet = Fleet::new(2);
    let red = tenant("red", 100, 2, keys);
    let blue = tenant("blue", 200, 2, json!({}));
    let reds: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &red, "red"))
        .collect();
    let blues: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &blue, "blue"))
        .collect();
    reds[0].ping("10.9.2.2");
    blues[0].ping("10.9.2.2");
    let before: Vec<u64> = blues.iter().chain(&reds).map(received).collect();
    let capture = Capture::start(&blues[1], "eth0", "udp port 9");
    broadcast(&reds[0]);
    reds[0].ping("10.9.2.2");
    let after: Vec<u64> = blues.iter().chain(&reds).map(received).collect();
    assert!(!capture.stop().contains("10.9.255.255"));
    for (blue, (before, after)) in before.iter().zip(&after).take(2).enumerate() {
        assert!(
            after - before < 20,
            "blue container {blue} received {}",
            after - before
        );
    }
    let arrived = after[3] - before[3];
    let slack = 20;
    assert!(
        (*arriving.start()..=arriving.end() + slack).contains(&arrived),
        "{arrived} of {FRAMES} frames arrived"
    );
}
