//! `loopback`: sets the container's loopback interface up.

use cni::{Attachment, Call, Failure, Interface, Ip, Plugin, Request};
use kernel::{Link, set_state};

use crate::attachment::Identity;
use crate::container::Inside;
use crate::{Result, check};

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
        let identity = Identity::of(call.request);
        match Inside::open_if_there(call.request, &identity).map_err(Failure::from)? {
            Some(mut inside) => Ok(set(&mut inside, false).map(drop)?),
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
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let link = set(&mut inside, true)?;
    if let Some(result) = prev_result {
        return Ok(result);
    }
    let addresses = inside.netlink().addresses(link.index)?;
    Ok(Attachment {
        interfaces: vec![Interface {
            name: LO.into(),
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: Some(link.mtu),
            sandbox: inside.netns().path().to_string_lossy().into_owned(),
            ..Interface::default()
        }],
        ips: addresses
            .into_iter()
            .map(|address| Ip {
                address: address.net,
                gateway: None,
                interface: Some(0),
                shared: false,
            })
            .collect(),
        ..Attachment::default()
    })
}

fn set(inside: &mut Inside<'_>, up: bool) -> Result<Link> {
    let link = inside.netlink().link(LO)?;
    let link = link.ok_or_else(|| check::differs("loopback", LO, "no link of that name"))?;
    inside.netlink().apply(&[set_state(link.index, up)])?;
    Ok(link)
}

fn check(request: &Request) -> Result<()> {
    let identity = Identity::of(request);
    let link = Inside::open(request, &identity)?.netlink().link(LO)?;
    let is_up = link.is_some_and(|link| link.is_up);
    check::same("state of lo", "up", if is_up { "up" } else { "down" })
}
