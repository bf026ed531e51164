//! What an attachment costs on a host that is full: ADD and DEL of a container when
//! there are 1, 100 or 500 of its kind already, made by the same contender.
//!
//! A bridge looks at all of its ports when it is given one more, and when one opens. How
//! much of what grows is that, the floor tells, which asks for it and nothing else.
//!
//! A bridge, and a link below many, floods what each sends to everybody to all of them,
//! and whoever lists links lists them all: both show in the slowest calls first.

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
use crate::scenario::{BRIDGE, Kind, UPLINK};
use crate::statistics::{Chance, Samples};

/// The parts, and what each is of.
pub(crate) const CROWDS: [(&str, Kind); 5] = [
    ("crowd", Kind::Bridge),
    ("crowd-macvlan", Kind::Macvlan),
    ("crowd-ptp", Kind::Ptp),
    ("crowd-ipvlan", Kind::Ipvlan),
    ("crowd-vlan", Kind::Vlan),
];

/// Who takes part.
pub(crate) const CONTENDERS: [Contender; 3] =
    [Contender::Floor, Contender::Ours, Contender::Reference];

/// How many there are beside the measured one.
const SIZES: [usize; 3] = [1, 100, 500];
/// The numbers of those beside begin with this, and the measured one has this: for
/// VLANs, and where the floor must not give the same twice.
const FIRST: usize = 1;
const MEASURED: usize = 4000;

/// How much slower an ADD may be with the most beside it than with one.
const FLAT: f64 = 1.2;

const VERBS: [&str; 2] = ["ADD", "DEL"];
/// Rounds that are not counted.
const WARMING: usize = 2;
/// Containers that are kept until their namespaces are taken apart together.
const KEPT: usize = 48;

/// Samples by kind, contender, number of attachments beside and verb.
pub(crate) type Costs = BTreeMap<(Kind, Contender, usize, &'static str), Samples>;

/// The sizes of a kind: where it is emulated, the largest takes longer than it tells.
fn sizes(kind: Kind) -> &'static [usize] {
    match kind.is_in_every_kernel() {
        true => &SIZES,
        false => &SIZES[..2],
    }
}

/// How many of them one namespace has: nothing on the host cares whose they are. But
/// the reference's `ptp` sets the same route to the gateway for each.
fn together(kind: Kind) -> usize {
    match kind {
        Kind::Ptp => 1,
        _ => 50,
    }
}

/// The host of one contender with a number of attachments.
struct Site<'a> {
    kind: Kind,
    contender: Contender,
    beside: usize,
    host: Host,
    programs: &'a Programs,
    leases: PathBuf,
    /// Who has them.
    _residents: Vec<Container>,
}

impl<'a> Site<'a> {
    fn new(
        programs: &'a Programs,
        kind: Kind,
        contender: Contender,
        beside: usize,
        serial: &mut Serial,
    ) -> Result<Self> {
        let together = together(kind);
        let residents = (0..beside.div_ceil(together)).map(|_| serial.resident());
        let residents = residents.collect::<Result<Vec<_>>>()?;
        let name = format!("crowd-{}-{}-{beside}", kind.plugin(), contender.name());
        let mut site = Site {
            kind,
            contender,
            beside,
            host: Host::new()?,
            programs,
            leases: host::directory(&name)?,
            _residents: Vec::new(),
        };
        for number in 0..beside {
            let resident = &residents[number / together];
            let interface = format!("port{}", number % together);
            site.call("ADD", resident, &interface, FIRST + number)?;
        }
        site._residents = residents;
        Ok(site)
    }

    fn call(
        &self,
        verb: &str,
        container: &Container,
        interface: &str,
        number: usize,
    ) -> Result<process::Outcome> {
        let call = match self.contender {
            Contender::Floor => self.floor(verb, container, interface, number),
            _ => self.plugin(verb, container, interface, number),
        };
        self.host.enter()?;
        process::run(&[call])
    }

    /// Lets frames pass and tells nobody: the others have a child do that.
    fn floor(
        &self,
        verb: &str,
        container: &Container,
        interface: &str,
        number: usize,
    ) -> Invocation {
        let call = Invocation::new(&self.programs.floor);
        if verb == "DEL" {
            return call
                .argument("del")
                .argument(&container.path)
                .argument(interface);
        }
        let [high, low] = [number / 256 + 1, number % 256];
        let call = call
            .argument("add-open")
            .argument(&container.path)
            .argument("kind=bridge")
            .argument(format!("name={interface}"))
            .argument(format!("link={BRIDGE}"))
            .argument(format!("host=floor{number}"))
            .argument(format!("address=10.24.{high}.{low}/16"));
        match number {
            FIRST => call.argument("router=10.24.0.1/16"),
            _ => call,
        }
    }

