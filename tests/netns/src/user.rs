//! Becoming root without being root.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// Makes the process root of a new user namespace, unless it is root already.
///
/// Call it before the first thread starts: the kernel moves only single-threaded processes into a
/// user namespace (user_namespaces(7)). All namespaces made afterwards, and all programs executed,
/// belong to it.
///
/// # Panics
/// Where the kernel or a security module forbids user namespaces; the message says so.
pub fn become_root() {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        return;
    }
    if let Err(error) = unshare(CloneFlags::CLONE_NEWUSER) {
        panic!(
            "these tests need root, or a kernel that lets users make user namespaces \
             (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns): {error}"
        );
    }
    let map = |file: &str, line: &str| {
        fs::write(format!("/proc/self/{file}"), line)
            .unwrap_or_else(|error| panic!("cannot write {line:?} to /proc/self/{file}: {error}"));
    };
    map("uid_map", &format!("0 {uid} 1"));
    // Without this an unprivileged process may not map its group.
    map("setgroups", "deny");
    map("gid_map", &format!("0 {gid} 1"));
}
