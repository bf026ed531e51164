//! What attaching a task takes: each network's configuration and parameters,
//! decided before anything is done.
//!
//! An address that the document asks for is put wherever IPAM plugins look for
//! it: `args.cni.ips` of the configuration, the capability `ips`, and `IP` in
//! `CNI_ARGS`. Labels, port mappings and the whole entry travel as Mesos would
//! send them, so that plugins written for Mesos find what they know.

use std::collections::HashMap;
use std::net::IpAddr;

use cni::fold;
use cni::runtime::{Directory, Network, Parameters, PluginConfig};
use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use crate::task::{AddressRequest, Labels, NetworkRequest, PortMapping};
use crate::{Container, Error, Task};

/// One network to attach to.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The network, with what the task adds to its configuration.
    pub network: Network,
    /// The attachment.
    pub parameters: Parameters,
    /// What the task asks for and nobody will do.
    pub notes: Vec<String>,
}

/// Plans every network of a task: eth0, eth1, … in the order of its list.
///
/// # Errors
/// No network, one without a name, one that is listed twice, unknown or broken,
/// or an address that cannot be asked for.
pub fn plan(
    task: &Task,
    networks: &Directory,
    container: &Container,
) -> Result<Vec<Planned>, Error> {
    if task.networks.is_empty() {
        return Err(Error::NoNetworks);
    }
    let mut seen = HashMap::new();
    let mut planned = Vec::new();
    for (index, request) in task.networks.iter().enumerate() {
        if request.name.is_empty() {
            let known: Vec<_> = networks.networks().map(|n| n.name.as_str()).collect();
            let known = match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            };
            return Err(Error::Nameless { index, known });
        }
        if let Some(first) = seen.insert(request.name.as_str(), index) {
            return Err(Error::Twice {
                name: request.name.clone(),
                first,
                second: index,
            });
        }
        let network = networks
            .find(&request.name)
            .map_err(|error| Error::Network { index, error })?;
        planned.push(plan_one(
            request,
            network,
            container,
            format!("eth{index}"),
        )?);
    }
    Ok(planned)
}

fn plan_one(
    request: &NetworkRequest,
    network: &Network,
    container: &Container,
    ifname: String,
) -> Result<Planned, Error> {
    let ips = addresses(request, network)?;
    let mut notes = Vec::new();
    let mut capability_args = Map::new();
    if !ips.is_empty() {
        capability_args.insert("ips".into(), json!(ips));
    }
    if !request.port_mappings.is_empty() {
        let mappings: Vec<_> = request.port_mappings.iter().map(port_mapping).collect();
        capability_args.insert("portMappings".into(), mappings.into());
        if !network.plugins.iter().any(|p| p.is_capable("portMappings")) {
            notes.push(format!(
                "network \"{}\": \"port_mapping\" is passed on as Mesos does, but no plugin there has the capability \"portMappings\"",
                network.name
            ));
        }
    }
    if let Some(wish) = &request.default_route {
        capability_args.insert("defaultRoute".into(), wish.clone());
    }
    let network_info = network_info(request);
    let network = network
        .clone()
        .map_plugins(|plugin| with_args(plugin, request, &ips, &network_info));
    Ok(Planned {
        network,
        parameters: Parameters {
            container_id: container.id.clone(),
            netns: container.netns.clone(),
            ifname,
            args: arguments(&ips),
            capability_args,
        },
        notes,
    })
}

/// The addresses as the network's IPAM plugin wants them written: `static` with
/// a prefix length and `host-local`, which had none to give in old versions,
/// without; for others as the document has them.
fn addresses(request: &NetworkRequest, network: &Network) -> Result<Vec<String>, Error> {
    let ipam = network.plugins.iter().find_map(|plugin| plugin.ipam_type());
    let write = |(ip, asked): (IpAddr, &AddressRequest)| {
        let prefix = match ipam {
            Some("host-local") => None,
            Some("static") => {
                let prefix = asked.prefix.or_else(|| configured_prefix(network, ip));
                Some(prefix.ok_or_else(|| Error::NoPrefix {
                    network: network.name.clone(),
                    address: ip,
                })?)
            }
            _ => asked.prefix,
        };
        Ok(match prefix {
            Some(prefix) => format!("{ip}/{prefix}"),
            None => ip.to_string(),
        })
    };
    let asked = request.addresses.iter();
    let certain = asked.filter_map(|asked| asked.ip.map(|ip| (ip, asked)));
    certain.map(write).collect()
}

/// The prefix length of the address in `ipam.addresses` whose subnet has `ip`.
fn configured_prefix(network: &Network, ip: IpAddr) -> Option<u8> {
    let ipams = network
        .plugins
        .iter()
        .filter_map(|plugin| plugin.get("ipam"));
    let lists = ipams.filter_map(|ipam| fold::get(ipam.as_object()?, "addresses")?.as_array());
    let mut subnets = lists.flatten().filter_map(|entry| -> Option<IpNetwork> {
        let text = fold::get(entry.as_object()?, "address")?.as_str()?;
        cni::parse_cidr(text).ok()
    });
    subnets
        .find(|subnet| subnet.contains(ip))
        .map(|subnet| subnet.prefix())
}

