//! What commands print, for people and for programs.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use cni::{Failure, Version};
use serde_json::Value;

use crate::aside;
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
            aside::say(&failure);
            let object = match output {
                Output::Json => failure.to_json(Version::V1_1_0),
                Output::Table => String::new(),
            };
            (object, ExitCode::FAILURE)
        }
    };
    match text.is_empty() {
        true => code,
        false => print(&format!("{text}\n"), code),
    }
}

/// Prints what the command was asked for: where that cannot be read, it has failed.
fn print(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(error) => {
            aside::say(format_args!("the answer cannot be printed: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// JSON as it is printed.
pub(super) fn json_text(value: &Value) -> String {
    format!("{value:#}")
}

/// Prints sentences, each with the end of its line.
pub(super) fn tell(done: Result<String, Error>) -> ExitCode {
    match done {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(error) => {
            aside::say(error);
            ExitCode::FAILURE
        }
    }
}
