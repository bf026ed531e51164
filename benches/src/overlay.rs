//! What a VXLAN network costs when it has 3, 1,000 or 10,000 hosts: making it known to
//! the kernel, ADD and DEL of one more container, and `slash24 vxlan sync` with nothing to
//! change. Hosts are routed to, or have addresses that are computed, or are sent what is
//! for everybody; nobody else does the first two, so there is nobody to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::contender::{Contender, Programs};
use crate::error::{Doing, Result};
use crate::host::{self, Container, Host};
use crate::latency::Serial;
use crate::process::{self, Invocation, Outcome};
use crate::results::samples_json;
use crate::scenario::UPLINK;
use crate::statistics::{Chance, Samples};

/// The name of this part.
pub(crate) const OVERLAY: &str = "overlay";

/// How many hosts there are, as racks and slots: this one and 3, 999 or 9,999 others.
const SIZES: [(u32, u32); 3] = [(1, 4), (4, 250), (40, 250)];

/// How much slower an ADD may be among the most hosts than among the fewest.
const FLAT: f64 = 1.2;
/// How long a sync may take that has nothing to change, in milliseconds.
const SYNC: f64 = 100.0;

const VERBS: [&str; 3] = ["ADD", "DEL", "sync"];
/// Rounds that are not counted.
const WARMING: usize = 2;
/// Containers that are kept until their namespaces are taken apart together.
const KEPT: usize = 48;

/// How hosts know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Routed,
    Computed,
    Flooded,
}

const WAYS: [Way; 3] = [Way::Routed, Way::Computed, Way::Flooded];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Routed => "routed",
            Way::Computed => "computed",
            Way::Flooded => "flooded",
        }
    }

    fn keys(self) -> Value {
        let ipam = |keys: Value| json!({"mode": "l2", "ipam": keys});
        match self {
            Way::Routed => json!({"mode": "l3", "ipam": {"subnet": "fd00:{rack}:{slot}::/64"}}),
            Way::Computed => ipam(json!({
                "subnet": "fd00::/64",
                "rangeStart": "fd00::{rack}:{slot}:2", "rangeEnd": "fd00::{rack}:{slot}:5",
            })),
            Way::Flooded => ipam(json!({"subnet": "172.16.0.0/16"})),
        }
    }
}

/// What was measured of one network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// How long the first ADD took, which makes the network.
    first: Duration,
    /// How many entries the kernel has of other hosts, and how much memory it took.
    entries: u64,
    kib: u64,
    verbs: BTreeMap<&'static str, Samples>,
}

/// By way and number of hosts.
pub(crate) type Networks = BTreeMap<(&'static str, u32), Network>;

struct Site {
    way: Way,
    hosts: u32,
    host: Host,
    config: Value,
    plugins: PathBuf,
    slash24: PathBuf,
    conf: PathBuf,
    /// Who keeps the network alive.
    _resident: Container,
}

impl Site {
    fn new(
        programs: &Programs,
        way: Way,
        size: (u32, u32),
        vni: u32,
        serial: &mut Serial,
    ) -> Result<(Self, Network)> {
        let hosts = size.0 * size.1;
        let name = format!("{OVERLAY}-{}-{hosts}", way.name());
        let here = json!({"rack": 0, "slot": 0});
        let mut config = json!({
            "cniVersion": "1.0.0", "name": name, "type": "vxlan", "vni": vni,
            "underlay": "10.{rack}.{slot}.1", "location": here,
            "peers": {"places": {
                "rack": format!("0-{}", size.0 - 1), "slot": format!("0-{}", size.1 - 1),
            }},
        });
        let keys = way.keys();
        config["mode"] = keys["mode"].clone();
        config["ipam"] = keys["ipam"].clone();
        config["ipam"]["type"] = json!("host-local");
        config["ipam"]["location"] = here;
        config["ipam"]["dataDir"] = json!(host::directory(&format!("{name}/leases"))?);
        let conf = host::directory(&format!("{name}/conf"))?;
        let file = conf.join("network.conf");
        fs::write(&file, config.to_string()).doing(|| file.display().to_string())?;
        let host = Host::new()?;
        let mut ip = Invocation::new(Path::new("/usr/sbin/ip"));
        for word in ["address", "add", "10.0.0.1/8", "dev", UPLINK] {
            ip = ip.argument(word);
        }
        process::run(&[ip])?;
        let resident = serial.resident()?;
        let plugins = programs.plugins(Contender::Ours).to_owned();
        let site = Site {
            way,
            hosts,
            host,
            config,
            slash24: plugins.join("slash24"),
            plugins,
            conf,
            _resident: resident,
        };
        let before = slab()?;
        let first = site.call("ADD", &site._resident)?.elapsed;
        let network = Network {
            first,
            kib: slab()?.saturating_sub(before),
            entries: site.entries()?,
            ..Network::default()
        };
        Ok((site, network))
    }

    fn call(&self, verb: &str, container: &Container) -> Result<Outcome> {
        let call = Invocation::new(&self.plugins.join("vxlan"))
            .variable("CNI_COMMAND", verb)
            .variable("CNI_CONTAINERID", &container.id)
            .variable("CNI_IFNAME", "eth0")
            .variable("CNI_NETNS", &container.path)
            .variable("CNI_PATH", &self.plugins)
            .stdin(self.config.to_string());
        self.host.enter()?;
        process::run(&[call])
    }

    fn sync(&self) -> Result<Outcome> {
        let mut call = Invocation::new(&self.slash24);
        for word in ["vxlan", "sync", "--output", "json", "--conf-dir"] {
            call = call.argument(word);
        }
        self.host.enter()?;
        process::run(&[call.argument(&self.conf)])
    }

    fn entries(&self) -> Result<u64> {
        let said: Value = serde_json::from_str(&self.sync()?.stdout).unwrap_or_default();
        Ok(said[0]["entries"].as_u64().unwrap_or_default())
    }
}

/// How much memory the kernel has for its own objects, in KiB.
fn slab() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).doing(|| path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or_default())
}

