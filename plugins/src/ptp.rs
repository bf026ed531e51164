//! `ptp`: a container at the end of a cable whose other end is the host, which
//! routes for it. There is no segment: everything the container sends goes to the
//! gateway, whose address the host's end has, and the host has a route to each of
//! the container's addresses.

use std::net::IpAddr;

use cni::{Attachment, Call, Config, Failure, Ip, Plugin, Request};
use ipnetwork::IpNetwork;
use kernel::{Link, Netlink, Operation, RouteEntry, VethPair, sysctl};
use serde::Deserialize;

use crate::attachment::{Identity, link_local_of, requested_mac};
use crate::container::Inside;
use crate::routes::MAIN_TABLE;
use crate::sharing::Sharing;
use crate::undo::Undo;
use crate::{Error, Result, cable, check, forwarding, garbage, lease, lower, spoof, turn, vxlan};

/// The plugin.
pub struct Ptp;

impl Plugin for Ptp {
    fn name(&self) -> &'static str {
        "ptp"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let _alone = turn::take_if_possible(&Identity::of(call.request));
        let port = cable::remove(call.request, || false)?;
        vxlan::leave(&call.request.config, port.as_ref())?;
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_cable(call.request)?;
        call.ipam_forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, |stale| {
            stale.remove_links()?;
            spoof::collect(stale)?;
            stale.stop_masquerading()?;
            vxlan::leave_all(&call.request.config)
        })
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Keys::read(&call.request.config)?;
        call.ipam_forward()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKeys {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: i64,
}

struct Keys {
    ip_masq: bool,
    mtu: Option<u32>,
}

