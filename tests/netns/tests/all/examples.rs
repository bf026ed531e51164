//! Every network in `conf-examples/`, on two hosts in two racks, from the same files.

use std::fs;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use libtest_mimic::Trial;
use netns::{
    Call, Container, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial, trial_needing,
};
use serde_json::{Value, json};

use crate::network::merge;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf-examples");

/// Plugins whose driver not every kernel has. Their examples are tried together.
const DRIVERS: [(&str, Feature); 3] = [
    ("dummy", Feature::Dummy),
    ("ipvlan", Feature::Ipvlan),
    ("vlan", Feature::Vlan),
];

/// Interfaces that the fabric's router is a neighbour on.
const ON_SEGMENT: [&str; 4] = ["host-device", "ipvlan", "macvlan", "vlan"];
/// Those that lead to a program or nowhere.
const ALONE: [&str; 2] = ["dummy", "tap"];

pub(crate) fn trials() -> Vec<Trial> {
    let directories = ["", "mesos"].map(|name| Path::new(DIRECTORY).join(name));
    let of = |directory: PathBuf| {
        let name = directory
            .strip_prefix(DIRECTORY)
            .expect("it is below")
            .display()
            .to_string();
        trial(format!("examples/two-racks/{name}"), move || {
            two_racks(&directory, false);
        })
    };
    let mut trials: Vec<Trial> = directories.into_iter().map(of).collect();
    let others: Vec<Feature> = DRIVERS.iter().map(|(_, feature)| *feature).collect();
    trials.push(trial_needing(
        others.leak(),
        "examples/two-racks/of-other-drivers",
        || two_racks(Path::new(DIRECTORY), true),
    ));
    trials.push(trial(
        "examples/every-file-is-exercised",
        every_file_is_exercised,
    ));
    trials
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths
}

fn is_network(path: &Path) -> bool {
    path.extension()
        .is_some_and(|suffix| suffix == "conf" || suffix == "conflist")
}

