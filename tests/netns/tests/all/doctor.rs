//! `slash24 doctor`: it finds what is in the way, says what to do, and changes nothing.

use std::process::Command;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Outcome, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan, network};
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("doctor/healthy-host", healthy),
        ours("doctor/networks", networks),
        ours("doctor/forwarding-turned-off", forwarding),
        ours("doctor/rules-that-drop", rules_that_drop),
        ours("doctor/rp_filter-with-two-uplinks", reverse_path),
        ours("doctor/bridges-that-call-iptables", bridges_call_iptables),
        ours("doctor/cables", cables),
        ours("doctor/way-out-of-a-vxlan-network", way_out),
        ours("doctor/masters", masters),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const CONF: &str = "/etc/cni/net.d";

fn doctor(host: &Host, arguments: &[&str]) -> Outcome {
    let plugins = host.plugin_dir(Plugins::Slash24);
    Call::of(host, Plugins::Slash24, "slash24")
        .arguments(["doctor"])
        .arguments(arguments)
        .env("CNI_PATH", plugins)
        .execute()
}

/// The findings, each as `LEVEL: WHAT`, after a look at whether programs and people are told the
/// same, with a remedy, and nothing was changed.
fn findings(host: &Host) -> Vec<String> {
    let look = || Snapshot::of(host, &["/etc/cni", "/var/lib/cni", "/etc/slash24"]);
    let before = look();
    let outcome = doctor(host, &["--output", "json"]);
    before.assert_same(&look(), "after doctor");
    let findings = outcome.json();
    let findings = findings.as_array().expect("a list").clone();
    let has_errors = findings.iter().any(|finding| finding["level"] == "error");
    assert_eq!(outcome.code, Some(i32::from(has_errors)), "{outcome:#?}");
    let text = doctor(host, &[]).stdout;
    for finding in &findings {
        for part in ["what", "why", "do"] {
            let part = finding[part].as_str().expect("it is said");
            assert!(
                !part.is_empty() && text.contains(part),
                "{part:?} in {text}"
            );
        }
    }
    let shown = |finding: &Value| {
        let of = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", of("level"), of("what"))
    };
    findings.iter().map(shown).collect()
}

fn configure(host: &Host, name: &str, config: &Value) {
    host.write(&format!("{CONF}/{name}"), &config.to_string());
}

/// Asserts that there is one finding, and what it says.
fn only(host: &Host, says: &[&str]) {
    let found = findings(host);
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in says {
        assert!(found[0].contains(part), "{part:?} in {found:#?}");
    }
}

fn attached<'h>(host: &'h Host, config: &Value) -> Container<'h> {
    let container = host.container("c");
    Call::new(host, Plugins::Slash24, config)
        .attach(&container, "eth0")
        .add()
        .success();
    host.wait_for_carrier("br0");
    container
}

fn healthy() {
    let host = Host::new("host");
    let config = bridge(Family::Dual, json!({"ipMasq": true}));
    configure(&host, "10-n.conf", &config);
    assert_eq!(findings(&host), Vec::<String>::new());
    assert_eq!(doctor(&host, &[]).stdout, "nothing is in the way\n");
    let _container = attached(&host, &config);
    assert_eq!(findings(&host), Vec::<String>::new());
}

