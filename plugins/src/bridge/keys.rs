//! The keys of `bridge`, and what follows from them alone.

use cni::{Attachment, Config, Route};
use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::{Error, Result};

/// The largest MTU of a veth (`ETH_MAX_MTU`), the smallest that IPv4 allows.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Keys {
    pub(super) bridge: String,
    pub(super) is_gateway: bool,
    pub(super) is_default_gateway: bool,
    pub(super) force_address: bool,
    pub(super) ip_masq: bool,
    mtu: u32,
    pub(super) hairpin_mode: bool,
    pub(super) promisc_mode: bool,
    vlan: u16,
    vlan_trunk: Vec<serde::de::IgnoredAny>,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            bridge: "cni0".into(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            vlan: 0,
            vlan_trunk: Vec::new(),
            macspoofchk: false,
            enabledad: false,
            disable_container_interface: false,
            port_isolation: false,
        }
    }
}

impl Keys {
    pub(super) fn read(config: &Config) -> Result<Self> {
        let mut keys: Keys = config.read()?;
        if keys.bridge.is_empty() {
            keys.bridge = Keys::default().bridge;
        }
        keys.is_gateway |= keys.is_default_gateway;
        keys.validate()?;
        Ok(keys)
    }

    fn validate(&self) -> Result<()> {
        if !cni::name::is_interface(&self.bridge) {
            return Err(Error::BadKey {
                key: "bridge",
                value: format!("\"{}\"", self.bridge),
                right: cni::name::INTERFACE.into(),
            });
        }
        if self.mtu != 0 && !MTU.contains(&self.mtu) {
            return Err(Error::BadKey {
                key: "mtu",
                value: self.mtu.to_string(),
                right: format!(
                    "{} to {} bytes, or 0 for the default",
                    MTU.start(),
                    MTU.end()
                ),
            });
        }
        if self.hairpin_mode && self.promisc_mode {
            return Err(Error::Exclusive("hairpinMode", "promiscMode"));
        }
        let unsupported = [
            ("vlan", self.vlan != 0, self.vlan.to_string()),
            ("vlanTrunk", !self.vlan_trunk.is_empty(), "[…]".into()),
            ("macspoofchk", self.macspoofchk, "true".into()),
            ("enabledad", self.enabledad, "true".into()),
            (
                "disableContainerInterface",
                self.disable_container_interface,
                "true".into(),
            ),
            ("portIsolation", self.port_isolation, "true".into()),
        ];
        match unsupported.into_iter().find(|(_, is_set, _)| *is_set) {
            Some((key, _, value)) => Err(Error::Unsupported { key, value }),
            None => Ok(()),
        }
    }

    /// The MTU, if one was chosen.
    pub(super) fn mtu(&self) -> Option<u32> {
        Some(self.mtu).filter(|mtu| *mtu != 0)
    }

    /// Fills in what being a gateway means for the container, and returns the
    /// addresses that it means for the bridge: those in the lease, or the first of
    /// a subnet where the IPAM plugin names none.
    pub(super) fn gateways(&self, lease: &mut Attachment) -> Vec<IpNetwork> {
        if !self.is_gateway {
            return Vec::new();
        }
        let mut gateways = Vec::new();
        for ip in &mut lease.ips {
            let gateway = *ip.gateway.get_or_insert_with(|| first(ip.address));
            // A prefix that an address of the same family already has fits it.
            gateways.extend(IpNetwork::new(gateway, ip.address.prefix()));
        }
        if self.is_default_gateway {
            add_default_routes(lease);
        }
        gateways
    }

    /// What must be added to and deleted from a bridge that has the addresses
    /// `found` so that it has `wanted`. As in the reference a bridge has one IPv4
    /// address, and IPv6 addresses whose subnets do not overlap.
    pub(super) fn compare_addresses(
        &self,
        found: &[IpNetwork],
        wanted: &[IpNetwork],
    ) -> Result<(Vec<IpNetwork>, Vec<IpNetwork>)> {
        let missing = wanted.iter().copied().filter(|net| !found.contains(net));
        let (mut add, mut delete) = (Vec::new(), Vec::new());
        for net in missing {
            let in_the_way = found.iter().copied().filter(|other| {
                let same_family = other.is_ipv4() == net.is_ipv4();
                let overlap = other.contains(net.ip()) || net.contains(other.ip());
                same_family && (net.is_ipv4() || overlap) && !wanted.contains(other)
            });
            for other in in_the_way {
                if !self.force_address {
                    return Err(Error::OtherAddress {
                        bridge: self.bridge.clone(),
                        found: other,
                        wanted: net,
                    });
                }
                delete.push(other);
            }
            add.push(net);
        }
        Ok((add, delete))
    }
}

