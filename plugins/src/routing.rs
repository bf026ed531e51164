//! The keys that every interface plugin has for the container's routes.

use cni::Config;
use kernel::Link;

use crate::default_route::advertisements::Advertisements;
use crate::default_route::wish::Wishes;
use crate::{Error, Result, source_routing};

/// What a configuration says of routing, apart from the routes themselves.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub(crate) wishes: Wishes,
    pub(crate) advertisements: Advertisements,
    /// Whether replies leave by the interface that they came in on.
    pub(crate) by_source: bool,
}

impl Routing {
    pub(crate) fn read(config: &Config) -> Result<Self> {
        Ok(Routing {
            wishes: Wishes::read(config)?,
            advertisements: Advertisements::read(config)?.unwrap_or_default(),
            by_source: read_flag(config, source_routing::KEY)?,
        })
    }
}

/// For DEL, which must not fail for what a configuration has become: whether the
/// attachment of a link, in the container or the host's end of its cable, may have rules.
pub(crate) fn may_be_by_source(config: &Config, link: &Link) -> bool {
    link.group == source_routing::GROUP || read_flag(config, source_routing::KEY).unwrap_or(true)
}

fn read_flag(config: &Config, key: &'static str) -> Result<bool> {
    let Some(value) = config.get(key) else {
        return Ok(false);
    };
    value.as_bool().ok_or_else(|| Error::BadKey {
        key,
        value: value.to_string(),
        right: "true or false".into(),
    })
}
