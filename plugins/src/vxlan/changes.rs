//! What the kernel knows of a network's other hosts, compared with what it should.

use std::collections::HashSet;
use std::hash::Hash;

use kernel::{Link, Neighbour, Netlink, Operation, Remote, RouteEntry};

use super::desired::{Desired, Way};
use super::keys::Mode;
use super::names;
use super::router::Router;
use crate::Result;
use crate::routes::MAIN_TABLE;

/// Where the kernel has the entries of a network: the VXLAN device, in the host's
/// namespace or in the router's. The neighbours are its own as well: those that are
/// routed to, or those that it answers for. A bridge could answer, too, but it needs an
/// entry for each of them to do so, and goes through all its entries for every port that
/// comes or goes.
pub(super) struct Far {
    netlink: Netlink,
    pub(super) device: Link,
    mode: Mode,
}

/// The device of a VNI, if it is there.
pub(super) fn device(netlink: &mut Netlink, vni: u32) -> Result<Option<Link>> {
    let device = netlink.link(&names::device(vni))?;
    Ok(device.filter(|link| link.kind == "vxlan"))
}

impl Far {
    /// Finds the device, if it is there.
    pub(super) fn find(vni: u32, mode: Mode) -> Result<Option<Self>> {
        let mut netlink = match mode {
            Mode::L2 => Netlink::open()?,
            Mode::L3 => match Router::open(vni)? {
                Some(router) => router.netlink,
                None => return Ok(None),
            },
        };
        let device = device(&mut netlink, vni)?;
        Ok(device.map(|device| Far {
            netlink,
            device,
            mode,
        }))
    }

    /// Asks for changes where the device is.
    pub(super) fn ask(&mut self, operations: &[Operation]) -> Result<()> {
        Ok(self.netlink.apply(operations)?)
    }

    /// Carries out changes.
    pub(super) fn apply(&mut self, changes: &Changes) -> Result<()> {
        let operations = changes.operations(self);
        Ok(self.netlink.apply_in_parts(&operations)?)
    }

    fn ways(&mut self) -> Result<Vec<Way>> {
        let mut ways = Vec::new();
        for is_ipv4 in [true, false] {
            let routes = self.netlink.routes(is_ipv4, MAIN_TABLE)?;
            let way = |route: &RouteEntry| {
                let hop = route.next_hops.first()?;
                let via = hop.gateway.filter(|_| hop.link == self.device.index)?;
                Some(Way {
                    subnet: route.dst,
                    via,
                })
            };
            ways.extend(routes.iter().filter_map(way));
        }
        Ok(ways)
    }
}

/// What the kernel has too much, and what it lacks.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) remotes: Difference<Remote>,
    pub(super) neighbours: Difference<Neighbour>,
    pub(super) ways: Difference<Way>,
}

/// What is to be deleted and what added.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference<T> {
    pub(super) delete: Vec<T>,
    pub(super) add: Vec<T>,
}

impl<T: Copy + Eq + Hash> Difference<T> {
    fn between(found: &[T], wanted: &[T]) -> Self {
        let has: HashSet<&T> = found.iter().collect();
        let wants: HashSet<&T> = wanted.iter().collect();
        let only = |list: &[T], other: &HashSet<&T>| {
            let missing = list.iter().filter(|item| !other.contains(item));
            missing.copied().collect()
        };
        Difference {
            delete: only(found, &wants),
            add: only(wanted, &has),
        }
    }
}

impl Changes {
    /// All that is wanted, on devices that are new.
    pub(super) fn from_nothing(desired: &Desired) -> Self {
        Changes {
            remotes: Difference::between(&[], &desired.remotes),
            neighbours: Difference::between(&[], &desired.neighbours),
            ways: Difference::between(&[], &desired.ways),
        }
    }

    /// Compares what the kernel has with what is wanted.
    pub(super) fn of(far: &mut Far, desired: &Desired) -> Result<Self> {
        let mut remotes = far.netlink.remotes(far.device.index)?;
        // The group is the device's own.
        remotes.retain(|remote| !remote.host.is_multicast());
        let neighbours = far.netlink.all_set_neighbours(far.device.index)?;
        let ways = match far.mode {
            Mode::L2 => Vec::new(),
            Mode::L3 => far.ways()?,
        };
        Ok(Changes {
            remotes: Difference::between(&remotes, &desired.remotes),
            neighbours: Difference::between(&neighbours, &desired.neighbours),
            ways: Difference::between(&ways, &desired.ways),
        })
    }

    /// The requests that carry them out.
    fn operations(&self, far: &Far) -> Vec<Operation> {
        let device = far.device.index;
        let mut all = Vec::new();
        let route = |way: &Way| RouteEntry::new(way.subnet, device, Some(way.via));
        let ways = self.ways.delete.iter();
        all.extend(ways.map(|way| kernel::delete_route(&route(way))));
        let remotes = self.remotes.delete.iter();
        all.extend(remotes.map(|remote| kernel::delete_remote(device, remote)));
        let remotes = self.remotes.add.iter();
        all.extend(remotes.map(|remote| kernel::add_remote(device, remote)));
        // A neighbour whose hardware address changes is set, not deleted.
        let set: HashSet<_> = self.neighbours.add.iter().map(|one| one.ip).collect();
        let gone = self.neighbours.delete.iter();
        let gone = gone.filter(|one| !set.contains(&one.ip));
        all.extend(gone.map(|one| kernel::delete_neighbour(device, one.ip)));
        let known = self.neighbours.add.iter();
        all.extend(known.map(|one| kernel::set_neighbour(device, one)));
        let ways = self.ways.add.iter();
        all.extend(ways.map(|way| kernel::add_onlink_route(way.subnet, device, way.via)));
        all
    }

    /// In words; none when there is nothing to change.
    pub(super) fn summary(&self) -> Option<String> {
        let kinds = [
            ("missing remotes", self.remotes.add.len()),
            ("stale remotes", self.remotes.delete.len()),
            ("missing neighbours", self.neighbours.add.len()),
            ("stale neighbours", self.neighbours.delete.len()),
            ("missing routes", self.ways.add.len()),
            ("stale routes", self.ways.delete.len()),
        ];
        let some = kinds.iter().filter(|(_, count)| *count > 0);
        let texts: Vec<_> = some
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_changes() {
        let difference = Difference::between(&[1, 2, 3], &[3, 4, 1]);
        assert_eq!((difference.delete, difference.add), (vec![2], vec![4]));
        assert_eq!(Difference::between(&[1, 2], &[2, 1]), Difference::default());
    }
}
