//! Other people's plugins beside ours: as delegates, as callers, as predecessors and successors.

use std::fs;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, macvlan, merge, network};
use crate::remains::only_the_network_remains;
use crate::subject::{label, ours, wait_for_the_gateway};

const OURS: Plugins = Plugins::Slash24;
const DEBIANS: Plugins = Plugins::Debian;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = [
        ours("delegates/our-bridge-with-their-host-local", || {
            delegate_to_host_local(OURS, DEBIANS)
        }),
        ours("delegates/their-bridge-with-our-host-local", || {
            delegate_to_host_local(DEBIANS, OURS)
        }),
        ours("delegates/our-bridge-with-their-static", || {
            delegate_to_static("bridge")
        }),
        ours("delegates/our-macvlan-with-their-static", || {
            delegate_to_static("macvlan")
        }),
        ours("delegates/unusual-results", unusual_results),
        ours("delegates/that-give-nothing", delegates_that_give_nothing),
        ours("delegates/get-the-call-as-it-is", delegate_gets_the_call),
        ours(
            "delegates/in-process-and-by-exec-are-the-same",
            in_process_and_by_exec,
        ),
        ours(
            "delegates/macvlan-frees-the-address-after-the-link",
            link_before_address,
        ),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    for (first, second) in [(DEBIANS, OURS), (OURS, DEBIANS)] {
        for (kind, config) in [("bridge", bridge as Config), ("macvlan", macvlan as Config)] {
            let name = format!("takeover/{kind}/{}-then-{}", label(first), label(second));
            trials.push(trial(name, move || takeover(first, second, config)));
        }
    }
    trials
}

type Config = fn(Family, Value) -> Value;

fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    (fabric, host)
}

fn call<'h>(plugins: Plugins, container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), plugins, config).attach(container, "eth0")
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"])
}

fn lease(host: &Host, address: &str) -> Option<String> {
    host.read(&format!("/var/lib/cni/networks/n/{address}"))
}

fn delegate_to_host_local(main: Plugins, ipam: Plugins) {
    for version in ["0.2.0", "0.3.1", "0.4.0", "1.0.0"] {
        let (_fabric, host) = on_fabric();
        let container = host.container("c");
        let before = look(&host);
        let config = bridge(
            Family::Dual,
            json!({"cniVersion": version, "isDefaultGateway": true}),
        );
        let call = call(main, &container, &config).delegates(ipam);
        let result = call.add().success();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(lease(&host, "10.1.2.2").as_deref(), Some("c\r\neth0"));
        wait_for_the_gateway(main, &container, "fd00:1:2::1");
        container.ping("10.1.2.1");
        container.ping("fd00:1:2::1");
        if version >= "0.4.0" {
            let mut config = config.clone();
            config["prevResult"] = result;
            call.clone().stdin(&config.to_string()).check().success();
        }
        call.del().success();
        only_the_network_remains(&before, &look(&host));
    }
}

fn delegate_to_static(kind: &str) {
    let (_fabric, host) = on_fabric();
    let container = host.container("c");
    let ipam = json!({"type": "static", "addresses": [
        {"address": "10.1.2.77/24", "gateway": "10.1.2.1"},
        {"address": "fd00:1:2::77/64", "gateway": "fd00:1:2::1"},
    ], "routes": [{"dst": "0.0.0.0/0"}]});
    let config = if kind == "bridge" {
        bridge as Config
    } else {
        macvlan
    };
    let config = config(Family::Dual, json!({"ipam": ipam}));
    let call = call(OURS, &container, &config).delegates(DEBIANS);
    let result = call.add().success();
    assert_eq!(result["ips"][0]["address"], "10.1.2.77/24", "{result}");
    container.ping("10.1.2.1");
    container.ping("fd00:1:2::1");
    assert_eq!(
        container.routes("-4")[0]["gateway"],
        "10.1.2.1",
        "{:?}",
        container.routes("-4")
    );
    call.del().success();
    assert!(container.link("eth0").is_none());
}

