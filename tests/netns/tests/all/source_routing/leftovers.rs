//! Rules are the one thing of an attachment that does not go with its link.

use libtest_mimic::Trial;
use netns::{Container, Namespace, Snapshot, trial};
use serde_json::{Value, json};

use super::{OURS, all_are_answered, call, network, rules, two_networks};
use crate::network::merge;
use crate::subject::ours;

/// Plugins whose DEL looks at a link in different places.
const KINDS: [&str; 4] = ["macvlan", "bridge", "ptp", "tap"];

fn of_kind(kind: &str) -> Value {
    let mut config = network(1, json!({"sourceRouting": true, "type": kind}));
    match kind {
        "bridge" => {}
        _ => merge(
            &mut config,
            json!({"bridge": null, "isGateway": null, "master": "eth0"}),
        ),
    }
    config
}

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = ours(
        "source-routing/del-without-the-namespace-then-add",
        stale_rules,
    );
    for kind in KINDS {
        let name = format!("source-routing/key-is-lost-before-del/{kind}");
        trials.push(trial(name, move || key_is_lost(kind)));
    }
    trials.extend(ours(
        "source-routing/key-is-lost-before-del/host-device",
        device_goes_home,
    ));
    trials
}

/// The address changes, and the old one's rule must not stay beside the new one's.
fn stale_rules() {
    let (fabric, host) = two_networks();
    let container = host.container("c");
    let configs = [0, 1].map(|number| network(number, json!({"sourceRouting": true})));
    for (number, config) in configs.iter().enumerate() {
        call(OURS, &container, number, config).add().success();
    }
    let before = rules(&container);
    let again = call(OURS, &container, 1, &configs[1]);
    again.clone().env("CNI_NETNS", "").del().success();
    assert_eq!(rules(&container), before, "nobody could look");
    again.add().success();
    let after = rules(&container);
    assert_eq!(after.len(), 4, "{after:?}");
    assert_ne!(after, before, "host-local gives the next address");
    all_are_answered(&fabric, &container);
}

fn key_is_lost(kind: &str) {
    let (_fabric, host) = two_networks();
    let container = host.container("c");
    let before = Snapshot::of(&container, &[]);
    let with = of_kind(kind);
    let mut without = with.clone();
    merge(&mut without, json!({"sourceRouting": null}));
    let add = || {
        call(OURS, &container, 1, &with).add().success();
        assert_eq!(rules(&container).len(), 2, "{:?}", rules(&container));
    };
    let del = call(OURS, &container, 1, &without);
    add();
    del.del().success();
    before.assert_same(&Snapshot::of(&container, &[]), "after DEL without the key");
    // An ADD without the key over what one with it has left.
    add();
    del.add().success();
    assert_eq!(rules(&container), Vec::<String>::new());
    del.del().success();
    // The link is lost as well.
    add();
    container.ip("link del eth1");
    del.del().success();
    before.assert_same(&Snapshot::of(&container, &[]), "after DEL without a link");
    others_stay(&container, &with);
}

/// Those of another interface are not this one's.
fn others_stay(container: &Container<'_>, with: &Value) {
    let plain = call(OURS, container, 0, &network(0, json!({})));
    plain.add().success();
    call(OURS, container, 1, with).add().success();
    plain.del().success();
    assert_eq!(rules(container).len(), 2, "{:?}", rules(container));
    call(OURS, container, 1, with).del().success();
}

/// A device of the host's lives on, and has nothing on it there that says so.
fn device_goes_home() {
    let (fabric, host) = two_networks();
    fabric.join(&host, "spare0", &[]);
    let container = host.container("c");
    let mut with = of_kind("host-device");
    merge(&mut with, json!({"device": "spare0"}));
    let mut without = with.clone();
    merge(&mut without, json!({"sourceRouting": null}));
    let group = || host.link("spare0").expect("it is at home")["group"].clone();
    let before = group();
    call(OURS, &container, 1, &with).add().success();
    assert_eq!(rules(&container).len(), 2, "{:?}", rules(&container));
    call(OURS, &container, 1, &without).del().success();
    assert_eq!((rules(&container), group()), (Vec::new(), before.clone()));
    // As the kernel does when a namespace ends, for hardware.
    call(OURS, &container, 1, &with).add().success();
    let home = host.netns();
    container.ip(&format!(
        "link set eth1 down\nlink set eth1 netns {}",
        home.display()
    ));
    call(OURS, &container, 1, &without).del().success();
    assert_eq!(group(), before);
}
