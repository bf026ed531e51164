//! Each plugin in each version of the protocol and each family of addresses: attached with exactly
//! the golden result, reachable, checked, detached, and gone.
//!
//! The golden results are data, `golden/<plugin>.json`, and Debian's plugins are held to the same
//! ones: what they speak and we speak is the same language.

use libtest_mimic::Trial;
use netns::{
    Call, Container, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial_needing,
    trial_on_old_kernel,
};
use serde_json::{Value, json};

use crate::network::{self, Family, ROUTER, VERSIONS, merge, with_previous, without_metric};
use crate::remains::only_the_network_remains;
use crate::subject::{label, newest, wait_for_the_gateway};

/// The result of every plugin whose attachment is one link in the container.
const ONE_LINK: &str = include_str!("../golden/macvlan.json");

const GOLDEN: [(&str, &str); 9] = [
    ("bridge", include_str!("../golden/bridge.json")),
    ("macvlan", ONE_LINK),
    ("ipvlan", ONE_LINK),
    ("vlan", ONE_LINK),
    ("ptp", include_str!("../golden/ptp.json")),
    ("dummy", ONE_LINK),
    ("tap", ONE_LINK),
    ("loopback", include_str!("../golden/loopback.json")),
    ("host-local", include_str!("../golden/host-local.json")),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for plugins in [Plugins::Slash24, Plugins::Debian] {
        for version in VERSIONS
            .into_iter()
            .filter(|version| *version <= newest(plugins))
        {
            for (plugin, _) in GOLDEN {
                // Debian's loopback puts the newest shape under the name of every version.
                if plugin == "loopback" && plugins == Plugins::Debian && version < "1.0.0" {
                    continue;
                }
                if ["dummy", "tap"].contains(&plugin) && plugins == Plugins::Debian {
                    continue;
                }
                // The loopback has addresses of both families, whatever is configured.
                let families = if plugin == "loopback" {
                    &[Family::Dual][..]
                } else if !needs(plugin).is_empty() && version != newest(plugins) {
                    // What may have to be emulated is slow.
                    match plugins {
                        Plugins::Slash24 => &[Family::Dual][..],
                        Plugins::Debian => &[],
                    }
                } else {
                    &Family::ALL
                };
                for &family in families {
                    let (whose, kind) = (label(plugins), family.label());
                    let name = format!("lifecycle/{plugin}/{version}/{kind}/{whose}");
                    let story = move || lifecycle(plugins, plugin, version, family);
                    trials.push(trial_needing(needs(plugin), name, story));
                }
            }
        }
    }
    // Kernels of some years ago, which many hosts run, do some things otherwise.
    for plugin in ["bridge", "macvlan", "ptp", "tap"] {
        let (newest, family) = (newest(Plugins::Slash24), Family::Dual);
        let story = move || lifecycle(Plugins::Slash24, plugin, newest, family);
        trials.push(trial_on_old_kernel(
            format!("lifecycle/{plugin}/old-kernel"),
            story,
        ));
    }
    trials
}

/// What of the kernel a plugin needs that may be missing.
fn needs(plugin: &str) -> &'static [Feature] {
    match plugin {
        "ipvlan" => &[Feature::Ipvlan],
        "vlan" => &[Feature::Vlan],
        "dummy" => &[Feature::Dummy],
        _ => &[],
    }
}

fn configuration(plugin: &str, version: &str, family: Family) -> Value {
    let keys = match plugin {
        "bridge" => json!({"bridge": "br0", "isDefaultGateway": true, "mtu": 1400}),
        "macvlan" | "ipvlan" => json!({"master": "eth0", "mtu": 1400}),
        "vlan" => json!({"master": "eth0", "vlanId": 5, "mtu": 1400}),
        "ptp" | "tap" => json!({"mtu": 1400}),
        "loopback" => json!({"ipam": null}),
        _ => json!({}),
    };
    let mut config = network::network(plugin, version, family, keys);
    if plugin == "host-local" {
        // IPAM plugins get the configuration of the plugin that delegates to them.
        let routes: Vec<Value> = family
            .gateways()
            .iter()
            .map(|gateway| json!({"dst": everywhere(gateway), "gw": gateway}))
            .collect();
        merge(&mut config["ipam"], json!({"routes": routes}));
        merge(&mut config, json!({"type": "bridge"}));
    }
    config
}

fn everywhere(gateway: &str) -> &'static str {
    if gateway.contains(':') {
        "::/0"
    } else {
        "0.0.0.0/0"
    }
}

