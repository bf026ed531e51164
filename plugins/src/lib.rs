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
mod error;
mod garbage;
mod gateway;
mod inner;
mod lease;
mod loopback;
mod lower;
mod macvlan;
mod namespace;
mod removal;
mod routes;
mod routing;
mod sbr;
mod source_routing;
mod undo;
pub mod vxlan;

pub use bridge::Bridge;
pub use default_route::DefaultRoute;
pub use error::Error;
pub use loopback::Loopback;
pub use macvlan::Macvlan;
pub use sbr::Sbr;
pub use vxlan::Vxlan;

/// A result of this crate.
type Result<T> = std::result::Result<T, Error>;
