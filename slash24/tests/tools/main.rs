//! The commands that look at leases and plans, and clean up.
#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

const SLASH24: &str = env!("CARGO_BIN_EXE_slash24");

/// A host of rack 20, chassis 2, slot 11 with its configurations and leases.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Host(TempDir::new().unwrap());
        let place = json!({"rack": 20, "chassis": 2, "slot": 11});
        host.write("conf/location.json", &place.to_string());
        host
    }

    /// Two networks: backend with an IPv4 and an IPv6 range, frontend with another
    /// version.
    fn with_networks() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn network(&self, name: &str, version: &str, mut ipam: Value) {
        ipam["type"] = "host-local".into();
        ipam["dataDir"] = self.path("data").to_str().unwrap().into();
        ipam["location"] = json!({"file": self.path("conf/location.json")});
        let config = json!({"cniVersion": version, "name": name, "type": "bridge", "ipam": ipam});
        self.write(&format!("conf/{name}.conf"), &config.to_string());
    }

    fn call(&self, verb: &str, network: &str, container: &str, keys: Value) -> Output {
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

    fn config(&self, network: &str) -> Value {
        let text = fs::read(self.path(&format!("conf/{network}.conf"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Attaches a container to a network, as far as leases are concerned.
    fn add(&self, network: &str, container: &str) {
        let output = self.call("ADD", network, container, json!({}));
        assert!(output.status.success(), "{output:?}");
    }

    fn run(&self, command: &[&str]) -> Output {
        self.run_with(command, "")
    }

    fn run_with(&self, command: &[&str], stdin: &str) -> Output {
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
    fn leases(&self, network: &str) -> String {
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

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command that failed said to people.
fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

const CONF: [&str; 2] = ["--conf-dir", "conf"];

#[test]
fn leases_tell_who_holds_what() {
    let host = Host::with_networks();
    for container in ["c1", "c2"] {
        host.add("backend", container);
    }
    let ask = json!({"args": {"cni": {"ips": ["172.20.43.53"]}}});
    for container in ["c1", "c3"] {
        let output = host.call("ADD", "frontend", container, ask.clone());
        assert!(output.status.success(), "{output:?}");
    }
    // The reference's, one of an earlier boot and one of nobody.
    host.write("data/backend/10.20.43.50", "theirs\r\neth0");
    host.write("data/backend/10.20.43.51", "old\r\neth0");
    let old = fs::File::options()
        .append(true)
        .open(host.path("data/backend/10.20.43.51"));
    old.unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(60))
        .unwrap();
    host.write("data/backend/10.20.43.52", "");
    host.write("data/retired/10.9.0.2", "c7\r\neth0");
    let table = text_of(&host.run(&[&["leases"][..], &CONF, &["--data-dir", "data"]].concat()));
    for text in [
        " backend  ┆ 10.20.43.2         ┆ c1        ┆ eth0 ",
        " fd00:24:14:20b::2 ┆ c1 ",
        " 10.20.43.51        ┆ old       ┆ eth0      ┆ 1970-01-01T00:01:00Z ┆ gone      ┆ earlier │",
        " 10.20.43.52        ┆ (nobody) ",
        " frontend ┆ 172.20.43.53       ┆ c1 ",
        " frontend ┆ 172.20.43.53       ┆ c3 ",
        " retired  ┆ 10.9.0.2           ┆ c7 ",
        // Gateway, exclusion and reservation are not counted, nor are leases of nobody.
        " backend  ┆ 10.20.43.1-10.20.43.126 ",
        " ┆ 3    ┆ 120                  ┆ 123 ",
    ] {
        let text = text.replace("  ", " ");
        let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(table.contains(&text), "{text:?} is not in\n{table}");
    }
    let list =
        json_of(&host.run(&[&["leases", "backend", "--output", "json"][..], &CONF].concat()));
    let backend = &list[0];
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(backend["ranges"][0]["used"], 3);
    assert_eq!(backend["ranges"][0]["free"], 120);
    assert_eq!(
        backend["ranges"][1]["total"],
        (1u128 << 64) as f64 as u64 - 1
    );
    let first = &backend["leases"][0];
    assert_eq!(first["address"], "10.20.43.2");
    assert_eq!(
        (&first["container"], &first["ifname"]),
        (&json!("c1"), &json!("eth0"))
    );
    assert_eq!(
        (&first["boot"], &first["free"]),
        (&json!("this"), &json!(false))
    );
    assert_eq!(first["netns"]["state"], "alive");
    assert_eq!(first["netns"]["path"], "/proc/self/ns/net");
    let theirs = &backend["leases"][2];
    assert_eq!(
        (&theirs["container"], &theirs["netns"]["state"]),
        (&json!("theirs"), &json!("unknown"))
    );
    let unknown = error_of(&host.run(&[&["leases", "nowhere"][..], &CONF].concat()));
    assert!(
        unknown.contains("there are backend, frontend, retired"),
        "{unknown}"
    );
}

#[test]
fn leases_are_shown_whatever_the_configurations_say() {
    let host = Host::new();
    host.write("data/net/10.0.0.2", "c1\r\neth0");
    host.network("net", "1.0.0", json!({"subnet": "10.{rack}.{row}.0/24"}));
    host.write("conf/torn.conf", "{");
    host.write("conf/task.json", r#"{"name": "web", "container": {}}"#);
    let output = host.run(&[&["leases"][..], &CONF].concat());
    assert!(text_of(&output).contains(" 10.0.0.2 "));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("torn.conf") && said.contains("\"row\""),
        "{said}"
    );
    assert!(
        !said.contains("task.json") && !said.contains("location.json: missing"),
        "{said}"
    );
    let none = Host::new();
    let output = none.run(&["leases", "--conf-dir", "nowhere", "--data-dir", "nowhere"]);
    assert_eq!(text_of(&output), "nobody holds an address\n");
}

#[test]
fn leases_are_released_by_address_and_by_container() {
    let host = Host::with_networks();
    for container in ["c1", "c2", "c3"] {
        host.add("backend", container);
        host.add("frontend", container);
    }
    let release =
        |arguments: &[&str]| host.run(&[&["leases", "release"], arguments, &CONF].concat());
    let freed = text_of(&release(&["10.20.43.2", "fd00:24:14:20b:0::2"]));
    assert!(
        freed.contains("freed 2") && freed.contains(" c1 "),
        "{freed}"
    );
    let freed = json_of(&release(&["--container", "c2", "--output", "json"]));
    let freed: Vec<&str> = freed
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["address"].as_str().unwrap())
        .collect();
    assert_eq!(freed, ["10.20.43.3", "fd00:24:14:20b::3", "172.20.43.3"]);
    release(&[
        "--container",
        "c3",
        "--network",
        "frontend",
        "--ifname",
        "eth0",
    ]);
    assert_eq!(host.leases("backend"), "10.20.43.4 fd00:24:14:20b::4");
    assert_eq!(host.leases("frontend"), "172.20.43.2");
    for (arguments, why) in [
        (
            &["10.20.43.4", "--container", "c1"][..],
            "container c1 does not hold 10.20.43.4; looked at backend, frontend",
        ),
        (&["10.20.43.77"], "nobody holds 10.20.43.77"),
        (
            &["--container", "c3", "--ifname", "eth1"],
            "container c3, interface eth1, does not hold an address",
        ),
        (
            &["--network", "no", "10.20.43.4"],
            "there are backend, frontend",
        ),
    ] {
        let error = error_of(&release(arguments));
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(release(&["10.20.43.x"]).status.code(), Some(2));
    assert_eq!(release(&[]).status.code(), Some(2));
}

#[test]
fn an_address_tells_its_place_and_its_holder() {
    let host = Host::with_networks();
    host.add("backend", "c1");
    host.write("data/retired/192.168.0.2", "c7\r\neth0");
    let find =
        |address: &str| host.run(&[&["where", "--output", "json", address][..], &CONF].concat());
    let here = json_of(&find("10.20.43.2"));
    assert_eq!(here[0]["network"], "backend");
    assert_eq!(
        here[0]["place"],
        json!({"rack": 20, "chassis": 2, "slot": 11})
    );
    assert_eq!(
        (&here[0]["host"], &here[0]["subnet"]),
        (&json!("this"), &json!("10.20.43.0/25"))
    );
    assert_eq!(here[0]["holders"][0]["container"], "c1");
    for (address, host_is, what) in [
        ("10.20.43.1", "this", "the gateway"),
        ("10.20.43.9", "this", "excluded"),
        ("10.20.43.100", "this", "reserved for db"),
        ("10.20.43.127", "this", "in the subnet, not in the range"),
        ("10.50.43.3", "another", "a container's"),
        ("172.50.43.53", "another", "shared by containers"),
        ("fd00:24:32:20b::7", "another", "a container's"),
        ("::ffff:10.50.43.3", "another", "a container's"),
    ] {
        let found = json_of(&find(address));
        assert_eq!(
            (&found[0]["host"], &found[0]["what"]),
            (&json!(host_is), &json!(what)),
            "{address}"
        );
        assert_eq!(found[0]["holders"], json!([]), "{address}");
    }
    let retired = json_of(&find("192.168.0.2"));
    assert_eq!(
        (&retired[0]["network"], &retired[0]["place"]),
        (&json!("retired"), &Value::Null)
    );
    let table = text_of(&host.run(&[&["where", "10.50.43.3"][..], &CONF].concat()));
    for text in [
        "│ backend ┆ 10.50.43.0/25 ┆ rack 50   ┆ another ┆",
        "chassis 2",
        "slot 11",
    ] {
        assert!(table.contains(text), "{table}");
    }
    let error = error_of(&find("192.0.2.1"));
    assert!(
        error.contains("10.{rack}.{chassis:4}{slot:4}.0/25"),
        "{error}"
    );
}

#[test]
fn a_host_may_be_known_by_name() {
    let host = Host::new();
    let ipam = json!({"type": "host-local", "subnet": "10.{rack}.{slot}.0/24",
        "location": {"hostname": "r{rack}-s{slot}-no-such-host"}});
    let config = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam});
    host.write("conf/net.conf", &config.to_string());
    let output = host.run(&[
        "where",
        "10.50.11.2",
        "--conf-dir",
        "conf",
        "--data-dir",
        "data",
        "--output",
        "json",
    ]);
    let found = json_of(&output);
    assert_eq!(found[0]["host"], "unknown");
    assert!(
        found[0]["hostError"]
            .as_str()
            .unwrap()
            .contains("no-such-host"),
        "{found}"
    );
}

const FIELDS: [&str; 6] = ["--rack", "0-255", "--chassis", "0-15", "--slot", "0-15"];

#[test]
fn a_plan_that_is_right() {
    let host = Host::with_networks();
    host.write("conf/task.json", r#"{"name": "web", "container": {}}"#);
    host.write(
        "conf/dhcp.conf",
        r#"{"name": "d", "type": "x", "ipam": {"type": "dhcp"}}"#,
    );
    let output = host.run(&[&["plan", "conf"][..], &FIELDS].concat());
    let text = text_of(&output);
    for part in [
        "65536 places: chassis 0-15, rack 0-255, slot 0-15",
        "10.0.0.0/25  ┆ 10.255.255.0/25 ",
        "backend ipam.ranges[0][0]: rack is bits 9 to 16, chassis is bits 17 to 20, slot is bits 21 to 24, all in the first 25: no two places have an address in common",
        "network \"d\" has its addresses from dhcp: not checked",
        "nothing is wrong",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed(&text).contains(&squeezed(part)),
            "{part} is not in\n{text}"
        );
    }
    let fields = [
        "--rack=20",
        "--chassis",
        "2-3",
        "--slot=11",
        "--subnets",
        "--output",
        "json",
    ];
    let plan = json_of(&host.run(&[&["plan", "conf/backend.conf"][..], &fields].concat()));
    assert_eq!((&plan["right"], &plan["places"]), (&json!(true), &json!(2)));
    assert_eq!(plan["networks"][0]["hosts"], 2);
    assert_eq!(plan["networks"][0]["containersPerHost"], 123);
    let subnets: Vec<&str> = plan["subnets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["subnet"].as_str().unwrap())
        .collect();
    assert_eq!(
        subnets,
        [
            "10.20.43.0/25",
            "fd00:24:14:20b::/64",
            "10.20.59.0/25",
            "fd00:24:14:30b::/64"
        ]
    );
}

/// What is not a network there, the host's place and a task, is passed over.
#[test]
fn the_examples_are_a_plan_that_is_right() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf-examples");
    for examples in [examples.to_owned(), format!("{examples}/mesos")] {
        let output = Host::new().run(&["plan", &examples, "--rack", "0-99", "--slot", "0-99"]);
        let text = text_of(&output);
        assert!(
            text.contains("10000 places") && text.contains("nothing is wrong"),
            "{text}"
        );
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_plan_that_is_wrong() {
    let host = Host::with_networks();
    host.network("clash", "1.0.0", json!({"subnet": "10.{rack}.0.0/16"}));
    host.network(
        "reserved",
        "1.0.0",
        json!({"subnet": "{rack}.{chassis:4}{slot:4}.0.0/16"}),
    );
    let fields = [
        "--rack",
        "100-256",
        "--chassis",
        "0-15",
        "--slot",
        "0-15",
        "--output",
        "json",
    ];
    let output = host.run(&[&["plan", "conf"][..], &fields].concat());
    assert_eq!(output.status.code(), Some(1));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["right"], false);
    let said = |kind: &str, why: &str| {
        let faults = plan["faults"].as_array().unwrap().iter();
        let mut of_kind = faults.filter(|fault| fault["kind"] == kind);
        assert!(
            of_kind.any(|fault| fault["message"].as_str().unwrap().contains(why)),
            "{kind} {why}: {plan:#}"
        );
    };
    said(
        "overlap",
        "and network \"clash\", ipam: 10.{rack}.0.0/16 overlap: both have 10.",
    );
    said(
        "not-in-subnet",
        "network \"clash\", ipam: 10.{rack}.0.0/16 does not depend on \"chassis\"",
    );
    said(
        "does-not-fit",
        "\"rack\" cannot be 256; its bits hold at most 255",
    );
    said("reserved", "127.0.0.0/8, loopback");
    said("reserved", "multicast");
    let slip = error_of(&host.run(&["plan", "conf", "--rack", "1", "--slto", "1"]));
    assert!(
        slip.contains(
            "--slto: no template has a field of that name; there are --chassis, --rack, --slot"
        ),
        "{slip}"
    );
    host.write("conf/torn.conf", "{");
    let torn = error_of(&host.run(&["plan", "conf", "--rack", "1"]));
    assert!(torn.contains("torn.conf"), "{torn}");
    host.write(
        "other/x.conf",
        r#"{"name": "d", "type": "x", "ipam": {"type": "dhcp"}}"#,
    );
    let nothing = error_of(&host.run(&["plan", "other"]));
    assert!(nothing.contains("no network in other"), "{nothing}");
    let none = error_of(&host.run(&["plan", "conf/none.conf"]));
    assert!(none.contains("conf/none.conf"), "{none}");
}

/// Configurations below 1.1.0 have no GC; their leases are freed all the same.
#[test]
fn gc_keeps_what_is_valid() {
    let host = Host::with_networks();
    host.network("new", "1.1.0", json!({"subnet": "10.9.0.0/24"}));
    host.network("spared", "1.0.0", json!({"subnet": "10.8.0.0/24"}));
    let mut spared = host.config("spared");
    spared["disableGC"] = true.into();
    host.write("conf/spared.conf", &spared.to_string());
    // As Mesos has it: the port mapper delegates to the network's own plugin.
    let mut delegate = host.config("frontend");
    delegate["name"] = Value::Null;
    let mapper = json!({"cniVersion": "0.2.0", "name": "frontend", "type": "mesos-cni-port-mapper", "delegate": delegate});
    for network in ["backend", "frontend", "new", "spared"] {
        for container in ["c1", "c2", "c3"] {
            host.add(network, container);
        }
    }
    host.write("conf/frontend.conf", &mapper.to_string());
    host.write("bin/bridge", "");
    let gc = |arguments: &[&str], stdin: &str| {
        let all = ["gc", "--plugin-dir", "bin", "--cache-dir", "cache"];
        host.run_with(&[&all, arguments, &CONF].concat(), stdin)
    };
    for (list, why) in [
        (
            "",
            "there is nothing in it; [] means that there is no container",
        ),
        ("CONTAINER ID  IMAGE", "line 1 is \"CONTAINER ID  IMAGE\""),
        ("[{\"id\": 1}]", "containerID"),
    ] {
        let error = error_of(&gc(&["--valid", "-"], list));
        assert!(error.contains(why), "{error}");
    }
    // What is made at about the same time may be younger.
    std::thread::sleep(Duration::from_millis(20));
    host.write("list", "c1 eth0\nc2 eth1\nc3\n");
    host.add("backend", "younger");
    let freed = json_of(&gc(&["--valid", "list", "--output", "json"], ""));
    let mut freed: Vec<String> = freed
        .as_array()
        .unwrap()
        .iter()
        .map(|lease| format!("{} {}", lease["network"], lease["address"]).replace('"', ""))
        .collect();
    freed.sort();
    assert_eq!(
        freed,
        [
            "backend 10.20.43.3",
            "backend fd00:24:14:20b::3",
            "frontend 172.20.43.3",
            "new 10.9.0.3"
        ]
    );
    assert_eq!(host.leases("spared"), "10.8.0.2 10.8.0.3 10.8.0.4");
    assert_eq!(host.leases("frontend"), "172.20.43.2 172.20.43.4");
    let left = text_of(&gc(&["--valid", "list"], ""));
    assert_eq!(left, "nothing was freed\n");
    let freed = text_of(&gc(&["--valid", "-", "new"], "[]"));
    assert!(freed.contains("freed 2"), "{freed}");
    assert_eq!(host.leases("frontend"), "172.20.43.2 172.20.43.4");
    let unknown = error_of(&gc(&["--valid", "list", "old"], ""));
    assert!(
        unknown.contains("there are backend, frontend, new, spared"),
        "{unknown}"
    );
    assert_eq!(gc(&[], "").status.code(), Some(2));
}

/// `docker ps` prints the beginnings of ids. Taken for ids they would free everything.
#[test]
fn gc_refuses_the_beginnings_of_ids() {
    let host = Host::with_networks();
    let id = "0123456789abcdef0123456789abcdef";
    host.add("backend", id);
    let error = error_of(
        &host.run_with(
            &[
                &["gc", "--valid", "-"][..],
                &CONF,
                &["--cache-dir", "cache"],
            ]
            .concat(),
            "0123456789ab\n",
        ),
    );
    assert!(
        error.contains("short for container 0123456789abcdef0"),
        "{error}"
    );
    assert_eq!(host.leases("backend"), "10.20.43.2 fd00:24:14:20b::2");
}

/// Of an earlier boot; whose namespace is gone is for the tests with namespaces.
#[test]
fn gc_frees_the_dead() {
    let host = Host::with_networks();
    host.network(
        "kept",
        "1.0.0",
        json!({"subnet": "10.8.0.0/24", "keepAcrossReboot": true}),
    );
    host.add("backend", "alive");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    for lease in ["backend/10.20.43.50", "kept/10.8.0.2", "retired/10.9.0.2"] {
        host.write(&format!("data/{lease}"), "old\r\neth0");
        let file = fs::File::options()
            .append(true)
            .open(host.path("data").join(lease));
        file.unwrap().set_modified(long_ago).unwrap();
    }
    host.write("data/kept/10.8.0.3", "");
    let output = host.run(
        &[
            &["gc", "--dead", "--data-dir", "data", "--output", "json"][..],
            &CONF,
        ]
        .concat(),
    );
    // Here not every namespace may be seen; then it says so.
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    assert!(
        said.is_empty() || said.contains("run this as root"),
        "{said}"
    );
    let freed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let freed: Vec<&str> = freed
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["address"].as_str().unwrap())
        .collect();
    assert_eq!(
        freed,
        ["10.20.43.50", "10.8.0.3"],
        "the others may be kept for who comes back"
    );
    assert_eq!(host.leases("backend"), "10.20.43.2 fd00:24:14:20b::2");
}
