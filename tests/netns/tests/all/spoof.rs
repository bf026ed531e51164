//! `macspoofchk`: frames with a hardware address that is not the container's do not enter the
//! bridge, and the guard goes with its container, however that ends.

use std::process::Command;

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use crate::network::{Family, VERSIONS, bridge, merge, with_previous};
use crate::remains::only_the_network_remains;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    let versions = VERSIONS.into_iter().flat_map(|version| {
        Family::ALL.into_iter().map(move |family| {
            let name = format!("spoof/{version}/{}/slash24", family.label());
            trial(name, move || spoofed_frames(version, family))
        })
    });
    [
        ours(
            "spoof/others-behind-the-container-are-not-heard",
            others_behind,
        ),
        ours("spoof/containers-without-it-are-not-touched", unguarded),
        ours("spoof/guards-go-with-their-containers", guards_go),
        ours("spoof/add-over-leftovers", over_leftovers),
        ours("spoof/add-over-leftovers-without-it", without_it),
        ours("spoof/del-by-another-type", del_by_ptp),
        ours("spoof/garbage", garbage),
        ours("spoof/check", check),
        ours("spoof/failed-add-leaves-none", failed_add),
        ours("spoof/many-at-once", many_at_once),
    ]
    .into_iter()
    .flatten()
    .chain(versions)
    .collect()
}

