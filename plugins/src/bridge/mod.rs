//! `bridge`: a container on a virtual switch of its host.
//!
//! The host's end of a veth pair becomes a port of the bridge, the container's
//! end is made in its namespace under its final name. With `isGateway` the bridge
//! itself has the subnet's gateway address and the host routes; with `vlan` as well
//! an interface beside it has, which is in that VLAN.

mod check;
mod device;
mod gateway;
mod keys;
mod port;
mod vlan;

use cni::{Attachment, Call, Failure, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, Operation, VethPair};

use crate::attachment::{Identity, requested_mac};
use crate::container::Inside;
use crate::sharing::{Sharing, Users};
use crate::undo::Undo;
use crate::{Error, Result, cable, forwarding, garbage, lease, spoof, turn, vxlan};
pub(crate) use device::wait_for_port;
use keys::Keys;

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let _alone = turn::take_if_possible(&Identity::of(call.request));
        remove(call.request)?;
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check::attachment(call.request)?;
        call.ipam_forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, |stale| {
            collect(stale)?;
            vxlan::leave_all(&call.request.config)
        })
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        status(call.request)?;
        call.ipam_forward()
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(&request.config)?;
    let asked_mac = requested_mac(request)?;
    let identity = Identity::of(request);
    let turn = turn::take(&identity)?;
    let sharing = Sharing::new(request, &identity, turn.as_ref());
    let mut inside = Inside::open(request, &identity)?;
    inside.detects_duplicates = keys.enabledad;
    let mut host = Netlink::open()?;
    let found = device::find(&mut host, &keys)?;
    device::check_vlans(found.as_ref(), &keys)?;
    let mtu = device::mtu(&mut host, &keys, found.as_ref())?;
    let was_there = cable::make_room(&mut inside, &identity)?;

    let mut undo = Undo::default();
    let early = lease::take_early(call, &mut undo)?;
    // Nobody sees to it that an address of `static` is given once.
    let is_unique = request.config.ipam_type() != Some("static");
    let of_lease = early.as_ref().filter(|_| is_unique);
    let mac = asked_mac.unwrap_or_else(|| lease::mac(of_lease, &identity));
    let ready = early
        .map(|lease| Plan::new(&mut host, found.as_ref(), &keys, mtu, lease))
        .transpose()?;
    let gets_address = keys.vlan_gateway().is_none() && ready.as_ref().is_some_and(Plan::adds);
    let bridge = (found, gets_address);
    let bridge = device::ensure(&mut host, &keys, bridge, mtu, &sharing, &mut undo)?;
    let gateway = vlan::ensure_gateway(&mut host, &keys, &bridge, &mut undo)?;
    let pair = VethPair {
        host_name: &identity.host_link,
        host_mac: identity.host_mac(),
        container_name: &request.ifname,
        container_mac: mac,
        container: inside.netns().descriptor(),
        mtu,
        bridge: Some(bridge.index),
    };
    inside.made = cable::lay(&mut host, &pair, &identity, &mut undo)?;
    port::plug_in(&mut host, &keys, &bridge, &identity)?;
    if keys.macspoofchk {
        spoof::guard(&identity, mac, &mut undo)?;
    }
    let mut plan = match ready {
        Some(plan) => plan,
        None => {
            let lease = lease::take(call, &mut undo)?;
            Plan::new(&mut host, Some(&bridge), &keys, mtu, lease)?
        }
    };
    let routing = gateway.as_ref().unwrap_or(&bridge);
    plan.apply_on_host(&mut host, &keys, &sharing, routing, &mut undo)?;
    let link = match keys.is_container_down() {
        true => inside.leave_down()?,
        false => {
            let link = inside.configure(&mut plan.layer3)?;
            let port = device::wait_for_port(&mut host, &identity.host_link)?;
            if !bridge.has_carrier {
                // With its first port it has, which the kernel notices when asked.
                host.link_by_index(bridge.index)?;
            }
            inside.settle(&link, &plan.layer3)?;
            match device::is_crowded(&bridge, port.as_ref()) {
                true => inside.announce_to_many(&link, &plan.layer3)?,
                false => inside.announce(&link)?,
            }
            link
        }
    };
    if was_there {
        vxlan::leave_all(&request.config)?;
    }
    plan.make_way(&mut host, routing)?;
    undo.keep();
    let on_host = vec![
        lease::on_host(&bridge.name, bridge.mac, None),
        lease::on_host(
            &identity.host_link,
            Some(identity.host_mac()),
            Some(link.mtu),
        ),
    ];
    let mut result = lease::result(request, inside.netns(), on_host, &link, plan.layer3);
    // After the others, whose places the reference fixes.
    let gateway = gateway.map(|link| lease::on_host(&link.name, link.mac, None));
    result.interfaces.extend(gateway);
    Ok(result)
}

/// What the host and the container get besides the cable.
struct Plan {
    /// The container's addresses and routes, gateways filled in.
    layer3: Attachment,
    /// The gateway addresses that the host lacks, and those in their way.
    add: Vec<IpNetwork>,
    delete: Vec<IpNetwork>,
}

