//! host-local against a model of it: random calls, several at a time, some of
//! them of the reference's, and after each round the same leases in both.

#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod network;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use network::{Network, code};
use process::{HostLocal, address, config, finish, leases};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::skeleton::run(&ipam::HostLocal, &[]).into();
    }
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("one_call_after_another", one_call_after_another),
        Trial::test("one_address_of_many", one_address_of_many),
        Trial::test("several_at_a_time", || several_at_a_time(false)),
        Trial::test("several_at_a_time_beside_the_reference", || {
            several_at_a_time(true)
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What a runtime, an operator or fate does.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    AddFor(u8, u8),
    Del(u8),
    /// Keeps containers below this one.
    Gc(u8),
    /// The index is lost.
    Forget,
    /// Somebody removes a lease behind our back.
    Remove(u8),
    /// All leases are of an earlier boot.
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12).prop_map(Step::Add),
        2 => (0u8..12, 0u8..16).prop_map(|(c, n)| Step::AddFor(c, n)),
        5 => (0u8..12).prop_map(Step::Del),
        1 => (0u8..12).prop_map(Step::Gc),
        1 => Just(Step::Forget),
        1 => (0u8..16).prop_map(Step::Remove),
        1 => Just(Step::Reboot),
    ]
}

/// What a network is configured to do. Addresses are last octets.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Whether its set has two ranges, whose gateways are 1 and 9, or one, with gateway 1.
    /// Of either 4 and 5 are excluded.
    is_parted: bool,
    /// For how many seconds released addresses rest; a test never takes that long, unless
    /// it is none.
    cooldown: u32,
    /// Whether addresses are reserved: 6 for the first container, 3 and 12 for the second.
    reserves: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let cooldown = prop_oneof![Just(0), Just(10), Just(3600)];
    (any::<bool>(), cooldown, any::<bool>()).prop_map(|(is_parted, cooldown, reserves)| Shape {
        is_parted,
        cooldown,
        reserves,
    })
}

impl Shape {
    fn network(self) -> Network {
        let exclude = json!(["10.77.0.4/31"]);
        let mut ipam = match self.is_parted {
            false => json!({"subnet": "10.77.0.0/28", "exclude": exclude}),
            true => json!({"ranges": [[
                {"subnet": "10.77.0.0/29", "exclude": exclude}, {"subnet": "10.77.0.8/29"},
            ]]}),
        };
        ipam["cooldown"] = self.cooldown.into();
        if self.reserves {
            ipam["reservations"] = json!({"c0": "10.77.0.6", "c1": ["10.77.0.3", "10.77.0.12"]});
        }
        Network::new(ipam)
    }

    /// What is reserved for a container.
    fn reserved(self, container: u8) -> &'static [u8] {
        match container {
            0 if self.reserves => &[6],
            1 if self.reserves => &[3, 12],
            _ => &[],
        }
    }

    /// Whether a container may have an address.
    fn allows(self, container: u8, address: u8) -> bool {
        let mut others = (0..2).filter(|other| *other != container);
        self.ranges().concat().contains(&address)
            && !others.any(|other| self.reserved(other).contains(&address))
    }

    /// What is given out, range by range.
    fn ranges(self) -> [&'static [u8]; 2] {
        match self.is_parted {
            false => [&[2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14], &[]],
            true => [&[2, 3, 6], &[10, 11, 12, 13, 14]],
        }
    }

    /// The same, without what is reserved.
    fn common(self) -> [Vec<u8>; 2] {
        const NOBODY: u8 = 255;
        self.ranges().map(|range| {
            let range = range.iter().copied();
            range
                .filter(|address| self.allows(NOBODY, *address))
                .collect()
        })
    }
}

/// Who holds which address, and in what order the others were released.
struct Model {
    shape: Shape,
    held: BTreeMap<u8, u8>,
    /// What was held before a reboot. It is the holder's again if it comes back first.
    before: BTreeMap<u8, u8>,
    released: Vec<u8>,
    /// Whether the order of releases is known.
    ordered: bool,
}

impl Model {
    fn holder(&self, address: u8) -> Option<u8> {
        let mut held = self.held.iter();
        held.find(|(_, a)| **a == address).map(|(c, _)| *c)
    }

