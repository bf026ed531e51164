//! All of the project's `unsafe` code.
#![allow(unsafe_code)]

use nix::unistd::{ForkResult, Pid, fork};

/// Runs `work` in a child process and leaves it to itself; it ends with the
/// status that `work` returns.
///
/// `work` must keep to what is allowed between `fork` and `exec` in a process
/// that may have had several threads (signal-safety(7)): system calls, no
/// allocation, no locks.
///
/// # Errors
/// What `fork` says.
pub(crate) fn fork_child(work: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: the child runs `work`, which keeps to the rule above, and `_exit`,
    // so it never comes back into code that could use a lock or an allocator that
    // another thread had taken at the time of the fork.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = work();
            // SAFETY: `_exit` is async-signal-safe and does not return.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// Closes a descriptor by its number, in a child that [`fork_child`] made.
pub(crate) fn close(descriptor: i32) -> nix::Result<()> {
    // SAFETY: only called in a child between its fork and its end, where nothing
    // else owns the standard descriptors or will use them.
    nix::errno::Errno::result(unsafe { nix::libc::close(descriptor) }).map(drop)
}
