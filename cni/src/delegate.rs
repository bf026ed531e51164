//! Delegation: a plugin has another plugin do a part of its work (specification,
//! section 4).
//!
//! A plugin is found in `CNI_PATH`. If what is found there is this very
//! executable (the same device and inode), or nothing is and the plugin lives in
//! this executable, it is called in the same process: an exec costs more than
//! all of host-local's work. Anything else is executed.

use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use crate::{
    Attachment, Call, Command, Environment, Error, Failure, Plugin, Plugins, Request, Version,
};

/// Where a plugin is to be had.
pub enum Found {
    /// In this executable.
    Own(&'static dyn Plugin),
    /// In another file.
    File(PathBuf),
}

impl Found {
    /// Whether it is in this executable.
    pub fn is_own(&self) -> bool {
        matches!(self, Found::Own(_))
    }
}

/// Finds the plugin that `call` delegates to.
///
/// # Errors
/// [`Error::PluginNotFound`].
pub fn find(call: &Call<'_>, name: &str) -> Result<Found, Error> {
    find_in(&call.request.path, name, call.plugins)
}

/// Finds a plugin by its type.
///
/// # Errors
/// [`Error::PluginNotFound`], also for a type that would lead out of `path`.
pub fn find_in(path: &[PathBuf], name: &str, plugins: Plugins) -> Result<Found, Error> {
    let own = plugins.iter().copied().find(|plugin| plugin.name() == name);
    let is_file_name = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    let mut files = path
        .iter()
        .filter(|_| is_file_name)
        .map(|dir| dir.join(name));
    let file = files.find_map(|file| executable(&file).map(|metadata| (file, metadata)));
    match (file, own) {
        (Some((_, metadata)), Some(own)) if is_this_executable(&metadata) => Ok(Found::Own(own)),
        (Some((file, _)), _) => Ok(Found::File(file)),
        (None, Some(own)) => Ok(Found::Own(own)),
        (None, None) => Err(Error::PluginNotFound {
            name: name.to_owned(),
            path: path.to_vec(),
        }),
    }
}

fn executable(file: &Path) -> Option<Metadata> {
    let metadata = std::fs::metadata(file).ok()?;
    let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    runs.then_some(metadata)
}

fn is_this_executable(metadata: &Metadata) -> bool {
    let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    let this = std::fs::metadata("/proc/self/exe");
    this.is_ok_and(|this| identity(&this) == identity(metadata))
}

/// Delegates an ADD. The result is what the configuration's version carries,
/// whichever way the plugin was called. If an executed plugin fails it is told to
/// DEL, as it may have failed half-way; our own never do.
///
/// # Errors
/// The delegate's own failure, or that it could not be called.
pub fn add(call: &Call<'_>, name: &str) -> Result<Attachment, Failure> {
    match find(call, name)? {
        Found::Own(plugin) => add_own(call, plugin),
        Found::File(file) => {
            let added = execute(&file, Command::Add, call.request)
                .and_then(|stdout| Ok(read_result(&stdout, call.request.config.version, name)?));
            added.inspect_err(|_| drop(execute(&file, Command::Del, call.request)))
        }
    }
}

/// As [`add`], if the plugin is in this executable.
///
/// # Errors
/// The delegate's own failure, or that there is no such plugin.
pub fn add_if_own(call: &Call<'_>, name: &str) -> Result<Option<Attachment>, Failure> {
    match find(call, name)? {
        Found::Own(plugin) => add_own(call, plugin).map(Some),
        Found::File(_) => Ok(None),
    }
}

fn add_own(call: &Call<'_>, plugin: &dyn Plugin) -> Result<Attachment, Failure> {
    let attachment = plugin.add(call)?;
    Ok(attachment
        .carried_by(call.request.config.version)?
        .into_owned())
}

/// Delegates the request's own verb, one that has no result.
///
/// # Errors
/// The delegate's own failure, or that it could not be called.
pub fn forward(call: &Call<'_>, name: &str) -> Result<(), Failure> {
    let command = call.request.command;
    match find(call, name)? {
        Found::File(file) => execute(&file, command, call.request).map(drop),
        Found::Own(plugin) => match command {
            Command::Add => plugin.add(call).map(drop),
            Command::Del => plugin.del(call),
            Command::Check => plugin.check(call),
            Command::Gc => plugin.gc(call),
            Command::Status => plugin.status(call),
            Command::Version => Ok(()),
        },
    }
}

/// Takes an ADD that succeeded back.
///
/// # Errors
/// The delegate's own failure, or that it could not be called.
pub fn undo(call: &Call<'_>, name: &str) -> Result<(), Failure> {
    match find(call, name)? {
        Found::Own(plugin) => plugin.del(call),
        Found::File(file) => execute(&file, Command::Del, call.request).map(drop),
    }
}

fn execute(file: &Path, command: Command, request: &Request) -> Result<Vec<u8>, Failure> {
    let mut environment = request.environment.clone();
    environment.set("CNI_COMMAND", command.as_str());
    let stdin = Value::Object(request.config.raw().clone()).to_string();
    execute_file(file, &environment, stdin.as_bytes())
}

/// Executes a plugin's file and returns what it printed.
///
/// # Errors
/// The failure that the plugin printed; one that quotes its output when that is
/// not a CNI error; [`Error::Exec`] when it could not be executed.
pub fn execute_file(file: &Path, env: &Environment, stdin: &[u8]) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Error::Exec {
        file: file.to_owned(),
        error,
    };
    let mut child = Process::new(file)
        .env_clear()
        .envs(env.pairs())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin that does not want its input says why in its output.
        let _ = pipe.write_all(stdin);
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if output.status.success() {
        // What it has to say besides goes where ours goes; nobody need hear it.
        let _ = std::io::stderr().write_all(&output.stderr);
        return Ok(output.stdout);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let failure: Result<Failure, _> = serde_json::from_slice(&output.stdout);
    failure.map_or_else(
        |_| {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            let status = output.status.to_string();
            Err(Error::PluginDied {
                name,
                status,
                stdout,
                stderr,
            }
            .into())
        },
        Err,
    )
}

/// Reads what a plugin printed as a result.
///
/// # Errors
/// [`Error::BadResult`].
pub fn read_result(stdout: &[u8], version: Version, name: &str) -> Result<Attachment, Error> {
    let value: Value = serde_json::from_slice(stdout).map_err(|error| Error::BadResult {
        whose: format!("plugin \"{name}\""),
        why: format!("{error} in {:?}", String::from_utf8_lossy(stdout)),
    })?;
    Attachment::from_json(&value, version, &format!("plugin \"{name}\""))
}
