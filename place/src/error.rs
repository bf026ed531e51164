//! What can go wrong with places and templates, and the code that a runtime sees.

use std::io;
use std::path::PathBuf;

use cni::{Failure, code};

use crate::family::Family;

/// A cause of failure, with the values that explain it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
}

impl Error {
    /// The code of the protocol for this cause.
    pub fn code(&self) -> u32 {
        match self {
            Error::Location { .. } | Error::Hostname(_) => code::IO,
            Error::LocationNotJson { .. } => code::DECODING,
            _ => code::INVALID_CONFIG,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(error.code(), error.to_string())
    }
}
