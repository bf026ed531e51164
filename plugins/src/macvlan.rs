//! `macvlan`: a container on the segment of one of the host's interfaces, with a
//! hardware address of its own.

use cni::{Attachment, Call, Config, Failure, Plugin, Request};
use kernel::{Link, MacvlanMode, Netlink, Netns, RouteEntry};
use serde::Deserialize;

use crate::attachment::Identity;
use crate::container::{self, Interior};
use crate::undo::Undo;
use crate::{Error, Result, check, lease};

/// `RT_TABLE_MAIN` (linux/rtnetlink.h).
const MAIN_TABLE: u32 = 254;

/// The plugin.
pub struct Macvlan;

impl Plugin for Macvlan {
    fn name(&self) -> &'static str {
        "macvlan"
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add(call)?)
    }

    /// The link goes first: an address must not be given to the next container
    /// while this one still answers for it.
    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        if let Some(netns) = container::open_if_there(call.request) {
            container::remove(&netns, call.request, &Identity::of(call.request))?;
        }
        call.ipam_forward()
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_link(call.request)?;
        call.ipam_forward()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKeys {
    master: String,
    mode: String,
    mtu: u32,
    link_in_container: bool,
    bcqueuelen: u32,
}

struct Keys {
    master: Option<String>,
    mode: MacvlanMode,
    mtu: Option<u32>,
    link_in_container: bool,
    broadcast_queue: Option<u32>,
}

impl Keys {
    fn read(config: &Config) -> Result<Self> {
        let raw: RawKeys = config.read()?;
        let mode = match raw.mode.as_str() {
            "" | "bridge" => MacvlanMode::Bridge,
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "passthru" => MacvlanMode::Passthrough,
            other => {
                return Err(Error::BadKey {
                    key: "mode",
                    value: format!("\"{other}\""),
                    right: "\"bridge\", \"private\", \"vepa\" or \"passthru\"".into(),
                });
            }
        };
        if !raw.master.is_empty() && !cni::name::is_interface(&raw.master) {
            return Err(Error::BadKey {
                key: "master",
                value: format!("\"{}\"", raw.master),
                right: cni::name::INTERFACE.into(),
            });
        }
        Ok(Keys {
            master: Some(raw.master).filter(|master| !master.is_empty()),
            mode,
            mtu: Some(raw.mtu).filter(|mtu| *mtu != 0),
            link_in_container: raw.link_in_container,
            broadcast_queue: Some(raw.bcqueuelen).filter(|length| *length != 0),
        })
    }

    /// Where the link below is, for messages.
    fn place(&self) -> &'static str {
        if self.link_in_container {
            "the container"
        } else {
            "the host"
        }
    }

    /// Runs `work` where the link below is.
    fn at_master<T>(
        &self,
        netns: &Netns,
        work: impl FnOnce(&mut Netlink) -> Result<T>,
    ) -> Result<T> {
        let _inside = self.link_in_container.then(|| netns.enter()).transpose()?;
        work(&mut Netlink::open()?)
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(&request.config)?;
    let netns = container::open(request)?;
    let identity = Identity::of(request);
    let master = keys.at_master(&netns, |netlink| find_master(netlink, &keys))?;
    let mut undo = Undo::default();

    let early = lease::take_early(call, &mut undo)?;
    let mac = lease::mac(request, early.as_ref(), &identity)?;
    let link = kernel::Macvlan {
        name: &request.ifname,
        // In passthru mode the kernel gives it the address of the link below.
        mac: (keys.mode != MacvlanMode::Passthrough).then_some(mac),
        lower: master.index,
        mode: keys.mode,
        mtu: keys.mtu,
        broadcast_queue: keys.broadcast_queue,
        container: (!keys.link_in_container).then(|| netns.descriptor()),
    };
    create(&keys, &netns, &identity, &link)?;
    undo.push(|| container::remove(&netns, request, &identity));
    let lease = match early {
        Some(lease) => lease,
        None => lease::take(call, &mut undo)?,
    };
    let interior = Interior {
        ifname: &request.ifname,
        identity: &identity,
        layer3: &lease,
    };
    let inside = container::configure(&netns, &interior)?;
    undo.keep();
    Ok(lease::result(request, &netns, Vec::new(), &inside, lease))
}

