//! `vxlan`: private segments across hosts.

mod fleet;
mod lifecycle;
mod segment;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [segment::trials(), lifecycle::trials()]
        .into_iter()
        .flatten()
        .collect()
}
