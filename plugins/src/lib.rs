//! The interface plugins: they give a container an interface on a network.
//!
//! Each reads its own typed keys, has the IPAM plugin allocate, makes its link,
//! and has the container's side configured like all others ([`container`]).
//! What an ADD did is undone if it cannot be finished ([`undo`]), and everything
//! on the host is named after the attachment ([`attachment`]), so that DEL finds
//! it with nothing but the call's parameters.

mod attachment;
mod bridge;
mod cable;
mod check;
mod container;
pub mod default_route;
mod dummy;
mod error;
mod forwarding;
mod garbage;
mod gateway;
mod host_device;
mod inner;
mod ipvlan;
mod lease;
mod link_inside;
mod lock;
mod loopback;
mod lower;
mod macvlan;
mod namespace;
mod ptp;
mod removal;
mod routes;
mod routing;
mod sbr;
mod sharing;
mod source_routing;
mod spoof;
mod tap;
mod tie;
mod turn;
mod undo;
mod vlan;
pub mod vxlan;

pub use bridge::Bridge;
pub use default_route::DefaultRoute;
pub use error::Error;
pub use host_device::HostDevice;
pub use loopback::Loopback;
pub use lower::master_of;
pub use ptp::Ptp;
pub use sbr::Sbr;
pub use vxlan::Vxlan;

/// The plugin `macvlan`.
pub const MACVLAN: &dyn cni::Plugin = &link_inside::Of::<macvlan::Macvlan>::PLUGIN;
/// The plugin `ipvlan`.
pub const IPVLAN: &dyn cni::Plugin = &link_inside::Of::<ipvlan::Ipvlan>::PLUGIN;
/// The plugin `vlan`.
pub const VLAN: &dyn cni::Plugin = &link_inside::Of::<vlan::Vlan>::PLUGIN;
/// The plugin `dummy`.
pub const DUMMY: &dyn cni::Plugin = &link_inside::Of::<dummy::Dummy>::PLUGIN;
/// The plugin `tap`.
pub const TAP: &dyn cni::Plugin = &link_inside::Of::<tap::Tap>::PLUGIN;

/// A result of this crate.
type Result<T> = std::result::Result<T, Error>;
