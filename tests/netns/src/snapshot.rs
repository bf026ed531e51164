//! The state of a network as a value that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Namespace;

/// The members of objects that change without anybody having changed anything: counters, indices
/// that the kernel hands out, and states that it reaches in its own time.
const VOLATILE: [&str; 20] = [
    "bytes",
    "config_pending",
    "confirmed",
    "handle",
    "ifindex",
    "index",
    "link_index",
    "operstate",
    "packets",
    "preferred_life_time",
    "probes",
    "root_path_cost",
    "state",
    "stats",
    "stats64",
    "tentative",
    "topology_change_detected",
    "updated",
    "used",
    "valid_life_time",
];

/// Flags of links and routes that follow the carrier, which the kernel notices asynchronously.
const CARRIER_FLAGS: [&str; 4] = ["LOWER_UP", "M-DOWN", "NO-CARRIER", "linkdown"];

/// Links, addresses, routes, routing rules, packet-filter rules and neighbours of a place, and the
/// files below some directories, each under a telling key.
///
/// Link-local IPv6 addresses and their routes are left out: they come and go with their links,
/// which are here, but not in the same instant. So are the routes of IPv6 addresses to the place
/// itself, which the kernel sets some time after the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Value>);

impl Snapshot {
    /// Looks at a place, and at the files below `directories` as they are seen there.
    pub fn of(place: &impl Namespace, directories: &[&str]) -> Self {
        let mut seen = Self(BTreeMap::new());
        seen.links(place);
        for family in ["-4", "-6"] {
            seen.routes(place, family);
            seen.all(
                &format!("rule {family}"),
                place.ip_json(&format!("{family} rule show")),
            );
        }
        seen.neighbours(place);
        seen.packet_filter(place);
        place.run(|| {
            directories
                .iter()
                .for_each(|directory| seen.files(Path::new(directory)))
        });
        seen
    }

    /// What is different in `later`, one line a thing; empty if nothing is.
    pub fn diff(&self, later: &Self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            match later.0.get(key) {
                None => writeln!(text, "- {key}: {value}"),
                Some(now) => {
                    changes(&mut text, key, value, now);
                    Ok(())
                }
            }
            .expect("a string takes any text");
        }
        for (key, value) in later.0.iter().filter(|(key, _)| !self.0.contains_key(*key)) {
            writeln!(text, "+ {key}: {value}").expect("a string takes any text");
        }
        text
    }

    /// Asserts that `later` is the same, or shows the difference.
    pub fn assert_same(&self, later: &Self, when: &str) {
        let difference = self.diff(later);
        assert!(
            difference.is_empty(),
            "{when}, the state is different:\n{difference}"
        );
    }

    /// The same without what has certain keys.
    pub fn without(&self, forgotten: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| !forgotten(key));
        Self(
            kept.map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    /// The keys, for assertions on what exists: `link eth0`, `file /var/lib/cni/networks/n/lock`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn links(&mut self, place: &impl Namespace) {
        for mut link in list(place.ip_json("-details address show")) {
            let name = text(&link["ifname"]);
            let addresses = link
                .as_object_mut()
                .and_then(|link| link.remove("addr_info"));
            for address in list(addresses.unwrap_or_default()) {
                if address["scope"] != "link" {
                    let local = text(&address["local"]);
                    self.insert(format!("address {name} {local}"), address);
                }
            }
            forget_carrier(&mut link);
            self.insert(format!("link {name}"), link);
        }
    }

    fn routes(&mut self, place: &impl Namespace, family: &str) {
        for mut route in list(place.ip_json(&format!("{family} route show table all"))) {
            forget_carrier(&mut route);
            let (to, table) = (text(&route["dst"]), text(&route["table"]));
            let is_late = family == "-6" && table == "local";
            if !is_late && !to.starts_with("fe80:") && !to.starts_with("ff00:") {
                let device = text(&route["dev"]);
                self.insert(format!("route {family} {table} {to} {device}"), route);
            }
        }
    }

    fn neighbours(&mut self, place: &impl Namespace) {
        for neighbour in list(place.ip_json("neighbour show")) {
            // One that does not answer is an attempt, not a fact about the network.
            if neighbour["lladdr"].is_string() {
                let (device, to) = (text(&neighbour["dev"]), text(&neighbour["dst"]));
                self.insert(format!("neighbour {device} {to}"), neighbour);
            }
        }
    }

    fn packet_filter(&mut self, place: &impl Namespace) {
        let mut ruleset = place.ask("nft", "--json list ruleset");
        for object in list(ruleset["nftables"].take()) {
            let Value::Object(object) = object else {
                continue;
            };
            for (kind, mut content) in object.into_iter().filter(|(kind, _)| kind != "metainfo") {
                let path = ["family", "table", "chain", "name"].map(|key| text(&content[key]));
                let path = path.join(" ");
                // Sets stay, elements come and go.
                for element in list(content["elem"].take()) {
                    self.insert(format!("nft element {path}"), element);
                }
                self.insert(format!("nft {kind} {path}"), content);
            }
        }
    }

    fn files(&mut self, path: &Path) {
        let Ok(entries) = fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten().map(|entry| entry.path()) {
            let shown = entry.display();
            if entry.is_dir() {
                self.insert(format!("directory {shown}"), Value::Null);
                self.files(&entry);
            } else {
                let content = fs::read(&entry).unwrap_or_default();
                let content = String::from_utf8_lossy(&content).into_owned();
                self.insert(format!("file {shown}"), Value::String(content));
            }
        }
    }

    fn all(&mut self, kind: &str, values: Value) {
        for value in list(values) {
            self.insert(kind.to_owned(), value);
        }
    }

    /// Things may share a key, such as two rules of one chain: the later ones are numbered.
    fn insert(&mut self, key: String, value: Value) {
        let numbered = (2..).map(|number| format!("{key} #{number}"));
        let free = std::iter::once(key.clone())
            .chain(numbered)
            .find(|key| !self.0.contains_key(key));
        self.0
            .insert(free.expect("there are enough numbers"), stable(value));
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(key, value)| writeln!(out, "{key}: {value}"))
    }
}

/// Writes down the members that are different, each with the way to it.
fn changes(text: &mut String, key: &str, before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let of =
                    |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                changes(text, &format!("{key} {name}"), &of(before), &of(after));
            }
        }
        _ if before == after => {}
        _ => writeln!(text, "~ {key}: {before} is now {after}").expect("a string takes any text"),
    }
}

fn forget_carrier(thing: &mut Value) {
    if let Some(Value::Array(flags)) = thing.get_mut("flags") {
        flags.retain(|flag| !CARRIER_FLAGS.contains(&flag.as_str().unwrap_or_default()));
    }
}

fn stable(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let lasting = |(key, _): &(String, Value)| {
                !VOLATILE.contains(&key.as_str()) && !key.ends_with("_timer")
            };
            let members = members.into_iter().filter(lasting);
            Value::Object(
                members
                    .map(|(key, value)| (key, stable(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(stable).collect()),
        other => other,
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
