//! What is attached: the rows of the table, and the networks that they consist
//! of, in the words of each kind of configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Bridge,
    Macvlan,
    Ptp,
    Ipvlan,
    Vlan,
}

impl Kind {
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Kind::Bridge => "bridge",
            Kind::Macvlan => "macvlan",
            Kind::Ptp => "ptp",
            Kind::Ipvlan => "ipvlan",
            Kind::Vlan => "vlan",
        }
    }

    /// Whether the floor and netavark make such attachments too.
    pub(crate) fn is_everybodys(self) -> bool {
        matches!(self, Kind::Bridge | Kind::Macvlan)
    }

    /// Whether every kernel that containers run on has the driver; otherwise it is
    /// measured when it is asked for (`tests/vm/run` has a kernel with it).
    pub(crate) fn is_in_every_kernel(self) -> bool {
        !matches!(self, Kind::Ipvlan | Kind::Vlan)
    }
}

/// A row: the same attachment for every contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) kinds: &'static [Kind],
    pub(crate) dual: bool,
    pub(crate) masquerade: bool,
    /// The bridge is removed before each ADD. Otherwise it is there, with a port.
    pub(crate) new_bridge: bool,
}

const PLAIN: Scenario = Scenario {
    name: "bridge-v4",
    kinds: &[Kind::Bridge],
    dual: false,
    masquerade: false,
    new_bridge: false,
};

/// The scenario that the throughput is measured with.
pub(crate) const TYPICAL: Scenario = PLAIN;

pub(crate) const SCENARIOS: [Scenario; 12] = [
    PLAIN,
    Scenario {
        name: "bridge-dual",
        dual: true,
        ..PLAIN
    },
    Scenario {
        name: "bridge-v4-masq",
        masquerade: true,
        ..PLAIN
    },
    Scenario {
        name: "bridge-dual-masq",
        dual: true,
        masquerade: true,
        ..PLAIN
    },
    Scenario {
        name: "bridge-v4-new",
        new_bridge: true,
        ..PLAIN
    },
    Scenario {
        name: "macvlan-v4",
        kinds: &[Kind::Macvlan],
        ..PLAIN
    },
    Scenario {
        name: "macvlan-dual",
        kinds: &[Kind::Macvlan],
        dual: true,
        ..PLAIN
    },
    Scenario {
        name: "two-networks",
        kinds: &[Kind::Bridge, Kind::Macvlan],
        ..PLAIN
    },
    Scenario {
        name: "ptp-v4",
        kinds: &[Kind::Ptp],
        ..PLAIN
    },
    Scenario {
        name: "ptp-dual",
        kinds: &[Kind::Ptp],
        dual: true,
        ..PLAIN
    },
    Scenario {
        name: "ipvlan-v4",
        kinds: &[Kind::Ipvlan],
        ..PLAIN
    },
    Scenario {
        name: "vlan-v4",
        kinds: &[Kind::Vlan],
        ..PLAIN
    },
];

/// The bridge and the macvlan's master, in the host's namespace.
pub(crate) const BRIDGE: &str = "bench0";
pub(crate) const UPLINK: &str = "uplink";
const CNI_VERSION: &str = "1.0.0";

impl Scenario {
    /// Whether it is measured when nothing is asked for.
    pub(crate) fn is_usual(&self) -> bool {
        self.kinds.iter().all(|kind| kind.is_in_every_kernel())
    }

    /// In the order in which a container gets them.
    pub(crate) fn networks(&self) -> Vec<Network> {
        let scenario = *self;
        let network = |(position, kind): (usize, &Kind)| Network {
            kind: *kind,
            position,
            scenario,
        };
        self.kinds.iter().enumerate().map(network).collect()
    }
}

/// One network of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) kind: Kind,
    position: usize,
    scenario: Scenario,
}

