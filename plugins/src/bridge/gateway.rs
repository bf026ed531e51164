//! What it means that the host is the gateway: addresses of the bridge, and the
//! container's default route.

use cni::Attachment;
use ipnetwork::IpNetwork;

use super::keys::Keys;
use crate::{Error, Result, gateway};

impl Keys {
    /// Fills in what being a gateway means for the container, and returns the
    /// addresses that it means for the bridge: those in the lease, or the first of
    /// a subnet where the IPAM plugin names none.
    ///
    /// # Errors
    /// [`Error::OwnGateway`].
    pub(super) fn gateways(&self, lease: &mut Attachment) -> Result<Vec<IpNetwork>> {
        if !self.is_gateway {
            return Ok(Vec::new());
        }
        let gateways = gateway::addresses(lease)?;
        if self.is_default_gateway {
            gateway::add_default_routes(lease);
        }
        Ok(gateways)
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
                        bridge: self.vlan_gateway().unwrap_or_else(|| self.bridge.clone()),
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

#[cfg(test)]
mod tests {
    use cni::Ip;
    use serde_json::json;

    use super::*;
    use crate::bridge::keys::tests::keys;

    fn nets(nets: &[&str]) -> Vec<IpNetwork> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
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
            gateway.gateways(&mut lease).unwrap(),
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
        gateway.gateways(&mut lease).unwrap();
        assert_eq!(lease.routes.len(), 2);
        let plain = keys(json!({})).unwrap();
        assert!(plain.gateways(&mut lease).unwrap().is_empty());

        let mut of = |address: &str| {
            lease.ips = vec![ip(address, None)];
            gateway.gateways(&mut lease)
        };
        assert_eq!(of("10.1.2.4/31").unwrap(), nets(&["10.1.2.5/31"]));
        assert_eq!(of("10.1.2.5/31").unwrap(), nets(&["10.1.2.4/31"]));
        assert_eq!(of("fd00::1/127").unwrap(), nets(&["fd00::/127"]));
        assert_eq!(of("fd00::53/128").unwrap(), nets(&[]));
        let own = of("10.1.2.1/24").unwrap_err().to_string();
        assert!(
            own.contains("10.1.2.1/24") && own.contains("\"gateway\""),
            "{own}"
        );
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
