//! VLANs on bridges: who hears whom, what the kernel says of the ports, the gateway of a VLAN, and
//! bridges that took no notice of VLANs before.

use libtest_mimic::Trial;
use netns::{Call, Container, Feature, Host, Namespace, Plugins, Snapshot, trial_needing};
use serde_json::{Value, json};

use crate::network::{Family, VERSIONS, bridge, host_local, merge, with_previous};
use crate::subject::label;

const NEEDED: &[Feature] = &[Feature::BridgeVlans];
const NEEDED_IN_CONTAINERS: &[Feature] = &[Feature::BridgeVlans, Feature::Vlan];

pub(crate) fn trials() -> Vec<Trial> {
    let ours = |name: &str, story: fn()| trial_needing(NEEDED, format!("{name}/slash24"), story);
    // An emulated machine is slow: each version, and each family in the newest.
    let versions = VERSIONS.map(|version| (version, Family::Dual));
    let families = [("1.1.0", Family::V4), ("1.1.0", Family::V6)];
    let versions = versions
        .into_iter()
        .chain(families)
        .map(|(version, family)| {
            let name = format!("bridge-vlans/all-keys/{version}/{}/slash24", family.label());
            trial_needing(NEEDED, name, move || all_keys(version, family))
        });
    let both = [Plugins::Slash24, Plugins::Debian].map(|plugins| {
        let name = format!("bridge-vlans/are-apart/{}", label(plugins));
        trial_needing(NEEDED, name, move || apart(plugins))
    });
    [
        ours("bridge-vlans/ports-are-in-what-was-asked-for", ports_are_in),
        ours("bridge-vlans/gateway-of-a-vlan", gateway),
        ours("bridge-vlans/gateway-that-was-left-half-made", half_made),
        ours(
            "bridge-vlans/on-a-bridge-that-took-no-notice",
            took_no_notice,
        ),
        ours("bridge-vlans/on-a-bridge-of-others", bridge_of_others),
        ours("bridge-vlans/check-tells-what-changed", check_tells),
        ours("bridge-vlans/failed-add-leaves-nothing", failed_add),
        ours("bridge-vlans/many-at-once", many_at_once),
        trial_needing(NEEDED_IN_CONTAINERS, "bridge-vlans/trunk/slash24", trunk),
    ]
    .into_iter()
    .chain(both)
    .chain(versions)
    .collect()
}

/// A network in whose VLAN containers have addresses and the host none.
fn network(keys: Value) -> Value {
    let mut config = bridge(Family::V4, json!({"isGateway": false}));
    merge(&mut config, keys);
    config
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), Plugins::Slash24, config).attach(container, "eth0")
}

fn add(container: &Container<'_>, config: &Value) -> Value {
    call(container, config).add().success()
}

/// The VLANs of a link as `bridge vlan` tells them: `10 PVID Egress Untagged`.
fn vlans(host: &Host, link: &str) -> Vec<String> {
    let links = host.ask(
        "bridge",
        &format!("-json -compressvlans vlan show dev {link}"),
    );
    let vlans = links[0]["vlans"].as_array().cloned().unwrap_or_default();
    let one = |vlan: &Value| {
        let flags = vlan["flags"].as_array().cloned().unwrap_or_default();
        let flags = flags.iter().filter_map(Value::as_str);
        let range = match &vlan["vlanEnd"] {
            Value::Null => vlan["vlan"].to_string(),
            end => format!("{}-{end}", vlan["vlan"]),
        };
        std::iter::once(range.as_str())
            .chain(flags)
            .collect::<Vec<_>>()
            .join(" ")
    };
    vlans.iter().map(one).collect()
}

fn port(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap()
}

fn apart(plugins: Plugins) {
    let host = Host::new("host");
    let [a, b, other, plain] = ["a", "b", "other", "plain"].map(|id| host.container(id));
    for (container, vlan) in [(&a, 10), (&b, 10), (&other, 20), (&plain, 0)] {
        let config = network(json!({"vlan": vlan}));
        Call::new(&host, plugins, &config)
            .attach(container, "eth0")
            .add()
            .success();
    }
    a.ping("10.1.2.3");
    b.ping("10.1.2.2");
    for (from, to) in [(&a, "10.1.2.4"), (&other, "10.1.2.3"), (&plain, "10.1.2.2")] {
        assert!(!from.reaches(to), "{} reaches {to}", from.name());
    }
}