/// `CNI_ARGS`: the reference's plugins refuse a key that they do not know unless
/// told to ignore it, and its host-local takes one address there and no more.
fn arguments(ips: &[String]) -> Vec<(String, String)> {
    match ips {
        [ip] => vec![
            ("IgnoreUnknown".into(), "1".into()),
            ("IP".into(), ip.clone()),
        ],
        _ => Vec::new(),
    }
}

/// The configuration with the task's `args`; other `args` of the operator stay.
fn with_args(
    plugin: PluginConfig,
    request: &NetworkRequest,
    ips: &[String],
    network_info: &Value,
) -> PluginConfig {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let mut args = object(plugin.get("args")).unwrap_or_default();
    let mut cni = object(args.get("cni")).unwrap_or_default();
    if !ips.is_empty() {
        cni.insert("ips".into(), json!(ips));
    }
    if !request.labels.0.is_empty() {
        cni.insert("labels".into(), key_values(&request.labels));
    }
    if let Some(wish) = &request.default_route {
        cni.insert("defaultRoute".into(), wish.clone());
    }
    if !cni.is_empty() {
        args.insert("cni".into(), cni.into());
    }
    let mesos = json!({"network_info": network_info});
    args.insert("org.apache.mesos".into(), mesos);
    plugin.with("args", args.into())
}

/// Mesos' protobuf `NetworkInfo` as its agent prints it: lists that are empty are
/// not there.
fn network_info(request: &NetworkRequest) -> Value {
    let mut info = json!({"name": request.name});
    if !request.addresses.is_empty() {
        let address = |asked: &AddressRequest| match asked.ip {
            Some(ip) => json!({"protocol": asked.family, "ip_address": ip}),
            None => json!({"protocol": asked.family}),
        };
        info["ip_addresses"] = request.addresses.iter().map(address).collect();
    }
    if !request.groups.is_empty() {
        info["groups"] = json!(request.groups);
    }
    if !request.labels.0.is_empty() {
        info["labels"] = json!({"labels": key_values(&request.labels)});
    }
    if !request.port_mappings.is_empty() {
        let mapping = |mapping: &PortMapping| {
            json!({
                "host_port": mapping.host_port,
                "container_port": mapping.container_port,
                "protocol": mapping.protocol,
            })
        };
        info["port_mappings"] = request.port_mappings.iter().map(mapping).collect();
    }
    info
}

fn key_values(labels: &Labels) -> Value {
    let pair = |(key, value): &(String, String)| json!({"key": key, "value": value});
    labels.0.iter().map(pair).collect()
}

