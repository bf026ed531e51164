//! What can go wrong in address management, and the code that a runtime sees.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use cni::{Failure, Version, code};
use ipnetwork::IpNetwork;

use crate::lock::Holder;
use place::family::Family;

/// A cause of failure, with the values that explain it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cause that lies in the value of one key.
    #[error("\"{key}\": {cause}")]
    At {
        /// The key, with the way to it: `ipam.ranges[0][1].subnet`.
        key: String,
        /// What is wrong with its value.
        cause: Box<Error>,
    },
    /// The configuration could not be read.
    #[error(transparent)]
    Protocol(#[from] cni::Error),

    /// The host's place, or a template over it.
    #[error(transparent)]
    Place(#[from] place::Error),

    /// `CNI_ARGS` asks for something that is no address.
    #[error("CNI_ARGS: {0} is not an address, with or without a prefix length")]
    BadArgs(String),

    /// No subnet in the configuration.
    #[error("\"ipam\" has no range to give addresses from: set \"subnet\" or \"ranges\"")]
    NoRanges,
    /// A range without a subnet.
    #[error("a range needs a \"subnet\"")]
    NoSubnet,
    /// A subnet that has no room for a host and a gateway.
    #[error("{0} is too small to give addresses from; the longest prefixes are /30 and /126")]
    SubnetTooSmall(IpNetwork),
    /// A subnet whose address is that of a host.
    #[error("{0} has host bits set; the subnet is {subnet}/{length}", subnet = .0.network(), length = .0.prefix())]
    HostBits(IpNetwork),
    /// An end of a range that is not in its subnet.
    #[error("\"{key}\": {address} is not in {subnet}")]
    OutsideSubnet {
        /// Which end.
        key: &'static str,
        /// Where it is.
        address: IpAddr,
        /// Where it should be.
        subnet: IpNetwork,
    },
    /// A range that ends before it starts.
    #[error("the range starts at {start}, which is after its end {end}")]
    ReversedRange {
        /// The first address.
        start: IpAddr,
        /// The last address.
        end: IpAddr,
    },
    /// A gateway that cannot serve the range.
    #[error("\"gateway\": {gateway} is not of the family of {subnet}")]
    GatewayFamily {
        /// The gateway.
        gateway: IpAddr,
        /// The subnet.
        subnet: IpNetwork,
    },
    /// A set without ranges.
    #[error("the range set is empty")]
    EmptyRangeSet,
    /// A set with ranges of both families.
    #[error("{0} and {1} are of different families; put them into sets of their own")]
    MixedFamilies(String, String),
    /// Ranges that share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(String, String),
    /// A set whose addresses cannot be paired with those of the first.
    #[error(
        "\"ipam.paired\": {0} cannot be paired; each set needs one range, which is not shared and not smaller than that of the first set"
    )]
    NotPaired(String),
    /// More addresses of a family than the protocol's version can tell.
    #[error(
        "cniVersion {version} has room for one {family} address, and there are {sets} {family} range sets"
    )]
    TooManySets {
        /// The configuration's version.
        version: Version,
        /// The family.
        family: Family,
        /// How many sets there are.
        sets: usize,
    },
    /// More addresses of a family than the protocol's version can tell.
    #[error("cniVersion {version} has room for one {family} address, and there are {addresses}")]
    TooManyAddresses {
        /// The configuration's version.
        version: Version,
        /// The family.
        family: Family,
        /// How many there are.
        addresses: usize,
    },
    /// A requested address that is in no configured subnet.
    #[error(
        "the requested address {0} has no prefix length, and no subnet of \"ipam.addresses\" has it"
    )]
    NoPrefix(IpAddr),
    /// CHECK without the result of ADD.
    #[error("\"prevResult\" is missing; CHECK compares with it")]
    NoPrevResult,
    /// CHECK: an address has another gateway than ADD gave it.
    #[error("{address} had {} for a gateway, and would have {}", or_none(.found), or_none(.expected))]
    GatewayDiffers {
        /// The address.
        address: IpAddr,
        /// What the configuration says.
        expected: Option<IpAddr>,
        /// What `prevResult` says.
        found: Option<IpAddr>,
    },
    /// A number of seconds that is no time.
    #[error("{0} is not a number of seconds")]
    NotSeconds(f64),
    /// A value of `shared` that is neither a truth value nor addresses.
    #[error("{0} is neither true nor false nor a list of addresses or subnets")]
    NotShared(String),
    /// A value of `reservations` that is neither an address nor several.
    #[error("{0} is neither an address nor a list of addresses")]
    NotReservation(String),
    /// The file that `resolvConf` names could not be read.
    #[error("\"ipam.resolvConf\": cannot read {}: {error}", .path.display())]
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },

    /// A file of the lease directory could not be used.
    #[error("cannot {action} {}: {error}", .path.display())]
    Store {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// An index of the leases could not be made.
    #[error("cannot index the leases in {}", .0.display())]
    Unindexable(PathBuf),
    /// Whether an address is one of the host's own could not be found out.
    #[error("cannot find out whether {address} is one of this host's own: {error}")]
    Own {
        /// The address.
        address: IpAddr,
        /// Why not.
        error: io::Error,
    },
    /// Another process held the lock for too long.
    #[error("{} is still locked after {seconds} s{}", .path.display(), held_by(.holder.as_ref()))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: f64,
        /// Who holds it, if that could be found.
        holder: Option<Holder>,
    },
    /// Every address of a set is taken.
    #[error("no address is free in {set} of network \"{network}\"")]
    NoneFree {
        /// The ranges.
        set: String,
        /// The network.
        network: String,
    },
    /// STATUS: some set has no free address.
    #[error("network \"{network}\" has no address to give: {usage}")]
    Exhausted {
        /// The network.
        network: String,
        /// Used and all addresses of each range.
        usage: String,
    },
    /// STATUS: leases cannot be written.
    #[error("no lease can be made in {}: {error}", .directory.display())]
    Unwritable {
        /// The lease directory.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A requested address that is in no range.
    #[error("the requested address {address} is in none of the ranges {ranges}")]
    RequestedOutside {
        /// The address.
        address: IpAddr,
        /// The ranges.
        ranges: String,
    },
    /// Two requested addresses of one set.
    #[error(
        "the requested addresses {first} and {second} are both in {set}, which gives one address"
    )]
    RequestedTwo {
        /// One address.
        first: IpAddr,
        /// The other.
        second: IpAddr,
        /// The set.
        set: String,
    },
    /// Two requested addresses that do not belong together.
    #[error(
        "the requested addresses {first} and {second} are no pair: with \"ipam.paired\" they have the same distance from the first of their ranges, so that {first} goes with {}", or_none(.pair)
    )]
    RequestedNoPair {
        /// One address.
        first: IpAddr,
        /// The other.
        second: IpAddr,
        /// What belongs to the first, if anything does.
        pair: Option<IpAddr>,
    },
    /// An address that is so far from the first of its range that another has none for it.
    #[error("\"ipam.paired\": no address of {0} belongs to the one that was asked for")]
    NotInPair(String),
    /// A requested address that is a gateway.
    #[error("the requested address {0} is the gateway's")]
    RequestedGateway(IpAddr),
    /// A requested address that the configuration excludes.
    #[error("the requested address {0} is in \"exclude\"")]
    RequestedExcluded(IpAddr),
    /// A requested address that is kept for another.
    #[error("the requested address {address} is reserved for \"{name}\"")]
    RequestedReserved {
        /// The address.
        address: IpAddr,
        /// Whom `reservations` names.
        name: String,
    },
    /// A requested address that the host has.
    #[error("the requested address {0} is one of this host's own")]
    RequestedOwn(IpAddr),
    /// A requested address that another container has.
    #[error("the requested address {address} is held by {holder}")]
    Held {
        /// The address.
        address: IpAddr,
        /// The lease's holder.
        holder: String,
    },
    /// CHECK: the container holds nothing.
    #[error("container {container}, interface {ifname}, holds no address in {}", .directory.display())]
    NoLease {
        /// The container.
        container: String,
        /// Its interface.
        ifname: String,
        /// Where leases are.
        directory: PathBuf,
    },
    /// CHECK: leases and the result of ADD differ.
    #[error("container {container}, interface {ifname}, holds {leased}, and ADD gave it {given}")]
    LeaseDiffers {
        /// The container.
        container: String,
        /// Its interface.
        ifname: String,
        /// The addresses of its leases.
        leased: String,
        /// The addresses of `prevResult`.
        given: String,
    },
}

