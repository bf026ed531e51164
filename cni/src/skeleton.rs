//! The part of a plugin that is the same in all of them: it reads the call,
//! keeps to the protocol, and prints the answer.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::stdio;
use serde_json::json;

use crate::{
    Call, Command, Config, Environment, Error, Failure, Plugin, Plugins, Request, Version, code,
};

/// What the process that was called prints, and how it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The result or the error object.
    pub stdout: Vec<u8>,
    /// For people.
    pub stderr: Vec<u8>,
    /// The exit status.
    pub status: u8,
}

impl Output {
    fn failed(failure: &Failure, version: Version) -> Self {
        Output {
            stdout: format!("{}\n", failure.to_json(version)).into_bytes(),
            status: 1,
            ..Output::default()
        }
    }
}

/// Runs `plugin` as this process: reads the environment and standard input,
/// prints, and returns the exit status.
pub fn run(plugin: &dyn Plugin, plugins: Plugins) -> u8 {
    print_panics();
    let mut env = Environment::of_process();
    let mut input = Vec::new();
    let output = answer(plugin, plugins, &env, || {
        let bytes = read_input()?;
        input.clone_from(&bytes);
        Ok(bytes)
    });
    let _ = write_all(stdio::stderr(), &output.stderr);
    let Err(error) = write_all(stdio::stdout(), &output.stdout) else {
        return output.status;
    };
    // The caller cannot take this for success, so it must not be one.
    let told = format!("the answer cannot be printed: {error}\n");
    let _ = write_all(stdio::stderr(), told.as_bytes());
    if output.status == 0 && matches!(Request::command(&env), Ok(Some(Command::Add))) {
        env.set("CNI_COMMAND", Command::Del.as_str());
        let undone = answer(plugin, plugins, &env, || Ok(input));
        let _ = write_all(stdio::stderr(), &undone.stdout);
    }
    1
}

/// Reads standard input to its end. The standard library's would take a buffer more,
/// and all is read and written at once here.
fn read_input() -> io::Result<Vec<u8>> {
    // Most configurations fit, and are then read by two system calls.
    const ENOUGH: usize = 4096;
    let mut bytes = Vec::with_capacity(ENOUGH);
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(ENOUGH);
        }
        match rustix::io::read(stdio::stdin(), spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A panic is an error like any other to the runtime: JSON on standard output
/// and status 1. What the plugin had begun is undone as the stack unwinds.
fn print_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let failure = Failure::new(
            code::INTERNAL,
            format!("internal error, please report it: {panic}"),
        );
        // Nobody may be listening, and a panic in here would be the end of all.
        let _ = write_all(stdio::stderr(), format!("{failure}\n").as_bytes());
    }));
}

/// Answers one call: the whole protocol as a function, for plugins of this
/// process and for tests. `stdin` is only read when the verb has input.
pub fn answer(
    plugin: &dyn Plugin,
    plugins: Plugins,
    env: &Environment,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Output {
    let command = match Request::command(env) {
        Ok(Some(command)) => command,
        Ok(None) => return about(plugin),
        Err(error) => return Output::failed(&error.into(), Version::UNNAMED),
    };
    if command == Command::Version {
        return versions();
    }
    let bytes = match stdin() {
        Ok(bytes) => bytes,
        Err(error) => return Output::failed(&Error::Stdin(error).into(), Version::UNNAMED),
    };
    let called = std::panic::AssertUnwindSafe(|| call(plugin, plugins, command, env, &bytes));
    let answered = std::panic::catch_unwind(called).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("no reason given");
        Err(Failure::new(
            code::INTERNAL,
            format!("internal error, please report it: {reason}"),
        ))
    });
    answered.unwrap_or_else(|failure| Output::failed(&failure, Config::version_of(&bytes)))
}

fn call(
    plugin: &dyn Plugin,
    plugins: Plugins,
    command: Command,
    env: &Environment,
    bytes: &[u8],
) -> Result<Output, Failure> {
    let config = Config::parse(bytes)?;
    let version = config.version;
    let request = Request::new(command, env, config)?;
    let call = Call {
        request: &request,
        plugins,
    };
    match command {
        Command::Add => {
            let attachment = plugin.add(&call)?;
            let mut stdout = attachment.to_text(version)?.into_bytes();
            stdout.push(b'\n');
            return Ok(Output {
                stdout,
                ..Output::default()
            });
        }
        Command::Del => plugin.del(&call)?,
        Command::Check => plugin.check(&call)?,
        Command::Gc => plugin.gc(&call)?,
        Command::Status => plugin.status(&call)?,
        Command::Version => return Ok(versions()),
    }
    Ok(Output::default())
}

