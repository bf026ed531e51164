//! What a lease costs when there are many: ADD, CHECK and DEL of host-local alone,
//! in a /16 of which 0, 1,000 or 60,000 addresses are taken, and in an empty /24, /8
//! and /64.
//!
//! The leases are files as every host-local writes them, made before the clock
//! starts; the first call, in which ours indexes them, is not counted.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::contender::{Contender, Programs};
use crate::error::{Doing, Result};
use crate::host;
use crate::process::{self, Invocation};
use crate::report::{ratio, time};
use crate::results::samples_json;
use crate::statistics::{Chance, Samples};

/// The name of this part.
pub(crate) const LEASES: &str = "leases";

/// A range and how many of its addresses are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amid {
    subnet: &'static str,
    leases: u32,
}

const fn amid(subnet: &'static str, leases: u32) -> Amid {
    Amid { subnet, leases }
}

/// Where leases are many.
const SIZES: [Amid; 3] = [
    amid("10.24.0.0/16", 0),
    amid("10.24.0.0/16", 1_000),
    amid("10.24.0.0/16", 60_000),
];

/// Where addresses are many.
const SUBNETS: [Amid; 3] = [
    amid("10.24.0.0/24", 0),
    amid("10.0.0.0/8", 0),
    amid("fd00:24::/64", 0),
];

/// How much slower a call may be with the most leases than with none, and in a large
/// range than in a small one.
pub(crate) const FLAT: f64 = 1.2;

/// The verbs in the order in which a container meets them.
const VERBS: [&str; 3] = ["ADD", "CHECK", "DEL"];

/// Calls before the clock starts.
const WARMING: usize = 2;

/// Samples by contender, range and verb.
pub(crate) type Costs = BTreeMap<(Contender, Amid, &'static str), Samples>;

/// The lease directory of one contender.
struct Site {
    contender: Contender,
    amid: Amid,
    plugin: PathBuf,
    data: PathBuf,
}

impl Site {
    fn new(programs: &Programs, contender: Contender, amid: Amid) -> Result<Self> {
        let Amid { subnet, leases } = amid;
        let name = subnet.replace(['/', ':'], "-");
        let name = format!("leases-{}-{name}-{leases}", contender.name());
        let data = host::directory(&name)?;
        let network = host::directory(&format!("{name}/bench"))?;
        for n in 0..leases {
            // Above the router and what the calls will be given.
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 24, 4, 0).to_bits() + n);
            let path = network.join(address.to_string());
            fs::write(&path, format!("held{n:06}\r\neth0")).doing(|| path.display().to_string())?;
        }
        Ok(Site {
            contender,
            amid,
            plugin: programs.host_local(contender),
            data,
        })
    }

    fn call(&self, verb: &'static str, container: &str, previous: &Value) -> Invocation {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "bridge",
            "ipam": {"type": "host-local", "subnet": self.amid.subnet, "dataDir": self.data},
        });
        if verb == "CHECK" {
            config["prevResult"] = previous.clone();
        }
        Invocation::new(&self.plugin)
            .variable("CNI_COMMAND", verb)
            .variable("CNI_CONTAINERID", container)
            .variable("CNI_IFNAME", "eth0")
            .variable("CNI_NETNS", "/proc/self/ns/net")
            .variable("CNI_PATH", self.plugin.parent().unwrap_or(&self.plugin))
            .stdin(config.to_string())
    }

    /// One container's life; the reference has no order to lose, so each starts
    /// where the last has stopped.
    fn round(&self, container: &str, costs: Option<&mut Costs>) -> Result<()> {
        let mut previous = Value::Null;
        let mut taken = Vec::new();
        for verb in VERBS {
            let outcome = process::run(&[self.call(verb, container, &previous)])?;
            if verb == "ADD" {
                previous = serde_json::from_str(&outcome.stdout).unwrap_or_default();
            }
            taken.push((verb, outcome.elapsed));
        }
        if let Some(costs) = costs {
            for (verb, elapsed) in taken {
                let key = (self.contender, self.amid, verb);
                costs.entry(key).or_default().push(elapsed);
            }
        }
        Ok(())
    }
}

