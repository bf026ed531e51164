//! Which of a container's networks is the way to everywhere else.

pub(crate) mod advertisements;
pub(crate) mod converge;
pub mod order;
mod plan;
mod plugin;
mod set_aside;
pub(crate) mod wish;

pub use plugin::DefaultRoute;

/// Who set a route or a rule, for `ip route` and for ourselves: an attachment for
/// itself (`RTPROT_*` numbers of linux/rtnetlink.h that nobody else has).
pub const PLACED: u8 = 36;
/// As [`PLACED`]: an attachment set another's route aside that was before all.
pub const SET_ASIDE: u8 = 37;
/// The table that keeps what was set aside as it was. No rule leads there.
pub(crate) const KEPT: u32 = 36_000_000;