fn network(family: Family, keys: Value) -> Value {
    let mut config = bridge(family, json!({"cniVersion": "1.1.0", "macspoofchk": true}));
    merge(&mut config, keys);
    config
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn add(container: &Container<'_>, config: &Value) -> Value {
    call(container, config).add().success()
}

/// What `nft` says is in a set of the table `bridge slash24`; nothing if there is no such set.
fn elements(host: &Host, set: &str) -> Vec<Value> {
    let mut ruleset = host.ask("nft", "--json list ruleset bridge");
    let objects = ruleset["nftables"].take();
    let of_set = |object: &Value| {
        let content = &object["set"];
        let ours = content["table"] == "slash24" && content["name"] == set;
        ours.then(|| content["elem"].as_array().cloned().unwrap_or_default())
    };
    let objects = objects.as_array().into_iter().flatten();
    objects.filter_map(of_set).flatten().collect()
}

fn guards(host: &Host) -> usize {
    let (ports, senders) = (
        elements(host, "ports").len(),
        elements(host, "senders").len(),
    );
    assert_eq!(ports, senders, "each port has one sender");
    ports
}

fn spoofed_frames(version: &str, family: Family) {
    let host = Host::new("host");
    let container = host.container("c");
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let config = network(family, json!({"cniVersion": version}));
    let result = add(&container, &config);
    let gateway = family.gateways()[0];
    container.ping(gateway);
    let text = |args: &[&str]| {
        let output = host.run(|| Command::new("nft").args(args).output().unwrap());
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = text(&["list", "table", "bridge", "slash24"]);
    assert!(
        listed.contains("iifname @ports iifname . ether saddr != @senders drop"),
        "{listed}"
    );
    assert!(listed.contains("slash24 n c eth0"), "{listed}");

    // The host would learn the other address from the first frame.
    let mac = container.link("eth0").unwrap()["address"].clone();
    container.ip("link set eth0 address 02:00:00:00:00:99");
    assert!(!container.reaches(gateway), "a spoofed frame passes");
    container.ip(&format!("link set eth0 address {}", mac.as_str().unwrap()));
    container.ping(gateway);

    let previous = with_previous(&config, &result);
    call(&container, &previous).del().success();
    assert_eq!(guards(&host), 0);
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}

fn others_behind() {
    let host = Host::new("host");
    let [container, behind] = ["c", "behind"].map(|id| host.container(id));
    let attach = |guarded: bool| {
        add(
            &container,
            &network(Family::V4, json!({"macspoofchk": guarded})),
        );
        container.ip(&format!(
            "link add name v0 link eth0 type macvlan mode bridge\nlink set v0 netns {}",
            behind.netns().display()
        ));
        behind.ip("address add 10.1.2.50/24 dev v0\nlink set v0 up");
        behind.reaches("10.1.2.1")
    };
    assert!(
        !attach(true),
        "a second address behind the guarded port is heard"
    );
    container.ping("10.1.2.1");
    call(&container, &network(Family::V4, json!({})))
        .del()
        .success();
    assert!(attach(false), "without a guard it is");
}

fn unguarded() {
    let host = Host::new("host");
    let [guarded, free] = ["guarded", "free"].map(|id| host.container(id));
    add(&guarded, &network(Family::V4, json!({})));
    add(&free, &network(Family::V4, json!({"macspoofchk": false})));
    free.ip("link set eth0 address 02:00:00:00:00:99");
    free.ping("10.1.2.1");
    free.ping("10.1.2.2");
    assert_eq!(guards(&host), 1);
}

/// Every way in which a container ends.
fn guards_go() {
    let host = Host::new("host");
    let config = network(Family::V4, json!({}));
    type End = fn(Container<'_>, &Value, &Value);
    let ends: [(&str, End); 6] = [
        ("with everything", |container, config, result| {
            call(&container, &with_previous(config, result))
                .del()
                .success();
        }),
        ("without CNI_NETNS", |container, config, _| {
            call(&container, config)
                .without("CNI_NETNS")
                .del()
                .success();
        }),
        ("after its namespace", |container, config, _| {
            let del = call(&container, config);
            container.destroy();
            del.del().success();
        }),
        ("after its interface", |container, config, _| {
            container.ip("link delete eth0");
            call(&container, config).del().success();
        }),
        ("synchronously", |container, config, _| {
            let mut config = config.clone();
            merge(&mut config, json!({"asyncDelete": false}));
            call(&container, &config).del().success();
        }),
        ("after the key was changed", |container, config, _| {
            let mut config = config.clone();
            merge(&mut config, json!({"macspoofchk": false}));
            call(&container, &config).del().success();
        }),
    ];
    let neighbour = host.container("neighbour");
    add(&neighbour, &config);
    for (end, finish) in ends {
        let container = host.container("c");
        let result = add(&container, &config);
        assert_eq!(guards(&host), 2, "{end}");
        finish(container, &config, &result);
        assert_eq!(guards(&host), 1, "{end}");
    }
    // The other container's is untouched, and twice is no error.
    neighbour.ping("10.1.2.1");
    call(&neighbour, &config).del().success();
    call(&neighbour, &config).del().success();
    assert_eq!(guards(&host), 0);
}

/// What an ADD has left that was killed, with a hardware address that the next one does not have.
fn over_leftovers() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = network(Family::V4, json!({}));
    let mac = |mac: &str| {
        let mut config = config.clone();
        merge(&mut config, json!({"mac": mac}));
        config
    };
    add(&container, &mac("0a:00:00:00:00:01"));
    add(&container, &mac("0a:00:00:00:00:01"));
    add(&container, &mac("0a:00:00:00:00:02"));
    assert_eq!(guards(&host), 1);
    container.ping("10.1.2.1");
    container.ip("link set eth0 address 0a:00:00:00:00:01");
    assert!(
        !container.reaches("10.1.2.1"),
        "the old address may still send"
    );
}

/// A guard that stays would drop all that the next cable of the same name sends.
fn without_it() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = |guarded: bool, mac: &str| {
        let keys = json!({"macspoofchk": guarded, "mac": mac});
        network(Family::V4, keys)
    };
    for cut in [false, true] {
        add(&container, &config(true, "0a:00:00:00:00:01"));
        assert_eq!(guards(&host), 1);
        if cut {
            // Somebody has taken the container's end to another place.
            container.ip("link set eth0 name moved");
        }
        add(&container, &config(false, "0a:00:00:00:00:02"));
        assert_eq!(guards(&host), 0);
        container.ping("10.1.2.1");
    }
}

/// The network's type was changed while it had a container.
fn del_by_ptp() {
    let host = Host::new("host");
    let container = host.container("c");
    add(&container, &network(Family::V4, json!({})));
    let ptp = network(Family::V4, json!({"type": "ptp"}));
    call(&container, &ptp).del().success();
    assert_eq!(guards(&host), 0);
    let mut garbage = network(Family::V4, json!({}));
    add(&container, &garbage);
    merge(
        &mut garbage,
        json!({"type": "ptp", "cni.dev/valid-attachments": []}),
    );
    container.destroy();
    Call::new(&host, Plugins::Slash24, &garbage)
        .command("GC")
        .success();
    assert_eq!(guards(&host), 0);
}

fn garbage() {
    let host = Host::new("host");
    let [gone, lives, other] = ["gone", "lives", "other"].map(|id| host.container(id));
    let config = network(Family::V4, json!({}));
    let second = network(
        Family::V4,
        json!({"name": "n2", "bridge": "br2", "ipam": {"type": "host-local", "subnet": "10.9.9.0/24"}}),
    );
    add(&gone, &config);
    add(&lives, &config);
    add(&other, &second);
    gone.destroy();
    let mut gc = config.clone();
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "lives", "ifname": "eth0"}]);
    Call::new(&host, Plugins::Slash24, &gc)
        .command("GC")
        .success();
    assert_eq!(guards(&host), 2);
    let marks = json!(elements(&host, "ports")).to_string();
    assert!(
        marks.contains("n lives eth0") && marks.contains("n2 other eth0"),
        "{marks}"
    );
    lives.ping("10.1.2.1");
    gc["cni.dev/valid-attachments"] = json!([]);
    Call::new(&host, Plugins::Slash24, &gc)
        .command("GC")
        .success();
    assert_eq!(guards(&host), 1);
}

