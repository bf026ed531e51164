//! Calling the plugins of a network, one by one.

use serde_json::{Map, Value};

use super::{Cached, Network, Parameters, PluginConfig, Runtime};
use crate::delegate::{self, Found};
use crate::{Attachment, Command, Environment, Error, Failure, Version, code, skeleton};

/// One plugin of a chain and where it is.
pub(super) struct Step<'a> {
    pub(super) plugin: &'a PluginConfig,
    pub(super) found: Found,
}

/// One operation on a network.
pub(super) struct Run<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) network: &'a Network,
    pub(super) version: Version,
    pub(super) parameters: &'a Parameters,
}

impl Run<'_> {
    /// What the cache keeps of this ADD while there is no result.
    pub(super) fn record(&self) -> Cached {
        let network = Network {
            versions: vec![self.version],
            ..self.network.clone()
        };
        Cached {
            network: network.name.clone(),
            parameters: self.parameters.clone(),
            config: Some(network.to_json().to_string().into_bytes()),
            result: None,
        }
    }

    pub(super) fn add_one(
        &self,
        step: &Step<'_>,
        before: Option<&Attachment>,
    ) -> Result<Attachment, Failure> {
        let stdout = self.call(step.plugin, &step.found, Command::Add, before)?;
        let name = &step.plugin.plugin_type;
        Ok(delegate::read_result(&stdout, self.version, name)?)
    }

    pub(super) fn del_one(
        &self,
        plugin: &PluginConfig,
        result: Option<&Attachment>,
    ) -> Result<(), Failure> {
        // `prevResult` came to DEL with 0.4.0.
        let result = result.filter(|_| self.version >= Version::V0_4_0);
        let found = self.runtime.find(plugin).map_err(Failure::from);
        let found = found.map_err(|failure| named(failure, plugin))?;
        match self.call(plugin, &found, Command::Del, result) {
            // "The runtime does not need to clean up."
            Err(failure) if failure.code == code::UNKNOWN_CONTAINER => Ok(()),
            other => other.map(drop),
        }
    }

    /// Undoes what `steps` did. What cannot be undone stays in the cache.
    pub(super) fn take_back(
        &self,
        steps: &[Step<'_>],
        result: Option<&Attachment>,
        mut failure: Failure,
    ) -> Failure {
        let undone = steps
            .iter()
            .rev()
            .map(|step| self.del_one(step.plugin, result));
        let errors: Vec<Failure> = undone.filter_map(Result::err).collect();
        let Some(first) = errors.first() else {
            let _ = self
                .runtime
                .cache
                .remove(&self.network.name, self.parameters);
            return failure;
        };
        let and_so = format!("it could not be undone: {first}");
        failure.details = match failure.details.is_empty() {
            true => and_so,
            false => format!("{}; {and_so}", failure.details),
        };
        failure
    }

    pub(super) fn must_have(&self, command: Command) -> Result<(), Error> {
        let (has, needs) = (self.version, command.since());
        match has < needs {
            true => Err(Error::VerbTooNew {
                command,
                needs,
                has,
            }),
            false => Ok(()),
        }
    }

    /// Calls one plugin; its failure says whose it is.
    pub(super) fn call(
        &self,
        plugin: &PluginConfig,
        found: &Found,
        command: Command,
        result: Option<&Attachment>,
    ) -> Result<Vec<u8>, Failure> {
        let environment = self.runtime.environment(command, self.parameters)?;
        let config = self.request_config(plugin, result)?;
        call(self.runtime, found, &environment, &config).map_err(|failure| named(failure, plugin))
    }

    /// The plugin's configuration with what the runtime adds (specification,
    /// section 3, "Deriving request configuration").
    fn request_config(
        &self,
        plugin: &PluginConfig,
        result: Option<&Attachment>,
    ) -> Result<Value, Error> {
        let offered = self.parameters.capability_args.iter();
        let wanted: Map<String, Value> = offered
            .filter(|(capability, _)| plugin.is_capable(capability))
            .map(|(capability, data)| (capability.clone(), data.clone()))
            .collect();
        let mut config = plugin
            .clone()
            .without("capabilities")
            .with("name", self.network.name.as_str().into())
            .with("cniVersion", self.version.as_str().into());
        if !wanted.is_empty() {
            config = config.with("runtimeConfig", wanted.into());
        }
        if let Some(result) = result {
            config = config.with("prevResult", result.to_json(self.version)?);
        }
        Ok(Value::Object(config.into_raw()))
    }
}

/// Calls a plugin, in this process or another, with the same bytes in and out.
pub(super) fn call(
    runtime: &Runtime,
    found: &Found,
    environment: &Environment,
    config: &Value,
) -> Result<Vec<u8>, Failure> {
    let stdin = config.to_string().into_bytes();
    let plugin = match found {
        Found::File(file) => return delegate::execute_file(file, environment, &stdin),
        Found::Own(plugin) => *plugin,
    };
    let output = skeleton::answer(plugin, runtime.plugins, environment, || Ok(stdin));
    if output.status == 0 {
        return Ok(output.stdout);
    }
    let failure: Result<Failure, _> = serde_json::from_slice(&output.stdout);
    Err(failure.unwrap_or_else(|error| Failure::new(code::INTERNAL, error.to_string())))
}

/// The failure with the name of the plugin that it comes from.
pub(super) fn named(mut failure: Failure, plugin: &PluginConfig) -> Failure {
    failure.msg = format!("plugin \"{}\": {}", plugin.plugin_type, failure.msg);
    failure
}
