//! `slash24 attach`, `check` and `detach`: a task on its networks, or on none.

use std::path::Path;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Outcome, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, host_local, macvlan};
use crate::remains::only_the_network_remains;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("attach/two-networks-in-the-order-of-the-list", two_networks),
        ours("attach/all-or-nothing", all_or_nothing),
        ours("attach/an-unknown-network-names-the-known", unknown_network),
        ours("attach/the-same-address-again", same_address_again),
        ours("attach/address-for-their-static", address_for_static),
        ours("attach/networks-of-foreign-plugins", foreign_plugin),
        ours("attach/check-finds-what-is-gone", check_finds_what_is_gone),
        ours(
            "attach/detach-with-another-configuration",
            detach_with_another_configuration,
        ),
        ours("attach/twenty-tasks-at-once", twenty_tasks),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const CONFIGURATIONS: &str = "/etc/cni/net.d";

/// A host on a segment, with a front end and a back end.
fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    let back_end = json!({
        "cniVersion": "1.1.0", "name": "backend", "bridge": "br0",
        "ipam": host_local(&["10.2.0.0/24", "fd00:2::/64"]),
    });
    offer(
        &host,
        &macvlan(
            Family::V4,
            json!({"cniVersion": "1.1.0", "name": "frontend"}),
        ),
    );
    offer(&host, &bridge(Family::V4, back_end));
    (fabric, host)
}

/// Writes a network's configuration where runtimes look for it.
fn offer(host: &Host, config: &Value) {
    let name = config["name"].as_str().expect("a network has a name");
    host.write(
        &format!("{CONFIGURATIONS}/{name}.conf"),
        &config.to_string(),
    );
}

/// A task on networks, each a name or an entry of the document.
fn task(networks: Value) -> Value {
    json!({"name": "web", "container": {"network": networks}})
}

fn command(verb: &str, container: &Container<'_>, task: &Value) -> Outcome {
    let host = container.host();
    let file = format!("/run/{}.json", container.id());
    host.write(&file, &task.to_string());
    let netns = container.netns().display().to_string();
    let directories = [Plugins::Slash24, Plugins::Debian].map(|plugins| host.plugin_dir(plugins));
    let call = Call::of(host, Plugins::Slash24, "slash24").without("CNI_PATH");
    call.arguments([verb, "--netns", &netns, "--id", container.id(), &file])
        .arguments(
            directories
                .iter()
                .flat_map(|it| [Path::new("--plugin-dir"), it.as_path()]),
        )
        .execute()
}

fn succeed(verb: &str, container: &Container<'_>, task: &Value) -> Outcome {
    let outcome = command(verb, container, task);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    outcome
}

/// What a person reads of a command that must have failed.
fn fail(verb: &str, container: &Container<'_>, task: &Value) -> String {
    let outcome = command(verb, container, task);
    assert!(
        outcome.code.is_some_and(|code| code != 0),
        "it should fail: {outcome:#?}"
    );
    format!("{}{}", outcome.stdout, outcome.stderr)
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"]).without(|key| key.contains("/var/lib/cni/cache"))
}

fn two_networks() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    let task = task(json!([{"name": "frontend"}, {"name": "backend"}]));
    let printed = succeed("attach", &container, &task).json();
    let text = printed.to_string();
    for told in [
        "frontend",
        "backend",
        "eth0",
        "eth1",
        "10.1.2.2/24",
        "10.2.0.2/24",
    ] {
        assert!(text.contains(told), "{told} is not in {printed:#}");
    }
    assert_eq!(container.addresses("eth0"), ["10.1.2.2/24"]);
    assert_eq!(container.addresses("eth1"), ["10.2.0.2/24", "fd00:2::2/64"]);
    for gateway in ["10.1.2.1", "10.2.0.1", "fd00:2::1"] {
        container.ping(gateway);
    }
    succeed("check", &container, &task);
    succeed("detach", &container, &task);
    assert!(container.link("eth0").is_none() && container.link("eth1").is_none());
    only_the_network_remains(&before, &look(&host));
    succeed("detach", &container, &task);
}

