//! GC of a network, also when its configuration is older than GC.
//!
//! Mesos, Nomad and Podman never send GC, and their configurations are of versions
//! that do not have it. What our plugins do for it does not depend on the version,
//! so here they are called in this process as if it were 1.1.0.

use cni::runtime::{PluginConfig, Runtime};
use cni::{Call, Command, Config, Environment, Request, ValidAttachment, Version};
use serde_json::{Value, json};

use crate::error::Error;
use crate::networks::Configured;
use crate::registry;

/// Removes what belongs to no valid attachment of a network; one failure does not
/// keep the rest from being done.
pub(crate) fn network(
    runtime: &Runtime,
    configured: &Configured,
    valid: &[ValidAttachment],
) -> Vec<Error> {
    let mut errors = Vec::new();
    let name = &configured.network.name;
    // What is in the runtime's cache, and what the plugins do for GC themselves.
    if let Err(failure) = runtime.gc(&configured.network, valid) {
        errors.push(Error::of_network(name, failure));
    }
    for plugin in configured.plugins() {
        let collected = plugin.and_then(|plugin| own(configured, &plugin, valid));
        errors.extend(collected.err());
    }
    errors
}

/// Has those plugins do their part that live in this executable.
fn own(
    configured: &Configured,
    plugin: &PluginConfig,
    valid: &[ValidAttachment],
) -> Result<(), Error> {
    let ipam = plugin.ipam_type().and_then(registry::find);
    let Some(called) = registry::find(&plugin.plugin_type).or(ipam) else {
        return Ok(());
    };
    let mut plugin = plugin.clone();
    if ipam.is_none() {
        // Somebody else's IPAM plugin has been asked by its own, if it can be.
        plugin = plugin.without("ipam");
    }
    let list: Vec<Value> = valid
        .iter()
        .map(|v| json!({"containerID": v.container_id, "ifname": v.ifname}))
        .collect();
    let plugin = plugin.with("cni.dev/valid-attachments", list.into());
    let config: Config = configured.config_of(plugin, Version::V1_1_0)?;
    // Nothing is found in a path without directories, so delegates are ours too.
    let none = Environment::from_pairs([("CNI_COMMAND", "GC")]);
    let request = Request::new(Command::Gc, &none, config)?;
    let call = Call {
        request: &request,
        plugins: registry::PLUGINS,
    };
    let collected = called.gc(&call);
    collected.map_err(|failure| Error::of_network(&configured.network.name, failure))
}
