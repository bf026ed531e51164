//! The addresses that a runtime asks for, in all the ways runtimes have.

use std::net::IpAddr;

use cni::Request;
use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::Error;
use crate::error::AtKey;

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

/// An address that was asked for, and the length of its prefix if that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix.
    pub prefix: Option<u8>,
}

/// What is asked for, by the way it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `IP=` of `CNI_ARGS`, with or without blanks after the commas.
    pub args: Vec<Named>,
    /// `GATEWAY=` of `CNI_ARGS`.
    pub gateways: Vec<IpAddr>,
    /// `args.cni.ips`.
    pub config: Vec<Named>,
    /// `runtimeConfig.ips`.
    pub runtime: Vec<Named>,
    /// `args["org.apache.mesos"].network_info.ip_addresses`.
    pub mesos: Vec<Named>,
}

impl Requests {
    /// Reads every way of asking.
    ///
    /// # Errors
    /// A value of the wrong type, or one that is no address.
    pub fn read(request: &Request) -> Result<Self, Error> {
        let keys: Keys = request.config.read()?;
        let list = |key| request.args.get(key).into_iter();
        let items = |key| list(key).flat_map(|list| list.split(',')).map(str::trim);
        let bad = |key: &str, text: &str| Error::BadArgs(format!("{key}={text}"));
        let args = items("IP").map(|text| Named::parse(text).ok_or_else(|| bad("IP", text)));
        let gateways = items("GATEWAY").map(|text| text.parse().map_err(|_| bad("GATEWAY", text)));
        let mesos = keys.args.mesos.network_info.ip_addresses;
        let mesos = mesos.into_iter().map(|entry| entry.ip_address);
        let mesos: Vec<String> = mesos.filter(|text| !text.is_empty()).collect();
        Ok(Requests {
            args: args.collect::<Result<_, _>>()?,
            gateways: gateways.collect::<Result<_, _>>()?,
            config: read_all("args.cni.ips", &keys.args.cni.ips)?,
            runtime: read_all("runtimeConfig.ips", &keys.runtime_config.ips)?,
            mesos: read_all("args.org.apache.mesos.network_info.ip_addresses", &mesos)?,
        })
    }

    /// What is asked for in place of what a configuration says, if anything is.
    pub fn replacing(&self) -> Option<&[Named]> {
        let ways = [&self.runtime, &self.config, &self.mesos];
        let mut asked = ways.into_iter().filter(|way| !way.is_empty());
        asked.next().map(Vec::as_slice)
    }
}

fn read_all(key: &str, texts: &[String]) -> Result<Vec<Named>, Error> {
    let named = |(index, text): (usize, &String)| {
        let bad = || place::Error::NotAddress(text.clone()).at(format!("{key}[{index}]"));
        Named::parse(text).ok_or_else(bad)
    };
    texts.iter().enumerate().map(named).collect()
}

/// The addresses asked for in any way, each once. A prefix length is not looked
/// at: the range has one.
///
/// # Errors
/// As [`Requests::read`].
pub fn requested(request: &Request) -> Result<Vec<IpAddr>, Error> {
    let Requests {
        args,
        config,
        runtime,
        mesos,
        ..
    } = Requests::read(request)?;
    let all = [args, config, runtime, mesos].into_iter().flatten();
    let mut addresses: Vec<IpAddr> = all.map(|named| named.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.contains('/') {
            true => {
                let net: IpNetwork = text.parse().ok()?;
                (net.ip(), Some(net.prefix()))
            }
            false => (text.parse().ok()?, None),
        };
        Some(Named {
            address: address.to_canonical(),
            prefix,
        })
    }
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
