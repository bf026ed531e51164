//! Many calls at once: runtimes attach the networks of a container, and containers, concurrently.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Outcome, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, host_local, macvlan, network};
use crate::remains::only_the_network_remains;
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("concurrency/twenty-adds-make-one-bridge", || {
            twenty_at_once(bridge)
        }),
        ours("concurrency/twenty-macvlans-on-one-master", || {
            twenty_at_once(macvlan)
        }),
        both(
            "concurrency/networks-of-one-container-in-every-order",
            every_order,
        ),
        ours(
            "concurrency/default-routes-do-not-depend-on-the-order",
            default_routes,
        ),
        both(
            "concurrency/twenty-networks-of-one-container",
            twenty_networks,
        ),
        ours("concurrency/add-and-del-side-by-side", add_and_del),
        ours("concurrency/five-hundred-on-one-bridge", five_hundred),
        ours("concurrency/one-attachment-by-many", one_by_many),
        ours("concurrency/one-route-of-many-networks", one_route),
    ]
    .into_iter()
    .flatten()
    .collect()
}

type Config = fn(Family, Value) -> Value;

/// Networks that lead to the same place, on interfaces with any names: all are attached, and in
/// whatever order, the same one serves.
fn one_route() {
    const NAMES: [&str; 5] = ["net1", "front", "eth1", "back", "eth0"];
    const DESTINATIONS: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];
    let host = Host::new("host");
    for rotation in 0..NAMES.len() {
        let container = host.container("c");
        let attach = |interface: &str| {
            let number = NAMES.iter().position(|name| *name == interface);
            let number = number.expect("it is one of them");
            let name = format!("n{number}");
            let mut ipam = host_local(&[
                &format!("10.7.{number}.0/24"),
                &format!("fd00:7:{number}::/64"),
            ]);
            ipam["routes"] = DESTINATIONS.map(|to| json!({"dst": to})).as_slice().into();
            let config = bridge(
                Family::V4,
                json!({"name": name, "bridge": name, "ipam": ipam}),
            );
            Call::new(&host, Plugins::Slash24, &config).attach(&container, interface)
        };
        let mut names = NAMES;
        names.rotate_left(rotation);
        for name in names {
            attach(name).add().success();
        }
        for (family, to) in [("-4", DESTINATIONS[0]), ("-6", DESTINATIONS[1])] {
            let mut routes = container.routes(family);
            routes.retain(|route| route["dst"] == to);
            assert_eq!(routes.len(), NAMES.len(), "{routes:?}");
            routes.sort_by_key(|route| route["metric"].as_u64());
            let order: Vec<_> = routes.iter().map(|route| &route["dev"]).collect();
            assert_eq!(order[..3], ["eth0", "eth1", "front"], "from {}", names[0]);
        }
        for name in names {
            attach(name).del().success();
        }
    }
}

/// A runtime that was started anew may attach while the plugin that it started before is still at
/// work: none may take away what another has said it made.
fn one_by_many() {
    const TIMES: usize = 4;
    let ptp = |family, keys| network("ptp", "1.0.0", family, keys);
    for config in [bridge as Config, macvlan, ptp] {
        let (_fabric, host) = on_fabric();
        let container = host.container("c");
        let before = Snapshot::of(&host, &["/var/lib/cni"]);
        let config = config(Family::Dual, json!({}));
        let call = || Call::new(&host, Plugins::Slash24, &config).attach(&container, "eth0");
        let lease = |address: &str| host.read(&format!("/var/lib/cni/networks/n/{address}"));
        for _ in 0..TIMES {
            let calls: Vec<_> = (0..TIMES).map(|_| call()).collect();
            let results = at_once(&calls, "ADD");
            for result in &results {
                assert_eq!(result.success()["ips"], results[0].success()["ips"]);
            }
            let addresses = container.addresses("eth0");
            assert_eq!(addresses.len(), 2, "{addresses:?}");
            for address in addresses {
                let (address, _) = address.split_once('/').expect("it has a length");
                assert_eq!(lease(address).as_deref(), Some("c\r\neth0"), "{address}");
            }
            // DEL beside ADD: whoever is last, what there is is whole.
            let outcomes = thread::scope(|scope| {
                let adds = scope.spawn(|| at_once(&calls[..2], "ADD"));
                let dels = scope.spawn(|| at_once(&calls[..2], "DEL"));
                [adds, dels].map(|calls| calls.join().expect("calls do not panic"))
            });
            outcomes.iter().flatten().for_each(|outcome| {
                outcome.success();
            });
            for address in container.addresses("eth0") {
                let (address, _) = address.split_once('/').expect("it has a length");
                assert!(lease(address).is_some(), "{address}");
            }
            call().del().success();
            assert!(container.link("eth0").is_none());
            only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
        }
    }
}

