//! What a lease file says: whose an address is.
//!
//! The reference writes the container's id, CR, LF and the interface's name;
//! before its release 0.8 it wrote the id alone.

use std::fmt;

/// Who holds a lease: an interface of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The interface's name in the container.
    pub ifname: &'a str,
}

/// How an owner is named in a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// Container and interface.
    Exact,
    /// The container alone.
    Container,
}

impl Owner<'_> {
    /// What the owner's lease file holds.
    pub(crate) fn content(&self) -> String {
        format!("{}\r\n{}", self.container, self.ifname)
    }

    /// How a lease names this owner, if it does.
    pub(crate) fn is_named_by(&self, lease: &Lease) -> Option<Match> {
        match lease.ifname.as_deref() {
            _ if lease.container != self.container => None,
            None => Some(Match::Container),
            Some(ifname) => (ifname == self.ifname).then_some(Match::Exact),
        }
    }
}

/// What a lease file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The container's id; empty when nobody holds the address.
    pub container: String,
    /// The interface, if the lease names one.
    pub ifname: Option<String>,
}

impl Lease {
    /// Reads the content of a file. Every content is somebody's lease: what was
    /// damaged must not be given to others.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let (container, ifname) = match text.trim().split_once("\r\n") {
            Some((container, ifname)) => (container, Some(ifname.to_owned())),
            None => (text.trim(), None),
        };
        Lease {
            container: container.to_owned(),
            ifname,
        }
    }

    /// The lease that an owner has.
    pub fn of(owner: Owner<'_>) -> Self {
        Lease {
            container: owner.container.to_owned(),
            ifname: Some(owner.ifname.to_owned()),
        }
    }

    /// Whose it is, if it names an interface.
    pub fn owner(&self) -> Option<Owner<'_>> {
        Some(Owner {
            container: &self.container,
            ifname: self.ifname.as_deref()?,
        })
    }

    /// Whether this lease is what a holder has: one without an interface is that of
    /// any interface of its container.
    pub(crate) fn is_of(&self, holder: &Lease) -> bool {
        self.container == holder.container
            && (self.ifname.is_none() || self.ifname == holder.ifname)
    }

    /// Whether nobody holds it.
    pub fn is_empty(&self) -> bool {
        self.container.is_empty()
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}", self.container)?;
        match &self.ifname {
            Some(ifname) => write!(f, ", interface {ifname}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let owner = Owner {
            container: "c1",
            ifname: "eth0",
        };
        assert_eq!(owner.content(), "c1\r\neth0");
        let lease = Lease::parse(owner.content().as_bytes());
        assert_eq!(owner.is_named_by(&lease), Some(Match::Exact));
        assert_eq!(
            Lease::parse(owner.content().as_bytes()).to_string(),
            "container c1, interface eth0"
        );
    }

    #[test]
    fn owners_are_told_apart() {
        let owner = Owner {
            container: "c1",
            ifname: "eth0",
        };
        for (content, expected) in [
            ("c1\r\neth0\n", Some(Match::Exact)),
            ("c1", Some(Match::Container)),
            ("c1\r\n", Some(Match::Container)),
            ("c1\n", Some(Match::Container)),
            ("c1\r\neth01", None),
            ("c11\r\neth0", None),
            ("c11", None),
            ("c1\neth0", None),
            ("", None),
        ] {
            let lease = Lease::parse(content.as_bytes());
            assert_eq!(owner.is_named_by(&lease), expected, "{content:?}");
        }
        assert!(Lease::parse(b" \n").is_empty());
        assert_eq!(Lease::parse(b"old").to_string(), "container old");
    }
}
