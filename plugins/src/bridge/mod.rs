//! `bridge`: a container on a virtual switch of its host.
//!
//! The host's end of a veth pair becomes a port of the bridge, the container's
//! end is made in its namespace under its final name. With `isGateway` the bridge
//! itself has the subnet's gateway address and the host routes.

mod device;
mod keys;

use cni::{Attachment, Call, Failure, Interface, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Mac, Netlink, Netns, VethPair, nft};

use crate::attachment::Identity;
use crate::container::{self, Interior};
use crate::undo::Undo;
use crate::{Error, Result, check, lease, removal};
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
        remove_links(call.request)?;
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_links(call.request)?;
        call.ipam_forward()
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(&request.config)?;
    let netns = container::open(request)?;
    let identity = Identity::of(request);
    let mut undo = Undo::default();
    let mut host = Netlink::open()?;

    let early = lease::take_early(call, &mut undo)?;
    let mac = lease::mac(request, early.as_ref(), &identity)?;
    let mut bridge = device::find(&mut host, &keys)?;
    let ready = early
        .map(|lease| Plan::new(&mut host, bridge.as_ref(), &keys, lease))
        .transpose()?;
    let device = device::ensure(&mut host, &keys, bridge.take(), &mut undo)?;
    let cable = Cable {
        request,
        identity: &identity,
        netns: &netns,
        mac,
        mtu: keys.mtu(),
    };
    cable.lay(&mut host, &keys, &device, &mut undo)?;
    let plan = match ready {
        Some(plan) => plan,
        None => {
            let lease = lease::take(call, &mut undo)?;
            Plan::new(&mut host, Some(&device), &keys, lease)?
        }
    };
    plan.apply_on_host(&mut host, &keys, request, &device)?;
    let interior = Interior {
        ifname: &request.ifname,
        identity: &identity,
        layer3: &plan.layer3,
    };
    let inside = container::configure(&netns, &interior)?;
    undo.keep();
    Ok(cable.result(&device, &inside, plan.layer3))
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

/// The veth pair between the bridge and the container.
struct Cable<'a> {
    request: &'a Request,
    identity: &'a Identity,
    netns: &'a Netns,
    mac: Mac,
    mtu: Option<u32>,
}

impl<'a> Cable<'a> {
    /// Makes the pair and plugs the host's end in.
    fn lay(
        &self,
        host: &mut Netlink,
        keys: &Keys,
        bridge: &Link,
        undo: &mut Undo<'a>,
    ) -> Result<()> {
        // What an ADD that was killed has left, or one that is repeated.
        self.remove_leftover(host)?;
        let name = self.identity.host_link.as_str();
        let pair = VethPair {
            host_name: name,
            host_mac: self.identity.host_mac(),
            container_name: &self.request.ifname,
            container_mac: self.mac,
            container: self.netns.descriptor(),
            mtu: self.mtu,
        };
        let port = kernel::BridgePort {
            name,
            bridge: bridge.index,
            alias: &self.identity.alias,
        };
        host.apply(&[kernel::create_veth(&pair)])
            .map_err(|error| self.explain(error))?;
        let identity = self.identity;
        undo.push(move || remove_host_link(identity));
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

    fn remove_leftover(&self, host: &mut Netlink) -> Result<()> {
        match host.link(&self.identity.host_link)? {
            None => Ok(()),
            Some(link) if self.identity.is_anothers(&link) => Err(Error::HostLinkTaken {
                name: link.name,
                owner: link.alias,
            }),
            Some(link) => Ok(host.apply(&[kernel::delete_link(link.index)])?),
        }
    }

    /// The kernel's "exists" does not say which of the two names; the host's has
    /// just been looked at.
    fn explain(&self, error: kernel::Error) -> Error {
        let exists = error.errno() == Some(kernel::Errno::EEXIST);
        let found = || -> kernel::Result<Option<Link>> {
            let _inside = self.netns.enter()?;
            Netlink::open()?.link(&self.request.ifname)
        };
        match exists.then(found) {
            Some(Ok(Some(link))) => Error::InterfaceExists {
                name: link.name,
                kind: link.kind,
            },
            _ => error.into(),
        }
    }

    /// The result of ADD: bridge, host's end, container's end.
    fn result(&self, bridge: &Link, inside: &Link, layer3: Attachment) -> Attachment {
        let on_host = |name: &str, mac: Option<Mac>| Interface {
            name: name.to_owned(),
            mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
            ..Interface::default()
        };
        let bridge = on_host(&bridge.name, bridge.mac);
        let host_end = on_host(&self.identity.host_link, Some(self.identity.host_mac()));
        lease::result(
            self.request,
            self.netns,
            vec![bridge, host_end],
            inside,
            layer3,
        )
    }
}

fn remove_host_link(identity: &Identity) -> kernel::Result<()> {
    match Netlink::open()?.link(&identity.host_link)? {
        Some(link) if !identity.is_anothers(&link) => kernel::remove_link(link.index),
        _ => Ok(()),
    }
}

/// Removes the cable: by the host's end, which its name finds whether or not the
/// namespace is still there. One that another implementation made is found from
/// inside.
fn remove_links(request: &Request) -> Result<()> {
    let identity = Identity::of(request);
    let mut host = Netlink::open()?;
    match host.link(&identity.host_link)? {
        Some(link) if !identity.is_anothers(&link) => return removal::remove(request, link.index),
        _ => {}
    }
    match container::open_if_there(request) {
        Some(netns) => container::remove(&netns, request, &identity),
        None => Ok(()),
    }
}

fn check_links(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let netns = container::open(request)?;
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
    check::container(&netns, &result, &interface, "veth").map(drop)
}
