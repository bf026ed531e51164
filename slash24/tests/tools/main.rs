//! The commands that look at leases and plans, and clean up.
#![allow(clippy::unwrap_used)] // The lint spares test functions, and not what they share.

mod gc;
mod host;
mod leases;
mod place;
mod plan;
