//! Attachments that are one link in the container, and next to nothing on the host:
//! what their plugins have in common. A plugin says what its keys are, what its link
//! stands on, and how it is made ([`LinkInside`]).

use std::marker::PhantomData;

use cni::{Attachment, Call, Failure, Plugin, Request};
use kernel::{Driver, Errno, Link, Mac, Neighbour, NewLink};

use crate::attachment::{Identity, requested_mac};
use crate::container::{Announcement, Inside};
use crate::garbage::{self, Stale};
use crate::lower::Stand;
use crate::undo::Undo;
use crate::{Error, Result, check, lease, turn};

/// The keys of such a plugin, and what they mean.
pub(crate) trait LinkInside: Sized {
    /// The plugin's name.
    const NAME: &'static str;
    /// What the kernel calls its links.
    const KIND: &'static str = Self::NAME;
    /// Whether a link without an address would be of no use.
    const NEEDS_ADDRESSES: bool = true;

    /// Reads and validates the keys.
    fn read(request: &Request) -> Result<Self>;

    /// The link below, for those that stand on one.
    fn stand(&self) -> Option<&Stand> {
        None
    }

    /// The addresses and routes that a plugin before this one has left to it.
    fn inherited(&self, _request: &Request) -> Result<Option<Attachment>> {
        Ok(None)
    }

    /// How its link makes itself known to its neighbours.
    fn announcement(&self) -> Announcement {
        Announcement::AtOnce
    }

    /// What is to be checked before anything is changed.
    fn examine(&self, _inside: &mut Inside<'_>) -> Result<()> {
        Ok(())
    }

    /// Makes the link: down, and under its final name.
    fn create(&self, site: &mut Site<'_, '_>) -> Result<()>;

    /// Connects the container with the host, where that is asked for: adds the routes
    /// that it needs to the lease, and returns the neighbours that it does not ask for.
    fn connect_host(&self, _ends: &Ends<'_>, _layer3: &mut Attachment) -> Result<Vec<Neighbour>> {
        Ok(Vec::new())
    }

    /// Takes back what [`LinkInside::connect_host`] did, however far it came.
    fn leave_host(_request: &Request, _identity: &Identity) -> Result<()> {
        Ok(())
    }

    /// As [`LinkInside::leave_host`], of attachments that have gone without a DEL.
    fn collect(_stale: &Stale) -> Result<()> {
        Ok(())
    }

    /// Compares what only links of this kind have.
    fn check(&self, _inside: &mut Inside<'_>, _link: &Link) -> Result<()> {
        Ok(())
    }

    /// Compares what [`LinkInside::connect_host`] did.
    fn check_host(
        &self,
        _ends: &Ends<'_>,
        _inside: &mut Inside<'_>,
        _link: &Link,
        _expected: &Attachment,
    ) -> Result<()> {
        Ok(())
    }
}

/// What is known of an attachment besides its keys.
pub(crate) struct Ends<'s> {
    pub(crate) request: &'s Request,
    pub(crate) identity: &'s Identity,
    /// The container's hardware address.
    pub(crate) mac: Mac,
    /// The link below.
    pub(crate) lower: Option<&'s Link>,
}

/// Where a link is to be made, and with what.
pub(crate) struct Site<'s, 'a> {
    pub(crate) inside: &'s mut Inside<'a>,
    pub(crate) identity: &'s Identity,
    pub(crate) name: &'s str,
    /// The hardware address that was asked for, or that follows from the lease.
    pub(crate) mac: Mac,
    lower: Option<&'s Link>,
    lower_is_outside: bool,
}

