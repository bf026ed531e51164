//! The Container Network Interface (CNI) as a library: what a runtime says to a
//! plugin, what the plugin answers, and how a runtime runs chains of plugins.
//!
//! It speaks every published version of the protocol (0.1.0 to 1.1.0) and makes
//! no kernel calls beyond files and the execution of other plugins, so it suits
//! any plugin or runtime.
//!
//! A plugin implements [`Plugin`] and hands itself to the [`skeleton`], which
//! owns the protocol: environment, standard input, versions, errors.
//!
//! ```
//! use cni::{Attachment, Call, Failure, Plugin};
//!
//! struct Nothing;
//! impl Plugin for Nothing {
//!     fn name(&self) -> &'static str { "nothing" }
//!     fn add(&self, _: &Call) -> Result<Attachment, Failure> { Ok(Attachment::default()) }
//!     fn del(&self, _: &Call) -> Result<(), Failure> { Ok(()) }
//!     fn check(&self, _: &Call) -> Result<(), Failure> { Ok(()) }
//! }
//!
//! let env = cni::Environment::from_pairs([
//!     ("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"),
//!     ("CNI_NETNS", "/run/netns/c1"), ("CNI_PATH", "/opt/cni/bin"),
//! ]);
//! let stdin = br#"{"cniVersion": "1.0.0", "name": "net", "type": "nothing"}"#;
//! let output = cni::skeleton::answer(&Nothing, &[], &env, || Ok(stdin.to_vec()));
//! assert_eq!(output.status, 0);
//! assert_eq!(output.stdout, b"{\"cniVersion\":\"1.0.0\"}\n");
//! ```
//!
//! The specification: <https://www.cni.dev/docs/spec/>.

mod address;
pub mod config;
pub mod delegate;
mod environment;
mod error;
mod failure;
pub mod fold;
pub mod name;
mod plugin;
mod request;
mod result;
pub mod runtime;
pub mod skeleton;
mod version;

pub use address::parse_cidr;
pub use config::{Config, ValidAttachment};
pub use environment::Environment;
pub use error::Error;
pub use failure::{Failure, code};
pub use plugin::{Call, Plugin, Plugins};
pub use request::{Args, Command, Request};
pub use result::{Attachment, Dns, Interface, Ip, Route};
pub use version::Version;
