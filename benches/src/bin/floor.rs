//! The floor: the netlink messages that an attachment cannot do without, and
//! nothing else. No JSON, no lease, no result, no checks, no undo.
//!
//! ```text
//! bench-floor add NETNS ATTACHMENT…   tells the neighbours when it is done
//! bench-floor add-open NETNS ATTACHMENT…     tells nobody, but frames can pass
//! bench-floor add-silent NETNS ATTACHMENT…   where an ATTACHMENT is the words
//!     kind=bridge|macvlan name=IFNAME link=BRIDGE-OR-MASTER [host=IFNAME]
//!     address=ADDRESS/LENGTH… [gateway=ADDRESS…] [router=ADDRESS/LENGTH…]
//! bench-floor del NETNS IFNAME…       returns when the links are announced gone
//! bench-floor del-waiting NETNS IFNAME…   returns when the kernel does
//! bench-floor drop IFNAME             removes a link of this namespace
//! ```
//!
//! `kind=` opens the next attachment. `router=` also creates the bridge, with
//! that address. The messages are encoded by hand after `linux/rtnetlink.h`,
//! `if_link.h`, `if_addr.h` and `veth.h`, so that no library's habits are part
//! of what everything else is compared with.

// fork() is unsafe in every binding. This program has one thread, so the child
// may do whatever its parent may.
#![allow(unsafe_code)]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{ForkResult, close, fork};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_CREATE_EXCL: u16 = 0x600;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_DORMANT: u8 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_BRIDGE: u32 = 4;
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_ARP_NOTIFY: u16 = 22;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFF_UP: u32 = 1;
const RTMGRP_LINK: u32 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

const ADD: [&str; 3] = ["add", "add-open", "add-silent"];

fn run(words: &[String]) -> Outcome<()> {
    match words {
        [verb, namespace, rest @ ..] if ADD.contains(&verb.as_str()) => {
            add(&File::open(namespace)?, rest, verb)
        }
        [verb, namespace, links @ ..] if verb == "del" => {
            setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
            delete_announced(links)
        }
        [verb, namespace, links @ ..] if verb == "del-waiting" => {
            setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
            links.iter().try_for_each(|link| delete_waiting(link))
        }
        [verb, link] if verb == "drop" => delete_waiting(link),
        _ => Err(
            "usage: bench-floor add|add-open|add-silent|del|del-waiting NETNS WORD… | drop IFNAME"
                .into(),
        ),
    }
}

/// One network to attach to, as the command line says it.
#[derive(Default)]
struct Attachment<'a> {
    kind: &'a str,
    name: &'a str,
    link: &'a str,
    host: &'a str,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    routers: Vec<(IpAddr, u8)>,
}

impl Attachment<'_> {
    /// A locally administered address that is unique as long as the container's
    /// own address is: the end's number, then the last four bytes of that.
    fn mac(&self, end: u8) -> [u8; 6] {
        let tail = match self.addresses.first() {
            Some((IpAddr::V4(address), _)) => address.octets(),
            _ => [0; 4],
        };
        [2, end, tail[0], tail[1], tail[2], tail[3]]
    }
}

fn parse(words: &[String]) -> Outcome<Vec<Attachment<'_>>> {
    let mut attachments: Vec<Attachment> = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or("a word is KEY=VALUE")?;
        if key == "kind" {
            attachments.push(Attachment::default());
        }
        let attachment = attachments.last_mut().ok_or("kind= comes first")?;
        match key {
            "kind" => attachment.kind = value,
            "name" => attachment.name = value,
            "link" => attachment.link = value,
            "host" => attachment.host = value,
            "address" => attachment.addresses.push(prefix(value)?),
            "gateway" => attachment.gateways.push(value.parse()?),
            "router" => attachment.routers.push(prefix(value)?),
            _ => return Err(format!("no such key: {key}").into()),
        }
    }
    Ok(attachments)
}

fn prefix(text: &str) -> Outcome<(IpAddr, u8)> {
    let (address, length) = text.split_once('/').ok_or("ADDRESS/LENGTH")?;
    Ok((address.parse()?, length.parse()?))
}

fn add(namespace: &File, words: &[String], verb: &str) -> Outcome<()> {
    let (announced, opened) = (verb == "add", verb != "add-silent");
    let attachments = parse(words)?;
    let host = netlink(0)?;
    for attachment in &attachments {
        if !attachment.routers.is_empty() {
            create_bridge(&host, attachment)?;
        }
        let link = if_nametoindex(attachment.link)?;
        let mut batch = Batch::default();
        if attachment.kind == "macvlan" {
            batch.macvlan(attachment, link, namespace);
        } else {
            batch.veth(attachment, link, namespace);
        }
        batch.commit(&host)?;
    }
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let container = netlink(0)?;
    for attachment in &attachments {
        let name = attachment.name;
        let index = if_nametoindex(name)?;
        // Before the link comes up, or the first router advertisement wins.
        fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0")?;
        let mut batch = Batch::default();
        for address in &attachment.addresses {
            batch.address(index, *address);
        }
        let ipv6 = attachment.gateways.iter().any(IpAddr::is_ipv6);
        // A macvlan's frames pass when it is up. IPv6 is announced with the hardware
        // address alone.
        let at_once = attachment.kind == "macvlan" && !ipv6;
        if announced && at_once {
            batch.message(RTM_SETLINK, 0, &ifinfo(index, 0), Batch::announcing);
        }
        batch.up(index, announced && !at_once);
        for gateway in &attachment.gateways {
            batch.default_route(index, *gateway);
        }
        if announced && ipv6 {
            fs::write(format!("/proc/sys/net/ipv6/conf/{name}/ndisc_notify"), "1")?;
        }
        batch.commit(&container)?;
        if opened && attachment.kind == "bridge" {
            open_port(&host, attachment)?;
        }
        if announced && !at_once {
            announce(&container, attachment, index)?;
        }
    }
    Ok(())
}

