//! Addresses of one interface that have gateways of their own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use netns::{Container, Fabric, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

use super::{OURS, call, rules};
use crate::network::{merge, with_previous};
use crate::subject::both;

pub(super) fn trials() -> Vec<Trial> {
    both(
        "source-routing/each-address-by-its-gateway",
        each_by_its_own,
    )
}

/// Behind which router an address is that nobody else knows.
const BEHIND: [[&str; 2]; 2] = [
    ["198.51.100.1", "2001:db8:ffff::1"],
    ["203.0.113.1", "2001:db8:eeee::1"],
];
const SUBNETS: [[&str; 2]; 2] = [["10.61.0.", "fd00:61::"], ["10.62.0.", "fd00:62::"]];

/// A segment with two routers, for a subnet of each family each.
fn two_routers() -> (Fabric, Host, Host) {
    let (fabric, other, host) = (Fabric::new(), Host::new("other"), Host::new("host"));
    fabric.join(&other, "eth0", &[]);
    fabric.join(&host, "eth0", &[]);
    let assign = |place: &dyn Fn(&str), interface: &str, number: usize| {
        for family in 0..2 {
            let (subnet, far) = (SUBNETS[number][family], BEHIND[number][family]);
            let (length, nodad) = if family == 0 { (24, "") } else { (64, "nodad") };
            place(&format!(
                "address add {far} dev lo {nodad}\n\
                 address add {subnet}1/{length} dev {interface} noprefixroute {nodad}\n\
                 route add {}/{length} dev {interface} src {far}",
                if family == 0 {
                    format!("{subnet}0")
                } else {
                    subnet.to_owned()
                }
            ));
        }
    };
    assign(&|commands| fabric.ip(commands), "fabric", 0);
    other.ip("link set lo up");
    assign(&|commands| other.ip(commands), "eth0", 1);
    (fabric, other, host)
}

fn config(keys: Value) -> Value {
    let sets: Vec<Value> = (0..2)
        .flat_map(|number| {
            SUBNETS[number].iter().map(move |subnet| {
                let subnet = match subnet.strip_suffix('.') {
                    Some(_) => format!("{subnet}0/24"),
                    None => format!("{subnet}/64"),
                };
                json!([{"subnet": subnet}])
            })
        })
        .collect();
    let mut config = json!({"cniVersion": "1.0.0", "name": "n", "type": "macvlan",
        "master": "eth0",
        "ipam": {"type": "host-local", "ranges": sets,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}});
    merge(&mut config, keys);
    config
}

/// By tables for each address the reference's `sbr` does the same.
fn each_by_its_own(plugins: Plugins) {
    let (fabric, other, host) = two_routers();
    let container = host.container("c");
    let empty = Snapshot::of(&container, &[]);
    let of_sbr = json!({"cniVersion": "1.0.0", "name": "n", "type": "sbr"});
    let main = match plugins {
        OURS => config(json!({"sourceRouting": true})),
        Plugins::Debian => config(json!({})),
    };
    let result = call(plugins, &container, 0, &main).add().success();
    if plugins == Plugins::Debian {
        let sbr = with_previous(&of_sbr, &result);
        call(plugins, &container, 0, &sbr).add().success();
    }
    container.wait_until("IPv6 serves", || {
        other.reaches(&own(&container, SUBNETS[1][1]))
    });
    for family in 0..2 {
        answers(&container, &fabric, 0, family);
        answers(&container, &other, 1, family);
    }
    if plugins == Plugins::Debian {
        return;
    }
    let previous = with_previous(&main, &result);
    let later = call(OURS, &container, 0, &previous);
    later.check().success();
    let table = 34_000_001;
    container.ip(&format!(
        "route replace default via 10.62.0.9 dev eth0 table {table}"
    ));
    let error = later.check().failure();
    let says = format!(
        "routes of eth0 in table {table}: expected 0.0.0.0/0 via 10.62.0.1, \
         found 0.0.0.0/0 via 10.62.0.9, 10.61.0.0/24, 10.62.0.0/24"
    );
    assert_eq!(error["msg"], says);
    container.ip(&format!("route del default table {table}"));
    assert!(
        later.check().failure()["msg"]
            .to_string()
            .contains("expected 0.0.0.0/0 via")
    );
    later.del().success();
    assert_eq!(rules(&container), Vec::<String>::new());
    empty.assert_same(&Snapshot::of(&container, &[]), "after DEL");
}

/// The container's address in a subnet.
fn own(container: &Container<'_>, subnet: &str) -> String {
    let all = container.addresses("eth0");
    let own = all.iter().find(|own| own.starts_with(subnet));
    let own = own.unwrap_or_else(|| panic!("no address in {subnet}: {all:?}"));
    own.split('/').next().unwrap_or_default().to_owned()
}

/// A request to the address in the router's subnet is answered, and one from it goes to the
/// router: nobody else knows what is behind it.
fn answers(container: &Container<'_>, router: &impl Namespace, number: usize, family: usize) {
    let own = own(container, SUBNETS[number][family]);
    let far = BEHIND[number][family];
    router.tcp(container, &own).unwrap_or_else(|error| {
        panic!(
            "{own} does not answer {far}: {error}\n{:#?}",
            tables(container)
        )
    });
    let address = |text: &str| -> IpAddr { text.parse().expect("it is an address") };
    let bind = |address: IpAddr| UdpSocket::bind(SocketAddr::new(address, 0)).expect("it is own");
    let server = router.run(|| bind(address(far)));
    let client = container.run(|| bind(address(&own)));
    let to = server.local_addr().expect("it is bound");
    client.send_to(b"who is there", to).expect("there is a way");
    server
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("it is a time");
    let asked = server.recv_from(&mut [0; 64]);
    let (_, from) = asked.unwrap_or_else(|error| {
        panic!(
            "{far} hears nothing from {own}: {error}\n{:#?}",
            tables(container)
        )
    });
    assert_eq!(from.ip(), address(&own));
}

fn tables(container: &Container<'_>) -> Vec<Value> {
    let questions = [
        "-4 rule show",
        "-4 route show table all",
        "-6 rule show",
        "-6 route show table all",
    ];
    questions.map(|question| container.ip_json(question)).into()
}
