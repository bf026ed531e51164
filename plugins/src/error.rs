//! What can go wrong when a container is attached.

use cni::{Failure, code};
use ipnetwork::IpNetwork;
use kernel::Errno;

/// A cause of failure of an interface plugin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be read.
    #[error(transparent)]
    Protocol(#[from] cni::Error),
    /// The IPAM plugin failed.
    #[error(transparent)]
    Delegate(#[from] Failure),
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A key holds what it must not.
    #[error("\"{key}\": {value} is not valid: {right}")]
    BadKey {
        /// The key.
        key: &'static str,
        /// Its value as the configuration has it.
        value: String,
        /// What would be right.
        right: String,
    },
    /// Two keys that exclude each other.
    #[error("\"{0}\" and \"{1}\" exclude each other; set only one of them")]
    Exclusive(&'static str, &'static str),
    /// The bridge's name is taken by something else.
    #[error(
        "\"bridge\": \"{name}\" is a link of kind {kind}, not a bridge; choose another name or remove that link"
    )]
    NotABridge {
        /// The link's name.
        name: String,
        /// What it is.
        kind: String,
    },
    /// A bridge that is a tenant's segment.
    #[error(
        "\"bridge\": \"{0}\" is the segment of a vxlan network, which only its own containers are on; choose another name"
    )]
    Segment(String),
    /// A bridge that somebody else made takes no notice of VLANs.
    #[error(
        "\"bridge\": \"{0}\" takes no notice of VLANs; if what passes it allows, have it: ip link set {0} type bridge vlan_filtering 1"
    )]
    IgnoresVlans(String),
    /// The kernel has no VLANs on bridges.
    #[error("this kernel has no VLANs on bridges: {0}")]
    NoVlans(kernel::Error),
    /// The bridge has another address than its gateway's.
    #[error(
        "bridge {bridge} already has the address {found}, and the gateway of this network is {wanted}; set \"forceAddress\" to replace it, or use another \"bridge\""
    )]
    OtherAddress {
        /// The bridge.
        bridge: String,
        /// What it has.
        found: IpNetwork,
        /// What it should have.
        wanted: IpNetwork,
    },
    /// `isDefaultGateway` without a gateway to route to.
    #[error(
        "\"isDefaultGateway\" is set, but no address has a gateway; set \"ipam\", and \"gateway\" in it for an address that is alone in its subnet"
    )]
    NoGateway,
    /// The container's interface is there already and not of this attachment.
    #[error(
        "CNI_IFNAME=\"{name}\": an interface of that name is already in the container (kind {kind}); detach it first, or choose another name"
    )]
    InterfaceExists {
        /// Its name.
        name: String,
        /// What it is.
        kind: String,
    },
    /// The name of the host's link is taken by somebody else's.
    #[error("link {name} on the host belongs to \"{owner}\"; remove it")]
    HostLinkTaken {
        /// Its name.
        name: String,
        /// What is written on it.
        owner: String,
    },
    /// Duplicate address detection found another holder.
    #[error("\"enabledad\": another host on the network has {0} already")]
    AddressInUse(IpNetwork),
    /// Duplicate address detection does not come to an end.
    #[error("\"enabledad\": {0} is still being looked for on the network after ten seconds")]
    NotSettled(IpNetwork),
    /// `host-device` without a device.
    #[error(
        "none of \"device\", \"hwaddr\", \"kernelpath\", \"pciBusID\" and \"runtimeConfig.deviceID\" is set; set one of them"
    )]
    NoDeviceKey,
    /// `host-device`: the device is not on the host.
    #[error("{0}: there is no such interface on the host; it may be in another container")]
    NoDevice(String),
    /// An interface that is of no use without addresses gets none.
    #[error(
        "\"ipam\" is not set, and an interface of type {0} is of no use without an address; set \"ipam.type\""
    )]
    NoIpam(&'static str),
    /// The IPAM plugin succeeded and gave nothing.
    #[error("the IPAM plugin gave no address")]
    NoLease,
    /// An address without the gateway that everything has to go by.
    #[error(
        "the IPAM plugin gave {0} without a gateway, and with type ptp everything goes by one; set \"gateway\" in \"ipam\""
    )]
    NoGatewayFor(IpNetwork),
    /// A container cannot be its own gateway.
    #[error(
        "{0}, which the IPAM plugin gave the container, is its gateway's address as well; set another \"gateway\" in \"ipam\", or keep the address for it"
    )]
    OwnGateway(IpNetwork),
    /// IPv6 wants larger packets than a link takes.
    #[error(
        "an MTU of {mtu} bytes is too small for the network's IPv6 addresses ({net}), which need 1280; set \"mtu\""
    )]
    TooSmallForIpv6 {
        /// The link's MTU, be it chosen or that of the link below.
        mtu: u32,
        /// An address.
        net: IpNetwork,
    },
    /// STATUS: the link that containers' links would stand on carries no frames.
    #[error("\"master\": {0} is down; set it up: ip link set {0} up")]
    MasterDown(String),
    /// The link that a macvlan should stand on is not there.
    #[error("\"master\": \"{0}\" is not a link of {1}")]
    NoMaster(String, &'static str),
    /// The link below takes no link of that kind.
    #[error("\"master\": {name} takes no {kind} link on it: {why}")]
    MasterRefuses {
        /// The link below.
        name: String,
        /// What was to be made.
        kind: &'static str,
        /// Why the kernel may refuse, and where to look.
        why: &'static str,
    },
    /// A VLAN of a link is one link, and somebody has it.
    #[error(
        "\"vlanId\": VLAN {id} of {master} is another link already, a container's or the host's own; detach that one, or choose another VLAN"
    )]
    VlanTaken {
        /// The VLAN.
        id: u16,
        /// The link below.
        master: String,
    },
    /// The host's interface on a network cannot move while containers need it.
    #[error(
        "\"hostAccess\": the host's interface {name} on this network stands on another link than {master}, with containers that are still attached by that one; detach them first, or give the network another name"
    )]
    HostAccessElsewhere {
        /// The interface.
        name: String,
        /// The link below as it is configured now.
        master: String,
    },
    /// There is no default route to take the link from.
    #[error(
        "\"master\" is not set, and {0} has no default route whose interface it could be; set \"master\" to an interface"
    )]
    NoDefaultRoute(&'static str),
    /// STATUS: the bridge's name is taken, so that no ADD can succeed.
    #[error(transparent)]
    NotAvailable(Box<Error>),
    /// A task wants a default route of a network that never offers one.
    #[error(
        "{0} asks for the default route, and this network's \"defaultRoute\" is false: it never has one; ask another network for it"
    )]
    NoDefaultRouteHere(&'static str),
    /// There must be a default route, and there is nothing that it could lead to.
    #[error(
        "\"defaultRoute\" is true, but the IPAM plugin gave neither a default route nor a gateway; give its range a \"gateway\", or leave \"defaultRoute\" out"
    )]
    NoWayOut,
    /// As [`Error::NoWayOut`], in a family that was named.
    #[error(
        "\"defaultRoute\" is true for \"{0}\", but the IPAM plugin gave neither a default route nor a gateway of that family; give it a range with a \"gateway\", or leave \"{0}\" out of \"defaultRoute\""
    )]
    NoWayOutBy(&'static str),
    /// A plugin that changes what another made, without that other.
    #[error(
        "there is neither \"prevResult\" nor \"delegate\": put this plugin after an interface plugin in the network's list, or give it one as \"delegate\""
    )]
    NothingInside,
    /// The interface has no addresses to route by.
    #[error(
        "{0} has no addresses in the result of the plugin before, so there is nothing to route by"
    )]
    NoAddresses(String),
    /// Others work on the container's routes for too long.
    #[error("{} was locked by another process for {seconds} seconds", path.display())]
    NamespaceBusy {
        /// The namespace.
        path: std::path::PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The lock of what a network has on the host could not be had.
    #[error("cannot lock {}: {error}", path.display())]
    Lock {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Another call for the same attachment does not come to its end.
    #[error(
        "another process has been attaching or detaching this interface of the container for {0} seconds; try again when it is done"
    )]
    Busy(u64),
    /// The routes of a container are changed by others all the time.
    #[error("the container's default routes were changed by others each time they were in order")]
    RoutesInFlux,
    /// The kernel is too old for a key.
    #[error("\"{key}\": \"{value}\" needs a kernel that has {parameter} ({since} or later)")]
    KernelLacks {
        /// The key.
        key: &'static str,
        /// Its value.
        value: &'static str,
        /// The kernel's parameter.
        parameter: &'static str,
        /// The kernel that brought it.
        since: &'static str,
    },
    /// Something about a VXLAN network.
    #[error(transparent)]
    Vxlan(#[from] crate::vxlan::Fault),
    /// CHECK found a difference.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was looked at.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// CHECK without the result of ADD.
    #[error("\"prevResult\" is missing: CHECK compares with the result of ADD")]
    NoPrevResult,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Protocol(error) => return error.into(),
            Error::Delegate(failure) => return failure,
            Error::Kernel(error) => return kernel_failure(&error),
            Error::Vxlan(ref fault) => fault.code(),
            Error::BadKey { .. }
            | Error::Exclusive(..)
            | Error::NoMaster(..)
            | Error::NoIpam(_)
            | Error::HostAccessElsewhere { .. }
            | Error::NoDeviceKey
            | Error::NoDevice(_)
            | Error::NoGatewayFor(_)
            | Error::OwnGateway(_)
            | Error::TooSmallForIpv6 { .. }
            | Error::NoDefaultRoute(_)
            | Error::NoDefaultRouteHere(_) => code::INVALID_CONFIG,
            Error::KernelLacks { .. } => code::UNSUPPORTED_FIELD,
            Error::NothingInside | Error::NoAddresses(_) => code::INVALID_CONFIG,
            Error::Lock { .. } => code::IO,
            Error::NamespaceBusy { .. } | Error::Busy(_) | Error::RoutesInFlux => code::TRY_AGAIN,
            Error::NoLease => code::NO_FREE_ADDRESS,
            Error::MasterDown(_) => code::NOT_AVAILABLE,
            Error::NoGateway
            | Error::NoWayOut
            | Error::NoWayOutBy(_)
            | Error::NoPrevResult
            | Error::OtherAddress { .. } => code::INVALID_CONFIG,
            Error::NotABridge { .. } | Error::Segment(_) => code::INVALID_CONFIG,
            Error::IgnoresVlans(_) => code::INVALID_CONFIG,
            Error::NoVlans(_) => code::UNSUPPORTED_FIELD,
            Error::AddressInUse(_) => code::ADDRESS_NOT_AVAILABLE,
            Error::NotSettled(_) => code::TRY_AGAIN,
            Error::NotAvailable(_) => code::NOT_AVAILABLE,
            Error::InterfaceExists { .. } => code::INVALID_ENVIRONMENT,
            Error::HostLinkTaken { .. } | Error::MasterRefuses { .. } | Error::VlanTaken { .. } => {
                code::LINK_IN_THE_WAY
            }
            Error::Differs { .. } => code::CHECK_FAILED,
        };
        Failure::new(code, error.to_string())
    }
}

fn kernel_failure(error: &kernel::Error) -> Failure {
    let failure = |code| Failure::new(code, error.to_string());
    match error {
        kernel::Error::NotNetns { path, why } => Failure::new(
            code::INVALID_ENVIRONMENT,
            format!(
                "CNI_NETNS=\"{}\" is not a network namespace: {why}",
                path.display()
            ),
        ),
        kernel::Error::OwnNetns(path) => Failure::new(
            code::INVALID_NETNS,
            format!(
                "CNI_NETNS=\"{}\" is the host's own network namespace, not a container's",
                path.display()
            ),
        ),
        kernel::Error::Socket(_)
        | kernel::Error::Unopened { .. }
        | kernel::Error::Sysctl { .. } => failure(code::IO),
        kernel::Error::Refused {
            errno: Errno::EPERM,
            ..
        } => failure(code::KERNEL).with_details("the plugin needs CAP_NET_ADMIN and CAP_SYS_ADMIN"),
        kernel::Error::Refused { .. } | kernel::Error::Garbled(_) => failure(code::KERNEL),
    }
}
