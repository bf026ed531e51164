//! The virtual cable (veth pair) between the host and a container. Its host's end
//! has a name that follows from the attachment, so that it is found again whether
//! or not the container's namespace is still there.

use cni::Request;
use kernel::{Link, Netlink, Netns, OtherEnd, PortFlags, VethPair, nft};

use crate::attachment::Identity;
use crate::container::Inside;
use crate::undo::Undo;
use crate::{Error, Result, removal, routing, spoof};

/// Makes sure that the interface's name is free in the container. With a cable that an
/// earlier ADD of the same attachment has left goes the guard of its port: it would drop
/// what the new one sends. Whether there was one.
pub(crate) fn make_room(inside: &mut Inside<'_>, identity: &Identity) -> Result<bool> {
    let was_there = inside.make_room("veth")?;
    if was_there {
        forget_guard(identity)?;
    }
    Ok(was_there)
}

fn forget_guard(identity: &Identity) -> Result<()> {
    let guards = spoof::release(identity, || false)?;
    Ok(guards.map_or(Ok(()), nft::Release::commit)?)
}

/// Lays the cable, over what an earlier ADD of the same attachment has left. The
/// container's end, if the kernel tells of it.
///
/// # Errors
/// [`Error::HostLinkTaken`] when the host's end has the name of another's link.
pub(crate) fn lay<'a>(
    host: &mut Netlink,
    pair: &VethPair<'_>,
    identity: &'a Identity,
    undo: &mut Undo<'a>,
) -> Result<Option<Link>> {
    let create = kernel::create_veth(pair);
    let host_end = match host.make(&create) {
        // What an ADD that was killed, or that is repeated, has left. The container's
        // end is not what is in the way: that has been looked at.
        Err(error) if error.errno() == Some(kernel::Errno::EEXIST) => {
            remove_leftover(host, identity)?;
            host.make(&create)?
        }
        made => made?,
    };
    undo.push(move || remove_host_end(identity));
    Ok(host_end.and_then(|end| other_end(&end, pair)))
}

/// What is known of the container's end from the host's. That is not whether IPv6 is
/// off there: it is turned on where it is needed.
fn other_end(host_end: &Link, pair: &VethPair<'_>) -> Option<Link> {
    host_end.lower.map(|index| Link {
        index,
        name: pair.container_name.to_owned(),
        mac: Some(pair.container_mac),
        mtu: host_end.mtu,
        is_without_ipv6: true,
        ..Link::default()
    })
}

/// Sets the host's end up, which is a bridge's port. All else is said before: a change of
/// a link that is up and has no signal has the kernel go through all IPv6 routes, and
/// each port has some.
pub(crate) fn plug_in(host: &mut Netlink, identity: &Identity, flags: PortFlags) -> Result<()> {
    let name = &identity.host_link;
    let mut operations = vec![
        kernel::generate_no_addresses(name),
        kernel::set_alias_of(name, &identity.alias),
    ];
    if flags != PortFlags::default() {
        operations.push(kernel::set_port_flags(name, flags));
    }
    operations.push(kernel::set_up_port(name));
    Ok(host.apply(&operations)?)
}

fn remove_leftover(host: &mut Netlink, identity: &Identity) -> Result<()> {
    match host.link(&identity.host_link)? {
        None => Ok(()),
        Some(link) if identity.is_anothers(&link) => Err(Error::HostLinkTaken {
            name: link.name,
            owner: link.alias,
        }),
        Some(link) => {
            host.apply(&[kernel::delete_link(link.index)])?;
            forget_guard(identity)
        }
    }
}

fn remove_host_end(identity: &Identity) -> kernel::Result<()> {
    match Netlink::open()?.link(&identity.host_link)? {
        Some(link) if !identity.is_anothers(&link) => kernel::remove_link(link.index, None, None),
        _ => Ok(()),
    }
}

/// Removes the cable of an attachment: by the host's end, which its name finds, and
/// which is returned as it was. One that another implementation laid is found from
/// inside. The guards that the host's end has as a bridge's port go after it, also
/// when it is gone already, and whatever the configuration says by now: `is_guarded` is
/// whether it has guards.
pub(crate) fn remove(request: &Request, is_guarded: impl FnOnce() -> bool) -> Result<Option<Link>> {
    let identity = Identity::of(request);
    let guards = spoof::release(&identity, is_guarded)?;
    let mut host = Netlink::open()?;
    match host.link(&identity.host_link)? {
        Some(link) if !identity.is_anothers(&link) => {
            if routing::may_be_by_source(&request.config, &link)
                && let Some(mut inside) = Inside::open_if_there(request, &identity)?
            {
                inside.forget_rules(None)?;
            }
            let netns = request
                .netns
                .as_deref()
                .and_then(|path| Netns::open(path).ok());
            let other_end = netns.as_ref().zip(link.lower);
            let other_end = other_end.map(|(netns, index)| OtherEnd { netns, index });
            removal::remove(request, link.index, other_end, guards)?;
            return Ok(Some(link));
        }
        _ => {}
    }
    guards.map_or(Ok(()), nft::Release::commit)?;
    if let Some(mut inside) = Inside::open_if_there(request, &identity)? {
        inside.remove("veth")?;
    }
    Ok(None)
}
