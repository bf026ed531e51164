//! `slash24 gc`.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::host::{CONF, Host, addresses_of, error_of, json_of, text_of};

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
    assert_eq!(
        addresses_of(&freed),
        ["10.20.43.50", "10.8.0.3"],
        "the others may be kept for who comes back"
    );
    assert_eq!(host.leases("backend"), "10.20.43.2 fd00:24:14:20b::2");
}
