//! Detaching whatever is left, and attaching over it: DEL in every state in which runtimes send it,
//! and ADD after a plugin was killed.

use std::thread::sleep;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Feature, Host, Namespace, Plugins, Snapshot, trial_needing};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan, network, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::{both, ours};

/// A kind of attachment.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    config: fn() -> Value,
    /// What its trials need of the kernel. Those in another machine are few, and short.
    needs: &'static [Feature],
    /// Whether somebody answers on its network.
    is_answered: bool,
    /// Whether it is one of the host's devices, which would end with the container here: the
    /// simulated ones are not hardware.
    is_device: bool,
}

impl Kind {
    const fn of(name: &'static str, config: fn() -> Value) -> Self {
        Self {
            name,
            config,
            needs: &[],
            is_answered: true,
            is_device: false,
        }
    }

    const fn needing(self, needs: &'static [Feature]) -> Self {
        Self { needs, ..self }
    }

    const fn unanswered(self) -> Self {
        Self {
            is_answered: false,
            ..self
        }
    }

    const fn device(self) -> Self {
        Self {
            is_device: true,
            ..self
        }
    }

    fn config(self) -> Value {
        (self.config)()
    }

    /// Whether it is tried without another machine.
    fn is_here(self) -> bool {
        self.needs.is_empty()
    }

    /// Whether the container may end before its DEL.
    fn may_end(self) -> bool {
        !self.is_device && self.is_here()
    }

    /// Whether its namespace's path may be another container's before its DEL.
    fn may_be_followed(self) -> bool {
        !self.is_device
    }

    fn ping(self, container: &Container<'_>) {
        if self.is_answered {
            container.ping("10.1.2.1");
        }
    }

    /// At how many moments a call is killed.
    fn moments(self, most: u32) -> u32 {
        if self.needs.is_empty() {
            most
        } else {
            most / 3
        }
    }
}

const KINDS: &[Kind] = &[
    Kind::of("bridge", bridge_config),
    Kind::of("guarded-bridge", guarded_config),
    Kind::of("macvlan", macvlan_config),
    Kind::of("macvlan-on-eth0", on_eth0_config),
    Kind::of("macvlan-with-host-access", accessible_config),
    Kind::of("ptp", ptp_config),
    Kind::of("wrapped-bridge", wrapped_config),
    Kind::of("tap", tap_config).unanswered(),
    Kind::of("host-device", device_config).device(),
    Kind::of("ipvlan", ipvlan_config).needing(&[Feature::Ipvlan]),
    Kind::of("vlan", vlan_config)
        .needing(&[Feature::Vlan])
        .unanswered(),
    Kind::of("dummy", dummy_config)
        .needing(&[Feature::Dummy])
        .unanswered(),
];

type Story = fn(Kind);
type Fits = fn(Kind) -> bool;

/// What is tried, and with which kinds.
const STORIES: &[(&str, Fits, Story)] = &[
    (
        "add-after-kill",
        |_| true,
        |kind| add_after_kill(kind, false),
    ),
    (
        "del-and-add-after-kill",
        |_| true,
        |kind| {
            add_after_kill(kind, true);
        },
    ),
    ("del-after-a-killed-del", |_| true, del_after_kill),
    ("del-twice", Kind::is_here, |kind| del_twice(&kind.config())),
    ("del-without-netns", Kind::may_end, |kind| {
        del_without_netns(&kind.config());
    }),
    ("del-with-a-netns-that-is-gone", Kind::may_end, |kind| {
        del_netns_gone(&kind.config());
    }),
    (
        "del-with-a-netns-that-is-reused",
        Kind::may_be_followed,
        del_netns_reused,
    ),
    ("del-after-the-interface", Kind::may_end, |kind| {
        del_after_the_interface(&kind.config());
    }),
    ("del-after-another-mac", Kind::may_end, |kind| {
        del_after_another_mac(&kind.config());
    }),
    ("del-is-not-for-anothers-interface", Kind::is_here, |kind| {
        del_of_anothers(&kind.config());
    }),
    ("del-of-what-never-was", Kind::is_here, |kind| {
        del_of_what_never_was(&kind.config());
    }),
    (
        "failed-add-leaves-nothing",
        |_| true,
        |kind| {
            failed_add(&kind.config());
        },
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let of_each = KINDS.iter().flat_map(|&kind| {
        let stories = STORIES.iter().filter(move |story| (story.1)(kind));
        stories.map(move |&(what, _, story)| {
            let name = format!("leftovers/{}/{what}/slash24", kind.name);
            trial_needing(kind.needs, name, move || story(kind))
        })
    });
    [
        both(
            "leftovers/bridge/del-without-prevResult",
            del_without_previous,
        ),
        ours("leftovers/names-that-are-long", long_names),
        ours("leftovers/del-that-cannot-look", del_that_cannot_look),
        ours(
            "leftovers/an-empty-lease-file-is-no-lease",
            empty_lease_file,
        ),
    ]
    .into_iter()
    .flatten()
    .chain(of_each)
    .collect()
}

fn bridge_config() -> Value {
    bridge(
        Family::Dual,
        json!({"cniVersion": "1.1.0", "isDefaultGateway": true, "ipMasq": true}),
    )
}

/// With something of the container's own in the packet filter.
fn guarded_config() -> Value {
    let mut config = bridge_config();
    config["macspoofchk"] = json!(true);
    config["portIsolation"] = json!(true);
    config["hairpinMode"] = json!(true);
    config
}

/// Wrapped by a plugin that changes its routes, with a table and rules of its own.
fn wrapped_config() -> Value {
    let mut inner = bridge_config();
    inner["sourceRouting"] = json!(true);
    wrapped(inner)
}

fn wrapped(inner: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": inner["name"], "type": "default-route",
        "defaultRoute": true, "delegate": inner})
}

