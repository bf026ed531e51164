//! One call at a time for one attachment. A runtime sees to that; but one that has given
//! a call up, or was started anew, may not know that the plugin is still at work. Then an
//! ADD would take for a leftover what another is just making, and by its own way back
//! free the address that the other has.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::Turn;

use crate::attachment::Identity;
use crate::{Error, Result};

/// Where turns are taken, each attachment at its own place. It is of no use after a boot.
const FILE: &str = "/run/slash24/attachments";
/// How long others are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether they have gone. Nobody who keeps to the specification waits.
const PAUSE: Duration = Duration::from_millis(2);

/// For ADD.
///
/// # Errors
/// [`Error::Busy`] when another call for the attachment takes too long.
pub(crate) fn take(identity: &Identity) -> Result<Option<Turn>> {
    let Some(file) = open() else {
        return Ok(None);
    };
    let turn = Turn::at(file, identity.place());
    let mut deadline = None;
    // A host without such locks is as good as any runtime that keeps to the specification.
    while !turn.try_begin().unwrap_or(true) {
        let deadline = deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        if Instant::now() > *deadline {
            return Err(Error::Busy(PATIENCE.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Some(turn))
}

/// For DEL, which does its work in any case.
pub(crate) fn take_if_possible(identity: &Identity) -> Option<Turn> {
    take(identity).ok().flatten()
}

fn open() -> Option<File> {
    let path = Path::new(FILE);
    let open = || File::options().create(true).append(true).open(path);
    let opened = open().or_else(|_| {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        open()
    });
    opened.ok()
}