/// A bridge lets frames pass when it knows that the cable has a signal, and it finds
/// that out when it is asked.
fn open_port(host: &OwnedFd, attachment: &Attachment<'_>) -> Outcome<()> {
    let mut question = Batch::default();
    question.message(RTM_GETLINK, 0, &ifinfo(0, 0), |link| {
        link.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        link.text(IFLA_IFNAME, attachment.host);
    });
    send(host.as_raw_fd(), &question.bytes, MsgFlags::empty())?;
    recv(host.as_raw_fd(), &mut [0; 4096], MsgFlags::empty())?;
    Ok(())
}

/// Tells the neighbours where the addresses are now: whoever remembers another
/// hardware address for them would send into the void for minutes. The kernel does
/// so when a link is given a hardware address.
fn announce(container: &OwnedFd, attachment: &Attachment<'_>, index: u32) -> Outcome<()> {
    let mut batch = Batch::default();
    batch.message(RTM_SETLINK, 0, &ifinfo(index, 0), |link| {
        link.attribute(IFLA_ADDRESS, &attachment.mac(0));
    });
    batch.commit(container)
}

fn create_bridge(host: &OwnedFd, attachment: &Attachment) -> Outcome<()> {
    let mut batch = Batch::default();
    batch.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, &ifinfo(0, IFF_UP), |link| {
        link.text(IFLA_IFNAME, attachment.link);
        link.attribute(IFLA_ADDRESS, &attachment.mac(2));
        link.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    });
    batch.commit(host)?;
    let index = if_nametoindex(attachment.link)?;
    let mut batch = Batch::default();
    for router in &attachment.routers {
        batch.address(index, *router);
        let forwarding = match router.0 {
            IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_forward",
            IpAddr::V6(_) => "/proc/sys/net/ipv6/conf/all/forwarding",
        };
        fs::write(forwarding, "1")?;
    }
    batch.commit(host)
}

/// The kernel announces a removed link, under the lock, before the caller of
/// `RTM_DELLINK` waits for everybody who may still look at it. A child waits,
/// one for each link so that they wait together.
fn delete_announced(links: &[String]) -> Outcome<()> {
    let announcements = netlink(RTMGRP_LINK)?;
    setsockopt(
        &announcements,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(5),
    )?;
    let mut indices = Vec::new();
    for link in links {
        indices.push(if_nametoindex(link.as_str())?);
        // SAFETY: one thread, see the top of the file.
        if let ForkResult::Child = unsafe { fork() }? {
            for stream in 0..3 {
                close(stream)?;
            }
            return delete_waiting(link);
        }
    }
    let mut buffer = [0; 8192];
    while !indices.is_empty() {
        let length = recv(announcements.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for gone in announced_gone(&buffer[..length]) {
            indices.retain(|index| *index != gone);
        }
    }
    Ok(())
}

/// The indices in messages of type `RTM_DELLINK`; a bridge says by the same type
/// that a port has left, but with its own family.
fn announced_gone(mut messages: &[u8]) -> Vec<u32> {
    let mut gone = Vec::new();
    while let Some(header) = messages.first_chunk::<24>() {
        let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == RTM_DELLINK && header[16] == 0 {
            let index = [header[20], header[21], header[22], header[23]];
            gone.push(u32::from_ne_bytes(index));
        }
        let next = size.next_multiple_of(4).max(header.len());
        messages = messages.get(next..).unwrap_or_default();
    }
    gone
}

fn delete_waiting(name: &str) -> Outcome<()> {
    let mut batch = Batch::default();
    batch.message(RTM_DELLINK, 0, &ifinfo(0, 0), |link| {
        link.text(IFLA_IFNAME, name)
    });
    batch.commit(&netlink(0)?)
}

fn netlink(groups: u32) -> Outcome<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    if groups != 0 {
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    }
    Ok(socket)
}

/// `struct ifinfomsg`
fn ifinfo(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Messages that go to the kernel in one `send`; only the last is acknowledged,
/// for a message that fails says so anyway.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    last: usize,
    count: u32,
}