fn port_mapping(mapping: &PortMapping) -> Value {
    json!({
        "hostPort": mapping.host_port,
        "containerPort": mapping.container_port,
        "protocol": mapping.protocol.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Plans a task with these networks over these configurations.
    fn planned(configurations: &[Value], list: Value) -> Result<Vec<Planned>, Error> {
        let dir = TempDir::new().unwrap();
        for (index, configuration) in configurations.iter().enumerate() {
            let file = dir.path().join(format!("{index}.conf"));
            fs::write(file, configuration.to_string()).unwrap();
        }
        let document = json!({"container": {"network": list}});
        let task = Task::parse(document.to_string().as_bytes(), None)?;
        let container = Container {
            id: "c".into(),
            netns: Some("/run/netns/c".into()),
        };
        plan(&task, &Directory::read(dir.path())?, &container)
    }

    fn fails(configurations: &[Value], list: Value) -> String {
        planned(configurations, list).unwrap_err().to_string()
    }

    fn network(name: &str) -> Value {
        json!({"name": name, "type": "bridge", "ipam": {"type": "host-local"}})
    }

    #[test]
    fn interfaces_in_the_order_of_the_list() {
        let configurations = [network("a"), network("b"), network("c")];
        let list = json!([{"name": "c"}, {"name": "a"}, {"name": "b"}]);
        let planned = planned(&configurations, list).unwrap();
        let places: Vec<_> = planned
            .iter()
            .map(|p| format!("{} {}", p.network.name, p.parameters.ifname))
            .collect();
        assert_eq!(places, ["c eth0", "a eth1", "b eth2"]);
        let parameters = &planned[0].parameters;
        assert!(parameters.args.is_empty() && parameters.capability_args.is_empty());
        let args = planned[0].network.plugins[0].get("args");
        let expected = json!({"org.apache.mesos": {"network_info": {"name": "c"}}});
        assert_eq!(args, Some(&expected));
    }

    #[test]
    fn networks_that_cannot_be() {
        let configurations = [network("a"), network("b")];
        let twice = fails(
            &configurations,
            json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]),
        );
        assert!(
            twice.contains("network[2].name\" is \"a\" as \"container.network[0]"),
            "{twice}"
        );
        let unknown = fails(&configurations, json!([{"name": "a"}, {"name": "x"}]));
        assert!(
            unknown.contains("network[1].name\": no network \"x\""),
            "{unknown}"
        );
        assert!(unknown.contains("\"a\", \"b\""), "{unknown}");
        let nameless = fails(&configurations, json!([{"group": []}]));
        assert!(
            nameless.contains("network[0].name\" is missing; known networks: a, b"),
            "{nameless}"
        );
        assert!(fails(&configurations, json!([])).contains("lists no network"));
    }

    #[test]
    fn a_requested_address_is_where_each_plugin_looks() {
        let list =
            json!([{"name": "a", "ipaddress": [{"ip": "10.2.1.25/24", "protocol": "ipv4"}]}]);
        let planned = planned(&[network("a")], list).unwrap();
        let parameters = &planned[0].parameters;
        let args = [("IgnoreUnknown", "1"), ("IP", "10.2.1.25")];
        assert_eq!(parameters.args, args.map(|(k, v)| (k.into(), v.into())));
        assert_eq!(parameters.capability_args["ips"], json!(["10.2.1.25"]));
        let args = planned[0].network.plugins[0].get("args").unwrap();
        assert_eq!(args["cni"], json!({"ips": ["10.2.1.25"]}));
        let info = json!({"name": "a", "ip_addresses": [
            {"protocol": "IPv4", "ip_address": "10.2.1.25"},
        ]});
        assert_eq!(args["org.apache.mesos"]["network_info"], info);
    }

    #[test]
    fn two_addresses_do_not_fit_into_cni_args() {
        let list = json!([{"name": "a", "ipaddress": [{"ip": "10.2.1.25"}, {"ip": "fd00::5"}]}]);
        let planned = planned(&[network("a")], list).unwrap();
        assert!(planned[0].parameters.args.is_empty());
        let ips = json!(["10.2.1.25", "fd00::5"]);
        assert_eq!(planned[0].parameters.capability_args["ips"], ips);
    }

    #[test]
    fn static_addresses_have_a_prefix_length() {
        let network = json!({"name": "s", "type": "macvlan", "ipam": {"type": "static",
            "addresses": [{"address": "10.1.0.9/16"}, {"Address": "fd00:1::9/48"}]}});
        let ips = |list: Value| {
            let list = json!([{"name": "s", "ipaddress": list}]);
            let planned = planned(std::slice::from_ref(&network), list);
            planned.map(|mut planned| planned.remove(0).parameters.capability_args["ips"].take())
        };
        let some = ips(json!([{"ip": "10.1.7.7"}, {"ip": "fd00:1::7"}, {"ip": "10.2.0.1/24"}]));
        assert_eq!(
            some.unwrap(),
            json!(["10.1.7.7/16", "fd00:1::7/48", "10.2.0.1/24"])
        );
        let none = ips(json!([{"ip": "10.2.0.1"}])).unwrap_err().to_string();
        assert!(
            none.contains("network \"s\"") && none.contains("\"10.2.0.1/24\""),
            "{none}"
        );
    }

    #[test]
    fn everything_else_goes_as_mesos_sends_it() {
        let configuration = json!({"name": "a", "plugins": [
            {"type": "bridge", "args": {"cni": {"mine": 1}, "other": 2}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]});
        let list = json!([{
            "name": "a", "group": ["prod"], "labels": [{"zone": "x"}],
            "ipaddress": [{"protocol": "ipv6"}],
            "port_mapping": [{"host_port": 31000, "container_port": 80, "protocol": "TCP"}],
        }]);
        let planned = planned(&[configuration], list).unwrap();
        let mapping = json!([{"hostPort": 31000, "containerPort": 80, "protocol": "tcp"}]);
        assert_eq!(
            planned[0].parameters.capability_args["portMappings"],
            mapping
        );
        assert!(planned[0].notes.is_empty());
        let labels = json!([{"key": "zone", "value": "x"}]);
        let expected = json!({
            "other": 2,
            "cni": {"mine": 1, "labels": labels},
            "org.apache.mesos": {"network_info": {
                "name": "a",
                "groups": ["prod"],
                "labels": {"labels": labels},
                "ip_addresses": [{"protocol": "IPv6"}],
                "port_mappings": [{"host_port": 31000, "container_port": 80, "protocol": "TCP"}],
            }},
        });
        assert_eq!(planned[0].network.plugins[0].get("args"), Some(&expected));
    }

    #[test]
    fn a_wish_for_the_default_route_is_where_the_plugins_look() {
        for key in ["default_route", "Default_Route", "defaultRoute"] {
            let list = json!([{"name": "a"}, {"name": "b", key: true}]);
            let planned = planned(&[network("a"), network("b")], list).unwrap();
            assert!(planned[0].parameters.capability_args.is_empty());
            let parameters = &planned[1].parameters;
            assert_eq!(parameters.capability_args["defaultRoute"], json!(true));
            let args = planned[1].network.plugins[0].get("args").unwrap();
            assert_eq!(args["cni"], json!({"defaultRoute": true}));
        }
    }

    #[test]
    fn a_port_mapping_that_nobody_reads_is_noted() {
        let list = json!([{"name": "a", "port_mapping": [{"host_port": 1, "container_port": 2}]}]);
        let planned = planned(&[network("a")], list).unwrap();
        assert!(planned[0].notes[0].contains("\"portMappings\""));
    }
}
