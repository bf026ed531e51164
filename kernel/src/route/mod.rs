//! Routes.

mod entry;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteScope, RouteType,
};
use nix::errno::Errno;

pub use entry::{NextHop, RouteEntry, RouteKind};

use crate::address::family;
use crate::netlink::{APPEND, Answer, CREATE, DUMP, EXCLUSIVE, REPLACE};
use crate::{Netlink, Operation, Result};

/// Adds a route. Never as one more way of a route that is there: for IPv4 the
/// kernel keeps routes of one destination and metric apart, the first serving;
/// for IPv6 it would share the load between them, so there it must be new.
pub fn add_route(route: &RouteEntry) -> Operation {
    let flags = match route.dst.is_ipv4() {
        true => CREATE | APPEND,
        false => CREATE | EXCLUSIVE,
    };
    new_route(route, flags, "add")
}

/// Adds a route where there is none to the same destination with the same metric.
pub fn add_new_route(route: &RouteEntry) -> Operation {
    new_route(route, CREATE | EXCLUSIVE, "add")
}

/// As [`add_route`], also when a router has advertised the same one in the meantime:
/// the kernel keeps what was advertised apart and shares no load with it. With another
/// IPv6 route of the same metric it does share it, as other programs' routes do.
pub fn append_route(route: &RouteEntry) -> Operation {
    new_route(route, CREATE | APPEND, "add")
}

/// As [`append_route`], for IPv4 before those of the same metric: it serves.
pub fn prepend_route(route: &RouteEntry) -> Operation {
    new_route(route, CREATE, "add")
}

/// Sets a route, in the place of one to the same destination with the same metric.
pub fn replace_route(route: &RouteEntry) -> Operation {
    new_route(route, CREATE | REPLACE, "set")
}

/// Sets a route whose next hop is on the link although no address of the link says
/// so: the other end of a tunnel.
pub fn add_onlink_route(dst: IpNetwork, link: u32, gateway: IpAddr) -> Operation {
    let mut route = RouteEntry::new(dst, link, Some(gateway));
    for hop in &mut route.next_hops {
        hop.on_link = true;
    }
    replace_route(&route)
}

/// Has nothing go to `dst`: who sends there is told that there is no way.
pub fn refuse_route(dst: IpNetwork) -> Operation {
    let mut message = RouteEntry::new(dst, 0, None).message();
    message.header.kind = RouteType::Unreachable;
    message.header.scope = RouteScope::Universe;
    let is_link = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Oif(_));
    message.attributes.retain(|attribute| !is_link(attribute));
    let message = RouteNetlinkMessage::NewRoute(message);
    Operation::new(
        message,
        CREATE | REPLACE,
        format!("let nothing go to {dst}"),
    )
}

/// Deletes the very route; one that is gone already is no error.
pub fn delete_route(route: &RouteEntry) -> Operation {
    let message = RouteNetlinkMessage::DelRoute(route.message());
    Operation::new(message, 0, doing(route, "delete")).tolerate(&[
        Errno::ESRCH,
        Errno::ENODEV,
        Errno::ENOENT,
    ])
}

fn new_route(route: &RouteEntry, flags: u16, verb: &str) -> Operation {
    let message = RouteNetlinkMessage::NewRoute(route.message());
    Operation::new(message, flags, doing(route, verb))
}

fn doing(route: &RouteEntry, verb: &str) -> String {
    let hop = route.next_hops.first().and_then(|hop| hop.gateway);
    let via = hop
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    format!("{verb} the route to {}{via}", route.dst)
}

impl Netlink {
    /// The routes of one family in one table (254 is the main one).
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn routes(&mut self, ipv4: bool, table: u32) -> Result<Vec<RouteEntry>> {
        self.list_routes(ipv4, table, None)
    }

    /// Those of them that lead out of one link.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn routes_by(&mut self, ipv4: bool, table: u32, link: u32) -> Result<Vec<RouteEntry>> {
        let mut routes = self.list_routes(ipv4, table, Some(link))?;
        routes.retain(|route| route.next_hops.iter().any(|hop| hop.link == link));
        Ok(routes)
    }

    fn list_routes(
        &mut self,
        ipv4: bool,
        table: u32,
        link: Option<u32>,
    ) -> Result<Vec<RouteEntry>> {
        let mut message = RouteMessage::default();
        let any: IpAddr = if ipv4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        message.header.address_family = family(any);
        message.attributes.push(RouteAttribute::Table(table));
        message.attributes.extend(link.map(RouteAttribute::Oif));
        let message = RouteNetlinkMessage::GetRoute(message);
        let mut routes: Vec<RouteEntry> = Vec::new();
        let asked = self.ask(&message, DUMP, "list the routes", |answer| match answer {
            Answer::Begin => routes.clear(),
            Answer::Part(payload) => routes.extend(RouteEntry::decode(payload)),
        });
        match asked {
            // A table that nobody has used is not there (strict checking).
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
            asked => asked?,
        }
        routes.retain(|route| route.table == Some(table) && route.dst.is_ipv4() == ipv4);
        Ok(routes)
    }

    /// The route that a packet takes, or none when there is no way: with `source` as
    /// its sender, if it has one already, also when it goes no further. The answer names the one way that it takes
    /// of several, and the sender's address that it gets.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn route_to(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<Option<RouteEntry>> {
        self.look_up(to, source, RouteFlags::LookupTable)
    }

    /// The entry in a table that decides on a packet, as [`Netlink::route_to`].
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused).
    pub fn entry_for(&mut self, to: IpAddr, source: Option<IpAddr>) -> Result<Option<RouteEntry>> {
        self.look_up(to, source, RouteFlags::LookupTable | RouteFlags::FibMatch)
    }

    fn look_up(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        flags: RouteFlags,
    ) -> Result<Option<RouteEntry>> {
        let length = if to.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = length;
        // IPv6 always tells the table, and with strict checking takes no such flag.
        message.header.flags = match to.is_ipv4() {
            true => flags,
            false => flags - RouteFlags::LookupTable,
        };
        message
            .attributes
            .push(RouteAttribute::Destination(to.into()));
        if let Some(source) = source {
            message.header.source_prefix_length = length;
            message
                .attributes
                .push(RouteAttribute::Source(source.into()));
        }
        let message = RouteNetlinkMessage::GetRoute(message);
        let mut found = None;
        let asked = self.ask(&message, 0, &format!("find the way to {to}"), |answer| {
            if let Answer::Part(payload) = answer {
                found = RouteEntry::decode(payload);
            }
        });
        match asked {
            // What the kinds of routes that refuse packets answer is among these.
            Err(error)
                if matches!(
                    error.errno(),
                    Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL)
                ) =>
            {
                Ok(None)
            }
            asked => asked.map(|()| found.filter(|route| route.leads_on())),
        }
    }
}