/// What VERSION prints. It must not need standard input.
fn versions() -> Output {
    let supported = Version::ALL.map(Version::as_str);
    let json = json!({"cniVersion": Version::V1_1_0.as_str(), "supportedVersions": supported});
    Output {
        stdout: format!("{json}\n").into_bytes(),
        ..Output::default()
    }
}

/// What a plugin says when it is called without a verb, by people or by Nomad's
/// fingerprinting, which looks for a version on either output.
fn about(plugin: &dyn Plugin) -> Output {
    let name = plugin.name();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "CNI {name} plugin v{version}\nCNI protocol versions supported: {}\n",
        Version::listed()
    );
    Output {
        stderr: text.into_bytes(),
        ..Output::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Attachment;

    /// Fails at ADD in the way that the container's id says.
    struct Faulty;

    impl Plugin for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }
        fn add(&self, call: &Call<'_>) -> Result<Attachment, Failure> {
            match call.request.container_id.as_str() {
                "panics" => panic!("the index is {}", 7),
                "fails" => Err(Failure::new(code::TRY_AGAIN, "later").with_details("busy")),
                _ => Ok(Attachment::default()),
            }
        }
        fn del(&self, _: &Call<'_>) -> Result<(), Failure> {
            Ok(())
        }
        fn check(&self, _: &Call<'_>) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn call(command: &str, container: &str, version: &str) -> (u8, Value) {
        let env = Environment::from_pairs([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", container),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/run/netns/c"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let stdin = json!({"cniVersion": version, "name": "n", "type": "faulty"});
        let output = answer(&Faulty, &[], &env, || Ok(stdin.to_string().into_bytes()));
        let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status, printed)
    }

    #[test]
    fn a_panic_is_an_error_object() {
        let (status, error) = call("ADD", "panics", "1.0.0");
        assert_eq!(status, 1);
        assert_eq!(error["code"], code::INTERNAL);
        assert_eq!(error["cniVersion"], "1.0.0");
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("the index is 7"), "{message}");
    }

    #[test]
    fn failures_are_printed_in_the_version_of_the_configuration() {
        let (status, error) = call("ADD", "fails", "0.4.0");
        assert_eq!(status, 1);
        let expected =
            json!({"cniVersion": "0.4.0", "code": 11, "msg": "later", "details": "busy"});
        assert_eq!(error, expected);
    }

    #[test]
    fn each_verb_needs_the_version_that_brought_it() {
        for (verb, too_old, since) in [
            ("CHECK", "0.3.1", "0.4.0"),
            ("GC", "1.0.0", "1.1.0"),
            ("STATUS", "1.0.0", "1.1.0"),
        ] {
            let (status, error) = call(verb, "c", too_old);
            assert_eq!(
                (status, &error["code"]),
                (1, &json!(code::INCOMPATIBLE_VERSION)),
                "{verb}"
            );
            assert_eq!(call(verb, "c", since), (0, Value::Null), "{verb}");
        }
    }

    #[test]
    fn versions_and_about_need_no_input() {
        let unread = || -> io::Result<Vec<u8>> { panic!("standard input must not be read") };
        let env = Environment::from_pairs([("CNI_COMMAND", "VERSION")]);
        let output = answer(&Faulty, &[], &env, unread);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            printed["supportedVersions"].as_array().unwrap().len(),
            Version::ALL.len()
        );
        let output = answer(&Faulty, &[], &Environment::default(), unread);
        assert_eq!((output.status, output.stdout.len()), (0, 0));
        assert!(output.stderr.starts_with(b"CNI faulty plugin v"));
    }

    #[test]
    fn bad_variables_are_named() {
        let (status, error) = call("ADD", "../etc", "1.0.0");
        assert_eq!(
            (status, &error["code"]),
            (1, &json!(code::INVALID_ENVIRONMENT))
        );
        assert!(
            error["msg"]
                .as_str()
                .unwrap()
                .contains("CNI_CONTAINERID=\"../etc\"")
        );
        let (status, error) = call("PUT", "c", "1.0.0");
        assert_eq!(
            (status, &error["code"]),
            (1, &json!(code::INVALID_ENVIRONMENT))
        );
    }
}