/// Measures all contenders in every range, in random order.
pub(crate) fn measure(
    programs: &Programs,
    contenders: &[Contender],
    rounds: usize,
    chance: &mut Chance,
) -> Result<Costs> {
    let mut sites = Vec::new();
    for contender in contenders {
        for amid in SIZES.into_iter().chain(SUBNETS) {
            sites.push(Site::new(programs, *contender, amid)?);
        }
    }
    let mut costs = Costs::new();
    for round in 0..rounds + WARMING {
        chance.shuffle(&mut sites);
        for site in &sites {
            let counted = (round >= WARMING).then_some(&mut costs);
            site.round(&format!("bench{round:06}"), counted)?;
        }
    }
    Ok(costs)
}

fn median(costs: &Costs, who: Contender, amid: Amid, verb: &'static str) -> Option<f64> {
    costs.get(&(who, amid, verb))?.median()
}

/// How many times slower a contender's verb is in the slowest of some ranges than in
/// the first of them.
pub(crate) fn growth(
    costs: &Costs,
    who: Contender,
    ranges: &[Amid],
    verb: &'static str,
) -> Option<f64> {
    let medians: Option<Vec<f64>> = ranges
        .iter()
        .map(|amid| median(costs, who, *amid, verb))
        .collect();
    let medians = medians?;
    let most = medians.iter().skip(1).copied().reduce(f64::max)?;
    Some(most / medians[0])
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
    print!("\n{:22}", "host-local, ms");
    for who in &contenders {
        print!("{:>18}", who.name());
    }
    println!("{:>11}", "ref/ours");
    for (ranges, what) in [
        (SIZES, "with leases than with none"),
        (SUBNETS, "in a /8 or a /64 than in a /24"),
    ] {
        for verb in VERBS {
            for amid in ranges {
                print_row(costs, &contenders, amid, verb);
            }
            if let Some(growth) = growth(costs, Contender::Ours, &ranges, verb) {
                let verdict = if growth <= FLAT { "met" } else { "MISSED" };
                println!("  {verb}: ours takes {growth:.2}x {what} (at most {FLAT}x: {verdict})");
            }
        }
    }
}

fn print_row(costs: &Costs, contenders: &[Contender], amid: Amid, verb: &'static str) {
    let what = match amid.leases {
        0 if SUBNETS.contains(&amid) => format!("{verb} in {}", amid.subnet),
        leases => format!("{verb} of {leases}"),
    };
    print!("{what:22}");
    for who in contenders {
        print!("{:>18}", time(costs.get(&(*who, amid, verb))));
    }
    let theirs = median(costs, Contender::Reference, amid, verb);
    let both = theirs.zip(median(costs, Contender::Ours, amid, verb));
    println!("{:>11}", ratio(both.map(|(theirs, ours)| theirs / ours)));
}

/// For the file of results.
pub(crate) fn to_json(costs: &Costs) -> Value {
    let rows = costs.iter().map(|((who, amid, verb), samples)| {
        let Amid { subnet, leases } = amid;
        let name = format!("{} {verb} {subnet} {leases}", who.name());
        (name, samples_json(samples))
    });
    rows.collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_compares_the_most_with_none() {
        let mut costs = Costs::new();
        for (amid, milliseconds) in SIZES.into_iter().zip([10, 15, 14]) {
            let samples = costs.entry((Contender::Ours, amid, "ADD")).or_default();
            samples.push(Duration::from_millis(milliseconds));
        }
        assert_eq!(growth(&costs, Contender::Ours, &SIZES, "ADD"), Some(1.5));
        assert_eq!(growth(&costs, Contender::Ours, &SUBNETS, "ADD"), None);
        assert_eq!(growth(&costs, Contender::Reference, &SIZES, "ADD"), None);
        assert_eq!(to_json(&costs)["ours ADD 10.24.0.0/16 1000"]["n"], 1);
    }
}
