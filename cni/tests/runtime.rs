//! The runtime side against plugins that are executed: what they are told, in
//! which order, and what is kept.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use base64::Engine;
use cni::runtime::{Cache, Network, Parameters, Runtime};
use cni::{Environment, ValidAttachment, Version, code};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A runtime with plugins `one`, `two` and `three` that write down their calls.
struct Bench {
    dir: TempDir,
    runtime: Runtime,
}

/// A call that a plugin has written down.
struct Recorded {
    call: String,
    attachment: String,
    netns: String,
    args: String,
    input: Value,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin.sh");
        for name in ["one", "two", "three"] {
            symlink(&script, bin.join(name)).unwrap();
        }
        let cache = Cache::new(dir.path().join("cache"));
        let mut runtime = Runtime::new(vec![bin], cache);
        runtime.environment = Environment::from_pairs([
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
            ("RECORD".into(), dir.path().join("record").into_os_string()),
            ("CNI_ARGS".into(), "Inherited=1".into()),
        ] as [(std::ffi::OsString, _); 3]);
        Bench { dir, runtime }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.runtime.environment.set(name, value);
        self
    }

    /// What was called since the last time, as `VERB name`.
    fn calls(&self) -> Vec<String> {
        self.recorded().into_iter().map(|r| r.call).collect()
    }

    fn recorded(&self) -> Vec<Recorded> {
        let file = self.dir.path().join("record");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(&file);
        let record = |line: &str| {
            let fields: Vec<_> = line.split('\t').collect();
            Recorded {
                call: format!("{} {}", fields[0], fields[1]),
                attachment: fields[2].into(),
                netns: fields[3].into(),
                args: fields[4].into(),
                input: serde_json::from_str(fields[5]).unwrap_or_default(),
            }
        };
        text.lines().map(record).collect()
    }

    fn cache_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("cache/results").join(name)
    }

    fn cached_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("cache/results")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

fn network(version: &str) -> Network {
    let list = json!({"name": "net", "cniVersion": version, "plugins": [
        {"type": "one"}, {"type": "two"}, {"type": "three"},
    ]});
    Network::parse(list.to_string().as_bytes()).unwrap()
}

fn parameters(container: &str) -> Parameters {
    Parameters {
        container_id: container.into(),
        netns: Some(format!("/run/netns/{container}").into()),
        ifname: "eth0".into(),
        args: vec![
            ("IgnoreUnknown".into(), "1".into()),
            ("K".into(), "v".into()),
        ],
        ..Parameters::default()
    }
}

fn interface(value: &Value) -> &Value {
    &value["prevResult"]["interfaces"][0]["name"]
}

#[test]
fn results_go_down_the_chain_and_the_last_comes_back_up() {
    let bench = Bench::new();
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    let attachment = bench.runtime.add(&network, &parameters).unwrap();
    assert_eq!(attachment.interfaces[0].name, "three");
    let added = bench.recorded();
    let calls: Vec<_> = added.iter().map(|r| r.call.as_str()).collect();
    assert_eq!(calls, ["ADD one", "ADD two", "ADD three"]);
    assert_eq!(interface(&added[0].input), &Value::Null);
    assert_eq!(interface(&added[1].input), "one");
    assert_eq!(interface(&added[2].input), "two");
    for call in &added {
        assert_eq!(call.attachment, "c/eth0");
        assert_eq!(call.netns, "/run/netns/c");
        assert_eq!(call.args, "IgnoreUnknown=1;K=v");
        assert_eq!(call.input["name"], "net");
        assert_eq!(call.input["cniVersion"], "1.0.0");
    }

    bench.runtime.check(&network, &parameters).unwrap();
    let checked = bench.recorded();
    let calls: Vec<_> = checked.iter().map(|r| r.call.as_str()).collect();
    assert_eq!(calls, ["CHECK one", "CHECK two", "CHECK three"]);
    assert!(checked.iter().all(|r| interface(&r.input) == "three"));

    bench.runtime.del(&network, &parameters).unwrap();
    let deleted = bench.recorded();
    let calls: Vec<_> = deleted.iter().map(|r| r.call.as_str()).collect();
    assert_eq!(calls, ["DEL three", "DEL two", "DEL one"]);
    assert!(deleted.iter().all(|r| interface(&r.input) == "three"));
    assert!(bench.cached_files().is_empty());

    let error = bench.runtime.check(&network, &parameters).unwrap_err();
    assert_eq!(error.code, code::UNKNOWN_CONTAINER);
    bench.runtime.del(&network, &parameters).unwrap();
    assert!(
        bench
            .recorded()
            .iter()
            .all(|r| interface(&r.input) == &Value::Null)
    );
}

