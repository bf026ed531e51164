//! `vxlan`: private segments across hosts.

mod evpn;
mod fleet;
mod gateway;
mod lifecycle;
mod peers;
mod segment;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        segment::trials(),
        peers::trials(),
        gateway::trials(),
        evpn::trials(),
        lifecycle::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
