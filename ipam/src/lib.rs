//! Address management: which addresses a host has for its containers, and who
//! holds them.
//!
//! A host's [`place`] and the [`template`]s of a configuration make the host's
//! [`range`]s, and its [`pool`] is what a network gives addresses from; the
//! [`store`] keeps who holds which, in the reference's files. [`HostLocal`] is
//! the CNI plugin over them. Places, templates and ranges are pure: they can be
//! reasoned about anywhere.

pub mod config;
mod error;
pub mod family;
mod field;
mod host_local;
pub mod lease;
mod lock;
mod pattern;
pub mod place;
pub mod pool;
pub mod range;
pub mod requested;
mod resolv_conf;
pub mod store;
pub mod template;

pub use error::Error;
pub use family::Family;
pub use host_local::HostLocal;
pub use lease::{Lease, Owner};
pub use lock::Holder;
pub use pattern::Pattern;
pub use place::{Here, Location, Place};
pub use pool::Pool;
pub use range::{Range, RangeSet};
pub use store::{LeaseDirectory, Leases};
pub use template::{AddressTemplate, SubnetTemplate};
