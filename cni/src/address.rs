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

/// For `#[serde(with = "optional")]` on addresses that may be missing: an empty text is
/// what Go makes of none.
pub(crate) mod optional {
    use std::borrow::Cow;
    use std::net::IpAddr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(ip: &Option<IpAddr>, to: S) -> Result<S::Ok, S::Error> {
        ip.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<IpAddr>, D::Error> {
        let text = <Option<Cow<'de, str>>>::deserialize(from)?.unwrap_or_default();
        match text.is_empty() {
            true => Ok(None),
            false => text.parse().map(Some).map_err(|_| {
                D::Error::custom(format!(
                    "\"{text}\" is not an address such as 10.1.2.3 or fd00::3"
                ))
            }),
        }
    }
}
