//! What can be wrong with a task, or with attaching it.

use std::net::IpAddr;
use std::path::PathBuf;

use cni::runtime::Parameters;
use cni::{Failure, code, fold};

/// Why a task's container was not attached, detached or checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document is not JSON.
    #[error("the task's document is not valid JSON: {0}")]
    NotJson(serde_json::Error),
    /// The document has a value that does not fit.
    #[error("the task's document: {0}")]
    Shape(#[from] fold::ReadError),
    /// The document has no application.
    #[error("the task's document lists no application")]
    NoTask,
    /// The document has several, and none was chosen.
    #[error("the task's document has {} applications, \"{}\"; name the one that is meant", .0.len(), .0.join("\", \""))]
    SeveralTasks(Vec<String>),
    /// The document does not have the application that was chosen.
    #[error("the task's document has no application \"{wanted}\"; it has \"{}\"", .known.join("\", \""))]
    NoSuchTask {
        /// The one that was asked for.
        wanted: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The document asks for no network.
    #[error(
        "the task's document: \"container.network\" lists no network; an entry looks like {{\"name\": \"backend\"}}"
    )]
    NoNetworks,
    /// An entry of the list does not say which network.
    #[error(
        "the task's document: \"container.network[{index}].name\" is missing; known networks: {known}"
    )]
    Nameless {
        /// Its place in the list, from 0.
        index: usize,
        /// The networks that there are.
        known: String,
    },
    /// A network is listed twice.
    #[error(
        "the task's document: \"container.network[{second}].name\" is \"{name}\" as \"container.network[{first}].name\" is; a container is on a network once"
    )]
    Twice {
        /// The network.
        name: String,
        /// Where it is listed, from 0.
        first: usize,
        /// Where it is listed again.
        second: usize,
    },
    /// There is no such network, or its configuration is broken.
    #[error("the task's document: \"container.network[{index}].name\": {error}")]
    Network {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong.
        error: cni::Error,
    },
    /// An address needs a prefix length and none can be found.
    #[error(
        "the task's document: network \"{network}\" gives addresses by the IPAM plugin \"static\", which wants a prefix length; write \"{address}/24\" or the like, or put the subnet into the network's \"ipam.addresses\""
    )]
    NoPrefix {
        /// The network.
        network: String,
        /// The address asked for.
        address: IpAddr,
    },
    /// A network's plugins failed.
    #[error("network \"{network}\" ({ifname}): {failure}")]
    Plugins {
        /// The network.
        network: String,
        /// The interface that it would be.
        ifname: String,
        /// What failed.
        failure: Failure,
    },
    /// The container is on other networks than its task lists.
    #[error(
        "network \"{network}\" would be {ifname} of container \"{container}\", which has {ifname} on network \"{other}\"; detach it first"
    )]
    InterfaceTaken {
        /// The network that the task lists.
        network: String,
        /// The container.
        container: String,
        /// The interface.
        ifname: String,
        /// The network that it leads to.
        other: String,
    },
    /// The container has no such attachment.
    #[error("container \"{container}\" is not attached to any network, as far as {} knows", .cache.display())]
    NotAttached {
        /// The container.
        container: String,
        /// The directory of cached results.
        cache: PathBuf,
    },
    /// The side of the runtime failed: cache, locks, configuration.
    #[error(transparent)]
    Runtime(#[from] cni::Error),
}

impl Error {
    pub(crate) fn plugins(network: &str, parameters: &Parameters, failure: Failure) -> Self {
        Error::Plugins {
            network: network.to_owned(),
            ifname: parameters.ifname.clone(),
            failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::NotJson(_) | Error::Shape(_) => code::DECODING,
            Error::NotAttached { .. } => code::UNKNOWN_CONTAINER,
            Error::Plugins {
                network,
                ifname,
                failure,
            } => {
                return Failure {
                    msg: format!("network \"{network}\" ({ifname}): {}", failure.msg),
                    ..failure
                };
            }
            Error::Runtime(error) => return error.into(),
            _ => code::INVALID_CONFIG,
        };
        Failure::new(code, error.to_string())
    }
}
