//! The container's side of an attachment: the same for every kind of link.

use std::path::Path;
use std::time::Duration;

use cni::{Attachment, Request, Route};
use kernel::{Link, Netlink, Netns, RouteEntry, Rule, Settled, sysctl};

use crate::attachment::Identity;
use crate::default_route::advertisements::Advertisements;
use crate::default_route::converge;
use crate::routing::{self, Routing};
use crate::{Error, Result, lease, namespace, removal, routes, source_routing, tie};

/// What the kernel calls the two ends of a cable.
const CABLE: &str = "veth";

/// How an interface makes itself known to its neighbours (gratuitous ARP,
/// unsolicited neighbour advertisements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// When its hardware address is set once more, after whatever lets its frames pass.
    OnceFramesPass,
    /// As frames pass from the beginning, when it comes up; with IPv6 addresses, for which
    /// the kernel does not do that, when its hardware address is set once more.
    AtOnce,
    /// When it comes up: its driver lets nobody set the address.
    WhenUp,
    /// It has no neighbours that ask.
    Never,
}

/// The container's namespace, and the interface in it that a call is about.
pub(crate) struct Inside<'a> {
    netns: Netns,
    netlink: Netlink,
    /// The connection to the kernel on the host, once somebody has asked for it.
    outside: Option<Netlink>,
    request: &'a Request,
    identity: &'a Identity,
    /// Whether the kernel finds out that no other host has its IPv6 addresses. It
    /// takes a second or two; leases make addresses unique without.
    pub(crate) detects_duplicates: bool,
    pub(crate) announcement: Announcement,
    /// Whether what is sent to groups is copied to so many hosts that an interface without
    /// IPv6 addresses is better without a link-local one: by that the kernel tells a group
    /// of it, looks for duplicates and asks for routers, some six frames in all.
    pub(crate) is_quiet: bool,
    /// Whether the gateway is all that the link leads to: the addresses' subnets are
    /// beyond it.
    pub(crate) is_point_to_point: bool,
    /// What is written on the interface instead of whose it is.
    pub(crate) mark: Option<String>,
    /// The interface, if it is known already.
    pub(crate) made: Option<Link>,
    routing: Routing,
    /// The rules that the attachment needs once it can be used.
    rules: Vec<Rule>,
}

impl<'a> Inside<'a> {
    /// For ADD and CHECK.
    ///
    /// # Errors
    /// There is no such namespace, or it is the host's own and nobody allowed that.
    pub(crate) fn open(request: &'a Request, identity: &'a Identity) -> Result<Self> {
        let path = request.netns.as_deref().unwrap_or(Path::new(""));
        let netns = Netns::open(path)?;
        if !request.own_netns_allowed && netns.is_home()? {
            return Err(kernel::Error::OwnNetns(path.to_owned()).into());
        }
        let routing = Routing::read(&request.config)?;
        Inside::of(netns, request, identity, routing)
    }

    /// For DEL: none when the namespace has gone.
    pub(crate) fn open_if_there(
        request: &'a Request,
        identity: &'a Identity,
    ) -> Result<Option<Self>> {
        let Some(path) = request.netns.as_deref() else {
            return Ok(None);
        };
        let netns = match Netns::open(path) {
            Err(kernel::Error::NotNetns { .. }) => return Ok(None),
            netns => netns?,
        };
        if !request.own_netns_allowed && netns.is_home()? {
            return Ok(None);
        }
        match Inside::of(netns, request, identity, Routing::default()) {
            Err(Error::Kernel(kernel::Error::NotNetns { .. })) => Ok(None),
            inside => inside.map(Some),
        }
    }

    fn of(
        netns: Netns,
        request: &'a Request,
        identity: &'a Identity,
        routing: Routing,
    ) -> Result<Self> {
        let entered = netns.enter()?;
        let netlink = Netlink::open()?;
        drop(entered);
        Ok(Inside {
            netns,
            netlink,
            outside: None,
            request,
            identity,
            detects_duplicates: false,
            announcement: Announcement::OnceFramesPass,
            is_quiet: false,
            is_point_to_point: false,
            mark: None,
            made: None,
            routing,
            rules: Vec::new(),
        })
    }

    /// The namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The connection to the kernel in the namespace.
    pub(crate) fn netlink(&mut self) -> &mut Netlink {
        &mut self.netlink
    }

