//! host-local as many processes at once, and beside the reference's.
//!
//! This executable is the plugin when it is called as one (`CNI_COMMAND` is set),
//! so every call here is a process of its own, as it is for a runtime.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod process;

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use process::{Files, HostLocal, address, all_distinct, config, files, finish, leases};
use serde_json::{Value, json};

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::skeleton::run(&ipam::HostLocal, &[]).into();
    }
    let arguments = Arguments::from_args();
    let own = |name, run: fn() -> Result<(), Failed>| Trial::test(name, run);
    let beside = |name, run: fn() -> Result<(), Failed>| {
        Trial::test(format!("beside_the_reference::{name}"), run)
    };
    let trials = vec![
        own("no_address_is_given_twice", no_address_is_given_twice),
        own("two_hundred_at_once", two_hundred_at_once),
        own("a_full_range_says_so", a_full_range_says_so),
        own(
            "killed_processes_leave_whole_leases",
            killed_processes_leave_whole_leases,
        ),
        own("a_lock_that_is_held_is_named", a_lock_that_is_held_is_named),
        beside(
            "results_and_files_are_the_same",
            results_and_files_are_the_same,
        ),
        beside(
            "each_releases_what_the_other_gave",
            each_releases_what_the_other_gave,
        ),
        beside("both_can_share_a_directory", both_can_share_a_directory),
        beside("it_waits_for_our_lock", it_waits_for_our_lock),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn no_address_is_given_twice() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(dir.path(), json!({"subnet": "10.0.0.0/24"}));
    let ours = HostLocal::ours();
    let started: Vec<Child> = (0..80)
        .map(|n| ours.start("ADD", &format!("c{n}"), "", &config))
        .collect();
    let given: Vec<String> = started
        .into_iter()
        .map(|child| address(&finish(child).unwrap()))
        .collect();
    assert!(all_distinct(given));
    assert_eq!(leases(dir.path()).len(), 80);
    let started: Vec<Child> = (0..80)
        .map(|n| ours.start("DEL", &format!("c{n}"), "", &config))
        .collect();
    started
        .into_iter()
        .for_each(|child| assert_eq!(finish(child), Ok(Value::Null)));
    assert_eq!(leases(dir.path()), BTreeMap::new());
    Ok(())
}

/// 200 processes at once in a small range and in a large one; then the small one
/// is filled, emptied and filled again.
fn two_hundred_at_once() -> Result<(), Failed> {
    let ours = HostLocal::ours();
    let at_once = |verb, names: std::ops::Range<u32>, config: &Value| {
        let started: Vec<Child> = names
            .map(|n| ours.start(verb, &format!("c{n}"), "", config))
            .collect();
        started.into_iter().map(finish).collect::<Vec<_>>()
    };
    for subnet in ["10.0.0.0/24", "10.0.0.0/16"] {
        let dir = tempfile::tempdir()?;
        let config = config(dir.path(), json!({"subnet": subnet}));
        let given = at_once("ADD", 0..200, &config);
        let given: Vec<String> = given.iter().map(|r| address(r.as_ref().unwrap())).collect();
        assert!(all_distinct(given));
        assert_eq!(leases(dir.path()).len(), 200);
        if subnet.ends_with("/24") {
            let more = at_once("ADD", 200..260, &config);
            let (given, refused): (Vec<_>, Vec<_>) = more.into_iter().partition(Result::is_ok);
            assert_eq!((given.len(), refused.len()), (53, 7));
            for refused in refused {
                let refused = refused.unwrap_err();
                assert_eq!(refused["code"], 100);
                let message = refused["msg"].as_str().unwrap();
                assert!(message.contains("10.0.0.1-10.0.0.254"), "{message}");
            }
        }
        let released = at_once("DEL", 0..260, &config);
        assert!(released.iter().all(Result::is_ok));
        assert_eq!(leases(dir.path()), BTreeMap::new());
        if subnet.ends_with("/24") {
            let again = at_once("ADD", 300..553, &config);
            let given: Vec<String> = again.iter().map(|r| address(r.as_ref().unwrap())).collect();
            assert_eq!(given.len(), 253);
            assert!(all_distinct(given));
        }
    }
    Ok(())
}

