//! Address management: which addresses a host has for its containers, and who
//! holds them.
//!
//! A host's [`place`] and the [`template`]s of the configuration make the
//! host's [`range`]s; the [`store`] keeps who holds which address, in the
//! reference's files; [`HostLocal`] is the CNI plugin over them. Places,
//! templates and ranges are pure: they can be reasoned about anywhere.

mod error;
pub mod family;
mod field;
mod lock;
mod pattern;
pub mod place;
pub mod range;
pub mod store;
pub mod template;

pub use error::Error;
pub use family::Family;
pub use lock::Holder;
pub use pattern::Pattern;
pub use place::{Here, Location, Place};
pub use range::{Range, RangeSet};
pub use store::{LeaseDirectory, Leases, Owner};
pub use template::{AddressTemplate, SubnetTemplate};