fn ports_are_in() {
    let native = |id: u16| format!("{id} PVID Egress Untagged");
    let default = || "1 Egress Untagged".to_owned();
    let cases: [(Value, Vec<String>); 9] = [
        (json!({}), vec![native(1)]),
        (json!({"vlan": 10}), vec![default(), native(10)]),
        (
            json!({"vlan": 10, "preserveDefaultVlan": false}),
            vec![native(10)],
        ),
        (json!({"vlan": 1}), vec![native(1)]),
        (
            json!({"vlan": 10, "preserveDefaultVlan": true}),
            vec![default(), native(10)],
        ),
        (
            json!({"vlanTrunk": [{"minID": 100, "maxID": 103}, {"id": 7}]}),
            vec![native(1), "7".into(), "100-103".into()],
        ),
        (
            json!({
                "vlan": 101, "vlanTrunk": [{"minID": 100, "maxID": 102}],
                "preserveDefaultVlan": false,
            }),
            vec!["100".into(), native(101), "102".into()],
        ),
        (
            json!({"vlan": 5, "vlanTrunk": [{"id": 9}]}),
            vec![default(), native(5), "9".into()],
        ),
        (
            json!({"vlan": 5, "vlanTrunk": [{"minID": 1, "maxID": 4094}]}),
            vec!["1-4".into(), native(5), "6-4094".into()],
        ),
    ];
    let host = Host::new("host");
    for (at, (keys, expected)) in cases.into_iter().enumerate() {
        let container = host.container(&format!("c{at}"));
        // The first of them asks for none: the bridge must learn of VLANs with the second.
        let config = network(keys.clone());
        let result = add(&container, &config);
        assert_eq!(vlans(&host, port(&result)), expected, "{keys}");
        call(&container, &with_previous(&config, &result))
            .check()
            .success();
        // Over its own leftovers.
        let again = add(&container, &config);
        assert_eq!(vlans(&host, port(&again)), expected, "again {keys}");
    }
}

/// A container that sends and receives tagged frames, and one without tags in each of its VLANs.
fn trunk() {
    let host = Host::new("host");
    let config = network(json!({"vlan": 30, "vlanTrunk": [{"minID": 10, "maxID": 20}]}));
    let router = host.container("router");
    add(&router, &config);
    for (id, vlan) in [("ten", 10), ("twenty", 20), ("thirty", 30), ("forty", 40)] {
        let container = host.container(id);
        let config = network(json!({"name": id, "vlan": vlan, "ipam": null}));
        add(&container, &config);
        container.ip(&format!("address add 10.{vlan}.0.2/24 dev eth0"));
        match vlan {
            30 => router.ip("address add 10.30.0.1/24 dev eth0"),
            _ => router.ip(&format!(
                "link add link eth0 name eth0.{vlan} type vlan id {vlan}\n\
                 address add 10.{vlan}.0.1/24 dev eth0.{vlan}\nlink set eth0.{vlan} up"
            )),
        }
        let reached = router.reaches(&format!("10.{vlan}.0.2"));
        assert_eq!(reached, vlan != 40, "VLAN {vlan}");
    }
}

fn with_gateway(family: Family, vlan: u16, keys: Value) -> Value {
    let mut config = bridge(family, json!({"isDefaultGateway": true, "vlan": vlan}));
    merge(&mut config, keys);
    config
}