/// An IPAM plugin that writes down how it was called and what it saw.
const SPY: &str = r#"#!/bin/sh
cat > /run/spy/$CNI_COMMAND.stdin
echo "the spy was told to $CNI_COMMAND" >&2
echo "$CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH" > /run/spy/$CNI_COMMAND.call
nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" > /run/spy/$CNI_COMMAND.link 2>&1
if [ $CNI_COMMAND = ADD ]; then
    echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.66/24", "gateway": "10.1.2.1"}]}'
fi
"#;

fn install_spy(host: &Host) {
    host.write_program("/run/spy/spy", SPY);
}

fn delegate_gets_the_call() {
    let host = Host::new("host");
    install_spy(&host);
    let container = host.container("c");
    let config = bridge(
        Family::V4,
        json!({"ipam": {"type": "spy", "own": {"key": [1, 2]}}}),
    );
    let call = call(OURS, &container, &config)
        .env("CNI_PATH", "/nowhere:/run/spy")
        .env("CNI_ARGS", "IgnoreUnknown=1;K=V");
    for (verb, outcome) in [("ADD", call.add()), ("DEL", call.del())] {
        outcome.success();
        let told = format!("the spy was told to {verb}\n");
        assert_eq!(outcome.stderr, told, "{verb}");
        let seen = host.read(&format!("/run/spy/{verb}.call"));
        let expected = "c /run/netns/c eth0 IgnoreUnknown=1;K=V /nowhere:/run/spy\n";
        assert_eq!(seen.as_deref(), Some(expected), "{verb}");
        let stdin = host
            .read(&format!("/run/spy/{verb}.stdin"))
            .expect("the spy was called");
        let seen: Value = serde_json::from_str(&stdin).expect("the configuration is JSON");
        assert_eq!(seen, config, "{verb}");
    }
}

/// An IPAM plugin that prints `result` for ADD.
fn install_printer(host: &Host, result: &str) {
    let script = format!(
        "#!/bin/sh\ncat > /dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\ncat <<'END'\n{result}\nEND\n"
    );
    host.write_program("/run/spy/printer", &script);
}

/// What the reference's bridge makes do with.
fn unusual_results() {
    for result in [
        // An interface that the bridge does not have, none at all, and -1 for none.
        r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.66/24", "interface": 7}]}"#,
        r#"{"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.2.66/24", "interface": -1, "gateway": ""}]}"#,
        // Another version, or none, and keys that nobody knows.
        r#"{"cniVersion": "0.2.0", "ip4": {"ip": "10.1.2.66/24"}, "more": {}}"#,
        r#"{"ips": [{"address": "10.1.2.66/24", "more": 1}], "interfaces": null, "routes": null, "dns": null}"#,
    ] {
        let host = Host::new("host");
        install_printer(&host, result);
        let container = host.container("c");
        for config in [
            bridge(Family::V4, json!({"ipam": {"type": "printer"}})),
            network(
                "tap",
                "1.0.0",
                Family::V4,
                json!({"ipam": {"type": "printer"}}),
            ),
        ] {
            let call = call(OURS, &container, &config).env("CNI_PATH", "/run/spy");
            let result = call.add().success();
            let index = result["ips"][0]["interface"].as_u64().expect("it is told");
            let index = usize::try_from(index).expect("it is small");
            assert_eq!(result["interfaces"][index]["name"], "eth0", "{result}");
            assert_eq!(container.addresses("eth0"), ["10.1.2.66/24"]);
            call.del().success();
        }
    }
}

