//! `host-device`: one of the host's devices becomes the container's, and the host's
//! again on DEL, under the name that it had.
//!
//! The name is written on the device, as the reference does. Besides, it gets a name
//! that follows from the attachment, by which it is found wherever it is: when a
//! namespace ends, the kernel gives devices back to the host under the container's
//! name for them.

mod device;

use cni::{Attachment, Call, Failure, Interface, Plugin, Request};
use kernel::{Errno, Link, Netlink, Netns};

use crate::attachment::{Identity, MARK, OTHER_NAME};
use crate::container::{Announcement, Inside};
use crate::undo::Undo;
use crate::{Error, Result, check, garbage, lease, source_routing, turn};
use device::Device;

/// The plugin.
pub struct HostDevice;

impl Plugin for HostDevice {
    fn name(&self) -> &'static str {
        "host-device"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let identity = Identity::of(call.request);
        let _alone = turn::take_if_possible(&identity);
        bring_home(call.request, &identity)?;
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_device(call.request)?;
        call.ipam_forward()
    }

    /// A device that is the host's again was somebody's whose namespace has ended, of
    /// whatever network.
    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, |_| {
            let mut host = Netlink::open()?;
            for link in host.links()? {
                restore_name(&mut host, &link, None)?;
            }
            Ok(())
        })
    }

    /// Whether the device is there is no question: it may be in a container.
    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        Device::read(&call.request.config)?;
        call.ipam_forward()
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let device = Device::read(&request.config)?;
    let identity = &Identity::of(request);
    let _alone = turn::take(identity)?;
    let mut inside = Inside::open(request, identity)?;
    let mut undo = Undo::default();
    if device == Device::UserSpace {
        let lease = lease::take(call, &mut undo)?;
        undo.keep();
        return Ok(of_user_space(request, inside.netns(), lease));
    }
    // What an ADD has left that was killed, or that is repeated.
    bring_home(request, identity)?;
    let mut host = Netlink::open()?;
    let link = device.find(&mut host)?;
    inside.make_room("")?;
    inside.announcement = Announcement::WhenUp;
    inside.mark = Some(link.name.clone());

    let early = lease::take_early(call, &mut undo)?;
    let netns = inside.netns().descriptor();
    let before = link.clone();
    undo.push(move || put_back(request, identity, &before));
    host.apply(&[
        kernel::add_other_name(link.index, &identity.other_name),
        kernel::hand_over(link.index, netns, &request.ifname, &link.name),
    ])?;
    let mut lease = match early {
        Some(lease) => lease,
        None => lease::take(call, &mut undo)?,
    };
    if lease.ips.is_empty() && request.config.ipam_type().is_some() {
        return Err(Error::NoLease);
    }
    let moved = inside.configure(&mut lease)?;
    inside.announce(&moved)?;
    undo.keep();
    let netns = inside.netns();
    Ok(lease::result(request, netns, Vec::new(), &moved, lease))
}

/// The kernel has no link for it: all that the container gets is told.
fn of_user_space(request: &Request, netns: &Netns, lease: Attachment) -> Attachment {
    let mut result = lease;
    result.interfaces = vec![Interface {
        name: request.ifname.clone(),
        sandbox: netns.path().to_string_lossy().into_owned(),
        ..Interface::default()
    }];
    result.ips.iter_mut().for_each(|ip| ip.interface = Some(0));
    if !request.config.dns.is_empty() {
        result.dns = request.config.dns.clone();
    }
    result
}

/// The way back of an ADD: also the state that the device had.
fn put_back(request: &Request, identity: &Identity, before: &Link) -> Result<()> {
    bring_home(request, identity)?;
    let mut host = Netlink::open()?;
    match host.link(&before.name)?.filter(|_| before.is_up) {
        Some(link) => Ok(host.apply(&[kernel::set_state(link.index, true)])?),
        None => Ok(()),
    }
}

/// Gives the attachment's device back to the host, wherever it is.
fn bring_home(request: &Request, identity: &Identity) -> Result<()> {
    let configured = match Device::read(&request.config) {
        Ok(Device::Named(name)) => Some(name),
        _ => None,
    };
    let mut host = Netlink::open()?;
    if let Some(link) = host.link(&identity.other_name)? {
        restore_name(&mut host, &link, configured.as_deref())?;
    }
    let Some(mut inside) = Inside::open_if_there(request, identity)? else {
        return Ok(());
    };
    let home = inside.netns().home();
    let netlink = inside.netlink();
    let mut found = netlink.link(&identity.other_name)?;
    if found.is_none() {
        found = netlink.link(&request.ifname)?.filter(is_the_references);
    }
    // ADD comes by here as well: without a device there only the configuration can tell.
    let nothing = Link::default();
    inside.forget_rules(Some(found.as_ref().unwrap_or(&nothing)))?;
    let Some(link) = found else {
        return Ok(());
    };
    let back = |name: &str| {
        let mut back = vec![kernel::delete_other_name(link.index, &identity.other_name)];
        back.extend(source_routing::unmark(&link));
        back.push(kernel::hand_over(link.index, home, name, ""));
        back
    };
    // If somebody else has its name by now, or nobody knows it, the kernel numbers it.
    let name = match name_at_home(&link, configured.as_deref()) {
        Some(name) if host.link(name)?.is_none() => name,
        _ => "dev%d",
    };
    Ok(inside.netlink().apply(&back(name))?)
}

/// The name that a device had on the host: it is written on it, unless the container has
/// written something else there. Then it is the one that the configuration has.
fn name_at_home<'n>(link: &'n Link, configured: Option<&'n str>) -> Option<&'n str> {
    let written = Some(link.alias.as_str()).filter(|alias| cni::name::is_interface(alias));
    written.or(configured)
}

/// Whether the reference moved a device, or a kernel without second names had it moved:
/// all that there is then is the original name on it.
fn is_the_references(link: &Link) -> bool {
    let is_name = cni::name::is_interface(&link.alias);
    let is_ours = link
        .other_names
        .iter()
        .any(|name| name.starts_with(OTHER_NAME));
    is_name && !is_ours && link.alias != MARK
}

/// Gives a device its name back that came home when its container's namespace ended.
fn restore_name(host: &mut Netlink, link: &Link, configured: Option<&str>) -> Result<()> {
    let mut names = link.other_names.iter();
    let Some(other) = names.find(|name| name.starts_with(OTHER_NAME)) else {
        return Ok(());
    };
    let mut operations = vec![kernel::delete_other_name(link.index, other)];
    operations.extend(source_routing::unmark(link));
    if let Some(name) = name_at_home(link, configured).filter(|name| *name != link.name) {
        operations.push(kernel::set_state(link.index, false));
        // It keeps the name that it has if another device has taken its own.
        let rename = kernel::rename(link.index, name);
        operations.push(rename.tolerate(&[Errno::EEXIST]));
    }
    operations.push(kernel::set_alias(link.index, ""));
    Ok(host.apply(&operations)?)
}

fn check_device(request: &Request) -> Result<()> {
    let device = Device::read(&request.config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (expected, interface) = check::expected(request)?;
    if device == Device::UserSpace {
        return Ok(());
    }
    let found = inside.netlink().link(&interface.name)?;
    let kind = found.map(|link| link.kind).unwrap_or_default();
    check::container(&mut inside, &expected, &interface, &kind, check::State::Up).map(drop)
}
