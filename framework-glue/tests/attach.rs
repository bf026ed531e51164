//! Attaching tasks, with plugins in this process that write down their calls.
#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::fs;
use std::sync::Mutex;

use cni::runtime::{Cache, Directory, Runtime};
use cni::{Attachment, Call, Command, Environment, Failure, Ip, Plugin, Plugins};
use framework_glue::{Attached, Container, Error, Planned, Task, attach, check, detach, plan};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A plugin that fails at the verb that its name says, if it says one.
struct Fake(&'static str);

static PLUGINS: Plugins = &[&Fake("works"), &Fake("fails-ADD"), &Fake("fails-DEL")];
/// Every call, after the container's id: tests run beside one another.
static CALLS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

impl Fake {
    fn called(&self, call: &Call<'_>) -> Result<(), Failure> {
        let request = call.request;
        let text = format!(
            "{} {} {}",
            request.command, request.config.name, request.ifname
        );
        let id = request.container_id.clone();
        CALLS.lock().unwrap().push((id, text));
        match self.0 == format!("fails-{}", request.command) {
            true => Err(Failure::new(111, "was told to")),
            false => Ok(()),
        }
    }
}

impl Plugin for Fake {
    fn name(&self) -> &'static str {
        self.0
    }

    fn add(&self, call: &Call<'_>) -> Result<Attachment, Failure> {
        self.called(call)?;
        let address = call.request.args.get("IP").unwrap_or("10.9.9.9");
        let ip = Ip {
            address: format!("{address}/24").parse().unwrap(),
            gateway: None,
            interface: None,
            shared: false,
        };
        Ok(Attachment {
            ips: vec![ip],
            ..Attachment::default()
        })
    }

    fn del(&self, call: &Call<'_>) -> Result<(), Failure> {
        self.called(call)
    }

    fn check(&self, call: &Call<'_>) -> Result<(), Failure> {
        assert_eq!(call.request.command, Command::Check);
        self.called(call)
    }
}

/// A host with the networks a and b, which work, and no-add and no-del.
struct Host {
    dir: TempDir,
    runtime: Runtime,
    container: Container,
}

impl Host {
    fn new(id: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("conf")).unwrap();
        for (name, plugin) in [
            ("a", "works"),
            ("b", "works"),
            ("no-add", "fails-ADD"),
            ("no-del", "fails-DEL"),
        ] {
            let conf = json!({"name": name, "cniVersion": "1.0.0", "type": plugin,
                "ipam": {"type": "host-local"}});
            let file = dir.path().join("conf").join(format!("{name}.conf"));
            fs::write(file, conf.to_string()).unwrap();
        }
        let mut runtime = Runtime::new(vec![], Cache::new(dir.path().join("cache")));
        runtime.plugins = PLUGINS;
        runtime.environment = Environment::default();
        runtime.path = vec![dir.path().to_owned()];
        let container = Container {
            id: id.into(),
            netns: Some("/run/netns/x".into()),
        };
        Host {
            dir,
            runtime,
            container,
        }
    }

    fn planned(&self, networks: &[&str]) -> Vec<Planned> {
        let list: Vec<_> = networks.iter().map(|name| json!({"name": name})).collect();
        self.planned_from(&list.into())
    }

    fn planned_from(&self, list: &Value) -> Vec<Planned> {
        let document = json!({"container": {"network": list}}).to_string();
        let task = Task::parse(document.as_bytes(), None).unwrap();
        let directory = Directory::read(&self.dir.path().join("conf")).unwrap();
        plan(&task, &directory, &self.container).unwrap()
    }

    fn attach(&self, networks: &[&str]) -> Result<Vec<Attached>, Error> {
        attach(&self.runtime, &self.container, &self.planned(networks))
    }

    fn detach(&self) -> Result<Vec<Attached>, Error> {
        detach(
            &self.runtime,
            &self.container,
            || Ok::<_, Error>(Vec::new()),
        )
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<String> {
        let mut calls = CALLS.lock().unwrap();
        let mine = calls.extract_if(.., |(id, _)| *id == self.container.id);
        mine.map(|(_, call)| call).collect()
    }

    fn cached_files(&self) -> usize {
        fs::read_dir(self.dir.path().join("cache/results"))
            .unwrap()
            .count()
    }
}