impl Plan {
    fn new(
        host: &mut Netlink,
        bridge: Option<&Link>,
        keys: &Keys,
        mtu: Option<u32>,
        mut lease: Attachment,
    ) -> Result<Self> {
        if lease.ips.is_empty() && keys.has_addresses {
            return Err(Error::NoLease);
        }
        mtu.map_or(Ok(()), |mtu| lease::fits(&lease, mtu))?;
        let gateways = keys.gateways(&mut lease)?;
        if gateways.is_empty() && keys.is_default_gateway && keys.has_addresses {
            return Err(Error::NoGateway);
        }
        let routing = match (gateways.is_empty(), keys.vlan_gateway()) {
            (true, _) => None,
            (false, Some(name)) => host.link(&name)?.map(|link| link.index),
            (false, None) => bridge.map(|bridge| bridge.index),
        };
        let found = match routing {
            Some(link) => host.addresses(link)?,
            None => Vec::new(),
        };
        let found: Vec<_> = found
            .iter()
            .filter(|a| !a.is_link_local())
            .map(|a| a.net)
            .collect();
        let (add, delete) = keys.compare_addresses(&found, &gateways)?;
        Ok(Plan {
            layer3: lease,
            add,
            delete,
        })
    }

    fn adds(&self) -> bool {
        !self.add.is_empty()
    }

    fn apply_on_host<'a>(
        &self,
        host: &mut Netlink,
        keys: &Keys,
        sharing: &Sharing<'a>,
        routing: &Link,
        undo: &mut Undo<'a>,
    ) -> Result<()> {
        let link = routing.index;
        if self.adds() {
            let (add, sharing) = (self.add.clone(), sharing.clone());
            undo.push(move || {
                let each = |change: fn(u32, IpNetwork) -> Operation| {
                    let changes: Vec<_> = add.iter().map(|net| change(link, *net)).collect();
                    Netlink::open()?.apply(&changes)
                };
                let remove = || each(kernel::delete_address);
                sharing.take_back(Users::Network, remove, || each(kernel::add_address))
            });
        }
        let added = self.add.iter().map(|net| kernel::add_address(link, *net));
        host.apply(&added.collect::<Vec<_>>())?;
        let nets = || self.layer3.ips.iter().map(|ip| ip.address);
        if keys.is_gateway {
            forwarding::enable(nets())?;
        }
        match keys.ip_masq {
            true => forwarding::masquerade(sharing, nets(), undo),
            false => Ok(()),
        }
    }

    /// Deletes the addresses that `forceAddress` replaces. Others may live by them, so
    /// this comes last, when nothing can fail any more.
    fn make_way(&self, host: &mut Netlink, routing: &Link) -> Result<()> {
        let link = routing.index;
        let deleted = self
            .delete
            .iter()
            .map(|net| kernel::delete_address(link, *net));
        // With the first address of a subnet the kernel deletes the others in it.
        let again = self.add.iter().filter(|_| !self.delete.is_empty());
        let again = again.map(|net| kernel::add_address(link, *net));
        Ok(host.apply(&deleted.chain(again).collect::<Vec<_>>())?)
    }
}

fn remove(request: &Request) -> Result<()> {
    let is_asked_for = || Keys::read(&request.config).is_ok_and(|keys| keys.macspoofchk);
    let port = cable::remove(request, is_asked_for)?;
    vxlan::leave(&request.config, port.as_ref())?;
    forget_neighbours(request, port.and_then(|port| port.controller))
}

/// Has the host forget which hardware address the container's addresses had, as far as
/// the runtime says which those were: the next container that has one may have another.
fn forget_neighbours(request: &Request, bridge: Option<u32>) -> Result<()> {
    let Ok(Some(result)) = request.config.prev_result() else {
        return Ok(());
    };
    // What cannot be read has not attached anything.
    let Some(keys) = Keys::read(&request.config)
        .ok()
        .filter(|_| !result.ips.is_empty())
    else {
        return Ok(());
    };
    let mut host = Netlink::open()?;
    let routing = match (keys.vlan_gateway(), bridge) {
        (None, Some(bridge)) => Some(bridge),
        (gateway, _) => {
            let found = host.link(&gateway.unwrap_or(keys.bridge))?;
            found.map(|link| link.index)
        }
    };
    let forget = routing.into_iter().flat_map(|link| {
        let ips = result.ips.iter().map(|ip| ip.address.ip());
        ips.map(move |ip| kernel::delete_neighbour(link, ip))
    });
    Ok(host.apply(&forget.collect::<Vec<_>>())?)
}

/// GC of what is on the host.
fn collect(stale: &garbage::Stale) -> Result<()> {
    stale.remove_links()?;
    spoof::collect(stale)?;
    stale.stop_masquerading()
}

/// ADD can be served unless something else has the bridge's name, or the bridge is not
/// fit for it. That there is no bridge yet is no fault: the first container makes it.
fn status(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let found = device::find(&mut Netlink::open()?, &keys);
    let fit = found.and_then(|bridge| device::check_vlans(bridge.as_ref(), &keys));
    fit.map_err(|error| Error::NotAvailable(Box::new(error)))
}