    fn plugin(
        &self,
        verb: &str,
        container: &Container,
        interface: &str,
        number: usize,
    ) -> Invocation {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": self.kind.plugin(),
            "ipam": {"type": "host-local", "subnet": "10.24.0.0/16", "dataDir": self.leases},
        });
        match self.kind {
            Kind::Bridge => {
                config["bridge"] = BRIDGE.into();
                config["isGateway"] = true.into();
            }
            Kind::Macvlan | Kind::Ipvlan => config["master"] = UPLINK.into(),
            Kind::Vlan => {
                config["master"] = UPLINK.into();
                config["vlanId"] = number.into();
            }
            Kind::Ptp => {}
        }
        let plugins = self.programs.plugins(self.contender);
        Invocation::new(&plugins.join(self.kind.plugin()))
            .variable("CNI_COMMAND", verb)
            .variable("CNI_CONTAINERID", &container.id)
            .variable("CNI_IFNAME", interface)
            .variable("CNI_NETNS", &container.path)
            .variable("CNI_PATH", plugins)
            .stdin(config.to_string())
    }
}

/// Measures all contenders with every number beside, in random order.
pub(crate) fn measure(
    programs: &Programs,
    kind: Kind,
    contenders: &[Contender],
    rounds: usize,
    chance: &mut Chance,
    serial: &mut Serial,
) -> Result<Costs> {
    let mut sites = Vec::new();
    let can = |who: &&Contender| **who != Contender::Floor || kind == Kind::Bridge;
    for contender in contenders.iter().filter(can) {
        for beside in sizes(kind) {
            sites.push(Site::new(programs, kind, *contender, *beside, serial)?);
        }
    }
    let mut costs = Costs::new();
    let mut kept = Vec::new();
    for round in 0..rounds + WARMING {
        chance.shuffle(&mut sites);
        for site in &sites {
            let container = serial.container()?;
            for verb in VERBS {
                let elapsed = site.call(verb, &container, "eth0", MEASURED)?.elapsed;
                process::await_orphans()?;
                if round >= WARMING {
                    let key = (kind, site.contender, site.beside, verb);
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

fn median(
    costs: &Costs,
    kind: Kind,
    who: Contender,
    beside: usize,
    verb: &'static str,
) -> Option<f64> {
    costs.get(&(kind, who, beside, verb))?.median()
}

/// How many times slower a contender's verb is with the most beside it than with one.
fn growth(costs: &Costs, kind: Kind, who: Contender, verb: &'static str) -> Option<f64> {
    let at = |beside: &usize| median(costs, kind, who, *beside, verb);
    Some(sizes(kind).last().and_then(at)? / sizes(kind).first().and_then(at)?)
}

/// The tables for people, one a kind.
pub(crate) fn print(costs: &Costs) {
    for (_, kind) in CROWDS {
        print_kind(costs, kind);
    }
}

fn print_kind(costs: &Costs, kind: Kind) {
    let contenders: Vec<Contender> = CONTENDERS
        .into_iter()
        .filter(|who| {
            costs
                .keys()
                .any(|(of, other, ..)| of == &kind && other == who)
        })
        .collect();
    if contenders.is_empty() {
        return;
    }
    print!("\n{:18}", format!("{}s, ms", kind.plugin()));
    for who in &contenders {
        print!("{:>18}", who.name());
    }
    println!("{:>11}{:>11}", "ours/floor", "ref/ours");
    for verb in VERBS {
        for beside in sizes(kind) {
            print!("{:18}", format!("{verb} beside {beside}"));
            for who in &contenders {
                print!("{:>18}", time(costs.get(&(kind, *who, *beside, verb))));
            }
            let of = |who| median(costs, kind, who, *beside, verb);
            let times = |one, other| of(one).zip(of(other)).map(|(one, other)| one / other);
            let of_floor = ratio(times(Contender::Ours, Contender::Floor));
            let of_ours = ratio(times(Contender::Reference, Contender::Ours));
            println!("{of_floor:>11}{of_ours:>11}");
        }
    }
    if let Some(growth) = growth(costs, kind, Contender::Ours, "ADD") {
        let verdict = if growth <= FLAT { "met" } else { "MISSED" };
        println!(
            "  ADD: ours is {growth:.2}x with the most beside it (at most {FLAT}x: {verdict})"
        );
    }
    if let Some(growth) = growth(costs, kind, Contender::Floor, "ADD") {
        println!("  ADD: the floor, which is the kernel's own work, is {growth:.2}x");
    }
}

/// For the file of results.
pub(crate) fn to_json(costs: &Costs) -> Value {
    let rows = costs.iter().map(|((kind, who, beside, verb), samples)| {
        let name = format!("{} {} {verb} {beside}", kind.plugin(), who.name());
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
        let ours = Contender::Ours;
        for (beside, milliseconds) in [(1, 10), (100, 50), (500, 11)] {
            for kind in [Kind::Bridge, Kind::Vlan] {
                let samples = costs.entry((kind, ours, beside, "ADD")).or_default();
                samples.push(Duration::from_millis(milliseconds));
            }
        }
        assert_eq!(growth(&costs, Kind::Bridge, ours, "ADD"), Some(1.1));
        assert_eq!(growth(&costs, Kind::Vlan, ours, "ADD"), Some(5.0));
        assert_eq!(growth(&costs, Kind::Ptp, ours, "ADD"), None);
        assert_eq!(growth(&costs, Kind::Bridge, ours, "DEL"), None);
        assert_eq!(to_json(&costs)["bridge ours ADD 500"]["n"], 1);
    }
}
