//! `bridge`: a container on a virtual switch of its host.
//!
//! The host's end of a veth pair becomes a port of the bridge, the container's
//! end is made in its namespace under its final name. With `isGateway` the bridge
//! itself has the subnet's gateway address and the host routes.

mod device;
mod keys;

use cni::{Attachment, Call, Failure, Interface, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Mac, Netlink, VethPair, nft};

use crate::attachment::{Identity, requested_mac};
use crate::container::Inside;
use crate::undo::Undo;
use crate::{Error, Result, cable, check, garbage, lease};
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
        cable::remove(call.request)?;
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_links(call.request)?;
        call.ipam_forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, garbage::Stale::remove_links)
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
    let mut inside = Inside::open(request, &identity)?;
    let mut host = Netlink::open()?;
    let found = device::find(&mut host, &keys)?;
    inside.make_room("veth")?;

    let mut undo = Undo::default();
    let early = lease::take_early(call, &mut undo)?;
    let mac = asked_mac.unwrap_or_else(|| lease::mac(early.as_ref(), &identity));
    let ready = early
        .map(|lease| Plan::new(&mut host, found.as_ref(), &keys, lease))
        .transpose()?;
    let bridge = device::ensure(&mut host, &keys, found, &mut undo)?;
    let pair = VethPair {
        host_name: &identity.host_link,
        host_mac: identity.host_mac(),
        container_name: &request.ifname,
        container_mac: mac,
        container: inside.netns().descriptor(),
        mtu: keys.mtu(),
    };
    cable::lay(&mut host, &pair, &identity, &mut undo)?;
    plug_in(&mut host, &keys, &bridge, &identity)?;
    let plan = match ready {
        Some(plan) => plan,
        None => {
            let lease = lease::take(call, &mut undo)?;
            Plan::new(&mut host, Some(&bridge), &keys, lease)?
        }
    };
    plan.apply_on_host(&mut host, &keys, request, &bridge)?;
    let link = inside.configure(&plan.layer3)?;
    device::wait_for_port(&mut host, &identity.host_link)?;
    inside.announce(&link)?;
    undo.keep();
    let on_host = vec![
        interface(&bridge.name, bridge.mac),
        interface(&identity.host_link, Some(identity.host_mac())),
    ];
    Ok(lease::result(
        request,
        inside.netns(),
        on_host,
        &link,
        plan.layer3,
    ))
}

/// What the host and the container get besides the cable.
struct Plan {
    /// The container's addresses and routes, gateways filled in.
    layer3: Attachment,
    /// The gateway addresses that the bridge lacks, and those in their way.
    add: Vec<IpNetwork>,
    delete: Vec<IpNetwork>,
}

impl Plan {
    fn new(
        host: &mut Netlink,
        bridge: Option<&Link>,
        keys: &Keys,
        mut lease: Attachment,
    ) -> Result<Self> {
        if lease.ips.is_empty() && keys.is_default_gateway {
            return Err(Error::NoGateway);
        }
        let gateways = keys.gateways(&mut lease);
        let found = match bridge.filter(|_| !gateways.is_empty()) {
            Some(bridge) => host.addresses(bridge.index)?,
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

    fn apply_on_host(
        &self,
        host: &mut Netlink,
        keys: &Keys,
        request: &Request,
        bridge: &Link,
    ) -> Result<()> {
        let deleted = self
            .delete
            .iter()
            .map(|net| kernel::delete_address(bridge.index, *net));
        let added = self
            .add
            .iter()
            .map(|net| kernel::add_address(bridge.index, *net));
        host.apply(&deleted.chain(added).collect::<Vec<_>>())?;
        let nets = || self.layer3.ips.iter().map(|ip| ip.address);
        if keys.is_gateway {
            device::forward(nets())?;
        }
        if keys.ip_masq {
            for net in nets() {
                nft::masquerade(&request.config.name, net)?;
            }
        }
        Ok(())
    }
}

/// Makes the host's end of the cable a port of the bridge.
fn plug_in(host: &mut Netlink, keys: &Keys, bridge: &Link, identity: &Identity) -> Result<()> {
    let name = &identity.host_link;
    let port = kernel::BridgePort {
        name,
        bridge: bridge.index,
        alias: &identity.alias,
    };
    host.apply(&[
        kernel::generate_no_addresses(name),
        kernel::attach_port(&port),
    ])?;
    if keys.hairpin_mode {
        let link = host.link(name)?;
        let hairpin = link.map(|link| kernel::set_hairpin(link.index, true));
        host.apply(hairpin.as_slice())?;
    }
    Ok(())
}

fn interface(name: &str, mac: Option<Mac>) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ..Interface::default()
    }
}

/// ADD can be served unless something else has the bridge's name. That there is no
/// bridge yet is no fault: the first container makes it.
fn status(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let found = device::find(&mut Netlink::open()?, &keys);
    found
        .map(drop)
        .map_err(|error| Error::NotAvailable(Box::new(error)))
}

fn check_links(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (result, interface) = check::expected(request)?;
    let mut host = Netlink::open()?;
    let bridge = device::find(&mut host, &keys)?;
    let bridge =
        bridge.ok_or_else(|| check::differs("bridge", &keys.bridge, "no link of that name"))?;
    for expected in result
        .interfaces
        .iter()
        .filter(|i| i.sandbox.is_empty() && i.name != keys.bridge)
    {
        let what = format!("host's end {}", expected.name);
        let port = host.link(&expected.name)?;
        let port = port.ok_or_else(|| check::differs(&what, "a link on the host", "none"))?;
        if port.kind == "veth" && port.controller != Some(bridge.index) {
            return Err(check::differs(
                &what,
                &format!("a port of {}", keys.bridge),
                "not one",
            ));
        }
    }
    check::container(inside.netlink(), &result, &interface, "veth").map(drop)
}