/// The first address of a subnet.
fn first(subnet: IpNetwork) -> std::net::IpAddr {
    match subnet {
        IpNetwork::V4(net) => std::net::Ipv4Addr::from_bits(net.network().to_bits() | 1).into(),
        IpNetwork::V6(net) => std::net::Ipv6Addr::from_bits(net.network().to_bits() | 1).into(),
    }
}

/// A default route a family, unless the IPAM plugin gave one with a next hop.
fn add_default_routes(lease: &mut Attachment) {
    for ip in &lease.ips {
        let is_default =
            |route: &Route| route.dst.prefix() == 0 && route.dst.is_ipv4() == ip.address.is_ipv4();
        if lease
            .routes
            .iter()
            .any(|route| is_default(route) && route.gw.is_some())
        {
            continue;
        }
        let Ok(dst) = IpNetwork::new(unspecified(ip.address), 0) else {
            continue;
        };
        lease.routes.push(Route {
            dst,
            gw: ip.gateway,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        });
    }
}

fn unspecified(net: IpNetwork) -> std::net::IpAddr {
    match net {
        IpNetwork::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpNetwork::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use cni::Ip;
    use serde_json::{Value, json};

    use super::*;

    fn keys(extra: Value) -> Result<Keys> {
        let mut config = json!({"name": "n", "type": "bridge"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Keys::read(&Config::parse(config.to_string().as_bytes()).unwrap())
    }

    fn nets(nets: &[&str]) -> Vec<IpNetwork> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn defaults_and_other_cases() {
        let plain = keys(json!({"bridge": ""})).unwrap();
        assert_eq!(plain.bridge, "cni0");
        assert_eq!(plain.mtu(), None);
        let gateway = keys(json!({"isdefaultgateway": true, "MTU": 1400})).unwrap();
        assert!(gateway.is_gateway);
        assert_eq!(gateway.mtu(), Some(1400));
    }

    #[test]
    fn errors_name_key_and_value() {
        let error = |extra| keys(extra).unwrap_err().to_string();
        assert!(
            error(json!({"bridge": "a-name-too-long-for-it"})).contains("\"bridge\": \"a-name-too")
        );
        assert!(error(json!({"mtu": 67})).contains("\"mtu\": 67"));
        assert!(error(json!({"mtu": "1500"})).contains("\"mtu\": invalid type"));
        assert!(
            error(json!({"hairpinMode": true, "promiscMode": true})).contains("exclude each other")
        );
        assert!(error(json!({"vlan": 5})).contains("\"vlan\": 5"));
    }

    #[test]
    fn gateways_come_from_the_lease_or_are_the_first_of_the_subnet() {
        let ip = |address: &str, gateway: Option<&str>| Ip {
            address: address.parse().unwrap(),
            gateway: gateway.map(|gw| gw.parse().unwrap()),
            interface: None,
            shared: false,
        };
        let mut lease = Attachment {
            ips: vec![
                ip("10.1.2.7/24", Some("10.1.2.254")),
                ip("fd00::7/64", None),
            ],
            routes: vec![],
            ..Attachment::default()
        };
        let gateway = keys(json!({"isDefaultGateway": true})).unwrap();
        assert_eq!(
            gateway.gateways(&mut lease),
            nets(&["10.1.2.254/24", "fd00::1/64"])
        );
        assert_eq!(lease.ips[1].gateway, Some("fd00::1".parse().unwrap()));
        let routes: Vec<_> = lease
            .routes
            .iter()
            .map(|r| (r.dst.to_string(), r.gw.unwrap().to_string()))
            .collect();
        let expected =
            [("0.0.0.0/0", "10.1.2.254"), ("::/0", "fd00::1")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(routes, expected);
        gateway.gateways(&mut lease);
        assert_eq!(lease.routes.len(), 2);
        let plain = keys(json!({})).unwrap();
        assert!(plain.gateways(&mut lease).is_empty());
    }

    #[test]
    fn other_addresses_are_kept_replaced_or_an_error() {
        let found = nets(&["10.0.0.1/24", "fd00:1::1/64"]);
        let plain = keys(json!({})).unwrap();
        let force = keys(json!({"forceAddress": true})).unwrap();
        let same = plain.compare_addresses(&found, &found).unwrap();
        assert_eq!(same, (vec![], vec![]));
        let v6 = plain
            .compare_addresses(&found, &nets(&["fd00:2::1/64"]))
            .unwrap();
        assert_eq!(v6, (nets(&["fd00:2::1/64"]), vec![]));
        let v4 = nets(&["10.0.1.1/24"]);
        let error = plain
            .compare_addresses(&found, &v4)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("10.0.0.1/24") && error.contains("10.0.1.1/24"),
            "{error}"
        );
        assert!(
            plain
                .compare_addresses(&found, &nets(&["fd00:1::2/64"]))
                .is_err()
        );
        let forced = force.compare_addresses(&found, &v4).unwrap();
        assert_eq!(forced, (v4, nets(&["10.0.0.1/24"])));
    }
}
