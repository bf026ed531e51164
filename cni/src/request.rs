//! One call of a plugin, as the runtime made it.

use std::fmt;
use std::path::PathBuf;

use crate::{Config, Environment, Error, Version, name};

/// What the runtime wants done (`CNI_COMMAND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Attach a container to the network.
    Add,
    /// Detach it.
    Del,
    /// Verify an attachment.
    Check,
    /// Remove what belongs to no valid attachment.
    Gc,
    /// Say whether ADD can be served.
    Status,
    /// Say which versions are spoken.
    Version,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "GC" => Command::Gc,
            "STATUS" => Command::Status,
            "VERSION" => Command::Version,
            _ => return None,
        })
    }

    /// The verb as `CNI_COMMAND` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }

    /// The first version of the protocol that has the verb.
    pub fn since(self) -> Version {
        match self {
            Command::Add | Command::Del | Command::Version => Version::V0_1_0,
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
        }
    }

    /// Whether the verb speaks of one container's interface.
    pub fn concerns_attachment(self) -> bool {
        matches!(self, Command::Add | Command::Del | Command::Check)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `CNI_ARGS`: pairs `KEY=VALUE` separated by `;`.
///
/// Unknown keys are tolerated whether or not `IgnoreUnknown` is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Reads the text of `CNI_ARGS`. What is not a pair is passed over.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        Args(
            pairs
                .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
                .collect(),
        )
    }

    /// The value of `key`, if it is set to anything. Of several the last counts, as in
    /// the reference: runtimes append what users ask for to their own.
    pub fn get(&self, key: &str) -> Option<&str> {
        let set = self.0.iter().rfind(|(k, _)| k == key);
        set.map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// A call whose environment and configuration keep to the specification.
///
/// For GC and STATUS `container_id` and `ifname` are empty.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; always there for ADD and CHECK.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: Args,
    /// The absolute directories of `CNI_PATH`.
    pub path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the namespace may be the plugin's own.
    pub own_netns_allowed: bool,
    /// The network configuration.
    pub config: Config,
    /// All of the environment, for delegates that are executed.
    pub environment: Environment,
}

impl Request {
    /// Reads the verb alone; `None` when `CNI_COMMAND` is not set.
    ///
    /// # Errors
    /// [`Error::BadVariable`] when it is none of the verbs.
    pub fn command(env: &Environment) -> Result<Option<Command>, Error> {
        let Some(text) = env.text("CNI_COMMAND") else {
            return Ok(None);
        };
        let known = Command::parse(&text).ok_or(Error::BadVariable {
            variable: "CNI_COMMAND",
            value: text,
            right: "it is ADD, DEL, CHECK, GC, STATUS or VERSION",
        });
        known.map(Some)
    }

    /// Reads the environment; the configuration has been read before, as errors
    /// are printed in its version.
    ///
    /// # Errors
    /// Variables that are missing or hold what the specification forbids, and a
    /// verb that the configuration's version does not have.
    pub fn new(command: Command, env: &Environment, config: Config) -> Result<Self, Error> {
        check_required(command, env)?;
        let concerns = command.concerns_attachment();
        let request = Request {
            command,
            container_id: env
                .text("CNI_CONTAINERID")
                .filter(|_| concerns)
                .unwrap_or_default(),
            netns: env.get("CNI_NETNS").map(PathBuf::from),
            ifname: env
                .text("CNI_IFNAME")
                .filter(|_| concerns)
                .unwrap_or_default(),
            args: Args::parse(&env.text("CNI_ARGS").unwrap_or_default()),
            path: env.path(),
            own_netns_allowed: env
                .text("CNI_NETNS_OVERRIDE")
                .is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true")),
            config,
            environment: env.clone(),
        };
        request.validated()
    }

    fn validated(self) -> Result<Self, Error> {
        let bad = |variable, value: &str, right| {
            let value = value.to_owned();
            Err(Error::BadVariable {
                variable,
                value,
                right,
            })
        };
        if self.command.concerns_attachment() {
            if !name::is_identifier(&self.container_id) {
                return bad("CNI_CONTAINERID", &self.container_id, name::IDENTIFIER);
            }
            if !name::is_interface(&self.ifname) {
                return bad("CNI_IFNAME", &self.ifname, name::INTERFACE);
            }
        }
        let has = self.config.version;
        let (command, needs) = (self.command, self.command.since());
        if has < needs {
            return Err(Error::VerbTooNew {
                command,
                needs,
                has,
            });
        }
        Ok(self)
    }
}

/// `CNI_PATH` is required by the reference for every verb; DEL goes without, as
/// cleaning up must never fail for want of something it may not need.
fn check_required(command: Command, env: &Environment) -> Result<(), Error> {
    let required: &[&str] = match command {
        Command::Add | Command::Check => {
            &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
        }
        Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
        Command::Gc | Command::Status | Command::Version => &[],
    };
    let missing: Vec<_> = required
        .iter()
        .copied()
        .filter(|name| env.get(name).is_none())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::MissingVariables(missing.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_tolerate_anything() {
        let args = Args::parse("IgnoreUnknown=1;K8S_POD_NAME=a=b;;broken; IP = 10.0.0.2 ;EMPTY=");
        assert_eq!(args.get("K8S_POD_NAME"), Some("a=b"));
        assert_eq!(args.get("IP"), Some("10.0.0.2"));
        assert_eq!(args.get("EMPTY"), None);
        assert_eq!(args.get("broken"), None);
        assert_eq!(
            Args::parse("IP=10.0.0.2;IP=10.0.0.3").get("IP"),
            Some("10.0.0.3")
        );
    }

    #[test]
    fn missing_variables_are_listed_together() {
        let env = Environment::from_pairs([("CNI_CONTAINERID", "c")]);
        let config = Config::parse(br#"{"name":"n","type":"t"}"#).unwrap();
        let error = Request::new(Command::Add, &env, config).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("[CNI_NETNS,CNI_IFNAME,CNI_PATH]"),
            "{error}"
        );
    }
}
