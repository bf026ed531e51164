//! GC and STATUS of plugins that keep something on the host: what belongs to an attachment that the
//! runtime does not vouch for goes, and nothing else.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, bridge};
use crate::remains::only_the_network_remains;
use crate::subject::ours;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours("garbage/no-list-removes-nothing", no_list),
        ours("garbage/those-that-are-not-listed-go", those_not_listed),
        ours(
            "garbage/an-empty-list-removes-all-of-the-network",
            empty_list,
        ),
        ours("garbage/many-go-at-once", many_at_once),
        ours("garbage/other-networks-and-others-links-stay", others_stay),
        ours("garbage/a-list-without-interface-names", without_names),
        ours("garbage/long-names-without-interface-names", long_names),
        ours("garbage/bad-list-is-an-error", bad_list),
        ours(
            "garbage/status-of-a-bridge-whose-name-is-taken",
            name_is_taken,
        ),
        ours(
            "garbage/status-of-a-bridge-that-is-not-there-yet",
            not_there_yet,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn network(name: &str) -> Value {
    bridge(
        Family::Dual,
        json!({"cniVersion": "1.1.0", "name": name, "ipMasq": true}),
    )
}

fn add(config: &Value, container: &Container<'_>, ifname: &str) {
    Call::new(container.host(), Plugins::Slash24, config)
        .attach(container, ifname)
        .add()
        .success();
}

fn gc<'h>(host: &'h Host, config: &Value, valid: &Value) -> Call<'h> {
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = valid.clone();
    Call::new(host, Plugins::Slash24, &config).env("CNI_COMMAND", "GC")
}

fn attachment(container: &str, ifname: &str) -> Value {
    json!({"containerID": container, "ifname": ifname})
}

/// The marks on the host's links, of attachments.
fn marks(host: &Host) -> Vec<String> {
    let mut marks: Vec<_> = host
        .ip_json("link show")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|link| link["ifalias"].as_str())
        .filter(|alias| alias.starts_with("slash24 "))
        .map(str::to_owned)
        .collect();
    marks.sort();
    marks
}

fn look(host: &Host) -> Snapshot {
    Snapshot::of(host, &["/var/lib/cni"])
}

fn no_list() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = network("n");
    add(&config, &container, "eth0");
    let before = look(&host);
    for list in [Value::Null, json!("absent")] {
        let call = match list {
            Value::Null => gc(&host, &config, &Value::Null),
            _ => Call::new(&host, Plugins::Slash24, &config).env("CNI_COMMAND", "GC"),
        };
        assert_eq!(call.execute().success(), Value::Null);
        before.assert_same(&look(&host), "after a GC without a list");
    }
    container.ping("10.1.2.1");
}

fn those_not_listed() {
    let host = Host::new("host");
    let config = network("n");
    let containers: Vec<_> = ["a", "b", "c", "d"].map(|id| host.container(id)).into();
    for container in &containers {
        add(&config, container, "eth0");
    }
    add(&config, &containers[0], "eth1");
    let valid = json!([attachment("a", "eth1"), attachment("c", "eth0")]);
    gc(&host, &config, &valid).execute().success();
    assert_eq!(marks(&host), ["slash24 n a eth1", "slash24 n c eth0"]);
    assert!(containers[0].link("eth0").is_none());
    containers[2].ping("10.1.2.1");
    containers[2].ping("fd00:1:2::1");
    // The IPAM plugin has been told as well: the leases of three are free again.
    let leases = || {
        let files = look(&host);
        let lease = |key: &&str| key.starts_with("file /var/lib/cni/networks/n/10.1.2.");
        files
            .keys()
            .filter(lease)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(leases().len(), 2, "{:?}", leases());
    // And once more, for what is gone already.
    gc(&host, &config, &valid).execute().success();
    assert_eq!(marks(&host).len(), 2);
}

fn empty_list() {
    let host = Host::new("host");
    let config = network("n");
    let before = look(&host);
    let containers: Vec<_> = (0..24).map(|n| host.container(&format!("c{n}"))).collect();
    for container in &containers {
        add(&config, container, "eth0");
    }
    let chains = || {
        let seen = look(&host);
        let masquerades = |key: &&str| key.contains("inet slash24 masquerade-");
        seen.keys()
            .filter(masquerades)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let longer = bridge(
        Family::V4,
        json!({"name": "x-masquerade-n", "ipMasq": true, "isGateway": false}),
    );
    add(&longer, &containers[0], "eth1");
    assert!(!chains().is_empty());
    Call::new(&host, Plugins::Slash24, &longer)
        .attach(&containers[0], "eth1")
        .del()
        .success();
    gc(&host, &config, &json!([])).execute().success();
    assert_eq!(marks(&host), Vec::<String>::new());
    only_the_network_remains(&before, &look(&host));
    // Its masquerading has gone, and nobody else's.
    let others = |chain: &String| chain.contains("masquerade-x-masquerade-n-10.1.2.0/24");
    assert!(
        chains().iter().all(others) && !chains().is_empty(),
        "{:?}",
        chains()
    );
    // The containers are there still, and can be attached again.
    add(&config, &containers[7], "eth0");
    containers[7].ping("10.1.2.1");
}

/// More than one message to the packet filter takes, all guarded.
fn many_at_once() {
    const CONTAINERS: usize = 6;
    const INTERFACES: usize = 30;
    let host = Host::new("host");
    let before = look(&host);
    let mut config = network("n");
    config["macspoofchk"] = json!(true);
    let containers: Vec<_> = (0..CONTAINERS)
        .map(|n| host.container(&format!("c{n}")))
        .collect();
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| {
                for n in 0..INTERFACES {
                    add(&config, container, &format!("net{n}"));
                }
            });
        }
    });
    assert_eq!(marks(&host).len(), CONTAINERS * INTERFACES);
    containers[0].ping("10.1.2.1");
    let guards = || {
        let seen = look(&host);
        let of_ports = |key: &&str| key.starts_with("nft element bridge") && key.contains("ports");
        seen.keys().filter(of_ports).count()
    };
    assert_eq!(guards(), CONTAINERS * INTERFACES);
    gc(&host, &config, &json!([attachment("c3", "net7")]))
        .execute()
        .success();
    assert_eq!(marks(&host), ["slash24 n c3 net7"]);
    assert_eq!(guards(), 1);
    gc(&host, &config, &json!([])).execute().success();
    only_the_network_remains(&before, &look(&host));
}

