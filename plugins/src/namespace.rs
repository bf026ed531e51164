//! The container's namespace, for plugins that change what another plugin made there.

use std::path::Path;
use std::time::Duration;

use cni::Request;
use kernel::{Link, Netlink, Netns, NetnsLock};

use crate::attachment::Identity;
use crate::{Error, Result, check, container};

/// Nobody who locks a namespace waits for anything but the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// As [`Namespace::lock`].
pub(crate) fn lock(netns: &Netns) -> Result<NetnsLock> {
    let lock = netns.lock(PATIENCE)?;
    lock.ok_or_else(|| Error::NamespaceBusy {
        path: netns.path().to_owned(),
        seconds: PATIENCE.as_secs(),
    })
}

/// The namespace of a call.
pub(crate) struct Namespace<'a> {
    netns: Netns,
    request: &'a Request,
}

impl<'a> Namespace<'a> {
    /// For ADD and CHECK.
    ///
    /// # Errors
    /// There is no such namespace, or it is the host's own and nobody allowed that.
    pub(crate) fn open(request: &'a Request) -> Result<Self> {
        let path = request.netns.as_deref().unwrap_or(Path::new(""));
        let netns = Netns::open(path)?;
        match !request.own_netns_allowed && netns.is_home()? {
            true => Err(kernel::Error::OwnNetns(path.to_owned()).into()),
            false => Ok(Namespace { netns, request }),
        }
    }

    /// For DEL, which has nothing to do in a namespace that has gone, that is of
    /// another kind, or the host's.
    ///
    /// # Errors
    /// It is not known whether that is so.
    pub(crate) fn open_if_there(request: &'a Request) -> Result<Option<Self>> {
        use kernel::Error::{NotNetns, OwnNetns};
        let opened = Namespace::open(request).and_then(|namespace| {
            namespace.netlink()?;
            Ok(namespace)
        });
        match opened {
            Err(Error::Kernel(NotNetns { .. } | OwnNetns(_))) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The namespace itself.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A connection to the kernel in the namespace.
    ///
    /// # Errors
    /// [`kernel::Error::NotNetns`].
    pub(crate) fn netlink(&self) -> Result<Netlink> {
        let _inside = self.netns.enter()?;
        Ok(Netlink::open()?)
    }

    /// Keeps other attachments of the same container from its routes and rules until
    /// it is dropped. The reference's `sbr` takes the same lock.
    ///
    /// # Errors
    /// [`Error::NamespaceBusy`].
    pub(crate) fn lock(&self) -> Result<NetnsLock> {
        lock(&self.netns)
    }

    /// The interface that the call is about.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn link(&self, netlink: &mut Netlink) -> Result<Link> {
        let ifname = &self.request.ifname;
        let link = netlink.link(ifname)?;
        link.ok_or_else(|| check::differs("the container's interface", ifname, "none of that name"))
    }

    /// Whether a link is this attachment's: a path may lead to another container's
    /// namespace by now.
    pub(crate) fn is_own(&self, link: &Link) -> bool {
        let identity = Identity::of(self.request);
        identity.is_own(link)
            || !(container::has_another_mac(self.request, link) || identity.is_anothers(link))
    }
}
