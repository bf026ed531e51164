//! Tasks of a framework to networks of a host.
//!
//! A [`Task`] is what Hydrogen, Verizon's Mesos framework, takes as an
//! application document. [`plan`] maps the networks it names to configurations
//! on the host and decides all that can be decided beforehand; [`attach`] runs
//! their plugins, all or none; [`detach`] and [`check`] go by what ADD left in
//! the cache.
//!
//! ```
//! let document = br#"{"name": "web", "container": {"network": [
//!     {"name": "frontend"},
//!     {"name": "backend", "ipaddress": [{"ip": "10.50.11.77", "protocol": "ipv4"}]}
//! ]}}"#;
//! let task = framework_glue::Task::parse(document, None).unwrap();
//! assert_eq!(task.networks[1].name, "backend");
//! ```

mod attach;
mod error;
mod plan;
pub mod task;

pub use attach::{Attached, Container, attach, check, detach};
pub use error::Error;
pub use plan::{Planned, plan};
pub use task::Task;