impl Site<'_, '_> {
    /// Makes a link of a driver.
    pub(crate) fn make(
        &mut self,
        driver: Driver,
        mac: Option<Mac>,
        mtu: Option<u32>,
    ) -> Result<()> {
        let outside = self.lower.filter(|_| self.lower_is_outside);
        let container = outside.map(|_| self.inside.netns().descriptor());
        let lower = self.lower.map(|lower| lower.index);
        let called = |name| {
            kernel::create_link(&NewLink {
                name,
                driver,
                mac,
                mtu,
                lower,
                container,
            })
        };
        let alias = &self.identity.alias;
        let refused = |error| refusal(error, driver, self.lower);
        if outside.is_none() {
            let mark = kernel::set_alias_of(self.name, alias);
            let made = self.inside.netlink().apply(&[called(self.name), mark]);
            return made.map_err(refused);
        }
        match self.inside.outside()?.apply(&[called(self.name)]) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            made => return made.map_err(refused),
        }
        // The host may have an interface of that name.
        self.inside.remove_unfinished()?;
        let name = &self.identity.unfinished_link;
        let made = self.inside.outside()?.apply(&[called(name)]);
        made.map_err(refused)?;
        let netlink = self.inside.netlink();
        let link = netlink.link(name)?;
        let finish = link.map(|link| {
            [
                kernel::rename(link.index, self.name),
                kernel::set_alias(link.index, alias),
            ]
        });
        Ok(netlink.apply(finish.as_ref().map_or(&[], |both| &both[..]))?)
    }
}

/// What it means that the kernel makes no link of a driver on the link below, whose name
/// was free.
fn refusal(error: kernel::Error, driver: Driver, lower: Option<&Link>) -> Error {
    let (Some(errno), Some(lower)) = (error.errno(), lower) else {
        return error.into();
    };
    let refuses = |kind, why| Error::MasterRefuses {
        name: lower.name.clone(),
        kind,
        why,
    };
    const BUSY: &str = "something else takes its frames already, a bridge or bond that it is a port of, or links of another type above it; see: ip -details link show";
    const ALONE: &str = "it is the loopback, or a link of \"mode\": \"passthru\" has it alone or wants it alone; use another \"master\"";
    match (driver, errno) {
        (Driver::Vlan { id }, Errno::EEXIST) => Error::VlanTaken {
            id,
            master: lower.name.clone(),
        },
        (Driver::Macvlan { .. }, Errno::EBUSY) => refuses("macvlan", BUSY),
        (Driver::Ipvlan { .. }, Errno::EBUSY) => refuses("ipvlan", BUSY),
        (Driver::Macvlan { .. }, Errno::EINVAL) => refuses("macvlan", ALONE),
        _ => error.into(),
    }
}

/// The plugin of such attachments.
pub(crate) struct Of<K>(PhantomData<fn() -> K>);

impl<K> Of<K> {
    pub(crate) const PLUGIN: Self = Of(PhantomData);
}

impl<K: LinkInside> Plugin for Of<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn add(&self, call: &Call<'_>) -> std::result::Result<Attachment, Failure> {
        Ok(add::<K>(call)?)
    }

    /// The link goes first: an address must not be given to the next container
    /// while this one still answers for it.
    fn del(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let identity = Identity::of(call.request);
        let _alone = turn::take_if_possible(&identity);
        remove::<K>(call.request, &identity)?;
        K::leave_host(call.request, &identity)?;
        call.ipam_forward()
    }

    fn gc(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        garbage::collect(call, K::collect)
    }

    fn check(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        check_link::<K>(call.request)?;
        call.ipam_forward()
    }

    fn status(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let keys = K::read(call.request)?;
        if let Some(stand) = keys.stand() {
            stand.is_ready()?;
        }
        call.ipam_forward()
    }
}