fn on_fabric() -> (Fabric, Host) {
    let (fabric, host) = (Fabric::new(), Host::new("host"));
    fabric.router(&ROUTER);
    fabric.join(&host, "eth0", &[]);
    (fabric, host)
}

/// Starts all calls before it waits for the first, and returns what came of them in their order.
fn at_once(calls: &[Call<'_>], verb: &str) -> Vec<Outcome> {
    thread::scope(|scope| {
        let running: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(move || call.command(verb)))
            .collect();
        running
            .into_iter()
            .map(|call| call.join().expect("calls do not panic"))
            .collect()
    })
}

fn twenty_at_once(config: Config) {
    let (_fabric, host) = on_fabric();
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let keys = json!({"ipMasq": true, "isDefaultGateway": true});
    let config = config(Family::Dual, keys);
    let ids: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let containers: Vec<Container<'_>> = ids.iter().map(|id| host.container(id)).collect();
    let calls: Vec<Call<'_>> = containers
        .iter()
        .map(|container| Call::new(&host, Plugins::Slash24, &config).attach(container, "eth0"))
        .collect();

    let mut addresses = BTreeSet::new();
    for (outcome, container) in at_once(&calls, "ADD").iter().zip(&containers) {
        outcome.success();
        addresses.extend(container.addresses("eth0"));
    }
    assert_eq!(
        addresses.len(),
        40,
        "each container has its own: {addresses:?}"
    );
    for container in &containers {
        container.ping("10.1.2.1");
        container.ping("fd00:1:2::1");
    }
    if config["type"] == "bridge" {
        let links = host.ip_json("link show type bridge");
        assert_eq!(links.as_array().map(Vec::len), Some(1), "{links}");
        assert_eq!(host.addresses("br0"), ROUTER);
        // Whoever came last has that one, and does not reach itself without a loopback.
        let mut containers = containers.iter();
        let other = containers.find(|c| c.addresses("eth0")[0] != "10.1.2.21/24");
        other.expect("there are twenty").ping("10.1.2.21");
    }

    for outcome in at_once(&calls, "DEL") {
        outcome.success();
    }
    for container in &containers {
        assert!(container.link("eth0").is_none(), "{}", container.name());
    }
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}

/// One container on twenty networks: everything happens in one namespace at the same time.
fn twenty_networks(plugins: Plugins) {
    let host = Host::new("host");
    let container = host.container("c");
    let calls: Vec<Call<'_>> = (0..20)
        .map(|number| {
            let name = format!("net{number}");
            let subnet = format!("10.2.{number}.0/24");
            let keys = json!({"name": name, "bridge": name, "ipam": host_local(&[&subnet])});
            let config = bridge(Family::V4, keys);
            Call::new(&host, plugins, &config).attach(&container, &format!("eth{number}"))
        })
        .collect();
    for outcome in at_once(&calls, "ADD") {
        outcome.success();
    }
    for number in 0..20 {
        assert_eq!(
            container.addresses(&format!("eth{number}")),
            [format!("10.2.{number}.2/24")]
        );
        container.ping(&format!("10.2.{number}.1"));
    }
    for outcome in at_once(&calls, "DEL") {
        outcome.success();
    }
    assert_eq!(container.routes("-4"), Vec::<Value>::new());
}