fn check() {
    let nft = |host: &Host, args: &[&str]| {
        assert!(host.run(|| Command::new("nft").args(args).status().unwrap().success()));
    };
    type Change = fn(&dyn Fn(&[&str]));
    let changes: [Change; 3] = [
        |nft| nft(&["flush", "set", "bridge", "slash24", "senders"]),
        |nft| nft(&["flush", "set", "bridge", "slash24", "ports"]),
        |nft| nft(&["delete", "table", "bridge", "slash24"]),
    ];
    for change in changes {
        let host = Host::new("host");
        let container = host.container("c");
        let config = network(Family::V4, json!({}));
        let result = add(&container, &config);
        let check = call(&container, &with_previous(&config, &result));
        check.check().success();
        change(&|args| nft(&host, args));
        let error = check.check().failure();
        assert_eq!(error["code"], 104, "{error}");
        let message = error["msg"].as_str().unwrap();
        assert!(
            message.contains("guard of port") && message.contains("found none"),
            "{error}"
        );
        // DEL does not mind.
        check.del().success();
        assert!(elements(&host, "ports").is_empty());
    }
}

/// The bridge has another gateway, which an IPAM plugin that is executed tells after the port has
/// been guarded.
fn failed_add() {
    let host = Host::new("host");
    let [first, container] = ["first", "c"].map(|id| host.container(id));
    add(&first, &network(Family::V4, json!({})));
    let other = network(
        Family::V4,
        json!({"cniVersion": "1.0.0", "name": "other",
               "ipam": {"type": "host-local", "subnet": "10.9.9.0/24"}}),
    );
    // Debian's host-local.
    call(&container, &other)
        .delegates(Plugins::Debian)
        .add()
        .failure();
    assert_eq!(guards(&host), 1);
}

/// The table does not exist yet, and all of them make it.
fn many_at_once() {
    const MANY: usize = 12;
    let host = Host::new("host");
    let config = network(Family::V4, json!({}));
    let containers: Vec<_> = (0..MANY)
        .map(|n| host.container(&format!("c{n}")))
        .collect();
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| add(container, &config));
        }
    });
    assert_eq!(guards(&host), MANY);
    let rules = host.ask("nft", "--json list chain bridge slash24 prerouting");
    let rules = rules["nftables"].as_array().into_iter().flatten();
    assert_eq!(rules.filter(|object| object["rule"].is_object()).count(), 1);
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| call(container, &config).del().success());
        }
    });
    assert_eq!(guards(&host), 0);
}
