//! `dummy`: an interface that swallows what is sent to it. It gives a container
//! addresses that are its own whatever becomes of the others, such as that of a
//! service that it announces.

use cni::Request;
use kernel::Driver;

use crate::Result;
use crate::container::Announcement;
use crate::link_inside::{LinkInside, Site};

pub(crate) struct Dummy;

impl LinkInside for Dummy {
    const NAME: &'static str = "dummy";

    fn read(_request: &Request) -> Result<Self> {
        Ok(Dummy)
    }

    fn announcement(&self) -> Announcement {
        Announcement::Never
    }

    fn create(&self, site: &mut Site<'_, '_>) -> Result<()> {
        let mac = site.mac;
        site.make(Driver::Dummy, Some(mac), None)
    }
}
