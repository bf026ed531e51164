//! The one executable: every plugin by its own name, and the command line by the
//! name `slash24`.
//!
//! Called as a plugin it does nothing before that plugin runs; see `plugins`.

mod registry;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use cni::{Failure, Version, code};

fn main() -> ExitCode {
    let name = called_as(std::env::args_os().next());
    if let Some(plugin) = registry::find(&name) {
        return ExitCode::from(cni::skeleton::run(plugin, registry::PLUGINS));
    }
    let arguments = std::env::args_os().len() > 1;
    if !arguments && std::env::var_os("CNI_COMMAND").is_some() {
        println!("{}", unknown_plugin(&name).to_json(Version::V1_1_0));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
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
        format!("\"{name}\" is none of this executable's plugins: {known}"),
    )
}