impl Batch {
    fn message(&mut self, kind: u16, flags: u16, header: &[u8], body: impl FnOnce(&mut Self)) {
        self.last = self.bytes.len();
        self.count += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        body(self);
        let length = (self.bytes.len() - self.last) as u32;
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.bytes.extend((payload.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat());
    }

    fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_ne_bytes());
    }

    fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.attribute(kind, &[]);
        body(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// A queue per possible CPU is the default, and creating each takes time.
    fn one_queue(&mut self) {
        self.number(IFLA_NUM_TX_QUEUES, 1);
        self.number(IFLA_NUM_RX_QUEUES, 1);
    }

    /// The pair with the container's end in its place and the host's end on the
    /// bridge. That needs no IPv6 address of its own, which has to be said while it
    /// is down; and a bridge that takes it for one with a signal before it has
    /// one looks at all of its ports once more each time that it changes its mind.
    fn veth(&mut self, attachment: &Attachment, bridge: u32, namespace: &File) {
        let host = attachment.host;
        self.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, &ifinfo(0, 0), |link| {
            link.text(IFLA_IFNAME, host);
            link.attribute(IFLA_ADDRESS, &attachment.mac(1));
            link.number(IFLA_MASTER, bridge);
            link.attribute(IFLA_OPERSTATE, &[IF_OPER_DORMANT]);
            link.one_queue();
            link.nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "veth");
                info.nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.bytes.extend(ifinfo(0, 0));
                        peer.text(IFLA_IFNAME, attachment.name);
                        peer.attribute(IFLA_ADDRESS, &attachment.mac(0));
                        peer.number(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
                        peer.one_queue();
                    });
                });
            });
        });
        self.message(RTM_SETLINK, 0, &ifinfo(0, 0), |link| {
            link.text(IFLA_IFNAME, host);
            link.nest(IFLA_AF_SPEC, |families| {
                families.nest(10, |inet6| {
                    inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
                });
            });
        });
        self.message(RTM_SETLINK, 0, &ifinfo(0, IFF_UP), |link| {
            link.text(IFLA_IFNAME, host);
        });
    }

    fn macvlan(&mut self, attachment: &Attachment, master: u32, namespace: &File) {
        self.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, &ifinfo(0, 0), |link| {
            link.text(IFLA_IFNAME, attachment.name);
            link.attribute(IFLA_ADDRESS, &attachment.mac(0));
            link.number(IFLA_LINK, master);
            link.number(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
            link.one_queue();
            link.nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_KIND, "macvlan");
                info.nest(IFLA_INFO_DATA, |data| {
                    data.number(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
                });
            });
        });
    }

    fn up(&mut self, index: u32, announcing: bool) {
        self.message(RTM_SETLINK, 0, &ifinfo(index, IFF_UP), |link| {
            if announcing {
                link.announcing();
            }
        });
    }

    /// Has the kernel tell the neighbours whenever the link comes up from now on, or is
    /// given a hardware address.
    fn announcing(&mut self) {
        self.nest(IFLA_AF_SPEC, |families| {
            families.nest(2, |inet| {
                inet.nest(IFLA_INET_CONF, |conf| {
                    conf.number(IPV4_DEVCONF_ARP_NOTIFY, 1);
                });
            });
        });
    }

    /// The addresses are unique by construction: IPv6 ones are used at once.
    fn address(&mut self, index: u32, (address, length): (IpAddr, u8)) {
        let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        let mut header = [family(address), length, flags, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        self.message(RTM_NEWADDR, NLM_F_CREATE_EXCL, &header, |message| {
            message.attribute(IFA_LOCAL, &octets(address));
            message.attribute(IFA_ADDRESS, &octets(address));
        });
    }

    fn default_route(&mut self, index: u32, gateway: IpAddr) {
        let mut header = [0; 12];
        header[0] = family(gateway);
        header[4..8].copy_from_slice(&[RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST]);
        self.message(RTM_NEWROUTE, NLM_F_CREATE_EXCL, &header, |route| {
            route.number(RTA_OIF, index);
            route.attribute(RTA_GATEWAY, &octets(gateway));
        });
    }

    /// Sends everything and reads until the last message is answered.
    fn commit(mut self, socket: &OwnedFd) -> Outcome<()> {
        self.bytes[self.last + 6] |= NLM_F_ACK as u8;
        send(socket.as_raw_fd(), &self.bytes, MsgFlags::empty())?;
        let mut buffer = [0; 4096];
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            // struct nlmsghdr (16 bytes), then the error as an int.
            if length < 20 || u16::from_ne_bytes([buffer[4], buffer[5]]) != NLMSG_ERROR {
                return Err("an answer that is no acknowledgement".into());
            }
            let number = |at: usize| -> [u8; 4] {
                [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]
            };
            let sequence = u32::from_ne_bytes(number(8));
            match i32::from_ne_bytes(number(16)) {
                0 if sequence == self.count => return Ok(()),
                0 => {}
                code => {
                    let cause = io::Error::from_raw_os_error(-code);
                    return Err(format!("message {sequence} of {}: {cause}", self.count).into());
                }
            }
        }
    }
}
