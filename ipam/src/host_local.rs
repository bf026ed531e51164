//! The plugin `host-local`: addresses from ranges of this host, leases in files.
//!
//! It takes the reference's configuration and keeps the reference's files, and
//! goes beyond it where that made users suffer: addresses may be templates, a
//! repeated ADD gets the same address again, no reboot leaks an address, no call
//! reads all leases, GC and STATUS are there, and the lock is waited for with a
//! deadline.

use std::net::IpAddr;

use cni::{Attachment, Call, Dns, Failure, Plugin, Request, ValidAttachment};

use crate::config::{Addressing, Storage};
use crate::lease::{Lease, Owner};
use crate::pool::Pool;
use crate::requested::requested;
use crate::reservation::names;
use crate::store::Leases;
use crate::{Error, resolv_conf};
use place::Here;

/// The plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn is_ipam(&self) -> bool {
        true
    }

    fn add(&self, call: &Call<'_>) -> Result<Attachment, Failure> {
        Ok(add(call.request)?)
    }

    fn del(&self, call: &Call<'_>) -> Result<(), Failure> {
        Ok(del(call.request)?)
    }

    fn check(&self, call: &Call<'_>) -> Result<(), Failure> {
        Ok(check(call.request)?)
    }

    fn gc(&self, call: &Call<'_>) -> Result<(), Failure> {
        Ok(gc(call.request)?)
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Failure> {
        Ok(status(call.request)?)
    }
}

/// Everything that can be wrong is found before a lease is made.
fn add(request: &Request) -> Result<Attachment, Error> {
    let addressing = Addressing::read(&request.config)?;
    let here = Here::new(addressing.location.clone());
    let pool = pool(request, &addressing, &here)?;
    let routes = addressing.routes_at(&here)?;
    let dns = addressing
        .resolv_conf
        .as_deref()
        .map_or_else(|| Ok(Dns::default()), resolv_conf::read)?;
    let wanted = requested(request)?;
    // Labels that nothing is reserved for may be anything.
    let names = match addressing.reservations.is_empty() {
        true => Vec::new(),
        false => names(request)?,
    };
    let storage = Storage::read(&request.config)?;
    let mut leases = storage.directory.lock(storage.lock_timeout)?;
    leases.set_netns(request.netns.as_deref());
    Ok(Attachment {
        ips: pool.allocate(&mut leases, &wanted, &names, owner(request))?,
        routes,
        dns,
        ..Attachment::default()
    })
}

/// Needs nothing but the lease directory: what ADD was told may have changed.
fn del(request: &Request) -> Result<(), Error> {
    let storage = Storage::read_to_free(&request.config)?;
    let Some(mut leases) = storage.directory.lock_existing(storage.lock_timeout)? else {
        return Ok(());
    };
    let held = leases.of(owner(request))?;
    let own = Lease::of(owner(request));
    let held_by_it = held.found.into_iter().map(|address| (address, own.clone()));
    release_all(&mut leases, held_by_it, held.unread)
}

fn check(request: &Request) -> Result<(), Error> {
    let addressing = Addressing::read(&request.config)?;
    let pool = pool(
        request,
        &addressing,
        &Here::new(addressing.location.clone()),
    )?;
    let leases = lock_existing(request)?;
    let leased = leases.map_or_else(|| Ok(Vec::new()), |leases| leased(request, leases))?;
    if leased.is_empty() {
        return Err(Error::NoLease {
            container: request.container_id.clone(),
            ifname: request.ifname.clone(),
            directory: Storage::read(&request.config)?.directory.path().to_owned(),
        });
    }
    let Some(previous) = request.config.prev_result()? else {
        return Ok(());
    };
    let given: Vec<IpAddr> = previous.ips.iter().map(|ip| ip.address.ip()).collect();
    // The result may hold addresses of other plugins, but ours must be leased.
    let unleased = given
        .iter()
        .any(|address| pool.contains(*address) && !leased.contains(address));
    match unleased || leased.iter().any(|address| !given.contains(address)) {
        false => Ok(()),
        true => Err(Error::LeaseDiffers {
            container: request.container_id.clone(),
            ifname: request.ifname.clone(),
            leased: listed(&leased),
            given: listed(&given),
        }),
    }
}

fn gc(request: &Request) -> Result<(), Error> {
    // No list is not an empty list: libcni sends none when it was given none.
    let Some(valid) = request.config.valid_attachments()? else {
        return Ok(());
    };
    let Some(mut leases) = lock_existing(request)? else {
        return Ok(());
    };
    let all = leases.all()?;
    // This looks at everything anyway, so the search may find again what it passed
    // because it was the host's own then.
    leases.search_anew()?;
    let holders = all
        .found
        .into_iter()
        .map(|(address, kept)| (address, kept.lease));
    let stale = holders.filter(|(_, lease)| !is_valid(lease, &valid));
    release_all(&mut leases, stale, all.unread)
}

fn status(request: &Request) -> Result<(), Error> {
    let addressing = Addressing::read(&request.config)?;
    let pool = pool(
        request,
        &addressing,
        &Here::new(addressing.location.clone()),
    )?;
    let storage = Storage::read(&request.config)?;
    storage.directory.can_be_written()?;
    let leases = storage.directory.lock_existing(storage.lock_timeout)?;
    pool.can_give(leases.as_ref())
}

fn pool(request: &Request, addressing: &Addressing, here: &Here) -> Result<Pool, Error> {
    addressing.pool_at(&request.config.name, request.config.version, here)
}

fn lock_existing(request: &Request) -> Result<Option<Leases>, Error> {
    let storage = Storage::read(&request.config)?;
    storage.directory.lock_existing(storage.lock_timeout)
}

fn owner(request: &Request) -> Owner<'_> {
    Owner {
        container: &request.container_id,
        ifname: &request.ifname,
    }
}

/// A lease or an attachment that does not name an interface is that of any
/// interface of its container.
fn is_valid(lease: &Lease, valid: &[ValidAttachment]) -> bool {
    valid.iter().any(|attachment| {
        let ifname = lease
            .ifname
            .as_deref()
            .filter(|_| !attachment.ifname.is_empty());
        attachment.container_id == lease.container
            && ifname.is_none_or(|ifname| ifname == attachment.ifname)
    })
}

/// What the request's owner holds, for certain. A lease from an earlier boot is
/// no more than a memory.
fn leased(request: &Request, mut leases: Leases) -> Result<Vec<IpAddr>, Error> {
    let held = leases.of(owner(request))?;
    let mut leased = Vec::with_capacity(held.found.len());
    for address in held.found {
        if leases.holds(address, owner(request))? {
            leased.push(address);
        }
    }
    match held.unread {
        Some(unread) if leased.is_empty() => Err(unread),
        _ => Ok(leased),
    }
}

/// Frees what can be freed and tells the first error, `unread` before others: a
/// lease that could not be read may have to be freed too.
fn release_all(
    leases: &mut Leases,
    held: impl IntoIterator<Item = (IpAddr, Lease)>,
    unread: Option<Error>,
) -> Result<(), Error> {
    let mut released = unread.map_or(Ok(()), Err);
    for (address, holder) in held {
        released = released.and(leases.release(address, &holder));
    }
    released
}

fn listed(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.join(", ")
}