fn all_or_nothing() {
    let (_fabric, host) = on_fabric();
    offer(
        &host,
        &macvlan(Family::V4, json!({"name": "broken", "master": "eth9"})),
    );
    let container = host.container("c");
    let before = look(&host);
    let networks = json!([{"name": "frontend"}, {"name": "backend"}, {"name": "broken"}]);
    let said = fail("attach", &container, &task(networks));
    assert!(
        said.contains("broken") && said.contains("eth9"),
        "which network, and why: {said}"
    );
    for interface in ["eth0", "eth1", "eth2"] {
        assert!(
            container.link(interface).is_none(),
            "{interface} is still there"
        );
    }
    only_the_network_remains(&before, &look(&host));
}

fn unknown_network() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    let said = fail(
        "attach",
        &container,
        &task(json!([{"name": "backend"}, {"name": "storage"}])),
    );
    for told in ["storage", "frontend", "backend"] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
    before.assert_same(&look(&host), "after a task that cannot be planned");
}

fn same_address_again() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let address = json!([{"ip": "10.2.0.77", "protocol": "IPv4"}]);
    let task = task(json!([{"name": "backend", "ipaddress": address}]));
    for _ in 0..2 {
        succeed("attach", &container, &task);
        let addresses = container.addresses("eth0");
        assert!(
            addresses.contains(&"10.2.0.77/24".to_owned()),
            "{addresses:?}"
        );
        container.ping("10.2.0.1");
        succeed("detach", &container, &task);
    }
}

/// Each IPAM plugin reads requested addresses in its own way; the task's document has one.
fn address_for_static() {
    let (_fabric, host) = on_fabric();
    let ipam = json!({"type": "static", "addresses": [{"address": "10.1.2.5/24"}]});
    offer(
        &host,
        &macvlan(Family::V4, json!({"name": "fixed", "ipam": ipam})),
    );
    let container = host.container("c");
    let address = json!([{"ip": "10.1.2.99", "protocol": "IPv4"}]);
    let task = task(json!([{"name": "fixed", "ipaddress": address}]));
    succeed("attach", &container, &task);
    assert_eq!(container.addresses("eth0"), ["10.1.2.99/24"]);
    container.ping("10.1.2.1");
    succeed("detach", &container, &task);
}

fn foreign_plugin() {
    let (_fabric, host) = on_fabric();
    let ipam = host_local(&["10.5.0.0/24"]);
    offer(
        &host,
        &json!({"cniVersion": "1.0.0", "name": "theirs", "type": "ptp", "ipam": ipam}),
    );
    let container = host.container("c");
    let task = task(json!([{"name": "backend"}, {"name": "theirs"}]));
    succeed("attach", &container, &task);
    assert_eq!(container.addresses("eth1"), ["10.5.0.2/24"]);
    container.ping("10.5.0.1");
    container.ping("10.2.0.1");
    succeed("check", &container, &task);
    succeed("detach", &container, &task);
    assert!(container.link("eth1").is_none());
}

fn check_finds_what_is_gone() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let task = task(json!([{"name": "frontend"}, {"name": "backend"}]));
    let said = fail("check", &container, &task);
    assert!(said.contains("frontend"), "it was never attached: {said}");
    succeed("attach", &container, &task);
    container.ip("link delete eth1");
    let said = fail("check", &container, &task);
    assert!(said.contains("backend") && said.contains("eth1"), "{said}");
    succeed("detach", &container, &task);
}

/// What was attached is detached as it was attached, whatever the files say by then.
fn detach_with_another_configuration() {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let before = look(&host);
    let task = task(json!([{"name": "backend"}]));
    succeed("attach", &container, &task);
    offer(
        &host,
        &macvlan(Family::V4, json!({"name": "backend", "master": "eth9"})),
    );
    succeed("detach", &container, &task);
    assert!(container.link("eth0").is_none());
    let changed = |key: &str| key.contains("/etc/cni");
    only_the_network_remains(&before, &look(&host).without(changed));
}

fn twenty_tasks() {
    let (_fabric, host) = on_fabric();
    let before = look(&host);
    let task = task(json!([{"name": "frontend"}, {"name": "backend"}]));
    let ids: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let containers: Vec<Container<'_>> = ids.iter().map(|id| host.container(id)).collect();
    for verb in ["attach", "detach"] {
        std::thread::scope(|scope| {
            for container in &containers {
                scope.spawn(|| succeed(verb, container, &task));
            }
        });
        for container in containers.iter().filter(|_| verb == "attach") {
            container.ping("10.1.2.1");
            container.ping("10.2.0.1");
        }
    }
    only_the_network_remains(&before, &look(&host));
}
