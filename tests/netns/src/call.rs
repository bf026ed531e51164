//! Executing a plugin the way a runtime does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::{Container, Host, Namespace};

/// The names under which the executable is a plugin or the command line.
const NAMES: &[&str] = &[
    "bridge",
    "macvlan",
    "ipvlan",
    "vlan",
    "ptp",
    "host-device",
    "dummy",
    "tap",
    "vxlan",
    "loopback",
    "default-route",
    "sbr",
    "host-local",
    "static",
    "slash24",
];

/// Whose plugins a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugins {
    /// This project's: the executable named by `SLASH24_BIN`, or the one in the target directory
    /// that this test program comes from.
    Slash24,
    /// The reference plugins in Debian's package, which speak 0.1.0 to 1.0.0.
    Debian,
}

/// The directory of Debian's plugins.
pub(crate) fn debian() -> PathBuf {
    let directory = PathBuf::from("/usr/lib/cni");
    let found = directory.join("bridge").exists();
    assert!(
        found,
        "the tests need `bridge`: apt-get install containernetworking-plugins"
    );
    directory
}

/// Puts this project's plugins on the host that the thread is in and returns their directory.
///
/// The executable is bound to each name: device and inode stay those of the one file, as with the
/// hard links of an installation, and nothing is left in the real file system.
pub(crate) fn install() -> PathBuf {
    let executable = executable();
    let directory = PathBuf::from("/run/plugins");
    fs::create_dir_all(&directory).expect("/run is the host's own");
    for name in NAMES {
        let path = directory.join(name);
        fs::write(&path, "").expect("/run is the host's own");
        mount(
            Some(&executable),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap_or_else(|error| panic!("cannot bind {}: {error}", path.display()));
    }
    directory
}

fn executable() -> PathBuf {
    if let Some(path) = std::env::var_os("SLASH24_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "SLASH24_BIN is {}, which is no file",
            path.display()
        );
        return path;
    }
    // target/<profile>/deps/<test program>
    let program = std::env::current_exe().expect("/proc is mounted");
    let target = program
        .ancestors()
        .nth(3)
        .expect("cargo keeps test programs in target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("slash24"));
    built
        .iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, newest)| newest.clone())
        .unwrap_or_else(|| {
            panic!(
                "neither {} nor {} exists: run `cargo build`, or set SLASH24_BIN",
                built[0].display(),
                built[1].display()
            )
        })
}

/// A call of a plugin on a host, with the environment and the configuration that it gets.
#[derive(Clone, Debug)]
pub struct Call<'h> {
    host: &'h Host,
    program: PathBuf,
    arguments: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    stdin: String,
}

impl<'h> Call<'h> {
    /// A call of the plugin that the configuration names by `type`, with the plugins' directory as
    /// `CNI_PATH` and nothing else.
    pub fn new(host: &'h Host, plugins: Plugins, config: &Value) -> Self {
        let name = config["type"].as_str().expect("a configuration has a type");
        Self::of(host, plugins, name).stdin(&config.to_string())
    }

    /// A call of a plugin by its name, with nothing on its standard input.
    pub fn of(host: &'h Host, plugins: Plugins, name: &str) -> Self {
        let directory = host.plugin_dir(plugins);
        let env = BTreeMap::from([("CNI_PATH".to_owned(), directory.clone().into_os_string())]);
        Self {
            host,
            program: directory.join(name),
            arguments: Vec::new(),
            env,
            stdin: String::new(),
        }
    }

    /// Sets the container: its id, its namespace, and the name of the interface.
    #[must_use]
    pub fn attach(self, container: &Container<'_>, interface: &str) -> Self {
        self.env("CNI_CONTAINERID", container.id())
            .env("CNI_NETNS", container.netns())
            .env("CNI_IFNAME", interface)
    }

    /// Adds arguments, for the command line; plugins have none.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes an environment variable away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    /// Sets the directory in which the plugin looks for those it delegates to.
    #[must_use]
    pub fn delegates(self, plugins: Plugins) -> Self {
        let directory = self.host.plugin_dir(plugins);
        self.env("CNI_PATH", directory)
    }

    /// Sets the configuration word for word, be it JSON or not.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// What the plugin gets on its standard input.
    pub fn input(&self) -> &str {
        &self.stdin
    }

    /// Calls ADD.
    pub fn add(&self) -> Outcome {
        self.command("ADD")
    }

    /// Calls DEL.
    pub fn del(&self) -> Outcome {
        self.command("DEL")
    }

    /// Calls CHECK.
    pub fn check(&self) -> Outcome {
        self.command("CHECK")
    }

    /// Calls the plugin with that `CNI_COMMAND`.
    pub fn command(&self, verb: &str) -> Outcome {
        self.clone().env("CNI_COMMAND", verb).execute()
    }

    /// Calls the plugin with the environment as it stands and waits for the end of its output, as
    /// runtimes do.
    pub fn execute(&self) -> Outcome {
        let begin = Instant::now();
        let output = self
            .start()
            .wait_with_output()
            .expect("a child can be waited for");
        Outcome {
            call: format!(
                "{} {:?} with {:?} and {}",
                self.program.display(),
                self.arguments,
                self.env,
                self.stdin
            ),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begin.elapsed(),
        }
    }

    /// Starts the plugin and gives it its configuration.
    pub fn start(&self) -> Child {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.env);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawn = || command.spawn();
        let mut child = self
            .host
            .run(spawn)
            .unwrap_or_else(|error| panic!("cannot execute {}: {error}", self.program.display()));
        let mut input = child.stdin.take().expect("stdin is piped");
        // A plugin that rejects its environment ends before it reads its configuration.
        let _ = input.write_all(self.stdin.as_bytes());
        child
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The program, its environment and its configuration.
    pub call: String,
    /// The exit status; `None` if a signal ended the plugin.
    pub code: Option<i32>,
    /// Everything on standard output: a result or an error object.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
    /// The time from the start of the program to the end of its output.
    pub took: Duration,
}

impl Outcome {
    /// The result of a call that must have succeeded; null if it printed nothing.
    pub fn success(&self) -> Value {
        assert_eq!(self.code, Some(0), "the call failed: {self:#?}");
        match self.stdout.trim() {
            "" => Value::Null,
            _ => self.json(),
        }
    }

    /// The error object of a call that must have failed as the specification says: status 1, and
    /// a JSON object with a code and a message on standard output.
    pub fn failure(&self) -> Value {
        assert_eq!(
            self.code,
            Some(1),
            "the call should fail with status 1: {self:#?}"
        );
        let error = self.json();
        let complete = error["code"].is_u64() && error["msg"].is_string();
        assert!(complete, "the error has no code or no msg: {self:#?}");
        error
    }

    /// The standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error}): {self:#?}"))
    }
}
