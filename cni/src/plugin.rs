//! What a plugin is.

use crate::{Attachment, Error, Failure, Request, delegate};

/// A CNI plugin. The [`skeleton`](crate::skeleton) calls it with requests that
/// keep to the specification.
pub trait Plugin: Sync {
    /// Its `type`, and the name of its executable.
    fn name(&self) -> &'static str;

    /// Whether it manages addresses, for other plugins. One that does not is never called
    /// as one that does: it might call itself, for ever.
    fn is_ipam(&self) -> bool {
        false
    }

    /// Attaches a container: all or nothing, and again over its own leftovers.
    ///
    /// # Errors
    /// Why not; then nothing is left behind.
    fn add(&self, call: &Call<'_>) -> Result<Attachment, Failure>;

    /// Detaches a container; succeeds when nothing is left to do.
    ///
    /// # Errors
    /// What could not be removed.
    fn del(&self, call: &Call<'_>) -> Result<(), Failure>;

    /// Verifies that an attachment is as ADD left it.
    ///
    /// # Errors
    /// What was expected and what was found.
    fn check(&self, call: &Call<'_>) -> Result<(), Failure>;

    /// Removes what belongs to no valid attachment.
    ///
    /// # Errors
    /// What could not be removed.
    fn gc(&self, call: &Call<'_>) -> Result<(), Failure> {
        call.ipam_forward()
    }

    /// Says whether ADD can be served.
    ///
    /// # Errors
    /// Codes 50 or 51 and why.
    fn status(&self, call: &Call<'_>) -> Result<(), Failure> {
        call.ipam_forward()
    }
}

/// The plugins that live in this executable.
pub type Plugins = &'static [&'static dyn Plugin];

/// A request to a plugin, and what the plugin needs to delegate parts of it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// What the runtime asks for.
    pub request: &'a Request,
    /// The plugins that can be called without executing anything.
    pub plugins: Plugins,
}

impl Call<'_> {
    /// Has the IPAM plugin allocate addresses. Without `ipam.type` there are none.
    ///
    /// # Errors
    /// The IPAM plugin's own failure, or that it could not be called.
    pub fn ipam_add(&self) -> Result<Attachment, Failure> {
        match self.ipam_type()? {
            Some(name) => delegate::add(self, name),
            None => Ok(Attachment::default()),
        }
    }

    /// As [`Call::ipam_add`], if the IPAM plugin is in this executable; it then needs
    /// no interface to allocate for, as others may (`dhcp` does).
    ///
    /// # Errors
    /// The IPAM plugin's own failure, or that there is no such plugin.
    pub fn ipam_add_if_own(&self) -> Result<Option<Attachment>, Failure> {
        match self.ipam_type()? {
            Some(name) => delegate::add_if_own(self, name),
            None => Ok(None),
        }
    }

    /// Has the IPAM plugin carry out the request's own verb: DEL, CHECK, GC or
    /// STATUS. Without `ipam.type` there is nothing to do.
    ///
    /// # Errors
    /// The IPAM plugin's own failure, or that it could not be called.
    pub fn ipam_forward(&self) -> Result<(), Failure> {
        match self.ipam_type()? {
            Some(name) => delegate::forward(self, name),
            None => Ok(()),
        }
    }

    /// Has the IPAM plugin give back what [`Call::ipam_add`] got, when the rest
    /// of an ADD failed.
    ///
    /// # Errors
    /// The IPAM plugin's own failure, or that it could not be called.
    pub fn ipam_undo(&self) -> Result<(), Failure> {
        match self.ipam_type()? {
            Some(name) => delegate::undo(self, name),
            None => Ok(()),
        }
    }

    fn ipam_type(&self) -> Result<Option<&str>, Error> {
        let name = self.request.config.ipam_type();
        let mut own = self.plugins.iter();
        let found = name.and_then(|name| own.find(|plugin| plugin.name() == name));
        match found.filter(|plugin| !plugin.is_ipam()) {
            Some(plugin) => Err(Error::NoIpam(plugin.name())),
            None => Ok(name),
        }
    }
}
