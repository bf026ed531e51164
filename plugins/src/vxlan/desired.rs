//! What the kernel is to know about a network's other hosts, and what it lacks.

use std::collections::HashSet;
use std::hash::Hash;

use kernel::{EVERYBODY, Link, Neighbour, Netlink, Operation, PortRole, Remote};

use super::overlay::Overlay;
use super::peers::{Peer, Source};
use crate::Result;
use crate::attachment::mac_of_address;

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

    /// How the bridge treats the tunnel.
    pub(super) fn role(self) -> PortRole {
        PortRole {
            learning: self == Knowledge::Learned,
            answers_for_neighbours: self != Knowledge::Learned,
            floods: self != Knowledge::Computed,
        }
    }
}

/// The entries of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) knowledge: Knowledge,
    /// Which host has which hardware address.
    pub(super) remotes: Vec<Remote>,
    /// Which hardware address has which IP address.
    pub(super) neighbours: Vec<Neighbour>,
}

impl Desired {
    /// Whether the entries are ours to set, and not a routing daemon's.
    pub(super) fn is_ours(&self) -> bool {
        self.knowledge != Knowledge::Daemon
    }

    /// Of a network that is one segment (`l2`).
    pub(super) fn of_segment(
        source: &Source,
        peers: Option<&[Peer]>,
        overlay: &Overlay,
    ) -> Result<Self> {
        let mut desired = Desired {
            knowledge: match source {
                Source::Evpn => Knowledge::Daemon,
                _ => Knowledge::Learned,
            },
            remotes: Vec::new(),
            neighbours: Vec::new(),
        };
        let Some(peers) = peers else {
            return Ok(desired);
        };
        if is_computable(peers, overlay)? {
            desired.knowledge = Knowledge::Computed;
            desired.compute(peers, overlay)?;
        } else {
            let everybody = peers.iter().map(|peer| Remote {
                mac: EVERYBODY,
                host: peer.underlay,
            });
            desired.remotes.extend(everybody);
        }
        Ok(desired)
    }

    fn compute(&mut self, peers: &[Peer], overlay: &Overlay) -> Result<()> {
        for peer in peers {
            let Some(place) = &peer.place else { continue };
            for ip in overlay.addresses_at(place)? {
                let mac = mac_of_address(ip);
                self.neighbours.push(Neighbour { ip, mac });
                self.remotes.push(Remote {
                    mac,
                    host: peer.underlay,
                });
            }
        }
        Ok(())
    }
}

/// Whether who has which address follows from places, and is little enough to be
/// written down.
fn is_computable(peers: &[Peer], overlay: &Overlay) -> Result<bool> {
    if !overlay.is_computable() {
        return Ok(false);
    }
    let mut size: u128 = 0;
    for peer in peers {
        let Some(place) = &peer.place else {
            return Ok(false);
        };
        size = size.saturating_add(overlay.size_at(place)?);
        if size > MOST_ADDRESSES {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the kernel lacks and what it has too much.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Remotes to delete and to add.
    pub(super) remotes: (Vec<Remote>, Vec<Remote>),
    /// Neighbours to delete and to set.
    pub(super) neighbours: (Vec<Neighbour>, Vec<Neighbour>),
}

impl Changes {
    /// All that is wanted, on devices that are new.
    pub(super) fn from_nothing(desired: &Desired) -> Self {
        Changes {
            remotes: (Vec::new(), desired.remotes.clone()),
            neighbours: (Vec::new(), desired.neighbours.clone()),
        }
    }

    /// Compares what the kernel has with what is wanted.
    pub(super) fn of(
        host: &mut Netlink,
        bridge: &Link,
        device: &Link,
        desired: &Desired,
    ) -> Result<Self> {
        let remotes = host.remotes(device.index)?;
        let mut neighbours = host.set_neighbours(bridge.index, true)?;
        neighbours.extend(host.set_neighbours(bridge.index, false)?);
        Ok(Changes {
            remotes: changes(&remotes, &desired.remotes),
            neighbours: changes(&neighbours, &desired.neighbours),
        })
    }

    /// The requests that carry them out.
    pub(super) fn operations(&self, bridge: u32, device: u32) -> Vec<Operation> {
        let deleted = self.remotes.0.iter();
        let deleted = deleted.map(|remote| kernel::delete_remote(device, remote, true));
        let added = self.remotes.1.iter();
        let added = added.map(|remote| kernel::add_remote(device, remote, true));
        // A neighbour whose hardware address changes is set, not deleted.
        let set: HashSet<_> = self.neighbours.1.iter().map(|one| one.ip).collect();
        let forgotten = self
            .neighbours
            .0
            .iter()
            .filter(|one| !set.contains(&one.ip));
        let forgotten = forgotten.map(|one| kernel::delete_neighbour(bridge, one.ip));
        let known = self.neighbours.1.iter();
        let known = known.map(|one| kernel::set_neighbour(bridge, one));
        deleted.chain(added).chain(forgotten).chain(known).collect()
    }

    /// In words; none when there is nothing to change.
    pub(super) fn summary(&self) -> Option<String> {
        let kinds = [
            ("missing remotes", self.remotes.1.len()),
            ("stale remotes", self.remotes.0.len()),
            ("missing neighbours", self.neighbours.1.len()),
            ("stale neighbours", self.neighbours.0.len()),
        ];
        let some = kinds.iter().filter(|(_, count)| *count > 0);
        let texts: Vec<_> = some
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

/// What is to be deleted and what added, so that `found` becomes `wanted`.
pub(super) fn changes<T: Copy + Eq + Hash>(found: &[T], wanted: &[T]) -> (Vec<T>, Vec<T>) {
    let has: HashSet<&T> = found.iter().collect();
    let wants: HashSet<&T> = wanted.iter().collect();
    let only = |list: &[T], other: &HashSet<&T>| {
        let missing = list.iter().filter(|item| !other.contains(item));
        missing.copied().collect()
    };
    (only(found, &wants), only(wanted, &has))
}

#[cfg(test)]
mod tests {
    use cni::Config;
    use serde_json::json;

    use super::*;

    fn segment(subnet: &str, places: u64) -> Desired {
        let peers: Vec<Peer> = (0..places)
            .map(|slot| Peer {
                underlay: std::net::Ipv4Addr::from_bits(0xc000_0200 + slot as u32).into(),
                place: Some([("slot".to_owned(), slot)].into_iter().collect()),
                subnets: Vec::new(),
            })
            .collect();
        let config = json!({"name": "n", "ipam": {"type": "host-local", "subnet": subnet}});
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let overlay = Overlay::read(&config).unwrap();
        let source = Source::Places(place::Bounds::default());
        Desired::of_segment(&source, Some(&peers), &overlay).unwrap()
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
        assert!(!desired.knowledge.role().floods);
    }

    #[test]
    fn others_are_asked() {
        for (subnet, places) in [
            ("10.0.0.0/16", 3),
            ("10.{slot}.0.0/16", 3),
            ("fd00:{slot}::/64", 3),
        ] {
            let desired = segment(subnet, places);
            assert_eq!(desired.knowledge, Knowledge::Learned, "{subnet}");
            assert_eq!(desired.remotes.len(), 3);
            assert!(desired.remotes.iter().all(|remote| remote.mac == EVERYBODY));
        }
    }

    #[test]
    fn only_differences_are_changes() {
        assert_eq!(changes(&[1, 2, 3], &[3, 4, 1]), (vec![2], vec![4]));
        assert_eq!(changes(&[1, 2], &[2, 1]), (vec![], vec![]));
    }
}
