//! What a call does with files: the same however many leases there are, and never a look
//! through all of them. `strace` tells.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod network;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use network::Network;
use process::under_strace;
use serde_json::{Value, json};

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::skeleton::run(&ipam::HostLocal, &[]).into();
    }
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("a_call_costs_the_same_at_any_number", same_at_any_number),
        Trial::test("what_others_did_is_looked_for", looked_for),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A network on which so many containers came and some went, and one that stays.
fn with_leases(ipam: &Value, count: u32) -> Network {
    let network = Network::new(ipam.clone());
    for n in 0..count {
        network.add(&format!("c{n}")).unwrap();
    }
    for n in (0..count).step_by(3) {
        network.run("DEL", &format!("c{n}")).unwrap();
    }
    network.add("stays").unwrap();
    network
}

/// How often a call makes each system call that is about files, once it has found its
/// lease directory.
fn calls(network: &Network, verb: &str, container: &str, config: &Value) -> BTreeMap<String, u32> {
    let log = network.dir.path().join("trace");
    let options = ["-f", "-o", log.to_str().unwrap()].map(str::to_owned);
    let output = under_strace(verb, container, config, &options);
    assert!(output.status.success(), "{output:?}");
    let mut calls = BTreeMap::new();
    let text = fs::read_to_string(log).unwrap();
    let begun = text.lines().skip_while(|line| !line.contains("net/lock"));
    for line in begun {
        // "708 openat(AT_FDCWD, ..."
        let call = line.split_once(' ').map_or(line, |(_, call)| call);
        let name = call.trim_start().split('(').next().unwrap_or_default();
        // How much memory a call needs is not about files.
        if !["mmap", "munmap", "mremap", "brk", "madvise"].contains(&name) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(calls.contains_key("flock"), "{text}");
    calls
}

/// ADD, CHECK and DEL of one container, one after the other.
fn calls_of_all(network: &Network) -> Vec<BTreeMap<String, u32>> {
    let add = calls(network, "ADD", "new", &network.config);
    let result = network.run("ADD", "new").unwrap();
    let previous = network.with("prevResult", result);
    let check = calls(network, "CHECK", "new", &previous);
    let again = calls(network, "ADD", "new", &network.config);
    let del = calls(network, "DEL", "new", &previous);
    vec![add, check, again, del]
}

/// How many pages of the index a call looks at, or writes, at most: the header, who holds
/// what, and neighbours in the list of released addresses, for two families.
const PAGES: u32 = 16;

fn same_at_any_number() -> Result<(), Failed> {
    for ipam in [
        json!({"subnet": "10.77.0.0/16"}),
        json!({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]}),
    ] {
        let few = calls_of_all(&with_leases(&ipam, 3));
        let many = calls_of_all(&with_leases(&ipam, 1500));
        for (call, (few, many)) in ["ADD", "CHECK", "ADD again", "DEL"]
            .into_iter()
            .zip(few.iter().zip(&many))
        {
            let (mut few, mut many) = (few.clone(), many.clone());
            for page in ["pread64", "pwrite64"] {
                // Which entries of the index are on one page is up to chance.
                let (few, many) = (few.remove(page), many.remove(page));
                assert!(
                    few.max(many) <= Some(PAGES),
                    "{call} {ipam}: {few:?} {many:?}"
                );
            }
            assert_eq!(few, many, "{call} {ipam}");
            assert_eq!(many.get("getdents64"), None, "{call} {ipam}: {many:?}");
        }
    }
    Ok(())
}

/// The same look tells a look through the leases when there has to be one.
fn looked_for() -> Result<(), Failed> {
    let network = with_leases(&json!({"subnet": "10.77.0.0/16"}), 9);
    fs::write(network.path("10.77.0.99"), "theirs\r\neth0").unwrap();
    let calls = calls(&network, "ADD", "new", &network.config);
    assert!(calls.contains_key("getdents64"), "{calls:?}");
    Ok(())
}
