//! `ipMasq` of `bridge`, by the source that the other end sees.

use libtest_mimic::Trial;
use netns::{Call, Container, Fabric, Host, Namespace, Plugins};
use serde_json::{Value, json};

use crate::network::{Family, bridge};
use crate::subject::{both, ours, wait_for_the_gateway};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("masquerade/hides-the-container/IPv4", |plugins| {
            masquerade(plugins, Family::V4)
        }),
        both("masquerade/hides-the-container/IPv6", |plugins| {
            masquerade(plugins, Family::V6)
        }),
        both(
            "masquerade/leaves-neighbours-alone",
            masquerade_spares_neighbours,
        ),
        ours("masquerade/needs-nothing-at-del", masquerade_survives_del),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Attaches and returns the result.
fn add(plugins: Plugins, config: &Value, container: &Container<'_>) {
    Call::new(container.host(), plugins, config)
        .attach(container, "eth0")
        .add()
        .success();
}

/// A host with a container, and somebody outside who knows nothing of the container's subnet.
fn masquerade(plugins: Plugins, family: Family) {
    let (fabric, host, outside) = (Fabric::new(), Host::new("host"), Host::new("outside"));
    fabric.join(&host, "eth0", &["192.0.2.11/24", "2001:db8::11/64"]);
    fabric.join(&outside, "eth0", &["192.0.2.99/24", "2001:db8::99/64"]);
    let (server, of_host) = match family {
        Family::V4 => ("192.0.2.99", "192.0.2.11"),
        _ => ("2001:db8::99", "2001:db8::11"),
    };
    let container = host.container("c");
    let config = bridge(family, json!({"isDefaultGateway": true, "ipMasq": true}));
    add(plugins, &config, &container);
    wait_for_the_gateway(plugins, &container, family.gateways()[0]);
    let source = container
        .tcp(&outside, server)
        .expect("the host masquerades");
    assert_eq!(source.ip().to_string(), of_host);
}

fn masquerade_spares_neighbours(plugins: Plugins) {
    let host = Host::new("host");
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let config = bridge(Family::V4, json!({"ipMasq": true}));
    for container in [&one, &two] {
        add(plugins, &config, container);
    }
    let source = one.tcp(&two, "10.1.2.3").expect("they share a bridge");
    assert_eq!(source.ip().to_string(), "10.1.2.2");
}

/// The rules belong to the network: a container that goes does not take those of the other along.
fn masquerade_survives_del() {
    let (fabric, host, outside) = (Fabric::new(), Host::new("host"), Host::new("outside"));
    fabric.join(&host, "eth0", &["192.0.2.11/24"]);
    fabric.join(&outside, "eth0", &["192.0.2.99/24"]);
    let [one, two] = ["one", "two"].map(|id| host.container(id));
    let config = bridge(
        Family::V4,
        json!({"isDefaultGateway": true, "ipMasq": true}),
    );
    for container in [&one, &two] {
        add(Plugins::Slash24, &config, container);
    }
    let rules = || host.ask("nft", "--json list ruleset")["nftables"].clone();
    let rules_of_two = rules();
    Call::new(&host, Plugins::Slash24, &config)
        .attach(&one, "eth0")
        .del()
        .success();
    assert_eq!(rules(), rules_of_two);
    let source = two
        .tcp(&outside, "192.0.2.99")
        .expect("the host masquerades");
    assert_eq!(source.ip().to_string(), "192.0.2.11");
    // Attaching again does not make the rules more.
    add(Plugins::Slash24, &config, &one);
    assert_eq!(
        rules().as_array().map(Vec::len),
        rules_of_two.as_array().map(Vec::len)
    );
}
