//! Why there is no result to report. A slow contender is none of these.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Everything that ends the benchmark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("namespaces are made by root only: run as root")]
    NotRoot,
    #[error("{} is missing: {remedy}", path.display())]
    Missing { path: PathBuf, remedy: String },
    #[error("{doing}: {source}")]
    System { doing: String, source: io::Error },
    #[error("`{command}` ended with {status}\nstdout: {stdout}\nstderr: {stderr}")]
    Failed {
        command: String,
        status: ExitStatus,
        stdout: String,
        stderr: String,
    },
    #[error("`{command}` was still running after {seconds} s and was killed")]
    Stuck { command: String, seconds: u64 },
    #[error("{contender} reports success, but {found}")]
    Untrue { contender: String, found: String },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::System {
            doing: what(),
            source: source.into(),
        })
    }
}