fn gateway() {
    let host = Host::new("host");
    let [ten, also_ten, twenty] = ["ten", "also-ten", "twenty"].map(|id| host.container(id));
    let first = with_gateway(Family::Dual, 10, json!({"cniVersion": "1.1.0"}));
    let second = with_gateway(
        Family::Dual,
        20,
        json!({"name": "n20", "ipam": host_local(&["10.20.0.0/24", "fd00:20::/64"])}),
    );
    let result = add(&ten, &first);
    let link = host.link("br0.10").expect("the gateway is there");
    let told = &result["interfaces"][3];
    assert_eq!(
        (&told["name"], &told["mac"]),
        (&json!("br0.10"), &link["address"])
    );
    assert_eq!(result["ips"][0]["interface"], 2, "{result}");
    add(&also_ten, &first);
    add(&twenty, &second);
    assert_eq!(host.addresses("br0"), Vec::<String>::new());
    assert_eq!(host.addresses("br0.10"), ["10.1.2.1/24", "fd00:1:2::1/64"]);
    assert_eq!(host.addresses("br0.20"), ["10.20.0.1/24", "fd00:20::1/64"]);
    for address in [
        "10.1.2.1",
        "fd00:1:2::1",
        "10.1.2.3",
        "10.20.0.2",
        "fd00:20::2",
    ] {
        ten.ping(address);
    }
    twenty.ping("fd00:1:2::2");
    let previous = with_previous(&first, &result);
    call(&ten, &previous).check().success();
    host.ip("address delete 10.1.2.1/24 dev br0.10");
    let error = call(&ten, &previous).check().failure();
    let message = error["msg"].as_str().unwrap();
    assert!(message.contains("addresses of br0.10"), "{error}");
    // The host forgets it there, too.
    host.ip("address add 10.1.2.1/24 dev br0.10");
    host.ping("10.1.2.2");
    call(&ten, &previous).del().success();
    let neighbours = host.ip_json("neighbour show dev br0.10").to_string();
    assert!(!neighbours.contains("\"10.1.2.2\""), "{neighbours}");
    also_ten.ping("10.1.2.1");
}

fn half_made() {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let keys = json!({"cniVersion": "1.1.0", "preserveDefaultVlan": false});
    let config = with_gateway(Family::Dual, 10, keys);
    let previous = with_previous(&config, &add(&one, &config));
    let ports = host.ip_json("-details link show master br0");
    let of_gateway = ports
        .as_array()
        .into_iter()
        .flatten()
        .find(|port| port["link"] == "br0.10")
        .expect("the gateway is a port");
    let port = of_gateway["ifname"].as_str().unwrap();
    let off = format!("link set {port} nomaster\nlink set br0.10 down");
    // As when a process was killed before it had put the port into the VLAN.
    let again = format!("link set {port} nomaster\nlink set {port} master br0");
    for (broken, says) in [(off, "a port of br0"), (again, "10 (native)")] {
        host.ip(&broken);
        assert!(!one.reaches("10.1.2.1"));
        let error = call(&one, &previous).check().failure();
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains(port) && message.contains(says), "{error}");
        add(&two, &config);
        assert_eq!(vlans(&host, port), ["10 PVID Egress Untagged"]);
        two.ping("10.1.2.1");
        one.ping("fd00:1:2::1");
        call(&one, &previous).check().success();
        call(&two, &config).del().success();
    }
}

/// Networks with and without VLANs share a bridge, and come to it in any order.
fn took_no_notice() {
    let host = Host::new("host");
    let [plain, vlan] = ["plain", "vlan"].map(|id| host.container(id));
    let filters = || {
        let bridge = host.link("br0").expect("it is there");
        bridge["linkinfo"]["info_data"]["vlan_filtering"].clone()
    };
    add(&plain, &bridge(Family::Dual, json!({})));
    assert_eq!(filters(), 0);
    let other = network(json!({"name": "m", "vlan": 10, "ipam": host_local(&["10.1.2.0/24"])}));
    add(&vlan, &other);
    assert_eq!(filters(), 1);
    plain.ping("10.1.2.1");
    plain.ping("fd00:1:2::1");
    assert!(!vlan.reaches("10.1.2.1"), "the gateway is in another VLAN");
}

fn bridge_of_others() {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    host.ip("link add br0 type bridge vlan_default_pvid 0\nlink set br0 up");
    let config = network(json!({"vlan": 10}));
    let error = call(&one, &config).add().failure();
    assert!(
        error["msg"].as_str().unwrap().contains("vlan_filtering 1"),
        "{error}"
    );
    assert!(one.link("eth0").is_none());
    let mut status = config.clone();
    merge(&mut status, json!({"cniVersion": "1.1.0"}));
    let status = Call::new(&host, Plugins::Slash24, &status);
    assert_eq!(status.command("STATUS").failure()["code"], 50);
    host.ip("link set br0 type bridge vlan_filtering 1");
    status.command("STATUS").success();
    let result = add(&one, &config);
    add(&two, &config);
    // There is no default VLAN that it would have to be taken out of.
    assert_eq!(vlans(&host, port(&result)), ["10 PVID Egress Untagged"]);
    one.ping("10.1.2.3");
    call(&one, &with_previous(&config, &result))
        .check()
        .success();
}