impl Network {
    pub(crate) fn plugin(&self) -> &'static str {
        self.kind.plugin()
    }

    pub(crate) fn name(&self) -> String {
        format!("bench-{}", self.plugin())
    }

    /// The interface inside the container.
    pub(crate) fn interface(&self) -> String {
        format!("eth{}", self.position)
    }

    pub(crate) fn has_default_route(&self) -> bool {
        self.position == 0
    }

    pub(crate) fn families(&self) -> Vec<Family> {
        let net = match self.kind {
            Kind::Bridge => 1,
            Kind::Macvlan => 2,
            Kind::Ptp => 3,
            Kind::Ipvlan => 4,
            Kind::Vlan => 5,
        };
        let v4 = Family::V4(net);
        if self.scenario.dual {
            vec![v4, Family::V6(net)]
        } else {
            vec![v4]
        }
    }

    /// For a CNI plugin: the same text for ours and for the reference. A VLAN is one
    /// container's, so it has the container's `number`.
    pub(crate) fn cni(&self, data_dir: &Path, number: u8) -> Value {
        let families = self.families();
        let ranges: Vec<_> = families
            .iter()
            .map(|family| json!([{ "subnet": family.subnet() }]))
            .collect();
        let routes: Vec<_> = families
            .iter()
            .filter(|_| self.has_default_route())
            .map(|family| json!({ "dst": family.everything() }))
            .collect();
        let ipam = json!({
            "type": "host-local", "ranges": ranges, "routes": routes, "dataDir": data_dir,
        });
        match self.kind {
            Kind::Bridge => json!({
                "cniVersion": CNI_VERSION, "name": self.name(), "type": "bridge",
                "bridge": BRIDGE, "isGateway": true, "ipMasq": self.scenario.masquerade,
                "ipam": ipam,
            }),
            Kind::Macvlan | Kind::Ipvlan => json!({
                "cniVersion": CNI_VERSION, "name": self.name(), "type": self.plugin(),
                "master": UPLINK, "ipam": ipam,
            }),
            Kind::Vlan => json!({
                "cniVersion": CNI_VERSION, "name": self.name(), "type": "vlan",
                "master": UPLINK, "vlanId": number, "ipam": ipam,
            }),
            Kind::Ptp => json!({
                "cniVersion": CNI_VERSION, "name": self.name(), "type": "ptp",
                "ipMasq": self.scenario.masquerade, "ipam": ipam,
            }),
        }
    }

    /// For netavark. An internal network is the one that it writes no rules for;
    /// it gets no default route either.
    pub(crate) fn netavark(&self) -> Value {
        let subnets: Vec<_> = self
            .families()
            .iter()
            .map(|family| json!({ "subnet": family.subnet(), "gateway": family.address(1) }))
            .collect();
        let device = match self.kind {
            Kind::Bridge => BRIDGE,
            _ => UPLINK,
        };
        json!({
            "name": self.name(), "id": format!("{:064x}", self.position + 1),
            "driver": self.plugin(), "network_interface": device, "subnets": subnets,
            "internal": !self.scenario.masquerade, "ipv6_enabled": self.scenario.dual,
            "dns_enabled": false, "ipam_options": { "driver": "host-local" },
        })
    }

    /// For the floor: see its own description of the words.
    pub(crate) fn floor(&self, number: u8, create: bool) -> Vec<String> {
        let mut words = vec![
            format!("kind={}", self.plugin()),
            format!("name={}", self.interface()),
        ];
        match self.kind {
            Kind::Bridge => {
                words.push(format!("link={BRIDGE}"));
                words.push(format!("host=floor{number}"));
            }
            _ => words.push(format!("link={UPLINK}")),
        }
        for family in self.families() {
            let length = family.length();
            words.push(format!("address={}/{length}", family.address(number)));
            if self.has_default_route() {
                words.push(format!("gateway={}", family.address(1)));
            }
            if create && self.kind == Kind::Bridge {
                words.push(format!("router={}/{length}", family.address(1)));
            }
        }
        words
    }
}

/// The addresses of one network in one family.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4(u8),
    V6(u8),
}

impl Family {
    pub(crate) fn length(self) -> u8 {
        match self {
            Self::V4(_) => 24,
            Self::V6(_) => 64,
        }
    }

    pub(crate) fn subnet(self) -> String {
        format!("{}/{}", self.address(0), self.length())
    }

    fn everything(self) -> &'static str {
        match self {
            Self::V4(_) => "0.0.0.0/0",
            Self::V6(_) => "::/0",
        }
    }

    /// The address with that number in the subnet; 1 is the router's.
    pub(crate) fn address(self, number: u8) -> IpAddr {
        match self {
            Self::V4(net) => Ipv4Addr::new(10, 24, net, number).into(),
            Self::V6(net) => {
                Ipv6Addr::new(0xfd00, 0x24, net.into(), 0, 0, 0, 0, number.into()).into()
            }
        }
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net), IpAddr::V4(address)) => address.octets()[..3] == [10, 24, net],
            (Self::V6(net), IpAddr::V6(address)) => {
                address.segments()[..4] == [0xfd00, 0x24, net.into(), 0]
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }

    #[test]
    fn a_family_contains_its_own_addresses_only() {
        assert_eq!(Family::V4(1).subnet(), "10.24.1.0/24");
        assert_eq!(Family::V6(2).subnet(), "fd00:24:2::/64");
        assert!(Family::V6(2).contains(Family::V6(2).address(9)));
        assert!(!Family::V6(2).contains(Family::V6(1).address(9)));
        assert!(!Family::V4(1).contains(Family::V6(1).address(9)));
    }

    #[test]
    fn only_the_first_network_has_the_default_route() {
        let two = SCENARIOS[7].networks();
        let routes = |network: &Network| {
            let configuration = network.cni(Path::new("/data"), 2);
            configuration["ipam"]["routes"].as_array().map(Vec::len)
        };
        assert_eq!(routes(&two[0]), Some(1));
        assert_eq!(routes(&two[1]), Some(0));
    }
}
