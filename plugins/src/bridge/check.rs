//! CHECK: whether bridge, port and packet-filter rules are as ADD left them. Only
//! what it made is looked at; others may add what they like.

use cni::{Attachment, Request};
use kernel::{Link, Netlink};

use super::keys::Keys;
use super::{device, port, vlan};
use crate::attachment::Identity;
use crate::check::{self, State, differs, same};
use crate::container::Inside;
use crate::{Result, forwarding, spoof};

pub(super) fn attachment(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (result, interface) = check::expected(request)?;
    let mut host = Netlink::open()?;
    let bridge = device::find(&mut host, &keys)?;
    let bridge = bridge.ok_or_else(|| differs("bridge", &keys.bridge, "no link of that name"))?;
    check_bridge(&mut host, &keys, &bridge, &result)?;
    let gateway = keys.vlan_gateway();
    let mut is_own = false;
    for told in &result.interfaces {
        let is_shared = told.name == keys.bridge || Some(&told.name) == gateway.as_ref();
        if !told.sandbox.is_empty() || is_shared {
            continue;
        }
        let found = host.link(&told.name)?;
        let what = || format!("host's end {}", told.name);
        let found = found.ok_or_else(|| differs(&what(), "a link on the host", "none"))?;
        is_own |= identity.is_own(&found);
        if found.kind == "veth" {
            port::check(&mut host, &keys, &bridge, &found, told)?;
        }
    }
    let state = match keys.is_container_down() {
        true => State::Any,
        false => State::Up,
    };
    let link = check::container(&mut inside, &result, &interface, "veth", state)?;
    // Results before 1.1.0 tell none.
    if let (Some(mtu), None) = (keys.mtu(), interface.mtu) {
        let what = format!("MTU of {}", link.name);
        same(&what, &mtu.to_string(), &link.mtu.to_string())?;
    }
    match is_own {
        true => {
            if keys.macspoofchk {
                spoof::check(&identity, link.mac)?;
            }
            check_rules(request, &keys, &result)
        }
        // The reference made it, with rules of its own.
        false => Ok(()),
    }
}

fn check_bridge(host: &mut Netlink, keys: &Keys, bridge: &Link, result: &Attachment) -> Result<()> {
    let state = |up| if up { "up" } else { "down" };
    same(
        &format!("state of {}", bridge.name),
        "up",
        state(bridge.is_up),
    )?;
    if keys.promisc_mode && !bridge.is_promiscuous {
        let what = format!("promiscuous mode of {}", bridge.name);
        return Err(differs(&what, "on", "off"));
    }
    if !keys.is_gateway {
        return Ok(());
    }
    let gateway = match keys.vlan_gateway() {
        None => bridge.clone(),
        Some(name) => {
            let link = host.link(&name)?;
            let link =
                link.ok_or_else(|| differs("the VLAN's gateway", &name, "no link of that name"))?;
            vlan::check_gateway(host, keys, bridge, &name)?;
            link
        }
    };
    let found = host.addresses(gateway.index)?;
    let wanted = result.ips.iter().filter_map(|ip| ip.gateway);
    for ip in wanted {
        if !found.iter().any(|address| address.net.ip() == ip) {
            let what = format!("addresses of {}", gateway.name);
            let list: Vec<_> = found
                .iter()
                .map(|address| address.net.to_string())
                .collect();
            return Err(differs(&what, &ip.to_string(), &check::listed(&list)));
        }
    }
    Ok(())
}

fn check_rules(request: &Request, keys: &Keys, result: &Attachment) -> Result<()> {
    let nets = result.ips.iter().map(|ip| ip.address);
    match keys.ip_masq {
        true => forwarding::check_masquerading(&request.config.name, nets),
        false => Ok(()),
    }
}
