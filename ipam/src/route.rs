//! Routes in a configuration, which may have templates in them.

use std::net::IpAddr;

use cni::Route;
use serde::Deserialize;

use crate::Error;
use crate::error::AtKey;
use place::Here;
use place::{AddressTemplate, SubnetTemplate};

/// A route for every place.
#[derive(Clone, Debug)]
pub struct RouteTemplate {
    key: String,
    dst: SubnetTemplate,
    gw: Option<AddressTemplate>,
    metrics: RouteKeys,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RouteKeys {
    dst: String,
    gw: String,
    mtu: u32,
    advmss: u32,
    priority: u32,
    table: Option<u32>,
    scope: Option<u8>,
}

impl RouteTemplate {
    /// Reads the route at `index` of `ipam.routes`.
    pub(crate) fn read(index: usize, metrics: RouteKeys) -> Result<Self, Error> {
        let key = format!("ipam.routes[{index}]");
        Ok(RouteTemplate {
            dst: SubnetTemplate::parse(&metrics.dst).map_err(|e| e.at(format!("{key}.dst")))?,
            gw: read_address(&metrics.gw, || format!("{key}.gw"))?,
            metrics,
            key,
        })
    }

    /// Its templates.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &AddressTemplate> {
        std::iter::once(self.dst.address()).chain(&self.gw)
    }

    /// The route at a place.
    pub(crate) fn at(&self, here: &Here) -> Result<Route, Error> {
        let set = |value: u32| Some(value).filter(|value| *value != 0);
        let route = || {
            Ok(Route {
                dst: self.dst.at(here)?,
                gw: address_at(self.gw.as_ref(), here)?,
                mtu: set(self.metrics.mtu),
                advmss: set(self.metrics.advmss),
                priority: set(self.metrics.priority),
                table: self.metrics.table,
                scope: self.metrics.scope,
            })
        };
        route().map_err(|e: Error| e.at(&self.key))
    }
}

/// An empty address is none, as it is for the reference.
pub(crate) fn read_address(
    text: &str,
    key: impl Fn() -> String,
) -> Result<Option<AddressTemplate>, Error> {
    match text {
        "" => Ok(None),
        text => AddressTemplate::parse(text)
            .map(Some)
            .map_err(|e| e.at(key())),
    }
}

/// The address at a place, if there is one.
pub(crate) fn address_at(
    template: Option<&AddressTemplate>,
    here: &Here,
) -> Result<Option<IpAddr>, Error> {
    Ok(template.map(|template| template.at(here)).transpose()?)
}
