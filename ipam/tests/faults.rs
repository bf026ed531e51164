//! What is left when a call is killed, or a system call fails, at any time.
//!
//! `strace` does the harm: a call is traced once, and then made again for each of
//! its system calls with a signal or an error there. Afterwards everything must be
//! as if the call had been made or had not: leases are whole, a DEL that is
//! repeated leaves nothing, and every address of the range can be given again.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod network;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use network::Network;
use process::under_strace;
use serde_json::{Value, json};

/// The calls that are harmed.
const VERBS: [&str; 5] = ["ADD", "ADD-shared", "DEL", "DEL-shared", "GC"];

/// The harm.
const FAULTS: [&str; 5] = [
    "signal=KILL",
    "error=ENOSPC",
    "error=EIO",
    "error=EROFS",
    "error=EMFILE",
];

/// System calls that are not about files, or cannot fail: memory, threads, signals,
/// and closing.
const SPARED: [&str; 19] = [
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "close",
    "exit",
    "futex",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "set_robust_list",
    "rseq",
    "gettid",
    "getrandom",
    "clock_gettime",
    "clone3",
    "fcntl",
];

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::skeleton::run(&ipam::HostLocal, &[]).into();
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for verb in VERBS {
        for fault in FAULTS {
            let name = format!("{verb}::{fault}");
            trials.push(Trial::test(name, move || harm(verb, fault)));
        }
    }
    for fault in FAULTS {
        for verb in ["ADD", "DEL"] {
            let name = format!("{verb}-of-one-of-several::{fault}");
            let trial = move || harm_one_of_several(verb, fault);
            trials.push(Trial::test(name, trial));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A network with nothing but an address that is shared: what is made and removed is
/// beside the lease directory, which stays as it is.
fn harm_one_of_several(verb: &'static str, fault: &'static str) -> Result<(), Failed> {
    let prepared = || {
        let network = Network::new(json!({"subnet": "10.77.0.53/32", "shared": true}));
        for container in ["first", "goes"] {
            network.add(container).unwrap();
        }
        network
    };
    let harmed = if verb == "ADD" { "new" } else { "goes" };
    let call = |network: &Network, options: &[String]| {
        under_strace(verb, harmed, &network.config, options)
    };
    for (name, nth) in system_calls(&prepared, &call) {
        if fault.starts_with("error") && SPARED.contains(&name.as_str()) {
            continue;
        }
        let network = prepared();
        let inject = format!("inject={name}:{fault}:when={nth}");
        let options = ["-o", "/dev/null", "-e", &inject].map(str::to_owned);
        let output = call(&network, &options);
        let what = format!("{inject}: {}", String::from_utf8_lossy(&output.stdout));
        network.run("CHECK", "first").unwrap();
        for container in ["new", "goes"] {
            network.run("DEL", container).unwrap();
        }
        let holders =
            || fs::read_dir(network.beside("shared/10.77.0.53")).map_or(0, Iterator::count);
        assert_eq!(holders(), 1, "{what}");
        network.run("CHECK", "first").unwrap();
        network.run("DEL", "first").unwrap();
        assert_eq!(holders(), 0, "{what}");
        assert_eq!(leases(&network), BTreeMap::new(), "{what}");
    }
    Ok(())
}

/// A network of seven addresses a family, the last of which is shared. One has been
/// released, two are held, and the shared one by three; the first of them is named
/// in the reference's file.
fn prepared() -> Network {
    let network = Network::new(json!({"ranges": [
        [{"subnet": "10.77.0.0/28", "rangeEnd": "10.77.0.8"}],
        [{"subnet": "2001:db8::/124", "rangeEnd": "2001:db8::8", "shared": ["2001:db8::8"]}],
    ]}));
    for container in ["gone", "stays", "goes"] {
        network.add(container).unwrap();
    }
    network.run("DEL", "gone").unwrap();
    for sharer in SHARERS {
        network.call("ADD", sharer, &shared(&network)).unwrap();
    }
    network
}

/// Who share an address; the second is valid for GC.
const SHARERS: [&str; 3] = ["sharer-a", "sharer", "sharer-b"];

fn shared(network: &Network) -> Value {
    network.with("runtimeConfig", json!({"ips": ["2001:db8::8"]}))
}

/// The call to be harmed.
fn call(network: &Network, verb: &str, options: &[String]) -> Output {
    let (command, container, config) = match verb {
        "ADD" => ("ADD", "new", network.config.clone()),
        "ADD-shared" => ("ADD", "new", shared(network)),
        "DEL" => ("DEL", "goes", network.config.clone()),
        "DEL-shared" => ("DEL", SHARERS[0], network.config.clone()),
        _ => {
            let valid = ["stays", "sharer"].map(|c| json!({"containerID": c, "ifname": "eth0"}));
            let key = "cni.dev/valid-attachments";
            ("GC", "", network.with(key, json!(valid)))
        }
    };
    under_strace(command, container, &config, options)
}

/// Each system call that a call makes once it has found its lease directory: its
/// name and the how many-eth of that name it is.
fn system_calls(
    prepared: &dyn Fn() -> Network,
    call: &dyn Fn(&Network, &[String]) -> Output,
) -> Vec<(String, usize)> {
    let network = prepared();
    let log = network.dir.path().join("trace");
    let options = ["-o".to_owned(), log.to_str().unwrap().to_owned()];
    assert!(call(&network, &options).status.success());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    let mut begun = false;
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        begun |= rest.contains("net/lock");
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        // When the answer cannot be written there is nobody to tell.
        let answers = name == "write" && rest.starts_with("1,");
        if begun && name != "exit_group" && !answers {
            calls.push((name.to_owned(), *count));
        }
    }
    assert!(calls.len() > 10, "{calls:?}");
    calls
}

fn harm(verb: &'static str, fault: &'static str) -> Result<(), Failed> {
    let is_error = fault.starts_with("error");
    let harmed = |network: &Network, options: &[String]| call(network, verb, options);
    for (name, nth) in system_calls(&prepared, &harmed) {
        if is_error && SPARED.contains(&name.as_str()) {
            continue;
        }
        let network = prepared();
        let inject = format!("inject={name}:{fault}:when={nth}");
        let options = ["-o", "/dev/null", "-e", &inject].map(str::to_owned);
        let output = call(&network, verb, &options);
        let what = format!(
            "{verb} {inject}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        if is_error && !output.status.success() {
            let failure: Value = serde_json::from_slice(&output.stdout)
                .map_err(|error| format!("no error object: {error}: {what}"))?;
            assert!(failure["msg"].is_string(), "{what}");
        }
        nothing_is_lost(&network, &what);
    }
    Ok(())
}

/// Names of leases and what they hold.
fn leases(network: &Network) -> BTreeMap<String, String> {
    let folder = network.path("");
    let mut leases = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.parse::<std::net::IpAddr>().is_ok() {
            let content = fs::read_to_string(network.path(&name)).unwrap();
            leases.insert(name, content);
        }
    }
    leases
}

