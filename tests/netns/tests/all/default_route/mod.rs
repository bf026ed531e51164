//! Whichever network comes first: the default route is the configured owner's.

mod every_order;
mod scene;
mod wishes;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [every_order::trials(), wishes::trials()]
        .into_iter()
        .flatten()
        .collect()
}
