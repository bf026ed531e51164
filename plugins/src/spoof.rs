//! `macspoofchk`: frames from the container with a hardware address that is not its
//! own are dropped where they enter the bridge.

use kernel::{Mac, nft};

use crate::Result;
use crate::attachment::Identity;
use crate::check::differs;
use crate::garbage::Stale;
use crate::undo::Undo;

/// Guards the port, before the container can send anything.
pub(crate) fn guard(identity: &Identity, mac: Mac, undo: &mut Undo<'_>) -> Result<()> {
    let guard = nft::Guard {
        port: identity.host_link.clone(),
        mac,
        mark: identity.alias.clone(),
    };
    nft::guard(&guard)?;
    undo.push(move || nft::Release::of(vec![guard])?.commit());
    Ok(())
}

/// What DEL has to take away, also when the configuration has been changed since.
/// `is_asked_for` says whether the present one has guards.
pub(crate) fn release(
    identity: &Identity,
    is_asked_for: impl FnOnce() -> bool,
) -> Result<Option<nft::Release>> {
    let found = match nft::guard_of(&identity.host_link) {
        Ok(found) => found,
        // A kernel without nftables has never guarded anything.
        Err(_) if !is_asked_for() => None,
        Err(error) => return Err(error.into()),
    };
    let release = found.map(|guard| nft::Release::of(vec![guard]));
    Ok(release.transpose()?)
}

/// Takes the guards of attachments away that are no longer valid.
pub(crate) fn collect(stale: &Stale) -> Result<()> {
    let mut guards = nft::all_guards()?;
    guards.retain(|guard| stale.has_port(&guard.port, &guard.mark));
    match guards.is_empty() {
        true => Ok(()),
        false => Ok(nft::Release::of(guards)?.commit()?),
    }
}

/// Whether the port is guarded.
pub(crate) fn check(identity: &Identity, mac: Option<Mac>) -> Result<()> {
    let Some(mac) = mac else {
        return Ok(());
    };
    match nft::is_guarded(&identity.host_link, mac)? {
        true => Ok(()),
        false => Err(differs(
            &format!("guard of port {}", identity.host_link),
            &format!("only {mac} may send, in the table bridge slash24"),
            "none",
        )),
    }
}
