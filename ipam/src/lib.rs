//! Address management: which addresses a host has for its containers, and who
//! holds them.
//!
//! A host's place and the templates of a configuration ([`place`]) make the host's
//! [`range`]s, and its [`pool`] is what a network gives addresses from; the
//! [`store`] keeps who holds which, in the reference's files. [`HostLocal`] is
//! the CNI plugin over them; [`Static`] is one for addresses that somebody else
//! looks after. Places, templates and ranges are pure: they can be
//! reasoned about anywhere.

mod allocation;
mod asked;
pub mod boot;
mod clock;
pub mod config;
mod digest;
mod error;
mod host_local;
mod index;
pub mod lease;
mod lease_file;
pub mod listing;
mod local;
mod lock;
pub mod netns;
mod pairs;
pub mod plan;
pub mod pool;
pub mod range;
pub mod record;
pub mod requested;
pub mod reservation;
mod resolv_conf;
pub mod route;
mod shared;
pub mod skips;
mod static_addresses;
pub mod store;

pub use ::place;
pub use ::place::{
    AddressTemplate, Family, Here, Location, Pattern, Place, SubnetTemplate, family, template,
};
pub use boot::Boot;
pub use error::Error;
pub use host_local::HostLocal;
pub use lease::{Lease, Owner};
pub use lease_file::Kept;
pub use lock::Holder;
pub use pool::Pool;
pub use range::{Range, RangeSet};
pub use record::{Namespace, Record};
pub use static_addresses::Static;
pub use store::{LeaseDirectory, Leases};