fn macvlan_config() -> Value {
    of("macvlan", json!({"master": "up0"}))
}

/// Where the host's interface has the name of the container's.
fn on_eth0_config() -> Value {
    of("macvlan", json!({"master": "eth0"}))
}

fn accessible_config() -> Value {
    let mut config = macvlan_config();
    config["hostAccess"] = json!(true);
    config
}

fn ptp_config() -> Value {
    of("ptp", json!({"ipMasq": true}))
}

fn of(plugin: &str, keys: Value) -> Value {
    network(plugin, "1.1.0", Family::Dual, keys)
}

fn tap_config() -> Value {
    of("tap", json!({"multiQueue": true, "mtu": 1400}))
}

fn device_config() -> Value {
    of("host-device", json!({"device": "spare0"}))
}

fn ipvlan_config() -> Value {
    of("ipvlan", json!({"master": "eth0"}))
}

fn vlan_config() -> Value {
    of("vlan", json!({"master": "up0", "vlanId": 7}))
}

fn dummy_config() -> Value {
    of("dummy", json!({}))
}

/// A host with an uplink, called as the network has it, and one more interface.
fn on_fabric(config: &Value) -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    let uplink = config["master"].as_str().unwrap_or("up0");
    for interface in [uplink, "spare0"] {
        fabric.join(&host, interface, &[]);
    }
    (fabric, host)
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn look(host: &Host) -> Snapshot {
    let seen = Snapshot::of(host, &["/var/lib/cni"]);
    // What it hears of the segment.
    seen.without(|key| {
        let hears = ["up0", "spare0"].map(|interface| format!("neighbour {interface} "));
        hears.iter().any(|hears| key.starts_with(hears))
    })
}

/// Kills ADD at many moments of its life. What it left must not be in the way of the next one.
fn add_after_kill(kind: Kind, del_first: bool) {
    let moments = kind.moments(24);
    let config = &kind.config();
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    let before = look(&host);
    let whole = call(&container, config).add();
    whole.success();
    call(&container, config).del().success();
    for moment in 0..moments {
        let add = call(&container, config).env("CNI_COMMAND", "ADD");
        let mut victim = add.start();
        sleep(whole.took * moment / moments);
        victim.kill().expect("it is our child");
        victim.wait().expect("it is our child");
        if del_first {
            call(&container, config).del().success();
        }
        let result = call(&container, config).add().success();
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{result}");
        kind.ping(&container);
        call(&container, config).del().success();
        assert!(container.link("eth0").is_none());
    }
    host.wait_until("the last veth is gone", || {
        !look(&host).keys().any(|key| key.starts_with("link veth"))
    });
    only_the_network_remains(&before, &look(&host));
}

