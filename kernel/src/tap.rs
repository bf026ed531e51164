//! Tap interfaces: links whose frames a program reads and writes, such as a virtual
//! machine. They are made through `/dev/net/tun`; rtnetlink cannot.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc::{
    IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, TUNSETGROUP, TUNSETOWNER, TUNSETPERSIST,
};

use crate::raw::{self, TapRequest};
use crate::{Error, Result};

const TUN: &str = "/dev/net/tun";

/// A tap interface to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewTap<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether a program may open it several times, to work on several processors.
    pub multi_queue: bool,
    /// The number of the user who may open it; none is root alone.
    pub owner: Option<u32>,
    /// The number of the group who may open it.
    pub group: Option<u32>,
}

/// A tap interface that goes with this value, or with the process, until it is kept.
#[derive(Debug)]
pub struct Tap {
    tun: File,
    name: String,
}

impl Tap {
    /// Makes the interface, down, in the namespace of the thread.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn create(tap: &NewTap<'_>) -> Result<Self> {
        let doing = format!("create tap link {}", tap.name);
        let file = OpenOptions::new().read(true).write(true).open(TUN);
        let tun = file.map_err(|error| Error::Refused {
            doing: doing.clone(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            reason: format!("opening {TUN}"),
        })?;
        let mut request = TapRequest {
            name: [0; 16],
            flags: (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) as u16,
            unused: [0; 22],
        };
        if tap.multi_queue {
            request.flags |= IFF_MULTI_QUEUE as u16;
        }
        // The name ends with a NUL.
        let room = request.name.len() - 1;
        for (to, from) in request.name[..room].iter_mut().zip(tap.name.bytes()) {
            *to = from;
        }
        let created = Tap {
            tun,
            name: tap.name.to_owned(),
        };
        raw::tap_create(created.tun.as_fd(), &request).map_err(refused(doing))?;
        if let Some(owner) = tap.owner {
            created.set(TUNSETOWNER, owner, "owner")?;
        }
        if let Some(group) = tap.group {
            created.set(TUNSETGROUP, group, "group")?;
        }
        Ok(created)
    }

    /// Has the interface stay when nobody has it open.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn keep(self) -> Result<()> {
        self.set(TUNSETPERSIST, 1, "persistence")
    }

    fn set(&self, request: nix::libc::Ioctl, value: u32, what: &str) -> Result<()> {
        let doing = format!("set the {what} of tap link {} to {value}", self.name);
        raw::tap_set(self.tun.as_fd(), request, value).map_err(refused(doing))
    }
}

fn refused(doing: String) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Refused {
        doing,
        errno,
        reason: String::new(),
    }
}
