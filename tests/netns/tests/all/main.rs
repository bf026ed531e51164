//! Every integration test, as trials of one program: `cargo test -p slash24-netns -- FILTER`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests by #[test], and these are trials"
)]

mod announce;
mod attach;
mod bad_input;
mod bridge;
mod bridge_shared;
mod bridge_vlans;
mod capture;
mod concurrency;
mod default_route;
mod delegates;
mod doctor;
mod examples;
mod garbage;
mod host_access;
mod host_device;
mod install;
mod leases;
mod leftovers;
mod lifecycle;
mod links;
mod macvlan;
mod masquerade;
mod network;
mod place;
mod ports;
mod protocol;
mod ptp;
mod remains;
mod route_keys;
mod runtimes;
mod source_routing;
mod spoof;
mod subject;
mod tools;
mod vocabulary;
mod vxlan;

use libtest_mimic::Arguments;

fn main() {
    netns::become_root();
    if let Some(near) = std::env::var_os(vocabulary::VICTIM) {
        vocabulary::wait_to_be_killed(&near.to_string_lossy());
    }
    let mut arguments = Arguments::from_args();
    // Trials wait for the kernel more than they work.
    arguments.test_threads.get_or_insert(8);
    let topics = [
        vocabulary::trials(),
        lifecycle::trials(),
        bridge::trials(),
        bridge_shared::trials(),
        masquerade::trials(),
        ports::trials(),
        doctor::trials(),
        bridge_vlans::trials(),
        spoof::trials(),
        macvlan::trials(),
        host_access::trials(),
        links::trials(),
        ptp::trials(),
        host_device::trials(),
        vxlan::trials(),
        leftovers::trials(),
        garbage::trials(),
        tools::trials(),
        leases::trials(),
        delegates::trials(),
        default_route::trials(),
        source_routing::trials(),
        route_keys::trials(),
        announce::trials(),
        concurrency::trials(),
        protocol::trials(),
        place::trials(),
        attach::trials(),
        install::trials(),
        examples::trials(),
        runtimes::trials(),
        bad_input::trials(),
    ];
    netns::run(&arguments, topics.into_iter().flatten().collect()).exit();
}