/// Kills DEL at many moments of its life. The next one finishes what it began.
fn del_after_kill(kind: Kind) {
    let moments = kind.moments(12);
    let config = &kind.config();
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    let before = look(&host);
    call(&container, config).add().success();
    let whole = call(&container, config).del();
    whole.success();
    for moment in 0..moments {
        call(&container, config).add().success();
        let mut victim = call(&container, config).env("CNI_COMMAND", "DEL").start();
        sleep(whole.took * moment / moments);
        victim.kill().expect("it is our child");
        victim.wait().expect("it is our child");
        call(&container, config).del().success();
        assert!(container.link("eth0").is_none());
        only_the_network_remains(&before, &look(&host));
    }
}

fn del_twice(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    let before = look(&host);
    let result = call(&container, config).add().success();
    let config = with_previous(config, &result);
    for _ in 0..2 {
        assert_eq!(call(&container, &config).del().success(), Value::Null);
        only_the_network_remains(&before, &look(&host));
    }
}

fn del_without_previous(plugins: Plugins) {
    let (_fabric, host) = on_fabric(&Value::Null);
    let container = host.container("c");
    let before = look(&host);
    let config = bridge(Family::Dual, json!({"isDefaultGateway": true}));
    let call = Call::new(&host, plugins, &config).attach(&container, "eth0");
    call.add().success();
    call.del().success();
    assert!(container.link("eth0").is_none());
    only_the_network_remains(&before, &look(&host));
}

/// As a runtime detaches after a reboot, or one that has forgotten the namespace.
fn del_without_netns(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let before = look(&host);
    for empty in [true, false] {
        let container = host.container("c");
        let add = call(&container, config);
        add.add().success();
        let del = if empty {
            add.env("CNI_NETNS", "")
        } else {
            add.without("CNI_NETNS")
        };
        del.del().success();
        // The namespace exists, nobody named it: its links go with it.
        container.destroy();
        host.wait_until("the veth is gone", || {
            !look(&host).keys().any(|key| key.starts_with("link veth"))
        });
        only_the_network_remains(&before, &look(&host));
    }
}

fn del_netns_gone(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let before = look(&host);
    let container = host.container("c");
    let add = call(&container, config);
    let result = add.add().success();
    container.destroy();
    add.stdin(&with_previous(config, &result).to_string())
        .del()
        .success();
    host.wait_until("the veth is gone", || {
        !look(&host).keys().any(|key| key.starts_with("link veth"))
    });
    only_the_network_remains(&before, &look(&host));
}

/// The path of a dead container's namespace may be that of a living one by the time of DEL.
fn del_netns_reused(kind: Kind) {
    let config = &kind.config();
    for with_result in [true, false] {
        let (_fabric, host) = on_fabric(config);
        let dead = host.container("path");
        let add_dead = call(&dead, config).env("CNI_CONTAINERID", "dead");
        let result = add_dead.add().success();
        dead.destroy();

        let living = host.container("path");
        let add_living = call(&living, config).env("CNI_CONTAINERID", "living");
        add_living.add().success();
        kind.ping(&living);
        if kind.is_answered {
            living.ping("fd00:1:2::1");
        }
        // The kernel adds the local route of an IPv6 address a moment later.
        living.wait_until("its own address is known", || {
            let local = living.ip_json("-6 route show table local");
            local.to_string().contains("\"fd00:1:2::3\"")
        });
        let look = || Snapshot::of(&living, &[]).without(|key| key.contains(" fe80:"));
        let before = look();

        let config = if with_result {
            with_previous(config, &result)
        } else {
            config.clone()
        };
        add_dead.stdin(&config.to_string()).del().success();
        before.assert_same(&look(), "after DEL of the dead container");
        kind.ping(&living);
        let lease = |address| host.read(&format!("/var/lib/cni/networks/n/{address}"));
        assert_eq!(
            lease("10.1.2.2"),
            None,
            "the dead container's address is free"
        );
        assert_eq!(lease("10.1.2.3").as_deref(), Some("living\r\neth0"));
    }
}

/// The container took its interface away itself.
fn del_after_the_interface(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let before = look(&host);
    let container = host.container("c");
    let add = call(&container, config);
    let result = add.add().success();
    container.ip("link delete eth0");
    add.stdin(&with_previous(config, &result).to_string())
        .del()
        .success();
    only_the_network_remains(&before, &look(&host));
}

