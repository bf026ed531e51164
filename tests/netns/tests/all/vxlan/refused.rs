//! Configurations that are refused, with everything on the host as it was; and STATUS of them.

use std::net::UdpSocket;

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use super::fleet::{Fleet, attach, tenant};

struct Case {
    name: &'static str,
    code: u64,
    says: &'static [&'static str],
    /// What makes the host unfit.
    prepare: &'static str,
    /// Whether STATUS finds it too.
    by_status: bool,
    keys: fn() -> Value,
}

const fn case(
    name: &'static str,
    code: u64,
    says: &'static [&'static str],
    keys: fn() -> Value,
) -> Case {
    Case {
        name,
        code,
        says,
        prepare: "",
        by_status: true,
        keys,
    }
}

const CASES: &[Case] = &[
    case(
        "vni/zero",
        7,
        &["\"vni\": 0", "16777215"],
        || json!({"vni": 0}),
    ),
    case(
        "vni/too-large",
        7,
        &["\"vni\": 16777216"],
        || json!({"vni": 16_777_216}),
    ),
    case("vni/negative", 6, &["vni", "-1"], || json!({"vni": -1})),
    case(
        "vni/of-another-network",
        7,
        &["\"vni\": 7", "network \"other\""],
        || json!({"vni": 7}),
    ),
    Case {
        prepare: "link add t0 type vxlan id 100 dstport 4789 local 192.0.2.1",
        ..case(
            "vni/of-another-device",
            7,
            &["\"vni\": 100", "4789"],
            || json!({}),
        )
    },
    Case {
        prepare: "link add vx100 type bridge",
        by_status: false,
        ..case(
            "vni/name-of-another-link",
            7,
            &["\"vni\": 100", "vx100"],
            || json!({}),
        )
    },
    Case {
        prepare: "link add vxbr100 type veth peer name x",
        ..case(
            "vni/name-of-another-bridge",
            7,
            &["\"vni\": 100", "vxbr100"],
            || json!({}),
        )
    },
    case("port/zero", 7, &["\"port\": 0"], || json!({"port": 0})),
    case(
        "underlay/missing",
        7,
        &["\"underlay\"", "eth7"],
        || json!({"underlay": "eth7"}),
    ),
    Case {
        prepare: "link add eth7 type veth peer name x\nlink set eth7 up",
        ..case(
            "underlay/without-address",
            7,
            &["eth7 has no address"],
            || json!({"underlay": "eth7"}),
        )
    },
    Case {
        prepare: "link add eth7 type veth peer name x\naddress add 192.0.2.1/32 dev eth7",
        ..case(
            "underlay/down",
            7,
            &["eth7 is down"],
            || json!({"underlay": "eth7"}),
        )
    },
    case(
        "underlay/of-nobody",
        7,
        &["\"underlay\"", "192.0.2.99"],
        || json!({"underlay": "192.0.2.99"}),
    ),
    case(
        "underlay/template-of-nobody",
        7,
        &["10.1.1.1", "10.{rack}.{slot}.1"],
        || json!({"underlay": "10.{rack}.{slot}.1"}),
    ),
    case(
        "underlay/field-missing",
        7,
        &["\"underlay\"", "chassis"],
        || json!({"underlay": "10.{chassis}.{slot}.1"}),
    ),
    case(
        "underlay/no-default-route",
        7,
        &["default route"],
        || json!({"underlay": null}),
    ),
    case(
        "peers/missing",
        7,
        &["\"peers\""],
        || json!({"peers": null}),
    ),
    case(
        "peers/two-kinds",
        7,
        &["\"peers\"", "exactly one"],
        || json!({"peers": {"evpn": true, "group": "239.1.1.1"}}),
    ),
    case(
        "peers/not-among-them",
        7,
        &["192.0.2.1", "2 of \"peers.static\""],
        || json!({"peers": {"static": ["192.0.2.2", "192.0.2.3"]}}),
    ),
    case(
        "peers/of-another-family",
        7,
        &["2001:db8::2"],
        || json!({"peers": {"static": ["192.0.2.1", "2001:db8::2"]}}),
    ),
    case(
        "peers/place-outside",
        7,
        &["192.0.2.1", "\"peers.places\""],
        || json!({"underlay": "192.0.2.{slot}", "peers": {"places": {"slot": "5-9"}}}),
    ),
    case(
        "peers/places-without-template",
        7,
        &["\"underlay\": \"eth0\"", "must be a template"],
        || json!({"peers": {"places": {"slot": "1-3"}}}),
    ),
    case(
        "peers/file-missing",
        5,
        &["/etc/slash24/none.json"],
        || json!({"peers": {"file": "/etc/slash24/none.json"}}),
    ),
    case(
        "peers/file-is-no-inventory",
        6,
        &["location.json", "no list of hosts"],
        || json!({"peers": {"file": "/etc/slash24/location.json"}}),
    ),
    case(
        "peers/group-is-none",
        7,
        &["\"peers.group\"", "192.0.2.1"],
        || json!({"peers": {"group": "192.0.2.1"}}),
    ),
    case(
        "mtu/too-large",
        7,
        &["\"mtu\": 1451", "1450"],
        || json!({"mtu": 1451}),
    ),
    case(
        "mtu/too-large-for-ipv6",
        7,
        &["\"mtu\": 1440", "1430"],
        || json!({"mtu": 1440, "underlay": "2001:db8::1", "peers": {"static": ["2001:db8::1"]}}),
    ),
    case("mtu/too-small", 7, &["\"mtu\": 9"], || json!({"mtu": 9})),
    case(
        "mode/unknown",
        7,
        &["\"mode\": \"l4\""],
        || json!({"mode": "l4"}),
    ),
    case(
        "mode/subnets-unknown",
        7,
        &["\"l3\"", "192.0.2.2"],
        || json!({"mode": "l3"}),
    ),
    case(
        "mode/l3-without-inventory",
        7,
        &["\"mode\"", "places"],
        || json!({"mode": "l3", "peers": {"evpn": true}}),
    ),
    case(
        "gateway/unknown",
        7,
        &["\"gateway\": \"every\"", "anycast"],
        || json!({"gateway": "every"}),
    ),
    case(
        "gateway/none-but-default",
        7,
        &["\"gateway\": \"none\""],
        || json!({"gateway": "none", "isDefaultGateway": true}),
    ),
    Case {
        by_status: false,
        ..case(
            "mac/chosen-where-it-is-computed",
            7,
            &["\"mac\"", "red"],
            || {
                json!({
                    "mac": "0a:00:00:00:00:01",
                    "underlay": "192.0.2.{slot}",
                    "peers": {"places": {"slot": "1-3"}},
                    "ipam": {"type": "host-local", "subnet": "10.9.{slot}.0/24"},
                })
            },
        )
    },
];

