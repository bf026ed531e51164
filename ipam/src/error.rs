//! What can go wrong in address management, and the code that a runtime sees.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use cni::{Failure, Version, code};
use ipnetwork::IpNetwork;

use crate::family::Family;
use crate::lock::Holder;

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

    /// `ipam.location` has none of its forms.
    #[error(
        "\"ipam.location\": {0} is not a location; it is {{\"rack\": 50, \"slot\": 11}}, {{\"file\": PATH}}, {{\"hostname\": PATTERN}} or {{\"dmi\": ATTRIBUTE, \"pattern\": PATTERN}}"
    )]
    UnknownLocation(String),
    /// A field of a place is not a non-negative integer.
    #[error("{whose}: \"{field}\" is {value}; a field of a place is a non-negative integer")]
    FieldNotNumber {
        /// Where the place is described.
        whose: String,
        /// The field.
        field: String,
        /// Its value, as JSON.
        value: String,
    },
    /// The file with the place could not be read.
    #[error("cannot read the host's place from {}: {error}; \"ipam.location\" says where it is to be found", .path.display())]
    Location {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file with the place is not a JSON object.
    #[error("{}: the host's place is not a JSON object such as {{\"rack\": 50, \"slot\": 11}}: {error}", .path.display())]
    LocationNotJson {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        error: serde_json::Error,
    },
    /// The host's name could not be had from the kernel.
    #[error("cannot read the host's name: {0}")]
    Hostname(nix::Error),
    /// An attribute of the firmware that cannot be one.
    #[error("\"ipam.location\": \"dmi\": \"{0}\" is not the name of a file in /sys/class/dmi/id")]
    DmiAttribute(String),
    /// A pattern of names that is not one.
    #[error("\"{pattern}\" is not a pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that does not tell a place.
    #[error("{whose} is \"{found}\", which does not match the pattern \"{pattern}\"")]
    NoMatch {
        /// What was looked at.
        whose: String,
        /// What it is.
        found: String,
        /// What it should be like.
        pattern: String,
    },

    /// A template that cannot be read.
    #[error("\"{template}\" is not a template: {why}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part of a template that is neither a number nor fields.
    #[error("\"{template}\": \"{part}\" is not {right}", right = match .family {
        Family::V4 => "an octet: a number from 0 to 255, or fields",
        Family::V6 => "a group of an IPv6 address: one to four hexadecimal digits, or fields",
    })]
    TemplatePart {
        /// The template.
        template: String,
        /// The octet or group.
        part: String,
        /// The family of the template.
        family: Family,
    },
    /// Digits and fields in one octet.
    #[error(
        "\"{template}\": \"{part}\" mixes digits and fields; use fields alone, as in {{rack:4}}{{slot:4}}"
    )]
    TemplateMixed {
        /// The template.
        template: String,
        /// The octet or group.
        part: String,
    },
    /// Fields that leave bits of their octet open, or want more than it has.
    #[error(
        "\"{template}\": \"{part}\" describes {bits} of {width} bits; fields side by side must fill them exactly"
    )]
    TemplateNotFilled {
        /// The template.
        template: String,
        /// The octet or group.
        part: String,
        /// How many bits the fields have.
        bits: u32,
        /// How many there are.
        width: u32,
    },
    /// A field with bits outside of the prefix.
    #[error(
        "\"{template}\": field \"{field}\" ends at bit {ends}, and the prefix has {prefix}; places that differ in \"{field}\" would share a subnet"
    )]
    FieldBelowPrefix {
        /// The template.
        template: String,
        /// The field.
        field: String,
        /// The length of the prefix in bits.
        prefix: u8,
        /// How many bits of the address end with the field.
        ends: u32,
    },
    /// A field that the place does not have.
    #[error("\"{template}\" needs \"{field}\", and the host's place has {place} (from {location})")]
    FieldMissing {
        /// The template.
        template: String,
        /// The field.
        field: String,
        /// What the place has.
        place: String,
        /// Where the place is from.
        location: String,
    },
    /// A field whose value has too many bits.
    #[error(
        "\"{template}\": \"{field}\" is {value} at this place, and {bits} bits hold at most {limit}"
    )]
    FieldTooLarge {
        /// The template.
        template: String,
        /// The field.
        field: String,
        /// Its value.
        value: u64,
        /// How many bits the template gives it.
        bits: u32,
        /// The largest value that they hold.
        limit: u64,
    },

    /// Text that is no address.
    #[error("\"{0}\" is not an address such as 10.1.2.3 or fd00::3")]
    NotAddress(String),
    /// Text that is no subnet.
    #[error("\"{0}\" is not an address with a prefix length such as 10.1.2.0/24 or fd00::/64")]
    NotSubnet(String),
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
            Error::Location { .. }
            | Error::Hostname(_)
            | Error::ResolvConf { .. }
            | Error::Store { .. } => code::IO,
            Error::LocationNotJson { .. } => code::DECODING,
            Error::Unindexable(_) => code::INTERNAL,
            Error::Locked { .. } => code::TRY_AGAIN,
            Error::NoneFree { .. } => code::NO_FREE_ADDRESS,
            Error::Exhausted { .. } => code::NOT_AVAILABLE,
            Error::RequestedOutside { .. }
            | Error::RequestedTwo { .. }
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