    /// The connection to the kernel on the host.
    ///
    /// # Errors
    /// [`kernel::Error::Socket`].
    pub(crate) fn outside(&mut self) -> Result<&mut Netlink> {
        match &mut self.outside {
            Some(netlink) => Ok(netlink),
            none => Ok(none.insert(Netlink::open()?)),
        }
    }

    /// Makes sure that the interface's name is free: deletes what an earlier ADD of
    /// this attachment has left, and refuses anything else. Whether there was something.
    pub(crate) fn make_room(&mut self, kind: &str) -> Result<bool> {
        self.make_room_on(kind, None)
    }

    /// As [`Inside::make_room`], for a link that stands on another.
    pub(crate) fn make_room_on(&mut self, kind: &str, lower: Option<&Link>) -> Result<bool> {
        let Some(found) = self.netlink.link(&self.request.ifname)? else {
            return Ok(false);
        };
        // A process may be killed before it has written on the link whose it is.
        let unfinished = found.alias.is_empty() && !found.is_up && found.kind == kind;
        let stands_there = lower.is_some() && found.lower == lower.map(|lower| lower.index);
        let may_be_own = stands_there || self.identity.may_have_made(&found);
        let is_leftover = self.identity.is_own(&found) || (unfinished && may_be_own);
        match is_leftover {
            true => {
                self.forget_rules(Some(&found))?;
                self.netlink.apply(&[kernel::delete_link(found.index)])?;
                Ok(true)
            }
            false => Err(Error::InterfaceExists {
                name: found.name,
                kind: if found.kind.is_empty() {
                    "hardware".into()
                } else {
                    found.kind
                },
            }),
        }
    }

    /// Configures the interface, which is there and down: sysctls that must hold
    /// before it comes up, then addresses, state and routes in one message, or some for
    /// more than fit into one. The lease's routes become those that are set.
    pub(crate) fn configure(&mut self, layer3: &mut Attachment) -> Result<Link> {
        let ifname = &self.request.ifname;
        routes::settle(layer3, &self.routing.wishes, ifname)?;
        let made = self.made.take();
        let is_cable = made.is_some();
        let link = match made {
            Some(link) => link,
            None => self.find()?,
        };
        lease::fits(layer3, link.mtu)?;
        self.prepare(&link, layer3)?;
        let nets = layer3.ips.iter().map(|ip| ip.address);
        let add = match self.detects_duplicates {
            true => kernel::add_address_if_unique,
            false if self.is_point_to_point => kernel::add_address_alone,
            false => kernel::add_address,
        };
        let mut operations: Vec<_> = nets.map(|net| add(link.index, net)).collect();
        if self.announcement == Announcement::AtOnce && !has_ipv6(layer3) {
            self.announcement = Announcement::WhenUp;
        }
        if self.announcement == Announcement::WhenUp {
            operations.push(kernel::announce_when_up(link.index));
        }
        if self.is_quiet && !has_ipv6(layer3) {
            operations.push(kernel::generate_no_addresses(ifname));
        }
        if self.routing.by_source {
            operations.extend(source_routing::mark(&link));
            if is_cable || link.kind == CABLE {
                // DEL looks at the host's end alone.
                let host_end = &self.identity.host_link;
                let mark = kernel::join_group_of(host_end, source_routing::GROUP);
                self.outside()?.apply(&[mark])?;
            }
        }
        let mark = self.mark.as_ref().unwrap_or(&self.identity.alias);
        operations.push(kernel::bring_up(link.index, mark));
        if self.is_point_to_point {
            let near = routes::by_gateways(layer3, link.index);
            let add = |route| kernel::add_route(&route).tolerate(&[kernel::Errno::EEXIST]);
            operations.extend(near.map(add));
        }
        for step in routes::steps(layer3, link.index, ifname, &self.routing) {
            match step {
                routes::Step::Add(operation) => operations.push(operation),
                routes::Step::Place(route) => {
                    self.netlink.apply_in_parts(&operations)?;
                    operations.clear();
                    let _alone = namespace::lock(&self.netns)?;
                    let metric = tie::place(&mut self.netlink, &route, ifname)?;
                    routes::note_metric(layer3, &route, metric);
                }
            }
        }
        if self.routing.by_source {
            let near = self.near(layer3, &link);
            let routes = source_routing::operations(layer3, ifname, link.index, &near);
            operations.extend(routes);
            self.rules = source_routing::rules(layer3, ifname);
        }
        self.netlink.apply_in_parts(&operations)?;
        Ok(link)
    }

