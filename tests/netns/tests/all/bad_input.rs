//! Calls that must be refused: with the specification's code, with a message that names the key and
//! the value, and with everything on the host as it was.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, bridge, macvlan};
use crate::remains::is_bookkeeping;

/// The container for which the call is.
struct Caller<'c>(&'c Container<'c>);

/// One call, the code that it must end with, and what its message must say.
struct Case {
    name: &'static str,
    code: u64,
    says: &'static [&'static str],
    call: for<'c> fn(&Caller<'c>) -> Call<'c>,
}

impl<'c> Caller<'c> {
    fn add(&self, config: &Value) -> Call<'c> {
        let call = Call::new(self.0.host(), Plugins::Slash24, config);
        call.attach(self.0, "eth0").env("CNI_COMMAND", "ADD")
    }

    fn bridge(&self, keys: Value) -> Call<'c> {
        self.add(&bridge(Family::V4, keys))
    }

    fn macvlan(&self, keys: Value) -> Call<'c> {
        self.add(&macvlan(Family::V4, keys))
    }

    /// The bridge network with another `ipam`.
    fn ipam(&self, ipam: Value) -> Call<'c> {
        self.bridge(json!({"ipam": ipam}))
    }

    fn subnet(&self, subnet: &str) -> Call<'c> {
        self.ipam(json!({"type": "host-local", "subnet": subnet}))
    }

    fn text(&self, text: &str) -> Call<'c> {
        self.bridge(json!({})).stdin(text)
    }
}

