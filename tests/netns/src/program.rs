//! Programs of the machine that serve as witnesses: `ip`, `nft`, `ping`.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

/// Debian's package of each program, for the message when it is missing.
const PACKAGES: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
];

/// Runs a program in the namespaces of the calling thread and returns whatever came of it.
pub(crate) fn run(program: &str, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    // Users other than root often have no /usr/sbin in PATH, where Debian puts ip and nft.
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{}", missing(program)),
        _ => panic!("cannot execute {program}: {error}"),
    });
    let mut input = child.stdin.take().expect("stdin is piped");
    match input.write_all(stdin.as_bytes()) {
        // A program that fails early does not read all of its input; its exit status tells.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            panic!("cannot write to {program}: {error}")
        }
        _ => drop(input),
    }
    child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("cannot wait for {program}: {error}"))
}

/// Runs a program that must succeed and returns what it printed.
pub(crate) fn must(program: &str, args: &[&str], stdin: &str) -> String {
    let output = run(program, args, stdin);
    assert!(
        output.status.success(),
        "{program} {} failed ({}): {}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        if stdin.is_empty() {
            String::new()
        } else {
            format!("\nits input was:\n{stdin}")
        }
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn missing(program: &str) -> String {
    let package = PACKAGES
        .iter()
        .find(|(name, _)| *name == program)
        .map_or(program, |(_, it)| it);
    format!("the tests need `{program}`: apt-get install {package}")
}
