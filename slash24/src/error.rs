//! What can go wrong with a command.

use std::io;
use std::net::IpAddr;
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
    /// The kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Address management could not do its part.
    #[error(transparent)]
    Ipam(#[from] ipam::Error),
    /// Two files configure a network of one name.
    #[error("{}: network \"{name}\" is the one of {}, which comes first", .file.display(), .first.display())]
    SameName {
        /// The name.
        name: String,
        /// The file that no runtime uses.
        file: PathBuf,
        /// The file that they do.
        first: PathBuf,
    },
    /// A network that is neither configured nor has leases.
    #[error("no network \"{network}\" is configured or has leases; {}", there_are(.known))]
    NoLeasesOf {
        /// The network.
        network: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A network that is not configured.
    #[error("no network \"{network}\" is configured; {}", there_are(.known))]
    NoSuchNetwork {
        /// The network.
        network: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// An address that no network has.
    #[error("{address} is in the subnet of no configured network, and nobody holds it here; {}", subnets(.templates))]
    Nowhere {
        /// The address.
        address: IpAddr,
        /// The subnets of the networks.
        templates: Vec<String>,
    },
    /// A plan without a network that has ranges.
    #[error("no network in {0} has its addresses from host-local; there is nothing to check")]
    NothingToPlan(String),
    /// What cannot be looked at may keep a namespace.
    #[error("{} cannot be looked at, so no namespace is known to be gone; run this as root in the host's pid namespace", .0.display())]
    Unseen(PathBuf),
    /// A file that is no list of attachments.
    #[error("{}: {why}", .file.display())]
    NotAttachments {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The beginning of a container's id where the whole is needed.
    #[error(
        "{id} seems to be short for container {container}, whose leases would be freed; give whole ids (docker ps --no-trunc)"
    )]
    Abbreviated {
        /// The id as it was given.
        id: String,
        /// The container that is probably meant.
        container: String,
    },
    /// What a command was given makes no sense.
    #[error("{0}")]
    Usage(String),
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

fn there_are(names: &[String]) -> String {
    match names.is_empty() {
        true => "there is none".to_owned(),
        false => format!("there are {}", names.join(", ")),
    }
}

fn subnets(templates: &[String]) -> String {
    match templates.is_empty() {
        true => "no network with host-local is configured".to_owned(),
        false => format!("the subnets are {}", templates.join(", ")),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

impl Error {
    /// What went wrong with one network.
    pub(crate) fn of_network(network: &str, error: impl Into<Failure>) -> Self {
        Error::Network {
            network: network.to_owned(),
            failure: Box::new(error.into()),
        }
    }

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
            Error::Kernel(_) => Failure::new(code::KERNEL, error.to_string()),
            Error::Ipam(error) => error.into(),
            Error::Path { .. } => Failure::new(code::IO, error.to_string()),
            Error::Unseen(_) => Failure::new(code::IO, error.to_string()),
            Error::NotAttachments { .. } => Failure::new(code::DECODING, error.to_string()),
            Error::NoSuchPlugin { .. }
            | Error::InTheWay(_)
            | Error::SameName { .. }
            | Error::NoLeasesOf { .. }
            | Error::NothingToPlan(_)
            | Error::Nowhere { .. }
            | Error::NoSuchNetwork { .. }
            | Error::Abbreviated { .. }
            | Error::Usage(_) => Failure::new(code::INVALID_CONFIG, error.to_string()),
        }
    }
}
