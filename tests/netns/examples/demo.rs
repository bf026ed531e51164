//! The main job, to watch: two hosts on a fabric, a task's container on two networks on each,
//! addresses that name rack and slot, packets across hosts, and nothing left afterwards.
//!
//! It uses the files in `conf-examples/` as they are, and the `slash24` command as an operator
//! would. The hosts are namespaces that only exist while this runs; see the `netns` library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a demonstration shows what fails by failing"
)]

use std::path::Path;
use std::process::{Command, ExitCode};

use netns::{Container, Fabric, Host, Namespace, Plugins, Snapshot};
use serde_json::Value;

const FRONTEND: &str = include_str!("../../../conf-examples/frontend.conf");
const BACKEND: &str = include_str!("../../../conf-examples/backend.conf");
const TASK: &str = include_str!("../../../conf-examples/task.json");
const TASK_FILE: &str = "/etc/slash24/task.json";
/// Where a host keeps what an attachment must not leave behind.
const STATE: [&str; 1] = ["/var/lib/cni"];

fn main() -> ExitCode {
    netns::become_root();
    let fabric = Fabric::new();
    fabric.router(&["192.0.2.1/24", "2001:db8::1/64"]);
    let hosts = [(20, 11), (21, 12)].map(|(rack, slot)| machine(&fabric, rack, slot));
    let containers = [0, 1].map(|at| hosts[at].container(["web-a", "web-b"][at]));

    title(
        "Two hosts stand in racks 20 and 21, slots 11 and 12. Each runs a task whose document says",
    );
    println!("{TASK}");
    let before = containers.each_ref().map(remains);
    for container in &containers {
        let output = slash24(container, "attach");
        print!("{output}");
    }

    title("What came to be");
    for (host, container) in hosts.iter().zip(&containers) {
        draw(host, container);
    }

    title("Packets between the hosts");
    let reached = packets(&containers);

    title("Detached");
    for container in &containers {
        slash24(container, "detach");
    }
    let mut clean = true;
    for (container, before) in containers.iter().zip(&before) {
        clean &= report_remains(container, before);
    }
    if reached && clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A host in its place, plugged into the fabric, which routes the host's subnets to it.
fn machine(fabric: &Fabric, rack: u8, slot: u8) -> Host {
    let host = Host::new(&format!("r{rack}-s{slot}"));
    let (v4, v6) = (format!("192.0.2.{slot}"), format!("2001:db8::{slot:x}"));
    fabric.join(&host, "eth0", &[&format!("{v4}/24"), &format!("{v6}/64")]);
    fabric.router(&[&format!("172.{rack}.{slot}.1/24")]);
    fabric.route(&format!("10.{rack}.{slot}.0/24"), &v4);
    fabric.route(&format!("fd00:24:{rack:x}:{slot:x}::/64"), &v6);
    host.default_route(&["192.0.2.1"]);
    host.default_route(&["2001:db8::1"]);
    host.write(
        "/etc/slash24/location.json",
        &format!("{{\"rack\": {rack}, \"slot\": {slot}}}"),
    );
    host.write("/etc/cni/net.d/frontend.conf", FRONTEND);
    host.write("/etc/cni/net.d/backend.conf", BACKEND);
    host.write(TASK_FILE, TASK);
    host
}

/// Runs the command on the container's host and returns what it printed.
fn slash24(container: &Container<'_>, verb: &str) -> String {
    let plugins = container.host().plugin_dir(Plugins::Slash24);
    let netns = container.netns();
    let arguments = [
        verb,
        "--netns",
        netns.to_str().expect("a path of ours"),
        "--id",
        container.id(),
        "--plugin-dir",
        plugins.to_str().expect("a path of ours"),
        "--output",
        "table",
        TASK_FILE,
    ];
    println!(
        "{}$ slash24 {}",
        container.host().name(),
        arguments.join(" ")
    );
    let program = Path::new(&plugins).join("slash24");
    let output = container
        .host()
        .run(|| Command::new(program).args(arguments).output());
    let output = output.expect("the command can be executed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Draws a host and its container as the kernel has them.
fn draw(host: &Host, container: &Container<'_>) {
    println!("\n  {}", host.name());
    for link in ["eth0", "back0"] {
        println!("  ├─ {link:<6} {}", host.addresses(link).join("  "));
    }
    println!("  └─ container {}", container.id());
    for (link, peer) in [
        ("eth0", "macvlan on eth0"),
        ("eth1", "veth, a port of back0"),
    ] {
        println!(
            "     ├─ {link}   {:<44} {peer}",
            container.addresses(link).join("  ")
        );
        for family in ["-4", "-6"] {
            for route in container
                .routes(family)
                .iter()
                .filter(|route| route["dev"] == link)
            {
                println!("     │     {}", describe(route));
            }
        }
    }
}

fn describe(route: &Value) -> String {
    let to = route["dst"].as_str().unwrap_or_default();
    match route["gateway"].as_str() {
        Some(gateway) => format!("{to} via {gateway}"),
        None => format!("{to} on the link"),
    }
}

/// Pings the other host's container on each network, by the interface on it.
fn packets(containers: &[Container<'_>; 2]) -> bool {
    let [from, to] = containers;
    let mut all = true;
    for (network, link) in [("frontend", "eth0"), ("backend", "eth1")] {
        for address in to.addresses(link) {
            let address = address.split('/').next().unwrap_or_default().to_owned();
            if address.starts_with("fe80") {
                continue;
            }
            let reached = from.reaches(&address);
            all &= reached;
            let answer = if reached {
                "answers"
            } else {
                "DOES NOT ANSWER"
            };
            println!("  {network:<9} {} → {address:<18} {answer}", from.id());
        }
    }
    all
}

/// What an attachment could leave behind: on the host and in the container.
fn remains(container: &Container<'_>) -> [Snapshot; 2] {
    [
        Snapshot::of(container.host(), &STATE),
        Snapshot::of(container, &[]),
    ]
}

/// Compares with before: links, leases and cached results on the host, and all there is in the
/// container. The bridge is not the container's but the host's, and stays for the next one.
fn report_remains(container: &Container<'_>, before: &[Snapshot; 2]) -> bool {
    let [host_before, inside_before] = before;
    let [host_after, inside_after] = remains(container);
    let inside = inside_before.diff(&inside_after);
    let new = |key: &&str| !host_before.keys().any(|old| old == *key);
    let left: Vec<_> = host_after
        .keys()
        .filter(new)
        .filter(|key| is_of_attachment(key))
        .collect();
    let (id, host) = (container.id(), container.host().name());
    println!("  {id}: left in the container: {}", or_nothing(&inside));
    println!("  {id}: left on {host}: {}", or_nothing(&left.join(", ")));
    println!(
        "  {host} keeps back0 {} for its next container",
        container.host().addresses("back0").join("  ")
    );
    inside.is_empty() && left.is_empty()
}

/// Whether a thing on the host was made for one attachment. The files by which host-local takes
/// turns are the network's.
fn is_of_attachment(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    let index = key.contains("/.slash24/") && name == "index";
    let takes_turns = name == "lock" || name.starts_with("last_reserved_ip.") || index;
    (key.starts_with("link ") && key != "link back0") || (key.starts_with("file ") && !takes_turns)
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

fn title(text: &str) {
    println!("\n── {text}");
}
