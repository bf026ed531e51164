//! Networks whose configuration changes while containers are on them.

use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use netns::{Call, Host, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{
    Capture, Fleet, add, all_reach_each_other, attach, del, look, reach_each_other, tenant, v6,
};
use crate::network::{merge, with_previous};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/changed/port-and-how-it-sends", || {
            let keys = json!({"port": 4790, "ttl": 9, "tos": 8, "udpChecksum": false,
                "sourcePortRange": "50000-50100", "stormLimit": 500});
            tunnel(json!({}), keys, "4790")
        }),
        trial("vxlan/changed/underlay", || {
            let peers: Vec<String> = (1..=2).map(v6).collect();
            let keys = json!({"underlay": "2001:db8::{slot}", "peers": {"static": peers}});
            tunnel(json!({}), keys, "2001:db8::1")
        }),
        trial("vxlan/changed/to-a-group-and-a-gateway", || {
            let keys = json!({"gateway": "anycast"});
            tunnel(keys, json!({"peers": {"group": "239.1.1.1"}}), "239.1.1.1")
        }),
        trial("vxlan/changed/routed", routed),
        trial("vxlan/changed/computed-and-asked", computed_and_asked),
        trial("vxlan/changed/inside-a-delegate", delegate),
        trial("vxlan/changed/mtu", mtu),
        trial("vxlan/changed/larger-mtu", larger_mtu),
        trial("vxlan/changed/mode", mode),
        trial("vxlan/changed/vni", vni),
        trial("vxlan/changed/sync-is-killed", killed),
    ]
}

fn sync<'h>(host: &'h Host, config: &Value, arguments: &[&str]) -> Call<'h> {
    host.write("/etc/cni/net.d/red.conf", &config.to_string());
    let all = ["vxlan", "sync", "--output", "json"]
        .iter()
        .chain(arguments);
    Call::of(host, Plugins::Slash24, "slash24").arguments(all)
}

fn synced(host: &Host, config: &Value) -> Value {
    sync(host, config, &[]).execute().success()[0].clone()
}

fn assert_nothing_to_do(host: &Host, config: &Value) {
    let again = synced(host, config);
    for key in ["devices", "added", "deleted"] {
        assert_eq!(again[key], json!([]), "{again}");
    }
}

fn with(config: &Value, keys: Value) -> Value {
    let mut config = config.clone();
    merge(&mut config, keys);
    config
}

/// What makes a tunnel is another, and containers stay.
fn tunnel(before: Value, after: Value, seen: &str) {
    let fleet = Fleet::new(2);
    let clean: Vec<_> = fleet.hosts.iter().map(look).collect();
    let old = tenant("red", 100, 2, before);
    let containers = all_reach_each_other(&fleet, &old);
    let mut new = old.clone();
    for (key, value) in after.as_object().unwrap() {
        new[key] = value.clone();
    }
    let host = &fleet.hosts[0];
    let unchanged = look(host);
    let dry = sync(host, &new, &["--dry-run"]).execute().success();
    assert_ne!(dry[0]["devices"], json!([]), "{dry}");
    unchanged.assert_same(&look(host), "after a dry run");
    let inside = containers[0].link("eth0").unwrap()["ifindex"].clone();
    // What is sent meanwhile teaches hosts where the other is.
    let capture = Capture::start(&fleet.fabric, "fabric", "udp");
    for host in &fleet.hosts {
        let done = synced(host, &new);
        let (done, planned) = (&done["devices"], &dry[0]["devices"]);
        assert_eq!(
            done.as_array().map(Vec::len),
            planned.as_array().map(Vec::len),
            "{done}"
        );
        assert_nothing_to_do(host, &new);
    }
    reach_each_other(&containers);
    let captured = capture.stop();
    assert!(captured.contains(seen), "{captured}");
    assert_eq!(containers[0].link("eth0").unwrap()["ifindex"], inside);
    let late = attach(host, &new, "late");
    late.ping("10.9.2.2");
    for container in containers.iter().chain([&late]) {
        del(&new, container);
    }
    for (host, clean) in fleet.hosts.iter().zip(&clean) {
        clean.assert_same(&look(host), "after the last container");
    }
}