/// Measures all ways with every number of hosts, in random order.
pub(crate) fn measure(
    programs: &Programs,
    rounds: usize,
    chance: &mut Chance,
    serial: &mut Serial,
) -> Result<Networks> {
    let mut networks = Networks::new();
    let mut sites = Vec::new();
    for way in WAYS {
        for size in SIZES {
            let vni = sites.len() as u32 + 1;
            let (site, network) = Site::new(programs, way, size, vni, serial)?;
            networks.insert((way.name(), site.hosts), network);
            sites.push(site);
        }
    }
    let mut kept = Vec::new();
    for round in 0..rounds + WARMING {
        chance.shuffle(&mut sites);
        for site in &sites {
            let container = serial.container()?;
            for verb in VERBS {
                let outcome = match verb {
                    "sync" => site.sync()?,
                    verb => site.call(verb, &container)?,
                };
                process::await_orphans()?;
                if round >= WARMING {
                    let network = networks.entry((site.way.name(), site.hosts)).or_default();
                    network.verbs.entry(verb).or_default().push(outcome.elapsed);
                }
            }
            kept.push(container);
        }
        if kept.len() >= KEPT {
            kept.clear();
            host::settle();
        }
    }
    Ok(networks)
}

fn median(networks: &Networks, way: Way, hosts: u32, verb: &'static str) -> Option<f64> {
    networks
        .get(&(way.name(), hosts))?
        .verbs
        .get(verb)?
        .median()
}

/// How many times slower an ADD is among the most hosts than among the fewest.
fn growth(networks: &Networks, way: Way) -> Option<f64> {
    let of = |size: (u32, u32)| median(networks, way, size.0 * size.1, "ADD");
    Some(of(SIZES[SIZES.len() - 1])? / of(SIZES[0])?)
}

/// The table for people.
pub(crate) fn print(networks: &Networks) {
    if networks.is_empty() {
        return;
    }
    println!(
        "\n{:18}{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}",
        "overlay, ms", "entries", "MiB", "first ADD", "ADD", "DEL", "sync"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    for way in WAYS {
        for size in SIZES {
            let hosts = size.0 * size.1;
            let Some(network) = networks.get(&(way.name(), hosts)) else {
                continue;
            };
            print!("{:18}", format!("{} {hosts}", way.name()));
            print!(
                "{:>10}{:>10.1}",
                network.entries,
                network.kib as f64 / 1024.0
            );
            print!("{:>12.2}", network.first.as_secs_f64() * 1e3);
            for verb in VERBS {
                print!("{:>10}", number(median(networks, way, hosts, verb)));
            }
            println!();
        }
        let verdict = |met: bool| if met { "met" } else { "MISSED" };
        if let Some(growth) = growth(networks, way) {
            println!(
                "  ADD is {growth:.2}x with the most hosts (at most {FLAT}x: {})",
                verdict(growth <= FLAT)
            );
        }
        let most = SIZES[SIZES.len() - 1];
        if let Some(sync) = median(networks, way, most.0 * most.1, "sync") {
            println!(
                "  sync takes {sync:.1} ms with the most hosts (at most {SYNC}: {})",
                verdict(sync <= SYNC)
            );
        }
    }
}

/// For the file of results.
pub(crate) fn to_json(networks: &Networks) -> Value {
    let rows = networks.iter().map(|((way, hosts), network)| {
        let verbs = network.verbs.iter();
        let verbs = verbs.map(|(verb, samples)| ((*verb).to_owned(), samples_json(samples)));
        let row = json!({
            "entries": network.entries,
            "KiB": network.kib,
            "first": network.first.as_secs_f64() * 1e3,
            "verbs": verbs.collect::<Map<_, _>>(),
        });
        (format!("{way} {hosts}"), row)
    });
    rows.collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_compares_the_most_with_the_fewest() {
        let mut networks = Networks::new();
        for (hosts, milliseconds) in [(4, 10), (1_000, 50), (10_000, 15)] {
            let network = networks.entry(("routed", hosts)).or_default();
            let samples = network.verbs.entry("ADD").or_default();
            samples.push(Duration::from_millis(milliseconds));
        }
        assert_eq!(growth(&networks, Way::Routed), Some(1.5));
        assert_eq!(growth(&networks, Way::Flooded), None);
        assert_eq!(to_json(&networks)["routed 1000"]["verbs"]["ADD"]["n"], 1);
    }
}