#[test]
fn each_plugin_gets_the_capabilities_that_it_has() {
    let bench = Bench::new();
    let list = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
        {"type": "one", "capabilities": {"ips": true, "mac": false}},
        {"type": "two", "runtimeConfig": {"kept": 1}},
        {"type": "three", "Capabilities": {"mac": true, "portMappings": true}},
    ]});
    let network = Network::parse(list.to_string().as_bytes()).unwrap();
    let offered = json!({"ips": ["10.0.0.9"], "mac": "02:00:00:00:00:01"});
    let parameters = Parameters {
        capability_args: offered.as_object().unwrap().clone(),
        ..parameters("c")
    };
    bench.runtime.add(&network, &parameters).unwrap();
    let inputs: Vec<_> = bench.recorded().into_iter().map(|r| r.input).collect();
    assert_eq!(inputs[0]["runtimeConfig"], json!({"ips": ["10.0.0.9"]}));
    assert_eq!(inputs[1]["runtimeConfig"], json!({"kept": 1}));
    assert_eq!(
        inputs[2]["runtimeConfig"],
        json!({"mac": "02:00:00:00:00:01"})
    );
    for input in inputs {
        assert_eq!(
            (input.get("capabilities"), input.get("Capabilities")),
            (None, None)
        );
    }
}

#[test]
fn an_add_that_fails_is_taken_back() {
    let bench = Bench::new().set("FAIL", "ADD:two");
    let error = bench
        .runtime
        .add(&network("1.0.0"), &parameters("c"))
        .unwrap_err();
    assert_eq!(error.code, 107);
    assert_eq!(error.msg, "plugin \"two\": ADD of two was told to");
    assert_eq!(error.details, "by the test");
    let recorded = bench.recorded();
    let calls: Vec<_> = recorded.iter().map(|r| r.call.as_str()).collect();
    assert_eq!(calls, ["ADD one", "ADD two", "DEL two", "DEL one"]);
    assert_eq!(interface(&recorded[3].input), "one");
    assert!(bench.cached_files().is_empty());
}

#[test]
fn what_cannot_be_taken_back_stays_known() {
    let bench = Bench::new().set("FAIL", "ADD:three DEL:two");
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    let error = bench.runtime.add(&network, &parameters).unwrap_err();
    assert!(error.details.contains("could not be undone"), "{error}");
    assert!(error.details.contains("DEL of two"), "{error}");
    let undone = ["DEL three", "DEL two", "DEL one"];
    assert_eq!(bench.calls()[3..], undone);
    let known = bench.runtime.cache.attachments(Some("c")).unwrap();
    assert_eq!((known.len(), &known[0].result), (1, &None));
    let bench = bench.set("FAIL", "");
    let of_add = known[0].network().unwrap();
    bench.runtime.del(&of_add, &known[0].parameters).unwrap();
    assert!(bench.cached_files().is_empty());
}

#[test]
fn an_add_over_a_torn_cache_is_taken_back_like_any_other() {
    let bench = Bench::new().set("FAIL", "ADD:one");
    fs::create_dir_all(bench.dir.path().join("cache/results")).unwrap();
    fs::write(bench.cache_file("net-c-eth0"), "{").unwrap();
    bench
        .runtime
        .add(&network("1.0.0"), &parameters("c"))
        .unwrap_err();
    assert_eq!(bench.calls(), ["ADD one", "DEL one"]);
    assert!(bench.cached_files().is_empty());
}

#[test]
fn an_add_over_an_attachment_does_not_undo_it() {
    let bench = Bench::new();
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    bench.runtime.add(&network, &parameters).unwrap();
    let before = fs::read(bench.cache_file("net-c-eth0")).unwrap();
    bench.calls();
    let bench = bench.set("FAIL", "ADD:two");
    bench.runtime.add(&network, &parameters).unwrap_err();
    assert_eq!(bench.calls(), ["ADD one", "ADD two"]);
    assert_eq!(fs::read(bench.cache_file("net-c-eth0")).unwrap(), before);
}

