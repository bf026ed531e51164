//! Networks whose configuration is another, or no good, by the time a container goes: the devices
//! that it was attached to go with the last all the same.

use libtest_mimic::Trial;
use netns::{Call, Container, Host, Namespace, Plugins, Snapshot, trial};
use serde_json::{Value, json};

use super::fleet::{Fleet, add, attach, del, look, tenant};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("vxlan/former/moved-to-another-plugin", moved),
        trial("vxlan/former/moved-and-attached-again", attached_again),
        trial("vxlan/former/kept", kept),
        trial("vxlan/former/bad-key", bad_key),
        trial("vxlan/former/another-vni", another_vni),
        trial("vxlan/former/bridge-of-a-tenant", bridge_of_a_tenant),
    ]
}

/// A host that routes already, as hosts with containers do, and how it is.
fn routing(fleet: &Fleet) -> (&Host, Snapshot) {
    let host = &fleet.hosts[0];
    host.set_sysctl("net/ipv4/ip_forward", "1");
    host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    (host, look(host))
}

/// A network that has all that a network can have.
fn full(vni: u32) -> Value {
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "stormLimit": 9,
        "macspoofchk": true});
    tenant("red", vni, 1, keys)
}

fn simple(kind: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": "red", "type": kind, "bridge": "back0",
        "ipam": full(100)["ipam"]})
}

fn gc(host: &Host, config: &Value) {
    let mut config = config.clone();
    config["cni.dev/valid-attachments"] = json!([]);
    let call = Call::new(host, Plugins::Slash24, &config);
    call.env("CNI_COMMAND", "GC").execute().success();
}

/// The last container of a network that is on another plugin by now.
fn moved() {
    for kind in ["bridge", "ptp"] {
        let fleet = Fleet::new(1);
        let (host, before) = routing(&fleet);
        for ends_by_gc in [false, true] {
            let [one, two] = ["one", "two"].map(|id| attach(host, &full(100), id));
            del(&simple(kind), &one);
            assert!(host.link("vxbr100").is_some(), "there is another container");
            two.ping("10.9.0.1");
            match ends_by_gc {
                false => del(&simple(kind), &two),
                true => gc(host, &simple(kind)),
            }
            assert!(host.link("vxbr100").is_none(), "{kind} {ends_by_gc}");
            drop((one, two));
            before
                .without(|key| key.contains("bridge slash24"))
                .assert_same(
                    &look(host).without(|key| key.contains("bridge slash24")),
                    &format!("{kind} {ends_by_gc}"),
                );
        }
    }
}

/// A container that is attached anew without a DEL is on one network only.
fn attached_again() {
    for kind in ["bridge", "ptp"] {
        let fleet = Fleet::new(1);
        let host = &fleet.hosts[0];
        let one = attach(host, &full(100), "one");
        add(&simple(kind), &one);
        assert!(host.link("vx100").is_none() && host.link("vxbr100").is_none());
        del(&simple(kind), &one);
    }
}

fn kept() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let mut red = full(100);
    red["keep"] = json!(true);
    let one = attach(host, &red, "one");
    let mut bridge = simple("bridge");
    bridge["keep"] = json!(true);
    del(&bridge, &one);
    gc(host, &bridge);
    assert!(host.link("vx100").is_some());
}

/// A mistake in one key is nothing to the others.
fn bad_key() {
    for (key, value) in [
        ("ttl", json!(300)),
        ("peers", json!(7)),
        ("vni", json!("x")),
        ("vni", Value::Null),
        ("keep", json!("x")),
    ] {
        let fleet = Fleet::new(1);
        let (host, before) = routing(&fleet);
        let one = attach(host, &full(100), "one");
        let mut wrong = full(100);
        wrong[key] = value;
        del(&wrong, &one);
        drop::<Container<'_>>(one);
        let unlike = |key: &str| key.contains("bridge slash24");
        before
            .without(unlike)
            .assert_same(&look(host).without(unlike), key);
    }
}

fn another_vni() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let [one, two] = ["one", "two"].map(|id| attach(host, &full(100), id));
    add(&full(200), &one);
    assert!(host.link("vxbr100").is_some(), "there is another container");
    two.ping("10.9.0.1");
    add(&full(200), &two);
    for name in ["vx100", "vxbr100", "vxgw100", "vxup100"] {
        assert!(host.link(name).is_none(), "{name}");
    }
    for container in [&one, &two] {
        container.ping("10.9.0.1");
        del(&full(200), container);
    }
}

/// Another network cannot be on a tenant's segment.
fn bridge_of_a_tenant() {
    let fleet = Fleet::new(1);
    let host = &fleet.hosts[0];
    let one = attach(host, &full(100), "one");
    let mut other = simple("bridge");
    other["name"] = json!("other");
    other["bridge"] = json!("vxbr100");
    other["isGateway"] = json!(true);
    let before = look(host);
    let two = host.container("two");
    let call = Call::new(host, Plugins::Slash24, &other);
    let error = call.clone().attach(&two, "eth0").add().failure();
    assert_eq!(error["code"], 7, "{error}");
    let message = error["msg"].as_str().unwrap();
    assert!(message.contains("\"bridge\": \"vxbr100\""), "{error}");
    call.env("CNI_COMMAND", "STATUS").execute().failure();
    before.assert_same(&look(host), "after an ADD that was refused");
    del(&full(100), &one);
    assert!(host.link("vxbr100").is_none());
}