fn networks() {
    let host = Host::new("host");
    only(&host, &["warning", "no networks in /etc/cni/net.d"]);
    let good = bridge(Family::V4, json!({}));
    configure(&host, "10-n.conf", &good);

    let file = format!("{CONF}/20-broken.conf");
    host.write(&file, "{\"name\": ");
    only(&host, &["error", "20-broken.conf", "JSON"]);

    let template = json!({"type": "host-local", "subnet": "10.{rack}.{slot}.0/24"});
    configure(
        &host,
        "20-broken.conf",
        &bridge(Family::V4, json!({"name": "m", "ipam": template})),
    );
    only(&host, &["error", "network m", "/etc/slash24/location.json"]);
    host.write("/etc/slash24/location.json", r#"{"rack": 20, "slot": 11}"#);
    assert_eq!(findings(&host), Vec::<String>::new());

    configure(
        &host,
        "20-broken.conf",
        &bridge(Family::V4, json!({"name": "m", "mtu": 7})),
    );
    only(&host, &["error", "network m", "\"mtu\": 7"]);

    let unknown = json!({"name": "m", "cniVersion": "1.0.0", "plugins": [
        {"type": "bridge", "bridge": "br1"}, {"type": "no-such-plugin"}]});
    configure(&host, "20-broken.conf", &unknown);
    only(
        &host,
        &[
            "error",
            "network m",
            "no plugin no-such-plugin",
            "/run/plugins",
        ],
    );

    host.ip("link add taken type veth peer name other");
    configure(
        &host,
        "20-broken.conf",
        &bridge(Family::V4, json!({"name": "m", "bridge": "taken"})),
    );
    only(&host, &["error", "network m", "taken", "veth"]);

    configure(&host, "20-broken.conf", &good);
    let missing = doctor(&host, &["--plugin-dir", "/nowhere", "--output", "json"]);
    assert_eq!(missing.code, Some(1));
    let text = missing.stdout;
    assert!(text.contains("no plugin directory /nowhere"), "{text}");
    assert!(text.contains("no plugin bridge in /nowhere"), "{text}");
    assert!(text.contains("slash24 install /nowhere"), "{text}");
}

fn forwarding() {
    let host = Host::new("host");
    let config = bridge(Family::Dual, json!({}));
    configure(&host, "n.conf", &config);
    let _container = attached(&host, &config);
    host.set_sysctl("net/ipv4/ip_forward", "0");
    only(&host, &["warning", "net.ipv4.ip_forward is 0", "br0"]);
    host.set_sysctl("net/ipv4/ip_forward", "1");
    host.set_sysctl("net/ipv6/conf/all/forwarding", "0");
    only(&host, &["warning", "net.ipv6.conf.all.forwarding is 0"]);
}

fn run(host: &Host, command: &str) {
    let mut words = command.split(' ');
    let program = format!("/usr/sbin/{}", words.next().unwrap());
    let done = host.run(|| Command::new(&program).args(words).status());
    assert!(done.unwrap().success(), "{command}");
}

/// Each way in which something can drop what is forwarded, and the rules that let it pass.
fn rules_that_drop() {
    let cases: [(&[&str], &str, &[&str]); 5] = [
        (
            &["iptables-nft -P FORWARD DROP"],
            "chain FORWARD of nftables' table ip filter",
            &["iptables-nft -I FORWARD -i br0 -j ACCEPT"],
        ),
        (
            &["ip6tables-nft -P FORWARD DROP"],
            "chain FORWARD of nftables' table ip6 filter",
            &["ip6tables-nft -I FORWARD -o br0 -j ACCEPT"],
        ),
        (
            &["iptables-legacy -P FORWARD DROP"],
            "chain FORWARD of iptables-legacy",
            &["iptables-legacy -I FORWARD -i br0 -j ACCEPT"],
        ),
        (
            &["ip6tables-legacy -P FORWARD DROP"],
            "chain FORWARD of ip6tables-legacy",
            &["ip6tables-legacy -A FORWARD -i br0 -j ACCEPT"],
        ),
        (
            &[
                "nft add table inet mine",
                "nft add chain inet mine guard { type filter hook forward priority 0 ; policy drop ; }",
            ],
            "chain guard of nftables' table inet mine",
            &["nft add rule inet mine guard iifname br0 accept"],
        ),
    ];
    for (drop, says, accept) in cases {
        let host = Host::new("host");
        for of in ["iptables", "ip6tables"] {
            host.set_sysctl(&format!("net/bridge/bridge-nf-call-{of}"), "0");
        }
        configure(&host, "n.conf", &bridge(Family::Dual, json!({})));
        drop.iter().for_each(|command| run(&host, command));
        only(&host, &["warning", says, "no rule of it names br0"]);
        accept.iter().for_each(|command| run(&host, command));
        assert_eq!(findings(&host), Vec::<String>::new(), "{says}");
    }
    // Rules that accept by default are nobody's business, and neither is a bridge that is only a
    // switch.
    let host = Host::new("host");
    configure(&host, "n.conf", &bridge(Family::Dual, json!({})));
    run(&host, "iptables-legacy -A FORWARD -i eth7 -j DROP");
    run(&host, "iptables-nft -A FORWARD -i eth7 -j DROP");
    assert_eq!(findings(&host), Vec::<String>::new());
    run(&host, "iptables-nft -P FORWARD DROP");
    configure(
        &host,
        "n.conf",
        &bridge(Family::Dual, json!({"isGateway": false})),
    );
    assert_eq!(findings(&host), Vec::<String>::new());
}

fn bridges_call_iptables() {
    let host = Host::new("host");
    configure(&host, "n.conf", &bridge(Family::Dual, json!({})));
    host.set_sysctl("net/bridge/bridge-nf-call-iptables", "1");
    assert_eq!(findings(&host), Vec::<String>::new());
    run(&host, "iptables-nft -P FORWARD DROP");
    let found = findings(&host);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[1].contains("br_netfilter"), "{found:#?}");
}

fn reverse_path() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "up0", &["192.0.2.11/24"]);
    fabric.join(&host, "up1", &["198.51.100.11/24"]);
    configure(&host, "n.conf", &bridge(Family::V4, json!({})));
    host.set_sysctl("net/ipv4/conf/all/rp_filter", "1");
    host.default_route(&["192.0.2.1"]);
    assert_eq!(findings(&host), Vec::<String>::new());
    host.default_route(&["192.0.2.1", "198.51.100.1"]);
    only(
        &host,
        &["warning", "rp_filter is 1", "up0, up1", "2 uplinks"],
    );
    host.set_sysctl("net/ipv4/conf/all/rp_filter", "2");
    assert_eq!(findings(&host), Vec::<String>::new());
}

