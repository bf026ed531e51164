//! What can go wrong in the protocol itself.

use std::path::{Path, PathBuf};

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
    /// A plugin that manages no addresses, where one is wanted that does.
    #[error(
        "\"ipam.type\": \"{0}\" is not valid: that plugin makes interfaces and manages no addresses, as host-local and static do"
    )]
    NoIpam(&'static str),
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
    /// A file or directory could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// Something is wrong with a configuration file.
    #[error("{}: {error}", .file.display())]
    InFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: Box<Error>,
    },
    /// Something is wrong with one plugin of a list.
    #[error("plugins[{index}]: {error}")]
    InPlugin {
        /// Its place in `plugins`, from 0.
        index: usize,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A list without plugins.
    #[error("network \"{0}\" has no plugins: \"plugins\" lists none, and no folder beside it does")]
    NoPlugins(String),
    /// No configuration file has that network.
    #[error("no network \"{name}\" in {}, which has {}{}", .directory.display(),
        quoted(.known), but_unreadable(.unreadable))]
    NoSuchNetwork {
        /// The network asked for.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
        /// The networks that are there.
        known: Vec<String>,
        /// Why other files there could not be read.
        unreadable: Vec<String>,
    },
    /// The network's file is there and wrong.
    #[error("network \"{name}\": {reason}")]
    BrokenNetwork {
        /// The network.
        name: String,
        /// What is wrong with its file.
        reason: String,
    },
    /// The plugins of a chain have no version in common.
    #[error(
        "the configuration is written for {offered}, of which plugin \"{plugin}\" speaks none; it speaks {speaks}"
    )]
    NoCommonVersion {
        /// The versions that its configuration and the plugins before allow.
        offered: String,
        /// The plugin.
        plugin: String,
        /// What VERSION said.
        speaks: String,
    },
    /// The runtime's parameters cannot be put into the environment.
    #[error(
        "argument \"{key}={value}\" is not valid: CNI_ARGS has no way to write ';', nor '=' in a key"
    )]
    BadArgument {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// There is no cached result of such an attachment.
    #[error("container \"{container}\" is not attached by {ifname}: there is no result of an ADD in {}", .cache.display())]
    NotAttached {
        /// The container.
        container: String,
        /// The interface.
        ifname: String,
        /// The file that would hold the result.
        cache: PathBuf,
    },
    /// The result of one attachment would be kept in the file of another.
    #[error(
        "the cache of results, {}: it is that of container \"{container}\" on network \"{network}\"; choose another container id", .file.display()
    )]
    CacheOfAnother {
        /// The file.
        file: PathBuf,
        /// The network that it is about.
        network: String,
        /// The container that it is about.
        container: String,
    },
    /// The cache of results could not be used.
    #[error("the cache of results, {}: {error}", .file.display())]
    Cache {
        /// The file or directory.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

impl Error {
    /// The same error, with the file that it is in.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        Error::InFile {
            file: file.to_owned(),
            error: Box::new(self),
        }
    }

    fn code(&self) -> u32 {
        match self {
            Error::UnknownVersion(_)
            | Error::VerbTooNew { .. }
            | Error::NoAddressInOldResult(_)
            | Error::NoCommonVersion { .. } => code::INCOMPATIBLE_VERSION,
            Error::MissingVariables(_)
            | Error::BadVariable { .. }
            | Error::BadArgument { .. }
            | Error::CacheOfAnother { .. } => code::INVALID_ENVIRONMENT,
            Error::Stdin(_) | Error::Exec { .. } | Error::Unreadable(_) | Error::Cache { .. } => {
                code::IO
            }
            Error::NotJson(_) | Error::Shape(_) | Error::BadResult { .. } => code::DECODING,
            Error::BadValue { .. }
            | Error::MissingKey(_)
            | Error::PluginNotFound { .. }
            | Error::NoIpam(_)
            | Error::NoPlugins(_)
            | Error::NoSuchNetwork { .. }
            | Error::BrokenNetwork { .. } => code::INVALID_CONFIG,
            Error::NotAttached { .. } => code::UNKNOWN_CONTAINER,
            Error::PluginDied { .. } => code::INTERNAL,
            Error::InFile { error, .. } | Error::InPlugin { error, .. } => error.code(),
        }
    }
}

fn list(path: &[PathBuf]) -> String {
    if path.is_empty() {
        return "CNI_PATH, which is empty".into();
    }
    let names: Vec<_> = path.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

fn quoted(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => format!("\"{}\"", names.join("\", \"")),
    }
}

fn but_unreadable(reasons: &[String]) -> String {
    match reasons {
        [] => String::new(),
        reasons => format!(
            "; it may be in a file that is broken: {}",
            reasons.join("; ")
        ),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(error.code(), error.to_string())
    }
}
