//! A network with leases of its own, and what a runtime does with it.

#![allow(dead_code)] // Not every topic needs all of it.

use std::fs;
use std::path::PathBuf;

use cni::{Environment, skeleton};
use ipam::HostLocal;
use serde_json::{Value, json};

/// A network with a data directory of its own.
pub(crate) struct Network {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Value,
    pub(crate) args: String,
}

impl Network {
    /// One whose `ipam` says this, beside where its leases are.
    pub(crate) fn new(ipam: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config =
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": ipam});
        config["ipam"]["type"] = "host-local".into();
        config["ipam"]["dataDir"] = dir.path().join("data").to_str().unwrap().into();
        Network {
            dir,
            config,
            args: String::new(),
        }
    }

    pub(crate) fn with(&self, key: &str, value: Value) -> Value {
        let mut config = self.config.clone();
        config[key] = value;
        config
    }

    pub(crate) fn call(&self, verb: &str, container: &str, config: &Value) -> Result<Value, Value> {
        self.call_for(verb, container, "eth0", config)
    }

    pub(crate) fn call_for(
        &self,
        verb: &str,
        container: &str,
        ifname: &str,
        config: &Value,
    ) -> Result<Value, Value> {
        let env = Environment::from_pairs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", container),
            ("CNI_IFNAME", ifname),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", &self.args),
        ]);
        let output = skeleton::answer(&HostLocal, &[], &env, || {
            Ok(config.to_string().into_bytes())
        });
        let value = match output.stdout.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&output.stdout).unwrap(),
        };
        if output.status == 0 {
            Ok(value)
        } else {
            Err(value)
        }
    }

    pub(crate) fn run(&self, verb: &str, container: &str) -> Result<Value, Value> {
        self.call(verb, container, &self.config)
    }

    /// The addresses that ADD gives, without their prefixes.
    pub(crate) fn add_with(&self, container: &str, config: &Value) -> Result<String, Value> {
        let result = self.call("ADD", container, config)?;
        let address = |ip: &Value| {
            ip["address"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        };
        let addresses: Vec<String> = result["ips"]
            .as_array()
            .unwrap()
            .iter()
            .map(address)
            .collect();
        Ok(addresses.join(" "))
    }

    pub(crate) fn add(&self, container: &str) -> Result<String, Value> {
        self.add_with(container, &self.config)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("data/net").join(file)
    }

    /// What lies beside the lease directory.
    pub(crate) fn beside(&self, file: &str) -> PathBuf {
        self.dir.path().join("data/.slash24/net").join(file)
    }

    /// The names of all lease files.
    pub(crate) fn leases(&self) -> String {
        let Ok(entries) = fs::read_dir(self.path("")) else {
            return "no directory".into();
        };
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != "lock" && !name.starts_with("last_reserved_ip."));
        names.sort();
        names.join(" ")
    }
}

pub(crate) fn code(result: Result<impl Sized, Value>) -> u64 {
    result.err().unwrap()["code"].as_u64().unwrap()
}

pub(crate) fn message(result: Result<impl Sized, Value>) -> String {
    result.err().unwrap()["msg"].as_str().unwrap().to_owned()
}
