//! `vxlan`: a container on a private segment that spans hosts.
//!
//! As with `bridge`, the host's end of a veth pair becomes a port of a bridge; one
//! more port of that bridge is a VXLAN device, which leads to the other hosts of the
//! network. Both are made for the first container and removed after the last. Where
//! the other hosts are follows from their places, an inventory, a multicast group or
//! a routing daemon: nothing of ours runs in between.

mod blueprint;
mod changes;
mod compare;
mod daemon;
mod desired;
mod exit;
mod fault;
mod keys;
mod names;
mod overlay;
mod peers;
mod renew;
mod router;
mod segment;
mod sync;
mod underlay;

use std::net::IpAddr;

use cni::{Attachment, Call, Config, Failure, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, PortFlags, VethPair};
use place::Here;

use crate::attachment::{Identity, requested_mac};
use crate::container::{Announcement, Inside};
use crate::undo::Undo;
use crate::{Error, Result, bridge, cable, check, garbage, gateway, lease, routes, spoof, turn};
use blueprint::Blueprint;
use desired::Knowledge;
pub use fault::Fault;
use keys::{Keys, Mode};
pub use names::exit_port;
use overlay::Overlay;
use peers::Source;
use renew::Renewal;
use router::Duties;
pub use sync::{Change, Synced, sync};

/// The plugin.
pub struct Vxlan;

impl Plugin for Vxlan {
    fn name(&self) -> &'static str {
        "vxlan"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let config = &call.request.config;
        let is_asked_for = || Keys::read(config).is_ok_and(|keys| keys.macspoofchk);
        let identity = Identity::of(call.request);
        let _alone = turn::take_if_possible(&identity);
        let told = daemon::Told::of(call.request, &identity)?;
        let port = cable::remove(call.request, is_asked_for)?;
        told.take_back()?;
        if !Keys::keeps(config) {
            let bridge = port.and_then(|port| port.controller);
            segment::leave_with(Keys::vni(config), &config.name, bridge)?;
        }
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_links(call.request)?;
        call.ipam_forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, |stale| {
            let config = &call.request.config;
            let told = daemon::Told::of_stale(config, stale)?;
            stale.remove_links()?;
            told.take_back()?;
            spoof::collect(stale)?;
            if let Some(vni) = Keys::vni(config).filter(|_| !Keys::keeps(config)) {
                segment::leave(vni, &config.name)?;
            }
            leave_all(config)
        })
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        status(&call.request.config)?;
        call.ipam_forward()
    }
}

/// Whether a link is a network's segment.
pub(crate) fn is_segment(link: &Link) -> bool {
    names::network_of(&link.alias).is_some()
}

/// Removes the devices that a network has from when it was a `vxlan` network, if the
/// container whose port this was is the last on them: for DEL of what it is now.
pub(crate) fn leave(config: &Config, port: Option<&Link>) -> Result<()> {
    match port.and_then(|port| port.controller) {
        Some(bridge) if !Keys::keeps(config) => {
            segment::leave_with(None, &config.name, Some(bridge))
        }
        _ => Ok(()),
    }
}

