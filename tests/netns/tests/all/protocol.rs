//! The protocol around ADD: no verb, VERSION, STATUS, GC, versions and environment.

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, VERSIONS, bridge, network};
use crate::remains::only_the_network_remains;
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("protocol/without-a-verb-it-tells-its-version", fingerprint),
        both("protocol/VERSION-lists-the-versions", version),
        both("protocol/without-cniVersion-it-is-0.1.0", unnamed_version),
        ours(
            "protocol/STATUS-is-silent-while-there-are-addresses",
            status,
        ),
        ours(
            "protocol/STATUS-fails-when-the-range-is-full",
            status_of_full_range,
        ),
        ours(
            "protocol/ADD-that-nobody-hears-of-leaves-nothing",
            unheard_of,
        ),
        ours("protocol/GC-without-a-list-does-nothing", || {
            garbage(None, 2)
        }),
        ours("protocol/GC-with-an-empty-list-frees-all", || {
            garbage(Some(json!([])), 0)
        }),
        ours("protocol/GC-frees-what-is-not-listed", || {
            garbage(Some(json!([{"containerID": "one", "ifname": "eth0"}])), 1);
        }),
        ours(
            "protocol/CHECK-finds-what-is-gone",
            check_finds_what_is_gone,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A result that cannot be printed is none, and what fails must leave nothing; nor may an error
/// that cannot be printed keep anything.
fn unheard_of() {
    let host = Host::new("host");
    let plugins = host.plugin_dir(Plugins::Slash24);
    let script = format!(
        "#!/bin/sh\nexec {}/bridge > /dev/full 2>&1\n",
        plugins.display()
    );
    host.write_program("/run/deaf/bridge", &script);
    let container = host.container("c");
    let wrong_route = json!([{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]);
    for routes in [json!([]), wrong_route] {
        let mut config = bridge(Family::Dual, json!({"macspoofchk": true}));
        config["ipam"]["routes"] = routes;
        let look = || {
            [
                Snapshot::of(&host, &["/var/lib/cni"]),
                Snapshot::of(&container, &[]),
            ]
        };
        let before = look();
        let add = Call::of(&host, Plugins::Slash24, "/run/deaf/bridge")
            .stdin(&config.to_string())
            .attach(&container, "eth0")
            .add();
        assert_eq!(add.code, Some(1), "{add:#?}");
        let after = look();
        only_the_network_remains(&before[0], &after[0]);
        before[1].assert_same(&after[1], "in the container");
    }
}

/// As Nomad asks for the version: it takes the first word of the output that is one.
fn fingerprint(plugins: Plugins) {
    let host = Host::new("host");
    for name in ["bridge", "macvlan", "loopback", "host-local"] {
        let outcome = Call::of(&host, plugins, name).without("CNI_PATH").execute();
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains(name), "{name} tells its name: {said}");
        assert!(
            said.split_whitespace().any(is_version),
            "{name} tells its version: {said}"
        );
        for version in VERSIONS
            .into_iter()
            .filter(|it| *it <= crate::subject::newest(plugins))
        {
            assert!(said.contains(version), "{name} speaks {version}: {said}");
        }
    }
}

fn is_version(word: &str) -> bool {
    let numbers: Vec<&str> = word.trim_start_matches('v').split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok())
}

fn version(plugins: Plugins) {
    let host = Host::new("host");
    for name in ["bridge", "macvlan", "loopback", "host-local"] {
        let answer = Call::of(&host, plugins, name)
            .stdin("{}")
            .command("VERSION")
            .success();
        let newest = crate::subject::newest(plugins);
        let spoken: Vec<&str> = VERSIONS.into_iter().filter(|it| *it <= newest).collect();
        assert_eq!(
            answer["supportedVersions"],
            json!(spoken),
            "{name}: {answer}"
        );
    }
}

fn unnamed_version(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let config = bridge(Family::V4, json!({"cniVersion": null}));
    let call = Call::new(&host, plugins, &config).attach(&container, "eth0");
    let result = call.add().success();
    assert_eq!(result["cniVersion"], "0.1.0", "{result}");
    assert_eq!(result["ip4"]["ip"], "10.1.2.2/24", "{result}");
}

fn status_config(subnet: &str) -> Value {
    let mut config = network("bridge", "1.1.0", Family::V4, json!({"bridge": "br0"}));
    config["ipam"]["ranges"] = json!([[{"subnet": subnet}]]);
    config
}

fn status() {
    let host = Host::new("host");
    let config = status_config("10.1.2.0/24");
    for name in ["bridge", "host-local"] {
        let status = Call::of(&host, Plugins::Slash24, name).stdin(&config.to_string());
        assert_eq!(status.command("STATUS").success(), Value::Null, "{name}");
    }
}

/// A /30 has one address besides the gateway's.
fn status_of_full_range() {
    let host = Host::new("host");
    let config = status_config("10.1.2.0/30");
    let container = host.container("c");
    let call = Call::new(&host, Plugins::Slash24, &config);
    call.clone().attach(&container, "eth0").add().success();
    assert_eq!(call.command("STATUS").failure()["code"], 50);
}

/// Two containers have leases, the runtime names those that it knows.
fn garbage(valid: Option<Value>, left: usize) {
    let host = Host::new("host");
    let mut config = bridge(Family::V4, json!({"cniVersion": "1.1.0"}));
    for id in ["one", "two"] {
        let container = host.container(id);
        Call::new(&host, Plugins::Slash24, &config)
            .attach(&container, "eth0")
            .add()
            .success();
        // Its namespace ends here, and no DEL comes.
    }
    if let Some(valid) = valid {
        config["cni.dev/valid-attachments"] = valid;
    }
    Call::new(&host, Plugins::Slash24, &config)
        .command("GC")
        .success();
    let leases = ["10.1.2.2", "10.1.2.3"]
        .map(|address| host.read(&format!("/var/lib/cni/networks/n/{address}")));
    assert_eq!(leases.iter().flatten().count(), left, "{leases:?}");
    if left == 1 {
        assert_eq!(leases[0].as_deref(), Some("one\r\neth0"));
    }
}

fn check_finds_what_is_gone() {
    let host = Host::new("host");
    let config = bridge(
        Family::Dual,
        json!({"cniVersion": "1.1.0", "isDefaultGateway": true}),
    );
    let spoilt = [
        ("link delete eth0", "eth0"),
        ("address delete 10.1.2.2/24 dev eth0", "10.1.2.2"),
        ("route delete ::/0", "::/0"),
        ("link set eth0 down", "eth0"),
    ];
    for (number, (damage, named)) in spoilt.into_iter().enumerate() {
        let container = host.container(&format!("c{number}"));
        let mut config = config.clone();
        config["name"] = format!("n{number}").into();
        let call = Call::new(&host, Plugins::Slash24, &config).attach(&container, "eth0");
        config["prevResult"] = call.add().success();
        let call = call.stdin(&config.to_string());
        call.check().success();
        container.ip(damage);
        let error = call.check().failure();
        let message = format!("{}{}", error["msg"], error["details"]);
        assert!(
            message.contains(named),
            "after {damage:?} the message names {named}: {error}"
        );
        call.del().success();
    }
}