fn a_full_range_says_so() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(dir.path(), json!({"subnet": "10.0.0.0/27"}));
    let ours = HostLocal::ours();
    let started: Vec<Child> = (0..40)
        .map(|n| ours.start("ADD", &format!("c{n}"), "", &config))
        .collect();
    let (given, refused): (Vec<_>, Vec<_>) =
        started.into_iter().map(finish).partition(Result::is_ok);
    assert_eq!((given.len(), refused.len()), (29, 11));
    assert!(
        refused
            .iter()
            .all(|failed| failed.as_ref().unwrap_err()["code"] == 100)
    );
    Ok(())
}

/// Kills ADDs and DELs at any time: what is left is whole, is found by a DEL of
/// its owner, and keeps nobody from an address.
fn killed_processes_leave_whole_leases() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(dir.path(), json!({"subnet": "10.0.0.0/24"}));
    let ours = HostLocal::ours();
    for n in 0..120u32 {
        let verb = if n % 3 == 2 { "DEL" } else { "ADD" };
        let mut child = ours.start(verb, &format!("c{}", n / 3), "", &config);
        std::thread::sleep(Duration::from_micros(u64::from(n) * 15));
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, content) in leases(dir.path()) {
            assert!(
                content.ends_with("\r\neth0"),
                "{name}: {content:?} after {n}"
            );
        }
    }
    for n in 0..40 {
        ours.run("ADD", &format!("c{n}"), &config).unwrap();
        ours.run("DEL", &format!("c{n}"), &config).unwrap();
    }
    let mut left = files(dir.path());
    left.retain(|name, _| name != "lock" && name != "last_reserved_ip.0");
    assert_eq!(left, BTreeMap::new());
    Ok(())
}

fn a_lock_that_is_held_is_named() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(
        dir.path(),
        json!({"subnet": "10.0.0.0/24", "lockTimeout": 0.2}),
    );
    let ours = HostLocal::ours();
    ours.run("ADD", "c1", &config).unwrap();
    let lock = File::open(dir.path().join("net/lock"))?;
    lock.lock()?;
    let start = Instant::now();
    let failed = ours.run("ADD", "c2", &config).unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "it waits no longer than it was told"
    );
    assert_eq!(failed["code"], 11);
    let message = failed["msg"].as_str().unwrap();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    assert!(
        message.contains("processes"),
        "the command is named: {message}"
    );
    drop(lock);
    ours.run("ADD", "c2", &config).unwrap();
    Ok(())
}

/// The same calls of each implementation in a directory of its own.
fn results_and_files_are_the_same() -> Result<(), Failed> {
    let v4 = json!([{"subnet": "10.0.0.0/29", "rangeStart": "10.0.0.3", "rangeEnd": "10.0.0.5"}]);
    let far = json!([{"subnet": "10.1.0.0/30", "gateway": "10.1.0.2"}, {"subnet": "10.2.0.0/24"}]);
    let v6 = json!([{"subnet": "fd00:0:0:1::/64", "gateway": "fd00:0:0:1::2"}]);
    let route = json!([{"dst": "0.0.0.0/0"}, {"dst": "fd00::/8", "gw": "fd00:0:0:1::2"}]);
    for (ipam, args) in [
        (json!({"subnet": "10.0.0.0/24", "routes": route}), ""),
        (json!({"subnet": "10.0.0.0/24", "ranges": [v6]}), ""),
        (json!({"ranges": [v4, v6], "routes": route}), "IP=10.0.0.4"),
        (json!({"ranges": [far]}), ""),
        (
            json!({"ranges": [v6]}),
            "IgnoreUnknown=1;IP=fd00:0:0:1::77/64",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "rangestart": "10.0.0.9", "ROUTES": null}),
            "",
        ),
        (json!({"subnet": "10.0.0.0/31"}), ""),
        (json!({"subnet": "10.0.0.0/24"}), "IP=10.0.0.1"),
        (json!({"ranges": []}), ""),
    ] {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let ours = story(&HostLocal::ours(), &ipam, args, version)?;
            let theirs = story(&HostLocal::reference(), &ipam, args, version)?;
            assert_eq!(ours, theirs, "{ipam} {args} {version}");
        }
    }
    Ok(())
}