fn nothing_is_lost(network: &Network, what: &str) {
    for (name, content) in leases(network) {
        assert!(
            content.ends_with("\r\neth0"),
            "{what}: {name} holds {content:?}"
        );
    }
    let held = |container: &str| {
        let content = format!("{container}\r\neth0");
        let held = leases(network).into_iter();
        held.filter(|(_, c)| *c == content).count()
    };
    assert_eq!(held("stays"), 2, "{what}");
    for container in ["new", "goes", SHARERS[0], SHARERS[2]] {
        network.run("DEL", container).unwrap();
        assert_eq!(held(container), 0, "{what}");
    }
    assert!(!network.path(".new-lease").exists(), "{what}");
    network.run("CHECK", "sharer").unwrap();
    let named = leases(network).remove("2001:db8::8");
    assert_eq!(named.as_deref(), Some("sharer\r\neth0"), "{what}");
    let holders = network.beside("shared/2001:db8::8");
    assert_eq!(fs::read_dir(holders).unwrap().count(), 1, "{what}");
    // One of each family is held by who stays, one by who shares; the others are free.
    let given = (0..6).take_while(|n| network.add(&format!("f{n}")).is_ok());
    assert_eq!(given.count(), 5, "{what}: {:?}", leases(network));
    for container in ["f0", "f1", "f2", "f3", "f4", "stays", "sharer"] {
        network.run("DEL", container).unwrap();
    }
    assert_eq!(leases(network), BTreeMap::new(), "{what}");
    let holders: &Path = &network.beside("shared");
    let left = fs::read_dir(holders).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{what}");
}
