//! Starting a program and taking its time: from before the spawn until it has
//! ended and its standard output is at the end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::wait;

use crate::error::{Doing, Error, Result};

/// Longer than any contender takes by a factor of a hundred.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where plugins look for `iptables`.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call of one program, complete before the clock starts.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: BTreeMap<&'static str, OsString>,
    pub(crate) stdin: Vec<u8>,
}

impl Invocation {
    pub(crate) fn new(program: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            stdin: Vec::new(),
        }
    }

    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name, value.into());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The same call, started by `launcher`.
    pub(crate) fn under(mut self, launcher: &Path) -> Self {
        let program = std::mem::replace(&mut self.program, launcher.to_path_buf());
        self.arguments.insert(0, program.into());
        self
    }

    /// Neither a working directory nor a hook, so that the standard library
    /// spawns by `posix_spawn`: no page table is copied.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn text(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.arguments.iter().map(OsString::as_os_str));
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a series of calls took and said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Makes the calls one after the other; the first that fails ends it.
pub(crate) fn run(invocations: &[Invocation]) -> Result<Outcome> {
    let mut commands: Vec<_> = invocations.iter().map(Invocation::command).collect();
    let mut outcome = Outcome {
        elapsed: Duration::ZERO,
        stdout: String::new(),
        stderr: String::new(),
    };
    let start = Instant::now();
    for (invocation, command) in invocations.iter().zip(&mut commands) {
        call(invocation, command, start, &mut outcome)?;
    }
    Ok(outcome)
}

fn call(
    invocation: &Invocation,
    command: &mut Command,
    start: Instant,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut stdout = Vec::new();
    let mut child = command.spawn().doing(|| invocation.text())?;
    let finished = converse(&mut child, &invocation.stdin, &mut stdout);
    if !finished.doing(|| invocation.text())? {
        child.kill().doing(|| invocation.text())?;
        return Err(Error::Stuck {
            command: invocation.text(),
            seconds: PATIENCE.as_secs(),
        });
    }
    let status = child.wait().doing(|| invocation.text())?;
    outcome.elapsed = start.elapsed();
    let mut stderr = Vec::new();
    // To the end only if nobody else may hold it open: a plugin that leaves a
    // child behind has said what it had to say.
    if let Some(mut pipe) = child.stderr.take() {
        let mut buffer = [0; 4096];
        while readable(&pipe, Duration::ZERO).doing(|| invocation.text())? {
            match pipe.read(&mut buffer).doing(|| invocation.text())? {
                0 => break,
                length => stderr.extend_from_slice(&buffer[..length]),
            }
        }
    }
    outcome.stdout = String::from_utf8_lossy(&stdout).into_owned();
    outcome.stderr = String::from_utf8_lossy(&stderr).into_owned();
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        command: invocation.text(),
        status,
        stdout: outcome.stdout.clone(),
        stderr: outcome.stderr.clone(),
    })
}

/// Hands over the input and takes the output; false if the program keeps still
/// for too long.
fn converse(child: &mut Child, stdin: &[u8], stdout: &mut Vec<u8>) -> io::Result<bool> {
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read its input may be gone already.
        match pipe.write_all(stdin) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let Some(mut pipe) = child.stdout.take() else {
        return Ok(true);
    };
    let mut buffer = [0; 16384];
    loop {
        if !readable(&pipe, PATIENCE)? {
            return Ok(false);
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(true),
            length => stdout.extend_from_slice(&buffer[..length]),
        }
    }
}

fn readable(pipe: &impl AsFd, patience: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut ready, timeout)? > 0)
}

/// Waits for the processes that contenders left behind and that this process,
/// being their subreaper, inherits; says how long that took. Only to be called
/// while no call is under way.
pub(crate) fn await_orphans() -> Result<Duration> {
    let start = Instant::now();
    loop {
        match wait() {
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(start.elapsed()),
            Err(error) => return Err(error).doing(|| "waiting for orphans".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new(Path::new("/bin/sh"))
            .argument("-c")
            .argument(script)
    }

    #[test]
    fn hands_over_the_input_and_returns_the_output() {
        let outcome = run(&[shell("cat; echo $NAME >&2")
            .stdin("in")
            .variable("NAME", "value")])
        .unwrap();
        assert_eq!(outcome.stdout, "in");
        assert_eq!(outcome.stderr, "value\n");
    }

    #[test]
    fn the_time_is_that_of_all_calls() {
        let outcome = run(&[shell("sleep 0.05"), shell("sleep 0.05")]).unwrap();
        assert!(outcome.elapsed >= Duration::from_millis(100), "{outcome:?}");
    }

    #[test]
    fn a_failure_says_what_was_called_and_what_it_said() {
        let error = run(&[shell("echo said; exit 3")]).unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("said"),
            "{error}"
        );
        assert!(error.contains("/bin/sh -c"), "{error}");
    }
}
