//! What a host does for the packets of containers that it is the router of.

use ipnetwork::IpNetwork;
use kernel::{nft, sysctl};

use crate::sharing::{Sharing, Users};
use crate::undo::Undo;
use crate::{Error, Result, check};

/// Has the host forward packets of the families that its containers have.
pub(crate) fn enable(nets: impl Iterator<Item = IpNetwork> + Clone) -> Result<()> {
    if nets.clone().any(|net| net.is_ipv4()) {
        sysctl::ensure("net/ipv4/ip_forward", "1")?;
    }
    if nets.clone().any(|net| net.is_ipv6()) {
        sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Has what leaves a network's subnets for elsewhere appear to come from the host. On the
/// way back a chain goes that this call made, unless it serves others by then.
pub(crate) fn masquerade<'a>(
    sharing: &Sharing<'a>,
    nets: impl Iterator<Item = IpNetwork>,
    undo: &mut Undo<'a>,
) -> Result<()> {
    for net in nets {
        let network = sharing.network();
        if nft::masquerade(network, net)? {
            let sharing = sharing.clone();
            undo.push(move || {
                let forget = || nft::Deletion::open()?.forget_subnets(network, &[net]);
                sharing.take_back(Users::Network, forget, || {
                    nft::masquerade(network, net).map(drop)
                })
            });
        }
    }
    Ok(())
}

/// Whether `ipMasqBackend` is one that the reference knows.
///
/// # Errors
/// [`Error::BadKey`].
pub(crate) fn check_backend(backend: &str) -> Result<()> {
    match ["", "iptables", "nftables"].contains(&backend) {
        true => Ok(()),
        false => Err(Error::BadKey {
            key: "ipMasqBackend",
            value: format!("\"{backend}\""),
            right: "\"iptables\" or \"nftables\"; both are done by nftables".into(),
        }),
    }
}

/// CHECK: whether a network's subnets are masqueraded.
///
/// # Errors
/// [`Error::Differs`].
pub(crate) fn check_masquerading(
    network: &str,
    nets: impl Iterator<Item = IpNetwork>,
) -> Result<()> {
    for net in nets {
        if !nft::is_masqueraded(network, net)? {
            let what = format!("masquerading of {net}");
            return Err(check::differs(
                &what,
                "a chain in the table inet slash24",
                "none",
            ));
        }
    }
    Ok(())
}
