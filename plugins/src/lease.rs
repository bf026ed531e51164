//! The IPAM plugin's part in an ADD, and the result that comes of it.

use cni::{Attachment, Call, Interface, Request};
use kernel::{Link, Mac, Netns};

use crate::attachment::{Identity, mac_of_lease};
use crate::undo::Undo;
use crate::{Error, Result};

/// Has the IPAM plugin allocate.
pub(crate) fn take<'a>(call: &Call<'a>, undo: &mut Undo<'a>) -> Result<Attachment> {
    let lease = call.ipam_add()?;
    give_back(call, undo);
    Ok(lease)
}

/// Has the IPAM plugin allocate before there is an interface, if it is one of
/// ours: then a full range leaves no trace, and the hardware address can follow
/// from the lease. Others (`dhcp`) speak through the interface.
pub(crate) fn take_early<'a>(call: &Call<'a>, undo: &mut Undo<'a>) -> Result<Option<Attachment>> {
    let lease = call.ipam_add_if_own()?;
    if lease.is_some() {
        give_back(call, undo);
    }
    Ok(lease)
}

fn give_back<'a>(call: &Call<'a>, undo: &mut Undo<'a>) {
    let call = *call;
    undo.push(move || call.ipam_undo());
}

/// Whether a link of that MTU can have the addresses.
///
/// # Errors
/// [`Error::TooSmallForIpv6`]; the kernel would say that an argument is invalid.
pub(crate) fn fits(lease: &Attachment, mtu: u32) -> Result<()> {
    /// `IPV6_MIN_MTU` (linux/ipv6.h).
    const LEAST: u32 = 1280;
    let ipv6 = lease.ips.iter().find(|ip| ip.address.is_ipv6());
    match ipv6.filter(|_| mtu < LEAST) {
        Some(ip) => Err(Error::TooSmallForIpv6 {
            mtu,
            net: ip.address,
        }),
        None => Ok(()),
    }
}

/// The hardware address of the container's interface when none is asked for.
pub(crate) fn mac(early: Option<&Attachment>, identity: &Identity) -> Mac {
    match early {
        Some(lease) => mac_of_lease(lease, identity),
        None => identity.container_mac(),
    }
}

/// A link on the host, for the result.
pub(crate) fn on_host(name: &str, mac: Option<Mac>, mtu: Option<u32>) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu,
        ..Interface::default()
    }
}

/// The result of ADD: the links on the host, then the container's interface,
/// which has the addresses. The lease's routes are those that were set.
pub(crate) fn result(
    request: &Request,
    netns: &Netns,
    on_host: Vec<Interface>,
    inside: &Link,
    lease: Attachment,
) -> Attachment {
    let mut result = lease;
    let own = Some(on_host.len());
    result.interfaces = on_host;
    result.interfaces.push(Interface {
        name: inside.name.clone(),
        mac: inside.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(inside.mtu),
        sandbox: netns.path().to_string_lossy().into_owned(),
        ..Interface::default()
    });
    result.ips.iter_mut().for_each(|ip| ip.interface = own);
    if !request.config.dns.is_empty() {
        result.dns = request.config.dns.clone();
    }
    result
}