#[test]
fn nothing_is_begun_when_a_plugin_is_missing() {
    let bench = Bench::new();
    fs::remove_file(bench.dir.path().join("bin/three")).unwrap();
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    let error = bench.runtime.add(&network, &parameters).unwrap_err();
    assert_eq!(error.code, code::INVALID_CONFIG);
    assert!(error.msg.contains("\"three\" was not found in"), "{error}");
    let error = bench.runtime.add(
        &network,
        &Parameters {
            ifname: "a/b".into(),
            ..parameters
        },
    );
    assert_eq!(error.unwrap_err().code, code::INVALID_ENVIRONMENT);
    assert!(bench.calls().is_empty());
}

#[test]
fn a_del_goes_on_and_says_what_failed_first() {
    let bench = Bench::new();
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    bench.runtime.add(&network, &parameters).unwrap();
    bench.calls();
    let bench = bench.set("FAIL", "DEL:three DEL:one");
    let error = bench.runtime.del(&network, &parameters).unwrap_err();
    assert!(error.msg.contains("plugin \"three\""), "{error}");
    assert_eq!(bench.calls(), ["DEL three", "DEL two", "DEL one"]);
    assert_eq!(bench.cached_files(), ["net-c-eth0"]);
    bench
        .set("FAIL", "")
        .runtime
        .del(&network, &parameters)
        .unwrap();
}

#[test]
fn a_del_does_without_the_cache_and_over_a_torn_one() {
    let bench = Bench::new();
    let (network, parameters) = (network("1.0.0"), parameters("c"));
    bench.runtime.add(&network, &parameters).unwrap();
    bench.calls();
    fs::write(bench.cache_file("net-c-eth0"), "{\"kind\": \"cniCac").unwrap();
    bench.runtime.check(&network, &parameters).unwrap_err();
    bench.runtime.del(&network, &parameters).unwrap();
    let recorded = bench.recorded();
    assert_eq!(recorded.len(), 3);
    assert!(recorded.iter().all(|r| interface(&r.input) == &Value::Null));
    assert!(bench.cached_files().is_empty());
}

#[test]
fn old_versions_have_no_check_and_no_result_at_del() {
    let bench = Bench::new();
    let (network, parameters) = (network("0.3.1"), parameters("c"));
    bench.runtime.add(&network, &parameters).unwrap();
    bench.calls();
    let error = bench.runtime.check(&network, &parameters).unwrap_err();
    assert_eq!(error.code, code::INCOMPATIBLE_VERSION);
    assert!(bench.calls().is_empty());
    bench.runtime.del(&network, &parameters).unwrap();
    assert!(
        bench
            .recorded()
            .iter()
            .all(|r| r.input.get("prevResult").is_none())
    );
}

#[test]
fn disable_check_means_yes() {
    let bench = Bench::new();
    let mut network = network("1.0.0");
    network.disable_check = true;
    bench.runtime.check(&network, &parameters("c")).unwrap();
    assert!(bench.calls().is_empty());
}

#[test]
fn libcni_finds_what_it_would_have_written() {
    let bench = Bench::new();
    bench
        .runtime
        .add(&network("0.4.0"), &parameters("c"))
        .unwrap();
    let bytes = fs::read(bench.cache_file("net-c-eth0")).unwrap();
    let cached: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(cached["kind"], "cniCacheV1");
    assert_eq!(cached["containerId"], "c");
    assert_eq!(cached["ifName"], "eth0");
    assert_eq!(cached["networkName"], "net");
    assert_eq!(cached["netns"], "/run/netns/c");
    assert_eq!(
        cached["cniArgs"],
        json!([["IgnoreUnknown", "1"], ["K", "v"]])
    );
    let result = json!({
        "cniVersion": "0.4.0", "interfaces": [{"name": "three"}], "dns": {},
        "ips": [{"version": "4", "address": "10.0.0.2/24"}],
    });
    assert_eq!(cached["result"], result);
    let config = base64::engine::general_purpose::STANDARD
        .decode(cached["config"].as_str().unwrap())
        .unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["name"], "net");
    assert_eq!(config["cniVersion"], "0.4.0");
    assert_eq!(config["plugins"].as_array().unwrap().len(), 3);
}

