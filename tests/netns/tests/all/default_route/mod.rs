//! Whichever network comes first: the default route is the configured owner's.

mod advertised;
mod chosen;
mod every_order;
mod explained;
mod mixed;
mod plugin;
mod restored;
mod scene;
mod wishes;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        advertised::trials(),
        chosen::trials(),
        every_order::trials(),
        explained::trials(),
        mixed::trials(),
        plugin::trials(),
        restored::trials(),
        wishes::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