/// The networks of one container: a front end on the segment, and three bridges of which one is the
/// way to everywhere else.
fn networks() -> [Value; 4] {
    let back_end = |name: &str, subnet: &str, keys: Value| {
        let mut config = bridge(Family::V4, keys);
        config["name"] = name.into();
        config["bridge"] = name.into();
        config["ipam"] = host_local(&[subnet]);
        config
    };
    [
        macvlan(Family::V4, json!({"name": "front"})),
        back_end(
            "back0",
            "10.2.0.0/24",
            json!({"isDefaultGateway": true, "ipMasq": true}),
        ),
        back_end("back1", "10.3.0.0/24", json!({})),
        back_end("back2", "10.4.0.0/24", json!({})),
    ]
}

/// All orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let mut orders = Vec::new();
    for code in 0..256_usize {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3];
        if order.iter().collect::<BTreeSet<_>>().len() == 4 {
            orders.push(order);
        }
    }
    orders
}

fn every_order(plugins: Plugins) {
    let (_fabric, host) = on_fabric();
    let networks = networks();
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let mut routes_of_first = None;
    for order in orders() {
        let container = host.container("c");
        let calls = order.map(|network| {
            let call = Call::new(&host, plugins, &networks[network]);
            call.attach(&container, &format!("eth{network}"))
        });
        for outcome in at_once(&calls, "ADD") {
            outcome.success();
        }
        for gateway in ["10.1.2.1", "10.2.0.1", "10.3.0.1", "10.4.0.1"] {
            container.ping(gateway);
        }
        // The container's own address is another one each time.
        let mut routes: Vec<String> = container.routes("-4").iter().map(told).collect();
        routes.sort();
        assert_eq!(
            routes.len(),
            5,
            "four subnets and a default route: {routes:?}"
        );
        let expected = routes_of_first.get_or_insert_with(|| routes.clone());
        assert_eq!(&routes, expected, "in the order {order:?}");

        for outcome in at_once(&calls, "DEL") {
            outcome.success();
        }
    }
    let remains = Snapshot::of(&host, &["/var/lib/cni"]);
    let veths: Vec<&str> = remains
        .keys()
        .filter(|key| key.starts_with("link veth"))
        .collect();
    assert_eq!(veths, Vec::<&str>::new(), "{}", before.diff(&remains));
}

fn told(route: &Value) -> String {
    format!(
        "{} by {} on {}",
        route["dst"], route["gateway"], route["dev"]
    )
}

/// Two networks that both lead everywhere: whichever comes first, the container ends with the same
/// routes, and never with one route of two next hops, between which packets would be spread.
fn default_routes() {
    let (_fabric, host) = on_fabric();
    let [_, one, two, _] = networks();
    let mut two = two;
    two["isDefaultGateway"] = true.into();
    let networks = [one, two];
    let mut routes_of_first = None;
    for order in [[0, 1], [1, 0]].repeat(4) {
        let container = host.container("c");
        let calls = order.map(|network: usize| {
            let call = Call::new(&host, Plugins::Slash24, &networks[network]);
            call.attach(&container, &format!("eth{network}"))
        });
        for outcome in at_once(&calls, "ADD") {
            outcome.success();
        }
        let mut routes = container.routes("-4");
        routes.retain(|route| route["dst"] == "default");
        routes.sort_by_key(told);
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert!(
            routes.iter().all(|route| route.get("nexthops").is_none()),
            "{routes:?}"
        );
        let expected = routes_of_first.get_or_insert_with(|| routes.clone());
        assert_eq!(&routes, expected, "in the order {order:?}");
        for outcome in at_once(&calls, "DEL") {
            outcome.success();
        }
    }
}