/// Where hosts are routed to the tunnel is in the router.
fn routed() {
    let fleet = Fleet::new(2);
    let mut old = tenant(
        "red",
        100,
        1,
        json!({"mode": "l3", "underlay": "192.0.2.{slot}"}),
    );
    old["peers"] = json!({"places": {"slot": "1-2"}});
    old["ipam"] = json!({"type": "host-local", "ranges": [
        [{"subnet": "10.7.{slot}.0/24"}], [{"subnet": "fd07:0:0:{slot}::/64"}]]});
    let containers = all_reach_each_other(&fleet, &old);
    let new = with(&old, json!({"port": 4790}));
    for host in &fleet.hosts {
        let done = synced(host, &new);
        let says = done["devices"].to_string();
        assert!(
            says.contains("UDP port of vx100 from 4789 to 4790"),
            "{done}"
        );
        assert_nothing_to_do(host, &new);
    }
    reach_each_other(&containers);
}

/// An inventory that knows of a host without a place: from then on hosts are asked.
fn computed_and_asked() {
    let fleet = Fleet::new(2);
    let write = |hosts: Value| {
        for host in &fleet.hosts {
            host.write("/etc/slash24/hosts.json", &hosts.to_string());
        }
    };
    let ipam = json!({"type": "host-local", "subnet": "10.9.0.0/16",
        "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"});
    let mut config = tenant("red", 100, 1, json!({"underlay": "192.0.2.{slot}"}));
    config["peers"] = json!({"file": "/etc/slash24/hosts.json"});
    config["ipam"] = ipam;
    let places = json!([{"slot": 1}, {"slot": 2}]);
    write(places.clone());
    let containers = all_reach_each_other(&fleet, &config);
    for (hosts, is_asked) in [
        (json!([{"slot": 1}, {"slot": 2}, "192.0.2.9"]), true),
        (places, false),
    ] {
        write(hosts);
        for host in &fleet.hosts {
            let done = synced(host, &config);
            assert_eq!(done["whyAsked"].is_string(), is_asked, "{done}");
            assert_nothing_to_do(host, &config);
        }
        reach_each_other(&containers);
        let late = attach(&fleet.hosts[0], &config, "late");
        late.ping("10.9.2.2");
        let address = late.addresses("eth0")[0].clone();
        containers[1].ping(address.split('/').next().unwrap());
        late.ping("10.9.1.2");
        del(&config, &late);
    }
}

/// A network that is another plugin's delegate, as Mesos and `default-route` have it.
fn delegate() {
    let fleet = Fleet::new(2);
    let wrapped = |hosts| {
        let mut inner = tenant("red", 100, hosts, json!({"isDefaultGateway": true}));
        let inner = inner.as_object_mut().unwrap();
        inner.remove("name");
        inner.remove("cniVersion");
        json!({"cniVersion": "1.1.0", "name": "red", "type": "default-route",
            "delegate": inner})
    };
    let host = &fleet.hosts[0];
    let one = attach(host, &wrapped(1), "one");
    let _far = attach(&fleet.hosts[1], &tenant("red", 100, 2, json!({})), "far");
    let done = synced(host, &wrapped(2));
    assert_eq!(done["network"], "red", "{done}");
    assert_eq!(done["added"], json!(["host 192.0.2.2"]), "{done}");
    one.ping("10.9.2.2");
}

fn mtu() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let old = tenant("red", 100, 1, json!({"gateway": "anycast"}));
    let one = host.container("one");
    let result = add(&old, &one);
    let new = with(&old, json!({"mtu": 1300, "stormLimit": 77}));
    let done = synced(host, &new);
    let says = done["devices"].to_string();
    assert!(
        says.contains("MTU of vxbr100 from 1450 to 1300")
            && says.contains("limit of vx100 from none to 77 a second"),
        "{done}"
    );
    assert_nothing_to_do(host, &new);
    for name in ["vx100", "vxbr100", "vxgw100"] {
        assert_eq!(host.link(name).expect("it is there")["mtu"], 1300, "{name}");
    }
    // What the container has is its own.
    assert_eq!(one.link("eth0").unwrap()["mtu"], 1450);
    let call = Call::new(host, Plugins::Slash24, &with_previous(&new, &result));
    call.attach(&one, "eth0").check().success();
    let two = attach(host, &new, "two");
    assert_eq!(two.link("eth0").unwrap()["mtu"], 1300);
    two.ping("10.9.0.1");
}

