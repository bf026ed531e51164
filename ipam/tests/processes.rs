//! host-local as many processes at once, and beside the reference's.
//!
//! This executable is the plugin when it is called as one (`CNI_COMMAND` is set),
//! so every call here is a process of its own, as it is for a runtime.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// Where Debian installs the reference's.
const REFERENCE: &str = "/usr/lib/cni/host-local";

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::skeleton::run(&ipam::HostLocal, &[]).into();
    }
    let arguments = Arguments::from_args();
    let own = |name, run: fn() -> Result<(), Failed>| Trial::test(name, run);
    let beside = |name, run: fn() -> Result<(), Failed>| {
        let trial = Trial::test(format!("beside_the_reference::{name}"), run);
        trial.with_ignored_flag(!Path::new(REFERENCE).exists())
    };
    let trials = vec![
        own("no_address_is_given_twice", no_address_is_given_twice),
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

/// Names of files and what they hold.
type Files = BTreeMap<String, String>;

/// An implementation of host-local.
#[derive(Clone)]
struct HostLocal(PathBuf);

impl HostLocal {
    fn ours() -> Self {
        HostLocal(std::env::current_exe().unwrap())
    }

    fn reference() -> Self {
        HostLocal(REFERENCE.into())
    }

    fn start(&self, verb: &str, container: &str, args: &str, config: &Value) -> Child {
        let mut child = Command::new(&self.0)
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/run/netns/none")
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_ARGS", args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One that was killed at once does not read it.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(config.to_string().as_bytes());
        child
    }

    fn call(
        &self,
        verb: &str,
        container: &str,
        args: &str,
        config: &Value,
    ) -> Result<Value, Value> {
        finish(self.start(verb, container, args, config))
    }

    fn run(&self, verb: &str, container: &str, config: &Value) -> Result<Value, Value> {
        self.call(verb, container, "", config)
    }
}

fn finish(child: Child) -> Result<Value, Value> {
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    let value = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    if status.success() {
        Ok(value)
    } else {
        Err(value)
    }
}

fn config(dir: &Path, mut ipam: Value) -> Value {
    ipam["type"] = "host-local".into();
    ipam["dataDir"] = dir.to_str().unwrap().into();
    json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam})
}

fn address(result: &Value) -> String {
    result["ips"][0]["address"].as_str().unwrap().to_owned()
}

/// Every file of the lease directory and what it holds.
fn files(dir: &Path) -> Files {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir.join("net")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        files.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
    }
    files
}

fn leases(dir: &Path) -> Files {
    let mut files = files(dir);
    files.retain(|name, _| name.parse::<std::net::IpAddr>().is_ok());
    files
}

fn all_distinct(mut addresses: Vec<String>) -> bool {
    let count = addresses.len();
    addresses.sort();
    addresses.dedup();
    addresses.len() == count
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
