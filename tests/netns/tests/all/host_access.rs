//! `hostAccess` of `macvlan`: host and container talk to each other, and nobody else notices.

use std::thread;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial_on_old_kernel};
use serde_json::{Value, json};

use crate::capture::Capture;
use crate::network::{Family, ROUTER, macvlan, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("host-access/both-ways", both_ways),
        ours("host-access/neighbours-hear-nothing-of-it", unheard),
        ours("host-access/strict-hosts", strict_hosts),
        ours("host-access/of-two-networks", two_networks),
        ours("host-access/gone-with-the-last", gone_with_the_last),
        ours("host-access/without-the-key-by-now", without_the_key),
        ours("host-access/coming-and-going", coming_and_going),
        ours("host-access/garbage", garbage),
        ours("host-access/check", check),
        ours("host-access/leftovers", leftovers),
        ours("host-access/on-another-master", on_another_master),
        ours("host-access/by-source", by_source),
        ours("host-access/mac-of-its-own", own_mac),
        ours("host-access/shared-addresses", shared_addresses),
    ]
    .into_iter()
    .flatten()
    .chain([trial_on_old_kernel(
        "host-access/both-ways-on-an-old-kernel/slash24",
        both_ways,
    )])
    .collect()
}

/// Addresses of the host that are in the containers' subnets, and others.
const NEAR: [&str; 2] = ["10.1.2.200/24", "fd00:1:2::200/64"];
const FAR: [&str; 2] = ["192.0.2.9/24", "2001:db8::9/64"];

fn on_fabric(addresses: &[&str]) -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", addresses);
    (fabric, host)
}

fn config(keys: Value) -> Value {
    let mut config = macvlan(
        Family::Dual,
        json!({"cniVersion": "1.1.0", "hostAccess": true}),
    );
    crate::network::merge(&mut config, keys);
    config
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn attach<'h>(host: &'h Host, config: &Value, id: &str) -> Container<'h> {
    let container = host.container(id);
    call(&container, config).add().success();
    container
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"])
}

/// The host's interfaces on macvlan networks.
fn interfaces(host: &Host) -> Vec<Value> {
    let links = host.ip_json("-details link show type macvlan");
    links.as_array().cloned().unwrap_or_default()
}

fn name(host: &Host) -> String {
    match interfaces(host).as_slice() {
        [only] => only["ifname"].as_str().unwrap_or_default().to_owned(),
        others => panic!("one interface of the host's is expected: {others:?}"),
    }
}

fn bare(address: &str) -> &str {
    address.split('/').next().unwrap_or_default()
}

