//! Which of a container's networks is the way to everywhere else.

pub(crate) mod advertisements;
pub mod order;
pub(crate) mod wish;