#[test]
fn a_container_comes_and_goes() {
    let host = Host::new("comes");
    let attached = host.attach(&["b", "a"]).unwrap();
    let places: Vec<_> = attached
        .iter()
        .map(|a| (a.network.as_str(), a.ifname.as_str()))
        .collect();
    assert_eq!(places, [("b", "eth0"), ("a", "eth1")]);
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.9/24"}]});
    assert_eq!(attached[0].result, Some(result));
    let checked = check(&host.runtime, &host.container, &host.planned(&["b", "a"])).unwrap();
    assert_eq!(checked, attached);
    let detached = host.detach().unwrap();
    assert_eq!(detached.len(), 2);
    assert_eq!(host.cached_files(), 0);
    assert_eq!(
        host.calls(),
        [
            "ADD b eth0",
            "ADD a eth1",
            "CHECK b eth0",
            "CHECK a eth1",
            "DEL a eth1",
            "DEL b eth0",
        ]
    );
}

#[test]
fn all_or_none() {
    let host = Host::new("none");
    let error = host.attach(&["a", "b", "no-add"]).unwrap_err();
    let expected = "network \"no-add\" (eth2): plugin \"fails-ADD\": was told to";
    assert_eq!(error.to_string(), expected);
    let failure = Failure::from(error);
    assert_eq!((failure.code, failure.msg.as_str()), (111, expected));
    let calls = [
        "ADD a eth0",
        "ADD b eth1",
        "ADD no-add eth2",
        "DEL no-add eth2",
        "DEL b eth1",
        "DEL a eth0",
    ];
    assert_eq!(host.calls(), calls);
    assert_eq!(host.cached_files(), 0);
}

#[test]
fn what_stays_attached_is_told_and_can_be_detached_later() {
    let host = Host::new("stays");
    let failure = Failure::from(host.attach(&["no-del", "no-add"]).unwrap_err());
    assert!(
        failure.msg.starts_with("network \"no-add\" (eth1)"),
        "{failure}"
    );
    assert!(
        failure.details.contains("\"no-del\" stays attached"),
        "{failure}"
    );
    host.calls();
    let error = host.detach().unwrap_err().to_string();
    assert!(error.starts_with("network \"no-del\" (eth0)"), "{error}");
    assert_eq!(host.calls(), ["DEL no-del eth0"]);
}

#[test]
fn what_was_attached_before_is_not_detached_by_a_failure() {
    let host = Host::new("before");
    host.attach(&["a"]).unwrap();
    host.calls();
    host.attach(&["a", "b", "no-add"]).unwrap_err();
    assert_eq!(host.calls()[3..], ["DEL no-add eth2", "DEL b eth1"]);
    assert_eq!(host.cached_files(), 1);
}

#[test]
fn an_interface_leads_to_one_network() {
    let host = Host::new("taken");
    host.attach(&["a", "b"]).unwrap();
    host.calls();
    let error = host.attach(&["a", "no-add"]).unwrap_err().to_string();
    assert!(
        error.contains("\"no-add\" would be eth1") && error.contains("on network \"b\""),
        "{error}"
    );
    assert!(host.calls().is_empty());
}

#[test]
fn detaching_goes_by_the_cache() {
    let host = Host::new("cache");
    host.attach(&["a", "no-del", "b"]).unwrap();
    host.calls();
    // The configurations are gone, and so is the task.
    fs::remove_dir_all(host.dir.path().join("conf")).unwrap();
    let error = host.detach().unwrap_err().to_string();
    assert!(error.contains("no-del"), "{error}");
    assert_eq!(
        host.calls(),
        ["DEL b eth2", "DEL no-del eth1", "DEL a eth0"]
    );
    assert_eq!(host.cached_files(), 1);
}

