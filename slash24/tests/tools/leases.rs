//! `slash24 leases`.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::host::{CONF, Host, addresses_of, error_of, json_of, text_of};

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

/// What could not be looked at is not said to be free.
#[test]
fn leases_behind_a_lock_are_unknown() {
    let host = Host::with_networks();
    host.add("backend", "c1");
    host.add("frontend", "c1");
    let conf = host.path("conf/backend.conf");
    let short = fs::read_to_string(&conf).unwrap();
    let mut short: serde_json::Value = serde_json::from_str(&short).unwrap();
    short["ipam"]["lockTimeout"] = json!(0.05);
    fs::write(&conf, short.to_string()).unwrap();
    let lock = fs::File::open(host.path("data/backend/lock")).unwrap();
    lock.lock().unwrap();
    let backend = &[&["leases", "backend"][..], &CONF].concat();
    let output = host.run(backend);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(said.contains("still locked"), "{said}");
    let table = text_of(&output);
    let row = |network: &str| -> Vec<String> {
        let mut lines = table.lines();
        let row = lines.find(|line| line.contains(network) && line.contains("/25"));
        let cells = row.unwrap().split('┆').skip(3);
        cells
            .map(|cell| cell.trim_matches([' ', '│']).to_owned())
            .collect()
    };
    assert!(
        table.starts_with("who holds what of backend could not be looked at\n"),
        "{table}"
    );
    assert_eq!(row("backend"), ["unknown", "unknown", "123"]);
    let json = json_of(&host.run(&[backend, &["--output", "json"][..]].concat()));
    let range = &json[0]["ranges"][0];
    assert_eq!(
        (&range["used"], &range["free"]),
        (&json!(null), &json!(null))
    );
    assert!(json[0]["leasesError"].as_str().unwrap().contains("locked"));
    let all = text_of(&host.run(&[&["leases"][..], &CONF].concat()));
    assert!(
        all.contains(" frontend ") && all.contains("backend could not"),
        "{all}"
    );
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
    let output = release(&["10.20.43.2", "fd00:24:14:20b:0::2"]);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        said.contains(
            "the namespace of container c1, interface eth0, which held 10.20.43.2, is still there"
        ),
        "{said}"
    );
    let freed = text_of(&output);
    assert!(
        freed.contains(" alive ") && !freed.contains(" unknown "),
        "{freed}"
    );
    assert!(
        freed.contains("freed 2") && freed.contains(" c1 "),
        "{freed}"
    );
    let freed = json_of(&release(&["--container", "c2", "--output", "json"]));
    assert_eq!(
        addresses_of(&freed),
        ["10.20.43.3", "fd00:24:14:20b::3", "172.20.43.3"]
    );
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