const CASES: &[Case] = &[
    // What is not a configuration.
    Case {
        name: "json/empty",
        code: 6,
        says: &["JSON"],
        call: |w| w.text(""),
    },
    Case {
        name: "json/truncated",
        code: 6,
        says: &["JSON"],
        call: |w| w.text(r#"{"name": "n", "#),
    },
    Case {
        name: "json/not-an-object",
        code: 6,
        says: &[],
        call: |w| w.text("[1, 2]"),
    },
    Case {
        name: "json/not-text",
        code: 6,
        says: &["JSON"],
        call: |w| w.text("\u{0}\u{1}"),
    },
    // Its name and version.
    Case {
        name: "version/unknown",
        code: 1,
        says: &["cniVersion", "9.9.9", "1.1.0"],
        call: |w| w.bridge(json!({"cniVersion": "9.9.9"})),
    },
    Case {
        name: "version/check-too-old",
        code: 1,
        says: &["CHECK", "0.4.0", "0.3.1"],
        call: |w| {
            w.bridge(json!({"cniVersion": "0.3.1"}))
                .env("CNI_COMMAND", "CHECK")
        },
    },
    Case {
        name: "version/gc-too-old",
        code: 1,
        says: &["GC", "1.1.0", "1.0.0"],
        call: |w| w.bridge(json!({})).env("CNI_COMMAND", "GC"),
    },
    Case {
        name: "name/missing",
        code: 7,
        says: &["name"],
        call: |w| w.bridge(json!({"name": null})),
    },
    Case {
        name: "name/with-a-slash",
        code: 7,
        says: &["name", "../n"],
        call: |w| w.bridge(json!({"name": "../n"})),
    },
    Case {
        name: "ipam/unknown-type",
        code: 7,
        says: &["no-such-ipam", "/run/plugins"],
        call: |w| w.ipam(json!({"type": "no-such-ipam"})),
    },
    Case {
        name: "ipam/type-with-a-slash",
        code: 7,
        says: &["../host-local"],
        call: |w| w.ipam(json!({"type": "../host-local"})),
    },
    // Wrong types.
    Case {
        name: "type/mtu",
        code: 6,
        says: &["mtu", "large"],
        call: |w| w.bridge(json!({"mtu": "large"})),
    },
    Case {
        name: "type/isGateway",
        code: 6,
        says: &["isGateway", "yes"],
        call: |w| w.bridge(json!({"isGateway": "yes"})),
    },
    Case {
        name: "type/bridge",
        code: 6,
        says: &["bridge", "7"],
        call: |w| w.bridge(json!({"bridge": 7})),
    },
    Case {
        name: "type/ranges",
        code: 6,
        says: &["ipam.ranges"],
        call: |w| w.ipam(json!({"type": "host-local", "ranges": "10.0.0.0/8"})),
    },
    Case {
        name: "type/master",
        code: 6,
        says: &["master", "0"],
        call: |w| w.macvlan(json!({"master": 0})),
    },
    // The environment.
    Case {
        name: "env/command",
        code: 4,
        says: &["CNI_COMMAND", "ADDD"],
        call: |w| w.bridge(json!({})).env("CNI_COMMAND", "ADDD"),
    },
    Case {
        name: "env/container-id-missing",
        code: 4,
        says: &["CNI_CONTAINERID"],
        call: |w| w.bridge(json!({})).env("CNI_CONTAINERID", ""),
    },
    Case {
        name: "env/container-id-with-a-slash",
        code: 4,
        says: &["CNI_CONTAINERID", "a/b"],
        call: |w| w.bridge(json!({})).env("CNI_CONTAINERID", "a/b"),
    },
    Case {
        name: "env/container-id-begins-with-a-dot",
        code: 4,
        says: &["CNI_CONTAINERID", ".."],
        call: |w| w.bridge(json!({})).env("CNI_CONTAINERID", ".."),
    },
    Case {
        name: "env/interface-missing",
        code: 4,
        says: &["CNI_IFNAME"],
        call: |w| w.bridge(json!({})).env("CNI_IFNAME", ""),
    },
    Case {
        name: "env/interface-too-long",
        code: 4,
        says: &["CNI_IFNAME", "sixteen-bytes-xx", "15"],
        call: |w| w.bridge(json!({})).env("CNI_IFNAME", "sixteen-bytes-xx"),
    },
    Case {
        name: "env/interface-with-a-slash",
        code: 4,
        says: &["CNI_IFNAME", "eth/0"],
        call: |w| w.bridge(json!({})).env("CNI_IFNAME", "eth/0"),
    },
    Case {
        name: "env/interface-is-a-dot",
        code: 4,
        says: &["CNI_IFNAME"],
        call: |w| w.bridge(json!({})).env("CNI_IFNAME", "."),
    },
    Case {
        name: "env/netns-missing",
        code: 4,
        says: &["CNI_NETNS"],
        call: |w| w.bridge(json!({})).env("CNI_NETNS", ""),
    },
    Case {
        name: "env/netns-does-not-exist",
        code: 4,
        says: &["CNI_NETNS", "/run/netns/nobody"],
        call: |w| w.bridge(json!({})).env("CNI_NETNS", "/run/netns/nobody"),
    },
    Case {
        name: "env/netns-is-a-file",
        code: 4,
        says: &["CNI_NETNS", "/etc/passwd"],
        call: |w| w.bridge(json!({})).env("CNI_NETNS", "/etc/passwd"),
    },
    Case {
        name: "env/netns-is-the-hosts",
        code: 8,
        says: &["CNI_NETNS", "/proc/self/ns/net"],
        call: |w| w.macvlan(json!({})).env("CNI_NETNS", "/proc/self/ns/net"),
    },
    // Links.
    Case {
        name: "bridge/name-is-another-link",
        code: 7,
        says: &["bridge", "eth0", "veth"],
        call: |w| w.bridge(json!({"bridge": "eth0"})),
    },
    Case {
        name: "bridge/name-too-long",
        code: 7,
        says: &["bridge", "sixteen-bytes-xx", "15"],
        call: |w| w.bridge(json!({"bridge": "sixteen-bytes-xx"})),
    },
    Case {
        name: "bridge/interface-exists",
        code: 4,
        says: &["CNI_IFNAME", "taken"],
        call: |w| w.bridge(json!({})).env("CNI_IFNAME", "taken"),
    },
    Case {
        name: "bridge/hairpin-and-promiscuous",
        code: 7,
        says: &["hairpinMode", "promiscMode"],
        call: |w| w.bridge(json!({"hairpinMode": true, "promiscMode": true})),
    },
    Case {
        name: "bridge/mtu-too-large",
        code: 7,
        says: &["mtu", "70000"],
        call: |w| w.bridge(json!({"mtu": 70000})),
    },
    Case {
        name: "bridge/mtu-negative",
        code: 6,
        says: &["mtu", "-1"],
        call: |w| w.bridge(json!({"mtu": -1})),
    },
    Case {
        name: "macvlan/interface-exists",
        code: 4,
        says: &["CNI_IFNAME", "taken"],
        call: |w| w.macvlan(json!({})).env("CNI_IFNAME", "taken"),
    },
    Case {
        name: "macvlan/master-does-not-exist",
        code: 7,
        says: &["master", "eth7"],
        call: |w| w.macvlan(json!({"master": "eth7"})),
    },
    Case {
        name: "macvlan/mode",
        code: 7,
        says: &["mode", "tunnel", "passthru"],
        call: |w| w.macvlan(json!({"mode": "tunnel"})),
    },
    Case {
        name: "macvlan/mtu-above-the-master's",
        code: 7,
        says: &["mtu", "1501", "1500"],
        call: |w| w.macvlan(json!({"mtu": 1501})),
    },
    Case {
        name: "macvlan/mac",
        code: 7,
        says: &["mac", "02:zz"],
        call: |w| w.macvlan(json!({"mac": "02:zz"})),
    },
    // Keys of the reference that would be ignored without a word.
    Case {
        name: "bridge/not-supported-vlan",
        code: 2,
        says: &["vlan", "100"],
        call: |w| w.bridge(json!({"vlan": 100})),
    },
    Case {
        name: "bridge/not-supported-vlanTrunk",
        code: 2,
        says: &["vlanTrunk"],
        call: |w| w.bridge(json!({"vlanTrunk": [{"id": 5}]})),
    },
    Case {
        name: "bridge/not-supported-macspoofchk",
        code: 2,
        says: &["macspoofchk", "true"],
        call: |w| w.bridge(json!({"macspoofchk": true})),
    },
    Case {
        name: "bridge/not-supported-enabledad",
        code: 2,
        says: &["enabledad", "true"],
        call: |w| w.bridge(json!({"enabledad": true})),
    },
    Case {
        name: "bridge/not-supported-disableContainerInterface",
        code: 2,
        says: &["disableContainerInterface", "true"],
        call: |w| w.bridge(json!({"disableContainerInterface": true})),
    },
    Case {
        name: "bridge/not-supported-portIsolation",
        code: 2,
        says: &["portIsolation", "true"],
        call: |w| w.bridge(json!({"portIsolation": true})),
    },
    // Addresses.
    Case {
        name: "address/range-full",
        code: 100,
        says: &["10.1.2.2", "full"],
        call: |w| {
            w.bridge(json!({"name": "full", "bridge": "br1", "isGateway": false,
            "ipam": {"type": "host-local", "subnet": "10.1.2.0/30"}}))
        },
    },
    Case {
        name: "address/outside-every-range",
        code: 101,
        says: &["192.0.2.9", "10.1.2"],
        call: |w| w.bridge(json!({})).env("CNI_ARGS", "IP=192.0.2.9"),
    },
    Case {
        name: "address/of-another",
        code: 101,
        says: &["10.1.2.2", "first"],
        call: |w| w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2.2"),
    },
    Case {
        name: "address/of-the-gateway",
        code: 101,
        says: &["10.1.2.1"],
        call: |w| w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2.1"),
    },
    Case {
        name: "address/not-one",
        code: 4,
        says: &["CNI_ARGS", "10.1.2"],
        call: |w| w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2"),
    },
    Case {
        name: "address/other-gateway-on-the-bridge",
        code: 7,
        says: &["br0", "10.1.2.1", "10.9.9.1", "forceAddress"],
        call: |w| {
            w.bridge(
                json!({"ipam": {"type": "host-local", "subnet": "10.9.9.0/24"}, "name": "other"}),
            )
        },
    },
    // Ranges and templates.
    Case {
        name: "subnet/not-one",
        code: 7,
        says: &["subnet", "10.1.2.0"],
        call: |w| w.subnet("10.1.2.0"),
    },
    Case {
        name: "subnet/too-long",
        code: 7,
        says: &["subnet", "10.1.2.0/33"],
        call: |w| w.subnet("10.1.2.0/33"),
    },
    Case {
        name: "subnet/start-outside",
        code: 7,
        says: &["rangeStart", "10.7.7.7", "10.1.2.0/24"],
        call: |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.7.7.7"}))
        },
    },
    Case {
        name: "template/value-too-large",
        code: 7,
        says: &["subnet", "rack", "300", "255"],
        call: |w| w.subnet("10.{rack}.{slot}.0/24"),
    },
    Case {
        name: "template/field-missing",
        code: 7,
        says: &["subnet", "chassis", "rack=300 slot=11"],
        call: |w| w.subnet("10.{chassis}.{slot}.0/24"),
    },
    Case {
        name: "template/octet-not-filled",
        code: 7,
        says: &["subnet", "{slot:4}", "4 of 8"],
        call: |w| w.subnet("10.1.{slot:4}.0/24"),
    },
    Case {
        name: "template/field-below-the-prefix",
        code: 7,
        says: &["subnet", "slot", "16"],
        call: |w| w.subnet("10.1.{slot}.0/16"),
    },
    Case {
        name: "template/location-missing",
        code: 5,
        says: &["/nowhere/location.json"],
        call: |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24",
            "location": {"file": "/nowhere/location.json"}}))
        },
    },
    Case {
        name: "template/location-of-no-kind",
        code: 7,
        says: &["ipam.location"],
        call: |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24", "location": 7}))
        },
    },
    Case {
        name: "template/hostname-does-not-match",
        code: 7,
        says: &["host", "r{rack}-s{slot}"],
        call: |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24",
            "location": {"hostname": "r{rack}-s{slot}"}}))
        },
    },
];

