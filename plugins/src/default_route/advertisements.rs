//! What becomes of the default routes that routers advertise.

use cni::Config;
use kernel::sysctl;

use super::order;
use super::wish::Wishes;
use crate::{Error, Result};

const KEY: &str = "routerAdvertisements";
const METRIC: &str = "ra_defrtr_metric";

/// Whether the routers of a network are heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Advertisements {
    /// As the kernel does by itself: addresses, and a default route at its metric.
    Keep,
    /// The default route at the metric that the network's priority gives it.
    Remetric,
    /// Not at all.
    #[default]
    Refuse,
}

impl Advertisements {
    /// Reads the key; nothing when it is not there.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub(crate) fn read(config: &Config) -> Result<Option<Self>> {
        let Some(value) = config.get(KEY) else {
            return Ok(None);
        };
        match value.as_str() {
            Some("keep") => Ok(Some(Advertisements::Keep)),
            Some("remetric") => Ok(Some(Advertisements::Remetric)),
            Some("refuse") => Ok(Some(Advertisements::Refuse)),
            _ => Err(Error::BadKey {
                key: KEY,
                value: value.to_string(),
                right: "\"keep\", \"remetric\" or \"refuse\"".into(),
            }),
        }
    }

    /// Prepares an interface that is not up yet; `parameters` are `net/ipv6/conf` of it.
    ///
    /// # Errors
    /// [`Error::KernelLacks`]; [`kernel::Error::Sysctl`].
    pub(crate) fn prepare(
        self,
        parameters: &sysctl::Group,
        wishes: &Wishes,
        ifname: &str,
    ) -> Result<()> {
        let metric = match self {
            Advertisements::Keep => return Ok(()),
            Advertisements::Refuse => return Ok(parameters.set("accept_ra", "0")?),
            Advertisements::Remetric => wishes.priority(false),
        };
        let Some(priority) = metric else {
            // Addresses may come, a default route is not wished for.
            return Ok(parameters.set("accept_ra_defrtr", "0")?);
        };
        if !parameters.has(METRIC) {
            return Err(Error::KernelLacks {
                key: KEY,
                value: "remetric",
                parameter: METRIC,
                since: "5.12",
            });
        }
        let metric = order::metric(priority, ifname).to_string();
        Ok(parameters.set(METRIC, &metric)?)
    }
}