fn others_stay() {
    let host = Host::new("host");
    let [mine, other, debian] = ["mine", "other", "debian"].map(|id| host.container(id));
    let config = network("n");
    add(&config, &mine, "eth0");
    let neighbour = bridge(
        Family::V4,
        json!({"cniVersion": "1.1.0", "name": "n-2", "bridge": "br2",
               "ipam": {"type": "host-local", "subnet": "10.9.9.0/24"}}),
    );
    add(&neighbour, &other, "eth0");
    let foreign = bridge(
        Family::V4,
        json!({"name": "n", "bridge": "br3",
               "ipam": {"type": "host-local", "subnet": "10.8.8.0/24", "dataDir": "/run/debian"}}),
    );
    Call::new(&host, Plugins::Debian, &foreign)
        .attach(&debian, "eth0")
        .add()
        .success();
    // A link of somebody who writes the same words, but not those of this network.
    host.ip("link add note type bridge\nlink set note alias \"slash24 note\"");
    gc(&host, &config, &json!([])).execute().success();
    assert_eq!(marks(&host), ["slash24 n-2 other eth0", "slash24 note"]);
    assert!(mine.link("eth0").is_none());
    other.ping("10.9.9.1");
    debian.ping("10.8.8.1");
}

/// Runtimes may name the containers alone.
fn without_names() {
    let host = Host::new("host");
    let [a, b] = ["a", "ab"].map(|id| host.container(id));
    let config = network("n");
    add(&config, &a, "eth0");
    add(&config, &a, "eth1");
    add(&config, &b, "eth0");
    gc(&host, &config, &json!([{"containerID": "a"}]))
        .execute()
        .success();
    assert_eq!(marks(&host), ["slash24 n a eth0", "slash24 n a eth1"]);
}

fn bad_list() {
    let host = Host::new("host");
    let container = host.container("c");
    let config = network("n");
    add(&config, &container, "eth0");
    let before = look(&host);
    for list in [json!("all"), json!([{"ifname": "eth0"}]), json!({})] {
        let error = gc(&host, &config, &list).execute().failure();
        assert!(
            error["msg"].to_string().contains("valid-attachments"),
            "{error}"
        );
        before.assert_same(&look(&host), "after a GC with a list that is none");
    }
}

fn name_is_taken() {
    let host = Host::new("host");
    host.ip("link add br0 type veth peer name other");
    let status = Call::new(&host, Plugins::Slash24, &network("n")).env("CNI_COMMAND", "STATUS");
    let error = status.execute().failure();
    assert_eq!(error["code"], 50, "{error}");
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.contains("br0") && message.contains("veth"),
        "{error}"
    );
}

fn not_there_yet() {
    let host = Host::new("host");
    let before = look(&host);
    let config = network("n");
    let status = Call::new(&host, Plugins::Slash24, &config).env("CNI_COMMAND", "STATUS");
    assert_eq!(status.execute().success(), Value::Null);
    before.assert_same(&look(&host), "after STATUS");
    add(&config, &host.container("c"), "eth0");
    assert_eq!(status.execute().success(), Value::Null);
}

/// A mark has no room for all of them.
fn long_names() {
    let host = Host::new("host");
    let config = network(&"n".repeat(200));
    let (lives, dead) = (host.container(&"c".repeat(64)), host.container("dead"));
    add(&config, &lives, "eth0");
    add(&config, &dead, "eth0");
    let valid = json!([{"containerID": lives.id()}]);
    gc(&host, &config, &valid).execute().success();
    lives.ping("10.1.2.1");
    assert!(dead.link("eth0").is_none());
}
