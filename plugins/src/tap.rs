//! `tap`: an interface whose frames a program in the container reads and writes,
//! such as a virtual machine.

use std::process::Command;

use cni::Request;
use kernel::{Link, NewTap, Tap as TapLink};
use serde::Deserialize;

use crate::container::{Announcement, Inside};
use crate::link_inside::{LinkInside, Site};
use crate::lower::chosen_mtu;
use crate::{Error, Result, check};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKeys {
    multi_queue: bool,
    mtu: i64,
    owner: Option<u32>,
    group: Option<u32>,
    selinux_context: String,
    bridge: String,
}

pub(crate) struct Tap {
    multi_queue: bool,
    mtu: Option<u32>,
    owner: Option<u32>,
    group: Option<u32>,
    selinux_context: Option<String>,
    /// A bridge in the container that it becomes a port of.
    bridge: Option<String>,
}

impl LinkInside for Tap {
    const NAME: &'static str = "tap";
    const KIND: &'static str = "tun";
    const NEEDS_ADDRESSES: bool = false;

    fn read(request: &Request) -> Result<Self> {
        let raw: RawKeys = request.config.read()?;
        if !raw.bridge.is_empty() && !cni::name::is_interface(&raw.bridge) {
            return Err(Error::BadKey {
                key: "bridge",
                value: format!("\"{}\"", raw.bridge),
                right: cni::name::INTERFACE.into(),
            });
        }
        Ok(Tap {
            multi_queue: raw.multi_queue,
            mtu: chosen_mtu(raw.mtu)?,
            owner: raw.owner,
            group: raw.group,
            selinux_context: Some(raw.selinux_context).filter(|context| !context.is_empty()),
            bridge: Some(raw.bridge).filter(|bridge| !bridge.is_empty()),
        })
    }

    /// Its frames pass when a program opens it; until then nobody hears it.
    fn announcement(&self) -> Announcement {
        Announcement::WhenUp
    }

    fn examine(&self, inside: &mut Inside<'_>) -> Result<()> {
        self.find_bridge(inside).map(drop)
    }

    /// Until it has its mark the interface goes with this process.
    fn create(&self, site: &mut Site<'_, '_>) -> Result<()> {
        let bridge = self.find_bridge(site.inside)?;
        let tap = match &self.selinux_context {
            None => {
                let _inside = site.inside.netns().enter()?;
                let tap = NewTap {
                    name: site.name,
                    multi_queue: self.multi_queue,
                    owner: self.owner,
                    group: self.group,
                };
                Some(TapLink::create(&tap)?)
            }
            Some(context) => {
                self.create_labelled(site, context)?;
                None
            }
        };
        let link = site.inside.find()?;
        let mut changes = vec![
            kernel::set_alias(link.index, &site.identity.alias),
            kernel::set_mac(link.index, site.mac),
        ];
        changes.extend(self.mtu.map(|mtu| kernel::set_mtu(link.index, mtu)));
        if let Some(bridge) = bridge {
            changes.push(kernel::set_controller(link.index, bridge.index));
        }
        site.inside.netlink().apply(&changes)?;
        Ok(tap.map_or(Ok(()), TapLink::keep)?)
    }

    fn check(&self, inside: &mut Inside<'_>, link: &Link) -> Result<()> {
        if let Some(mtu) = self.mtu {
            let what = format!("MTU of {}", link.name);
            check::same(&what, &mtu.to_string(), &link.mtu.to_string())?;
        }
        let Some(bridge) = self.find_bridge(inside)? else {
            return Ok(());
        };
        match link.controller == Some(bridge.index) {
            true => Ok(()),
            false => {
                let expected = format!("a port of {}", bridge.name);
                Err(check::differs(&link.name, &expected, "not one"))
            }
        }
    }
}

impl Tap {
    fn find_bridge(&self, inside: &mut Inside<'_>) -> Result<Option<Link>> {
        let Some(name) = &self.bridge else {
            return Ok(None);
        };
        let found = inside.netlink().link(name)?;
        match found.filter(|link| link.kind == "bridge") {
            Some(bridge) => Ok(Some(bridge)),
            None => Err(Error::BadKey {
                key: "bridge",
                value: format!("\"{name}\""),
                right: "the name of a bridge in the container".into(),
            }),
        }
    }

    /// An interface has the label of the process that makes it, and a process gets
    /// another one by executing a program: `ip` makes it, as policies expect.
    fn create_labelled(&self, site: &Site<'_, '_>, context: &str) -> Result<()> {
        let _inside = site.inside.netns().enter()?;
        let refused = |error: std::io::Error| Error::BadKey {
            key: "selinuxContext",
            value: format!("\"{context}\""),
            right: format!("a context that this host's SELinux policy allows ({error})"),
        };
        let mut ip = Command::new("ip");
        ip.args(["tuntap", "add", "mode", "tap", "name", site.name]);
        if self.multi_queue {
            ip.arg("multi_queue");
        }
        for (key, number) in [("user", self.owner), ("group", self.group)] {
            if let Some(number) = number {
                ip.args([key, &number.to_string()]);
            }
        }
        std::fs::write("/proc/thread-self/attr/exec", context).map_err(refused)?;
        let output = ip.output().map_err(refused)?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(refused(std::io::Error::other(said.trim().to_owned())))
            }
        }
    }
}
