//! The executable as it is called: by a plugin's name, and as a command line.
#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const SLASH24: &str = env!("CARGO_BIN_EXE_slash24");

/// A plugin that is none of ours: it answers, or fails at the verbs in `FAIL`.
const PLUGIN: &str = r#"#!/bin/sh
input=$(cat)
echo "$CNI_COMMAND $CNI_IFNAME $input" >> "$RECORD"
case " $FAIL " in *" $CNI_COMMAND:${0##*/} "*)
    echo '{"code": 42, "msg": "told to", "details": "so it is"}'; exit 1;;
esac
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}'
"#;

struct Host {
    dir: TempDir,
    fail: &'static str,
}

impl Host {
    /// Networks `one` and `two`, by the plugins `first` and `second`.
    fn new() -> Self {
        let host = Host {
            dir: TempDir::new().unwrap(),
            fail: "",
        };
        for (name, plugin) in [("one", "first"), ("two", "second")] {
            let conf = json!({"cniVersion": "1.0.0", "name": name, "type": plugin});
            host.write(&format!("conf/{name}.conf"), &conf.to_string());
            host.write_program(&format!("bin/{plugin}"), PLUGIN);
        }
        let task = json!({"name": "web", "container": {"network": [
            {"name": "two"}, {"name": "one"},
        ]}});
        host.write("task.json", &task.to_string());
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// By another process: while this one has the file open for writing a test beside may
    /// start a program, which then has it open as well, and the kernel executes no such file.
    fn write_program(&self, name: &str, text: &str) {
        self.write(name, "");
        let script = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(self.path(name)).arg(text);
        assert!(shell.status().unwrap().success());
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(SLASH24);
        command
            .args([
                verb,
                "--id",
                "c",
                "--conf-dir",
                "conf",
                "--plugin-dir",
                "bin",
            ])
            .args(["--cache-dir", "cache"])
            .args(arguments)
            .env("FAIL", self.fail)
            .env("RECORD", self.path("record"))
            .current_dir(self.dir.path());
        command
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command(verb, arguments).output().unwrap()
    }

    fn attach(&self) -> Output {
        self.run("attach", &["--netns", "/run/netns/none", "task.json"])
    }

    /// Calls since the last time, as verb and interface.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("record")).unwrap_or_default();
        let _ = fs::remove_file(self.path("record"));
        let call = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        text.lines().map(call).collect()
    }
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The error object on standard output, and the sentence on standard error.
fn error_of(output: &Output) -> (Value, String) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let object = serde_json::from_slice(&output.stdout).unwrap();
    (object, String::from_utf8(output.stderr.clone()).unwrap())
}

/// An error that nobody reads is an error all the same, and no panic.
#[test]
fn outputs_that_take_nothing() {
    let full = || fs::File::create("/dev/full").unwrap();
    let mut host = Host::new();
    host.fail = "ADD:second";
    let attach = &["--netns", "/run/netns/none", "task.json"];
    let mut command = host.command("attach", attach);
    let status = command.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    host.fail = "";
    let done = host
        .command("attach", attach)
        .stdout(full())
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("cannot be printed"), "{said}");
    let mut unknown = Command::new(SLASH24);
    unknown.env("CNI_COMMAND", "ADD").stdout(full());
    assert_eq!(unknown.status().unwrap().code(), Some(1));
}

#[test]
fn a_plugin_by_its_name_and_a_command_line_by_its_own() {
    let dir = TempDir::new().unwrap();
    let call = |name: &str| {
        symlink(SLASH24, dir.path().join(name)).unwrap();
        let mut command = Command::new(dir.path().join(name));
        command.env("CNI_COMMAND", "VERSION").stdin(Stdio::null());
        command.output().unwrap()
    };
    for name in ["bridge", "macvlan", "loopback", "host-local"] {
        let answer = json_of(&call(name));
        assert_eq!(answer["cniVersion"], "1.1.0");
    }
    let (error, _) = error_of(&call("brigde"));
    assert_eq!(error["code"], 7);
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("\"brigde\"") && message.contains("bridge, macvlan"),
        "{message}"
    );

    let version = Command::new(SLASH24).arg("--version").output().unwrap();
    let text = String::from_utf8(version.stdout).unwrap();
    assert_eq!(text, format!("slash24 {}\n", env!("CARGO_PKG_VERSION")));
    let nothing = Command::new(SLASH24).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    for command in ["attach", "detach", "check", "install", "uninstall"] {
        let help = Command::new(SLASH24)
            .args([command, "--help"])
            .output()
            .unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(
            text.contains(&format!("Examples:\n  slash24 {command}")),
            "{text}"
        );
    }
}

