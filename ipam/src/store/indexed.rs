//! The index of the leases: loaded when it is first needed, made anew when it is
//! not in step.

use std::net::IpAddr;

use super::{Found, Leases, UNNAMED, last_reserved};
use crate::Error;
use crate::index::{Damaged, Index, Searched};
use crate::lease::Lease;
use crate::lease_file;
use crate::shared;

impl Leases {
    /// Makes sure that there is an index; tells a lease that could not be read.
    pub(super) fn load_index(&mut self) -> Result<Option<Error>, Error> {
        if self.index.is_none() {
            self.index = Index::open(&self.index_path, &self.directory, self.boot.id());
        }
        match self.index.is_some() {
            true => Ok(None),
            false => self.rebuild_index(),
        }
    }

    fn rebuild_index(&mut self) -> Result<Option<Error>, Error> {
        let shared = shared::all(&self.shared)?;
        self.name_holders(&shared.found);
        let Found { found, unread } = self.all_with(shared)?;
        let leases: Vec<(IpAddr, Lease)> = found
            .into_iter()
            .map(|(address, kept)| (address, kept.lease))
            .collect();
        // A process that was killed may have left it. The new index has no seal, so
        // this is not taken for another's doing.
        let _ = lease_file::remove(&self.directory.join(UNNAMED));
        self.unread = unread.is_some();
        let index = Index::rebuild(&self.index_path, self.boot.id(), &leases);
        self.index = Some(index.map_err(|Damaged| self.unindexable())?);
        Ok(unread)
    }

    /// Asks or changes the index; one that turns out to be damaged is made anew.
    pub(crate) fn in_index<T>(
        &mut self,
        mut act: impl FnMut(&mut Index) -> Result<T, Damaged>,
    ) -> Result<T, Error> {
        self.load_index()?;
        for again in [true, false] {
            if let Some(Ok(answer)) = self.index.as_mut().map(&mut act) {
                return Ok(answer);
            }
            if again {
                self.rebuild_index()?;
            }
        }
        Err(self.unindexable())
    }

    /// Makes the ranges of a pool known, each with the number of its set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) fn know(&mut self, pool: &[(usize, Searched<'_>)]) -> Result<(), Error> {
        let directory = self.directory.clone();
        self.in_index(|index| index.know(pool, |set| last_reserved(&directory, set)))
    }

    /// Has the search for free addresses look at every address again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn search_anew(&mut self) -> Result<(), Error> {
        self.in_index(|index| {
            index.search_anew();
            Ok(())
        })
    }

    /// Drops what is in memory of the index when something could not be looked at or changed:
    /// the two may have gone apart. What is on disk is used again if it is in step.
    pub(crate) fn distrust_after(&mut self, error: &Error) {
        if matches!(error, Error::Store { .. } | Error::Own { .. }) {
            self.index = None;
        }
    }

    fn unindexable(&self) -> Error {
        Error::Unindexable(self.directory.clone())
    }
}
