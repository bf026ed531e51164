//! A vocabulary for tests of container networking: hosts, containers and the fabric between them.
//!
//! A [`Host`] is a simulated machine made of namespaces: it has interfaces, routes, packet-filter
//! rules, a host name and private state directories. A [`Container`] is one network namespace on a
//! host, with a path that runtimes hand to plugins as `CNI_NETNS`. A [`Fabric`] is a switch, and a
//! router if it is given addresses, that joins hosts. A [`Call`] executes a plugin on a host the way
//! a runtime does, and a [`Snapshot`] tells what a call changed.
//!
//! Nothing here has a name outside the process. Namespaces are held by file descriptors alone, so
//! they vanish with the value that owns them, with a panic, and with the process even if it is
//! killed. Tests may therefore run in parallel and need no cleaning.
//!
//! ```no_run
//! use netns::{Call, Fabric, Host, Namespace, Plugins};
//! use serde_json::json;
//!
//! netns::become_root();
//! let fabric = Fabric::new();
//! let host = Host::new("r50-s11");
//! fabric.join(&host, "eth0", &["192.0.2.11/24"]);
//!
//! let container = host.container("web");
//! let config = json!({"cniVersion": "1.0.0", "name": "backend", "type": "bridge"});
//! let result = Call::new(&host, Plugins::Slash24, &config).attach(&container, "eth0").add().success();
//! assert_eq!(result["interfaces"][2]["name"], "eth0");
//! container.ping("192.0.2.11");
//! ```
//!
//! The vocabulary asks the kernel through `ip`, `nft` and `ping` and not through this project's own
//! netlink code, so that it is an independent witness of what that code did.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a vocabulary of tests: its way to fail is to panic with a message"
)]

mod call;
mod container;
mod fabric;
mod feature;
mod host;
mod namespace;
mod program;
mod snapshot;
mod trial;
mod user;
mod vm;

pub use call::{Call, Outcome, Plugins};
pub use container::Container;
pub use fabric::Fabric;
pub use feature::Feature;
pub use host::Host;
pub use namespace::Namespace;
pub use snapshot::Snapshot;
pub use trial::{trial, trial_needing, trial_on_old_kernel};
pub use user::become_root;
pub use vm::run;
