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
    #[error("network \"{network}\" at {place}: {message}")]
    AtPlace {
        /// The network.
        network: String,
        /// The first such place.
        place: Place,
        /// What is wrong.
        message: String,
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
        !matches!(
            self,
            Fault::CommonSubnet { .. } | Fault::NotAllLookedAt { .. }
        )
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
            Fault::NotAllLookedAt { .. } => "not-all-looked-at",
        }
    }
}

fn span((low, high): &(u64, u64)) -> String {
    match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    }
}
