//! Guards of bridge ports: a frame that comes in by one of them with another hardware
//! address than its container's is dropped.
//!
//! ```text
//! table bridge slash24 {
//!   set ports   { type ifname; elements = { "veth…" comment "MAC MARK" } }
//!   set senders { type ifname . ether_addr; elements = { "veth…" . MAC } }
//!   chain prerouting {
//!     type filter hook prerouting priority -300; policy accept;
//!     iifname @ports iifname . ether saddr != @senders drop
//!   }
//! }
//! ```
//!
//! There is one rule however many ports there are, and a guard is found by its port's
//! name alone: its comment says which element it has in the other set.

use nix::errno::Errno;

use super::expression::{Expression, Verdict};
use super::message::{self, Batch, Element, Family, Hook, Set};
use super::{Netfilter, Refusal, TABLE, done};
use crate::{Mac, Result};

const CHAIN: &str = "prerouting";
/// Before all that bridges do, as the reference has it (`NF_BR_PRI_NAT_DST_BRIDGED`).
const PREROUTING: Hook = Hook {
    kind: "filter",
    number: 0,
    priority: -300,
};
/// nft's numbers of the types `ifname` and `ether_addr`, and `IFNAMSIZ`.
const IFNAME: u32 = 41;
const ETHER_ADDR: u32 = 9;
const IFNAMSIZ: usize = 16;
const PORTS: Set<'_> = Set {
    name: "ports",
    id: 1,
    key_type: IFNAME,
    key_length: IFNAMSIZ as u32,
};
/// Each part of a concatenation begins at a multiple of four bytes.
const SENDERS: Set<'_> = Set {
    name: "senders",
    id: 2,
    key_type: IFNAME << 6 | ETHER_ADDR,
    key_length: IFNAMSIZ as u32 + 8,
};

/// A guarded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The name of the port.
    pub port: String,
    /// The hardware address that may send.
    pub mac: Mac,
    /// Whose it is, as `nft list` shows; what is longer than some 230 bytes is cut off.
    pub mark: String,
}

impl Guard {
    fn port_key(port: &str) -> Vec<u8> {
        let mut key = port.as_bytes().to_vec();
        key.resize(IFNAMSIZ, 0);
        key
    }

    fn port_element(&self) -> Element {
        Element {
            key: Guard::port_key(&self.port),
            comment: format!("{} {}", self.mac, self.mark),
        }
    }

    fn sender_element(&self) -> Element {
        let mut key = Guard::port_key(&self.port);
        key.extend(self.mac.0);
        key.resize(SENDERS.key_length as usize, 0);
        Element {
            key,
            comment: String::new(),
        }
    }

    fn read(element: &Element) -> Option<Self> {
        let (mac, mark) = element.comment.split_once(' ')?;
        Some(Guard {
            port: crate::decode::text(&element.key),
            mac: mac.parse().ok()?,
            mark: mark.to_owned(),
        })
    }
}

/// Guards a port, in one transaction.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn guard(guard: &Guard) -> Result<()> {
    let old = match guard_of(&guard.port)? {
        Some(old) if old == *guard => return Ok(()),
        old => old,
    };
    // As with masquerading: what is there is not declared again.
    let mut refused = Netfilter::open()?.commit(batch(guard, old.as_ref(), false))?;
    if matches!(refused, Some((Errno::ENOENT, _))) {
        refused = Netfilter::open()?.commit(batch(guard, None, true))?;
    }
    if matches!(refused, Some((Errno::EEXIST, _))) {
        // Another process has made the table meanwhile.
        refused = Netfilter::open()?.commit(batch(guard, None, false))?;
    }
    done(refused, format!("guard bridge port {}", guard.port))
}

fn batch(guard: &Guard, old: Option<&Guard>, with_table: bool) -> Batch {
    let mut batch = Batch::new(Family::Bridge);
    if with_table {
        batch.table(TABLE);
        batch.new_set(TABLE, &PORTS);
        batch.new_set(TABLE, &SENDERS);
        batch.base_chain(TABLE, CHAIN, &PREROUTING);
        let rule = [
            Expression::link_name(),
            Expression::is_in(PORTS.name, PORTS.id, true),
            Expression::link_name(),
            Expression::beside_it_the_sender(),
            Expression::is_in(SENDERS.name, SENDERS.id, false),
            Expression::verdict(Verdict::Drop),
        ];
        batch.rule(TABLE, CHAIN, &rule);
    }
    if let Some(old) = old {
        batch.delete_elements(TABLE, PORTS.name, &[old.port_element()]);
        batch.delete_elements(TABLE, SENDERS.name, &[old.sender_element()]);
    }
    batch.add_elements(TABLE, PORTS.name, &[guard.port_element()]);
    batch.add_elements(TABLE, SENDERS.name, &[guard.sender_element()]);
    batch
}