    /// The routes to the network's own subnets.
    fn near(&self, layer3: &Attachment, link: &Link) -> Vec<RouteEntry> {
        match self.is_point_to_point {
            true => routes::by_gateways(layer3, link.index).collect(),
            false => routes::by_link(layer3, link.index).collect(),
        }
    }

    /// Leaves the interface down and as it is, for the container to configure.
    pub(crate) fn leave_down(&mut self) -> Result<Link> {
        let link = self.find()?;
        let mark = kernel::set_alias(link.index, &self.identity.alias);
        self.netlink.apply(&[mark])?;
        Ok(link)
    }

    /// The interface, which is there.
    pub(crate) fn find(&mut self) -> Result<Link> {
        let ifname = &self.request.ifname;
        self.netlink.link(ifname)?.ok_or_else(|| Error::Differs {
            what: "the container's interface".into(),
            expected: ifname.clone(),
            found: "none of that name".into(),
        })
    }

    /// Waits until the kernel knows that no other host has the interface's IPv6
    /// addresses, if it is to find that out. Frames must be able to pass.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::NotSettled`].
    pub(crate) fn settle(&mut self, link: &Link, layer3: &Attachment) -> Result<()> {
        /// As long as the reference waits.
        const LIMIT: Duration = Duration::from_secs(10);
        if !has_ipv6(layer3) || !self.detects_duplicates {
            return Ok(());
        }
        let _inside = self.netns.enter()?;
        match self.netlink.settle(link.index, LIMIT)? {
            Settled::All => Ok(()),
            Settled::InUse(net) => Err(Error::AddressInUse(net)),
            Settled::Late(net) => Err(Error::NotSettled(net)),
        }
    }

    /// A router's advertisements would add addresses and a default route that
    /// nobody asked for, so unless somebody does they are refused before the interface
    /// can hear one. Addresses are unique because they are leased, the link-local one
    /// because the hardware address follows from a lease: nothing has to be found out
    /// first.
    fn prepare(&self, link: &Link, layer3: &Attachment) -> Result<()> {
        let _inside = self.netns.enter()?;
        let group = format!("net/ipv6/conf/{}", self.request.ifname);
        if !has_ipv6(layer3) && self.routing.advertisements == Advertisements::Refuse {
            return Ok(sysctl::set(&format!("{group}/accept_ra"), "0")?);
        }
        let parameters = sysctl::Group::open(group);
        self.routing.advertisements.prepare(
            &parameters,
            &self.routing.wishes,
            &self.request.ifname,
        )?;
        if link.is_without_ipv6 {
            parameters.set("disable_ipv6", "0")?;
            // What a container sends to its own addresses passes the loopback.
            sysctl::ensure("net/ipv6/conf/lo/disable_ipv6", "0")?;
        }
        if self.detects_duplicates {
            // So that a frame that a network sends back is not taken for another's.
            parameters.set("enhanced_dad", "1")?;
            parameters.set("accept_dad", "1")?;
        } else {
            parameters.set("accept_dad", "0")?;
        }
        parameters.set("ndisc_notify", "1")?;
        if routes::may_stand_by(layer3, &self.request.ifname) {
            // Also for the interface that is first, which need not know that there
            // are others; IPv4's is set with the state.
            sysctl::ensure("net/ipv6/conf/all/ignore_routes_with_linkdown", "1")?;
        }
        Ok(())
    }

    /// The last step: has the kernel tell the neighbours (gratuitous ARP, unsolicited
    /// neighbour advertisements) now that frames can pass, if it has not yet: it does so
    /// whenever a link is given a hardware address, also when it is the same. With it come
    /// the rules that send packets to the interface's own table; they would stay in the
    /// container if anything failed after them.
    pub(crate) fn announce(&mut self, link: &Link) -> Result<()> {
        let mut operations = match self.rules.is_empty() {
            true => Vec::new(),
            false => source_routing::settle(&mut self.netlink, &self.rules, &link.name)?,
        };
        let again = [Announcement::OnceFramesPass, Announcement::AtOnce];
        if again.contains(&self.announcement) {
            operations.extend(link.mac.map(|mac| kernel::set_mac(link.index, mac)));
        }
        let announced = self.netlink.apply(&operations);
        if announced.is_err() && !self.rules.is_empty() {
            source_routing::forget(&mut self.netlink, self.identity, &self.request.ifname)?;
        }
        Ok(announced?)
    }

