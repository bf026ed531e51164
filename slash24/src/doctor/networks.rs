//! The configured networks: whether they can be read, whether their plugins are there,
//! and what those that are ours say about ADD.

use std::path::{Path, PathBuf};

use cni::runtime::{Directory, Network, PluginConfig};
use cni::{Call, Command, Config, Environment, Request, Version};
use serde_json::Value;

use super::masters::Above;
use super::{Finding, Routed, Way};
use crate::registry;

/// What the configuration says.
#[derive(Default)]
pub(super) struct Configured {
    pub(super) findings: Vec<Finding>,
    pub(super) routed: Vec<Routed>,
    /// What stands on the host's own interfaces.
    pub(super) above: Vec<Above>,
    /// A network wants packet-filter rules.
    pub(super) needs_filter: bool,
}

pub(super) fn examine(conf_dir: &Path, plugin_dirs: &[PathBuf]) -> Configured {
    let mut configured = Configured::default();
    let directory = match Directory::read(conf_dir) {
        Ok(directory) => directory,
        Err(error) => {
            configured.findings.push(Finding::error(
                error.to_string(),
                "no network can be found there",
                "make the directory readable",
            ));
            return configured;
        }
    };
    let broken = directory.broken().map(|error| {
        Finding::error(
            error.to_string(),
            "runtimes pass over that network, or refuse all of them",
            "correct the file, or take it out of the directory",
        )
    });
    configured.findings.extend(broken);
    if directory.networks().next().is_none() {
        configured.findings.push(Finding::warning(
            format!("no networks in {}", conf_dir.display()),
            "there is nothing to attach containers to",
            "put a configuration there, or name the directory with --conf-dir",
        ));
        return configured;
    }
    for dir in plugin_dirs.iter().filter(|dir| !dir.is_dir()) {
        configured.findings.push(Finding::error(
            format!("there is no plugin directory {}", dir.display()),
            "runtimes look for plugins there",
            format!("slash24 install {}", dir.display()),
        ));
    }
    for network in directory.networks() {
        configured.look_at(network, plugin_dirs);
    }
    configured
}

impl Configured {
    fn look_at(&mut self, network: &Network, plugin_dirs: &[PathBuf]) {
        for plugin in &network.plugins {
            let missing = missing(network, plugin, plugin_dirs);
            if missing.is_empty() {
                self.findings.extend(status(network, plugin, plugin_dirs));
            }
            self.findings.extend(missing);
            self.needs_filter |= is_on(plugin, "ipMasq") || is_on(plugin, "macspoofchk");
            let way = match plugin.plugin_type.as_str() {
                "bridge" => gateway_of_bridge(plugin),
                "vxlan" => exit_of_vxlan(plugin),
                "ptp" => Some(Way::Cables),
                "macvlan" | "ipvlan" | "vlan" => {
                    self.look_below(network, plugin);
                    None
                }
                _ => None,
            };
            self.routed.extend(way.map(|way| Routed {
                network: network.name.clone(),
                way,
            }));
        }
    }

    /// One that cannot be read, or whose link is not there, STATUS has told.
    fn look_below(&mut self, network: &Network, plugin: &PluginConfig) {
        let Ok(config) = config_of(network, plugin) else {
            return;
        };
        let Ok(Some(master)) = plugins::master_of(&config) else {
            return;
        };
        let mode = plugin.get("mode").and_then(Value::as_str);
        self.above.push(Above {
            network: network.name.clone(),
            plugin: plugin.plugin_type.clone(),
            is_alone: mode == Some("passthru"),
            mode: mode.filter(|mode| !mode.is_empty()).map(str::to_owned),
            vlan: plugin.get("vlanId").and_then(Value::as_u64),
            master,
        });
    }
}

fn is_on(plugin: &PluginConfig, key: &str) -> bool {
    plugin.get(key).and_then(Value::as_bool) == Some(true)
}

/// The link by which a bridge's packets come to the host that routes them.
fn gateway_of_bridge(bridge: &PluginConfig) -> Option<Way> {
    if !(is_on(bridge, "isGateway") || is_on(bridge, "isDefaultGateway")) {
        return None;
    }
    let name = bridge.get("bridge").and_then(Value::as_str);
    let name = name.filter(|name| !name.is_empty()).unwrap_or("cni0");
    let vlan = bridge.get("vlan").and_then(Value::as_u64);
    Some(Way::Link(match vlan.filter(|vlan| *vlan != 0) {
        Some(vlan) => format!("{name}.{vlan}"),
        None => name.to_owned(),
    }))
}

/// The link by which packets leave a VXLAN network, if they can.
fn exit_of_vxlan(vxlan: &PluginConfig) -> Option<Way> {
    let vni = vxlan.get("vni").and_then(Value::as_u64);
    let vni = vni.and_then(|vni| u32::try_from(vni).ok());
    let way = |vni| Way::Router(plugins::vxlan::exit_port(vni));
    vni.filter(|_| is_on(vxlan, "ipMasq")).map(way)
}

/// The plugins of a configuration that runtimes will not find. That this executable
/// has some of them does not help a runtime.
fn missing(network: &Network, plugin: &PluginConfig, dirs: &[PathBuf]) -> Vec<Finding> {
    let types = [Some(plugin.plugin_type.as_str()), plugin.ipam_type()];
    let finding = |name: &str| {
        let remedy = match registry::find(name) {
            Some(_) => "slash24 install DIRECTORY puts it there".to_owned(),
            None => "install it, or take it out of the configuration".to_owned(),
        };
        Finding::error(
            format!(
                "network {}: there is no plugin {name} in {}",
                network.name,
                listed(dirs)
            ),
            "no container can be attached to that network",
            remedy,
        )
    };
    types
        .into_iter()
        .flatten()
        .filter(|name| cni::delegate::find_in(dirs, name, &[]).is_err())
        .map(finding)
        .collect()
}

fn listed(dirs: &[PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

/// What a plugin of ours says when it is asked whether it can serve ADD (STATUS).
fn status(network: &Network, plugin: &PluginConfig, dirs: &[PathBuf]) -> Option<Finding> {
    let own = registry::find(&plugin.plugin_type)?;
    let path = std::env::join_paths(dirs).unwrap_or_default();
    let environment = Environment::from_pairs([("CNI_PATH", path)]);
    let asked = config_of(network, plugin)
        .and_then(|config| Request::new(Command::Status, &environment, config))
        .map_err(cni::Failure::from)
        .and_then(|request| {
            own.status(&Call {
                request: &request,
                plugins: registry::PLUGINS,
            })
        });
    let failure = asked.err()?;
    Some(Finding::error(
        format!("network {}: {failure}", network.name),
        format!(
            "its plugin {} will fail in the same way",
            plugin.plugin_type
        ),
        "correct what the message names",
    ))
}

/// The plugin's configuration as a runtime would send it. Older versions have no STATUS,
/// and the same keys.
fn config_of(network: &Network, plugin: &PluginConfig) -> Result<Config, cni::Error> {
    let mut raw = plugin.raw().clone();
    raw.insert("name".into(), network.name.clone().into());
    raw.retain(|key, _| !key.eq_ignore_ascii_case("cniVersion"));
    raw.insert("cniVersion".into(), Version::V1_1_0.as_str().into());
    Config::from_object(raw)
}
