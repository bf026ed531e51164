//! What commands print, for people and for programs.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use cni::{Failure, Version};
use serde_json::Value;

use crate::error::Error;

/// What a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For programs
    Json,
    /// For people
    Table,
}

/// Prints what came of it. An error is a sentence on standard error, and for
/// programs the object that CNI has for errors on standard output.
pub(super) fn answer<T>(
    output: Output,
    done: Result<T, Error>,
    shown: impl FnOnce(&T) -> String,
) -> ExitCode {
    let (text, code) = match done {
        Ok(done) => (shown(&done), ExitCode::SUCCESS),
        Err(error) => {
            let failure = Failure::from(error);
            eprintln!("slash24: {failure}");
            let object = match output {
                Output::Json => failure.to_json(Version::V1_1_0),
                Output::Table => String::new(),
            };
            (object, ExitCode::FAILURE)
        }
    };
    if text.is_empty() || writeln!(std::io::stdout(), "{text}").is_ok() {
        return code;
    }
    ExitCode::FAILURE
}

/// JSON as it is printed.
pub(super) fn json_text(value: &Value) -> String {
    format!("{value:#}")
}

/// Prints sentences, each with the end of its line.
pub(super) fn tell(done: Result<String, Error>) -> ExitCode {
    match done {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("slash24: {error}");
            ExitCode::FAILURE
        }
    }
}