/// The guard of a port, if it has one.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn guard_of(port: &str) -> Result<Option<Guard>> {
    let wanted = Element {
        key: Guard::port_key(port),
        comment: String::new(),
    };
    let found = Netfilter::open()?.elements(PORTS.name, Some(&wanted))?;
    Ok(found.iter().find_map(Guard::read))
}

/// The guards of all ports.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn all_guards() -> Result<Vec<Guard>> {
    let found = Netfilter::open()?.elements(PORTS.name, None)?;
    Ok(found.iter().filter_map(Guard::read).collect())
}

/// Whether a port lets pass what comes from `mac`, and nothing else.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused).
pub fn is_guarded(port: &str, mac: Mac) -> Result<bool> {
    let Some(guard) = guard_of(port)?.filter(|guard| guard.mac == mac) else {
        return Ok(false);
    };
    let mut filter = Netfilter::open()?;
    let sender = filter.elements(SENDERS.name, Some(&guard.sender_element()))?;
    Ok(!sender.is_empty() && filter.has_chain(Family::Bridge, CHAIN)?)
}

/// Guards to be taken away. The connection is open from the beginning: whoever closes
/// it last waits 8 ms and more for the kernel, and that is to be the child that is
/// forked meanwhile ([`remove_link`](crate::remove_link)).
pub struct Release {
    filter: Netfilter,
    guards: Vec<Guard>,
}

impl Release {
    /// Prepares to take guards away.
    ///
    /// # Errors
    /// [`Error::Socket`](crate::Error::Socket).
    pub fn of(guards: Vec<Guard>) -> Result<Self> {
        let filter = Netfilter::open()?;
        Ok(Release { filter, guards })
    }

    /// Takes them away, in one transaction. Those that are gone already are no error.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn commit(mut self) -> Result<()> {
        let elements = |of: fn(&Guard) -> Element| self.guards.iter().map(of).collect::<Vec<_>>();
        let ports = (PORTS.name, elements(Guard::port_element));
        let senders = (SENDERS.name, elements(Guard::sender_element));
        let mut refused = self.filter.delete(&[&ports, &senders])?;
        if matches!(refused, Some((Errno::ENOENT, _))) {
            // Somebody has taken some of them away: then each by itself.
            refused = None;
            for (set, elements) in [ports, senders] {
                for element in elements {
                    let one = (set, vec![element]);
                    let gone = |refusal: &(Errno, String)| refusal.0 == Errno::ENOENT;
                    let refusal = Netfilter::open()?.delete(&[&one])?;
                    refused = refused.or(refusal.filter(|refusal| !gone(refusal)));
                }
            }
        }
        done(refused, "take the guards of bridge ports away".to_owned())
    }
}

impl Netfilter {
    fn elements(&mut self, set: &str, wanted: Option<&Element>) -> Result<Vec<Element>> {
        let question = message::ask_for_elements(Family::Bridge, TABLE, set, wanted);
        let mut found = Vec::new();
        self.ask(question, |payload| found.extend(message::elements(payload)))?;
        Ok(found)
    }

    fn delete(&mut self, elements: &[&(&str, Vec<Element>)]) -> Result<Refusal> {
        let mut batch = Batch::new(Family::Bridge);
        for (set, elements) in elements {
            batch.delete_elements(TABLE, set, elements);
        }
        self.commit(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_read_from_its_port_alone() {
        let guard = Guard {
            port: "veth0123456789a".into(),
            mac: Mac([10, 88, 10, 1, 2, 2]),
            mark: "slash24 net c eth0".into(),
        };
        let element = guard.port_element();
        assert_eq!(element.key.len(), PORTS.key_length as usize);
        assert_eq!(Guard::read(&element), Some(guard.clone()));
        let sender = guard.sender_element().key;
        assert_eq!(sender.len(), SENDERS.key_length as usize);
        assert_eq!(sender[16..], [10, 88, 10, 1, 2, 2, 0, 0]);
        let foreign = Element {
            key: element.key,
            comment: "somebody's note".into(),
        };
        assert_eq!(Guard::read(&foreign), None);
    }
}