#[test]
fn detaching_without_a_cache_goes_by_the_task() {
    let host = Host::new("lost");
    host.attach(&["a", "b"]).unwrap();
    host.calls();
    fs::remove_dir_all(host.dir.path().join("cache")).unwrap();
    assert_eq!(host.detach().unwrap(), []);
    let planned = || Ok::<_, Error>(host.planned(&["a", "b"]));
    detach(&host.runtime, &host.container, planned).unwrap();
    assert_eq!(host.calls(), ["DEL b eth1", "DEL a eth0"]);
}

#[test]
fn a_check_misses_what_is_not_attached() {
    let host = Host::new("missing");
    let fails = |networks: &[&str]| {
        let planned = host.planned(networks);
        check(&host.runtime, &host.container, &planned).unwrap_err()
    };
    assert!(
        fails(&["a"])
            .to_string()
            .contains("\"missing\" is not attached by eth0")
    );
    host.attach(&["a"]).unwrap();
    let error = Failure::from(fails(&["a", "b"]));
    assert_eq!(error.code, cni::code::UNKNOWN_CONTAINER);
    assert!(error.msg.starts_with("network \"b\" (eth1)"), "{error}");
}

#[test]
fn the_address_that_was_asked_for_again() {
    let host = Host::new("again");
    let list = json!([{"name": "a", "ipaddress": [{"ip": "10.9.9.77"}]}]);
    for _ in 0..2 {
        let planned = host.planned_from(&list);
        let attached = attach(&host.runtime, &host.container, &planned).unwrap();
        let result = attached[0].result.as_ref().unwrap();
        assert_eq!(result["ips"][0]["address"], "10.9.9.77/24");
    }
    host.detach().unwrap();
    assert_eq!(host.calls(), ["ADD a eth0", "ADD a eth0", "DEL a eth0"]);
}

/// As a host that lost its power leaves it.
#[test]
fn a_torn_note_is_told_and_the_task_makes_up_for_it() {
    let host = Host::new("torn");
    host.attach(&["a", "b"]).unwrap();
    host.calls();
    for torn in ["", "{\"kind\": \"cniC"] {
        fs::write(host.runtime.cache.file("b", "torn", "eth1"), torn).unwrap();
        let error = Failure::from(check(&host.runtime, &host.container, &[]).unwrap_err());
        assert!(error.msg.contains("b-torn-eth1"), "{error}");
    }
    host.calls();
    let error = host.detach().unwrap_err().to_string();
    assert!(
        error.starts_with("network \"b\" (eth1)") && error.contains("b-torn-eth1"),
        "{error}"
    );
    assert_eq!(host.calls(), ["DEL a eth0"]);
    let planned = || Ok::<_, Error>(host.planned(&["a", "b"]));
    detach(&host.runtime, &host.container, planned).unwrap();
    assert_eq!(host.calls(), ["DEL b eth1"]);
    assert_eq!(host.cached_files(), 0);
}

#[test]
fn a_torn_note_does_not_hinder_attaching() {
    let host = Host::new("again-torn");
    host.attach(&["a"]).unwrap();
    fs::write(host.runtime.cache.file("a", "again-torn", "eth0"), "").unwrap();
    host.attach(&["a", "b"]).unwrap();
    assert_eq!(host.detach().unwrap().len(), 2);
}

/// As where a file system has become read-only.
#[test]
fn what_is_attached_is_checked_and_detached_without_a_lock() {
    let host = Host::new("unlocked");
    host.attach(&["a"]).unwrap();
    fs::create_dir(host.dir.path().join("cache/results/.lock-unlocked")).unwrap();
    host.attach(&["a"]).unwrap_err();
    check(&host.runtime, &host.container, &[]).unwrap();
    assert_eq!(host.detach().unwrap().len(), 1);
    assert_eq!(host.calls(), ["ADD a eth0", "CHECK a eth0", "DEL a eth0"]);
}
