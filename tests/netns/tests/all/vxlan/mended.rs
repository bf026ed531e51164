//! What another program takes away from a network that is in use: STATUS and CHECK tell of it, and
//! the next ADD or `sync` brings it back.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{Fleet, add, attach, del, reach, tenant};
use super::gateway::own_subnets;
use crate::network::{merge, with_previous};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/mended/device-by-add", || device(by_add)),
        trial("vxlan/mended/device-by-sync", || device(by_sync)),
        trial("vxlan/mended/device-of-a-group", group),
        trial("vxlan/mended/routed-device-by-add", || routed(by_add)),
        trial("vxlan/mended/routed-device-by-sync", || routed(by_sync)),
        trial("vxlan/mended/filter-by-add", || filter(by_add)),
        trial("vxlan/mended/filter-by-sync", || filter(by_sync)),
        trial("vxlan/mended/how-the-tunnel-is-treated", tunnel_port),
        trial("vxlan/mended/entries-of-a-device-made-anew", made_anew),
        trial("vxlan/mended/what-a-daemon-is-told", told),
        trial(
            "vxlan/mended/what-a-daemon-is-told-is-taken-back",
            taken_back,
        ),
        trial("vxlan/mended/duplicates", duplicates),
        trial("vxlan/mended/router", router),
        trial("vxlan/mended/way-out-of-the-router", way_out),
        trial("vxlan/mended/no-way-out-by-add", flushed_way_out),
        trial("vxlan/mended/mode-in-use", mode_in_use),
    ]
}

fn with(config: &Value, keys: Value) -> Value {
    let mut config = config.clone();
    merge(&mut config, keys);
    config
}

fn synced(host: &Host, config: &Value) -> Value {
    host.write("/etc/cni/net.d/red.conf", &config.to_string());
    let call = Call::of(host, Plugins::Slash24, "slash24");
    let arguments = ["vxlan", "sync", "--output", "json"];
    call.arguments(arguments).execute().success()[0].clone()
}

fn by_add(host: &Host, config: &Value) {
    let late = attach(host, config, "late");
    del(config, &late);
}

/// It says what it does, and then there is nothing to do.
fn by_sync(host: &Host, config: &Value) {
    let done = synced(host, config);
    assert_ne!(done["devices"], json!([]), "{done}");
    let again = synced(host, config);
    for key in ["devices", "added", "deleted"] {
        assert_eq!(again[key], json!([]), "{again}");
    }
}

type Mend = fn(&Host, &Value);

fn check<'h>(config: &Value, result: &Value, container: &Container<'h>) -> Call<'h> {
    let config = with_previous(config, result);
    Call::new(container.host(), Plugins::Slash24, &config).attach(container, "eth0")
}

fn fails(config: &Value, result: &Value, container: &Container<'_>, says: &str) {
    let error = check(config, result, container).check().failure();
    let message = error["msg"].as_str().unwrap_or_default();
    assert!(message.contains(says), "{error}");
}

fn device(mend: Mend) {
    let fleet = Fleet::new(2);
    let host = &fleet.hosts[0];
    let red = tenant("red", 100, 2, json!({"stormLimit": 50}));
    let one = host.container("one");
    let result = add(&red, &one);
    let far = attach(&fleet.hosts[1], &red, "far");
    for broken in ["link delete vx100", "link set vx100 nomaster"] {
        host.ip(broken);
        assert!(!one.reaches("10.9.2.2"), "{broken}");
        mend(host, &red);
        one.ping("10.9.2.2");
        far.ping("10.9.1.2");
        check(&red, &result, &one).check().success();
    }
}

/// A device that is bound to the uplink goes with it.
fn group() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut red = tenant("red", 100, 1, json!({}));
    red["peers"] = json!({"group": "239.1.1.1"});
    let _one = attach(host, &red, "one");
    host.ip("link delete eth0");
    assert!(host.link("vx100").is_none());
    let two = host.container("two");
    let call = Call::new(host, Plugins::Slash24, &red);
    call.clone().attach(&two, "eth0").add().failure();
    call.clone()
        .env("CNI_COMMAND", "STATUS")
        .execute()
        .failure();
    fleet.fabric.join(host, "eth0", &["192.0.2.1/24"]);
    call.env("CNI_COMMAND", "STATUS").execute().success();
    add(&red, &two);
    assert_eq!(host.link("vx100").unwrap()["master"], "vxbr100");
}

fn routed(mend: Mend) {
    let fleet = Fleet::new(2);
    let host = &fleet.hosts[0];
    let red = own_subnets("red", 100, "1-2");
    let one = attach(host, &red, "one");
    let _far = attach(&fleet.hosts[1], &red, "far");
    one.ping("10.7.2.2");
    host.ip("netns exec slash24-vx100 ip link delete vx100");
    assert!(!one.reaches("10.7.2.2"));
    mend(host, &red);
    one.ping("10.7.2.2");
    reach(&one, "fd07:0:0:2::2");
}

