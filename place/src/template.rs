//! Templates of addresses: `10.{rack}.{slot}.0/24`.
//!
//! Any address of a configuration may have fields of the host's [place] in it.
//! `{name}` fills a whole octet of an IPv4 address or a whole 16-bit group of an
//! IPv6 address; fields with a width, `{chassis:8}{slot:8}`, stand side by side
//! and fill it exactly, the most significant first. A field is a *number*: rack
//! 50 is `50` in an octet and `32` in a group.
//!
//! Every field has bits of its own, and in a subnet all of them are bits of the
//! prefix. So places that differ in a field of the template always have subnets
//! that do not overlap, and an address leads back to its place. This holds by
//! the structure of the template; nobody has to compare places in pairs.
//!
//! ```
//! use place::{Here, Location, SubnetTemplate};
//!
//! let here = Here::new(Location::parse(&serde_json::json!({"rack": 50, "slot": 11}))?);
//! let subnet = SubnetTemplate::parse("10.{rack}.{slot}.0/24")?;
//! assert_eq!(subnet.at(&here)?, "10.50.11.0/24".parse().unwrap());
//! let place = subnet.place_of("10.3.7.200".parse().unwrap()).unwrap();
//! assert_eq!(place.to_string(), "rack=3 slot=7");
//! # Ok::<(), place::Error>(())
//! ```
//!
//! [place]: crate::Place

mod notation;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::Error;
use crate::family::{Family, number, with_prefix};
use crate::location::{Here, Place};

/// An address, or one for every place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTemplate {
    text: String,
    family: Family,
    /// The address with all fields zero.
    literal: u128,
    fields: Vec<Field>,
}

/// A subnet, or one for every place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetTemplate {
    address: AddressTemplate,
    prefix: u8,
}

/// A field of a template: which bits of the address it fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in the place.
    pub name: String,
    /// How many bits it has, at least 1.
    pub bits: u32,
    /// How many bits of the address are less significant than its last.
    pub shift: u32,
}

impl Field {
    /// The largest value that fits.
    pub fn limit(&self) -> u64 {
        (1 << self.bits) - 1
    }
}

impl AddressTemplate {
    /// Reads an address or a template of one.
    ///
    /// # Errors
    /// Text that is neither, an octet that its fields do not fill, an octet with
    /// both digits and fields.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_part(text, text)
    }

    /// Reads `address`, which is all of `text` or the part before the `/`.
    fn parse_part(address: &str, text: &str) -> Result<Self, Error> {
        let template = |family, literal, fields| AddressTemplate {
            text: text.to_owned(),
            family,
            literal,
            fields,
        };
        if !address.contains(['{', '}']) {
            let parsed: Result<IpAddr, _> = address.parse();
            let address = parsed.map_err(|_| Error::NotAddress(text.to_owned()))?;
            // As the reference reads it: an IPv4-mapped address is the IPv4 one.
            let address = address.to_canonical();
            return Ok(template(Family::of(address), number(address), Vec::new()));
        }
        let (family, literal, fields) = notation::read(address, text)?;
        Ok(template(family, literal, fields))
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The fields in the order of their bits, the most significant first. A name
    /// may stand more than once.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The number of the address with all fields zero.
    pub fn literal(&self) -> u128 {
        self.literal
    }

    /// The same fields in another address.
    #[must_use]
    pub fn with_literal(&self, literal: u128) -> Self {
        AddressTemplate {
            literal,
            ..self.clone()
        }
    }

    /// The address on this host.
    ///
    /// # Errors
    /// The place cannot be found, lacks a field, or has a value that does not
    /// fit. A template without fields asks for no place.
    pub fn at(&self, here: &Here) -> Result<IpAddr, Error> {
        if self.fields.is_empty() {
            return Ok(self.family.address(self.literal));
        }
        let place = here.place()?;
        self.fill(place, || here.location().to_string())
    }

    /// The address at `place`.
    ///
    /// # Errors
    /// The place lacks a field, or has a value that does not fit.
    pub fn at_place(&self, place: &Place) -> Result<IpAddr, Error> {
        self.fill(place, || "the place given".to_owned())
    }

    fn fill(&self, place: &Place, whose: impl Fn() -> String) -> Result<IpAddr, Error> {
        let mut address = self.literal;
        for field in &self.fields {
            let value = place.get(&field.name).ok_or_else(|| Error::FieldMissing {
                template: self.text.clone(),
                field: field.name.clone(),
                place: place.to_string(),
                location: whose(),
            })?;
            if value > field.limit() {
                return Err(Error::FieldTooLarge {
                    template: self.text.clone(),
                    field: field.name.clone(),
                    value,
                    bits: field.bits,
                    limit: field.limit(),
                });
            }
            address |= u128::from(value) << field.shift;
        }
        Ok(self.family.address(address))
    }

    /// The place whose address this is; `None` when no place has it.
    pub fn place_of(&self, address: IpAddr) -> Option<Place> {
        self.place_above(address, 0)
    }

    /// The place, looking only at bits from `shift` up.
    fn place_above(&self, address: IpAddr, shift: u32) -> Option<Place> {
        if Family::of(address) != self.family {
            return None;
        }
        let above = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
        let address = number(address);
        let taken = self
            .fields
            .iter()
            .fold(0, |bits, f| bits | u128::from(f.limit()) << f.shift);
        if above(address & !taken) != above(self.literal) {
            return None;
        }
        let mut place = Place::default();
        let agrees = |field: &Field| {
            let value = (address >> field.shift) as u64 & field.limit();
            place.agree(&field.name, value)
        };
        self.fields.iter().all(agrees).then_some(place)
    }
}

