//! What not every kernel has, and how to find out whether this one does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{Host, Namespace, program};

/// A part of the kernel that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Bridges that know VLANs (`CONFIG_BRIDGE_VLAN_FILTERING`).
    BridgeVlans,
    /// Links that swallow packets.
    Dummy,
    /// Links that share one hardware address and differ by IP address.
    Ipvlan,
    /// Links that are one VLAN of another link (`CONFIG_VLAN_8021Q`).
    Vlan,
    /// Links that stand for a routing table.
    Vrf,
}

impl Feature {
    /// Whether the running kernel has it. It is tried, once a program: a driver may be a module
    /// that the kernel loads when it is asked.
    pub fn is_there(self) -> bool {
        static FOUND: Mutex<BTreeMap<Feature, bool>> = Mutex::new(BTreeMap::new());
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        *found.entry(self).or_insert_with(|| self.works())
    }

    fn works(self) -> bool {
        let link = match self {
            Feature::BridgeVlans => "name probe type bridge vlan_filtering 1",
            Feature::Dummy => "name probe type dummy",
            Feature::Ipvlan => "link below name probe type ipvlan",
            Feature::Vlan => "link below name probe type vlan id 2",
            Feature::Vrf => "name probe type vrf table 10",
        };
        let host = Host::new("probe");
        host.ip("link add name below type veth peer name other");
        let command = format!("link add {link}");
        let output = host.run(|| program::run("ip", &["-batch", "-"], &command));
        output.status.success()
    }
}