impl Keys {
    fn read(config: &Config) -> Result<Self> {
        let raw: RawKeys = config.read()?;
        forwarding::check_backend(raw.ip_masq_backend.as_deref().unwrap_or_default())?;
        if config.ipam_type().is_none() {
            return Err(Error::NoIpam("ptp"));
        }
        Ok(Keys {
            ip_masq: raw.ip_masq,
            mtu: lower::chosen_mtu(raw.mtu)?,
        })
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
    inside.is_point_to_point = true;
    let mut host = Netlink::open()?;
    let mtu = match keys.mtu {
        Some(mtu) => Some(mtu),
        None => lower::mtu_outside(&mut host)?,
    };
    let was_there = cable::make_room(&mut inside, &identity)?;

    let mut undo = Undo::default();
    let early = lease::take_early(call, &mut undo)?;
    if let Some(lease) = &early {
        gateways(lease)?;
    }
    let pair = VethPair {
        host_name: &identity.host_link,
        host_mac: identity.host_mac(),
        container_name: &request.ifname,
        container_mac: asked_mac.unwrap_or_else(|| lease::mac(early.as_ref(), &identity)),
        container: inside.netns().descriptor(),
        mtu,
        bridge: None,
    };
    inside.made = cable::lay(&mut host, &pair, &identity, &mut undo)?;
    let mut lease = match early {
        Some(lease) => lease,
        None => lease::take(call, &mut undo)?,
    };
    let ends = gateways(&lease)?;
    mtu.map_or(Ok(()), |mtu| lease::fits(&lease, mtu))?;
    connect_host(&mut host, &identity, &ends)?;
    let nets = || lease.ips.iter().map(|ip| ip.address);
    forwarding::enable(nets())?;
    if keys.ip_masq {
        forwarding::masquerade(&sharing, nets(), &mut undo)?;
    }
    let link = inside.configure(&mut lease)?;
    inside.announce(&link)?;
    if was_there {
        vxlan::leave_all(&request.config)?;
    }
    undo.keep();
    let mac = Some(identity.host_mac());
    let on_host = lease::on_host(&identity.host_link, mac, Some(link.mtu));
    Ok(lease::result(
        request,
        inside.netns(),
        vec![on_host],
        &link,
        lease,
    ))
}

/// The gateway of each of the container's addresses, with the address.
fn gateways(lease: &Attachment) -> Result<Vec<(IpAddr, IpAddr)>> {
    let with_gateway = |ip: &Ip| {
        let own = ip.address.ip();
        match ip.gateway {
            None => Err(Error::NoGatewayFor(ip.address)),
            Some(gateway) if gateway == own => Err(Error::OwnGateway(ip.address)),
            Some(gateway) => Ok((gateway, own)),
        }
    };
    match lease.ips.is_empty() {
        true => Err(Error::NoLease),
        false => lease.ips.iter().map(with_gateway).collect(),
    }
}

/// Prepares the host's end: the gateways' addresses, and routes to the container's.
/// The host's own link-local address is set by hand: asking who has an IPv6 address
/// needs one that is in use at once, and the kernel would look for duplicates first.
fn connect_host(host: &mut Netlink, identity: &Identity, ends: &[(IpAddr, IpAddr)]) -> Result<()> {
    let name = &identity.host_link;
    let found = host.link(name)?;
    let end = found.ok_or_else(|| check::differs("the cable", name, "no link of that name"))?;
    sysctl::set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    let mut operations = vec![kernel::generate_no_addresses(name)];
    for gateway in ends.iter().map(|(gateway, _)| alone(*gateway)) {
        operations.push(kernel::add_address(end.index, gateway));
    }
    if ends.iter().any(|(gateway, _)| gateway.is_ipv6()) {
        operations.push(kernel::add_address(end.index, link_local(identity)));
    }
    operations.push(kernel::set_up_as(end.index, &identity.alias));
    operations.extend(ends.iter().map(|(_, own)| route_to(*own, &end)));
    Ok(host.apply(&operations)?)
}

fn route_to(own: IpAddr, end: &Link) -> Operation {
    kernel::add_route(&RouteEntry::new(alone(own), end.index, None))
}

/// An address without others that would be on the link.
fn alone(ip: IpAddr) -> IpNetwork {
    IpNetwork::from(ip)
}

/// The host's own address on the cable.
fn link_local(identity: &Identity) -> IpNetwork {
    let ip = IpAddr::from(link_local_of(identity.host_mac()));
    // 64 fits IPv6.
    IpNetwork::new(ip, 64).unwrap_or(IpNetwork::from(ip))
}

fn check_cable(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    inside.is_point_to_point = true;
    let (result, interface) = check::expected(request)?;
    let mut host = Netlink::open()?;
    for told in result.interfaces.iter().filter(|i| i.sandbox.is_empty()) {
        let what = format!("host's end {}", told.name);
        let end = host.link(&told.name)?;
        let end = end.ok_or_else(|| check::differs(&what, "a link on the host", "none"))?;
        let state = if end.is_up { "up" } else { "down" };
        check::same(&format!("state of {}", told.name), "up", state)?;
        check_host_end(&mut host, &result, &end)?;
        if keys.ip_masq && identity.is_own(&end) {
            let nets = result.ips.iter().map(|ip| ip.address);
            forwarding::check_masquerading(&request.config.name, nets)?;
        }
    }
    let state = check::State::Up;
    let link = check::container(&mut inside, &result, &interface, "veth", state)?;
    match keys.mtu {
        Some(mtu) => {
            let what = format!("MTU of {}", link.name);
            check::same(&what, &mtu.to_string(), &link.mtu.to_string())
        }
        None => Ok(()),
    }
}

fn check_host_end(host: &mut Netlink, result: &Attachment, end: &Link) -> Result<()> {
    let has = host.addresses(end.index)?;
    let has: Vec<_> = has.iter().map(|address| address.net).collect();
    for ip in &result.ips {
        let own = ip.address.ip();
        let gateway = ip
            .gateway
            .map(alone)
            .filter(|gateway| !has.contains(gateway));
        if let Some(gateway) = gateway {
            let list: Vec<_> = has.iter().map(IpNetwork::to_string).collect();
            let what = format!("addresses of {}", end.name);
            let found = check::listed(&list);
            return Err(check::differs(&what, &gateway.to_string(), &found));
        }
        let routes = host.routes(own.is_ipv4(), MAIN_TABLE)?;
        let leads = |route: &RouteEntry| {
            let mut hops = route.next_hops.iter();
            route.dst == alone(own) && hops.any(|hop| hop.link == end.index)
        };
        if !routes.iter().any(leads) {
            let expected = format!("one to {own} by {}", end.name);
            return Err(check::differs("routes of the host", &expected, "none"));
        }
    }
    Ok(())
}