/// As the service does that loads Debian's `/etc/nftables.conf`.
fn flush(host: &Host) {
    host.nft("flush ruleset");
}

fn filter(mend: Mend) {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = tenant("red", 100, 1, json!({"stormLimit": 50}));
    let one = host.container("one");
    let result = add(&red, &one);
    host.ip("address add 10.9.0.9/16 dev vxbr100");
    assert!(!one.reaches("10.9.0.9"));
    flush(host);
    one.ping("10.9.0.9");
    fails(&red, &result, &one, "filter of vxbr100");
    mend(host, &red);
    assert!(!one.reaches("10.9.0.9"), "the host is out of reach again");
    check(&red, &result, &one).check().success();
}

/// The bridge's port that leads to the other hosts does what the kind of network wants.
fn tunnel_port() {
    let fleet = Fleet::new(2);
    let host = &fleet.hosts[0];
    let red = tenant("red", 100, 2, json!({"gateway": "anycast"}));
    let one = host.container("one");
    let result = add(&red, &one);
    check(&red, &result, &one).check().success();
    for broken in ["learning off", "flood off", "neigh_suppress off"] {
        host.ip(&format!("link set vx100 type bridge_slave {broken}"));
        fails(&red, &result, &one, "how vxbr100 treats vx100");
        by_sync(host, &red);
        check(&red, &result, &one).check().success();
    }
    let _far = attach(&fleet.hosts[1], &red, "far");
    one.ping("10.9.2.2");
}

/// A host that is new is told also when the device is made anew, or would be.
fn made_anew() {
    let fleet = Fleet::new(3);
    let host = &fleet.hosts[0];
    let one = attach(host, &tenant("red", 100, 2, json!({})), "one");
    let new = tenant("red", 100, 3, json!({"ttl": 9}));
    host.write("/etc/cni/net.d/red.conf", &new.to_string());
    let call = Call::of(host, Plugins::Slash24, "slash24");
    let arguments = ["vxlan", "sync", "--output", "json", "--dry-run"];
    let dry = call.arguments(arguments).execute().success()[0].clone();
    let done = synced(host, &new);
    for said in [dry, done] {
        assert_eq!(said["added"], json!(["host 192.0.2.3"]), "{said}");
        assert_eq!(said["deleted"], json!([]), "{said}");
        assert_ne!(said["devices"], json!([]), "{said}");
    }
    let _far = attach(&fleet.hosts[2], &new, "far");
    one.ping("10.9.3.2");
}

/// A daemon hears of IP addresses from the bridge's neighbours.
fn told() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut red = tenant("red", 100, 1, json!({}));
    red["peers"] = json!({"evpn": true});
    let one = host.container("one");
    let result = add(&red, &one);
    check(&red, &result, &one).check().success();
    host.ip("neighbour flush dev vxbr100 nud permanent");
    fails(&red, &result, &one, "neighbours of vxbr100");
    add(&red, &one);
    check(&red, &result, &one).check().success();
}

/// By DEL, also of a runtime that does not say what ADD returned, and by GC.
fn taken_back() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut red = tenant("red", 100, 1, json!({}));
    red["peers"] = json!({"evpn": true});
    let containers = ["stays", "one", "two", "three"].map(|id| host.container(id));
    let results = containers.each_ref().map(|container| add(&red, container));
    let told = || -> Vec<String> {
        let all = host.ip_json("neighbour show dev vxbr100 nud permanent");
        let ips = all.as_array().unwrap().iter();
        let ips = ips.filter_map(|one| one["dst"].as_str().map(str::to_owned));
        ips.filter(|ip| ip.starts_with("10.9.1.") || ip.starts_with("fd09::1:"))
            .collect()
    };
    let [stays, one, two, three] = &containers;
    for container in &containers {
        let other = if container.id() == "one" {
            "10.9.1.2"
        } else {
            "10.9.1.3"
        };
        reach(container, other);
    }
    assert_eq!(told().len(), 8);
    check(&red, &results[1], one).del().success();
    assert_eq!(told().len(), 6, "{:?}", told());
    del(&red, two);
    assert_eq!(told().len(), 4, "{:?}", told());
    let mut gc = red.clone();
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "stays", "ifname": "eth0"}]);
    let call = Call::new(host, Plugins::Slash24, &gc);
    call.env("CNI_COMMAND", "GC").execute().success();
    assert!(three.link("eth0").is_none());
    assert_eq!(told().len(), 2, "{:?}", told());
    check(&red, &results[0], stays).check().success();
}

