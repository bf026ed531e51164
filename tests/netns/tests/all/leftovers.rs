//! Detaching whatever is left, and attaching over it: DEL in every state in which runtimes send it,
//! and ADD after a plugin was killed.

use std::thread::sleep;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan, network, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    let kinds = [
        ("bridge", bridge_config as fn() -> Value),
        ("guarded-bridge", guarded_config),
        ("macvlan", macvlan_config),
        ("macvlan-with-host-access", accessible_config),
        ("ptp", ptp_config),
        ("wrapped-bridge", wrapped_config),
    ];
    let of_each = kinds.into_iter().flat_map(|(kind, config)| {
        let name = move |what: &str| format!("leftovers/{kind}/{what}/slash24");
        vec![
            trial(name("add-after-kill"), move || {
                add_after_kill(&config(), false)
            }),
            trial(name("del-and-add-after-kill"), move || {
                add_after_kill(&config(), true)
            }),
            trial(name("del-after-a-killed-del"), move || {
                del_after_kill(&config())
            }),
            trial(name("del-twice"), move || del_twice(&config())),
            trial(name("del-without-netns"), move || {
                del_without_netns(&config())
            }),
            trial(name("del-with-a-netns-that-is-gone"), move || {
                del_netns_gone(&config())
            }),
            trial(name("del-with-a-netns-that-is-reused"), move || {
                del_netns_reused(&config())
            }),
            trial(name("del-after-the-interface"), move || {
                del_after_the_interface(&config())
            }),
            trial(name("del-after-another-mac"), move || {
                del_after_another_mac(&config())
            }),
            trial(name("del-is-not-for-anothers-interface"), move || {
                del_of_anothers(&config())
            }),
            trial(name("del-of-what-never-was"), move || {
                del_of_what_never_was(&config())
            }),
            trial(name("failed-add-leaves-nothing"), move || {
                failed_add(&config())
            }),
        ]
    });
    [
        both(
            "leftovers/bridge/del-without-prevResult",
            del_without_previous,
        ),
        ours("leftovers/names-that-are-long", long_names),
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
    json!({"cniVersion": "1.1.0", "name": inner["name"], "type": "default-route",
        "defaultRoute": true, "delegate": inner})
}

fn macvlan_config() -> Value {
    macvlan(Family::Dual, json!({"cniVersion": "1.1.0"}))
}

fn accessible_config() -> Value {
    let mut config = macvlan_config();
    config["hostAccess"] = json!(true);
    config
}

fn ptp_config() -> Value {
    network("ptp", "1.1.0", Family::Dual, json!({"ipMasq": true}))
}

fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    (fabric, host)
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"])
}

/// Kills ADD at many moments of its life. What it left must not be in the way of the next one.
fn add_after_kill(config: &Value, del_first: bool) {
    const MOMENTS: u32 = 24;
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    let whole = call(&container, config).add();
    whole.success();
    call(&container, config).del().success();
    for moment in 0..MOMENTS {
        let add = call(&container, config).env("CNI_COMMAND", "ADD");
        let mut victim = add.start();
        sleep(whole.took * moment / MOMENTS);
        victim.kill().expect("it is our child");
        victim.wait().expect("it is our child");
        if del_first {
            call(&container, config).del().success();
        }
        let result = call(&container, config).add().success();
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{result}");
        container.ping("10.1.2.1");
        call(&container, config).del().success();
        assert!(container.link("eth0").is_none());
    }
    host.wait_until("the last veth is gone", || {
        !look(&host).keys().any(|key| key.starts_with("link veth"))
    });
    only_the_network_remains(&before, &look(&host));
}

/// Kills DEL at many moments of its life. The next one finishes what it began.
fn del_after_kill(config: &Value) {
    const MOMENTS: u32 = 12;
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    call(&container, config).add().success();
    let whole = call(&container, config).del();
    whole.success();
    for moment in 0..MOMENTS {
        call(&container, config).add().success();
        let mut victim = call(&container, config).env("CNI_COMMAND", "DEL").start();
        sleep(whole.took * moment / MOMENTS);
        victim.kill().expect("it is our child");
        victim.wait().expect("it is our child");
        call(&container, config).del().success();
        assert!(container.link("eth0").is_none());
        only_the_network_remains(&before, &look(&host));
    }
}

fn del_twice(config: &Value) {
    let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
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
fn del_netns_reused(config: &Value) {
    for with_result in [true, false] {
        let (_fabric, host) = on_fabric();
        let dead = host.container("path");
        let add_dead = call(&dead, config).env("CNI_CONTAINERID", "dead");
        let result = add_dead.add().success();
        dead.destroy();

        let living = host.container("path");
        let add_living = call(&living, config).env("CNI_CONTAINERID", "living");
        add_living.add().success();
        // The kernel adds the local route of an IPv6 address a moment later.
        living.ping("10.1.2.1");
        living.ping("fd00:1:2::1");
        let before = Snapshot::of(&living, &[]);

        let config = if with_result {
            with_previous(config, &result)
        } else {
            config.clone()
        };
        add_dead.stdin(&config.to_string()).del().success();
        before.assert_same(
            &Snapshot::of(&living, &[]),
            "after DEL of the dead container",
        );
        living.ping("10.1.2.1");
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
    let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    container.ip("link add eth0 type bridge");
    call(&container, config).add().failure();
    let before = [look(&host), Snapshot::of(&container, &[])];
    call(&container, config).del().success();
    before[1].assert_same(&Snapshot::of(&container, &[]), "after DEL");
    call(&container, config)
        .env("CNI_IFNAME", "lo")
        .del()
        .success();
    only_the_network_remains(&before[0], &look(&host));
}

fn del_of_what_never_was(config: &Value) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    call(&container, config).del().success();
    only_the_network_remains(&before, &look(&host));
}

/// An ADD that fails halfway takes back what it did: here the kernel refuses a route, after the link
/// was made and the address was given.
fn failed_add(config: &Value) {
    let (_fabric, host) = on_fabric();
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

/// What is written on links holds 254 bytes, and names may have more.
fn long_names() {
    for length in [238, 239, 240, 241, 400] {
        let (_fabric, host) = on_fabric();
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
    let (_fabric, host) = on_fabric();
    host.write("/var/lib/cni/networks/n/10.1.2.2", "");
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({}));
    call(&container, &config).add().success();
    container.ping("10.1.2.1");
    call(&container, &config).del().success();
}
