//! `slash24 install` and `uninstall`, as they are run.
#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

const PLUGINS: [&str; 14] = [
    "bridge",
    "default-route",
    "dummy",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "ptp",
    "sbr",
    "static",
    "tap",
    "vlan",
    "vxlan",
];

/// A CNI directory.
struct Bin {
    _parent: TempDir,
    path: PathBuf,
}

impl Bin {
    fn new() -> Self {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("cni/bin");
        Bin {
            _parent: parent,
            path,
        }
    }

    fn with(files: &[&str]) -> Self {
        let bin = Bin::new();
        fs::create_dir_all(&bin.path).unwrap();
        for name in files {
            fs::write(bin.file(name), format!("the old {name}")).unwrap();
            let mode = fs::Permissions::from_mode(0o751);
            fs::set_permissions(bin.file(name), mode).unwrap();
        }
        bin
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn inode(&self, name: &str) -> u64 {
        fs::symlink_metadata(self.file(name)).unwrap().ino()
    }

    fn old(&self, name: &str) -> bool {
        let is_old = |file: &Path| {
            let text = fs::read(file).unwrap();
            text == format!("the old {name}").as_bytes()
                && file.metadata().unwrap().mode() & 0o777 == 0o751
        };
        is_old(&self.file(name))
    }

    /// Everything in the directory, folders with a slash at the end.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let slash = if entry.path().is_dir() { "/" } else { "" };
            names.push(format!("{name}{slash}"));
        }
        names.sort_unstable();
        names
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_of(Path::new(env!("CARGO_BIN_EXE_slash24")), arguments)
    }

    fn run_of(&self, slash24: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(slash24);
        command.args(arguments).arg(&self.path).output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names
}

fn everything() -> Vec<String> {
    sorted(&[&PLUGINS[..], &["slash24"]].concat())
}

#[test]
fn one_file_under_every_name() {
    let bin = Bin::new();
    bin.succeeds(&["install"]);
    assert_eq!(bin.names(), everything());
    for name in PLUGINS {
        assert_eq!(bin.inode(name), bin.inode("slash24"));
        let about = Command::new(bin.file(name)).output().unwrap();
        let text = String::from_utf8(about.stderr).unwrap();
        assert!(
            about.status.success() && text.starts_with(&format!("CNI {name} plugin v")),
            "{text}"
        );
    }
    let mode = bin.file("slash24").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o755);
    let text = bin.succeeds(&["uninstall"]);
    assert!(text.contains("removed slash24, bridge"), "{text}");
    assert!(bin.names().is_empty());
    assert!(bin.succeeds(&["uninstall"]).contains("removed nothing"));
}

#[test]
fn a_foreign_file_is_not_replaced_unless_told() {
    let bin = Bin::with(&["bridge", "portmap", "loopback"]);
    let error = bin.fails(&["install"]);
    assert!(
        error.contains("cni/bin/bridge") && error.contains("cni/bin/loopback"),
        "{error}"
    );
    assert!(
        error.contains("--replace") && !error.contains("portmap"),
        "{error}"
    );
    assert_eq!(bin.names(), sorted(&["bridge", "loopback", "portmap"]));
    assert!(bin.old("bridge") && bin.old("loopback"));
}

#[test]
fn what_was_replaced_comes_back() {
    let bin = Bin::with(&["bridge", "portmap"]);
    let text = bin.succeeds(&["install", "--replace"]);
    let kept = bin.file(".slash24/replaced/bridge");
    assert!(
        text.contains(&format!("kept as {}", kept.display())),
        "{text}"
    );
    assert_eq!(fs::read(&kept).unwrap(), b"the old bridge");
    assert_eq!(bin.inode("bridge"), bin.inode("slash24"));
    // Again: nothing foreign is in the way now, and what is kept stays kept.
    bin.succeeds(&["install"]);
    assert_eq!(fs::read(&kept).unwrap(), b"the old bridge");
    let text = bin.succeeds(&["uninstall"]);
    assert!(
        text.contains("put back what was there before: bridge"),
        "{text}"
    );
    assert_eq!(bin.names(), ["bridge", "portmap"]);
    assert!(bin.old("bridge") && bin.old("portmap"));
}

