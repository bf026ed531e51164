//! The plugins in this executable.

use cni::{Plugin, Plugins};

/// Every plugin, in the order in which people read about them.
pub(crate) static PLUGINS: Plugins = &[
    &plugins::Bridge,
    plugins::MACVLAN,
    plugins::IPVLAN,
    plugins::VLAN,
    &plugins::Ptp,
    &plugins::HostDevice,
    plugins::DUMMY,
    plugins::TAP,
    &plugins::Vxlan,
    &plugins::Loopback,
    &plugins::DefaultRoute,
    &plugins::Sbr,
    &ipam::HostLocal,
    &ipam::Static,
];

/// The plugin of that name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Plugin> {
    PLUGINS.iter().copied().find(|plugin| plugin.name() == name)
}

/// The plugins' names.
pub(crate) fn names() -> Vec<&'static str> {
    PLUGINS.iter().map(|plugin| plugin.name()).collect()
}