fn delegates_that_give_nothing() {
    let host = Host::new("host");
    install_printer(&host, r#"{"cniVersion": "1.0.0"}"#);
    let container = host.container("c");
    for kind in ["bridge", "ptp", "tap"] {
        let config = network(
            kind,
            "1.0.0",
            Family::V4,
            json!({"ipam": {"type": "printer"}}),
        );
        let call = call(OURS, &container, &config).env("CNI_PATH", "/run/spy");
        let error = call.add().failure();
        let message = error["msg"].as_str().unwrap_or_default();
        assert!(message.contains("gave no address"), "{kind}: {error}");
        assert!(container.link("eth0").is_none(), "{kind}");
    }
}

/// An address that is free while its link still answers would be given to the next container.
fn link_before_address() {
    let (_fabric, host) = on_fabric();
    install_spy(&host);
    let container = host.container("c");
    let config = macvlan(Family::V4, json!({"ipam": {"type": "spy"}}));
    let call = call(OURS, &container, &config).env("CNI_PATH", "/run/spy");
    call.add().success();
    container.ping("10.1.2.1");
    call.del().success();
    let seen = host.read("/run/spy/DEL.link").expect("the spy was called");
    assert!(
        seen.contains("does not exist"),
        "at the time of the IPAM's DEL: {seen}"
    );
}

/// The same file by another name is called in the process, a copy of it by exec.
fn in_process_and_by_exec() {
    let host = Host::new("host");
    let own = host.plugin_dir(OURS);
    host.copy_program(&own.join("host-local"), "/run/copy/host-local");
    let container = host.container("c");
    for version in crate::network::VERSIONS {
        let mut config = bridge(Family::Dual, json!({"cniVersion": version}));
        config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"}]);
        let call = |path: &str| {
            call(OURS, &container, &config)
                .env("CNI_PATH", path)
                .env("CNI_ARGS", "IgnoreUnknown=1;MAC=02:00:00:00:00:77")
        };
        let outputs = [own.to_str().expect("/run/plugins"), "/run/copy"].map(|path| {
            let outcome = call(path).add();
            outcome.success();
            let leases = leases(&host);
            let gone = call(path).del();
            gone.success();
            host.run(|| fs::remove_dir_all("/var/lib/cni/networks"))
                .expect("there were leases");
            (outcome.stdout, leases, gone.stdout)
        });
        assert_eq!(outputs[0], outputs[1], "{version}");
        let refused = [own.to_str().expect("/run/plugins"), "/run/copy"].map(|path| {
            let args = "IgnoreUnknown=1;IP=192.0.2.1";
            let outcome = call(path).env("CNI_ARGS", args).add();
            outcome.failure();
            outcome.stdout
        });
        assert_eq!(refused[0], refused[1], "{version}");
    }
}

fn leases(host: &Host) -> Vec<String> {
    let all = look(host);
    all.keys()
        .filter(|key| key.contains(" /var/lib/cni"))
        .map(str::to_owned)
        .collect()
}

/// One implementation attaches; the other one comes to the running host, attaches beside it,
/// detaches what the first attached, and leaves a state with which the first can go on.
fn takeover(first: Plugins, second: Plugins, config: Config) {
    let (_fabric, host) = on_fabric();
    let config = config(Family::Dual, json!({}));
    let before = look(&host);
    let [one, two, three] = ["one", "two", "three"].map(|id| host.container(id));

    let result = call(first, &one, &config).add().success();
    assert_eq!(result["ips"][0]["address"], "10.1.2.2/24");
    let result = call(second, &two, &config).add().success();
    assert_eq!(
        result["ips"][0]["address"], "10.1.2.3/24",
        "the first one's lease is kept"
    );
    assert_eq!(result["ips"][1]["address"], "fd00:1:2::3/64");
    one.ping("10.1.2.3");
    two.ping("10.1.2.1");

    call(second, &one, &config).del().success();
    assert!(one.link("eth0").is_none());
    assert_eq!(lease(&host, "10.1.2.2"), None);
    assert_eq!(lease(&host, "fd00:1:2::2"), None);
    two.ping("10.1.2.1");

    let result = call(first, &three, &config).add().success();
    assert_eq!(
        result["ips"][0]["address"], "10.1.2.4/24",
        "the second one's last address is known"
    );
    three.ping("10.1.2.3");
    call(first, &two, &config).del().success();
    call(second, &three, &config).del().success();
    only_the_network_remains(&before, &look(&host));

    // An address that was asked for is found and freed by either.
    let mut wanted = config;
    merge(
        &mut wanted,
        json!({"args": {"cni": {"ips": ["10.1.2.99"]}}}),
    );
    merge(
        &mut wanted["ipam"],
        json!({"ranges": [[{"subnet": "10.1.2.0/24"}]]}),
    );
    for (adds, deletes) in [(first, second), (second, first)] {
        call(adds, &one, &wanted).add().success();
        assert_eq!(lease(&host, "10.1.2.99").as_deref(), Some("one\r\neth0"));
        call(deletes, &one, &wanted).del().success();
        assert_eq!(lease(&host, "10.1.2.99"), None);
    }
}
