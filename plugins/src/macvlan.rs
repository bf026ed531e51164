//! `macvlan`: a container on the segment of one of the host's interfaces, with a
//! hardware address of its own.

use cni::{Attachment, Call, Config, Failure, Plugin, Request};
use kernel::{Link, MacvlanMode, Netlink};
use serde::Deserialize;

use crate::attachment::{Identity, requested_mac};
use crate::container::Inside;
use crate::undo::Undo;
use crate::{Error, Result, check, lease, lower};

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
        remove(call.request, &Identity::of(call.request))?;
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

    /// The connection to where the link below is.
    fn outside<'n>(&self, inside: &'n mut Inside<'_>, host: &'n mut Netlink) -> &'n mut Netlink {
        if self.link_in_container {
            inside.netlink()
        } else {
            host
        }
    }

    /// Where the link below is, for messages.
    fn place(&self) -> &'static str {
        if self.link_in_container {
            "the container"
        } else {
            "the host"
        }
    }
}

fn add(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = Keys::read(&request.config)?;
    let asked_mac = requested_mac(request)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let mut host = Netlink::open()?;
    let outside = keys.outside(&mut inside, &mut host);
    let master = find_master(outside, &keys)?;
    inside.make_room("macvlan")?;

    let mut undo = Undo::default();
    let early = lease::take_early(call, &mut undo)?;
    let mac = asked_mac.unwrap_or_else(|| lease::mac(early.as_ref(), &identity));
    let link = kernel::Macvlan {
        name: &request.ifname,
        // In passthru mode the kernel gives it the address of the link below.
        mac: (keys.mode != MacvlanMode::Passthrough).then_some(mac),
        lower: master.index,
        mode: keys.mode,
        mtu: keys.mtu,
        broadcast_queue: keys.broadcast_queue,
        container: (!keys.link_in_container).then(|| inside.netns().descriptor()),
    };
    let outside = keys.outside(&mut inside, &mut host);
    outside.apply(&[kernel::create_macvlan(&link)])?;
    undo.push(|| remove(request, &identity));
    let mut lease = match early {
        Some(lease) => lease,
        None => lease::take(call, &mut undo)?,
    };
    let link = inside.configure(&mut lease)?;
    inside.announce(&link)?;
    undo.keep();
    Ok(lease::result(
        request,
        inside.netns(),
        Vec::new(),
        &link,
        lease,
    ))
}

fn remove(request: &Request, identity: &Identity) -> Result<()> {
    match Inside::open_if_there(request, identity)? {
        Some(mut inside) => inside.remove(),
        None => Ok(()),
    }
}

/// The link below, if the MTU fits it.
fn find_master(netlink: &mut Netlink, keys: &Keys) -> Result<Link> {
    let master = lower::find(netlink, keys.master.as_deref(), keys.place())?;
    lower::check_mtu(keys.mtu, &master)?;
    Ok(master)
}

fn check_link(request: &Request) -> Result<()> {
    let keys = Keys::read(&request.config)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (expected, interface) = check::expected(request)?;
    let link = check::container(
        &mut inside,
        &expected,
        &interface,
        "macvlan",
        check::State::Up,
    )?;
    if keys.master.is_none() {
        // The default route may have moved since; that does not move this link.
        return Ok(());
    }
    let mut host = Netlink::open()?;
    let outside = keys.outside(&mut inside, &mut host);
    let master = find_master(outside, &keys)?;
    let name = |index: Option<u32>| format!("link number {}", index.unwrap_or(0));
    let what = format!("link below {}", link.name);
    check::same(&what, &name(Some(master.index)), &name(link.lower))
}