/// What some ADDs answer, without the words of errors, and what is left in the end.
fn story(
    host_local: &HostLocal,
    ipam: &Value,
    args: &str,
    version: &str,
) -> Result<(Vec<Option<Value>>, Files), Failed> {
    let dir = tempfile::tempdir()?;
    let mut config = config(dir.path(), ipam.clone());
    config["cniVersion"] = version.into();
    let mut answers = Vec::new();
    for (verb, container, args) in [
        ("ADD", "c1", args),
        ("ADD", "c2", ""),
        ("DEL", "c1", ""),
        ("ADD", "c3", ""),
    ] {
        let mut answer = host_local.call(verb, container, args, &config).ok();
        // The reference stopped telling of no name servers in 1.0.0 between the
        // release in Debian 12 and the next.
        if let Some(result) = answer.as_mut().and_then(Value::as_object_mut) {
            result.retain(|key, value| key != "dns" || *value != json!({}));
        }
        // Ours frees addresses also when the ranges are wrong.
        if verb == "ADD" {
            answers.push(answer);
        }
    }
    let mut files = files(dir.path());
    // The reference makes it before it finds a request to be out of range.
    files.remove("lock");
    Ok((answers, files))
}

fn each_releases_what_the_other_gave() -> Result<(), Failed> {
    let ranges = json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "2001:db8::/64"}]]);
    let (ours, theirs) = (HostLocal::ours(), HostLocal::reference());
    for (gives, releases) in [(&ours, &theirs), (&theirs, &ours)] {
        let dir = tempfile::tempdir()?;
        let mut config = config(dir.path(), json!({"ranges": ranges}));
        let result = gives.run("ADD", "c1", &config).unwrap();
        gives.run("ADD", "c2", &config).unwrap();
        config["prevResult"] = result;
        releases.run("CHECK", "c1", &config).unwrap();
        releases.run("DEL", "c1", &config).unwrap();
        assert!(gives.run("CHECK", "c1", &config).is_err());
        let left: Vec<String> = leases(dir.path()).into_keys().collect();
        assert_eq!(left, ["10.0.0.3", "2001:db8::3"]);
        assert_eq!(
            address(&releases.run("ADD", "c3", &config).unwrap()),
            "10.0.0.4/24",
            "the count goes on"
        );
    }
    Ok(())
}

fn both_can_share_a_directory() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(dir.path(), json!({"subnet": "10.0.0.0/24"}));
    let both = [HostLocal::ours(), HostLocal::reference()];
    let start =
        |verb, n: usize, who: usize| both[who % 2].start(verb, &format!("c{n}"), "", &config);
    let added: Vec<Child> = (0..60).map(|n| start("ADD", n, n)).collect();
    let given: Vec<String> = added
        .into_iter()
        .map(|child| address(&finish(child).unwrap()))
        .collect();
    assert!(all_distinct(given));
    let deleted: Vec<Child> = (0..60).map(|n| start("DEL", n, n + 1)).collect();
    deleted
        .into_iter()
        .for_each(|child| assert_eq!(finish(child), Ok(Value::Null)));
    assert_eq!(leases(dir.path()), BTreeMap::new());
    Ok(())
}

fn it_waits_for_our_lock() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let config = config(dir.path(), json!({"subnet": "10.0.0.0/24"}));
    let timeout = Duration::from_secs(30);
    let leases = ipam::LeaseDirectory::new(dir.path(), "net").lock(timeout)?;
    let mut waits = HostLocal::reference().start("ADD", "c1", "", &config);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(waits.try_wait()?, None);
    drop(leases);
    assert_eq!(address(&finish(waits).unwrap()), "10.0.0.2/24");
    Ok(())
}