    fn release(&mut self, container: u8) {
        let held = self.held.remove(&container);
        if let Some(address) = held.or_else(|| self.before.remove(&container)) {
            self.released.push(address);
        }
    }

    fn give(&mut self, container: u8, address: u8) {
        assert_eq!(self.holder(address), None, "{address} is given twice");
        let allowed = self.shape.allows(container, address);
        assert!(allowed, "{address} is not to be given to c{container}");
        self.released.retain(|a| *a != address);
        self.before.retain(|_, a| *a != address);
        self.held.insert(container, address);
    }

    /// How many addresses are free for everybody.
    fn left(&self) -> usize {
        let held = |address: &u8| self.holder(*address).is_some();
        let common = self.shape.common().concat();
        common.iter().filter(|address| !held(address)).count()
    }

    /// What a container may get that holds nothing and that nothing is reserved for.
    fn next(&self) -> Vec<u8> {
        let common = self.shape.common();
        let held = |address: &u8| self.holder(*address).is_some();
        if !self.ordered {
            let free = common.concat().into_iter();
            return free.filter(|address| !held(address)).collect();
        }
        let unused = |range: &[u8]| -> Vec<u8> {
            let free = range.iter().copied().filter(|address| !held(address));
            free.filter(|address| !self.released.contains(address))
                .collect()
        };
        let oldest = |range: &[u8]| {
            let mut released = self.released.iter().copied();
            released.find(|address| range.contains(address))
        };
        for range in &common {
            let mut next = unused(range);
            if next.is_empty() && self.shape.cooldown == 0 {
                next.extend(oldest(range));
            }
            if !next.is_empty() {
                return next;
            }
        }
        // Two that were released in the same millisecond are equally old.
        common.iter().filter_map(|range| oldest(range)).collect()
    }
}

/// Makes a lease one of an earlier boot.
fn age(path: &Path) {
    let record = "00000000-0000-0000-0000-000000000000";
    let (name, flags) = (ipam::record::ATTRIBUTE, rustix::fs::XattrFlags::empty());
    rustix::fs::setxattr(path, name, record.as_bytes(), flags).unwrap();
}

fn octet(address: &str) -> u8 {
    address.rsplit('.').next().unwrap().parse().unwrap()
}

fn play(shape: Shape, steps: &[Step]) {
    let network = shape.network();
    let name = |c: u8| format!("c{c}");
    let mut model = Model {
        shape,
        held: BTreeMap::new(),
        before: BTreeMap::new(),
        released: Vec::new(),
        ordered: true,
    };
    for step in steps {
        match step {
            Step::Add(c) => add(&network, &mut model, *c),
            Step::AddFor(c, n) => {
                let ip = format!("10.77.0.{n}");
                let ask = network.with("runtimeConfig", json!({"ips": [ip]}));
                let is_free = model.holder(*n).is_none_or(|holder| holder == *c);
                let allowed = shape.allows(*c, *n) && is_free;
                match network.add_with(&name(*c), &ask) {
                    Ok(given) => {
                        assert!(allowed, "{given}");
                        if model.held.get(c) != Some(n) {
                            model.release(*c);
                            model.give(*c, *n);
                        }
                    }
                    Err(refused) => {
                        assert!(!allowed, "{refused}");
                        assert_eq!(code(Err::<(), _>(refused)), 101);
                    }
                }
            }
            Step::Del(c) => {
                network.run("DEL", &name(*c)).unwrap();
                model.release(*c);
            }
            Step::Gc(keep) => {
                let valid: Vec<Value> = (0..*keep)
                    .map(|c| json!({"containerID": name(c), "ifname": "eth0"}))
                    .collect();
                let gc = network.with("cni.dev/valid-attachments", valid.into());
                network.call("GC", "", &gc).unwrap();
                let all = model.held.iter().chain(&model.before);
                let mut stale: Vec<(u8, u8)> = all.map(|(c, a)| (*a, *c)).collect();
                stale.retain(|(_, c)| c >= keep);
                stale.sort_unstable();
                let stale = stale.into_iter().map(|(_, c)| c);
                stale.for_each(|c| model.release(c));
            }
            Step::Forget => {
                let _ = std::fs::remove_file(network.beside("index"));
                model.ordered = false;
            }
            Step::Remove(n) => {
                let _ = std::fs::remove_file(network.path(&format!("10.77.0.{n}")));
                if let Some(c) = model.holder(*n) {
                    model.held.remove(&c);
                    model.ordered = false;
                }
                model.before.retain(|_, a| a != n);
            }
            Step::Reboot => {
                let held = std::mem::take(&mut model.held);
                model.before.extend(held);
                for address in model.before.values() {
                    let path = network.path(&format!("10.77.0.{address}"));
                    age(&path);
                }
                let _ = std::fs::remove_file(network.beside("index"));
                model.ordered = false;
            }
        }
        compare(&network, &model);
    }
    // Nothing is lost: everything that is free can be given.
    for c in 100..100 + model.left() as u8 {
        add(&network, &mut model, c);
    }
    assert_eq!(code(network.add("one too many")), 4);
    assert_eq!(code(network.add("one-too-many")), 100);
}

