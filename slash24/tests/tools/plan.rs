//! `slash24 plan`.

use serde_json::{Value, json};

use crate::host::{Host, error_of, json_of, text_of};

const FIELDS: [&str; 6] = ["--rack", "0-255", "--chassis", "0-15", "--slot", "0-15"];

#[test]
fn a_plan_that_is_right() {
    let host = Host::with_networks();
    host.write("conf/task.json", r#"{"name": "web", "container": {}}"#);
    host.write(
        "conf/dhcp.conf",
        r#"{"name": "d", "type": "x", "ipam": {"type": "dhcp"}}"#,
    );
    let output = host.run(&[&["plan", "conf"][..], &FIELDS].concat());
    let text = text_of(&output);
    for part in [
        "65536 places: chassis 0-15, rack 0-255, slot 0-15",
        "10.0.0.0/25  ┆ 10.255.255.0/25 ",
        "backend ipam.ranges[0][0]: rack is bits 9 to 16, chassis is bits 17 to 20, slot is bits 21 to 24, all in the first 25: no two places have an address in common",
        "network \"d\" has its addresses from dhcp: not checked",
        "nothing is wrong",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed(&text).contains(&squeezed(part)),
            "{part} is not in\n{text}"
        );
    }
    let fields = [
        "--rack=20",
        "--chassis",
        "2-3",
        "--slot=11",
        "--subnets",
        "--output",
        "json",
    ];
    let plan = json_of(&host.run(&[&["plan", "conf/backend.conf"][..], &fields].concat()));
    assert_eq!((&plan["right"], &plan["places"]), (&json!(true), &json!(2)));
    assert_eq!(plan["networks"][0]["hosts"], 2);
    assert_eq!(plan["networks"][0]["containersPerHost"], 123);
    let subnets: Vec<&str> = plan["subnets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["subnet"].as_str().unwrap())
        .collect();
    assert_eq!(
        subnets,
        [
            "10.20.43.0/25",
            "fd00:24:14:20b::/64",
            "10.20.59.0/25",
            "fd00:24:14:30b::/64"
        ]
    );
}

/// What is not a network there, the host's place and a task, is passed over.
#[test]
fn the_examples_are_a_plan_that_is_right() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf-examples");
    for examples in [examples.to_owned(), format!("{examples}/mesos")] {
        let output = Host::new().run(&["plan", &examples, "--rack", "0-99", "--slot", "0-99"]);
        let text = text_of(&output);
        assert!(
            text.contains("10000 places") && text.contains("nothing is wrong"),
            "{text}"
        );
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_plan_that_is_wrong() {
    let host = Host::with_networks();
    host.network("clash", "1.0.0", json!({"subnet": "10.{rack}.0.0/16"}));
    host.network(
        "reserved",
        "1.0.0",
        json!({"subnet": "{rack}.{chassis:4}{slot:4}.0.0/16"}),
    );
    let fields = [
        "--rack",
        "100-256",
        "--chassis",
        "0-15",
        "--slot",
        "0-15",
        "--output",
        "json",
    ];
    let output = host.run(&[&["plan", "conf"][..], &fields].concat());
    assert_eq!(output.status.code(), Some(1));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["right"], false);
    let said = |kind: &str, why: &str| {
        let faults = plan["faults"].as_array().unwrap().iter();
        let mut of_kind = faults.filter(|fault| fault["kind"] == kind);
        assert!(
            of_kind.any(|fault| fault["message"].as_str().unwrap().contains(why)),
            "{kind} {why}: {plan:#}"
        );
    };
    said(
        "overlap",
        "and network \"clash\", ipam: 10.{rack}.0.0/16 overlap: both have 10.",
    );
    said(
        "not-in-subnet",
        "network \"clash\", ipam: 10.{rack}.0.0/16 does not depend on \"chassis\"",
    );
    said(
        "does-not-fit",
        "\"rack\" cannot be 256; its bits hold at most 255",
    );
    said("reserved", "127.0.0.0/8, loopback");
    said("reserved", "multicast");
    let slip = error_of(&host.run(&["plan", "conf", "--rack", "1", "--slto", "1"]));
    assert!(
        slip.contains(
            "--slto: no template has a field of that name; there are --chassis, --rack, --slot"
        ),
        "{slip}"
    );
    host.write(
        "lone.conf",
        &json!({"name": "lone", "cniVersion": "1.0.0", "type": "x",
            "ipam": {"type": "host-local", "subnet": "10.{rack}.0.0/16"}})
        .to_string(),
    );
    let lone = host.run(&["plan", "lone.conf", "--rack", "0-3", "--slot", "0-255"]);
    assert_eq!(lone.status.code(), Some(1));
    let lone = String::from_utf8(lone.stdout).unwrap();
    assert!(
        lone.contains("does not depend on \"slot\": places that differ in it alone would give"),
        "{lone}"
    );
    host.write("conf/torn.conf", "{");
    let torn = error_of(&host.run(&["plan", "conf", "--rack", "1"]));
    assert!(torn.contains("torn.conf"), "{torn}");
    host.write(
        "other/x.conf",
        r#"{"name": "d", "type": "x", "ipam": {"type": "dhcp"}}"#,
    );
    let nothing = error_of(&host.run(&["plan", "other"]));
    assert!(nothing.contains("no network in other"), "{nothing}");
    let none = error_of(&host.run(&["plan", "conf/none.conf"]));
    assert!(none.contains("conf/none.conf"), "{none}");
}

#[test]
fn static_addresses_are_planned() {
    let host = Host::new();
    let network = |name: &str, ipam: Value| {
        let config = json!({"cniVersion": "1.0.0", "name": name, "type": "x", "ipam": ipam});
        host.write(&format!("{name}.conf"), &config.to_string());
    };
    let fixed = |addresses: Value| json!({"type": "static", "addresses": addresses});
    let plan = |files: &[&str]| {
        let fields = ["--rack", "0-255", "--slot", "0-99", "--output", "json"];
        let output = host.run(&[&["plan"][..], files, &fields].concat());
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(if plan["right"] == true { 0 } else { 1 })
        );
        plan
    };
    let faults = |plan: &Value| -> Vec<String> {
        let faults = plan["faults"].as_array().unwrap().iter();
        let text = |fault: &Value| format!("{}: {}", fault["kind"], fault["message"]);
        faults
            .map(|fault| text(fault).replace(['\\', '"'], ""))
            .collect()
    };
    network(
        "each",
        fixed(
            json!([{"address": "172.16.{rack}.{slot}/16", "gateway": "172.16.255.254"},
            {"address": "fd00:53:{rack}:{slot}::53/128"}]),
        ),
    );
    network(
        "pool",
        json!({"type": "host-local", "subnet": "172.16.{rack}.0/24"}),
    );
    network(
        "once",
        fixed(json!([{"address": "192.168.7.9/24", "gateway": "192.168.7.1"}])),
    );
    network("racks", fixed(json!([{"address": "172.17.{rack}.9/24"}])));
    network(
        "crossed",
        fixed(json!([{"address": "10.{rack}.{slot}.9/24", "gateway": "10.{slot}.{rack}.1"}])),
    );
    network("asked", fixed(json!([])));
    let right = plan(&["each.conf", "once.conf", "asked.conf"]);
    assert_eq!(faults(&right), [] as [&str; 0]);
    let each = &right["networks"][0];
    assert_eq!(
        (&each["hosts"], &each["containersPerHost"]),
        (&json!(25_600), &json!(1))
    );
    assert_eq!(each["ranges"][0]["apartInFirstBits"], 32);
    assert!(
        right["notes"][0]
            .as_str()
            .unwrap()
            .contains("asked for: not checked")
    );
    for (files, expected) in [
        (
            &["each.conf", "pool.conf"][..],
            "overlap: network each, ipam.addresses[0]: 172.16.{rack}.{slot}/16 and network pool",
        ),
        (
            &["racks.conf"],
            "not-in-subnet: network racks, ipam.addresses[0]: 172.17.{rack}.9/24 does not depend on slot",
        ),
        (
            &["crossed.conf"],
            "gateway-outside: network crossed, ipam.addresses[0]",
        ),
    ] {
        let faults = faults(&plan(files));
        let found = faults.iter().any(|fault| fault.starts_with(expected));
        assert!(found, "{files:?}: {faults:?}");
    }
    let fields = ["--rack", "0-255", "--slot", "0-99"];
    let text = text_of(&host.run(&[&["plan", "each.conf", "once.conf"][..], &fields].concat()));
    assert!(
        text.contains("once ipam.addresses[0]: one address, the same wherever"),
        "{text}"
    );
}
