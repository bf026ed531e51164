//! What the attachments of a network share on the host, and no lock guards: the bridge's
//! gateway addresses, the chains of masquerading. The first ADD makes it, all others find
//! it there. So one that fails takes what it made away only if nobody has found it since.

use cni::Request;
use kernel::{Netlink, Turn};

use crate::attachment::{Identity, MARK};

/// Who may need a thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// The network's attachments.
    Network,
    /// Whoever has a port of the bridge with this number.
    PortsOf(u32),
}

/// An attachment, and how it is told from those that share with it.
#[derive(Clone)]
pub(crate) struct Sharing<'a> {
    request: &'a Request,
    identity: &'a Identity,
    turn: Option<&'a Turn>,
}

impl<'a> Sharing<'a> {
    pub(crate) fn new(
        request: &'a Request,
        identity: &'a Identity,
        turn: Option<&'a Turn>,
    ) -> Self {
        Sharing {
            request,
            identity,
            turn,
        }
    }

    /// The network.
    pub(crate) fn network(&self) -> &'a str {
        &self.request.config.name
    }

    /// Takes something back by `remove`, unless others need it. An ADD beside this one may
    /// have seen it just before, and has its turn since before that, or its link by now:
    /// then it comes again by `restore`.
    pub(crate) fn take_back(
        &self,
        users: Users,
        remove: impl FnOnce() -> kernel::Result<()>,
        restore: impl FnOnce() -> kernel::Result<()>,
    ) -> kernel::Result<()> {
        if self.is_needed(users)? {
            return Ok(());
        }
        remove()?;
        match self.is_needed(users)? {
            true => restore(),
            false => Ok(()),
        }
    }

    fn is_needed(&self, users: Users) -> kernel::Result<bool> {
        // First, as whoever ends its turn meanwhile has its link by then.
        if self.others_are_at_work() {
            return Ok(true);
        }
        let mut host = Netlink::open()?;
        let mut links = match users {
            Users::Network => host.links()?,
            Users::PortsOf(bridge) => host.ports(bridge)?,
        };
        if users == Users::Network {
            let begin = format!("{MARK} {} ", self.network());
            links.retain(|link| link.alias.starts_with(&begin));
        }
        Ok(links.iter().any(|link| !self.identity.is_own(link)))
    }

    /// Whether a call for another attachment is being served, be it of another network:
    /// turns do not tell. What cannot be found out is taken for yes.
    fn others_are_at_work(&self) -> bool {
        let alone = self.turn.map(Turn::is_alone);
        !matches!(alone, Some(Ok(true)))
    }
}