pub(super) fn trials() -> Vec<Trial> {
    let of = |case: &'static Case| {
        trial(format!("vxlan/refused/{}", case.name), move || {
            refused(case)
        })
    };
    let port = trial("vxlan/refused/port/of-a-program", port_of_a_program);
    CASES.iter().map(of).chain([port]).collect()
}

/// A program of the host listens where the tunnels end.
fn port_of_a_program() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let program = host.run(|| UdpSocket::bind("0.0.0.0:4789").unwrap());
    let config = tenant("red", 100, 1, json!({}));
    let container = host.container("c");
    let before = look(host);
    let call = || Call::new(host, Plugins::Slash24, &config).attach(&container, "eth0");
    let status = || call().env("CNI_COMMAND", "STATUS").execute();
    for error in [call().add().failure(), status().failure()] {
        let says = error["msg"].as_str().unwrap_or_default();
        assert!(says.contains("\"port\": UDP port 4789"), "{error}");
        before.assert_same(&look(host), "after a call that was refused");
    }
    drop(program);
    // A trial beside that is just starting a program has the socket as well until it does.
    host.wait_until("the port is free", || status().code == Some(0));
    attach(host, &config, "c2");
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/run/netns", "/var/lib/cni"]).without(|key| {
        // Of addresses that were given back host-local remembers the last; a table of the packet
        // filter is the host's.
        key.contains(" /var/lib/cni") && !key.contains("/10.")
            || key.starts_with("nft table netdev")
    })
}

fn refused(case: &Case) {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    host.ip(case.prepare);
    let _other = attach(host, &tenant("other", 7, 1, json!({"port": 4790})), "other");
    let container = host.container("c");
    let config = tenant("red", 100, 3, (case.keys)());
    let before = look(host);
    let error = Call::new(host, Plugins::Slash24, &config)
        .attach(&container, "eth0")
        .add()
        .failure();
    assert_eq!(error["code"], case.code, "{error}");
    let message = error["msg"].as_str().unwrap_or_default();
    for part in case.says {
        assert!(
            message.contains(part),
            "the message does not say {part:?}: {error}"
        );
    }
    before.assert_same(&look(host), "after a call that was refused");
    assert!(container.link("eth0").is_none());

    let status = Call::new(host, Plugins::Slash24, &config).env("CNI_COMMAND", "STATUS");
    if case.by_status {
        let error = status.execute().failure();
        let message = error["msg"].as_str().unwrap_or_default();
        assert!(
            case.says.iter().all(|part| message.contains(part)),
            "{error}"
        );
    } else {
        status.execute().success();
    }
}