    /// For DEL: takes the attachment's rules away, if it has any, of which the
    /// configuration or the interface tells. Without an interface nothing does.
    pub(crate) fn forget_rules(&mut self, link: Option<&Link>) -> Result<()> {
        let is_it = |link: &Link| routing::may_be_by_source(&self.request.config, link);
        match link.is_none_or(is_it) {
            true => source_routing::forget(&mut self.netlink, self.identity, &self.request.ifname),
            false => Ok(()),
        }
    }

    /// For CHECK: compares the attachment's rules and its table; and where it offers a
    /// default route, who has that.
    pub(crate) fn check_routing(&mut self, expected: &Attachment) -> Result<()> {
        for ipv4 in [true, false] {
            let is_it = |route: &Route| routes::is_default(route) && route.dst.is_ipv4() == ipv4;
            let offers = self.routing.wishes.priority(ipv4).is_some();
            if offers && expected.routes.iter().any(is_it) {
                converge::verify_owner(&mut self.netlink, ipv4)?;
            }
        }
        if !self.routing.by_source {
            return Ok(());
        }
        let link = self.find()?;
        let near = self.near(expected, &link);
        source_routing::verify(&mut self.netlink, expected, &link.name, link.index, &near)
    }

    /// As [`Inside::announce`], without waiting for the frames to arrive everywhere.
    pub(crate) fn announce_to_many(&mut self, link: &Link, layer3: &Attachment) -> Result<()> {
        if let Some(mac) = link.mac {
            let _inside = self.netns.enter()?;
            let ips = layer3.ips.iter().map(|ip| ip.address.ip());
            let frames = kernel::Announcement::of(link.index, mac, ips);
            // Without the right to send frames, or without a child, it is done as usual.
            if frames.and_then(|frames| frames.send_by_child()).is_ok() {
                self.announcement = Announcement::Never;
            }
        }
        self.announce(link)
    }

    /// Removes the interface on DEL, if it is this attachment's: a path may lead to
    /// another container's namespace by now. One that does not say so may be, if it is
    /// of the `kind` that ADD makes: another implementation can have made it.
    pub(crate) fn remove(&mut self, kind: &str) -> Result<()> {
        let link = self.netlink.link(&self.request.ifname)?;
        self.forget_rules(link.as_ref())?;
        let Some(link) = link else {
            return self.remove_unfinished();
        };
        // What no driver made, the loopback or hardware, no ADD did.
        if link.kind.is_empty() {
            return Ok(());
        }
        if !self.identity.is_own(&link)
            && (link.kind != kind
                || has_another_mac(self.request, &link)
                || self.identity.is_anothers(&link)
                || self.is_anothers_cable(&link)?)
        {
            return Ok(());
        }
        let _inside = self.netns.enter()?;
        removal::remove(self.request, link.index, None, None)
    }

    /// Removes what an ADD has left that was killed before its link had its name.
    pub(crate) fn remove_unfinished(&mut self) -> Result<()> {
        let found = self.netlink.link(&self.identity.unfinished_link)?;
        // Its name says whose it is before its mark does.
        match found.filter(|link| !self.identity.is_anothers(link)) {
            Some(link) => Ok(self.netlink.apply(&[kernel::delete_link(link.index)])?),
            None => Ok(()),
        }
    }

    /// Whether a veth's other end, on the host, was made for another attachment.
    fn is_anothers_cable(&self, link: &Link) -> Result<bool> {
        let Some(other) = link.lower.filter(|_| link.kind == "veth") else {
            return Ok(false);
        };
        let other = Netlink::open()?.link_by_index(other)?;
        let other = other.filter(|end| end.kind == "veth");
        Ok(other.is_some_and(|end| self.identity.is_anothers(&end)))
    }
}

fn has_ipv6(layer3: &Attachment) -> bool {
    layer3.ips.iter().any(|ip| ip.address.is_ipv6())
}

/// Whether an interface has another hardware address than the one that ADD made. The
/// container may have changed it, so this only tells links that do not say whose they are.
pub(crate) fn has_another_mac(request: &Request, link: &Link) -> bool {
    let told = prev_mac(request);
    told.is_some_and(|told| link.mac.is_some_and(|found| found.to_string() != told))
}

/// The hardware address that the interface had when ADD made it.
fn prev_mac(request: &Request) -> Option<String> {
    let result = request.config.prev_result().ok().flatten()?;
    let mut interfaces = result.interfaces.into_iter();
    let interface = interfaces.find(|i| i.name == request.ifname && !i.sandbox.is_empty())?;
    Some(interface.mac.to_ascii_lowercase()).filter(|mac| !mac.is_empty())
}
