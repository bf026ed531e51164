//! What the kernel is to know about a network's other hosts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use kernel::{EVERYBODY, Neighbour, PortRole, Remote};

use super::fault::Fault;
use super::names;
use super::overlay::Overlay;
use super::peers::{Peer, Source};
use crate::Result;
use crate::attachment::mac_of_addresses;

/// The most addresses that a host computes entries for; 64 Ki of them take some
/// 40 MB of the kernel's memory. Networks with more send questions to all hosts.
const MOST_ADDRESSES: u128 = 1 << 16;

/// How the hosts of a network find out who is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// All is computed: nothing is asked, nothing is learned, nothing floods.
    Computed,
    /// Questions go to all hosts, and answers are learned from.
    Learned,
    /// A routing daemon sets what there is.
    Daemon,
}

impl Knowledge {
    /// Whether the tunnel learns from packets.
    pub(super) fn learns(self) -> bool {
        self == Knowledge::Learned
    }

    /// How the bridge treats the tunnel. Where all is computed the tunnel knows it, and
    /// the bridge hands it whatever is not for a container of this host.
    pub(super) fn role(self) -> PortRole {
        PortRole {
            learning: self == Knowledge::Learned,
            answers_for_neighbours: self == Knowledge::Daemon,
            floods: true,
            hears_all_groups: self == Knowledge::Computed,
        }
    }
}

/// A route to a subnet of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) subnet: IpNetwork,
    pub(super) via: IpAddr,
}

/// The entries of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) knowledge: Knowledge,
    /// Which host has which hardware address.
    pub(super) remotes: Vec<Remote>,
    /// Which hardware address has which IP address.
    pub(super) neighbours: Vec<Neighbour>,
    /// Which host has which subnet, where hosts are routed to.
    pub(super) ways: Vec<Way>,
    /// Why hosts are asked that have places.
    pub(super) why_asked: Option<String>,
}

impl Desired {
    fn new(knowledge: Knowledge) -> Self {
        Desired {
            knowledge,
            remotes: Vec::new(),
            neighbours: Vec::new(),
            ways: Vec::new(),
            why_asked: None,
        }
    }

    /// Whether the entries are ours to set, and not a routing daemon's.
    pub(super) fn is_ours(&self) -> bool {
        self.knowledge != Knowledge::Daemon
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.remotes.len() + self.neighbours.len() + self.ways.len()
    }

    /// Of a network that is one segment (`l2`).
    pub(super) fn of_segment(
        source: &Source,
        peers: Option<&[Peer]>,
        overlay: &Overlay,
    ) -> Result<Self> {
        let Some(peers) = peers else {
            return Ok(Desired::new(match source {
                Source::Evpn => Knowledge::Daemon,
                _ => Knowledge::Learned,
            }));
        };
        let why_not = why_not_computed(peers, overlay)?;
        if why_not.is_none() {
            let mut desired = Desired::new(Knowledge::Computed);
            desired.compute(peers, overlay)?;
            return Ok(desired);
        }
        let mut desired = Desired::new(Knowledge::Learned);
        // Of a list nobody expects anything else.
        desired.why_asked = why_not.filter(|_| !matches!(source, Source::Static(_)));
        let everybody = peers.iter().map(|peer| Remote {
            mac: EVERYBODY,
            host: peer.underlay,
        });
        desired.remotes.extend(everybody);
        Ok(desired)
    }

    fn compute(&mut self, peers: &[Peer], overlay: &Overlay) -> Result<()> {
        for peer in peers {
            let Some(place) = &peer.place else { continue };
            for ips in overlay.addresses_at(place)? {
                let Some(mac) = mac_of_addresses(ips.iter().copied()) else {
                    continue;
                };
                let neighbours = ips.iter().map(|ip| Neighbour { ip: *ip, mac });
                self.neighbours.extend(neighbours);
                self.remotes.push(Remote {
                    mac,
                    host: peer.underlay,
                });
            }
        }
        Ok(())
    }

    /// Of a network whose hosts are routed to (`l3`): of each host its end of the
    /// tunnel, once, and its subnets. The next hop is the address of the subnet
    /// itself, which no container has.
    ///
    /// # Errors
    /// [`Fault::NoSubnets`].
    pub(super) fn of_routes(peers: &[Peer], overlay: &Overlay) -> Result<Self> {
        let mut desired = Desired::new(Knowledge::Computed);
        for peer in peers {
            let subnets = match &peer.place {
                Some(place) if overlay.has_subnets_by_place() => overlay.subnets_at(place)?,
                _ => peer.subnets.clone(),
            };
            if subnets.is_empty() {
                return Err(Fault::NoSubnets(peer.underlay).into());
            }
            let mac = names::tunnel_mac(peer.underlay);
            desired.remotes.push(Remote {
                mac,
                host: peer.underlay,
            });
            for is_ipv4 in [true, false] {
                let mut of_family = subnets.iter().filter(|net| net.is_ipv4() == is_ipv4);
                let Some(via) = of_family.clone().next().map(IpNetwork::network) else {
                    continue;
                };
                desired.neighbours.push(Neighbour { ip: via, mac });
                desired
                    .ways
                    .extend(of_family.by_ref().map(|net| Way { subnet: *net, via }));
            }
        }
        Ok(desired)
    }
}