fn check_tells() {
    type Change = fn(&Host, &str);
    let changes: [(Change, &[&str]); 3] = [
        (
            |host, port| host.run_bridge(&format!("vlan add dev {port} vid 99")),
            &[
                "VLANs of port",
                "expected 1 (untagged), 10 (native), 20",
                "found 1 (untagged), 10 (native), 20, 99",
            ],
        ),
        (
            |host, port| host.run_bridge(&format!("vlan delete dev {port} vid 20")),
            &["found 1 (untagged), 10 (native)"],
        ),
        (
            |host, _| host.ip("link set br0 type bridge vlan_filtering 0"),
            &["VLAN filtering of br0", "expected on", "found off"],
        ),
    ];
    for (change, says) in changes {
        let host = Host::new("host");
        let container = host.container("c");
        let config = network(json!({"vlan": 10, "vlanTrunk": [{"id": 20}]}));
        let result = add(&container, &config);
        let check = call(&container, &with_previous(&config, &result));
        check.check().success();
        change(&host, port(&result));
        let error = check.check().failure();
        for part in says {
            assert!(error["msg"].as_str().unwrap().contains(part), "{error}");
        }
    }
}

trait Bridge {
    fn run_bridge(&self, command: &str);
}

impl Bridge for Host {
    fn run_bridge(&self, command: &str) {
        let args: Vec<_> = command.split(' ').collect();
        let run = || {
            std::process::Command::new("/sbin/bridge")
                .args(args)
                .status()
        };
        assert!(self.run(run).unwrap().success(), "bridge {command}");
    }
}

/// The VLAN's gateway has another address than the network's; all that was made is taken back, also
/// the bridge and the gateway when there were none.
fn failed_add() {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let before = Snapshot::of(&host, &[]);
    let mut config = with_gateway(Family::V4, 10, json!({}));
    config["ipam"]["routes"] = json!([{"dst": "10.77.0.0/16", "gw": "10.99.99.99"}]);
    call(&one, &config).add().failure();
    before.assert_same(&Snapshot::of(&host, &[]), "after an ADD that failed");

    add(&one, &with_gateway(Family::V4, 10, json!({})));
    let before = Snapshot::of(&host, &[]);
    let other = with_gateway(
        Family::V4,
        10,
        json!({"name": "m", "ipam": host_local(&["10.9.9.0/24"])}),
    );
    let error = call(&two, &other).add().failure();
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("br0.10") && message.contains("10.1.2.1"),
        "{error}"
    );
    before.assert_same(&Snapshot::of(&host, &[]), "after an ADD that was refused");
}

fn many_at_once() {
    let host = Host::new("host");
    let config = with_gateway(Family::Dual, 10, json!({}));
    let containers: Vec<_> = (0..12).map(|n| host.container(&format!("c{n}"))).collect();
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| add(container, &config));
        }
    });
    for container in &containers {
        container.ping("10.1.2.1");
        container.ping("fd00:1:2::1");
    }
}

fn all_keys(version: &str, family: Family) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let keys = json!({
        "cniVersion": version, "vlanTrunk": [{"minID": 100, "maxID": 110}, {"id": 7}],
        "preserveDefaultVlan": true, "macspoofchk": true, "portIsolation": true,
        "hairpinMode": true, "ipMasq": true, "ipMasqBackend": "nftables", "mtu": 1450,
    });
    let config = with_gateway(family, 10, keys);
    let result = add(&one, &config);
    add(&two, &config);
    for gateway in family.gateways() {
        one.ping(gateway);
        two.ping(gateway);
    }
    let previous = with_previous(&config, &result);
    if version >= "0.4.0" {
        call(&one, &previous).check().success();
    }
    call(&one, &previous).del().success();
    call(&one, &config).without("CNI_NETNS").del().success();
    let two_is_left = call(&two, &config);
    two.destroy();
    two_is_left.del().success();
    let left: Vec<_> = Snapshot::of(&host, &["/var/lib/cni"])
        .keys()
        .filter(|key| key.starts_with("link veth") || key.contains("networks/n/10."))
        .map(str::to_owned)
        .collect();
    // The cable of the gateway.
    assert_eq!(left.len(), 1, "{left:?}");
}
