//! host-local as processes: ours, which is the test's own executable, and the
//! reference's.

#![allow(dead_code)] // Not every topic needs all of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// Where Debian installs the reference's.
pub(crate) const REFERENCE: &str = "/usr/lib/cni/host-local";

/// What to do when a program is missing.
pub(crate) const INSTALL: &str = "see scripts/install-dependencies";

/// Names of files and what they hold.
pub(crate) type Files = BTreeMap<String, String>;

/// An implementation of host-local.
#[derive(Clone)]
pub(crate) struct HostLocal(pub(crate) PathBuf);

impl HostLocal {
    pub(crate) fn ours() -> Self {
        HostLocal(std::env::current_exe().unwrap())
    }

    pub(crate) fn reference() -> Self {
        HostLocal(REFERENCE.into())
    }

    pub(crate) fn start(&self, verb: &str, container: &str, args: &str, config: &Value) -> Child {
        let mut call = Command::new(&self.0);
        call.env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/run/netns/none")
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_ARGS", args);
        started(&mut call, config)
    }

    pub(crate) fn call(
        &self,
        verb: &str,
        container: &str,
        args: &str,
        config: &Value,
    ) -> Result<Value, Value> {
        finish(self.start(verb, container, args, config))
    }

    pub(crate) fn run(&self, verb: &str, container: &str, config: &Value) -> Result<Value, Value> {
        self.call(verb, container, "", config)
    }
}

pub(crate) fn finish(child: Child) -> Result<Value, Value> {
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    let value = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    if status.success() {
        Ok(value)
    } else {
        Err(value)
    }
}

pub(crate) fn config(dir: &Path, mut ipam: Value) -> Value {
    ipam["type"] = "host-local".into();
    ipam["dataDir"] = dir.to_str().unwrap().into();
    json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam})
}

pub(crate) fn address(result: &Value) -> String {
    result["ips"][0]["address"].as_str().unwrap().to_owned()
}

/// Every file of the lease directory and what it holds.
pub(crate) fn files(dir: &Path) -> Files {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir.join("net")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        files.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
    }
    files
}

pub(crate) fn leases(dir: &Path) -> Files {
    let mut files = files(dir);
    files.retain(|name, _| name.parse::<std::net::IpAddr>().is_ok());
    files
}

/// A call of ours as a process under strace.
pub(crate) fn under_strace(
    command: &str,
    container: &str,
    config: &Value,
    options: &[String],
) -> Output {
    let mut call = Command::new("strace");
    call.args(options)
        .arg(std::env::current_exe().unwrap())
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", container)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_NETNS", "/proc/self/ns/net")
        .env("CNI_PATH", "/opt/cni/bin");
    started(&mut call, config).wait_with_output().unwrap()
}

/// Starts a call and hands it its configuration.
fn started(call: &mut Command, config: &Value) -> Child {
    let mut child = call
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}; {INSTALL}", call.get_program().display()))
        .unwrap();
    // One that was killed at once does not read it.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(config.to_string().as_bytes());
    child
}

pub(crate) fn all_distinct(mut addresses: Vec<String>) -> bool {
    let count = addresses.len();
    addresses.sort();
    addresses.dedup();
    addresses.len() == count
}