#[test]
fn what_libcni_has_written_is_taken_over() {
    let bench = Bench::new();
    let config = json!({"name": "net", "cniVersion": "0.4.0", "type": "two"}).to_string();
    // As Go prints it: `null` for what is not there, a list of pairs.
    let cached = json!({
        "kind": "cniCacheV1", "containerId": "c", "ifName": "eth0", "networkName": "net",
        "config": base64::engine::general_purpose::STANDARD.encode(config),
        "netns": "/run/netns/c", "cniArgs": null, "capabilityArgs": null,
        "result": {"cniVersion": "0.4.0", "interfaces": [{"name": "theirs"}], "dns": {}},
    });
    fs::create_dir_all(bench.dir.path().join("cache/results")).unwrap();
    fs::write(bench.cache_file("net-c-eth0"), cached.to_string()).unwrap();
    let known = bench.runtime.cache.attachments(Some("c")).unwrap();
    let network = known[0].network().unwrap();
    bench.runtime.del(&network, &known[0].parameters).unwrap();
    let recorded = bench.recorded();
    assert_eq!(recorded[0].call, "DEL two");
    assert_eq!(interface(&recorded[0].input), "theirs");
    assert!(bench.cached_files().is_empty());
}

#[test]
fn gc_removes_what_is_not_valid_and_tells_the_plugins_both_keys() {
    let bench = Bench::new();
    let network = network("1.1.0");
    for container in ["live", "stale"] {
        bench.runtime.add(&network, &parameters(container)).unwrap();
    }
    bench.calls();
    let valid = [ValidAttachment {
        container_id: "live".into(),
        ifname: "eth0".into(),
    }];
    let bench = bench.set("FAIL", "GC:one");
    let error = bench.runtime.gc(&network, &valid).unwrap_err();
    assert!(error.msg.contains("plugin \"one\""), "{error}");
    let recorded = bench.recorded();
    let calls: Vec<_> = recorded.iter().map(|r| r.call.as_str()).collect();
    let deleted = ["DEL three", "DEL two", "DEL one"];
    assert_eq!(calls[..3], deleted);
    assert!(recorded[..3].iter().all(|r| r.attachment == "stale/eth0"));
    assert_eq!(calls[3..], ["GC one", "GC two", "GC three"]);
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let expected = json!([{"containerID": "live", "ifname": "eth0"}]);
        assert_eq!(recorded[3].input[key], expected);
    }
    assert_eq!(bench.cached_files(), ["net-live-eth0"]);
}

#[test]
fn gc_asks_no_plugin_before_1_1_0_and_none_when_disabled() {
    let bench = Bench::new();
    let mut network = network("1.0.0");
    bench.runtime.add(&network, &parameters("stale")).unwrap();
    bench.calls();
    network.disable_gc = true;
    bench.runtime.gc(&network, &[]).unwrap();
    assert!(bench.calls().is_empty());
    network.disable_gc = false;
    bench.runtime.gc(&network, &[]).unwrap();
    assert_eq!(bench.calls(), ["DEL three", "DEL two", "DEL one"]);
}

#[test]
fn status_stops_at_the_first_no() {
    let bench = Bench::new().set("FAIL", "STATUS:two");
    let error = bench.runtime.status(&network("1.1.0")).unwrap_err();
    assert_eq!(error.code, 107);
    assert_eq!(bench.calls(), ["STATUS one", "STATUS two"]);
    bench.runtime.status(&network("1.0.0")).unwrap();
    assert!(bench.calls().is_empty());
}

