//! Interfaces that are not on any network: `tap`, whose other end is a program, and `dummy`, which
//! has none.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;
use netns::{Call, Container, Feature, Host, Namespace, Snapshot, trial, trial_needing};
use serde_json::{Value, json};

use super::{FAR, OURS, rules};
use crate::network::{Family, bridge, choices, host_local, merge, with_previous};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("source-routing/default-and-by-source-of-tap/slash24", tap),
        trial_needing(
            &[Feature::Dummy],
            "source-routing/default-and-by-source-of-dummy/slash24",
            dummy,
        ),
    ]
}

const GATEWAYS: [&str; 2] = ["10.1.2.1", "fd00:1:2::1"];

fn network(kind: &str, keys: Value) -> Value {
    let mut config = crate::network::network(kind, "1.1.0", Family::Dual, keys);
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    config
}

/// A container whose first interface has a default route already.
fn with_another(host: &Host) -> Container<'_> {
    let container = host.container("c");
    let mut config = bridge(Family::Dual, json!({"name": "back", "bridge": "br9"}));
    merge(&mut config, json!({"isDefaultGateway": true}));
    config["ipam"] = host_local(&["10.9.9.0/24", "fd00:9:9::/64"]);
    call(&container, &config, "eth0").add().success();
    container
}

fn call<'h>(container: &Container<'h>, config: &Value, interface: &str) -> Call<'h> {
    Call::new(container.host(), OURS, config).attach(container, interface)
}

/// The program at the other end: an emulator without a machine, whose network has the gateways,
/// and which writes down what it gets.
struct Program(Child);

const HEARD: &str = "/run/heard.pcap";

impl Program {
    fn start(container: &Container<'_>) -> Self {
        let user = "user,id=net,restrict=on,net=10.1.2.0/24,host=10.1.2.1,dns=10.1.2.99,\
                    ipv6-prefix=fd00:1:2::,ipv6-prefixlen=64,ipv6-host=fd00:1:2::1,\
                    ipv6-dns=fd00:1:2::99";
        let dump = format!("filter-dump,id=dump,netdev=tap,file={HEARD}");
        let child = container.run(|| {
            Command::new("qemu-system-x86_64")
                .args(["-M", "none", "-nodefaults", "-display", "none"])
                .args(["-netdev", "tap,id=tap,ifname=eth1,script=no,downscript=no"])
                .args(["-netdev", user])
                .args(["-netdev", "hubport,id=one,hubid=0,netdev=tap"])
                .args(["-netdev", "hubport,id=two,hubid=0,netdev=net"])
                .args(["-object", &dump])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the tests need qemu-system-x86_64")
        });
        container.wait_for_carrier("eth1");
        Program(child)
    }

    /// Whether it has got anything for an address.
    fn has_heard(container: &Container<'_>, address: &str) -> bool {
        let heard = container.run(|| {
            let read = ["-n", "-r", HEARD, "dst", "host", address];
            Command::new("tcpdump")
                .args(read)
                .output()
                .expect("the tests need tcpdump")
        });
        !heard.stdout.is_empty()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tap() {
    let host = Host::new("host");
    let container = with_another(&host);
    let look = || Snapshot::of(&container, &[]).without(|key| key.starts_with("neighbour "));
    let before = look();
    for (keys, is_default, by_source) in choices() {
        let config = network("tap", keys.clone());
        let result = call(&container, &config, "eth1").add().success();
        // Nobody is at the other end yet, and the other network serves.
        for far in FAR {
            let way = container.ip_json(&format!("route get {far}"));
            assert_eq!(way[0]["dev"], "eth0", "{far} with {keys}");
        }
        let program = Program::start(&container);
        for gateway in GATEWAYS {
            container.ping(gateway);
        }
        for (family, far) in FAR.into_iter().enumerate() {
            for (own, is_by_it) in [(None, is_default), (Some(family), by_source)] {
                let to = send(&container, own, far);
                // Others' packets come after it.
                container.ping(GATEWAYS[0]);
                let heard = Program::has_heard(&container, &to);
                assert_eq!(heard, is_by_it, "{to} from {own:?} with {keys}");
            }
        }
        let previous = with_previous(&config, &result);
        call(&container, &previous, "eth1").check().success();
        drop(program);
        call(&container, &previous, "eth1").del().success();
        assert_eq!(rules(&container), Vec::<String>::new());
        before.assert_same(&look(), &format!("after DEL with {keys}"));
    }
}

fn dummy() {
    let host = Host::new("host");
    let container = with_another(&host);
    let look = || Snapshot::of(&container, &[]).without(|key| key.starts_with("neighbour "));
    let before = look();
    for (keys, is_default, by_source) in choices() {
        let config = network("dummy", keys.clone());
        let result = call(&container, &config, "eth1").add().success();
        for (family, far) in FAR.into_iter().enumerate() {
            for (own, is_by_it) in [(None, is_default), (Some(family), by_source)] {
                container.nft(
                    "table inet watch { chain out { type filter hook output priority 0; \
                     meta l4proto udp oifname eth1 counter; }; }\n",
                );
                let to = send(&container, own, far);
                let all = container.ask("nft", "-j list table inet watch");
                let counted = all.to_string().contains("\"packets\":1");
                assert_eq!(counted, is_by_it, "{to} from {own:?} with {keys}: {all}");
                container.nft("delete table inet watch\n");
            }
        }
        let previous = with_previous(&config, &result);
        call(&container, &previous, "eth1").check().success();
        call(&container, &previous, "eth1").del().success();
        assert_eq!(rules(&container), Vec::<String>::new());
        before.assert_same(&look(), &format!("after DEL with {keys}"));
    }
}

/// Sends something to the outside, from an address of the second interface or from none that is
/// chosen; each to an address of its own, which is returned.
fn send(container: &Container<'_>, own: Option<usize>, far: &str) -> String {
    let address = |text: &str| -> IpAddr { text.parse().expect("it is an address") };
    let any = if far.contains(':') { "::" } else { "0.0.0.0" };
    let from = match own {
        Some(family) => {
            let all = container.addresses("eth1");
            let own = all[family].split('/').next();
            own.expect("it has a prefix length").to_owned()
        }
        None => any.to_owned(),
    };
    let to = match own {
        Some(_) => format!("{far}7"),
        None => format!("{far}8"),
    };
    container.run(|| {
        let socket = UdpSocket::bind(SocketAddr::new(address(&from), 0)).expect("it is own");
        let sent = socket.send_to(b"who is there", SocketAddr::new(address(&to), 9));
        sent.expect("there is a way");
    });
    to
}
