//! Addresses of a range that are not for everybody: `exclude`, `shared` and
//! `reservations`.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::Error;
use crate::error::AtKey;
use crate::range::Shared;
use place::Here;
use place::{AddressTemplate, SubnetTemplate};

/// An address or a subnet for every place.
#[derive(Clone, Debug)]
pub(super) enum NetTemplate {
    Address(AddressTemplate),
    Subnet(SubnetTemplate),
}

/// What of a range many may hold, for every place.
#[derive(Clone, Debug)]
pub(super) enum SharedTemplate {
    All(bool),
    Some(Vec<NetTemplate>),
}

impl NetTemplate {
    fn parse(text: &str) -> Result<Self, place::Error> {
        match text.contains('/') {
            true => SubnetTemplate::parse(text).map(NetTemplate::Subnet),
            false => AddressTemplate::parse(text).map(NetTemplate::Address),
        }
    }

    pub(super) fn as_subnet(&self) -> SubnetTemplate {
        match self {
            NetTemplate::Address(address) => {
                SubnetTemplate::of_first_bits(address, address.family().bits() as u8)
            }
            NetTemplate::Subnet(subnet) => subnet.clone(),
        }
    }

    pub(super) fn address(&self) -> &AddressTemplate {
        match self {
            NetTemplate::Address(address) => address,
            NetTemplate::Subnet(subnet) => subnet.address(),
        }
    }

    fn at(&self, here: &Here) -> Result<IpNetwork, place::Error> {
        match self {
            NetTemplate::Address(address) => Ok(address.at(here)?.into()),
            NetTemplate::Subnet(subnet) => subnet.at(here),
        }
    }
}

impl SharedTemplate {
    pub(super) fn nets(&self) -> &[NetTemplate] {
        match self {
            SharedTemplate::All(_) => &[],
            SharedTemplate::Some(nets) => nets,
        }
    }

    pub(super) fn at(&self, here: &Here) -> Result<Shared, Error> {
        match self {
            SharedTemplate::All(false) => Ok(Shared::None),
            SharedTemplate::All(true) => Ok(Shared::All),
            SharedTemplate::Some(nets) => Ok(Shared::Some(nets_at(nets, here)?)),
        }
    }

    pub(super) fn read(value: Option<&Value>, key: &str) -> Result<Self, Error> {
        match value {
            None => Ok(SharedTemplate::All(false)),
            Some(Value::Bool(all)) => Ok(SharedTemplate::All(*all)),
            Some(value) => {
                let not = || Error::NotShared(value.to_string()).at(key);
                let texts = texts(value).ok_or_else(not)?;
                Ok(SharedTemplate::Some(read_nets(&texts, key)?))
            }
        }
    }
}

/// The texts of a list.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}

pub(super) fn read_nets(texts: &[String], key: &str) -> Result<Vec<NetTemplate>, Error> {
    let net = |(index, text): (usize, &String)| {
        NetTemplate::parse(text).map_err(|e| e.at(format!("{key}[{index}]")))
    };
    texts.iter().enumerate().map(net).collect()
}

pub(super) fn nets_at(nets: &[NetTemplate], here: &Here) -> Result<Vec<IpNetwork>, Error> {
    nets.iter().map(|net| Ok(net.at(here)?)).collect()
}

pub(super) fn read_reservations(
    names: &BTreeMap<String, Value>,
) -> Result<Vec<(String, AddressTemplate)>, Error> {
    let mut reservations = Vec::new();
    for (name, value) in names {
        let at = |error: Error| error.at(format!("ipam.reservations.{name}"));
        let one = value.as_str().map(|text| vec![text.to_owned()]);
        let not = || at(Error::NotReservation(value.to_string()));
        let bad = |error: place::Error| at(error.into());
        for text in one.or_else(|| texts(value)).ok_or_else(not)? {
            reservations.push((name.clone(), AddressTemplate::parse(&text).map_err(bad)?));
        }
    }
    Ok(reservations)
}
