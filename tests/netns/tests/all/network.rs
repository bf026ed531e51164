//! Configurations of networks, as the other topics need them.

use netns::{Call, Container, Plugins};
use serde_json::{Value, json};

/// The versions of the protocol, oldest first.
pub(crate) const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// Which addresses a network gives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
    Dual,
}

impl Family {
    pub(crate) const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Dual];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            Self::Dual => "dual",
        }
    }

    /// The subnets of the networks below.
    pub(crate) fn subnets(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &["10.1.2.0/24"],
            Self::V6 => &["fd00:1:2::/64"],
            Self::Dual => &["10.1.2.0/24", "fd00:1:2::/64"],
        }
    }

    /// Their routers, which host-local takes for the gateways.
    pub(crate) fn gateways(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &["10.1.2.1"],
            Self::V6 => &["fd00:1:2::1"],
            Self::Dual => &["10.1.2.1", "fd00:1:2::1"],
        }
    }

    /// The addresses of a first container.
    pub(crate) fn first(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &["10.1.2.2"],
            Self::V6 => &["fd00:1:2::2"],
            Self::Dual => &["10.1.2.2", "fd00:1:2::2"],
        }
    }
}

/// The gateways with the lengths of their subnets' prefixes, for a router's interface.
pub(crate) const ROUTER: [&str; 2] = ["10.1.2.1/24", "fd00:1:2::1/64"];

/// An `ipam` object that gives one address of each subnet.
pub(crate) fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "ranges": ranges})
}

/// A network called `n`: a type, its keys, and addresses of a family.
pub(crate) fn network(plugin: &str, version: &str, family: Family, keys: Value) -> Value {
    let mut config = json!({
        "cniVersion": version,
        "name": "n",
        "type": plugin,
        "ipam": host_local(family.subnets()),
    });
    merge(&mut config, keys);
    config
}

/// A bridge network on `br0` whose host is the gateway, with more keys.
pub(crate) fn bridge(family: Family, keys: Value) -> Value {
    let mut config = network(
        "bridge",
        "1.0.0",
        family,
        json!({"bridge": "br0", "isGateway": true}),
    );
    merge(&mut config, keys);
    config
}

/// A macvlan network on `eth0`, with more keys.
pub(crate) fn macvlan(family: Family, keys: Value) -> Value {
    let mut config = network("macvlan", "1.0.0", family, json!({"master": "eth0"}));
    merge(&mut config, keys);
    config
}

/// Sets keys of an object; null takes one away.
pub(crate) fn merge(config: &mut Value, keys: Value) {
    let Value::Object(keys) = keys else {
        panic!("keys are an object, not {keys}")
    };
    let config = config
        .as_object_mut()
        .expect("a configuration is an object");
    for (key, value) in keys {
        match value {
            Value::Null => config.remove(&key),
            _ => config.insert(key, value),
        };
    }
}

/// What is said of the network, whether it has the default route, and whether what has its address
/// as the sender leaves by it.
pub(crate) fn choices() -> [(Value, bool, bool); 5] {
    [
        (json!({}), false, false),
        (json!({"sourceRouting": true}), false, true),
        (json!({"defaultRoute": true}), true, true),
        (
            json!({"defaultRoute": {"priority": 20}, "sourceRouting": true}),
            true,
            true,
        ),
        (
            json!({"defaultRoute": false, "sourceRouting": true}),
            false,
            true,
        ),
    ]
}

/// A network's attachment to the interface with its number.
pub(crate) fn call<'h>(
    plugins: Plugins,
    container: &Container<'h>,
    number: usize,
    config: &Value,
) -> Call<'h> {
    Call::new(container.host(), plugins, config).attach(container, &format!("eth{number}"))
}

/// The configuration with the result of ADD, as runtimes send it for CHECK and DEL.
pub(crate) fn with_previous(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

/// The metric of the default route of an interface of ours on a network that says nothing of it.
pub(crate) fn metric(number: u32) -> u32 {
    1_010_000_001 + 100_000 * number
}

/// A result of `eth0` as the reference would say it, which leaves default routes without a metric.
pub(crate) fn without_metric(plugins: Plugins, result: &Value) -> Value {
    let mut result = result.clone();
    let places = ["/routes", "/ip4/routes", "/ip6/routes"];
    for place in places {
        let routes = result.pointer_mut(place).and_then(Value::as_array_mut);
        for route in routes.into_iter().flatten() {
            let is_default = route["dst"] == "0.0.0.0/0" || route["dst"] == "::/0";
            if is_default && plugins == Plugins::Slash24 {
                assert_eq!(route["priority"], metric(0), "{route}");
                merge(route, json!({"priority": null}));
            }
        }
    }
    result
}