/// A larger one waits for a sync; until then containers have what there is.
fn larger_mtu() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let old = tenant("red", 100, 1, json!({"mtu": 1300}));
    let _one = attach(host, &old, "one");
    let new = with(&old, json!({"mtu": 1400}));
    let two = attach(host, &new, "two");
    assert_eq!(two.link("eth0").unwrap()["mtu"], 1300);
    let done = synced(host, &new);
    assert!(
        done["devices"].to_string().contains("from 1300 to 1400"),
        "{done}"
    );
    let three = attach(host, &new, "three");
    assert_eq!(three.link("eth0").unwrap()["mtu"], 1400);
}

/// A segment does not become routes under its containers.
fn mode() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut config = tenant("red", 100, 1, json!({"underlay": "192.0.2.{slot}"}));
    config["peers"] = json!({"places": {"slot": "1-2"}});
    config["ipam"] = json!({"type": "host-local", "subnet": "10.9.{slot}.0/24"});
    let one = attach(host, &config, "one");
    let before = look(host);
    let outcome = sync(host, &with(&config, json!({"mode": "l3"})), &[]).execute();
    assert!(outcome.stderr.contains("\"mode\""), "{outcome:?}");
    before.assert_same(&look(host), "after a sync that was refused");
    del(&config, &one);
}

/// With another VNI it is another segment: what runs goes on where it is, and takes the old devices
/// along when it ends, by DEL or GC.
fn vni() {
    let fleet = Fleet::new(2);
    let clean: Vec<_> = fleet.hosts.iter().map(look).collect();
    let old = tenant("red", 100, 2, json!({}));
    let new = tenant("red", 200, 2, json!({}));
    let containers = all_reach_each_other(&fleet, &old);
    let late: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| attach(host, &new, "late"))
        .collect();
    late[0].ping("10.9.2.3");
    containers[0].ping("10.9.2.2");
    assert!(!late[0].reaches("10.9.2.2"));
    del(&new, &containers[0]);
    assert!(fleet.hosts[0].link("vxbr100").is_none());
    let gc = with(
        &new,
        json!({"cni.dev/valid-attachments":
        [{"containerID": "late", "ifname": "eth0"}]}),
    );
    let call = Call::new(&fleet.hosts[1], Plugins::Slash24, &gc);
    call.env("CNI_COMMAND", "GC").execute().success();
    assert!(fleet.hosts[1].link("vxbr100").is_none());
    late[0].ping("10.9.2.3");
    for container in &late {
        del(&new, container);
    }
    for (host, clean) in fleet.hosts.iter().zip(&clean) {
        clean.assert_same(&look(host), "after the last container");
    }
}

/// Whenever a sync is killed, the next completes it.
fn killed() {
    let fleet = Fleet::new(2);
    let old = tenant(
        "red",
        100,
        2,
        json!({"gateway": "anycast", "stormLimit": 100}),
    );
    let containers = all_reach_each_other(&fleet, &old);
    let new = with(&old, json!({"port": 4790, "mtu": 1300}));
    let configs = [&new, &old];
    for round in 0..24_u64 {
        let config = configs[(round % 2) as usize];
        let mut child = sync(&fleet.hosts[0], config, &[]).start();
        thread::sleep(Duration::from_micros(round * round * 60));
        let _ = child.kill();
        let _ = child.wait();
        if round % 4 == 3 {
            for host in &fleet.hosts {
                synced(host, config);
                assert_nothing_to_do(host, config);
            }
            containers[0].ping("10.9.2.2");
        }
    }
    reach_each_other(&containers);
}