/// Containers come while others go, on one network with one data directory.
fn add_and_del() {
    let (_fabric, host) = on_fabric();
    let config = bridge(Family::V4, json!({"ipMasq": true}));
    let ids: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let containers: Vec<Container<'_>> = ids.iter().map(|id| host.container(id)).collect();
    let calls: Vec<Call<'_>> = containers
        .iter()
        .map(|container| Call::new(&host, Plugins::Slash24, &config).attach(container, "eth0"))
        .collect();
    let (going, coming) = calls.split_at(10);
    for outcome in at_once(going, "ADD") {
        outcome.success();
    }
    thread::scope(|scope| {
        let gone = scope.spawn(|| at_once(going, "DEL"));
        for outcome in at_once(coming, "ADD") {
            outcome.success();
        }
        for outcome in gone.join().expect("calls do not panic") {
            outcome.success();
        }
    });
    for container in &containers[..10] {
        assert!(container.link("eth0").is_none(), "{}", container.name());
    }
    for container in &containers[10..] {
        container.ping("10.1.2.1");
    }
}

/// As many as a large host has. Half of them are detached, the other half end without.
fn five_hundred() {
    const CONTAINERS: usize = 500;
    const AT_ONCE: usize = 4;
    let host = Host::new("host");
    let before = Snapshot::of(&host, &["/var/lib/cni"]);
    let ipam = host_local(&["10.1.0.0/20", "fd00:1:2::/64"]);
    let keys =
        json!({"cniVersion": "1.1.0", "isDefaultGateway": true, "ipMasq": true, "ipam": ipam});
    let config = bridge(Family::Dual, keys);
    let containers: Vec<Container<'_>> = (0..CONTAINERS)
        .map(|number| host.container(&format!("c{number}")))
        .collect();
    let call = |container: &Container<'_>| {
        Call::new(&host, Plugins::Slash24, &config).attach(container, "eth0")
    };
    let each = |containers: &[Container<'_>], work: &(dyn Fn(&Container<'_>) + Sync)| {
        thread::scope(|scope| {
            for part in containers.chunks(containers.len().div_ceil(AT_ONCE)) {
                scope.spawn(move || part.iter().for_each(work));
            }
        });
    };
    let addresses = Mutex::new(BTreeSet::new());
    each(&containers, &|container| {
        let result = call(container).add().success();
        let ips = result["ips"].as_array().cloned().unwrap_or_default();
        let ips = ips.iter().filter_map(|ip| ip["address"].as_str());
        let mut addresses = addresses.lock().expect("nobody panicked");
        addresses.extend(ips.map(str::to_owned));
    });
    let addresses = addresses.into_inner().expect("nobody panicked");
    assert_eq!(addresses.len(), 2 * CONTAINERS, "each has its own");
    let ports = host.ip_json("link show master br0");
    assert_eq!(ports.as_array().map(Vec::len), Some(CONTAINERS));

    let last = containers[CONTAINERS - 1].addresses("eth0");
    let last: Vec<&str> = last
        .iter()
        .filter_map(|net| net.split('/').next())
        .collect();
    for container in containers.iter().step_by(CONTAINERS / 10) {
        for address in ["10.1.0.1", "fd00:1:2::1"].iter().chain(&last) {
            container.ping(address);
        }
    }

    let (detached, forgotten) = containers.split_at(CONTAINERS / 2);
    each(detached, &|container| {
        call(container).del().success();
    });
    forgotten[0].ping("10.1.0.1");
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = json!([]);
    Call::new(&host, Plugins::Slash24, &config)
        .command("GC")
        .success();
    for container in &containers {
        assert!(container.link("eth0").is_none(), "{}", container.name());
    }
    only_the_network_remains(&before, &Snapshot::of(&host, &["/var/lib/cni"]));
}
