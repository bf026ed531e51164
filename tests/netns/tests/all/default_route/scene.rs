//! A container on several networks that all lead outside, by ways that can be told apart.

use std::net::IpAddr;
use std::thread;

use netns::{Call, Container, Fabric, Host, Namespace, Outcome};
use serde_json::{Value, json};

pub(super) use crate::network::call;
use crate::network::{host_local, merge};

/// What every network leads to: addresses of a place beyond the fabric.
pub(super) const OUTSIDE: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];
/// The number of the network that is a cable to the host.
const CABLE: usize = 2;
/// The number of the network that is a private segment across hosts.
const SEGMENT: usize = 3;

/// A rack's host, with the fabric as the way to the outside.
pub(super) struct Scene {
    pub(super) fabric: Fabric,
    pub(super) host: Host,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (fabric, host) = (Fabric::new(), Host::new("host"));
        let segment: Vec<String> = subnets(0).iter().map(|subnet| first(subnet)).collect();
        let [v4, v6] = [&segment[0], &segment[1]];
        fabric.router(&["192.0.2.1/24", "2001:db8::1/64", v4, v6]);
        for address in OUTSIDE {
            fabric.ip(&format!("address add {address} dev lo"));
        }
        fabric.join(&host, "eth0", &["192.0.2.11/24", "2001:db8::11/64"]);
        host.default_route(&["192.0.2.1"]);
        host.default_route(&["2001:db8::1"]);
        // The far end of the private segment is a router of the data centre.
        let far_end = subnets(SEGMENT).map(|subnet| first(&subnet));
        fabric.ip(&format!(
            "link add vx0 type vxlan id 300 dstport 4789 local 192.0.2.1 remote 192.0.2.11\n\
             link set vx0 up\n\
             address add {} dev vx0\naddress add {} dev vx0 nodad",
            far_end[0], far_end[1]
        ));
        for number in 1..SEGMENT {
            let [v4, v6] = subnets(number);
            fabric.route(&v4, "192.0.2.11");
            fabric.route(&v6, "2001:db8::11");
        }
        Self { fabric, host }
    }

    /// The interface by which a connection to the outside leaves, and its answer comes. On a
    /// machine that is busy the first try may come too early or take too long.
    pub(super) fn leaves_by(&self, container: &Container<'_>, ipv4: bool) -> Option<usize> {
        const TRIES: usize = 5;
        let outside = OUTSIDE[usize::from(!ipv4)];
        let connect = || container.tcp(&self.fabric, outside).ok();
        let source = (0..TRIES).find_map(|_| connect())?;
        Some(number_of(source.ip()))
    }
}

/// The subnets of the network with a number, of both families.
pub(super) fn subnets(number: usize) -> [String; 2] {
    let number = number + 1;
    [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")]
}

/// The number of the network that an address is in.
fn number_of(address: IpAddr) -> usize {
    let number = match address {
        IpAddr::V4(ip) => usize::from(ip.octets()[1]),
        IpAddr::V6(ip) => usize::from(ip.segments()[1]),
    };
    number - 1
}

fn first(subnet: &str) -> String {
    match subnet.split_once("/") {
        Some((v4, "24")) => format!("{}1/24", v4.trim_end_matches('0')),
        Some((v6, length)) => format!("{v6}1/{length}"),
        None => unreachable!("subnets have a length"),
    }
}

/// A network of the kind that fits its number: a macvlan on the fabric, a bridge, a cable to the
/// host, a VXLAN. Each offers default routes in both families.
pub(super) fn network(number: usize, keys: Value) -> Value {
    let [v4, v6] = subnets(number);
    let mut ipam = host_local(&[&v4, &v6]);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let name = format!("net{number}");
    let mut config = json!({"cniVersion": "1.0.0", "name": name, "ipam": ipam});
    let kind = match number {
        0 => json!({"type": "macvlan", "master": "eth0"}),
        CABLE => json!({"type": "ptp"}),
        SEGMENT => json!({"type": "vxlan", "vni": 300, "underlay": "eth0",
            "peers": {"static": ["192.0.2.1", "192.0.2.11"]}}),
        _ => json!({"type": "bridge", "bridge": format!("br{number}"), "isGateway": true}),
    };
    merge(&mut config, kind);
    merge(&mut config, keys);
    config
}

/// Which families networks have: whether IPv4 is one.
pub(super) type Families = &'static [bool];
pub(super) const BOTH: Families = &[true, false];

/// The families, for the name of a trial.
pub(super) fn label(families: Families) -> &'static str {
    match families {
        [true] => "ipv4",
        [false] => "ipv6",
        _ => "both",
    }
}

/// A [`network`] of these families.
pub(super) fn network_of(families: Families, number: usize, keys: Value) -> Value {
    let mut config = network(number, keys);
    let subnets = subnets(number);
    let subnets: Vec<_> = families
        .iter()
        .map(|ipv4| subnets[usize::from(!ipv4)].as_str())
        .collect();
    let everywhere = families.iter().map(|ipv4| match ipv4 {
        true => json!({"dst": "0.0.0.0/0"}),
        false => json!({"dst": "::/0"}),
    });
    let routes: Vec<_> = everywhere.collect();
    config["ipam"] = host_local(&subnets);
    config["ipam"]["routes"] = json!(routes);
    config
}

/// The name of a cable's end on the host, as the result of ADD has it.
pub(super) fn host_end(result: &Value) -> String {
    let interfaces = result["interfaces"]
        .as_array()
        .expect("there are interfaces");
    let mut names = interfaces
        .iter()
        .filter_map(|interface| interface["name"].as_str());
    names
        .find(|name| name.starts_with("veth"))
        .expect("there is a cable")
        .to_owned()
}

/// Starts all calls before it waits for the first, and returns what came of them in their order.
pub(super) fn at_once(calls: &[Call<'_>], verb: &str) -> Vec<Outcome> {
    thread::scope(|scope| {
        let running: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(move || call.command(verb)))
            .collect();
        let done = running
            .into_iter()
            .map(|call| call.join().expect("calls do not panic"));
        done.collect()
    })
}

/// All orders of so many things.
pub(super) fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        let longer = |order: &Vec<usize>| {
            let missing = (0..count).filter(|one| !order.contains(one));
            missing
                .map(|one| [order.as_slice(), &[one]].concat())
                .collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

/// The default routes of a family, each on a line, as the kernel goes by them.
pub(super) fn defaults(container: &Container<'_>, ipv4: bool) -> Vec<String> {
    let mut routes = container.routes(if ipv4 { "-4" } else { "-6" });
    routes.retain(|route| route["dst"] == "default");
    routes.sort_by_key(|route| route["metric"].as_u64());
    let told = |route: &Value| {
        assert!(route.get("nexthops").is_none(), "load is shared: {route}");
        format!(
            "{} via {} metric {}",
            route["dev"], route["gateway"], route["metric"]
        )
    };
    routes.iter().map(told).collect()
}
