//! The one executable: every plugin by its own name, and the command line by the
//! name `slash24`.
//!
//! Called as a plugin it does nothing before that plugin runs: the name is looked
//! up, and [`cni::skeleton`] takes over. A runtime waits for every microsecond, so
//! the program begins where the C library does, without Rust's own runtime.
#![cfg_attr(not(test), no_main)]

mod aside;
mod cli;
mod collect;
mod doctor;
mod error;
mod explain;
mod install;
mod networks;
mod registry;
mod stores;

use std::ffi::{OsString, c_char, c_int};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use cni::{Failure, Version, code};

/// What the C library calls.
// SAFETY: it is the only `main` of the executable, and has the type that C wants.
#[allow(unsafe_code)]
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    /// The status of Rust programs that panicked.
    const PANICKED: u8 = 101;
    kernel::begin();
    std::panic::catch_unwind(run).unwrap_or(PANICKED).into()
}

/// Runs what this file is called as; the status to exit with.
fn run() -> u8 {
    let mut arguments = std::env::args_os();
    let name = called_as(arguments.next());
    if let Some(plugin) = registry::find(&name) {
        return cni::skeleton::run(plugin, registry::PLUGINS);
    }
    // A person gives arguments; a runtime gives none.
    if arguments.next().is_none() && std::env::var_os("CNI_COMMAND").is_some() {
        let error = unknown_plugin(&name).to_json(Version::V1_1_0);
        let _ = writeln!(io::stdout(), "{error}");
        return 1;
    }
    let status = cli::run();
    // Who does not hear the end of it is no failure of the command.
    let _ = io::stdout().flush();
    u8::from(status != ExitCode::SUCCESS)
}

/// The file name of `argv[0]`.
fn called_as(argument: Option<OsString>) -> String {
    let argument = argument.unwrap_or_default();
    let name = Path::new(&argument).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A runtime executed this file under a name that is no plugin's.
fn unknown_plugin(name: &str) -> Failure {
    let known = registry::names().join(", ");
    Failure::new(
        code::INVALID_CONFIG,
        format!("\"{name}\" is none of the plugins in this executable: {known}"),
    )
}
