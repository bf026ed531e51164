//! `loopback`: sets the container's loopback interface up.

use cni::{Attachment, Call, Failure, Interface, Ip, Plugin, Request};
use kernel::{Link, Netlink, Netns, set_state};

use crate::{Result, check, container};

/// The name that the kernel gives the loopback interface of every namespace.
const LO: &str = "lo";

/// The plugin.
pub struct Loopback;

impl Plugin for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call.request)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        match container::open_if_there(call.request) {
            Some(netns) => Ok(set(&netns, false).map(drop)?),
            None => Ok(()),
        }
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Ok(check(call.request)?)
    }
}

/// In a chain the result of the plugin before goes on; this one adds nothing.
fn add(request: &Request) -> Result<Attachment> {
    let prev_result = request.config.prev_result()?;
    let netns = container::open(request)?;
    let (link, mut netlink) = set(&netns, true)?;
    if let Some(result) = prev_result {
        return Ok(result);
    }
    let addresses = netlink.addresses(link.index)?;
    Ok(Attachment {
        interfaces: vec![Interface {
            name: LO.into(),
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: Some(link.mtu),
            sandbox: netns.path().to_string_lossy().into_owned(),
            ..Interface::default()
        }],
        ips: addresses
            .into_iter()
            .map(|address| Ip {
                address: address.net,
                gateway: None,
                interface: Some(0),
            })
            .collect(),
        ..Attachment::default()
    })
}

fn set(netns: &Netns, up: bool) -> Result<(Link, Netlink)> {
    let _inside = netns.enter()?;
    let mut netlink = Netlink::open()?;
    let link = netlink.link(LO)?;
    let link = link.ok_or_else(|| check::differs("loopback", LO, "no link of that name"))?;
    netlink.apply(&[set_state(link.index, up)])?;
    Ok((link, netlink))
}

fn check(request: &Request) -> Result<()> {
    let netns = container::open(request)?;
    let _inside = netns.enter()?;
    let link = Netlink::open()?.link(LO)?;
    let is_up = link.is_some_and(|link| link.is_up);
    check::same("state of lo", "up", if is_up { "up" } else { "down" })
}
