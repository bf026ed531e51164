//! `slash24 where`.

use serde_json::{Value, json};

use crate::host::{CONF, Host, error_of, json_of, text_of};

#[test]
fn an_address_tells_its_place_and_its_holder() {
    let host = Host::with_networks();
    host.add("backend", "c1");
    host.write("data/retired/192.168.0.2", "c7\r\neth0");
    let find =
        |address: &str| host.run(&[&["where", "--output", "json", address][..], &CONF].concat());
    let here = json_of(&find("10.20.43.2"));
    assert_eq!(here[0]["network"], "backend");
    assert_eq!(
        here[0]["place"],
        json!({"rack": 20, "chassis": 2, "slot": 11})
    );
    assert_eq!(
        (&here[0]["host"], &here[0]["subnet"]),
        (&json!("this"), &json!("10.20.43.0/25"))
    );
    assert_eq!(here[0]["holders"][0]["container"], "c1");
    for (address, host_is, what) in [
        ("10.20.43.1", "this", "the gateway"),
        ("10.20.43.9", "this", "excluded"),
        ("10.20.43.100", "this", "reserved for db"),
        ("10.20.43.127", "this", "in the subnet, not in the range"),
        ("10.50.43.3", "another", "a container's"),
        ("172.50.43.53", "another", "shared by containers"),
        ("fd00:24:32:20b::7", "another", "a container's"),
        ("::ffff:10.50.43.3", "another", "a container's"),
    ] {
        let found = json_of(&find(address));
        assert_eq!(
            (&found[0]["host"], &found[0]["what"]),
            (&json!(host_is), &json!(what)),
            "{address}"
        );
        assert_eq!(found[0]["holders"], json!([]), "{address}");
    }
    let retired = json_of(&find("192.168.0.2"));
    assert_eq!(
        (&retired[0]["network"], &retired[0]["place"]),
        (&json!("retired"), &Value::Null)
    );
    let table = text_of(&host.run(&[&["where", "10.50.43.3"][..], &CONF].concat()));
    for text in [
        "│ backend ┆ 10.50.43.0/25 ┆ rack 50   ┆ another ┆",
        "chassis 2",
        "slot 11",
    ] {
        assert!(table.contains(text), "{table}");
    }
    let error = error_of(&find("192.0.2.1"));
    assert!(
        error.contains("10.{rack}.{chassis:4}{slot:4}.0/25"),
        "{error}"
    );
}

#[test]
fn a_host_may_be_known_by_name() {
    let host = Host::new();
    let ipam = json!({"type": "host-local", "subnet": "10.{rack}.{slot}.0/24",
        "location": {"hostname": "r{rack}-s{slot}-no-such-host"}});
    let config = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam});
    host.write("conf/net.conf", &config.to_string());
    let output = host.run(&[
        "where",
        "10.50.11.2",
        "--conf-dir",
        "conf",
        "--data-dir",
        "data",
        "--output",
        "json",
    ]);
    let found = json_of(&output);
    assert_eq!(found[0]["host"], "unknown");
    assert!(
        found[0]["hostError"]
            .as_str()
            .unwrap()
            .contains("no-such-host"),
        "{found}"
    );
}

/// Addresses that the configuration names have a place as well, also where their fields are
/// below the prefix.
#[test]
fn static_addresses_have_places() {
    let host = Host::with_networks();
    let config = json!({"cniVersion": "1.0.0", "name": "storage", "type": "macvlan", "ipam": {
        "type": "static",
        "addresses": [
            {"address": "100.70.{rack}.{slot}/16", "gateway": "100.70.255.254"},
            {"address": "fd00:53:{rack}:{slot}::53/64", "gateway": "fd00:53:{rack}:{slot}::1"},
        ],
        "location": {"rack": 20, "slot": 11},
    }});
    host.write("conf/storage.conf", &config.to_string());
    let find =
        |address: &str| host.run(&[&["where", "--output", "json", address][..], &CONF].concat());
    let own = "the address in the configuration";
    for (address, host_is, place, what) in [
        ("100.70.20.11", "this", json!({"rack": 20, "slot": 11}), own),
        (
            "100.70.50.7",
            "another",
            json!({"rack": 50, "slot": 7}),
            own,
        ),
        (
            "fd00:53:14:b::53",
            "this",
            json!({"rack": 20, "slot": 11}),
            own,
        ),
        (
            "fd00:53:32:7::53",
            "another",
            json!({"rack": 50, "slot": 7}),
            own,
        ),
        (
            "fd00:53:32:7::1",
            "another",
            json!({"rack": 50, "slot": 7}),
            "the gateway",
        ),
        (
            "fd00:53:32:7::99",
            "another",
            json!({"rack": 50, "slot": 7}),
            "in the subnet",
        ),
    ] {
        let found = json_of(&find(address));
        let found = &found[0];
        assert_eq!(
            (
                &found["network"],
                &found["host"],
                &found["place"],
                &found["what"]
            ),
            (&json!("storage"), &json!(host_is), &place, &json!(what)),
            "{address}"
        );
        assert_eq!(found["holders"], Value::Null, "{address}");
    }
    let table = text_of(&host.run(&[&["where", "100.70.20.11"][..], &CONF].concat()));
    for text in [" rack 20 ", " slot 11 ", " static keeps no leases "] {
        assert!(table.contains(text), "{table}");
    }
}
