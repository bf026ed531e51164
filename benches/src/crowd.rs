//! What an attachment costs on a bridge that is full: ADD and DEL of a container when
//! there are 1, 100 or 500 ports already, made by the same contender.
//!
//! A bridge floods what each port sends to everybody to all of them, and whoever lists
//! links lists them all: both show in the slowest calls first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::contender::{Contender, Programs};
use crate::error::Result;
use crate::host::{self, Container, Host};
use crate::latency::Serial;
use crate::process::{self, Invocation};
use crate::report::{ratio, time};
use crate::results::samples_json;
use crate::scenario::BRIDGE;
use crate::statistics::{Chance, Samples};

/// The name of this part.
pub(crate) const CROWD: &str = "crowd";

/// How many ports there are.
const SIZES: [usize; 3] = [1, 100, 500];
/// How many of them one namespace has: the bridge does not care whose they are.
const TOGETHER: usize = 50;

/// How much slower an ADD may be with the most ports than with one.
const FLAT: f64 = 1.2;

const VERBS: [&str; 2] = ["ADD", "DEL"];
/// Rounds that are not counted.
const WARMING: usize = 2;
/// Containers that are kept until their namespaces are taken apart together.
const KEPT: usize = 48;

/// Samples by contender, number of ports and verb.
pub(crate) type Costs = BTreeMap<(Contender, usize, &'static str), Samples>;

/// The host of one contender with a number of ports on its bridge.
struct Site {
    contender: Contender,
    ports: usize,
    host: Host,
    plugins: PathBuf,
    leases: PathBuf,
    /// Who has the ports.
    _residents: Vec<Container>,
}

impl Site {
    fn new(
        programs: &Programs,
        contender: Contender,
        ports: usize,
        serial: &mut Serial,
    ) -> Result<Self> {
        let residents = (0..ports.div_ceil(TOGETHER)).map(|_| serial.resident());
        let residents = residents.collect::<Result<Vec<_>>>()?;
        let mut site = Site {
            contender,
            ports,
            host: Host::new()?,
            plugins: programs.plugins(contender).to_owned(),
            leases: host::directory(&format!("{CROWD}-{}-{ports}", contender.name()))?,
            _residents: Vec::new(),
        };
        for port in 0..ports {
            let resident = &residents[port / TOGETHER];
            site.call("ADD", resident, &format!("port{}", port % TOGETHER))?;
        }
        site._residents = residents;
        Ok(site)
    }

    fn call(&self, verb: &str, container: &Container, interface: &str) -> Result<process::Outcome> {
        let config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "bridge",
            "bridge": BRIDGE, "isGateway": true,
            "ipam": {"type": "host-local", "subnet": "10.24.0.0/16", "dataDir": self.leases},
        });
        let call = Invocation::new(&self.plugins.join("bridge"))
            .variable("CNI_COMMAND", verb)
            .variable("CNI_CONTAINERID", &container.id)
            .variable("CNI_IFNAME", interface)
            .variable("CNI_NETNS", &container.path)
            .variable("CNI_PATH", &self.plugins)
            .stdin(config.to_string());
        self.host.enter()?;
        process::run(&[call])
    }
}

/// Measures all contenders with every number of ports, in random order.
pub(crate) fn measure(
    programs: &Programs,
    contenders: &[Contender],
    rounds: usize,
    chance: &mut Chance,
    serial: &mut Serial,
) -> Result<Costs> {
    let mut sites = Vec::new();
    for contender in contenders {
        for ports in SIZES {
            sites.push(Site::new(programs, *contender, ports, serial)?);
        }
    }
    let mut costs = Costs::new();
    let mut kept = Vec::new();
    for round in 0..rounds + WARMING {
        chance.shuffle(&mut sites);
        for site in &sites {
            let container = serial.container()?;
            for verb in VERBS {
                let elapsed = site.call(verb, &container, "eth0")?.elapsed;
                process::await_orphans()?;
                if round >= WARMING {
                    let key = (site.contender, site.ports, verb);
                    costs.entry(key).or_default().push(elapsed);
                }
            }
            kept.push(container);
        }
        if kept.len() >= KEPT {
            kept.clear();
            host::settle();
        }
    }
    Ok(costs)
}

fn median(costs: &Costs, who: Contender, ports: usize, verb: &'static str) -> Option<f64> {
    costs.get(&(who, ports, verb))?.median()
}

/// How many times slower a contender's verb is with the most ports than with one.
fn growth(costs: &Costs, who: Contender, verb: &'static str) -> Option<f64> {
    let most = median(costs, who, SIZES[SIZES.len() - 1], verb)?;
    Some(most / median(costs, who, SIZES[0], verb)?)
}

/// The table for people.
pub(crate) fn print(costs: &Costs) {
    let contenders: Vec<Contender> = [Contender::Ours, Contender::Reference]
        .into_iter()
        .filter(|who| costs.keys().any(|(other, ..)| other == who))
        .collect();
    if contenders.is_empty() {
        return;
    }
    print!("\n{:18}", "ports, ms");
    for who in &contenders {
        print!("{:>18}", who.name());
    }
    println!("{:>11}", "ref/ours");
    for verb in VERBS {
        for ports in SIZES {
            print!("{:18}", format!("{verb} beside {ports}"));
            for who in &contenders {
                print!("{:>18}", time(costs.get(&(*who, ports, verb))));
            }
            let theirs = median(costs, Contender::Reference, ports, verb);
            let both = theirs.zip(median(costs, Contender::Ours, ports, verb));
            println!("{:>11}", ratio(both.map(|(theirs, ours)| theirs / ours)));
        }
    }
    if let Some(growth) = growth(costs, Contender::Ours, "ADD") {
        let verdict = if growth <= FLAT { "met" } else { "MISSED" };
        println!("  ADD: ours is {growth:.2}x with the most ports (at most {FLAT}x: {verdict})");
    }
}

/// For the file of results.
pub(crate) fn to_json(costs: &Costs) -> Value {
    let rows = costs.iter().map(|((who, ports, verb), samples)| {
        let name = format!("{} {verb} {ports}", who.name());
        (name, samples_json(samples))
    });
    rows.collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_compares_the_most_with_one() {
        let mut costs = Costs::new();
        for (ports, milliseconds) in [(1, 10), (100, 50), (500, 11)] {
            let samples = costs.entry((Contender::Ours, ports, "ADD")).or_default();
            samples.push(Duration::from_millis(milliseconds));
        }
        assert_eq!(growth(&costs, Contender::Ours, "ADD"), Some(1.1));
        assert_eq!(growth(&costs, Contender::Ours, "DEL"), None);
        assert_eq!(to_json(&costs)["ours ADD 500"]["n"], 1);
    }
}