fn lifecycle(plugins: Plugins, plugin: &str, version: &str, family: Family) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "eth0", &[]);
    let router = Host::new("router");
    if plugin == "vlan" {
        fabric.join(&router, "eth0", &[]);
        router.ip("link add link eth0 name vlan5 type vlan id 5\nlink set vlan5 up");
        for address in ROUTER {
            router.ip(&format!("address add {address} dev vlan5 nodad"));
        }
    } else if plugin != "ptp" {
        // There the host has the gateway's addresses.
        fabric.router(&ROUTER);
    }
    let container = host.container("c").with_loopback();
    let interface = if plugin == "loopback" { "lo" } else { "eth0" };
    let config = configuration(plugin, version, family);
    let call = Call::of(&host, plugins, plugin).attach(&container, interface);
    let look = || Snapshot::of(&host, &["/var/lib/cni"]);
    let before = look();

    let result = call.clone().stdin(&config.to_string()).add().success();
    // IPAM plugins know nothing of metrics.
    let told = match plugin {
        "host-local" => result.clone(),
        _ => without_metric(plugins, &result),
    };
    let (found, golden) = (anonymous(&told, version), golden(plugin, version, family));
    assert!(
        found == golden,
        "the result is {found:#}\nand should be {golden:#}"
    );
    if plugin != "host-local" {
        interfaces_are_as_told(&result, &host, &container);
        reaches_what_it_should(plugins, plugin, &container, family);
    }

    let later = call.stdin(&with_previous(&config, &result).to_string());
    if version >= "0.4.0" {
        assert_eq!(later.check().success(), Value::Null);
    }
    assert_eq!(later.del().success(), Value::Null);
    if plugin != "loopback" {
        assert!(
            container.link("eth0").is_none(),
            "the interface is still there"
        );
    }
    assert_eq!(later.del().success(), Value::Null);
    only_the_network_remains(&before, &look());
}

/// The golden result, if the file has one.
fn golden(plugin: &str, version: &str, family: Family) -> Value {
    let (_, text) = GOLDEN
        .iter()
        .find(|(name, _)| *name == plugin)
        .expect("it is in the table");
    // It stands on nothing that could limit its packets.
    let text = match plugin {
        "dummy" => text.replace("1400", "1500"),
        _ => (*text).to_owned(),
    };
    let golden: Value = serde_json::from_str(&text).expect("golden files are JSON");
    golden[version][family.label()].clone()
}

/// The result without what is different each time: hardware addresses and the name of the veth.
fn anonymous(result: &Value, version: &str) -> Value {
    let mut result = result.clone();
    let interfaces = result.get_mut("interfaces").and_then(Value::as_array_mut);
    for interface in interfaces.into_iter().flatten() {
        if interface["mac"]
            .as_str()
            .is_some_and(|mac| mac != "00:00:00:00:00:00")
        {
            interface["mac"] = "MAC".into();
        }
        if interface["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("veth"))
        {
            interface["name"] = "VETH".into();
        }
    }
    // From 1.0.0 on an empty object is as good as none.
    if version >= "1.0.0" && result["dns"] == json!({}) {
        merge(&mut result, json!({"dns": null}));
    }
    result
}

/// What the result says about interfaces is what the kernel says.
fn interfaces_are_as_told(result: &Value, host: &Host, container: &Container<'_>) {
    for told in result["interfaces"].as_array().into_iter().flatten() {
        let name = told["name"].as_str().expect("an interface has a name");
        let inside = told["sandbox"]
            .as_str()
            .is_some_and(|sandbox| !sandbox.is_empty());
        let link = if inside {
            container.link(name)
        } else {
            host.link(name)
        };
        let link = link.unwrap_or_else(|| panic!("there is no {name}, told as {told}"));
        assert_eq!(link["address"], told["mac"], "hardware address of {name}");
        if told["mtu"].is_u64() {
            assert_eq!(link["mtu"], told["mtu"], "MTU of {name}");
        }
    }
}

fn reaches_what_it_should(
    plugins: Plugins,
    plugin: &str,
    container: &Container<'_>,
    family: Family,
) {
    if plugin == "loopback" {
        container.ping("127.0.0.1");
        container.ping("::1");
        return;
    }
    for (gateway, own) in family.gateways().iter().zip(family.first()) {
        match plugin {
            // Nobody is at the other end. Without a carrier the kernel takes its time.
            "dummy" | "tap" => {
                container.wait_until("the address serves", || container.reaches(own));
            }
            _ => {
                wait_for_the_gateway(plugins, container, gateway);
                container.ping(gateway);
            }
        }
        let prefix = if own.contains(':') { 64 } else { 24 };
        let addresses = container.addresses("eth0");
        assert!(
            addresses.contains(&format!("{own}/{prefix}")),
            "{own} is not in {addresses:?}"
        );
    }
}