#[test]
fn attach_check_and_detach() {
    let host = Host::new();
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
    let expected = json!([
        {"network": "two", "ifname": "eth0", "result": result},
        {"network": "one", "ifname": "eth1", "result": result},
    ]);
    assert_eq!(json_of(&host.attach()), expected);
    let places = json!([
        {"network": "two", "ifname": "eth0"},
        {"network": "one", "ifname": "eth1"},
    ]);
    assert_eq!(json_of(&host.run("check", &["task.json"])), places);
    assert_eq!(json_of(&host.run("detach", &["task.json"])), places);
    assert_eq!(
        json_of(&host.run("detach", &["task.json"]))[0]["network"],
        "two"
    );
    let calls = [
        "ADD eth0",
        "ADD eth1",
        "CHECK eth0",
        "CHECK eth1",
        "DEL eth1",
        "DEL eth0",
        // The cache knows nothing any more, so the task says what to detach.
        "DEL eth1",
        "DEL eth0",
    ];
    assert_eq!(host.calls(), calls);
    let (error, _) = error_of(&host.run("check", &["task.json"]));
    assert_eq!(error["code"], 3);
}

#[test]
fn detach_needs_neither_configuration_nor_task() {
    let host = Host::new();
    json_of(&host.attach());
    fs::remove_dir_all(host.path("conf")).unwrap();
    host.write("task.json", "{\"container\": ");
    let detached = json_of(&host.run("detach", &["task.json"]));
    assert_eq!(detached.as_array().unwrap().len(), 2);
    assert_eq!(json_of(&host.run("detach", &[])), json!([]));
    assert_eq!(host.calls()[2..], ["DEL eth1", "DEL eth0"]);
}

#[test]
fn a_network_that_fails_is_named_for_people_and_for_programs() {
    let mut host = Host::new();
    host.fail = "ADD:first";
    let (error, line) = error_of(&host.attach());
    assert_eq!(error["code"], 42);
    assert_eq!(
        error["msg"],
        "network \"one\" (eth1): plugin \"first\": told to"
    );
    assert_eq!(error["details"], "so it is");
    assert_eq!(
        line,
        "slash24: network \"one\" (eth1): plugin \"first\": told to; so it is\n"
    );
    assert_eq!(
        host.calls(),
        ["ADD eth0", "ADD eth1", "DEL eth1", "DEL eth0"]
    );
    let table = host.run(
        "attach",
        &[
            "--netns",
            "/run/netns/none",
            "--output",
            "table",
            "task.json",
        ],
    );
    assert!(table.stdout.is_empty() && !table.stderr.is_empty());
}

#[test]
fn documents_on_standard_input_and_tables() {
    let host = Host::new();
    let mut command = host.command(
        "attach",
        &[
            "--netns",
            "/run/netns/none",
            "--output",
            "table",
            "--task",
            "b",
            "-",
        ],
    );
    let document = json!([
        {"name": "a", "container": {"network": [{"name": "two"}]}},
        {"name": "b", "container": {"network": [{"name": "one"}]}},
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(document.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("│ eth0      ┆ one     ┆ 10.0.0.2/24"),
        "{table}"
    );
    let table = host.run("detach", &["--output", "table"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("│ eth0      ┆ one     ┆ detached │"),
        "{table}"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let host = Host::new();
    let says = |document: &str, code: u32, expected: &[&str]| {
        host.write("task.json", document);
        let (error, line) = error_of(&host.attach());
        assert_eq!(error["code"], code, "{error}");
        let message = error["msg"].as_str().unwrap();
        for text in expected {
            assert!(
                message.contains(text) && line.contains(text),
                "{text:?} is not in {line}"
            );
        }
        assert!(host.calls().is_empty());
    };
    let list = |networks: &str| format!("{{\"container\": {{\"network\": {networks}}}}}");
    says("{", 6, &["not valid JSON"]);
    says(&list("7"), 6, &["\"container.network\"", "7"]);
    says(&list("[]"), 7, &["\"container.network\""]);
    says(
        &list(r#"[{"name": "x"}]"#),
        7,
        &["\"x\"", "\"one\", \"two\""],
    );
    says(
        &list(r#"[{"name": "one"}, {"name": "one"}]"#),
        7,
        &["network[1].name\" is \"one\""],
    );
    fs::remove_file(host.path("task.json")).unwrap();
    let (error, _) = error_of(&host.attach());
    assert_eq!(error["code"], 5);
    assert!(
        error["msg"].as_str().unwrap().starts_with("task.json: "),
        "{error}"
    );
    let output = host.run("detach", &["--id", "../c"]);
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn plugins_from_the_environment() {
    let host = Host::new();
    let mut command = Command::new(SLASH24);
    command
        .args(["attach", "--id", "c", "--netns", "/run/netns/none"])
        .args(["--conf-dir", "conf", "--cache-dir", "cache", "task.json"])
        .env(
            "CNI_PATH",
            format!("/nowhere:{}", host.path("bin").display()),
        )
        .env("RECORD", host.path("record"))
        .current_dir(host.dir.path());
    json_of(&command.output().unwrap());
    assert_eq!(host.calls(), ["ADD eth0", "ADD eth1"]);
}