/// Removes all devices of a network that have no container, as [`leave`], for GC.
pub(crate) fn leave_all(config: &Config) -> Result<()> {
    match Keys::keeps(config) {
        true => Ok(()),
        false => segment::leave_all(&config.name, None),
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let config = &request.config;
    let keys = Keys::read(config)?;
    let asked_mac = requested_mac(request)?;
    let identity = Identity::of(request);
    let _alone = turn::take(&identity)?;
    let mut inside = Inside::open(request, &identity)?;
    inside.detects_duplicates = keys.detects_duplicates;
    let mut host = Netlink::open()?;
    if asked_mac.is_some() {
        refuse_chosen_mac(&mut host, config, &keys)?;
    }
    let was_there = cable::make_room(&mut inside, &identity)?;

    let mut undo = Undo::default();
    let mut early = lease::take_early(call, &mut undo)?;
    if early.is_none() && overlay::is_leased(config) {
        // The hardware address must follow from it, whoever executes.
        early = Some(lease::take(call, &mut undo)?);
    }
    let mac = asked_mac.unwrap_or_else(|| lease::mac(early.as_ref(), &identity));
    let duties = match &mut early {
        Some(lease) => duties_of(&keys, config, lease)?,
        None => Duties::default(),
    };
    let entered = segment::enter(&mut host, config, &keys, &duties, &mut undo)?;
    let segment = entered.bridge.clone();
    // Until a sync the network has the MTU that it was made with.
    let mtu = keys.mtu.map_or(segment.mtu, |mtu| mtu.min(segment.mtu));
    let pair = VethPair {
        host_name: &identity.host_link,
        host_mac: identity.host_mac(),
        container_name: &request.ifname,
        container_mac: mac,
        container: inside.netns().descriptor(),
        mtu: Some(mtu),
        bridge: Some(segment.index),
    };
    inside.made = cable::lay(&mut host, &pair, &identity, &mut undo)?;
    let flags = keys.port_flags(&segment.alias);
    if let Some(lease) = early.as_ref().filter(|_| flags.is_fixed) {
        refuse_unknown_addresses(config, &keys, lease)?;
    }
    cable::plug_in(&mut host, &identity, flags)?;
    if keys.macspoofchk {
        spoof::guard(&identity, mac, &mut undo)?;
    }
    // The container holds the network's devices from here on.
    drop(entered);
    let mut layer3 = match early {
        Some(lease) => lease,
        None => {
            let mut lease = lease::take(call, &mut undo)?;
            let duties = duties_of(&keys, config, &mut lease)?;
            drop(segment::enter(
                &mut host, config, &keys, &duties, &mut undo,
            )?);
            lease
        }
    };
    if matches!(keys.peers, Source::Evpn) {
        daemon::tell(&mut host, &segment, mac, &layer3)?;
    }
    let asks = keys.mode == Mode::L2 && !flags.is_fixed;
    inside.is_quiet = asks && keys.peers.is_listed();
    let link = inside.configure(&mut layer3)?;
    let port = bridge::wait_for_port(&mut host, &identity.host_link)?;
    if flags.is_fixed {
        // Others know it already, and this bridge by this.
        inside.announcement = Announcement::Never;
        let pin = port.map(|port| kernel::pin_to_port(port.index, mac));
        host.apply(pin.as_slice())?;
    }
    inside.settle(&link, &layer3)?;
    match asks && keys.peers.may_be_many() {
        true => inside.announce_to_many(&link, &layer3)?,
        false => inside.announce(&link)?,
    }
    if was_there && !Keys::keeps(config) {
        // It may have been on another segment, as the last there.
        segment::leave_all(&config.name, Some(keys.vni))?;
    }
    undo.keep();
    let on_host = vec![
        lease::on_host(&segment.name, segment.mac, Some(segment.mtu)),
        lease::on_host(&identity.host_link, Some(identity.host_mac()), Some(mtu)),
    ];
    Ok(lease::result(
        request,
        inside.netns(),
        on_host,
        &link,
        layer3,
    ))
}

/// Where other hosts compute who has which address, a container has one of those.
fn refuse_unknown_addresses(config: &Config, keys: &Keys, lease: &Attachment) -> Result<()> {
    let ips: Vec<IpAddr> = lease.ips.iter().map(|ip| ip.address.ip()).collect();
    let here = Here::new(keys.location.clone());
    let place = here.place().map_err(|cause| Fault::Place {
        key: "location",
        cause,
    })?;
    if Overlay::read(config)?.is_known_at(place, &ips)? {
        return Ok(());
    }
    let leased: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
    Err(Fault::NotComputed {
        network: config.name.clone(),
        leased: leased.join(" and "),
        place: place.to_string(),
    }
    .into())
}

/// Where other hosts compute a container's hardware address it cannot be chosen.
fn refuse_chosen_mac(host: &mut Netlink, config: &Config, keys: &Keys) -> Result<()> {
    let is_segment = keys.mode == Mode::L2;
    let computed = Blueprint::draw(host, config, keys)?.desired.knowledge == Knowledge::Computed;
    match is_segment && computed {
        true => Err(Fault::ChosenMac(config.name.clone()).into()),
        false => Ok(()),
    }
}

/// Fills in what the gateway means for the container, and returns what the router is to
/// do. Where other hosts are routed to, the way to them is by the gateway.
fn duties_of(keys: &Keys, config: &Config, lease: &mut Attachment) -> Result<Duties> {
    if !keys.has_gateway {
        return Ok(Duties::default());
    }
    let gateways = gateway::addresses(lease)?;
    if keys.is_default_gateway {
        gateway::add_default_routes(lease);
    } else if keys.mode == Mode::L3 {
        for whole in Overlay::read(config)?.whole() {
            let of_family = |net: &&IpNetwork| net.is_ipv4() == whole.is_ipv4();
            let is_there = lease.routes.iter().any(|route| route.dst == whole);
            if let Some(gateway) = gateways.iter().find(of_family).filter(|_| !is_there) {
                lease.routes.push(routes::via(whole, gateway.ip()));
            }
        }
    }
    Ok(Duties {
        gateways,
        masquerades: keys.masquerades,
    })
}

/// The network and the attachment are as ADD left them, and the network knows the
/// hosts that the inventory has by now.
fn check_links(request: &Request) -> Result<()> {
    let config = &request.config;
    let keys = Keys::read(config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (result, interface) = check::expected(request)?;
    let mut host = Netlink::open()?;
    let blueprint = Blueprint::draw(&mut host, config, &keys)?;
    let segment = segment::find(&mut host, &config.name, keys.vni)?;
    let name = names::bridge(keys.vni);
    let segment = segment.ok_or_else(|| check::differs("bridge", &name, "no link of that name"))?;
    compare::network(&config.name, &segment, &blueprint)?;
    let what = format!("host's end {}", identity.host_link);
    let port = host.link(&identity.host_link)?;
    let port = port.ok_or_else(|| check::differs(&what, "a link on the host", "none"))?;
    if port.controller != Some(segment.index) {
        let expected = format!("a port of {name}");
        return Err(check::differs(&what, &expected, "not one"));
    }
    let flags =
        |flags: PortFlags| format!("hairpin {}, isolated {}", flags.hairpin, flags.isolated);
    check::same(
        &format!("flags of port {}", port.name),
        &flags(keys.port_flags(&segment.alias)),
        &flags(port.port),
    )?;
    if port.port.is_fixed {
        let known = host.forwarding(port.index)?;
        let is_known = known
            .iter()
            .any(|one| one.is_set && one.mac.to_string() == interface.mac);
        if !is_known {
            let expected = format!("behind {}", port.name);
            return Err(check::differs(
                "the container's hardware address",
                &expected,
                "not set",
            ));
        }
    }
    if matches!(keys.peers, Source::Evpn) {
        daemon::check(&mut host, &segment, &interface.mac, &result)?;
    }
    let mut told = result.clone();
    let duties = duties_of(&keys, config, &mut told)?;
    let unlike = router::unlike(&mut host, &config.name, keys.vni, &segment, &duties)?;
    if let Some(unlike) = unlike.first() {
        return Err(unlike.differs());
    }
    let link = check::container(&mut inside, &result, &interface, "veth", check::State::Up)?;
    match keys.macspoofchk {
        true => spoof::check(&identity, link.mac),
        false => Ok(()),
    }
}

/// ADD can be served: the underlay is there and up, this host is among its peers,
/// and nobody else has the VNI, its names or its UDP port.
fn status(config: &Config) -> Result<()> {
    let keys = Keys::read(config)?;
    let mut host = Netlink::open()?;
    let mut look = || {
        let blueprint = Blueprint::draw(&mut host, config, &keys)?;
        match segment::find(&mut host, &config.name, keys.vni)? {
            Some(bridge) => Renewal::plan(&mut host, &config.name, &bridge, &blueprint).map(drop),
            None => compare::could_be_built(&mut host, &blueprint),
        }
    };
    look().map_err(|error| Error::NotAvailable(Box::new(error)))
}
