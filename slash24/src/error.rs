//! What can go wrong with a command.

use std::io;
use std::path::{Path, PathBuf};

use cni::{Failure, code};

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A task could not be attached, detached or checked.
    #[error(transparent)]
    Task(#[from] framework_glue::Error),
    /// The side of the runtime failed.
    #[error(transparent)]
    Runtime(#[from] cni::Error),
    /// A network could not be looked after.
    #[error("network \"{network}\": {failure}")]
    Network {
        /// Its name.
        network: String,
        /// Why not.
        failure: Box<Failure>,
    },
    /// A file or directory could not be used.
    #[error("{}: {error}", .path.display())]
    Path {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// `--only` names what is no plugin.
    #[error("--only {name}: there is no such plugin; there are {known}")]
    NoSuchPlugin {
        /// The name.
        name: String,
        /// The plugins.
        known: String,
    },
    /// Files that were not installed by slash24 are where plugins would go.
    #[error("already there, and no slash24 plugins: {}; --replace keeps such files aside and installs in their place", listed(.0))]
    InTheWay(Vec<PathBuf>),
}

fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

impl Error {
    pub(crate) fn path(path: &Path, error: io::Error) -> Self {
        Error::Path {
            path: path.to_owned(),
            error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Task(error) => error.into(),
            Error::Runtime(error) => error.into(),
            Error::Network { ref failure, .. } => Failure::new(failure.code, error.to_string()),
            Error::Path { .. } => Failure::new(code::IO, error.to_string()),
            Error::NoSuchPlugin { .. } | Error::InTheWay(_) => {
                Failure::new(code::INVALID_CONFIG, error.to_string())
            }
        }
    }
}
