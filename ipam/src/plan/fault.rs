//! What can be wrong with a plan, in words that say what would be right.

use std::fmt;
use std::net::IpAddr;

use place::Place;

/// A range of a network's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The network.
    pub network: String,
    /// The key of the range.
    pub key: String,
    /// The template of its subnet.
    pub template: String,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "network \"{}\", {}: {}",
            self.network, self.key, self.template
        )
    }
}

/// Something that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Values of a field do not fit.
    #[error("{whose}: \"{field}\" cannot be {}; its bits hold at most {limit}", span(.values))]
    DoesNotFit {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
        /// The values that do not fit.
        values: (u64, u64),
        /// The largest that does.
        limit: u64,
    },
    /// A template needs a field that no place has.
    #[error("{whose} needs \"{field}\": say which values it has, as in --{field} 0-255")]
    Missing {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
    },
    /// Places that differ in this field alone give the same addresses.
    #[error(
        "{whose} does not depend on \"{field}\": places that differ in it alone would give the same addresses"
    )]
    NotInSubnet {
        /// Where in which network.
        whose: Whose,
        /// The field.
        field: String,
    },
    /// Two ranges give the same addresses.
    #[error("{one} and {other} overlap: both have {address}")]
    Overlap {
        /// Where in which network.
        one: Whose,
        /// Where in which other.
        other: Whose,
        /// An address in both.
        address: IpAddr,
    },
    /// Subnets of two networks overlap, and what they give out does not. That is
    /// right on a common segment and wrong on two.
    #[error(
        "{one} and {other} have a common subnet with {address}, and ranges apart: right if they are one segment"
    )]
    CommonSubnet {
        /// Where in which network.
        one: Whose,
        /// Where in which other.
        other: Whose,
        /// An address in both.
        address: IpAddr,
    },
    /// A subnet is in a block that is no container's.
    #[error("{whose} has {address}, which is in {block}, {purpose}")]
    Reserved {
        /// Where in which network.
        whose: Whose,
        /// The block.
        block: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// An address in both.
        address: IpAddr,
    },
    /// The configuration is wrong at some place.
    #[error("network \"{network}\" at {}: {message}", at(.place, *.more))]
    AtPlace {
        /// The network.
        network: String,
        /// The first such place.
        place: Place,
        /// How many more there are.
        more: u128,
        /// What is wrong.
        message: String,
    },
    /// Hosts of some place have no address to give.
    #[error(
        "network \"{network}\" at {}: no container gets an address of {set}: gateways, exclusions and reservations leave none",
        at(.place, *.more)
    )]
    NoAddress {
        /// The network.
        network: String,
        /// The first such place.
        place: Place,
        /// How many more there are.
        more: u128,
        /// The range set there.
        set: String,
    },
    /// A gateway that is not in its subnet at some place. That is a slip of the pen when
    /// it has fields of the place; without any it may be meant.
    #[error("{whose} has the gateway {gateway}, which is not in the subnet, at {}", at(.place, *.more))]
    GatewayOutside {
        /// Where in which network.
        whose: Whose,
        /// The gateway at the first such place.
        gateway: IpAddr,
        /// The first such place.
        place: Place,
        /// How many more there are.
        more: u128,
        /// Whether it has fields of the place.
        is_of_place: bool,
    },
    /// A reservation that is in no range where it should be. Without fields of the place it
    /// may be for a host that is not in the plan.
    #[error(
        "network \"{network}\", ipam.reservations.{name}: {address} is in no range at {}",
        at(.place, *.more)
    )]
    ReservationOutside {
        /// The network.
        network: String,
        /// Whom it is for.
        name: String,
        /// The address at the first such place.
        address: IpAddr,
        /// The first such place.
        place: Place,
        /// How many more there are.
        more: u128,
        /// Whether it has fields of the place.
        is_of_place: bool,
    },
    /// There are more places than are looked at one by one.
    #[error(
        "network \"{network}\": {places} places are too many to look at each; what is not in its templates is not checked at all of them"
    )]
    NotAllLookedAt {
        /// The network.
        network: String,
        /// How many there are.
        places: u128,
    },
}

impl Fault {
    /// Whether it keeps the plan from being right; otherwise it is for the
    /// operator to know.
    pub fn is_grave(&self) -> bool {
        match self {
            Fault::CommonSubnet { .. } | Fault::NotAllLookedAt { .. } => false,
            Fault::GatewayOutside { is_of_place, .. }
            | Fault::ReservationOutside { is_of_place, .. } => *is_of_place,
            _ => true,
        }
    }

    /// The first place of several where it is so.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Fault::AtPlace { place, .. }
            | Fault::NoAddress { place, .. }
            | Fault::GatewayOutside { place, .. }
            | Fault::ReservationOutside { place, .. } => Some(place),
            _ => None,
        }
    }

    /// A word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::DoesNotFit { .. } => "does-not-fit",
            Fault::Missing { .. } => "missing",
            Fault::NotInSubnet { .. } => "not-in-subnet",
            Fault::Overlap { .. } => "overlap",
            Fault::CommonSubnet { .. } => "common-subnet",
            Fault::Reserved { .. } => "reserved",
            Fault::AtPlace { .. } => "at-place",
            Fault::NoAddress { .. } => "no-address",
            Fault::GatewayOutside { .. } => "gateway-outside",
            Fault::ReservationOutside { .. } => "reservation-outside",
            Fault::NotAllLookedAt { .. } => "not-all-looked-at",
        }
    }
}

fn at(place: &Place, more: u128) -> String {
    let first = match place.fields().next() {
        None => "every place".to_owned(),
        Some(_) => place.to_string(),
    };
    match more {
        0 => first,
        1 => format!("{first} and 1 more place"),
        more => format!("{first} and {more} more places"),
    }
}

fn span((low, high): &(u64, u64)) -> String {
    match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    }
}
