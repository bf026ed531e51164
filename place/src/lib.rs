//! The place of a host, and addresses that follow from it.
//!
//! A host stands somewhere: rack 50, slot 11 ([`Place`], found as a [`Location`]
//! says). [`template`]s make addresses of that, and lead from an address back to
//! the place. [`Bounds`] are all places of a data centre. Everything but finding
//! out the host's own place is pure.
//!
//! ```
//! use place::{AddressTemplate, Bounds};
//!
//! let bounds: Bounds = [("rack".to_owned(), (1, 2)), ("slot".to_owned(), (7, 8))]
//!     .into_iter()
//!     .collect();
//! let router = AddressTemplate::parse("10.{rack}.{slot}.1")?;
//! let routers: Result<Vec<_>, _> = bounds.each().map(|place| router.at_place(&place)).collect();
//! assert_eq!(routers?[2].to_string(), "10.2.7.1");
//! # Ok::<(), place::Error>(())
//! ```

mod bounds;
mod error;
pub mod family;
mod field;
mod location;
mod pattern;
pub mod template;

pub use bounds::Bounds;
pub use error::Error;
pub use family::Family;
pub use location::{Here, LOCATION_FILE, Location, Machine, Place};
pub use pattern::Pattern;
pub use template::{AddressTemplate, SubnetTemplate};
