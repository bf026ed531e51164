//! Leases as they are shown, for people and for programs.

use ipam::listing::{Holding, Made};
use ipam::netns::Life;
use serde_json::{Value, json};

use super::tables;
use super::time::rfc3339;

/// What a lease tells, as the columns of a table.
pub(super) const COLUMNS: [&str; 6] = [
    "address",
    "container",
    "interface",
    "since",
    "namespace",
    "boot",
];

/// A lease of a network.
pub(super) struct Held<'a> {
    pub(super) network: &'a str,
    pub(super) holding: &'a Holding,
}

/// As a row of a table.
pub(super) fn row(holding: &Holding) -> [String; 6] {
    let container = match holding.lease.is_empty() {
        true => "(nobody)".to_owned(),
        false => holding.lease.container.clone(),
    };
    [
        holding.address.to_string(),
        container,
        holding.lease.ifname.clone().unwrap_or_default(),
        rfc3339(holding.since),
        life(holding.life).to_owned(),
        boot(holding.made).to_owned(),
    ]
}

/// As JSON.
pub(super) fn json(holding: &Holding) -> Value {
    let netns = holding.netns.as_ref();
    json!({
        "address": holding.address,
        "container": holding.lease.container,
        "ifname": holding.lease.ifname,
        "since": rfc3339(holding.since),
        "netns": {
            "state": life(holding.life),
            "path": netns.map(|netns| netns.path.display().to_string()),
            "inode": netns.map(|netns| netns.inode),
        },
        "boot": boot(holding.made),
        "shared": holding.shared,
        "free": !holding.current,
    })
}

/// Leases of several networks as a table.
pub(super) fn table(held: &[Held<'_>]) -> String {
    let header: Vec<&str> = [&["network"][..], &COLUMNS].concat();
    let mut table = tables::new(&header);
    for Held { network, holding } in held {
        let network = [(*network).to_owned()];
        table.add_row(network.into_iter().chain(row(holding)));
    }
    table.to_string()
}

/// Leases of several networks as JSON.
pub(super) fn json_list(held: &[Held<'_>]) -> Value {
    let one = |held: &Held<'_>| {
        let mut lease = json(held.holding);
        lease["network"] = held.network.into();
        lease
    };
    held.iter().map(one).collect()
}

fn life(life: Life) -> &'static str {
    match life {
        Life::Alive => "alive",
        Life::Gone => "gone",
        Life::Unknown => "unknown",
    }
}

fn boot(made: Made) -> &'static str {
    match made {
        Made::Now => "this",
        Made::Earlier => "earlier",
        Made::Unknown => "unknown",
    }
}
