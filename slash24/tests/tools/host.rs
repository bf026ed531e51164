//! A host with networks and leases, and what is called on it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const SLASH24: &str = env!("CARGO_BIN_EXE_slash24");

pub(crate) const CONF: [&str; 2] = ["--conf-dir", "conf"];

/// A host of rack 20, chassis 2, slot 11 with its configurations and leases.
pub(crate) struct Host(TempDir);

impl Host {
    pub(crate) fn new() -> Self {
        let host = Host(TempDir::new().unwrap());
        let place = json!({"rack": 20, "chassis": 2, "slot": 11});
        host.write("conf/location.json", &place.to_string());
        host
    }

    /// Two networks: backend with an IPv4 and an IPv6 range, frontend with another
    /// version.
    pub(crate) fn with_networks() -> Self {
        let host = Host::new();
        host.network("backend", "1.0.0", json!({"ranges": [
            [{"subnet": "10.{rack}.{chassis:4}{slot:4}.0/25", "exclude": ["10.{rack}.{chassis:4}{slot:4}.9"]}],
            [{"subnet": "fd00:24:{rack}:{chassis:8}{slot:8}::/64"}],
        ], "reservations": {"db": "10.{rack}.{chassis:4}{slot:4}.100"}}));
        host.network("frontend", "0.2.0", json!({"ranges": [
            [{"subnet": "172.{rack}.{chassis:4}{slot:4}.0/24", "shared": ["172.{rack}.{chassis:4}{slot:4}.53"]}],
        ]}));
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    pub(crate) fn network(&self, name: &str, version: &str, mut ipam: Value) {
        ipam["type"] = "host-local".into();
        ipam["dataDir"] = self.path("data").to_str().unwrap().into();
        ipam["location"] = json!({"file": self.path("conf/location.json")});
        let config = json!({"cniVersion": version, "name": name, "type": "bridge", "ipam": ipam});
        self.write(&format!("conf/{name}.conf"), &config.to_string());
    }

    pub(crate) fn call(&self, verb: &str, network: &str, container: &str, keys: Value) -> Output {
        let mut config = self.config(network);
        config
            .as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        let plugin = self.path("host-local");
        let _ = fs::hard_link(SLASH24, &plugin)
            .or_else(|_| std::os::unix::fs::symlink(SLASH24, &plugin));
        let mut child = Command::new(plugin)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/proc/self/ns/net")
            .env("CNI_PATH", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(config.to_string().as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn config(&self, network: &str) -> Value {
        let text = fs::read(self.path(&format!("conf/{network}.conf"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Attaches a container to a network, as far as leases are concerned.
    pub(crate) fn add(&self, network: &str, container: &str) {
        let output = self.call("ADD", network, container, json!({}));
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn run(&self, command: &[&str]) -> Output {
        self.run_with(command, "")
    }

    pub(crate) fn run_with(&self, command: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(SLASH24)
            .args(command)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The names of a network's leases.
    pub(crate) fn leases(&self, network: &str) -> String {
        let folder = fs::read_dir(self.path("data").join(network));
        let names = folder.into_iter().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name.parse::<std::net::IpAddr>().is_ok());
        names.sort();
        names.join(" ")
    }
}

pub(crate) fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The addresses of leases that a command lists.
pub(crate) fn addresses_of(leases: &Value) -> Vec<&str> {
    let leases = leases.as_array().unwrap().iter();
    leases
        .map(|lease| lease["address"].as_str().unwrap())
        .collect()
}

/// What a command that failed said to people.
pub(crate) fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn text_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