/// What shows only when there is an address. It is given back, but host-local remembers it as the
/// last one.
const AFTER_ALLOCATION: [&str; 1] = ["address/other-gateway-on-the-bridge"];

pub(crate) fn trials() -> Vec<Trial> {
    let of = |case: &'static Case| {
        trial(format!("bad-input/{}/slash24", case.name), move || {
            refused(case)
        })
    };
    CASES.iter().map(of).collect()
}

/// A host with a network on which a container is already, one whose range is full, and a second
/// container for the call.
fn refused(case: &Case) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "eth0", &[]);
    host.write("/etc/slash24/location.json", r#"{"rack": 300, "slot": 11}"#);
    let [first, container] = ["first", "c"].map(|id| host.container(id));
    Caller(&first).bridge(json!({})).execute().success();
    let full = json!({"name": "full", "bridge": "br1", "isGateway": false,
        "ipam": {"type": "host-local", "subnet": "10.1.2.0/30"}});
    Caller(&first)
        .bridge(full)
        .env("CNI_IFNAME", "eth1")
        .execute()
        .success();
    container.ip("link add taken type veth peer name other");

    let look = || {
        let files = Snapshot::of(&host, &["/var/lib/cni", "/etc/slash24", "/run/netns"]);
        [
            files,
            Snapshot::of(&container, &[]),
            Snapshot::of(&first, &[]),
        ]
    };
    let mut before = look();
    let error = (case.call)(&Caller(&container)).execute().failure();
    let mut after = look();

    assert_eq!(error["code"], case.code, "{error}");
    let message = error["msg"].as_str().unwrap_or_default();
    for part in case.says {
        assert!(
            message.contains(part),
            "the message does not say {part:?}: {error}"
        );
    }
    if AFTER_ALLOCATION.contains(&case.name) {
        before[0] = before[0].without(is_bookkeeping);
        after[0] = after[0].without(is_bookkeeping);
    }
    for (place, (before, after)) in ["host", "container", "other container"]
        .iter()
        .zip(before.iter().zip(&after))
    {
        before.assert_same(after, &format!("on the {place}"));
    }
}
