//! Calls that must be refused: with the specification's code, with a message that names the key and
//! the value, and with everything on the host as it was.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, bridge, macvlan, network};
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

    /// A network of another type.
    fn of(&self, plugin: &str, keys: Value) -> Call<'c> {
        self.add(&network(plugin, "1.0.0", Family::V4, keys))
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

const fn case(
    name: &'static str,
    code: u64,
    says: &'static [&'static str],
    call: for<'c> fn(&Caller<'c>) -> Call<'c>,
) -> Case {
    Case {
        name,
        code,
        says,
        call,
    }
}

const CASES: &[Case] = &[
    // Plugins that give one link.
    case("ipvlan/mode", 7, &["\"mode\"", "l4", "l3s"], |w| {
        w.of("ipvlan", json!({"mode": "l4"}))
    }),
    case("ipvlan/without-ipam", 7, &["\"ipam\""], |w| {
        w.of("ipvlan", json!({"master": "eth0", "ipam": null}))
    }),
    case(
        "ipvlan/chained-after-two-interfaces",
        7,
        &["\"prevResult\"", "2 interfaces"],
        |w| {
            let before = json!({"interfaces": [{"name": "a"}, {"name": "b"}], "ips": [], "cniVersion": "1.0.0"});
            w.of("ipvlan", json!({"prevResult": before}))
        },
    ),
    case("vlan/id", 7, &["\"vlanId\"", "4095", "0 to 4094"], |w| {
        w.of("vlan", json!({"master": "eth0", "vlanId": 4095}))
    }),
    case("vlan/negative-id", 7, &["\"vlanId\"", "-1"], |w| {
        w.of("vlan", json!({"master": "eth0", "vlanId": -1}))
    }),
    case("vlan/without-master", 7, &["\"master\""], |w| {
        w.of("vlan", json!({"vlanId": 5}))
    }),
    case(
        "vlan/mtu-above-the-master's",
        7,
        &["\"mtu\"", "9000", "1500"],
        |w| w.of("vlan", json!({"master": "eth0", "vlanId": 5, "mtu": 9000})),
    ),
    case("dummy/without-ipam", 7, &["\"ipam\""], |w| {
        w.of("dummy", json!({"ipam": null}))
    }),
    case("tap/bridge", 7, &["\"bridge\"", "nowhere"], |w| {
        w.of("tap", json!({"bridge": "nowhere"}))
    }),
    case("tap/mtu", 7, &["\"mtu\"", "-5"], |w| {
        w.of("tap", json!({"mtu": -5}))
    }),
    case("ptp/backend", 7, &["\"ipMasqBackend\"", "pf"], |w| {
        w.of("ptp", json!({"ipMasqBackend": "pf"}))
    }),
    case("ptp/without-ipam", 7, &["\"ipam\""], |w| {
        w.of("ptp", json!({"ipam": null}))
    }),
    case("ptp/without-gateway", 7, &["10.1.2.9/24", "gateway"], |w| {
        w.of(
            "ptp",
            json!({"ipam": {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}}),
        )
    }),
    case(
        "host-device/no-key",
        7,
        &["\"device\"", "\"hwaddr\""],
        |w| w.of("host-device", json!({})),
    ),
    case("host-device/not-there", 7, &["\"device\"", "eth77"], |w| {
        w.of("host-device", json!({"device": "eth77"}))
    }),
    // What is not a configuration.
    case("json/empty", 6, &["JSON"], |w| w.text("")),
    case("json/truncated", 6, &["JSON"], |w| {
        w.text(r#"{"name": "n", "#)
    }),
    case("json/not-an-object", 6, &[], |w| w.text("[1, 2]")),
    case("json/not-text", 6, &["JSON"], |w| w.text("\u{0}\u{1}")),
    // Its name and version.
    case(
        "version/unknown",
        1,
        &["cniVersion", "9.9.9", "1.1.0"],
        |w| w.bridge(json!({"cniVersion": "9.9.9"})),
    ),
    case(
        "version/check-too-old",
        1,
        &["CHECK", "0.4.0", "0.3.1"],
        |w| {
            w.bridge(json!({"cniVersion": "0.3.1"}))
                .env("CNI_COMMAND", "CHECK")
        },
    ),
    case("version/gc-too-old", 1, &["GC", "1.1.0", "1.0.0"], |w| {
        w.bridge(json!({})).env("CNI_COMMAND", "GC")
    }),
    case("name/missing", 7, &["name"], |w| {
        w.bridge(json!({"name": null}))
    }),
    case("name/with-a-slash", 7, &["name", "../n"], |w| {
        w.bridge(json!({"name": "../n"}))
    }),
    case(
        "ipam/unknown-type",
        7,
        &["no-such-ipam", "/run/plugins"],
        |w| w.ipam(json!({"type": "no-such-ipam"})),
    ),
    case(
        "ipam/type-of-no-ipam",
        7,
        &["\"ipam.type\"", "bridge", "host-local"],
        |w| w.ipam(json!({"type": "bridge"})),
    ),
    case(
        "ipam/type-of-another-interface",
        7,
        &["\"ipam.type\"", "ptp"],
        |w| w.macvlan(json!({"ipam": {"type": "ptp"}})),
    ),
    case("ipam/type-with-a-slash", 7, &["../host-local"], |w| {
        w.ipam(json!({"type": "../host-local"}))
    }),
    // Wrong types.
    case("type/mtu", 6, &["mtu", "large"], |w| {
        w.bridge(json!({"mtu": "large"}))
    }),
    case("type/isGateway", 6, &["isGateway", "yes"], |w| {
        w.bridge(json!({"isGateway": "yes"}))
    }),
    case("type/bridge", 6, &["bridge", "7"], |w| {
        w.bridge(json!({"bridge": 7}))
    }),
    case("type/ranges", 6, &["ipam.ranges"], |w| {
        w.ipam(json!({"type": "host-local", "ranges": "10.0.0.0/8"}))
    }),
    case("type/master", 6, &["master", "0"], |w| {
        w.macvlan(json!({"master": 0}))
    }),
    // Routing.
    case(
        "routing/defaultRoute",
        7,
        &["defaultRoute", "201", "0 to 200"],
        |w| w.bridge(json!({"defaultRoute": {"priority": 201}})),
    ),
    case(
        "routing/defaultRoute-of-a-task",
        7,
        &["args.cni.defaultRoute", "false"],
        |w| {
            let wish = json!({"cni": {"defaultRoute": true}});
            w.macvlan(json!({"defaultRoute": false, "args": wish}))
        },
    ),
    case(
        "routing/defaultRoute-to-nowhere",
        7,
        &["defaultRoute", "gateway"],
        |w| w.bridge(json!({"ipam": null, "defaultRoute": true})),
    ),
    case(
        "routing/routerAdvertisements",
        7,
        &["routerAdvertisements", "maybe", "remetric"],
        |w| w.macvlan(json!({"routerAdvertisements": "maybe"})),
    ),
    case("routing/sourceRouting", 7, &["sourceRouting", "1"], |w| {
        w.bridge(json!({"sourceRouting": 1}))
    }),
    // The environment.
    case("env/command", 4, &["CNI_COMMAND", "ADDD"], |w| {
        w.bridge(json!({})).env("CNI_COMMAND", "ADDD")
    }),
    case("env/container-id-missing", 4, &["CNI_CONTAINERID"], |w| {
        w.bridge(json!({})).env("CNI_CONTAINERID", "")
    }),
    case(
        "env/container-id-with-a-slash",
        4,
        &["CNI_CONTAINERID", "a/b"],
        |w| w.bridge(json!({})).env("CNI_CONTAINERID", "a/b"),
    ),
    case(
        "env/container-id-begins-with-a-dot",
        4,
        &["CNI_CONTAINERID", ".."],
        |w| w.bridge(json!({})).env("CNI_CONTAINERID", ".."),
    ),
    case("env/interface-missing", 4, &["CNI_IFNAME"], |w| {
        w.bridge(json!({})).env("CNI_IFNAME", "")
    }),
    case(
        "env/interface-too-long",
        4,
        &["CNI_IFNAME", "sixteen-bytes-xx", "15"],
        |w| w.bridge(json!({})).env("CNI_IFNAME", "sixteen-bytes-xx"),
    ),
    case(
        "env/interface-with-a-slash",
        4,
        &["CNI_IFNAME", "eth/0"],
        |w| w.bridge(json!({})).env("CNI_IFNAME", "eth/0"),
    ),
    case("env/interface-is-a-dot", 4, &["CNI_IFNAME"], |w| {
        w.bridge(json!({})).env("CNI_IFNAME", ".")
    }),
    case("env/netns-missing", 4, &["CNI_NETNS"], |w| {
        w.bridge(json!({})).env("CNI_NETNS", "")
    }),
    case(
        "env/netns-does-not-exist",
        4,
        &["CNI_NETNS", "/run/netns/nobody"],
        |w| w.bridge(json!({})).env("CNI_NETNS", "/run/netns/nobody"),
    ),
    case(
        "env/netns-is-a-file",
        4,
        &["CNI_NETNS", "/etc/passwd"],
        |w| w.bridge(json!({})).env("CNI_NETNS", "/etc/passwd"),
    ),
    case(
        "env/netns-is-the-hosts",
        8,
        &["CNI_NETNS", "/proc/self/ns/net"],
        |w| w.macvlan(json!({})).env("CNI_NETNS", "/proc/self/ns/net"),
    ),
    // Links.
    case(
        "bridge/name-is-another-link",
        7,
        &["bridge", "eth0", "veth"],
        |w| w.bridge(json!({"bridge": "eth0"})),
    ),
    case(
        "bridge/name-too-long",
        7,
        &["bridge", "sixteen-bytes-xx", "15"],
        |w| w.bridge(json!({"bridge": "sixteen-bytes-xx"})),
    ),
    case(
        "bridge/interface-exists",
        4,
        &["CNI_IFNAME", "taken"],
        |w| w.bridge(json!({})).env("CNI_IFNAME", "taken"),
    ),
    case(
        "bridge/hairpin-and-promiscuous",
        7,
        &["hairpinMode", "promiscMode"],
        |w| w.bridge(json!({"hairpinMode": true, "promiscMode": true})),
    ),
    case("bridge/mtu-too-large", 7, &["mtu", "70000"], |w| {
        w.bridge(json!({"mtu": 70000}))
    }),
    case(
        "bridge/mtu-too-small-for-IPv6",
        7,
        &["\"mtu\"", "1279", "1280", "fd00:1:2::2/64"],
        |w| w.add(&bridge(Family::V6, json!({"mtu": 1279, "bridge": "br2"}))),
    ),
    case(
        "macvlan/mtu-too-small-for-IPv6",
        7,
        &["\"mtu\"", "1000", "1280"],
        |w| w.add(&macvlan(Family::V6, json!({"mtu": 1000}))),
    ),
    case(
        "ptp/mtu-too-small-for-IPv6",
        7,
        &["\"mtu\"", "1279", "1280", "fd00:1:2::2/64"],
        |w| w.add(&network("ptp", "1.0.0", Family::V6, json!({"mtu": 1279}))),
    ),
    case(
        "macvlan/master-is-the-loopback",
        103,
        &["\"master\"", "lo takes no macvlan link", "loopback"],
        |w| w.macvlan(json!({"master": "lo"})),
    ),
    case(
        "bridge/gateway-is-the-container's-own",
        7,
        &["10.1.2.1/24", "\"gateway\""],
        |w| w.ipam(json!({"type": "static", "addresses": [{"address": "10.1.2.1/24"}]})),
    ),
    case(
        "ptp/gateway-is-the-container's-own",
        7,
        &["10.1.2.9/24", "\"gateway\""],
        |w| {
            let own = json!([{"address": "10.1.2.9/24", "gateway": "10.1.2.9"}]);
            w.of("ptp", json!({"ipam": {"type": "static", "addresses": own}}))
        },
    ),
    case(
        "bridge/no-gateway-at-all",
        7,
        &["\"isDefaultGateway\"", "\"gateway\""],
        |w| {
            w.bridge(json!({"isDefaultGateway": true, "ipam": {"type": "static",
                "addresses": [{"address": "10.1.2.9/32"}]}}))
        },
    ),
    case(
        "bridge/name-of-no-interface",
        7,
        &["\"bridge\"", "all"],
        |w| w.bridge(json!({"bridge": "all"})),
    ),
    case("bridge/mtu-negative", 6, &["mtu", "-1"], |w| {
        w.bridge(json!({"mtu": -1}))
    }),
    case(
        "macvlan/interface-exists",
        4,
        &["CNI_IFNAME", "taken"],
        |w| w.macvlan(json!({})).env("CNI_IFNAME", "taken"),
    ),
    case(
        "macvlan/master-does-not-exist",
        7,
        &["master", "eth7"],
        |w| w.macvlan(json!({"master": "eth7"})),
    ),
    case(
        "macvlan/hostAccess-where-nothing-passes",
        7,
        &["\"hostAccess\"", "\"mode\": \"bridge\""],
        |w| w.macvlan(json!({"hostAccess": true, "mode": "private"})),
    ),
    case(
        "macvlan/hostAccess-of-a-link-in-the-container",
        7,
        &["\"hostAccess\"", "\"linkInContainer\""],
        |w| w.macvlan(json!({"hostAccess": true, "linkInContainer": true})),
    ),
    case(
        "macvlan/hostAccess-without-addresses",
        7,
        &["\"hostAccess\"", "\"ipam\""],
        |w| w.macvlan(json!({"hostAccess": true, "ipam": null})),
    ),
    case(
        "macvlan/hostAccess-that-is-no-truth-value",
        6,
        &["hostAccess", "maybe"],
        |w| w.macvlan(json!({"hostAccess": "maybe"})),
    ),
    case("macvlan/mode", 7, &["mode", "tunnel", "passthru"], |w| {
        w.macvlan(json!({"mode": "tunnel"}))
    }),
    case(
        "macvlan/mtu-above-the-master's",
        7,
        &["mtu", "1501", "1500"],
        |w| w.macvlan(json!({"mtu": 1501})),
    ),
    case("macvlan/mac", 7, &["mac", "02:zz"], |w| {
        w.macvlan(json!({"mac": "02:zz"}))
    }),
    case("bridge/vlan-too-large", 7, &["vlan", "4095", "4094"], |w| {
        w.bridge(json!({"vlan": 4095}))
    }),
    case("bridge/vlan-below-zero", 7, &["vlan", "-1"], |w| {
        w.bridge(json!({"vlan": -1}))
    }),
    case(
        "bridge/vlanTrunk-half-a-range",
        7,
        &["vlanTrunk", "\"minID\": 5", "maxID"],
        |w| w.bridge(json!({"vlanTrunk": [{"minID": 5}]})),
    ),
    case(
        "bridge/vlanTrunk-is-no-list",
        6,
        &["vlanTrunk", "100"],
        |w| w.bridge(json!({"vlanTrunk": 100})),
    ),
    case(
        "bridge/vlan-gateway-has-no-name",
        7,
        &["bridge", "twelve-chars.100", "15"],
        |w| w.bridge(json!({"bridge": "twelve-chars", "vlan": 100})),
    ),
    case(
        "bridge/vlan-on-a-bridge-that-ignores-it",
        7,
        &["bridge", "foreign", "vlan_filtering 1"],
        |w| {
            w.0.host().ip("link add foreign type bridge");
            w.bridge(json!({"bridge": "foreign", "vlan": 5}))
        },
    ),
    case(
        "bridge/disableContainerInterface-and-ipam",
        7,
        &["disableContainerInterface", "ipam"],
        |w| w.bridge(json!({"disableContainerInterface": true})),
    ),
    case(
        "bridge/ipMasqBackend-unknown",
        7,
        &["ipMasqBackend", "pf", "nftables"],
        |w| w.bridge(json!({"ipMasqBackend": "pf"})),
    ),
    // Addresses.
    case("address/range-full", 100, &["10.1.2.2", "full"], |w| {
        w.bridge(json!({"name": "full", "bridge": "br1", "isGateway": false,
            "ipam": {"type": "host-local", "subnet": "10.1.2.0/30"}}))
    }),
    case(
        "address/outside-every-range",
        101,
        &["192.0.2.9", "10.1.2"],
        |w| w.bridge(json!({})).env("CNI_ARGS", "IP=192.0.2.9"),
    ),
    case("address/of-another", 101, &["10.1.2.2", "first"], |w| {
        w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2.2")
    }),
    case("address/of-the-gateway", 101, &["10.1.2.1"], |w| {
        w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2.1")
    }),
    case("address/not-one", 4, &["CNI_ARGS", "10.1.2"], |w| {
        w.bridge(json!({})).env("CNI_ARGS", "IP=10.1.2")
    }),
    case(
        "address/other-gateway-on-the-bridge",
        7,
        &["br0", "10.1.2.1", "10.9.9.1", "forceAddress"],
        |w| {
            w.bridge(
                json!({"ipam": {"type": "host-local", "subnet": "10.9.9.0/24"}, "name": "other"}),
            )
        },
    ),
    // Ranges and templates.
    case("subnet/not-one", 7, &["subnet", "10.1.2.0"], |w| {
        w.subnet("10.1.2.0")
    }),
    case("subnet/too-long", 7, &["subnet", "10.1.2.0/33"], |w| {
        w.subnet("10.1.2.0/33")
    }),
    case(
        "subnet/start-outside",
        7,
        &["rangeStart", "10.7.7.7", "10.1.2.0/24"],
        |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.7.7.7"}))
        },
    ),
    case(
        "template/value-too-large",
        7,
        &["subnet", "rack", "300", "255"],
        |w| w.subnet("10.{rack}.{slot}.0/24"),
    ),
    case(
        "template/field-missing",
        7,
        &["subnet", "chassis", "rack=300 slot=11"],
        |w| w.subnet("10.{chassis}.{slot}.0/24"),
    ),
    case(
        "template/octet-not-filled",
        7,
        &["subnet", "{slot:4}", "4 of 8"],
        |w| w.subnet("10.1.{slot:4}.0/24"),
    ),
    case(
        "template/field-below-the-prefix",
        7,
        &["subnet", "slot", "16"],
        |w| w.subnet("10.1.{slot}.0/16"),
    ),
    case(
        "template/location-missing",
        5,
        &["/nowhere/location.json"],
        |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24",
            "location": {"file": "/nowhere/location.json"}}))
        },
    ),
    case("template/location-of-no-kind", 7, &["ipam.location"], |w| {
        w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24", "location": 7}))
    }),
    case(
        "template/hostname-does-not-match",
        7,
        &["host", "r{rack}-s{slot}"],
        |w| {
            w.ipam(json!({"type": "host-local", "subnet": "10.1.{slot}.0/24",
            "location": {"hostname": "r{rack}-s{slot}"}}))
        },
    ),
];

/// What shows only when there is an address. It is given back, but host-local remembers it as the
/// last one.
const AFTER_ALLOCATION: [&str; 5] = [
    "address/other-gateway-on-the-bridge",
    "bridge/mtu-too-small-for-IPv6",
    "macvlan/mtu-too-small-for-IPv6",
    "macvlan/master-is-the-loopback",
    "ptp/mtu-too-small-for-IPv6",
];

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
    let call = (case.call)(&Caller(&container));
    let mut before = look();
    let error = call.execute().failure();
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
