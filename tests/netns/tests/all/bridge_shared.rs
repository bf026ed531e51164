//! A bridge that others have as well: one that the administrator made, or on which another
//! network's containers live. What an ADD changes there is undone when it fails, and what
//! it does not change stays as it was.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Plugins, Snapshot};
use serde_json::{Value, json};

use crate::network::{Family, ROUTER, bridge, host_local};
use crate::subject::{both, ours};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("bridge/mac-of-a-foreign-bridge-is-pinned", foreign_mac),
        ours(
            "bridge/mac-of-a-foreign-bridge-with-an-address",
            foreign_mac_with_address,
        ),
        ours("bridge/failed-add-leaves-a-foreign-bridge", foreign_failed),
        ours(
            "bridge/failed-add-with-forceAddress-changes-nothing",
            forced_failed,
        ),
        ours(
            "bridge/failed-add-leaves-the-network-to-others",
            others_of_the_network,
        ),
        ours("bridge/forceAddress-in-the-same-subnet", forced_in_subnet),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn call<'h>(container: &Container<'h>, config: &Value) -> Call<'h> {
    with(Plugins::Slash24, container, config)
}

fn with<'h>(plugins: Plugins, container: &Container<'h>, config: &Value) -> Call<'h> {
    Call::new(container.host(), plugins, config).attach(container, "eth0")
}

/// A network whose ADD fails when everything on the host has been done.
fn failing(family: Family, keys: Value) -> Value {
    let mut config = bridge(family, keys);
    config["ipam"]["routes"] = json!([{"dst": "172.16.0.0/16", "gw": "192.0.2.77"}]);
    config
}

fn mac(host: &Host) -> Value {
    host.link("br0").expect("the bridge stays")["address"].clone()
}

/// Hardware addresses of ports come and go; the gateway's may not.
fn foreign_mac(plugins: Plugins) {
    let host = Host::new("host");
    host.ip("link add br0 type bridge\nlink set br0 up");
    let made = mac(&host);
    let config = bridge(Family::Dual, json!({}));
    let containers = ["one", "two", "three", "four"].map(|id| host.container(id));
    let told = containers.each_ref().map(|container| {
        let result = with(plugins, container, &config).add().success();
        result["interfaces"][0]["mac"].clone()
    });
    let [one, rest @ ..] = &containers;
    one.wait_until("the gateway answers", || one.reaches("fd00:1:2::1"));
    one.ping("10.1.2.1");
    let now = mac(&host);
    if plugins == Plugins::Slash24 {
        // Debian's pins it when it has the first port's.
        assert_eq!(now, made);
    }
    assert_eq!(told[3], now);
    host.ip(
        "link add low address 02:00:00:00:00:01 type veth peer name other\n\
         link set low master br0 up",
    );
    for container in rest {
        with(plugins, container, &config).del().success();
    }
    assert_eq!(mac(&host), now);
    one.ping("10.1.2.1");
    one.ping("fd00:1:2::1");
    assert_eq!(host.sysctl("net/ipv6/conf/br0/accept_ra"), "0");
}

/// The administrator gave the bridge its address and a port: nothing is missing that would be a
/// reason to look closer, and the containers' ports could still change what its hosts know.
fn foreign_mac_with_address() {
    let host = Host::new("host");
    host.run(|| {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "sysfs", "sysfs", "/sys"])
            .status();
        assert!(mounted.is_ok_and(|status| status.success()), "no sysfs");
    });
    host.ip(
        "link add br0 type bridge\nlink add up0 address fe:00:00:00:00:01 type veth peer name up1\n\
         link set up0 master br0 up\nlink set up1 up\nlink set br0 up\n\
         address add 10.1.2.1/24 dev br0",
    );
    let before = mac(&host);
    let one = host.container("one");
    let result = call(&one, &bridge(Family::V4, json!({}))).add().success();
    assert_eq!(result["interfaces"][0]["mac"], before);
    assert_eq!(mac(&host), before);
    one.ping("10.1.2.1");
}

fn foreign_failed() {
    for promiscuous in [true, false] {
        let host = Host::new("host");
        host.ip("link add br0 type bridge");
        let container = host.container("c");
        let config = failing(
            Family::Dual,
            json!({"ipMasq": true, "promiscMode": promiscuous}),
        );
        let before = Snapshot::of(&host, &[]);
        call(&container, &config).add().failure();
        let after = Snapshot::of(&host, &[]);
        let left: Vec<_> = after
            .keys()
            .filter(|key| before.keys().all(|known| known != *key))
            // Empty, and every network's.
            .filter(|key| !key.starts_with("nft table") && !key.ends_with(" postrouting"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let bridge = host.link("br0").expect("it was there before");
        assert_eq!(bridge["operstate"], "DOWN");
        assert_eq!(bridge["promiscuity"], 0);
        assert!(host.addresses("br0").is_empty());
    }
}

fn forced_failed() {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    call(&one, &bridge(Family::V4, json!({}))).add().success();
    let other =
        json!({"name": "other", "forceAddress": true, "ipam": host_local(&["10.9.9.0/24"])});
    call(&two, &failing(Family::V4, other.clone()))
        .add()
        .failure();
    assert_eq!(host.addresses("br0"), ["10.1.2.1/24"]);
    one.ping("10.1.2.1");
    // It would have succeeded but for the route.
    call(&two, &bridge(Family::V4, other)).add().success();
    assert_eq!(host.addresses("br0"), ["10.9.9.1/24"]);
    two.ping("10.9.9.1");
}

/// What a failed ADD finds there is not its own, and what it made others may live by.
fn others_of_the_network() {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let keys = json!({"ipMasq": true});
    call(&one, &bridge(Family::Dual, keys.clone()))
        .add()
        .success();
    let rules = || chains(&host);
    let before = rules();
    call(&two, &failing(Family::Dual, keys.clone()))
        .add()
        .failure();
    assert_eq!(host.addresses("br0"), ROUTER);
    assert_eq!(rules(), before);
    one.ping("10.1.2.1");
    one.ping("fd00:1:2::1");
    // The network's address and chain went; a container of it is there when the next comes.
    host.ip("address flush dev br0 scope global");
    host.nft("delete table inet slash24");
    call(&two, &failing(Family::Dual, keys)).add().failure();
    assert_eq!(host.addresses("br0"), ROUTER, "one lives by them");
    assert_eq!(rules(), before);
}

fn chains(host: &Host) -> Value {
    let mut all = host.ask("nft", "--json list chains");
    if let Some(list) = all["nftables"].as_array_mut() {
        list.retain(|object| object.get("chain").is_some());
        for chain in list {
            chain["chain"]["handle"].take();
        }
    }
    all
}

/// The kernel deletes with the first address of a subnet all others in it.
fn forced_in_subnet() {
    let host = Host::new("host");
    let container = host.container("c");
    host.ip("link add br0 type bridge\nlink set br0 up\naddress add 10.1.2.254/24 dev br0");
    let config = bridge(Family::V4, json!({"forceAddress": true}));
    call(&container, &config).add().success();
    assert_eq!(host.addresses("br0"), ["10.1.2.1/24"]);
    container.ping("10.1.2.1");
}
