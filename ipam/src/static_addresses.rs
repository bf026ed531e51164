//! The plugin `static`: addresses that the configuration or the runtime names.
//!
//! It keeps nothing: who names an address answers for it. It has every key of the
//! reference's, and goes beyond it in three ways. Addresses may be templates. A
//! requested address keeps the gateway of the configured subnet that it is in,
//! and may come without a prefix length, which is then that subnet's.

use std::net::IpAddr;

use cni::{Attachment, Call, Config, Dns, Failure, Ip, Plugin, Request, Version};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::config::{Addressing, RangeTemplate};
use crate::error::AtKey;
use crate::pool::COOLDOWN;
use crate::requested::{Named, Requests};
use crate::route::{RouteKeys, RouteTemplate, address_at, read_address};
use place::family::{Family, with_prefix};
use place::{AddressTemplate, SubnetTemplate};
use place::{Here, Location};

/// The plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Static;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    ipam: Ipam,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    addresses: Vec<AddressKeys>,
    routes: Vec<RouteKeys>,
    dns: Dns,
    location: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddressKeys {
    address: String,
    gateway: String,
}

impl Plugin for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn is_ipam(&self) -> bool {
        true
    }

    fn add(&self, call: &Call<'_>) -> Result<Attachment, Failure> {
        Ok(attachment(call.request)?)
    }

    fn del(&self, _: &Call<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn check(&self, call: &Call<'_>) -> Result<(), Failure> {
        Ok(check(call.request)?)
    }

    fn gc(&self, _: &Call<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Failure> {
        attachment(call.request)?;
        Ok(())
    }
}

fn attachment(request: &Request) -> Result<Attachment, Error> {
    let ipam = request.config.read::<Keys>()?.ipam;
    let location = ipam.location.as_ref().map(Location::parse).transpose()?;
    let here = Here::new(location.unwrap_or_default());
    let configured = configured(&ipam.addresses, &here)?;
    let ips = named(request, configured)?;
    for family in [Family::V4, Family::V6] {
        let of_family = ips.iter().map(|ip| Family::of(ip.address.ip()));
        let addresses = of_family.filter(|other| *other == family).count();
        if addresses > 1 && request.config.version < Version::V0_3_0 {
            return Err(Error::TooManyAddresses {
                version: request.config.version,
                family,
                addresses,
            });
        }
    }
    let routes = ipam
        .routes
        .into_iter()
        .enumerate()
        .map(|(index, keys)| RouteTemplate::read(index, keys)?.at(&here));
    Ok(Attachment {
        ips,
        routes: routes.collect::<Result<_, _>>()?,
        dns: ipam.dns,
        ..Attachment::default()
    })
}

impl Static {
    /// What a configuration says about addresses, before the host's place is put in: each is
    /// a set of one.
    ///
    /// # Errors
    /// A value of the wrong type, a template or an address that is none.
    pub fn addressing(config: &Config) -> Result<Addressing, Error> {
        let ipam = config.read::<Keys>()?.ipam;
        let location = ipam.location.as_ref().map(Location::parse).transpose()?;
        let set = |(index, keys): (usize, &AddressKeys)| {
            let (address, gateway) = templates(index, keys)?;
            let key = format!("ipam.addresses[{index}]");
            Ok(vec![RangeTemplate::fixed(key, address, gateway)])
        };
        let routes = ipam.routes.into_iter().enumerate();
        Ok(Addressing {
            location: location.unwrap_or_default(),
            sets: ipam
                .addresses
                .iter()
                .enumerate()
                .map(set)
                .collect::<Result<_, Error>>()?,
            routes: routes
                .map(|(index, keys)| RouteTemplate::read(index, keys))
                .collect::<Result<_, _>>()?,
            resolv_conf: None,
            cooldown: COOLDOWN,
            is_paired: false,
            reservations: Vec::new(),
        })
    }
}

/// An address with the length of its prefix, and its gateway. A field in the host's part
/// is as good as in the prefix: nobody derives a subnet from it.
fn templates(
    index: usize,
    keys: &AddressKeys,
) -> Result<(SubnetTemplate, Option<AddressTemplate>), Error> {
    let key = |name: &str| format!("ipam.addresses[{index}].{name}");
    let address = SubnetTemplate::parse_host(&keys.address).map_err(|e| e.at(key("address")))?;
    let gateway = read_address(&keys.gateway, || key("gateway"))?;
    Ok((address, gateway))
}

/// The addresses of the configuration.
fn configured(addresses: &[AddressKeys], here: &Here) -> Result<Vec<Ip>, Error> {
    let ip = |(index, keys): (usize, &AddressKeys)| {
        let key = |name: &str| format!("ipam.addresses[{index}].{name}");
        let (address, gateway) = templates(index, keys)?;
        let address = address.at(here).map_err(|e| e.at(key("address")))?;
        let gateway = address_at(gateway.as_ref(), here).map_err(|e| e.at(key("gateway")))?;
        Ok(plain(address, gateway))
    };
    addresses.iter().enumerate().map(ip).collect()
}

/// The addresses that count: those of `runtimeConfig.ips`, else of `args.cni.ips`,
/// else the configuration's, to which `CNI_ARGS` adds, as the reference has it. Its
/// `GATEWAY` is for what it adds alone.
fn named(request: &Request, configured: Vec<Ip>) -> Result<Vec<Ip>, Error> {
    let requests = Requests::read(request)?;
    let complete = |named: &Named| complete(named.address, named.prefix, &configured);
    if let Some(replacing) = requests.replacing() {
        return replacing.iter().map(complete).collect();
    }
    let added: Result<Vec<Ip>, Error> = requests.args.iter().map(complete).collect();
    let mut added = added?;
    for gateway in &requests.gateways {
        let within = added.iter_mut().filter(|ip| ip.address.contains(*gateway));
        within.for_each(|ip| ip.gateway = Some(*gateway));
    }
    Ok(configured.into_iter().chain(added).collect())
}

/// A requested address with what the configuration says of its subnet.
fn complete(address: IpAddr, prefix: Option<u8>, configured: &[Ip]) -> Result<Ip, Error> {
    let subnet = configured.iter().find(|ip| ip.address.contains(address));
    let prefix = prefix.or(subnet.map(|ip| ip.address.prefix()));
    let prefix = prefix.ok_or(Error::NoPrefix(address))?;
    let gateway = subnet.and_then(|ip| ip.gateway);
    Ok(plain(with_prefix(address, prefix)?, gateway))
}

fn plain(address: IpNetwork, gateway: Option<IpAddr>) -> Ip {
    Ip {
        address,
        gateway,
        interface: None,
        shared: false,
    }
}

/// As the reference: addresses that ADD gave must have the gateways that they
/// would have now.
fn check(request: &Request) -> Result<(), Error> {
    let expected = attachment(request)?.ips;
    let given = request.config.prev_result()?.ok_or(Error::NoPrevResult)?;
    for ip in &expected {
        let same = |other: &&Ip| other.address.ip() == ip.address.ip();
        let Some(found) = given.ips.iter().find(same) else {
            continue;
        };
        if ip.gateway.is_some() && ip.gateway != found.gateway {
            return Err(Error::GatewayDiffers {
                address: ip.address.ip(),
                expected: ip.gateway,
                found: found.gateway,
            });
        }
    }
    Ok(())
}
