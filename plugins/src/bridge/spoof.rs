//! `macspoofchk`: frames from the container with a hardware address that is not its
//! own are dropped where they enter the bridge.

use cni::Request;
use kernel::{Mac, nft};

use super::keys::Keys;
use crate::Result;
use crate::attachment::Identity;
use crate::check::differs;
use crate::garbage::Stale;
use crate::undo::Undo;

/// Guards the port, before the container can send anything.
pub(super) fn guard(keys: &Keys, identity: &Identity, mac: Mac, undo: &mut Undo<'_>) -> Result<()> {
    if !keys.macspoofchk {
        return Ok(());
    }
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
pub(super) fn release(request: &Request, identity: &Identity) -> Result<Option<nft::Release>> {
    let found = match nft::guard_of(&identity.host_link) {
        Ok(found) => found,
        // A kernel without nftables has never guarded anything.
        Err(_) if !is_asked_for(request) => None,
        Err(error) => return Err(error.into()),
    };
    let release = found.map(|guard| nft::Release::of(vec![guard]));
    Ok(release.transpose()?)
}

fn is_asked_for(request: &Request) -> bool {
    Keys::read(&request.config).is_ok_and(|keys| keys.macspoofchk)
}

/// Takes the guards of attachments away that are no longer valid.
pub(super) fn collect(stale: &Stale) -> Result<()> {
    let mut guards = nft::all_guards()?;
    guards.retain(|guard| stale.has_port(&guard.port, &guard.mark));
    match guards.is_empty() {
        true => Ok(()),
        false => Ok(nft::Release::of(guards)?.commit()?),
    }
}

pub(super) fn check(keys: &Keys, identity: &Identity, mac: Option<Mac>) -> Result<()> {
    let Some(mac) = mac.filter(|_| keys.macspoofchk) else {
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
