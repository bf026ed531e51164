//! The error object that a plugin prints on its standard output.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Version;

/// The codes of the error object. Those below 100 are the specification's
/// (section 2, "Error"), 8 and 999 are the reference implementation's.
pub mod code {
    /// The configuration's `cniVersion` is not one that the plugin speaks.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// The configuration holds a field that the plugin cannot honour.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or does not exist; nothing is left to clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A necessary environment variable is missing or wrong.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Input or output failed.
    pub const IO: u32 = 5;
    /// Something could not be decoded.
    pub const DECODING: u32 = 6;
    /// The network configuration is well-formed but wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace is not one, or is the host's.
    pub const INVALID_NETNS: u32 = 8;
    /// A passing condition; the runtime should try again.
    pub const TRY_AGAIN: u32 = 11;
    /// The plugin cannot serve ADD requests.
    pub const NOT_AVAILABLE: u32 = 50;
    /// As 50, and existing containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// No address is left in any range.
    pub const NO_FREE_ADDRESS: u32 = 100;
    /// The requested address cannot be given.
    pub const ADDRESS_NOT_AVAILABLE: u32 = 101;
    /// The kernel refused a request.
    pub const KERNEL: u32 = 102;
    /// A link of that name is already there, and is another one.
    pub const LINK_IN_THE_WAY: u32 = 103;
    /// What is there is not what ADD made.
    pub const CHECK_FAILED: u32 = 104;
    /// A fault of the plugin itself.
    pub const INTERNAL: u32 = 999;
}

/// The error object: what a plugin prints when it fails.
///
/// `code` is one of [`code`], or a foreign plugin's own from 100 up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of error, for programs.
    pub code: u32,
    /// What went wrong, for people: the key, the value, what would be right.
    pub msg: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Failure {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same failure with details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The object as it goes to standard output, in the caller's version.
    pub fn to_json(&self, version: Version) -> String {
        let mut object = serde_json::Map::new();
        object.insert("cniVersion".into(), version.as_str().into());
        object.insert("code".into(), self.code.into());
        object.insert("msg".into(), self.msg.as_str().into());
        if !self.details.is_empty() {
            object.insert("details".into(), self.details.as_str().into());
        }
        serde_json::Value::Object(object).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