impl SubnetTemplate {
    /// Reads `address/length` or a template of it.
    ///
    /// # Errors
    /// As [`AddressTemplate::parse`]; no length, one that the family does not
    /// have, or a field with bits below it: such a place would be lost.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (template, host_bits) = Self::parse_parts(text)?;
        let SubnetTemplate { address, prefix } = &template;
        match address.fields.iter().find(|field| field.shift < host_bits) {
            None => Ok(template),
            Some(field) => Err(Error::FieldBelowPrefix {
                template: text.to_owned(),
                field: field.name.clone(),
                prefix: *prefix,
                ends: address.family.bits() - field.shift,
            }),
        }
    }

    /// Reads it, and how many bits the prefix leaves to hosts.
    fn parse_parts(text: &str) -> Result<(Self, u32), Error> {
        let bad = || Error::NotSubnet(text.to_owned());
        let (address, length) = text.rsplit_once('/').ok_or_else(bad)?;
        let address = match AddressTemplate::parse_part(address, text) {
            Err(Error::NotAddress(_)) => return Err(bad()),
            other => other?,
        };
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = length.parse().ok().filter(|_| digits).ok_or_else(bad)?;
        let family = address.family;
        let host_bits = family.bits().checked_sub(prefix.into()).ok_or_else(bad)?;
        Ok((SubnetTemplate { address, prefix }, host_bits))
    }

    /// Reads an address with the length of its prefix, or a template of it. Unlike
    /// in a subnet, fields may have bits below the prefix.
    ///
    /// # Errors
    /// As [`SubnetTemplate::parse`].
    pub fn parse_host(text: &str) -> Result<Self, Error> {
        let (template, _) = Self::parse_parts(text)?;
        Ok(template)
    }

    /// The subnet that the first `prefix` bits of an address make.
    pub fn of_first_bits(address: &AddressTemplate, prefix: u8) -> Self {
        let family = address.family;
        let host_bits = family.bits().saturating_sub(prefix.into());
        let fields = address.fields.iter();
        SubnetTemplate {
            address: AddressTemplate {
                text: format!("{}/{prefix}", address.text),
                family,
                literal: address.literal & !family.host_bits(prefix),
                fields: fields
                    .filter(|field| field.shift + field.bits > host_bits)
                    .cloned()
                    .collect(),
            },
            prefix,
        }
    }

    /// The address of the subnet.
    pub fn address(&self) -> &AddressTemplate {
        &self.address
    }

    /// The length of its prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The subnet on this host, with the host bits that the template has.
    ///
    /// # Errors
    /// As [`AddressTemplate::at`].
    pub fn at(&self, here: &Here) -> Result<IpNetwork, Error> {
        with_prefix(self.address.at(here)?, self.prefix)
    }

    /// The subnet at `place`.
    ///
    /// # Errors
    /// As [`AddressTemplate::at_place`].
    pub fn at_place(&self, place: &Place) -> Result<IpNetwork, Error> {
        with_prefix(self.address.at_place(place)?, self.prefix)
    }

    /// The place in whose subnet `address` is; `None` when it is in nobody's.
    pub fn place_of(&self, address: IpAddr) -> Option<Place> {
        let host_bits = self.address.family.bits() - u32::from(self.prefix);
        self.address.place_above(address, host_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    fn place(text: &str) -> Place {
        let Ok(Location::Literal(place)) = Location::parse(&serde_json::from_str(text).unwrap())
        else {
            panic!("{text}");
        };
        place
    }

    fn subnet(template: &str, at: &str) -> Result<String, String> {
        let template = SubnetTemplate::parse(template).map_err(|e| e.to_string())?;
        template
            .at_place(&place(at))
            .map(|s| s.to_string())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn fields_are_numbers() {
        let at = r#"{"rack": 50, "chassis": 2, "slot": 11}"#;
        for (template, expected) in [
            ("10.{rack}.{slot}.0/24", "10.50.11.0/24"),
            ("10.{rack}.{slot}.128/25", "10.50.11.128/25"),
            ("10.{chassis:4}{slot:4}.0.0/16", "10.43.0.0/16"),
            ("fd00:24:{rack}:{slot}::/64", "fd00:24:32:b::/64"),
            (
                "fd00:24:{rack}:{chassis:8}{slot:8}::/64",
                "fd00:24:32:20b::/64",
            ),
            ("::{rack}:0/112", "::32:0/112"),
            ("{rack}::/16", "32::/16"),
            ("1:2:3:4:5:6:{rack}:{slot}/128", "1:2:3:4:5:6:32:b/128"),
            ("10.1.2.0/24", "10.1.2.0/24"),
            ("::ffff:10.1.2.0/24", "10.1.2.0/24"),
        ] {
            assert_eq!(subnet(template, at).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn values_that_do_not_fit() {
        let template = "10.{rack}.{slot:4}{x:4}.0/24";
        let error = subnet(template, r#"{"rack": 256, "slot": 0, "x": 0}"#).unwrap_err();
        assert!(
            error.contains("\"rack\" is 256") && error.contains("255") && error.contains(template),
            "{error}"
        );
        let error = subnet(template, r#"{"rack": 255, "slot": 16, "x": 0}"#).unwrap_err();
        assert!(
            error.contains("\"slot\" is 16") && error.contains("15"),
            "{error}"
        );
        let error = subnet(template, r#"{"rack": 5}"#).unwrap_err();
        assert!(
            error.contains("\"slot\"") && error.contains("rack=5"),
            "{error}"
        );
    }

    #[test]
    fn templates_that_are_none() {
        for (template, why) in [
            ("10.{rack}.{slot:4}.0/24", "4 of 8 bits"),
            ("10.{rack}.{slot:4}{x:5}.0/24", "9 of 8 bits"),
            ("10.{rack}.{slot}{x:4}.0/24", "12 of 8 bits"),
            ("fd00:{rack:8}::/64", "8 of 16 bits"),
            ("10.{rack}.1{slot}.0/24", "\"1{slot}\""),
            ("10.{rack}.{slot}1.0/24", "\"{slot}1\""),
            ("10.{rack}.{slot}.{x}/24", "\"x\""),
            ("10.{a:4}{b:4}.0.0/12", "\"b\""),
            ("10.{rack}.0.0/14", "\"rack\""),
            ("10.{rack}.0/24", "four octets"),
            ("10.{rack}.0.0.0/24", "four octets"),
            ("10.{rack}.300.0/24", "\"300\""),
            ("10.{rack}.010.0/24", "\"010\""),
            ("10.{rack}..0/24", "\"\""),
            ("fd00:{rack}/64", "eight groups"),
            ("fd00::{rack}::/64", "eight groups"),
            ("1:2:3:4:5:6:7:8:{rack}/64", "eight groups"),
            (":{rack}::/64", "eight groups"),
            ("fd00:{rack}:12345::/64", "\"12345\""),
            ("fd00:{rack}:1.2.3.4::/64", "mixes"),
            ("{rack}/24", "neither"),
            ("10.{rack.0.0/24", "braces"),
            ("10.rack}.0.0/24", "braces"),
            ("10.{{rack}}.0.0/24", "braces"),
            ("10.{}.0.0/24", "name in braces"),
            ("10.{ra ck}.0.0/24", "name in braces"),
            ("10.{rack:0}.0.0/24", "width"),
            ("10.{rack:x}.0.0/24", "width"),
            ("10.{rack}.0.0", "prefix length"),
            ("10.{rack}.0.0/33", "prefix length"),
            ("10.{rack}.0.0/+9", "prefix length"),
            ("10.1.0/24", "prefix length"),
            ("10.{rack}.0.0/{len}", "prefix length"),
        ] {
            let error = SubnetTemplate::parse(template).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(template),
                "{template}: {error}"
            );
        }
    }

    #[test]
    fn addresses_lead_back() {
        let template = SubnetTemplate::parse("10.{rack}.{slot:6}{x:2}.128/25").unwrap();
        let place_of = |ip: &str| {
            template
                .place_of(ip.parse().unwrap())
                .map(|p| p.to_string())
        };
        assert_eq!(place_of("10.50.45.200").unwrap(), "rack=50 slot=11 x=1");
        assert_eq!(place_of("10.50.45.100"), None);
        assert_eq!(place_of("11.50.45.200"), None);
        assert_eq!(place_of("fd00::1"), None);
        let twice = AddressTemplate::parse("10.{rack}.{rack}.1").unwrap();
        assert_eq!(
            twice
                .place_of("10.7.7.1".parse().unwrap())
                .unwrap()
                .to_string(),
            "rack=7"
        );
        assert_eq!(twice.place_of("10.7.8.1".parse().unwrap()), None);
    }

    #[test]
    fn literals_ask_for_no_place() {
        let nowhere = Here::new(Location::File("/nonexistent/location.json".into()));
        assert!(
            SubnetTemplate::parse("10.1.0.0/16")
                .unwrap()
                .at(&nowhere)
                .is_ok()
        );
        let error = SubnetTemplate::parse("10.{rack}.0.0/16")
            .unwrap()
            .at(&nowhere)
            .unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/location.json"),
            "{error}"
        );
    }
}