/// `ptp`: each container has a cable of its own, which rules name by how their names begin.
fn cables() {
    let host = Host::new("host");
    let config = network("ptp", "1.0.0", Family::Dual, json!({"ipMasq": true}));
    configure(&host, "n.conf", &config);
    assert_eq!(findings(&host), Vec::<String>::new());
    let container = host.container("c");
    let call = Call::new(&host, Plugins::Slash24, &config).attach(&container, "eth0");
    call.add().success();
    host.set_sysctl("net/ipv4/ip_forward", "0");
    only(&host, &["warning", "net.ipv4.ip_forward is 0", "veth"]);
    host.set_sysctl("net/ipv4/ip_forward", "1");
    for (drop, accept) in [
        (
            "iptables-legacy -P FORWARD DROP",
            "iptables-legacy -I FORWARD -i veth+ -j ACCEPT",
        ),
        (
            "ip6tables-legacy -P FORWARD DROP",
            "ip6tables-legacy -I FORWARD -o veth+ -j ACCEPT",
        ),
        (
            "iptables-nft -P FORWARD DROP",
            "iptables-nft -I FORWARD -i veth+ -j ACCEPT",
        ),
    ] {
        run(&host, drop);
        only(&host, &["warning", "drops by default", "names veth*"]);
        run(&host, accept);
        assert_eq!(findings(&host), Vec::<String>::new(), "{accept}");
    }
    run(&host, "nft add table inet mine");
    run(
        &host,
        "nft add chain inet mine guard { type filter hook forward priority 0 ; policy drop ; }",
    );
    only(&host, &["table inet mine", "names veth*"]);
    run(&host, "nft add rule inet mine guard iifname veth* accept");
    assert_eq!(findings(&host), Vec::<String>::new());
}

fn way_out() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.join(&host, "eth0", &["192.0.2.1/24"]);
    let keys = json!({"vni": 7, "underlay": "192.0.2.1", "peers": {"static": ["192.0.2.1"]}});
    let config = network("vxlan", "1.0.0", Family::V4, keys);
    for of in ["iptables", "ip6tables"] {
        host.set_sysctl(&format!("net/bridge/bridge-nf-call-{of}"), "0");
    }
    configure(&host, "n.conf", &config);
    run(&host, "iptables-legacy -P FORWARD DROP");
    assert_eq!(findings(&host), Vec::<String>::new(), "nothing leaves it");
    let mut leaves = config;
    leaves["ipMasq"] = json!(true);
    configure(&host, "n.conf", &leaves);
    only(&host, &["warning", "iptables-legacy", "names vxup7"]);
    run(&host, "iptables-legacy -P FORWARD ACCEPT");
    let container = host.container("c");
    let call = Call::new(&host, Plugins::Slash24, &leaves).attach(&container, "eth0");
    call.add().success();
    assert_eq!(findings(&host), Vec::<String>::new());
    host.set_sysctl("net/ipv6/conf/all/forwarding", "0");
    only(&host, &["net.ipv6.conf.all.forwarding is 0", "vxup7"]);
}

/// The host's interfaces that containers' links stand on.
fn masters() {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &["192.0.2.1/24"]);
    let config = macvlan(Family::V4, json!({"hostAccess": true}));
    configure(&host, "n.conf", &config);
    assert_eq!(findings(&host), Vec::<String>::new());
    let container = host.container("c");
    let call = Call::new(&host, Plugins::Slash24, &config).attach(&container, "eth0");
    call.add().success();
    assert_eq!(findings(&host), Vec::<String>::new());
    call.del().success();

    let other = network(
        "ipvlan",
        "1.0.0",
        Family::V4,
        json!({"name": "m", "master": "eth0"}),
    );
    configure(&host, "m.conf", &other);
    only(&host, &["warning", "two kinds", "m (ipvlan), n (macvlan)"]);
    let other = macvlan(Family::V4, json!({"name": "m", "mode": "passthru"}));
    configure(&host, "m.conf", &other);
    only(&host, &["warning", "passthru", "m (macvlan), n (macvlan)"]);
    configure(&host, "m.conf", &config);

    // The kernel says no more than that it is busy.
    host.ip("link add br5 type bridge\nlink set eth0 master br5\nlink set br5 up");
    only(
        &host,
        &["error", "network n: eth0 is a port of br5 (bridge)"],
    );
    call.add().failure();
    host.ip("link set eth0 nomaster");

    host.replace_sys();
    host.write("/sys/class/net/eth0/wireless/status", "0");
    only(&host, &["warning", "network n: eth0 is wireless"]);
    fabric.ip("link set port0 down");
    host.wait_until("the carrier is gone", || {
        host.link("eth0")
            .is_some_and(|link| link["operstate"] != "UP")
    });
    let found = findings(&host);
    assert!(
        found[0].contains("network n: eth0 has no carrier"),
        "{found:#?}"
    );
}
