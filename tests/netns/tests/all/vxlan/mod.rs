//! `vxlan`: private segments across hosts.

mod changed;
mod computed;
mod evpn;
mod fleet;
mod former;
mod gateway;
mod lifecycle;
mod mended;
mod old_kernel;
mod peers;
mod refused;
mod segment;
mod storm;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        segment::trials(),
        peers::trials(),
        computed::trials(),
        changed::trials(),
        gateway::trials(),
        evpn::trials(),
        lifecycle::trials(),
        mended::trials(),
        former::trials(),
        old_kernel::trials(),
        storm::trials(),
        refused::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
