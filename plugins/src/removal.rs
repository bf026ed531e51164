//! Removing an attachment's link.

use cni::Request;
use kernel::{Netlink, OtherEnd, delete_link, nft};
use serde::Deserialize;

use crate::Result;

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    async_delete: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Keys { async_delete: true }
    }
}

/// Removes a link of the thread's namespace, and then the guards that it has as a
/// bridge's port; returns when they are gone, or with `"asyncDelete": false` when the
/// kernel has forgotten them.
pub(crate) fn remove(
    request: &Request,
    link: u32,
    other_end: Option<OtherEnd<'_>>,
    guards: Option<nft::Release>,
) -> Result<()> {
    let keys: Keys = request.config.read()?;
    if keys.async_delete {
        return Ok(kernel::remove_link(link, other_end, guards)?);
    }
    Netlink::open()?.apply(&[delete_link(link)])?;
    Ok(guards.map_or(Ok(()), nft::Release::commit)?)
}