fn add(network: &Network, model: &mut Model, c: u8) {
    let owned = model.held.get(&c).or(model.before.get(&c)).copied();
    let reserved = model.shape.reserved(c);
    let expected = match owned {
        Some(owned) if reserved.is_empty() || reserved.contains(&owned) => vec![owned],
        _ if !reserved.is_empty() => vec![reserved[0]],
        _ => model.next(),
    };
    match network.add(&format!("c{c}")) {
        Ok(given) => {
            let given = octet(&given);
            assert!(expected.contains(&given), "{given} is none of {expected:?}");
            if model.held.get(&c) != Some(&given) {
                match owned == Some(given) {
                    true => drop(model.before.remove(&c)),
                    false => model.release(c),
                }
                model.give(c, given);
            }
        }
        Err(refused) => {
            assert!(expected.is_empty(), "{refused}: there are {expected:?}");
            assert_eq!(code(Err::<(), _>(refused)), 100);
        }
    }
}

fn compare(network: &Network, model: &Model) {
    let expected: BTreeMap<String, String> = model
        .held
        .iter()
        .chain(&model.before)
        .map(|(c, a)| (format!("10.77.0.{a}"), format!("c{c}\r\neth0")))
        .collect();
    assert_eq!(leases(&network.dir.path().join("data")), expected);
}

fn one_call_after_another() -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = prop::collection::vec(step(), 1..60);
    runner.run(&(shape(), steps), |(shape, steps)| {
        play(shape, &steps);
        Ok(())
    })?;
    Ok(())
}

/// What happens to an address that is shared.
#[derive(Clone, Copy, Debug)]
enum Shared {
    Add(u8),
    Del(u8),
    /// Keeps containers below this one.
    Gc(u8),
    /// The index is lost.
    Forget,
    /// The reference takes its file away.
    Remove,
    Reboot,
}

fn shared_step() -> impl Strategy<Value = Shared> {
    prop_oneof![
        6 => (0u8..6).prop_map(Shared::Add),
        5 => (0u8..6).prop_map(Shared::Del),
        1 => (0u8..6).prop_map(Shared::Gc),
        1 => Just(Shared::Forget),
        1 => Just(Shared::Remove),
        1 => Just(Shared::Reboot),
    ]
}

fn one_address_of_many() -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = prop::collection::vec(shared_step(), 1..60);
    runner.run(&steps, |steps| {
        play_shared(&steps);
        Ok(())
    })?;
    Ok(())
}