/// The link below: the one that the configuration names, or that of the default
/// route.
fn find_master(netlink: &mut Netlink, keys: &Keys) -> Result<Link> {
    let master = match &keys.master {
        Some(name) => {
            let link = netlink.link(name)?;
            link.ok_or_else(|| Error::NoMaster(name.clone(), keys.place()))?
        }
        None => default_master(netlink)?.ok_or(Error::NoDefaultRoute(keys.place()))?,
    };
    match keys.mtu.filter(|mtu| *mtu > master.mtu || *mtu < 68) {
        Some(mtu) => Err(Error::BadKey {
            key: "mtu",
            value: mtu.to_string(),
            right: format!(
                "68 to {} bytes, which is the MTU of {}, or 0 for that",
                master.mtu, master.name
            ),
        }),
        None => Ok(master),
    }
}

/// The link of the default route that serves; of one with several ways (two
/// uplinks) the first. IPv6's when there is none for IPv4.
fn default_master(netlink: &mut Netlink) -> Result<Option<Link>> {
    for ipv4 in [true, false] {
        let routes = netlink.routes(ipv4, MAIN_TABLE)?;
        let defaults = routes.iter().filter(|route| route.dst.prefix() == 0);
        let serving = defaults.min_by_key(|route| route.priority.unwrap_or(0));
        if let Some(link) = serving.and_then(first_link) {
            return Ok(netlink.link_by_index(link)?);
        }
    }
    Ok(None)
}

fn first_link(route: &RouteEntry) -> Option<u32> {
    route
        .next_hops
        .first()
        .map(|hop| hop.link)
        .filter(|link| *link != 0)
}

/// Makes the link; over what an earlier ADD of the same attachment left, a new
/// one.
fn create(
    keys: &Keys,
    netns: &Netns,
    identity: &Identity,
    link: &kernel::Macvlan<'_>,
) -> Result<()> {
    let make = || {
        keys.at_master(netns, |netlink| {
            Ok(netlink.apply(&[kernel::create_macvlan(link)])?)
        })
    };
    match make() {
        Err(Error::Kernel(error)) if error.errno() == Some(kernel::Errno::EEXIST) => {
            remove_leftover(netns, identity, link)?;
            make()
        }
        made => made,
    }
}

fn remove_leftover(netns: &Netns, identity: &Identity, link: &kernel::Macvlan<'_>) -> Result<()> {
    let _inside = netns.enter()?;
    let mut netlink = Netlink::open()?;
    let Some(found) = netlink.link(link.name)? else {
        return Ok(());
    };
    // A process may be killed before it has written on the link whose it is.
    let unfinished = found.alias.is_empty() && !found.is_up && found.mac == link.mac;
    let is_ours = found.kind == "macvlan" && (identity.is_own(&found) || unfinished);
    match is_ours {
        true => Ok(netlink.apply(&[kernel::delete_link(found.index)])?),
        false => Err(Error::InterfaceExists {
            name: found.name,
            kind: found.kind,
        }),
    }
}

fn check_link(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let netns = container::open(request)?;
    let (expected, interface) = check::expected(request)?;
    let link = check::container(&netns, &expected, &interface, "macvlan")?;
    if keys.master.is_none() {
        // The default route may have moved since; that does not move this link.
        return Ok(());
    }
    let master = keys.at_master(&netns, |netlink| find_master(netlink, &keys))?;
    let name = |index: Option<u32>| format!("link number {}", index.unwrap_or(0));
    let what = format!("link below {}", link.name);
    check::same(&what, &name(Some(master.index)), &name(link.lower))
}
