//! Removing an attachment's link.

use cni::Request;
use kernel::{Netlink, OtherEnd, delete_link};
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

/// Removes a link of the thread's namespace; returns when it is gone, or with
/// `"asyncDelete": false` when the kernel has forgotten it.
pub(crate) fn remove(request: &Request, link: u32, other_end: Option<OtherEnd<'_>>) -> Result<()> {
    let keys: Keys = request.config.read()?;
    match keys.async_delete {
        true => Ok(kernel::remove_link(link, other_end)?),
        false => Ok(Netlink::open()?.apply(&[delete_link(link)])?),
    }
}
