//! What the kernel can refuse.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// A request that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("cannot {doing}: {}{}", .errno.desc(), because(.reason))]
    Refused {
        /// What was asked for.
        doing: String,
        /// The error number.
        errno: Errno,
        /// The kernel's own words (extended acknowledgement), if it had any.
        reason: String,
    },
    /// The namespace's path does not lead to a network namespace.
    #[error("{} is not a network namespace: {why}", .path.display())]
    NotNetns {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The namespace's path cannot be opened, for a reason that says nothing about
    /// whether it leads to a namespace.
    #[error("cannot open the network namespace {}: {error}", .path.display())]
    Unopened {
        /// The path.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The container's namespace is the one that the caller is in.
    #[error("{} is the host's own network namespace", .0.display())]
    OwnNetns(PathBuf),
    /// A netlink socket failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// A kernel parameter could not be read or set.
    #[error("cannot set {name} to {value}: {error}")]
    Sysctl {
        /// Its name, with slashes.
        name: String,
        /// The value that it should have.
        value: String,
        /// Why not.
        error: io::Error,
    },
    /// A reply that makes no sense.
    #[error("the kernel's reply to a request to {0} cannot be read")]
    Garbled(String),
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

impl Error {
    /// The error number, if the kernel refused a request.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
