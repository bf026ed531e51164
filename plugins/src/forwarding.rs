//! What a host does for the packets of containers that it is the router of.

use ipnetwork::IpNetwork;
use kernel::{nft, sysctl};

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
