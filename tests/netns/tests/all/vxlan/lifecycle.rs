//! Devices come with the first container and go with the last.

use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use netns::{Call, Container, Namespace, Plugins, trial};
use serde_json::{Value, json};

use super::fleet::{Fleet, add, attach, del, look, tenant};
use crate::network::with_previous;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/lifecycle/made-once-and-removed", made_once),
        trial("vxlan/lifecycle/kept", kept),
        trial("vxlan/lifecycle/coming-and-going", coming_and_going),
        trial("vxlan/lifecycle/leftovers-of-a-kill", leftovers),
        trial("vxlan/lifecycle/killed-on-the-way", killed),
        trial("vxlan/lifecycle/check", check),
        trial("vxlan/lifecycle/garbage", garbage),
        trial("vxlan/lifecycle/ports", ports),
        trial("vxlan/lifecycle/from-bridge-to-vxlan", from_bridge),
    ]
}

fn made_once() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let before = look(host);
    let red = tenant("red", 100, 1, json!({"ttl": 7}));
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let result = add(&red, &one);
    assert_eq!(result["interfaces"][0]["name"], "vxbr100");
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(result["interfaces"][2]["mtu"], 1450);

    let device = host.link("vx100").expect("the device");
    let data = &device["linkinfo"]["info_data"];
    assert_eq!((&data["id"], &data["port"]), (&json!(100), &json!(4789)));
    assert_eq!(
        (&data["ttl"], &data["local"]),
        (&json!(7), &json!("192.0.2.1"))
    );
    assert_eq!(device["master"], "vxbr100");
    assert_eq!(device["mtu"], 1450);
    assert_eq!(device["address"], "0e:58:c0:00:02:01");
    let bridge = host.link("vxbr100").expect("the bridge");
    assert_eq!(
        (&bridge["mtu"], &bridge["ifalias"]),
        (&json!(1450), &json!("slash24-vxlan red"))
    );
    assert_eq!(one.link("eth0").expect("it is attached")["mtu"], 1450);

    add(&red, &two);
    assert_eq!(
        host.link("vx100").expect("it stays")["ifindex"],
        device["ifindex"]
    );
    one.ping("10.9.1.3");
    del(&red, &one);
    assert!(host.link("vxbr100").is_some());
    del(&red, &two);
    del(&red, &two);
    before.assert_same(&look(host), "after the last container");
}

fn kept() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = tenant("red", 100, 1, json!({"keep": true}));
    let one = attach(host, &red, "one");
    let index = host.link("vx100").expect("the device")["ifindex"].clone();
    del(&red, &one);
    add(&red, &one);
    assert_eq!(host.link("vx100").expect("it stays")["ifindex"], index);
}

/// Many at once: whoever is first makes the devices, whoever is last removes them, and nobody is
/// ever without.
fn coming_and_going() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let before = look(host);
    let red = tenant("red", 100, 1, json!({}));
    thread::scope(|scope| {
        for id in ["a", "b", "c", "d"] {
            let red = &red;
            scope.spawn(move || {
                let container = host.container(id);
                for _ in 0..8 {
                    add(red, &container);
                    let bridge = host.link("vxbr100").expect("there is a container on it");
                    assert_eq!(bridge["ifalias"], "slash24-vxlan red");
                    del(red, &container);
                }
            });
        }
    });
    before.assert_same(&look(host), "after all have gone");
}

/// What a process leaves that is killed between two requests.
fn leftovers() {
    let states = [
        "link add vx100 type vxlan id 100 dstport 4789 local 192.0.2.1",
        "link add vx100 type vxlan id 100 dstport 4789 local 192.0.2.1\nlink add vxbr100 type bridge",
        "link add vx100 type vxlan id 100 dstport 4789 local 192.0.2.1\nlink add vxbr100 type bridge\n\
         link set vx100 master vxbr100 up",
        "link add vxbr100 type bridge",
    ];
    for state in states {
        let fleet = Fleet::new(1);
        let host = &fleet.hosts[0];
        let before = look(host);
        host.ip(state);
        let red = tenant("red", 100, 1, json!({}));
        let one = attach(host, &red, "one");
        assert_eq!(
            host.link("vx100").expect("the device")["master"],
            "vxbr100",
            "{state}"
        );
        assert_eq!(
            host.link("vxbr100").expect("the bridge")["ifalias"],
            "slash24-vxlan red"
        );
        del(&red, &one);
        before.assert_same(&look(host), state);
    }
}

