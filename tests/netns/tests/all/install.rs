//! `slash24 install` and `uninstall`: plugins in a runtime's directory, beside and instead of others.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Outcome, Plugins, Snapshot};

use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("install/names-are-one-file", names_are_one_file),
        ours(
            "install/refuses-what-it-did-not-install",
            refuses_foreign_files,
        ),
        ours("install/replaces-and-puts-back", replaces_and_puts_back),
        ours("install/only-some", only_some),
        ours("install/while-plugins-run", while_plugins_run),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const DIRECTORY: &str = "/run/opt/cni/bin";
const NAMES: [&str; 6] = [
    "bridge",
    "macvlan",
    "vxlan",
    "loopback",
    "host-local",
    "static",
];

fn command(host: &Host, arguments: &[&str]) -> Outcome {
    Call::of(host, Plugins::Slash24, "slash24")
        .arguments(arguments)
        .execute()
}

fn succeed(host: &Host, arguments: &[&str]) {
    let outcome = command(host, arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

fn metadata(host: &Host, name: &str) -> Option<Metadata> {
    host.run(|| fs::metadata(Path::new(DIRECTORY).join(name)).ok())
}

/// Makes a directory with somebody else's bridge.
fn with_foreign_bridge(host: &Host) {
    host.write(&format!("{DIRECTORY}/bridge"), "#!/bin/sh\necho theirs\n");
    host.write(&format!("{DIRECTORY}/ptp"), "#!/bin/sh\necho theirs\n");
}

fn names_are_one_file() {
    let host = Host::new("host");
    for _ in 0..2 {
        succeed(&host, &["install", DIRECTORY]);
        let files = NAMES.map(|name| metadata(&host, name).expect("it was installed"));
        for file in &files {
            assert_eq!(file.ino(), files[0].ino());
            assert_eq!(file.permissions().mode() & 0o7777, 0o755);
        }
    }
    for name in NAMES {
        let path = PathBuf::from(DIRECTORY).join(name);
        let output = host
            .run(|| std::process::Command::new(path).output())
            .expect("it executes");
        assert!(String::from_utf8_lossy(&output.stderr).contains(name));
    }
    succeed(&host, &["uninstall", DIRECTORY]);
    assert!(NAMES.iter().all(|name| metadata(&host, name).is_none()));
}

fn refuses_foreign_files() {
    let host = Host::new("host");
    with_foreign_bridge(&host);
    let before = Snapshot::of(&host, &[DIRECTORY]);
    let outcome = command(&host, &["install", DIRECTORY]);
    assert_ne!(outcome.code, Some(0));
    for told in ["bridge", "--replace"] {
        assert!(
            outcome.stderr.contains(told),
            "{told} is not in {}",
            outcome.stderr
        );
    }
    before.assert_same(
        &Snapshot::of(&host, &[DIRECTORY]),
        "after a refused installation",
    );
}

fn replaces_and_puts_back() {
    let host = Host::new("host");
    with_foreign_bridge(&host);
    let before = Snapshot::of(&host, &[DIRECTORY]);
    // Installing again must not take our own file for the one to put back.
    for _ in 0..2 {
        succeed(&host, &["install", "--replace", DIRECTORY]);
    }
    let ours = NAMES.map(|name| metadata(&host, name).expect("it was installed").ino());
    assert!(ours.iter().all(|inode| *inode == ours[0]));
    succeed(&host, &["uninstall", DIRECTORY]);
    before.assert_same(
        &Snapshot::of(&host, &[DIRECTORY]),
        "after the plugins were taken out",
    );
}

fn only_some() {
    let host = Host::new("host");
    succeed(
        &host,
        &["install", "--only", "bridge,host-local", DIRECTORY],
    );
    let installed = NAMES.map(|name| metadata(&host, name).is_some());
    assert_eq!(installed, [true, false, false, false, true, false]);
    let outcome = command(&host, &["install", "--only", "bridge,brigde", DIRECTORY]);
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("brigde"), "{}", outcome.stderr);
}

/// A runtime executes a plugin at any moment of an upgrade: it must be there, and be whole.
fn while_plugins_run() {
    let host = Host::new("host");
    succeed(&host, &["install", DIRECTORY]);
    let done = AtomicBool::new(false);
    let path = PathBuf::from(DIRECTORY).join("bridge");
    thread::scope(|scope| {
        let runtime = scope.spawn(|| {
            host.run(|| {
                let mut calls = 0;
                while !done.load(Ordering::Relaxed) || calls < 20 {
                    let output = std::process::Command::new(&path).output();
                    let output = output.expect("the plugin is there, and nobody writes to it");
                    assert!(output.status.success(), "{output:?}");
                    calls += 1;
                }
            });
        });
        for _ in 0..5 {
            let outcome = command(&host, &["install", DIRECTORY]);
            if outcome.code != Some(0) {
                done.store(true, Ordering::Relaxed);
                panic!("{outcome:#?}");
            }
        }
        done.store(true, Ordering::Relaxed);
        runtime.join().expect("every call succeeded");
    });
}