fn both_ways() {
    for (addresses, of_host) in [
        (&NEAR[..], ["10.1.2.200", "fd00:1:2::200"]),
        (&FAR[..], ["192.0.2.9", "2001:db8::9"]),
    ] {
        let (_fabric, host) = on_fabric(addresses);
        let config = config(
            json!({"ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            "ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1:2::/64"}]]}}),
        );
        let [one, two] = ["one", "two"].map(|id| attach(&host, &config, id));
        for container in [&one, &two] {
            for (address, of_host) in container.addresses("eth0").iter().zip(of_host) {
                let own = bare(address);
                host.ping(own);
                container.ping(of_host);
                let seen = container.tcp(&host, of_host).unwrap();
                assert_eq!(seen.ip().to_string(), own);
                let seen = host.tcp(container, own).unwrap();
                assert_eq!(
                    seen.ip().to_string(),
                    of_host,
                    "the address that it answers by"
                );
            }
            // Everybody else is where they were.
            container.ping("10.1.2.1");
            container.ping("fd00:1:2::1");
        }
        one.ping(bare(&two.addresses("eth0")[0]));
    }

    // A host without addresses has some for this alone.
    let (_fabric, host) = on_fabric(&[]);
    let container = attach(&host, &config(json!({})), "c");
    host.ping("10.1.2.2");
    host.ping("fd00:1:2::2");
    let addresses = host.addresses(&name(&host));
    assert!(addresses[0].starts_with("169.254."), "{addresses:?}");
    for address in &addresses {
        container.ping(bare(address));
        container.tcp(&host, bare(address)).unwrap();
    }
    assert_eq!(addresses.len(), 2);
}

/// The host's own address is answered for by the link below alone; the interface neither asks nor
/// tells anybody anything.
fn unheard() {
    let (fabric, host) = on_fabric(&NEAR);
    let heard = Capture::start(&fabric, "fabric", "");
    let container = attach(&host, &config(json!({})), "c");
    container.ping("10.1.2.200");
    host.ping("10.1.2.2");
    host.ping("fd00:1:2::2");
    for address in NEAR.map(bare) {
        fabric.ping(address);
    }
    let shim = interfaces(&host)[0]["address"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let heard = heard.stop();
    let by_it: Vec<&str> = heard.lines().filter(|line| line.contains(&shim)).collect();
    // Which groups it listens to is all that a switch may hear of it.
    let told = by_it
        .iter()
        .filter(|line| !line.contains("multicast listener report"));
    assert_eq!(told.count(), 0, "{by_it:#?}");
    let below = host.link("eth0").expect("it is there")["address"].clone();
    let neighbours = fabric.ip_json("neighbour show");
    for entry in neighbours.as_array().into_iter().flatten() {
        if NEAR
            .map(bare)
            .contains(&entry["dst"].as_str().unwrap_or_default())
        {
            assert_eq!(entry["lladdr"], below, "{neighbours}");
        }
    }
    // What routers say is heard below.
    assert_eq!(
        host.sysctl(&format!("net/ipv6/conf/{}/accept_ra", name(&host))),
        "0"
    );
}

/// Hosts that take packets only where they would send the answer, and answer ARP only for what is on
/// the link; and hosts whose links have no IPv6 unless somebody says so.
fn strict_hosts() {
    let (_fabric, host) = on_fabric(&FAR);
    for (key, value) in [
        ("net/ipv4/conf/all/rp_filter", "1"),
        ("net/ipv4/conf/all/arp_ignore", "2"),
        ("net/ipv4/conf/all/arp_announce", "2"),
        ("net/ipv4/conf/all/arp_notify", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
    ] {
        host.set_sysctl(key, value);
    }
    let container = attach(&host, &config(json!({})), "c");
    for address in ["10.1.2.2", "fd00:1:2::2"] {
        host.ping(address);
    }
    for address in FAR.map(bare) {
        container.ping(address);
    }
}

/// One container on two networks of one link: each has an interface of the host's.
fn two_networks() {
    let (_fabric, host) = on_fabric(&FAR);
    let before = look(&host);
    let container = attach(&host, &config(json!({})), "c");
    let ranges = json!([[{"subnet": "10.7.7.0/24"}]]);
    let other = config(json!({"name": "other", "ipam": {"type": "host-local", "ranges": ranges}}));
    let second = Call::new(&host, Plugins::Slash24, &other).attach(&container, "eth1");
    second.add().success();
    assert_eq!(interfaces(&host).len(), 2);
    host.ping("10.1.2.2");
    host.ping("10.7.7.2");
    container.ping("192.0.2.9");
    call(&container, &config(json!({}))).del().success();
    host.ping("10.7.7.2");
    container.ping("192.0.2.9");
    second.del().success();
    only_the_network_remains(&before, &look(&host));
}

fn gone_with_the_last() {
    let (_fabric, host) = on_fabric(&NEAR);
    let before = look(&host);
    let config = config(json!({}));
    let result = call(&host.container("zero"), &config).add().success();
    assert_eq!(
        result["interfaces"].as_array().map(Vec::len),
        Some(1),
        "runtimes expect the container's alone: {result}"
    );
    let [one, two] = ["one", "two"].map(|id| attach(&host, &config, id));
    let link = &interfaces(&host)[0];
    assert_eq!(link["ifalias"], "slash24-host n");
    let index = link["ifindex"].clone();
    let routes = host.routes("-4").len() + host.routes("-6").len();
    call(&one, &config).del().success();
    assert_eq!(
        host.routes("-4").len() + host.routes("-6").len(),
        routes - 2
    );
    assert_eq!(interfaces(&host)[0]["ifindex"], index);
    host.ping("10.1.2.4");

    // The namespace has gone, and the runtime has forgotten everything else.
    let add = call(&two, &config);
    two.destroy();
    add.without("CNI_NETNS").del().success();
    assert_eq!(interfaces(&host).len(), 1);
    let zero = Call::new(&host, Plugins::Slash24, &config);
    let zero = zero
        .env("CNI_CONTAINERID", "zero")
        .env("CNI_IFNAME", "eth0");
    zero.del().success();
    zero.del().success();
    only_the_network_remains(&before, &look(&host));
}

/// An address that many have leads to none of them in particular; their own lead to each.
fn shared_addresses() {
    let (_fabric, host) = on_fabric(&NEAR[..1]);
    let before = look(&host);
    let of_each = json!([{"subnet": "10.1.2.0/24"}]);
    let of_all = json!([{"subnet": "10.9.9.9/32", "shared": true}]);
    let ranges = |sets: &[&Value]| config(json!({"ipam": {"type": "host-local", "ranges": sets}}));
    let both = ranges(&[&of_each, &of_all]);
    let [one, two] = ["one", "two"].map(|id| attach(&host, &both, id));
    for (container, own) in [(&one, "10.1.2.2"), (&two, "10.1.2.3")] {
        assert_eq!(
            container.addresses("eth0"),
            [&format!("{own}/24"), "10.9.9.9/32"]
        );
        host.ping(own);
        container.ping("10.1.2.200");
        let result = call(container, &both).add().success();
        call(container, &with_previous(&both, &result))
            .check()
            .success();
    }
    let leads = |host: &Host| host.routes("-4").iter().any(|r| r["dst"] == "10.9.9.9");
    assert!(!leads(&host), "{:?}", host.routes("-4"));

    // Who has nothing else comes and goes without the others noticing.
    let alone = ranges(&[&of_all]);
    let third = attach(&host, &alone, "third");
    call(&third, &alone).del().success();
    host.ping("10.1.2.2");
    call(&one, &both).del().success();
    host.ping("10.1.2.3");
    call(&two, &both).del().success();
    only_the_network_remains(&before, &look(&host));
}

/// Whoever is first makes the interface, whoever is last removes it, and nobody is ever without.
fn coming_and_going() {
    let (_fabric, host) = on_fabric(&NEAR);
    let before = look(&host);
    let config = config(json!({}));
    thread::scope(|scope| {
        for id in ["a", "b", "c", "d"] {
            let (host, config) = (&host, &config);
            scope.spawn(move || {
                let container = host.container(id);
                for _ in 0..8 {
                    call(&container, config).add().success();
                    for address in container.addresses("eth0") {
                        host.ping(bare(&address));
                    }
                    container.ping("10.1.2.200");
                    call(&container, config).del().success();
                }
            });
        }
    });
    only_the_network_remains(&before, &look(&host));
}

fn garbage() {
    let (_fabric, host) = on_fabric(&NEAR);
    let before = look(&host);
    let config = config(json!({}));
    let [one, two] = ["one", "two"].map(|id| attach(&host, &config, id));
    let gc = |valid: Value, keys: Value| {
        let mut config = config.clone();
        crate::network::merge(&mut config, keys);
        config["cni.dev/valid-attachments"] = valid;
        let call = Call::new(&host, Plugins::Slash24, &config);
        call.command("GC").success();
    };
    let attachment = |id: &str| json!({"containerID": id, "ifname": "eth0"});
    gc(json!([attachment("one"), attachment("two")]), json!({}));
    host.ping("10.1.2.2");
    one.destroy();
    gc(json!([attachment("two")]), json!({}));
    assert!(!host.reaches("10.1.2.2"));
    host.ping("10.1.2.3");
    // A container without the names of its interfaces may have any of them.
    gc(json!([{"containerID": "two"}]), json!({}));
    host.ping("10.1.2.3");
    two.destroy();
    // Also when the operator has taken the key away.
    gc(json!([]), json!({"hostAccess": null}));
    only_the_network_remains(&before, &look(&host));
}

fn check() {
    let (_fabric, host) = on_fabric(&FAR);
    let config = config(json!({}));
    let container = host.container("c");
    // Each container has other addresses.
    let fill = |text: &str, result: &Value| {
        let address = |number: usize| bare(result["ips"][number]["address"].as_str().unwrap());
        text.replace("IPV4", address(0)).replace("IPV6", address(1))
    };
    let break_and_look = |breaks: &dyn Fn(&Value), says: &str| {
        let result = call(&container, &config).add().success();
        let checked = call(&container, &with_previous(&config, &result));
        checked.check().success();
        breaks(&result);
        let failure = checked.check().failure();
        let message = failure["msg"].as_str().unwrap_or_default();
        let says = fill(says, &result);
        assert!(message.contains(&says), "{says}: {failure}");
        call(&container, &config).del().success();
    };
    let of_host = |command: &'static str| {
        let host = &host;
        move |result: &Value| host.ip(&fill(command, result).replace("SHIM", &name(host)))
    };
    let of_container = |command: &'static str| {
        let container = &container;
        move |_: &Value| container.ip(command)
    };
    break_and_look(&of_host("link delete SHIM"), "one on the network");
    break_and_look(&of_host("link set SHIM down"), "state of host");
    break_and_look(
        &of_host("route delete IPV4 dev SHIM"),
        "one to IPV4 by host",
    );
    break_and_look(
        &of_host("route delete IPV6 dev SHIM"),
        "one to IPV6 by host",
    );
    break_and_look(
        &of_host("neighbour delete IPV4 dev SHIM"),
        "as the host knows it",
    );
    break_and_look(
        &of_host("address delete 192.0.2.9/24 dev eth0"),
        "one to IPV4 by host",
    );
    host.ip("address add 192.0.2.9/24 dev eth0");
    break_and_look(
        &of_container("neighbour delete 192.0.2.9 dev eth0"),
        "as the container knows it",
    );
    break_and_look(
        &of_container("route delete 192.0.2.9 dev eth0"),
        "192.0.2.9/32",
    );
}

/// What a process leaves that is killed between two requests, and what nobody of ours has made.
fn leftovers() {
    let (_fabric, host) = on_fabric(&NEAR);
    let before = look(&host);
    let config = config(json!({}));
    let container = attach(&host, &config, "c");
    let shim = name(&host);
    let make = format!("link add link eth0 name {shim} type macvlan mode bridge");
    call(&container, &config).del().success();
    host.ip(&make);
    call(&container, &config).add().success();
    host.ping(bare(&container.addresses("eth0")[0]));
    call(&container, &config).del().success();
    host.ip(&make);
    call(&container, &config).del().success();
    only_the_network_remains(&before, &look(&host));

    host.ip(&format!("link add {shim} type veth peer name other"));
    let taken = look(&host);
    let failure = call(&container, &config).add().failure();
    assert!(
        failure["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains(&shim)),
        "{failure}"
    );
    assert!(container.link("eth0").is_none());
    only_the_network_remains(&taken, &look(&host));
    call(&container, &config).del().success();
    only_the_network_remains(&taken, &look(&host));
}

/// What a container has on the host goes with it, whatever its network says by now.
fn without_the_key() {
    let (_fabric, host) = on_fabric(&NEAR);
    let before = look(&host);
    let with = config(json!({}));
    for changed in [json!({"hostAccess": null}), json!({"hostAccess": "yes"})] {
        let container = attach(&host, &with, "c");
        call(&container, &config(changed)).del().success();
        assert_eq!(interfaces(&host), Vec::<Value>::new());
        only_the_network_remains(&before, &look(&host));
    }
    let container = attach(&host, &with, "c");
    let without = config(json!({"hostAccess": false}));
    call(&container, &without).add().success();
    assert_eq!(interfaces(&host), Vec::<Value>::new());
    container.ping("10.1.2.1");
    call(&container, &without).del().success();
    only_the_network_remains(&before, &look(&host));
}

fn on_another_master() {
    let (fabric, host) = on_fabric(&NEAR);
    fabric.join(&host, "eth1", &[]);
    let (first, second) = (config(json!({})), config(json!({"master": "eth1"})));
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    call(&one, &first).add().success();
    let before = look(&host);
    let failure = call(&two, &second).add().failure();
    let message = failure["msg"].as_str().unwrap_or_default();
    assert!(
        message.contains("\"hostAccess\"") && message.contains("eth1"),
        "{failure}"
    );
    only_the_network_remains(&before, &look(&host));
    call(&one, &first).del().success();
    call(&two, &second).add().success();
    host.ping(bare(&two.addresses("eth0")[0]));
    assert_eq!(interfaces(&host)[0]["link"], "eth1");
}

/// The interface's own table knows the host as well.
fn by_source() {
    let (_fabric, host) = on_fabric(&FAR);
    let config = config(json!({"sourceRouting": true}));
    let container = host.container("c");
    let result = call(&container, &config).add().success();
    container.ping("192.0.2.9");
    host.ping("10.1.2.2");
    host.ping("fd00:1:2::2");
    call(&container, &with_previous(&config, &result))
        .check()
        .success();
    let table = container.ip_json("route show table all to 192.0.2.9");
    assert_eq!(table.as_array().map(Vec::len), Some(2), "{table}");
}

/// Another address than the one that follows from the lease.
fn own_mac() {
    let (_fabric, host) = on_fabric(&NEAR);
    let config = config(json!({"mac": "02:42:ac:11:00:02"}));
    let _container = attach(&host, &config, "c");
    host.ping("10.1.2.2");
    host.ping("fd00:1:2::2");
}