fn check() {
    let fleet = Fleet::new(2);
    let host = &fleet.hosts[0];
    let red = tenant("red", 100, 2, json!({}));
    let one = host.container("one");
    let result = add(&red, &one);
    let call = |config: &Value| {
        Call::new(host, Plugins::Slash24, &with_previous(config, &result)).attach(&one, "eth0")
    };
    call(&red).check().success();
    let fails = |config: &Value, says: &str| {
        let error = call(config).check().failure();
        let message = error["msg"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{error}");
    };
    fails(&tenant("red", 100, 3, json!({})), "1 missing remotes");
    fails(
        &tenant("red", 100, 2, json!({"port": 4790})),
        "UDP port of vx100",
    );
    fails(&tenant("red", 100, 2, json!({"mtu": 1400})), "MTU of vx100");
    host.ip("link set vx100 down");
    fails(&red, "state of vx100");
    host.ip("link set vx100 up nomaster");
    fails(&red, "a port of vxbr100");
    host.ip("link del vx100");
    fails(&red, "vx100");
    drop::<Container<'_>>(one);
}

/// Containers that ended without a DEL, and the devices with the last of them.
fn garbage() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    // It routes already, as hosts with containers do.
    host.set_sysctl("net/ipv4/ip_forward", "1");
    host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    let before = look(host);
    let red = tenant(
        "red",
        100,
        1,
        json!({"gateway": "anycast", "ipMasq": true, "stormLimit": 9}),
    );
    let [one, two] = ["one", "two"].map(|id| attach(host, &red, id));
    let gc = |valid: Value| {
        let mut config = red.clone();
        config["cni.dev/valid-attachments"] = valid;
        let call = Call::new(host, Plugins::Slash24, &config);
        call.env("CNI_COMMAND", "GC").execute().success();
    };
    gc(json!([{"containerID": "one", "ifname": "eth0"}, {"containerID": "two", "ifname": "eth0"}]));
    one.ping("10.9.1.3");
    gc(json!([{"containerID": "two", "ifname": "eth0"}]));
    assert!(one.link("eth0").is_none());
    two.ping("10.9.0.1");
    gc(json!([]));
    before.assert_same(&look(host), "after the last container");
    // Addresses are free again.
    add(&red, &one);
}

/// An operator moves a network to another plugin: new containers come to the overlay, running ones
/// go on where they are, and go as they came.
fn from_bridge() {
    let fleet = Fleet::new(2);
    let ipam = json!({"type": "host-local", "subnet": "10.9.0.0/16",
        "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"});
    let bridge = json!({"cniVersion": "1.1.0", "name": "backend", "type": "bridge",
        "bridge": "back0", "isGateway": true, "ipam": ipam});
    let vxlan = tenant("backend", 100, 2, json!({"isGateway": true, "ipam": ipam}));
    let host = &fleet.hosts[0];
    let [old, older] = ["old", "older"].map(|id| host.container(id));
    let results = [&old, &older].map(|container| add(&bridge, container));
    let new = attach(host, &vxlan, "new");
    let far = attach(&fleet.hosts[1], &vxlan, "far");
    assert_eq!(
        new.addresses("eth0"),
        ["10.9.1.4/16"],
        "one network, one set of leases"
    );
    new.ping("10.9.2.2");
    far.ping("10.9.1.4");
    old.ping("10.9.1.3");
    old.ping("10.9.0.1");

    // The runtime has the new configuration by now, and the results of then.
    let del = |container: &Container<'_>, result: &Value| {
        let config = with_previous(&vxlan, result);
        let call = Call::new(host, Plugins::Slash24, &config);
        call.attach(container, "eth0").del().success();
    };
    del(&old, &results[0]);
    assert!(old.link("eth0").is_none());
    older.ping("10.9.0.1");
    del(&older, &results[1]);
    new.ping("10.9.2.2");
}

/// Calls that are killed at some moment: the next ADD and DEL find whatever is left.
fn killed() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    // It routes already, as hosts with containers do.
    host.set_sysctl("net/ipv4/ip_forward", "1");
    host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    let before = look(host);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "stormLimit": 100});
    let red = tenant("red", 100, 1, keys);
    let container = host.container("one");
    let call = |verb| {
        let call = Call::new(host, Plugins::Slash24, &red).attach(&container, "eth0");
        call.env("CNI_COMMAND", verb)
    };
    for round in 0..40_u64 {
        for verb in ["ADD", "DEL"] {
            let mut child = call(verb).start();
            thread::sleep(Duration::from_micros(round * round * 60));
            let _ = child.kill();
            let _ = child.wait();
        }
        if round % 4 == 0 {
            add(&red, &container);
            container.wait_until("the gateway answers", || container.reaches("10.9.0.1"));
            let device = host.link("vx100").expect("the network is whole");
            assert_eq!(device["master"], "vxbr100");
            del(&red, &container);
        }
    }
    add(&red, &container);
    del(&red, &container);
    before.assert_same(&look(host), "after the last container");
}

/// What a port may do: nothing with another hardware address, nothing with one that is isolated as
/// well; and CHECK sees what was changed.
fn ports() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let red = tenant(
        "red",
        100,
        1,
        json!({"macspoofchk": true, "isolated": true, "gateway": "anycast"}),
    );
    let one = host.container("one");
    let result = add(&red, &one);
    let two = attach(host, &red, "two");
    one.ping("10.9.0.1");
    assert!(!one.reaches("10.9.1.3"), "both are isolated");
    let check = || {
        Call::new(host, Plugins::Slash24, &with_previous(&red, &result))
            .attach(&one, "eth0")
            .check()
    };
    check().success();
    let port = result["interfaces"][1]["name"].as_str().unwrap();
    host.ip(&format!("link set {port} type bridge_slave isolated off"));
    let error = check().failure();
    assert!(
        error["msg"].as_str().unwrap().contains("isolated true"),
        "{error}"
    );
    host.ip(&format!("link set {port} type bridge_slave isolated on"));
    host.ip("link set vxgw100 alias nobody");
    let error = check().failure();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("gateway of vxbr100"),
        "{error}"
    );

    one.ip("link set eth0 address 02:00:00:00:00:01");
    assert!(!one.reaches("10.9.0.1"), "its address is another's");
    two.ping("10.9.0.1");
    del(&red, &one);
    del(&red, &two);
    let filter = host.ask("nft", "-j list ruleset").to_string();
    assert!(!filter.contains(port), "{filter}");
}