impl Error {
    /// The same error, with the key whose value it is about.
    #[must_use]
    pub fn at(self, key: impl Into<String>) -> Self {
        Error::At {
            key: key.into(),
            cause: Box::new(self),
        }
    }

    fn code(&self) -> u32 {
        match self {
            Error::At { cause, .. } => cause.code(),
            Error::BadArgs(_) => code::INVALID_ENVIRONMENT,
            Error::Place(error) => error.code(),
            Error::ResolvConf { .. } | Error::Store { .. } | Error::Own { .. } => code::IO,
            Error::Unindexable(_) => code::INTERNAL,
            Error::Locked { .. } => code::TRY_AGAIN,
            Error::NoneFree { .. } => code::NO_FREE_ADDRESS,
            Error::Exhausted { .. } | Error::Unwritable { .. } => code::NOT_AVAILABLE,
            Error::RequestedOutside { .. }
            | Error::RequestedTwo { .. }
            | Error::RequestedNoPair { .. }
            | Error::NotInPair(_)
            | Error::RequestedGateway(_)
            | Error::RequestedExcluded(_)
            | Error::RequestedReserved { .. }
            | Error::RequestedOwn(_)
            | Error::Held { .. } => code::ADDRESS_NOT_AVAILABLE,
            Error::NoLease { .. } | Error::LeaseDiffers { .. } | Error::GatewayDiffers { .. } => {
                code::CHECK_FAILED
            }
            _ => code::INVALID_CONFIG,
        }
    }
}

/// Says which key an error of a place or a template is about.
pub(crate) trait AtKey {
    /// The error, with the key whose value it is about.
    fn at(self, key: impl Into<String>) -> Error;
}

impl AtKey for place::Error {
    fn at(self, key: impl Into<String>) -> Error {
        Error::from(self).at(key)
    }
}

fn or_none(address: &Option<IpAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!(" by {holder}"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Protocol(error) => error.into(),
            error => Failure::new(error.code(), error.to_string()),
        }
    }
}
