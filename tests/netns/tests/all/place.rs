//! Where a host's subnets come from: templates over its place, however it learns of it.

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::{Family, bridge};
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("place/literal", || {
            gets_the_subnets_of_its_place(|_| {}, json!({"rack": 50, "chassis": 2, "slot": 11}));
        }),
        ours("place/file", || {
            gets_the_subnets_of_its_place(
                |host| host.write("/run/place.json", PLACE),
                json!({"file": "/run/place.json"}),
            );
        }),
        ours("place/file-is-the-default", || {
            gets_the_subnets_of_its_place(
                |host| host.write("/etc/slash24/location.json", PLACE),
                Value::Null,
            );
        }),
        ours("place/hostname", || {
            gets_the_subnets_of_its_place(
                |_| {},
                json!({"hostname": "r{rack}-c{chassis}-s{slot}"}),
            );
        }),
        ours("place/dmi", || {
            gets_the_subnets_of_its_place(
                |host| host.set_dmi("chassis_asset_tag", "R50-C2-S11"),
                json!({"dmi": "chassis_asset_tag", "pattern": "R{rack}-C{chassis}-S{slot}"}),
            );
        }),
        ours(
            "place/every-address-may-be-a-template",
            every_address_may_be_a_template,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A place as a file has it.
const PLACE: &str = r#"{"rack": 50, "chassis": 2, "slot": 11}"#;

/// The host is told its place in some way; its container's addresses name rack and slot.
fn gets_the_subnets_of_its_place(prepare: fn(&Host), location: Value) {
    let host = Host::new("r50-c2-s11");
    prepare(&host);
    let container = host.container("c");
    let mut config = bridge(Family::Dual, json!({}));
    config["ipam"] = json!({"type": "host-local", "ranges": [
        [{"subnet": "10.{rack}.{slot}.0/24"}],
        [{"subnet": "fd00:24:{rack}:{chassis:8}{slot:8}::/64"}],
    ]});
    if !location.is_null() {
        config["ipam"]["location"] = location;
    }
    Call::new(&host, Plugins::Slash24, &config)
        .attach(&container, "eth0")
        .add()
        .success();
    // Rack 50 is 0x32, chassis 2 and slot 11 side by side are 0x020b.
    assert_eq!(
        container.addresses("eth0"),
        ["10.50.11.2/24", "fd00:24:32:20b::2/64"]
    );
    assert_eq!(
        host.addresses("br0"),
        ["10.50.11.1/24", "fd00:24:32:20b::1/64"]
    );
    container.ping("10.50.11.1");
    container.ping("fd00:24:32:20b::1");
}

fn every_address_may_be_a_template() {
    let host = Host::new("host");
    host.write("/etc/slash24/location.json", r#"{"rack": 50, "slot": 11}"#);
    let container = host.container("c");
    let mut config = bridge(Family::V4, json!({}));
    config["ipam"] = json!({"type": "host-local", "ranges": [[{
        "subnet": "10.{rack}.{slot}.0/24",
        "rangeStart": "10.{rack}.{slot}.100",
        "rangeEnd": "10.{rack}.{slot}.110",
        "gateway": "10.{rack}.{slot}.99",
    }]], "routes": [{"dst": "10.{rack}.0.0/16", "gw": "10.{rack}.{slot}.98"}]});
    Call::new(&host, Plugins::Slash24, &config)
        .attach(&container, "eth0")
        .add()
        .success();
    assert_eq!(container.addresses("eth0"), ["10.50.11.100/24"]);
    assert_eq!(host.addresses("br0"), ["10.50.11.99/24"]);
    let routes = container.routes("-4");
    let route = routes
        .iter()
        .find(|route| route["dst"] == "10.50.0.0/16")
        .expect("the route");
    assert_eq!(route["gateway"], "10.50.11.98");
}
