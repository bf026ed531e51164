//! Addresses as JSON spells them.

use ipnetwork::IpNetwork;

/// Reads `address/length`. Unlike [`IpNetwork`]'s own parser it wants the
/// length: an address alone would silently become a network of one.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn parse_cidr(text: &str) -> Result<IpNetwork, String> {
    let right = || {
        format!(
            "\"{text}\" is not an address with a prefix length such as 10.1.2.3/24 or fd00::3/64"
        )
    };
    if !text.contains('/') {
        return Err(right());
    }
    text.parse().map_err(|_| right())
}

/// For `#[serde(with = "cidr")]`.
pub(crate) mod cidr {
    use ipnetwork::IpNetwork;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(net: &IpNetwork, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(net)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<IpNetwork, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        super::parse_cidr(&text).map_err(serde::de::Error::custom)
    }
}
