//! `bench-memory PROGRAM [ARGUMENT…]`: runs the program with its own standard
//! input and output, then writes the peak of its resident memory in KiB as the
//! last line of standard error, and ends with the program's exit code.
//!
//! The kernel counts the memory that a process had before its `execve` as the
//! process's own (`exec_mmap` carries the old high-water mark over), so a large
//! program that asks `wait4` about a small child reads its own size. This
//! launcher is smaller than anything that it is asked to measure.

use std::env;
use std::process::{Command, ExitCode};

use nix::sys::resource::{UsageWho, getrusage};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: bench-memory PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let code = match Command::new(&program).args(words).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()),
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            None
        }
    };
    match getrusage(UsageWho::RUSAGE_CHILDREN) {
        Ok(usage) => eprintln!("{}", usage.max_rss()),
        Err(error) => {
            eprintln!("getrusage: {error}");
            return ExitCode::FAILURE;
        }
    }
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