fn read(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A new example that nobody tries would be wrong before long.
fn every_file_is_exercised() {
    let others = ["location.json", "mesos", "task.json"];
    for path in files(Path::new(DIRECTORY)) {
        let name = path
            .file_name()
            .expect("it was listed")
            .to_string_lossy()
            .into_owned();
        assert!(
            is_network(&path) || others.contains(&name.as_str()),
            "who tries {name}?"
        );
    }
    for path in files(&Path::new(DIRECTORY).join("mesos")) {
        assert!(is_network(&path), "who tries {}?", path.display());
    }
    for network in read(&Path::new(DIRECTORY).join("task.json"))["container"]["network"]
        .as_array()
        .expect("the task has networks")
    {
        let name = network["name"].as_str().expect("a network has a name");
        let known = files(Path::new(DIRECTORY));
        assert!(
            known
                .iter()
                .any(|path| is_network(path) && read(path)["name"] == name),
            "{name}"
        );
    }
}

/// The plugins of a network in their order, with what the list says for all of them.
fn chain(network: &Value) -> Vec<Value> {
    let Some(plugins) = network["plugins"].as_array() else {
        return vec![network.clone()];
    };
    let common = json!({"cniVersion": network["cniVersion"], "name": network["name"]});
    let with_common = |plugin: &Value| {
        let mut plugin = plugin.clone();
        merge(&mut plugin, common.clone());
        plugin
    };
    plugins.iter().map(with_common).collect()
}

/// Attaches the container as a runtime does and returns the addresses with their gateways.
fn attach(container: &Container<'_>, interface: &str, network: &Value) -> Vec<(String, String)> {
    let mut result = Value::Null;
    for mut config in chain(network) {
        if !result.is_null() {
            config["prevResult"] = result;
        }
        let call = Call::new(container.host(), Plugins::Slash24, &config);
        result = call.attach(container, interface).add().success();
    }
    let old = ["ip4", "ip6"].map(|family| (&result[family]["ip"], &result[family]["gateway"]));
    // What is shared is everybody's; announcing where it leads is a routing daemon's business.
    let new = result["ips"].as_array().into_iter().flatten();
    let new = new.filter(|ip| ip["shared"] != true);
    let new = new.map(|ip| (&ip["address"], &ip["gateway"]));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let told = old.into_iter().chain(new);
    told.filter_map(|(address, gateway)| Some((text(address)?, text(gateway)?)))
        .collect()
}

fn detach(container: &Container<'_>, interface: &str, network: &Value) {
    for config in chain(network).iter().rev() {
        let call = Call::new(container.host(), Plugins::Slash24, config);
        call.attach(container, interface).del().success();
    }
}

/// A container on each of two hosts, attached to all networks of a directory. The fabric knows what
/// a data centre's fabric does: front-end gateways are its own, back-end subnets are behind hosts.
fn two_racks(directory: &Path, of_other_drivers: bool) {
    let is_of_others = |network: &Value| DRIVERS.iter().any(|one| network["type"] == one.0);
    let mut networks: Vec<Value> = files(directory)
        .iter()
        .filter(|path| is_network(path))
        .map(|path| read(path))
        .collect();
    networks.retain(|network| is_of_others(network) == of_other_drivers);
    assert!(!networks.is_empty(), "{}", directory.display());
    let mut place = read(&Path::new(DIRECTORY).join("location.json"));
    let fabric = Fabric::new();
    fabric.router(&["192.0.2.254/24", "2001:db8::254/64"]);
    let hosts = [50, 51].map(|rack| Host::new(&format!("r{rack}-s11")));
    let mut before = Vec::new();
    let mut attached = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        place["rack"] = (50 + number).into();
        host.write("/etc/slash24/location.json", &place.to_string());
        let own = [
            format!("192.0.2.{}", number + 1),
            format!("2001:db8::{}", number + 1),
        ];
        // The third is what tunnels end at.
        let lengths = [
            format!("{}/24", own[0]),
            format!("{}/64", own[1]),
            format!("10.255.{}.11/16", 50 + number),
        ];
        fabric.join(host, "eth0", &lengths.each_ref().map(String::as_str));
        fabric.join(host, "card0", &[]);
        host.default_route(&["192.0.2.254"]);
        host.default_route(&["2001:db8::254"]);
        before.push(Snapshot::of(host, &["/var/lib/cni/networks"]));

        let container = host.container("task");
        let mut addresses = Vec::new();
        for (index, network) in networks.iter().enumerate() {
            let is_one = |types: &[&str]| types.iter().any(|one| network["type"] == *one);
            let on_segment = is_one(&ON_SEGMENT);
            for (address, gateway) in attach(&container, &format!("eth{index}"), network) {
                if is_one(&ALONE) {
                    let has_it = container
                        .addresses(&format!("eth{index}"))
                        .contains(&address);
                    assert!(has_it, "{address} of {network}");
                    continue;
                }
                let (bare, length) = address.split_once('/').expect("addresses have lengths");
                let ipv6 = usize::from(address.contains(':'));
                if network["hostAccess"] == true {
                    host.ping(bare);
                    container.ping(&own[ipv6]);
                }
                let router = format!("{gateway}/{length}");
                match on_segment {
                    true if network["vlanId"].is_u64() => {
                        in_vlan(&fabric, &network["vlanId"], &router);
                    }
                    true => fabric.router(&[&router]),
                    false => {
                        let subnet = address.parse::<IpNetwork>().expect("it is one");
                        let subnet = format!("{}/{length}", subnet.network());
                        fabric.route(&subnet, &own[ipv6]);
                    }
                }
                addresses.push((bare.to_owned(), gateway));
            }
        }
        attached.push((container, addresses));
    }

    for (here, there) in [(0, 1), (1, 0)] {
        let (container, own) = &attached[here];
        for (_, gateway) in own {
            container.ping(gateway);
        }
        for (address, _) in &attached[there].1 {
            container.ping(address);
        }
    }
    for (container, _) in &attached {
        for (index, network) in networks.iter().enumerate() {
            detach(container, &format!("eth{index}"), network);
        }
        assert_eq!(container.routes("-4"), Vec::<Value>::new());
    }
    for (host, before) in hosts.iter().zip(&before) {
        let after = Snapshot::of(host, &["/var/lib/cni/networks"]);
        let known: Vec<&str> = before.keys().collect();
        let left = after.keys().filter(|key| !known.contains(key));
        let left: Vec<&str> = left
            .filter(|key| key.contains("veth") || is_lease(key))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Makes the router a neighbour in a VLAN.
fn in_vlan(fabric: &Fabric, id: &Value, router: &str) {
    let name = format!("fabric.{id}");
    if fabric.link(&name).is_none() {
        fabric.ip(&format!(
            "link add link fabric name {name} type vlan id {id}\nlink set {name} up"
        ));
    }
    fabric.ip(&format!("address add {router} dev {name} nodad"));
}

fn is_lease(key: &str) -> bool {
    key.starts_with("file ") && !crate::remains::is_bookkeeping(key)
}