fn add<K: LinkInside>(call: &Call<'_>) -> Result<Attachment> {
    let request = call.request;
    let keys = K::read(request)?;
    let asked_mac = requested_mac(request)?;
    let inherited = keys.inherited(request)?;
    if K::NEEDS_ADDRESSES && inherited.is_none() && request.config.ipam_type().is_none() {
        return Err(Error::NoIpam(K::NAME));
    }
    let identity = Identity::of(request);
    let _alone = turn::take(&identity)?;
    let mut inside = Inside::open(request, &identity)?;
    inside.announcement = keys.announcement();
    let lower = match keys.stand() {
        Some(stand) => Some(stand.find(&mut inside)?),
        None => None,
    };
    keys.examine(&mut inside)?;
    if inside.make_room_on(K::KIND, lower.as_ref())? {
        K::leave_host(request, &identity)?;
    }

    let mut undo = Undo::default();
    let early = match inherited {
        Some(inherited) => Some(inherited),
        None => lease::take_early(call, &mut undo)?,
    };
    let mut ends = Ends {
        request,
        identity: &identity,
        mac: asked_mac.unwrap_or_else(|| lease::mac(early.as_ref(), &identity)),
        lower: lower.as_ref(),
    };
    let mut site = Site {
        name: &request.ifname,
        mac: ends.mac,
        lower: lower.as_ref(),
        lower_is_outside: keys.stand().is_some_and(|stand| !stand.in_container),
        inside: &mut inside,
        identity: &identity,
    };
    keys.create(&mut site)?;
    undo.push(|| remove::<K>(request, &identity));
    let mut lease = match early {
        Some(lease) => lease,
        None => lease::take(call, &mut undo)?,
    };
    if lease.ips.is_empty() && (K::NEEDS_ADDRESSES || request.config.ipam_type().is_some()) {
        return Err(Error::NoLease);
    }
    undo.push(|| K::leave_host(request, &identity));
    let is_derived = asked_mac.is_none() && ends.mac != identity.container_mac();
    let given = lease.clone();
    let (link, neighbours) = match bring_up(&keys, &ends, &mut inside, &mut lease) {
        Err(Error::Kernel(error)) if is_derived && error.errno() == Some(Errno::EADDRINUSE) => {
            // Another container on the link below has the IP address as well (`static`,
            // or another network's), and with it the hardware address. Whether two may
            // have the one is for others to say; the other must be different.
            ends.mac = identity.container_mac();
            let link = inside.find()?;
            let mac = kernel::set_mac(link.index, ends.mac);
            inside.netlink().apply(&[mac])?;
            lease = given;
            bring_up(&keys, &ends, &mut inside, &mut lease)?
        }
        up => up?,
    };
    inside.announce(&link)?;
    // Not before: a link forgets its neighbours when its hardware address is set.
    let neighbours = neighbours.iter();
    let known: Vec<_> = neighbours
        .map(|neighbour| kernel::set_neighbour(link.index, neighbour))
        .collect();
    inside.netlink().apply(&known)?;
    undo.keep();
    let netns = inside.netns();
    Ok(lease::result(request, netns, Vec::new(), &link, lease))
}

/// Connects the host and brings the link up, with the lease's addresses and routes.
fn bring_up<K: LinkInside>(
    keys: &K,
    ends: &Ends<'_>,
    inside: &mut Inside<'_>,
    layer3: &mut Attachment,
) -> Result<(Link, Vec<Neighbour>)> {
    let neighbours = keys.connect_host(ends, layer3)?;
    Ok((inside.configure(layer3)?, neighbours))
}

fn remove<K: LinkInside>(request: &Request, identity: &Identity) -> Result<()> {
    match Inside::open_if_there(request, identity)? {
        Some(mut inside) => inside.remove(K::KIND),
        None => Ok(()),
    }
}

fn check_link<K: LinkInside>(request: &Request) -> Result<()> {
    let keys = K::read(request)?;
    let identity = Identity::of(request);
    let mut inside = Inside::open(request, &identity)?;
    let (expected, interface) = check::expected(request)?;
    let state = check::State::Up;
    let link = check::container(&mut inside, &expected, &interface, K::KIND, state)?;
    if let Some(stand) = keys.stand() {
        stand.check(&mut inside, &link)?;
    }
    let ends = Ends {
        request,
        identity: &identity,
        mac: link.mac.unwrap_or(identity.container_mac()),
        lower: None,
    };
    keys.check(&mut inside, &link)?;
    keys.check_host(&ends, &mut inside, &link, &expected)
}
