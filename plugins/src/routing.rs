//! The keys that every interface plugin has for the container's routes.

use cni::Config;

use crate::Result;
use crate::default_route::advertisements::Advertisements;
use crate::default_route::wish::Wishes;

/// What a configuration says of routing, apart from the routes themselves.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub(crate) wishes: Wishes,
    pub(crate) advertisements: Advertisements,
}

impl Routing {
    pub(crate) fn read(config: &Config) -> Result<Self> {
        Ok(Routing {
            wishes: Wishes::read(config)?,
            advertisements: Advertisements::read(config)?.unwrap_or_default(),
        })
    }
}
