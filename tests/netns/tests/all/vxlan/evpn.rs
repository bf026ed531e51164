//! Hosts that a routing daemon tells of each other: FRR's zebra and bgpd, of Debian's package `frr`,
//! in the hosts' namespaces, with BGP EVPN between all of them.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{Capture, Fleet, attach, send, tenant, v4};
use crate::network::with_previous;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "vxlan/evpn/hosts-join-leave-and-reboot",
        join_leave_and_reboot,
    )]
}

const DAEMONS: &str = "/usr/lib/frr";
/// How many hosts may ever be there.
const MOST: usize = 3;

/// The daemons of one host, which end with the value.
struct Frr(Vec<Child>);

impl Frr {
    fn start(host: &Host, slot: usize) -> Self {
        let zebra = Path::new(DAEMONS).join("zebra");
        assert!(
            zebra.exists(),
            "the tests need zebra and bgpd: apt-get install frr"
        );
        host.write("/run/frr/zebra.conf", "hostname zebra\n");
        host.write("/run/frr/bgpd.conf", &bgp(slot));
        // They give up being root, and want their files to be their own.
        host.run(|| {
            for file in ["", "zebra.conf", "bgpd.conf"] {
                let path = Path::new("/run/frr").join(file);
                chown(&path, Some(user("frr")), None)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        });
        let start = |name: &str| {
            let daemon = Path::new(DAEMONS).join(name);
            let directory = "/run/frr";
            host.run(|| {
                Command::new(daemon)
                    .args(["-A", "127.0.0.1", "-P", "0"])
                    .args(["-f", &format!("{directory}/{name}.conf")])
                    .args(["-i", &format!("{directory}/{name}.pid")])
                    .args(["-z", &format!("{directory}/zserv.api")])
                    .args(["--vty_socket", directory])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap_or_else(|error| panic!("cannot execute {name}: {error}"))
            })
        };
        let zebra = start("zebra");
        let started = || host.run(|| Path::new("/run/frr/zserv.api").exists());
        host.wait_until("zebra listens", started);
        Self(vec![zebra, start("bgpd")])
    }
}

/// The number of a user of the machine.
fn user(name: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut users = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields[0] == name);
    user.unwrap_or_else(|| panic!("there is no user {name}: apt-get install frr"))[2]
        .parse()
        .unwrap()
}

impl Drop for Frr {
    fn drop(&mut self) {
        for daemon in self.0.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Every host speaks with every other.
fn bgp(slot: usize) -> String {
    let others = (1..=MOST).filter(|other| *other != slot).map(v4);
    let (mut neighbours, mut activated) = (String::new(), String::new());
    for other in others {
        neighbours += &format!(
            " neighbor {other} remote-as 65001\n neighbor {other} timers connect 1\n \
             neighbor {other} timers 1 3\n neighbor {other} advertisement-interval 0\n"
        );
        activated += &format!("  neighbor {other} activate\n");
    }
    format!(
        "hostname bgpd\nrouter bgp 65001\n bgp router-id {}\n no bgp default ipv4-unicast\n{neighbours} \
         address-family l2vpn evpn\n{activated}  advertise-all-vni\n exit-address-family\n",
        v4(slot)
    )
}

fn entries(host: &Host, question: &str) -> Vec<Value> {
    host.ask("bridge", &format!("-json {question}"))
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Whether a host knows that a hardware address is behind another.
fn knows(host: &Host, mac: &str, behind: usize) -> bool {
    let entries = entries(host, "fdb show dev vx100");
    entries
        .iter()
        .any(|entry| entry["mac"] == mac && entry["dst"] == v4(behind).as_str())
}

fn join_leave_and_reboot() {
    let mut fleet = Fleet::new(2);
    let red = tenant("red", 100, 1, json!({"peers": {"evpn": true}}));
    let mut daemons: Vec<Frr> = (1..=2)
        .map(|slot| Frr::start(&fleet.hosts[slot - 1], slot))
        .collect();
    {
        let one = attach(&fleet.hosts[0], &red, "one");
        let two = fleet.hosts[1].container("two");
        let call = Call::new(&fleet.hosts[1], Plugins::Slash24, &red).attach(&two, "eth0");
        let result = call.add().success();
        let device = fleet.hosts[0].link("vx100").unwrap();
        assert_eq!(device["linkinfo"]["info_data"]["learning"], false);
        assert_eq!(
            device["linkinfo"]["info_slave_data"]["neigh_suppress"],
            true
        );
        assert_eq!(device["linkinfo"]["info_slave_data"]["learning"], false);

        let mac = "0a:58:0a:09:02:02";
        fleet.hosts[0].wait_until("the daemons have met", || knows(&fleet.hosts[0], mac, 2));
        fleet.hosts[1].wait_until("the daemons have met", || {
            knows(&fleet.hosts[1], "0a:58:0a:09:01:02", 1)
        });
        let told = |ip: &str| {
            let neighbours = fleet.hosts[0].ip_json(&format!("neighbour show {ip} dev vxbr100"));
            neighbours[0]["lladdr"] == mac
        };
        fleet.hosts[0].wait_until("addresses are told", || {
            told("10.9.2.2") && told("fd09::2:2")
        });
        let capture = Capture::start(&fleet.fabric, "fabric", "udp port 4789");
        one.ping("10.9.2.2");
        one.ping("fd09::2:2");
        let seen = capture.stop();
        assert!(seen.contains("vni 100"), "{seen}");
        assert!(
            !seen.contains("who-has"),
            "the bridge answers by itself: {seen}"
        );
        assert_eq!(send(&one, &two, "10.9.2.2", 100_000), 100_000);

        let previous = with_previous(&red, &result);
        Call::new(&fleet.hosts[1], Plugins::Slash24, &previous)
            .attach(&two, "eth0")
            .del()
            .success();
        fleet.hosts[0].wait_until("it is withdrawn", || !knows(&fleet.hosts[0], mac, 2));

        // One more host, which nobody was told of but the daemons.
        let call = Call::new(&fleet.hosts[1], Plugins::Slash24, &red).attach(&two, "eth0");
        call.add().success();
    }
    fleet.grow();
    daemons.push(Frr::start(&fleet.hosts[2], 3));
    for again in [false, true] {
        if again {
            // Its memory is gone, and it comes up as on its first day.
            drop(daemons.pop());
            fleet.reboot(3);
            daemons.push(Frr::start(&fleet.hosts[2], 3));
        }
        let one = attach(
            &fleet.hosts[0],
            &red,
            if again { "first" } else { "second" },
        );
        let three = attach(&fleet.hosts[2], &red, "three");
        let address = one.addresses("eth0")[0]
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        three.wait_until("it is reached", || three.reaches(&address));
        one.wait_until("it is reached", || one.reaches("10.9.3.2"));
        assert_eq!(send(&one, &three, "10.9.3.2", 100_000), 100_000);
    }
}
