//! The same on a kernel that is some years old.

use libtest_mimic::Trial;
use netns::{Namespace, trial_on_old_kernel};
use serde_json::json;

use super::fleet::{Fleet, all_reach_each_other, del, look, places, tenant};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial_on_old_kernel("vxlan/old-kernel", computed_and_asked)]
}

/// Two hosts that compute who is where, of both families, and two that ask.
fn computed_and_asked() {
    let computed = places(
        "1-2",
        &json!({"type": "host-local", "paired": true, "ranges": [
            [{"subnet": "10.9.0.0/16", "rangeStart": "10.9.{slot}.2", "rangeEnd": "10.9.{slot}.9"}],
            [{"subnet": "fd09::/64", "rangeStart": "fd09::{slot}:2", "rangeEnd": "fd09::{slot}:9"}],
        ]}),
    );
    let asked = tenant("red", 100, 2, json!({"ipMasq": true, "stormLimit": 100}));
    for config in [computed, asked] {
        let fleet = Fleet::new(2);
        for host in &fleet.hosts {
            // They route already, as hosts with containers do.
            host.set_sysctl("net/ipv4/ip_forward", "1");
            host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        }
        let before: Vec<_> = fleet.hosts.iter().map(look).collect();
        let containers = all_reach_each_other(&fleet, &config);
        for container in &containers {
            del(&config, container);
        }
        for (host, before) in fleet.hosts.iter().zip(&before) {
            before.assert_same(&look(host), "after the last container");
        }
    }
}