#[test]
fn the_newest_version_that_all_speak_is_run() {
    let list = |versions: Value| {
        let list = json!({"name": "net", "cniVersions": versions, "plugins": [{"type": "one"}]});
        Network::parse(list.to_string().as_bytes()).unwrap()
    };
    let bench = Bench::new().set("VERSIONS", r#"["0.3.1", "0.4.0", "8.0.0"]"#);
    let spoken = bench.runtime.versions("one").unwrap();
    assert_eq!(spoken, [Version::V0_3_1, Version::V0_4_0]);
    bench.calls();

    let network = list(json!(["0.3.1", "0.4.0", "1.1.0"]));
    bench.runtime.add(&network, &parameters("c")).unwrap();
    let recorded = bench.recorded();
    assert_eq!(recorded[0].call, "VERSION one");
    assert_eq!(recorded[1].input["cniVersion"], "0.4.0");
    // DEL keeps to the version of ADD, without asking.
    bench.runtime.del(&network, &parameters("c")).unwrap();
    let recorded = bench.recorded();
    assert_eq!(recorded[0].call, "DEL one");
    assert_eq!(recorded[0].input["cniVersion"], "0.4.0");

    let error = bench
        .runtime
        .add(&list(json!(["1.0.0", "1.1.0"])), &parameters("c"));
    let error = error.unwrap_err();
    assert_eq!(error.code, code::INCOMPATIBLE_VERSION);
    assert!(error.msg.contains("plugin \"one\" speaks none"), "{error}");
}

#[test]
fn arguments_that_cannot_be_written_are_refused() {
    let bench = Bench::new();
    for (key, value) in [("A", "1;B=2"), ("A=B", "1"), ("", "1")] {
        let parameters = Parameters {
            args: vec![(key.into(), value.into())],
            ..parameters("c")
        };
        let error = bench
            .runtime
            .add(&network("1.0.0"), &parameters)
            .unwrap_err();
        assert_eq!(error.code, code::INVALID_ENVIRONMENT, "{error}");
    }
    assert!(bench.calls().is_empty());
}

#[test]
fn many_containers_at_once_and_gc_between() {
    let bench = Bench::new();
    let network = network("1.1.0");
    let valid: Vec<_> = (0..8)
        .map(|i| ValidAttachment {
            container_id: format!("c{i}"),
            ifname: "eth0".into(),
        })
        .collect();
    thread::scope(|scope| {
        for i in 0..8 {
            let (runtime, network) = (&bench.runtime, &network);
            scope.spawn(move || {
                let parameters = parameters(&format!("c{i}"));
                for _ in 0..2 {
                    runtime.add(network, &parameters).unwrap();
                    runtime.check(network, &parameters).unwrap();
                    runtime.del(network, &parameters).unwrap();
                }
                runtime.add(network, &parameters).unwrap();
            });
        }
        for _ in 0..3 {
            bench.runtime.gc(&network, &valid).unwrap();
        }
    });
    let mut files = bench.cached_files();
    files.sort_unstable();
    let expected: Vec<_> = (0..8).map(|i| format!("net-c{i}-eth0")).collect();
    assert_eq!(files, expected);
    let calls = bench.calls();
    let count = |call: &str| calls.iter().filter(|c| *c == call).count();
    assert_eq!(
        (count("ADD one"), count("DEL one"), count("GC three")),
        (24, 16, 3)
    );
    // GC was alone: no ADD or DEL stands between its calls. CHECK may.
    let calls: Vec<_> = calls.iter().filter(|c| !c.starts_with("CHECK")).collect();
    let gcs = calls.iter().enumerate().filter(|(_, c)| **c == "GC one");
    for (index, _) in gcs {
        assert_eq!(calls[index + 1..index + 3], ["GC two", "GC three"]);
    }
}

/// The names of `net` and `a-b`, and of `net-a` and `b`, make the same file.
#[test]
fn attachments_whose_files_have_one_name_keep_apart() {
    let bench = Bench::new();
    let (own, other) = (network("1.0.0"), {
        let list = json!({"name": "net-a", "cniVersion": "1.0.0", "plugins": [{"type": "one"}]});
        Network::parse(list.to_string().as_bytes()).unwrap()
    });
    bench.runtime.add(&own, &parameters("a-b")).unwrap();
    bench.calls();
    let failure = bench.runtime.add(&other, &parameters("b")).unwrap_err();
    assert!(
        failure.msg.contains("\"a-b\"") && failure.msg.contains("\"net\""),
        "{failure}"
    );
    assert!(bench.calls().is_empty());
    bench.runtime.del(&other, &parameters("b")).unwrap();
    assert_eq!(bench.calls(), ["DEL one"]);
    bench.runtime.check(&own, &parameters("a-b")).unwrap();
}
