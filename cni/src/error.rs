//! What can go wrong in the protocol itself.

use std::path::PathBuf;

use crate::{Command, Failure, Version, code};

/// A breach of the protocol, or a failure to carry it out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A `cniVersion` that was never published.
    #[error("cniVersion \"{0}\" is unknown; known are {known}", known = Version::listed())]
    UnknownVersion(String),
    /// A verb younger than the configuration's version.
    #[error("{command} needs cniVersion {needs} or later, the configuration has {has}")]
    VerbTooNew {
        /// The verb asked for.
        command: Command,
        /// The first version that has it.
        needs: Version,
        /// The configuration's.
        has: Version,
    },
    /// Necessary environment variables are not set.
    #[error("required environment variables [{0}] are missing")]
    MissingVariables(String),
    /// An environment variable holds what it must not.
    #[error("{variable}=\"{value}\" is not valid: {right}")]
    BadVariable {
        /// The variable's name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// Standard input could not be read.
    #[error("cannot read the network configuration from standard input: {0}")]
    Stdin(std::io::Error),
    /// The configuration is not JSON.
    #[error("the network configuration is not valid JSON: {0}")]
    NotJson(serde_json::Error),
    /// The configuration is JSON of the wrong shape.
    #[error("the network configuration: {0}")]
    Shape(#[from] crate::fold::ReadError),
    /// A key has a value that is not allowed.
    #[error("\"{key}\": \"{value}\" is not valid: {right}")]
    BadValue {
        /// Where in the configuration.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// A key that must be there is not.
    #[error("\"{0}\" is missing in the network configuration")]
    MissingKey(&'static str),
    /// A result that is not one.
    #[error("{whose}: not a CNI result: {why}")]
    BadResult {
        /// Whose result: `prevResult`, or a plugin.
        whose: String,
        /// What is wrong with it.
        why: String,
    },
    /// Results before 0.3.0 cannot describe an attachment without addresses.
    #[error(
        "a result of version {0} needs an IPv4 or an IPv6 address, and this attachment has none; use cniVersion 0.3.0 or later for networks without addresses"
    )]
    NoAddressInOldResult(Version),
    /// No such plugin in `CNI_PATH`.
    #[error("plugin \"{name}\" was not found in {}", list(.path))]
    PluginNotFound {
        /// The plugin's type.
        name: String,
        /// Where it was looked for.
        path: Vec<PathBuf>,
    },
    /// A plugin could not be executed.
    #[error("cannot execute {}: {error}", .file.display())]
    Exec {
        /// The plugin's file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A plugin failed without saying why in the form that the protocol asks for.
    #[error(
        "plugin \"{name}\" failed ({status}) without a CNI error: stdout {stdout:?}, stderr {stderr:?}"
    )]
    PluginDied {
        /// The plugin's type.
        name: String,
        /// How it ended.
        status: String,
        /// What it printed.
        stdout: String,
        /// What it complained.
        stderr: String,
    },
}

fn list(path: &[PathBuf]) -> String {
    if path.is_empty() {
        return "CNI_PATH, which is empty".into();
    }
    let names: Vec<_> = path.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::UnknownVersion(_) | Error::VerbTooNew { .. } => code::INCOMPATIBLE_VERSION,
            Error::MissingVariables(_) | Error::BadVariable { .. } => code::INVALID_ENVIRONMENT,
            Error::Stdin(_) | Error::Exec { .. } => code::IO,
            Error::NotJson(_) | Error::Shape(_) | Error::BadResult { .. } => code::DECODING,
            Error::BadValue { .. } | Error::MissingKey(_) | Error::PluginNotFound { .. } => {
                code::INVALID_CONFIG
            }
            Error::NoAddressInOldResult(_) => code::INCOMPATIBLE_VERSION,
            Error::PluginDied { .. } => code::INTERNAL,
        };
        Failure::new(code, error.to_string())
    }
}
