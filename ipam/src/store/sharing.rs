//! Leases of addresses that many may hold at once.

use std::net::IpAddr;

use super::{Leases, Taken};
use crate::Error;
use crate::index::break_seal;
use crate::lease::{Lease, Owner};
use crate::lease_file::{self, Kept, failed};
use crate::shared::Holders;

impl Leases {
    /// Has `owner` hold an address that many may hold; false when somebody has it
    /// alone.
    ///
    /// # Errors
    /// [`Error::Store`]; then it does not hold it.
    pub fn share(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        let shared = self.try_share(address, owner);
        shared.inspect_err(|error| self.distrust_after(error))
    }

    fn try_share(&mut self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        let holders = Holders::of(&self.shared, address);
        let taken = match self.look(address)? {
            Taken::Yes => true,
            Taken::No | Taken::ByNobody(_) => false,
        };
        if taken && !self.is_shared_by_holder(&holders, address)? {
            return Ok(false);
        }
        self.load_index()?;
        self.touched.set(true);
        // What follows lies beside the directory, whose time would not tell that it
        // happened: the holder would be in no index, and DEL would not find it.
        break_seal(&self.directory).map_err(|e| failed("change", &self.directory, e))?;
        if !taken {
            holders.sweep(|kept| self.is_current(kept));
        }
        holders.put(owner, self.record().as_ref())?;
        if !taken && let Err(error) = self.make(address, owner) {
            // The error that led here counts.
            let _ = holders.remove(owner);
            return Err(error);
        }
        self.in_index(|index| {
            index.unrest(address)?;
            index.hold(owner.container, Some(owner.ifname), address)
        })?;
        Ok(true)
    }

    /// Whether an address is held by containers that may be several.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn is_shared(&self, address: IpAddr) -> Result<bool, Error> {
        Holders::of(&self.shared, address).are_any()
    }

    /// Whether the one who is named as the address's holder is one of several.
    fn is_shared_by_holder(&self, holders: &Holders, address: IpAddr) -> Result<bool, Error> {
        let Some(named) = self.kept(address)? else {
            return Ok(false);
        };
        match named.lease.owner() {
            Some(owner) => Ok(holders.get(owner)?.is_some()),
            None => Ok(false),
        }
    }

    /// Whether `owner` is one of several holders of an address.
    pub(super) fn shares(&self, address: IpAddr, owner: Owner<'_>) -> Result<bool, Error> {
        Ok(Holders::of(&self.shared, address).get(owner)?.is_some())
    }

    /// Removes one of an address's holders. When it `is_named` in the lease, that is
    /// handed over to another; false when there is none.
    pub(super) fn leave(
        &self,
        address: IpAddr,
        holder: &Lease,
        is_named: bool,
    ) -> Result<bool, Error> {
        let holders = Holders::of(&self.shared, address);
        let Some(owner) = holder.owner() else {
            return Ok(false);
        };
        // Not being able to tell is not the answer no: the others would lose it.
        if !holders.are_any()? {
            return Ok(false);
        }
        let other = holders.another(owner, |kept| self.is_current(kept))?;
        if let Some(other) = other.as_ref().filter(|_| is_named) {
            self.hand_over(address, other)?;
        }
        holders.remove(owner)?;
        Ok(other.is_some())
    }

    /// Has the lease of every shared address name one of its holders. The reference knows of
    /// none but whom it names, and removes the lease when that one goes; then the address
    /// would be free for somebody alone. On a disk that is read-only nobody gets it either.
    pub(super) fn name_holders(&self, holders: &[(IpAddr, Kept)]) {
        for (address, kept) in holders.iter().filter(|(_, kept)| self.is_current(kept)) {
            if let Ok(None) = lease_file::look(&self.path(*address)) {
                let _ = self.hand_over(*address, kept);
            }
        }
    }

    /// Names another of its holders in a shared address's lease.
    fn hand_over(&self, address: IpAddr, to: &Kept) -> Result<(), Error> {
        match to.lease.owner() {
            Some(owner) => self.make_with(address, owner, to.record.as_ref()),
            None => Ok(()),
        }
    }
}
