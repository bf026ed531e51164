//! The one executable: every plugin by its own name, and the command line by the
//! name `slash24`.
//!
//! Called as a plugin it does nothing before that plugin runs: the name is looked
//! up, and [`cni::skeleton`] takes over. A runtime waits for every microsecond.

mod cli;
mod error;
mod install;
mod registry;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use cni::{Failure, Version, code};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = called_as(arguments.next());
    if let Some(plugin) = registry::find(&name) {
        return ExitCode::from(cni::skeleton::run(plugin, registry::PLUGINS));
    }
    // A person gives arguments; a runtime gives none.
    if arguments.next().is_none() && std::env::var_os("CNI_COMMAND").is_some() {
        println!("{}", unknown_plugin(&name).to_json(Version::V1_1_0));
        return ExitCode::FAILURE;
    }
    cli::run()
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