/// Why who has which address does not follow from places, or is too much to be written
/// down; none if it can be.
fn why_not_computed(peers: &[Peer], overlay: &Overlay) -> Result<Option<String>> {
    if let Err(unknown) = overlay.is_computable() {
        return Ok(Some(unknown.to_string()));
    }
    let mut size: u128 = 0;
    for peer in peers {
        let Some(place) = &peer.place else {
            let why = format!("\"peers\" has no place of host {}", peer.underlay);
            return Ok(Some(why));
        };
        size = size.saturating_add(overlay.size_at(place)?);
    }
    Ok((size > MOST_ADDRESSES).then(|| {
        format!("{size} addresses of other hosts are more than the {MOST_ADDRESSES} that a host computes")
    }))
}

#[cfg(test)]
mod tests {
    use cni::Config;
    use serde_json::json;

    use super::*;

    fn overlay(subnet: &str) -> Overlay {
        let config = json!({"name": "n", "ipam": {"type": "host-local", "subnet": subnet}});
        Overlay::read(&Config::parse(config.to_string().as_bytes()).unwrap()).unwrap()
    }

    fn segment(subnet: &str, places: u64) -> Desired {
        let peers: Vec<Peer> = (0..places)
            .map(|slot| Peer {
                underlay: std::net::Ipv4Addr::from_bits(0xc000_0200 + slot as u32).into(),
                place: Some([("slot".to_owned(), slot)].into_iter().collect()),
                subnets: Vec::new(),
            })
            .collect();
        let source = Source::Places(place::Bounds::default());
        Desired::of_segment(&source, Some(&peers), &overlay(subnet)).unwrap()
    }

    #[test]
    fn addresses_that_follow_from_places_need_no_questions() {
        let desired = segment("10.0.{slot}.0/29", 2);
        assert_eq!(desired.knowledge, Knowledge::Computed);
        assert_eq!((desired.remotes.len(), desired.neighbours.len()), (10, 10));
        let (remote, neighbour) = (desired.remotes[5], desired.neighbours[5]);
        assert_eq!(neighbour.ip.to_string(), "10.0.1.2");
        assert_eq!(neighbour.mac.to_string(), "0a:58:0a:00:01:02");
        assert_eq!(remote.mac, neighbour.mac);
        assert_eq!(remote.host.to_string(), "192.0.2.1");
        assert!(desired.knowledge.role().hears_all_groups);
    }

    #[test]
    fn others_are_asked() {
        for (subnet, places, says) in [
            ("10.0.0.0/16", 3, "no fields"),
            ("10.{slot}.0.0/16", 3, "196602 addresses"),
            ("fd00:{slot}::/64", 3, "65536"),
        ] {
            let desired = segment(subnet, places);
            assert_eq!(desired.knowledge, Knowledge::Learned, "{subnet}");
            assert_eq!(desired.remotes.len(), 3);
            assert!(desired.remotes.iter().all(|remote| remote.mac == EVERYBODY));
            let why = desired.why_asked.unwrap();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn routed_hosts_are_three_entries() {
        let place = [("slot".to_owned(), 3)].into_iter().collect();
        let peer = |place, subnets: &[&str]| Peer {
            underlay: "192.0.2.3".parse().unwrap(),
            place,
            subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
        };
        let overlay = overlay("10.0.{slot}.0/24");
        let by_place = Desired::of_routes(&[peer(Some(place), &[])], &overlay).unwrap();
        assert_eq!(by_place.len(), 3);
        assert_eq!(by_place.remotes[0].mac.to_string(), "0e:58:c0:00:02:03");
        assert_eq!(by_place.ways[0].subnet.to_string(), "10.0.3.0/24");
        assert_eq!(by_place.ways[0].via.to_string(), "10.0.3.0");
        assert_eq!(by_place.neighbours[0].ip, by_place.ways[0].via);
        let listed = ["10.7.0.0/24", "10.8.0.0/24", "fd07::/64"];
        let listed = Desired::of_routes(&[peer(None, &listed)], &overlay).unwrap();
        assert_eq!((listed.neighbours.len(), listed.ways.len()), (2, 3));
        assert_eq!(listed.ways[1].via.to_string(), "10.7.0.0");
        let error = Desired::of_routes(&[peer(None, &[])], &overlay).unwrap_err();
        assert!(error.to_string().contains("192.0.2.3"), "{error}");
    }
}