/// `enabledad`: the kernel finds out whether another host has the address.
fn duplicates() {
    let fleet = Fleet::new(2);
    let mut red = tenant("red", 100, 2, json!({"enabledad": true}));
    red["ipam"] = json!({"type": "static", "addresses": [{"address": "fd09::5/64"}]});
    let _one = attach(&fleet.hosts[0], &red, "one");
    let two = fleet.hosts[1].container("two");
    let call = Call::new(&fleet.hosts[1], Plugins::Slash24, &red).attach(&two, "eth0");
    let error = call.add().failure();
    let message = error["msg"].as_str().unwrap();
    // Both have the same link-local address as well: whichever is found first.
    assert!(
        message.contains("another host on the network has"),
        "{error}"
    );
    assert!(fleet.hosts[1].link("vxbr100").is_none());
}

fn leaving(fabric: &Fabric, host: &Host) -> Value {
    fabric.router(&["192.0.2.254/24", "2001:db8::254/64"]);
    host.default_route(&["192.0.2.254"]);
    host.default_route(&["2001:db8::254"]);
    tenant(
        "red",
        100,
        1,
        json!({"isDefaultGateway": true, "ipMasq": true}),
    )
}

/// Whatever of the router is gone, sync brings it back.
fn router() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = leaving(&fleet.fabric, host);
    let one = host.container("one");
    let result = add(&red, &one);
    let inside = |what: &str| format!("netns exec slash24-vx100 ip {what}");
    for (broken, says) in [
        (inside("address flush dev gateway"), "10.9.0.1/16"),
        (inside("link set gateway down"), "gateway"),
        ("link delete vxgw100".to_owned(), "gateway of vxbr100"),
        ("link set vxgw100 nomaster".to_owned(), "gateway of vxbr100"),
        (
            "neighbour flush dev vxbr100 nud permanent".to_owned(),
            "neighbours of vxbr100",
        ),
        (inside("address flush dev uplink"), "240.0.0.100"),
        ("link delete vxup100".to_owned(), "way out"),
        ("link set vxup100 down".to_owned(), "way out"),
    ] {
        host.ip(&broken);
        fails(&red, &result, &one, says);
        by_sync(host, &red);
        check(&red, &result, &one).check().success();
        one.ping("10.9.0.1");
        reach(&one, "fd09::1");
        one.ping("192.0.2.254");
        reach(&one, "2001:db8::254");
    }
}

fn way_out() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = leaving(&fleet.fabric, host);
    let one = host.container("one");
    let result = add(&red, &one);
    for broken in [
        "netns exec slash24-vx100 nft flush ruleset",
        "netns exec slash24-vx100 nft delete table inet slash24",
    ] {
        host.ip(broken);
        assert!(!one.reaches("192.0.2.254"), "{broken}");
        fails(&red, &result, &one, "way out");
        by_sync(host, &red);
        one.ping("192.0.2.254");
        check(&red, &result, &one).check().success();
    }
    host.nft("delete table inet slash24");
    fails(&red, &result, &one, "way out");
    by_sync(host, &red);
    one.ping("192.0.2.254");
    check(&red, &result, &one).check().success();
    let rules = host.ask("nft", "-j list ruleset").to_string();
    assert_eq!(
        rules.matches("masquerade-red-240.0.0.100/32").count(),
        5,
        "{rules}"
    );
}

/// The host's filter is lost as a whole: one look tells.
fn flushed_way_out() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = leaving(&fleet.fabric, host);
    let one = host.container("one");
    let result = add(&red, &one);
    one.ping("192.0.2.254");
    flush(host);
    assert!(!one.reaches("192.0.2.254"));
    by_add(host, &red);
    one.ping("192.0.2.254");
    reach(&one, "2001:db8::254");
    check(&red, &result, &one).check().success();
}

/// A container of the other mode would reach no other host.
fn mode_in_use() {
    let segment = tenant("red", 100, 1, json!({"underlay": "192.0.2.{slot}"}));
    let mut segment = with(&segment, json!({"isGateway": true}));
    segment["peers"] = json!({"places": {"slot": "1-2"}});
    segment["ipam"] = json!({"type": "host-local", "subnet": "10.7.{slot}.0/24"});
    let routes = with(&segment, json!({"mode": "l3"}));
    for (used, asked) in [(&segment, &routes), (&routes, &segment)] {
        let fleet = Fleet::new(1);
        let host = &fleet.hosts[0];
        let _one = attach(host, used, "one");
        let two = host.container("two");
        let call = Call::new(host, Plugins::Slash24, asked);
        let error = call.clone().attach(&two, "eth0").add().failure();
        assert_eq!(error["code"], 7, "{error}");
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("\"mode\" of network \"red\""), "{error}");
        assert!(two.link("eth0").is_none());
        let status = call.env("CNI_COMMAND", "STATUS").execute().failure();
        assert!(
            status["msg"].as_str().unwrap().contains("\"mode\""),
            "{status}"
        );
        add(used, &two);
        two.ping("10.7.1.2");
    }
}
