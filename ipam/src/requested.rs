//! The addresses that a runtime asks for, in all the ways runtimes have.

use std::net::IpAddr;

use cni::Request;
use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::Error;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    args: Args,
    runtime_config: Ips,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Ips,
    #[serde(rename = "org.apache.mesos")]
    mesos: Mesos,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ips {
    ips: Vec<String>,
}

/// What the Mesos agent adds: the `NetworkInfo` of its protobuf, as JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Mesos {
    network_info: NetworkInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkInfo {
    ip_addresses: Vec<MesosAddress>,
}

/// An entry without an address asks for any address of a protocol.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MesosAddress {
    ip_address: String,
}

/// The addresses asked for through `CNI_ARGS`, `args.cni.ips`,
/// `runtimeConfig.ips` and Mesos, each once. A prefix length is not looked at:
/// the range has one.
///
/// # Errors
/// A value of the wrong type, or one that is no address.
pub fn requested(request: &Request) -> Result<Vec<IpAddr>, Error> {
    let keys: Keys = request.config.read()?;
    let mut addresses = Vec::new();
    for text in request
        .args
        .get("IP")
        .into_iter()
        .flat_map(|list| list.split(','))
    {
        let address = parse(text).ok_or_else(|| Error::BadArgs(text.to_owned()))?;
        addresses.push(address);
    }
    let mut read = |key: &str, texts: &mut dyn Iterator<Item = &String>| {
        for (index, text) in texts.enumerate() {
            let address = parse(text)
                .ok_or_else(|| Error::NotAddress(text.clone()).at(format!("{key}[{index}]")));
            addresses.push(address?);
        }
        Ok::<(), Error>(())
    };
    let mesos = &keys.args.mesos.network_info.ip_addresses;
    let mut mesos = mesos
        .iter()
        .map(|entry| &entry.ip_address)
        .filter(|text| !text.is_empty());
    read("args.cni.ips", &mut keys.args.cni.ips.iter())?;
    read("runtimeConfig.ips", &mut keys.runtime_config.ips.iter())?;
    read(
        "args.org.apache.mesos.network_info.ip_addresses",
        &mut mesos,
    )?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn parse(text: &str) -> Option<IpAddr> {
    let address = match text.contains('/') {
        true => text.parse::<IpNetwork>().ok()?.ip(),
        false => text.parse().ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use cni::{Command, Config, Environment};
    use serde_json::{Value, json};

    use super::*;

    fn ask(args: &str, mut value: Value) -> Result<String, String> {
        value["name"] = "net".into();
        let config = Config::parse(value.to_string().as_bytes()).unwrap();
        let env = Environment::from_pairs([
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ]);
        let request = Request::new(Command::Del, &env, config).unwrap();
        let addresses = requested(&request).map_err(|e| e.to_string())?;
        Ok(addresses
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn every_way_of_asking() {
        let mesos = json!({"network_info": {"name": "net", "ip_addresses": [
            {"protocol": "IPv4", "ip_address": "10.0.0.2"}, {"protocol": "IPv6"},
        ]}});
        for (args, value, expected) in [
            ("", json!({}), ""),
            ("IgnoreUnknown=1;IP=10.0.0.2", json!({}), "10.0.0.2"),
            ("IP=10.0.0.2/24,fd00::2/64", json!({}), "10.0.0.2 fd00::2"),
            (
                "",
                json!({"args": {"cni": {"ips": ["10.0.0.2/24"]}}}),
                "10.0.0.2",
            ),
            (
                "",
                json!({"RuntimeConfig": {"IPs": ["fd00::2", "10.0.0.2"]}}),
                "10.0.0.2 fd00::2",
            ),
            ("", json!({"args": {"org.apache.mesos": mesos}}), "10.0.0.2"),
            (
                "IP=10.0.0.2",
                json!({"runtimeConfig": {"ips": ["10.0.0.2/8", "::ffff:10.0.0.2"]}}),
                "10.0.0.2",
            ),
        ] {
            assert_eq!(
                ask(args, value.clone()).as_deref(),
                Ok(expected),
                "{args} {value}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = ask("IP=tomorrow", json!({})).unwrap_err();
        assert!(
            error.contains("CNI_ARGS") && error.contains("tomorrow"),
            "{error}"
        );
        let error = ask(
            "",
            json!({"args": {"cni": {"ips": ["10.0.0.2", "10.0.0/24"]}}}),
        )
        .unwrap_err();
        assert!(
            error.contains("args.cni.ips[1]") && error.contains("10.0.0/24"),
            "{error}"
        );
        let error = ask("", json!({"runtimeConfig": {"ips": "10.0.0.2"}})).unwrap_err();
        assert!(error.contains("runtimeConfig.ips"), "{error}");
    }
}