fn play_shared(steps: &[Shared]) {
    let network = Network::new(json!({"subnet": "10.77.0.53/32", "shared": true}));
    let file = network.path("10.77.0.53");
    let folder = network.beside("shared/10.77.0.53");
    let files = || std::fs::read_dir(&folder).map_or_else(|_| Vec::new(), Iterator::collect);
    // The same address, in a configuration that does not share it.
    let mut alone = network.with("runtimeConfig", json!({"ips": ["10.77.0.53"]}));
    alone["ipam"]["shared"] = false.into();
    alone["ipam"]["subnet"] = "10.77.0.0/24".into();
    let name = |c: u8| format!("c{c}");
    let mut holders: BTreeSet<u8> = BTreeSet::new();
    for step in steps {
        match *step {
            Shared::Add(c) => {
                assert_eq!(network.add(&name(c)).unwrap(), "10.77.0.53");
                holders.insert(c);
            }
            Shared::Del(c) => {
                network.run("DEL", &name(c)).unwrap();
                holders.remove(&c);
            }
            Shared::Gc(keep) => {
                let valid = (0..keep).map(|c| json!({"containerID": name(c), "ifname": "eth0"}));
                let valid: Vec<Value> = valid.collect();
                let gc = network.with("cni.dev/valid-attachments", valid.into());
                network.call("GC", "", &gc).unwrap();
                holders.retain(|c| *c < keep);
            }
            Shared::Forget => drop(std::fs::remove_file(network.beside("index"))),
            Shared::Remove => drop(std::fs::remove_file(&file)),
            Shared::Reboot => {
                let paths = files().into_iter().map(|file| file.unwrap().path());
                let named = file.exists().then(|| file.clone());
                paths.chain(named).for_each(|path| age(&path));
                let _ = std::fs::remove_file(network.beside("index"));
                holders.clear();
            }
        }
        for c in 0..6 {
            let holds = network.run("CHECK", &name(c)).is_ok();
            assert_eq!(holds, holders.contains(&c), "{step:?}: {c} of {holders:?}");
        }
        if !holders.is_empty() {
            assert_eq!(files().len(), holders.len(), "{step:?}: {holders:?}");
            assert!(file.exists(), "{step:?}: {holders:?}");
            let alone = network.call("ADD", "alone", &alone);
            assert_eq!(code(alone), 101, "{step:?}: {holders:?}");
        }
    }
    for c in 0..6 {
        network.run("DEL", &name(c)).unwrap();
    }
    assert!(!file.exists() && !folder.exists(), "{steps:?}");
}

/// Rounds of calls that run at the same time, for containers of their own. What
/// each gets is up to chance; that no two get the same, that nothing of a released
/// one stays and nothing is lost is not.
fn several_at_a_time(beside: bool) -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config {
        cases: 6,
        failure_persistence: None,
        ..Config::default()
    });
    let call = (any::<bool>(), any::<bool>());
    let rounds = prop::collection::vec(prop::collection::vec(call, 12), 1..6);
    runner.run(&rounds, |rounds| {
        play_rounds(&rounds, beside);
        Ok(())
    })?;
    Ok(())
}

fn play_rounds(rounds: &[Vec<(bool, bool)>], beside: bool) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), json!({"subnet": "10.77.0.0/28"}));
    let implementation = |theirs: bool| match theirs && beside {
        true => HostLocal::reference(),
        false => HostLocal::ours(),
    };
    let mut held: BTreeMap<usize, String> = BTreeMap::new();
    for round in rounds {
        let calls = round.iter().enumerate().map(|(c, (change, theirs))| {
            let verb = match (change, held.contains_key(&c)) {
                (true, true) => "DEL",
                (true, false) => "ADD",
                (false, _) => "DEL-nothing",
            };
            let container = match verb {
                "DEL-nothing" => format!("nobody{c}"),
                _ => format!("c{c}"),
            };
            let command = if verb == "ADD" { "ADD" } else { "DEL" };
            let child = implementation(*theirs).start(command, &container, "", &config);
            (c, verb, child)
        });
        let started: Vec<_> = calls.collect();
        for (c, verb, child) in started {
            let answer = finish(child);
            match verb {
                "ADD" => {
                    let given = address(&answer.unwrap());
                    held.insert(c, given.split('/').next().unwrap().to_owned());
                }
                _ => {
                    answer.unwrap();
                    if verb == "DEL" {
                        held.remove(&c);
                    }
                }
            }
        }
        let distinct: BTreeSet<&String> = held.values().collect();
        assert_eq!(distinct.len(), held.len(), "{held:?}");
        let expected: BTreeMap<String, String> = held
            .iter()
            .map(|(c, a)| (a.clone(), format!("c{c}\r\neth0")))
            .collect();
        assert_eq!(leases(dir.path()), expected);
    }
    let more = 13 - held.len();
    for n in 0..more {
        let given = HostLocal::ours().run("ADD", &format!("more{n}"), &config);
        assert!(given.is_ok(), "{n} of {more}: {given:?}");
    }
    let refused = HostLocal::ours().run("ADD", "last", &config);
    assert_eq!(code(refused), 100);
}
