//! Rules of iptables as the kernel had them before nftables ("legacy"): whether
//! packets that are forwarded are dropped by them.
//!
//! Only for looking: nothing here is ever changed.

use std::fs;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::raw;

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`; IPv6 has the same numbers.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// The most that is read: 64 MiB are some 300,000 rules.
const LARGEST: usize = 64 << 20;

/// The rules of a table, as the kernel hands them out.
pub struct Table {
    entries: Vec<u8>,
    /// Where the policy of the chain FORWARD is among them.
    policy: usize,
    /// Where an entry says where its target is: that depends on the family.
    target_offset: usize,
}

/// The table `filter` of a family, if it is in use. Asking for one that is not would
/// make it, so that is looked up first.
pub fn filter(ipv6: bool) -> Option<Table> {
    let names = if ipv6 {
        "ip6_tables_names"
    } else {
        "ip_tables_names"
    };
    let names = fs::read_to_string(format!("/proc/thread-self/net/{names}")).ok()?;
    if !names.lines().any(|name| name == "filter") {
        return None;
    }
    let family = if ipv6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Datagram, flags, None).ok()?;
    let level = if ipv6 {
        nix::libc::SOL_IPV6
    } else {
        nix::libc::SOL_IP
    };
    // struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], number, size.
    let mut info = named("filter", NAME + 4 + 20 + 20 + 4 + 4);
    raw::get_option(&socket, level, GET_INFO, &mut info).ok()?;
    let number = |at: usize| crate::decode::u32_at(&info, at).map(|number| number as usize);
    let policy = number(NAME + 4 + 20 + 4 * FORWARD)?;
    let size = number(NAME + 4 + 20 + 20 + 4).filter(|size| *size <= LARGEST)?;
    // struct ipt_get_entries: name, size, and entries that are aligned to 8 bytes.
    const HEADER: usize = NAME + 8;
    let mut entries = named("filter", HEADER + size);
    entries[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    raw::get_option(&socket, level, GET_ENTRIES, &mut entries).ok()?;
    entries.drain(..HEADER);
    Some(Table {
        entries,
        policy,
        // struct ipt_entry begins with struct ipt_ip (84 bytes) or ip6t_ip6 (136), and
        // `nfcache`.
        target_offset: if ipv6 { 136 + 4 } else { 84 + 4 },
    })
}

fn named(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

impl Table {
    /// Whether packets that no rule decides about are dropped when they are forwarded.
    pub fn drops_forwarded(&self) -> bool {
        /// `-NF_DROP - 1`, and the length of `struct xt_entry_target`.
        const DROP: u32 = u32::MAX;
        const TARGET: usize = 32;
        let target = crate::decode::u16_at(&self.entries, self.policy + self.target_offset);
        let verdict = target.map(|target| self.policy + usize::from(target) + TARGET);
        verdict.and_then(|at| crate::decode::u32_at(&self.entries, at)) == Some(DROP)
    }

    /// Whether any rule has a link's name in it.
    pub fn names(&self, link: &str) -> bool {
        self.has(&[link.as_bytes(), &[0]].concat())
    }

    /// As [`Table::names`], of links whose names begin like that, or some of them.
    pub fn names_some(&self, begin: &str) -> bool {
        self.has(begin.as_bytes())
    }

    fn has(&self, bytes: &[u8]) -> bool {
        self.entries.windows(bytes.len()).any(|part| part == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_cut_off_drops_nothing() {
        let table = Table {
            entries: vec![0; 100],
            policy: 96,
            target_offset: 88,
        };
        assert!(!table.drops_forwarded());
        assert!(!table.names("br0"));
    }
}
