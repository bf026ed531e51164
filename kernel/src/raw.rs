//! All of the project's `unsafe` code.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid, fork};

/// What a program must do first that begins without Rust's runtime: a descriptor
/// among the standard ones that is closed becomes `/dev/null`, so that no file
/// that is opened takes its number and what is printed; and writing to whoever
/// has gone is an error, not the end of the process.
///
/// The runtime does besides what a plugin pays for and does not need: it reads
/// `/proc/self/maps` and sets up a signal stack, to say in words that the stack is
/// full.
pub fn begin() {
    for stream in 0..=2 {
        // SAFETY: the path is a C string. The lowest free number is given, which is
        // this stream's, as those before it are open.
        unsafe {
            if libc::fcntl(stream, libc::F_GETFD) < 0 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
    }
    // SAFETY: no handler is installed, so none can be called.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

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
            unsafe { libc::_exit(status) }
        }
    }
}

/// Closes a descriptor by its number, in a child that [`fork_child`] made.
pub(crate) fn close(descriptor: i32) -> nix::Result<()> {
    // SAFETY: only called in a child between its fork and its end, where nothing
    // else owns the standard descriptors or will use them.
    Errno::result(unsafe { libc::close(descriptor) }).map(drop)
}

/// Reads an option of a socket into `bytes`, which it fills as far as it goes.
///
/// # Errors
/// What `getsockopt` says.
pub(crate) fn get_option(
    socket: &OwnedFd,
    level: i32,
    option: i32,
    bytes: &mut [u8],
) -> nix::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` bytes, which is how many there are.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            bytes.as_mut_ptr().cast(),
            &mut length,
        )
    };
    Errno::result(done).map(drop)
}

/// Opens the network namespace of a socket (`SIOCGSKNS`, since Linux 4.10), which
/// needs `CAP_NET_ADMIN` there. The descriptor is closed on exec.
///
/// # Errors
/// What `ioctl` says.
pub(crate) fn namespace_of(socket: &OwnedFd) -> nix::Result<OwnedFd> {
    /// linux/sockios.h
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no address.
    let descriptor = Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: the kernel has just opened it for this caller, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Names a tap interface and says what it is: `struct ifreq` (linux/if.h) as
/// `TUNSETIFF` reads it.
#[repr(C)]
pub(crate) struct TapRequest {
    pub(crate) name: [u8; 16],
    pub(crate) flags: u16,
    pub(crate) unused: [u8; 22],
}

/// Makes the interface that belongs to an open `/dev/net/tun` (`TUNSETIFF`).
pub(crate) fn tap_create(tun: BorrowedFd<'_>, request: &TapRequest) -> nix::Result<()> {
    // SAFETY: the kernel reads and writes `sizeof(struct ifreq)` bytes, 40, which the
    // structure has; it does not keep the address.
    let mut request = TapRequest { ..*request };
    let done = unsafe { nix::libc::ioctl(tun.as_raw_fd(), nix::libc::TUNSETIFF, &mut request) };
    nix::errno::Errno::result(done).map(drop)
}

/// Sets one of the numbers of such an interface (`TUNSETOWNER`, `TUNSETGROUP`,
/// `TUNSETPERSIST`).
pub(crate) fn tap_set(tun: BorrowedFd<'_>, what: nix::libc::Ioctl, value: u32) -> nix::Result<()> {
    // SAFETY: these requests take the number itself and no address.
    let done = unsafe { nix::libc::ioctl(tun.as_raw_fd(), what, nix::libc::c_ulong::from(value)) };
    nix::errno::Errno::result(done).map(drop)
}

/// Sends a frame, with its Ethernet header, out of the link with the number `link`.
/// Allocates nothing, for children that [`fork_child`] made.
pub(crate) fn send_frame(socket: &OwnedFd, link: u32, frame: &[u8]) -> nix::Result<()> {
    // SAFETY: all zeros is a valid `sockaddr_ll`.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = link as i32;
    to.sll_halen = 6;
    // SAFETY: both pointers are valid for the lengths beside them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Errno::result(sent).map(drop)
}