#[test]
fn a_place_that_somebody_else_took_is_left_alone() {
    let bin = Bin::with(&["bridge"]);
    bin.succeeds(&["install", "--replace"]);
    // A package puts its own there, as dpkg does: by a rename.
    fs::write(bin.file("new"), "a newer bridge").unwrap();
    fs::rename(bin.file("new"), bin.file("bridge")).unwrap();
    assert!(bin.fails(&["install"]).contains("cni/bin/bridge"));
    let text = bin.succeeds(&["uninstall"]);
    assert!(text.contains("replaced/bridge stays"), "{text}");
    assert_eq!(bin.names(), [".slash24/", "bridge"]);
    assert_eq!(fs::read(bin.file("bridge")).unwrap(), b"a newer bridge");
}

#[test]
fn only_some_plugins() {
    let bin = Bin::with(&["macvlan"]);
    bin.succeeds(&["install", "--only", "bridge,host-local"]);
    assert_eq!(
        bin.names(),
        sorted(&["bridge", "host-local", "macvlan", "slash24"])
    );
    assert!(bin.old("macvlan"));
    let error = bin.fails(&["install", "--only", "brigde"]);
    assert!(
        error.contains("--only brigde") && error.contains("host-local"),
        "{error}"
    );
}

#[test]
fn an_older_slash24_is_upgraded_as_a_whole() {
    let bin = Bin::new();
    let parent = bin.path.parent().unwrap().parent().unwrap();
    let older = parent.join("older");
    // Written by another process: while this one has it open for writing a test beside may
    // start a program, which then has it open as well, and the kernel executes no such file.
    let script = r#"cp "$1" "$0" && printf older >> "$0""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(&older);
    let written = shell.arg(env!("CARGO_BIN_EXE_slash24")).status();
    assert!(written.unwrap().success());
    let bytes = fs::read(&older).unwrap();
    assert!(bin.run_of(&older, &["install"]).status.success());
    assert_eq!(fs::read(bin.file("bridge")).unwrap(), bytes);
    let before = bin.inode("bridge");
    bin.succeeds(&["install", "--only", "bridge"]);
    assert_ne!(bin.inode("bridge"), before);
    for name in PLUGINS {
        assert_eq!(
            bin.inode(name),
            bin.inode("slash24"),
            "{name} is the old one"
        );
    }
    assert_eq!(bin.names(), everything());
    // The installed one installs itself as well as any.
    let own = bin.file("slash24");
    assert!(bin.run_of(&own, &["install"]).status.success());
    assert_eq!(bin.names(), everything());
}

#[test]
fn what_is_neither_file_nor_ours_is_not_touched() {
    let bin = Bin::with(&[]);
    fs::create_dir(bin.file("bridge")).unwrap();
    assert!(
        bin.fails(&["install", "--replace"])
            .contains("cni/bin/bridge")
    );
    assert_eq!(bin.names(), ["bridge/"]);
    fs::remove_dir(bin.file("bridge")).unwrap();
    symlink("/usr/lib/cni/bridge", bin.file("bridge")).unwrap();
    assert!(bin.fails(&["install"]).contains("cni/bin/bridge"));
    bin.succeeds(&["install", "--replace"]);
    bin.succeeds(&["uninstall"]);
    let link = fs::read_link(bin.file("bridge")).unwrap();
    assert_eq!(link, Path::new("/usr/lib/cni/bridge"));
}

#[test]
fn leftovers_of_an_install_that_was_killed_do_no_harm() {
    let bin = Bin::with(&[]);
    fs::create_dir_all(bin.file(".slash24/new")).unwrap();
    fs::write(bin.file(".slash24/new/slash24"), "half of i").unwrap();
    bin.succeeds(&["install"]);
    assert_eq!(bin.names(), everything());
}

#[test]
fn installs_at_once_and_plugins_in_use() {
    let bin = Bin::new();
    bin.succeeds(&["install"]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let installs: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..3 {
                        bin.succeeds(&["install"]);
                    }
                })
            })
            .collect();
        let user = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::SeqCst) {
                let about = Command::new(bin.file("bridge")).output().unwrap();
                assert!(about.status.success(), "{about:?}");
                times += 1;
            }
            times
        });
        for install in installs {
            install.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(user.join().unwrap() > 0);
    });
    assert_eq!(bin.names(), everything());
    for name in PLUGINS {
        assert_eq!(bin.inode(name), bin.inode("slash24"));
    }
}