/// The container gave its interface another hardware address: it is the attachment's still, and
/// must not keep an IP address that the next container gets.
fn del_after_another_mac(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let before = look(&host);
    let container = host.container("c");
    let add = call(&container, config);
    let result = add.add().success();
    container.ip("link set eth0 address 02:00:00:00:00:99");
    add.stdin(&with_previous(config, &result).to_string())
        .del()
        .success();
    assert!(container.link("eth0").is_none());
    only_the_network_remains(&before, &look(&host));
}

/// An interface in the way makes ADD fail. The DEL that follows is not for it.
fn del_of_anothers(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    container.ip("link add eth0 type bridge");
    call(&container, config).add().failure();
    let before = [look(&host), Snapshot::of(&container, &[])];
    call(&container, config).del().success();
    before[1].assert_same(&Snapshot::of(&container, &[]), "after DEL");
    // The loopback stays, even if its mark is right.
    container.ip("link set lo alias 'slash24 n c lo'");
    call(&container, config)
        .env("CNI_IFNAME", "lo")
        .del()
        .success();
    only_the_network_remains(&before[0], &look(&host));
}

fn del_of_what_never_was(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    let before = look(&host);
    call(&container, config).del().success();
    only_the_network_remains(&before, &look(&host));
}

/// An ADD that fails halfway takes back what it did: here the kernel refuses a route, after the link
/// was made and the address was given.
fn failed_add(config: &Value) {
    let (_fabric, host) = on_fabric(config);
    let container = host.container("c");
    let mut config = config.clone();
    // A route whose gateway is on no link cannot be set.
    let main = if config["delegate"].is_object() {
        &mut config["delegate"]
    } else {
        &mut config
    };
    main["ipam"]["routes"] = json!([{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]);
    let before = [look(&host), Snapshot::of(&container, &[])];
    let error = call(&container, &config).add().failure();
    let message = error["msg"].as_str().unwrap_or_default();
    assert!(
        message.contains("198.51.100.1"),
        "the message names the gateway: {error}"
    );
    before[1].assert_same(&Snapshot::of(&container, &[]), "after a failed ADD");
    only_the_network_remains(&before[0], &look(&host));
}

/// A namespace that cannot be opened or entered may be there all the same: DEL must not say that
/// the interface is gone, and free its address.
fn del_that_cannot_look() {
    for (lacks, says) in [
        ("ulimit -n 4; exec", "Too many open files"),
        ("exec setpriv --bounding-set=-sys_admin", "CAP_SYS_ADMIN"),
    ] {
        for config in [macvlan_config(), wrapped(macvlan_config())] {
            let (_fabric, host) = on_fabric(&config);
            let plugins = host.plugin_dir(Plugins::Slash24);
            let plugin = config["type"].as_str().expect("it has a type");
            let script = format!("#!/bin/sh\n{lacks} {}/{plugin}\n", plugins.display());
            host.write_program("/run/lacking/plugin", &script);
            let container = host.container("c");
            call(&container, &config).add().success();
            let error = Call::of(&host, Plugins::Slash24, "/run/lacking/plugin")
                .stdin(&config.to_string())
                .attach(&container, "eth0")
                .del()
                .failure();
            assert!(error.to_string().contains(says), "{error}");
            container.ping("10.1.2.1");
            let lease = host.read("/var/lib/cni/networks/n/10.1.2.2");
            assert_eq!(lease.as_deref(), Some("c\r\neth0"));
            call(&container, &config).del().success();
            assert!(container.link("eth0").is_none());
        }
    }
}

/// What is written on links holds 254 bytes, and names may have more.
fn long_names() {
    for length in [238, 239, 240, 241, 400] {
        let (_fabric, host) = on_fabric(&Value::Null);
        let before = look(&host);
        let container = host.container("c");
        let id = "c".repeat(length);
        for config in [guarded_config(), macvlan_config(), ptp_config()] {
            let call = call(&container, &config).env("CNI_CONTAINERID", &id);
            call.add().success();
            container.ping("10.1.2.1");
            call.del().success();
            assert!(container.link("eth0").is_none());
        }
        only_the_network_remains(&before, &look(&host));
    }
}

/// The reference writes leases in two steps; a crash between them leaves a file with nothing in it.
fn empty_lease_file() {
    let (_fabric, host) = on_fabric(&json!({"master": "eth0"}));
    host.write("/var/lib/cni/networks/n/10.1.2.2", "");
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({}));
    call(&container, &config).add().success();
    container.ping("10.1.2.1");
    call(&container, &config).del().success();
}
