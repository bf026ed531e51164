//! The table for people.

use crate::contender::Contender::{self, Floor, FloorPlain, Netavark, Ours, OursSingle, Reference};
use crate::contender::Verb;
use crate::goals;
use crate::results::Results;
use crate::scenario::Scenario;
use crate::statistics::Samples;

const NAME: usize = 18;
const TIME: usize = 18;
const RATIO: usize = 11;

pub(crate) fn print(results: &Results) {
    let machine = &results.machine;
    println!(
        "{} CPUs ({}), Linux {}",
        machine.cpus, machine.cpu, machine.kernel
    );
    println!(
        "load before the run {}; {}",
        machine.load,
        machine.packages.join(", ")
    );
    if !results.latencies.is_empty() {
        println!(
            "times in ms: median / 95th percentile of {}",
            results.rounds
        );
        print_latencies(results, Verb::Add);
        print_latencies(results, Verb::Del);
        print_notes(results);
    }
    print_throughput(results);
    print_footprint(results);
    print_goals(results);
}

fn print_latencies(results: &Results, verb: Verb) {
    let (title, columns) = match verb {
        Verb::Add => ("ADD", vec![Floor, Ours, FloorPlain, Reference, Netavark]),
        Verb::Del => ("DEL", vec![Floor, Ours, FloorPlain, Reference, Netavark]),
    };
    let ratios = [(Ours, Floor), (Reference, Ours), (Netavark, Ours)];
    print!("\n{title:NAME$}");
    for who in &columns {
        print!("{:>TIME$}", who.name());
    }
    for (one, other) in ratios {
        print!("{:>RATIO$}", format!("{}/{}", initial(one), initial(other)));
    }
    println!();
    for (scenario, _) in &results.latencies {
        print!("{:NAME$}", scenario.name);
        for who in &columns {
            print!("{:>TIME$}", time(results.samples(scenario, verb, *who)));
        }
        for (one, other) in ratios {
            print!(
                "{:>RATIO$}",
                ratio(results.ratio(scenario, verb, one, other))
            );
        }
        println!();
    }
}

fn initial(who: Contender) -> &'static str {
    match who {
        Reference => "ref",
        Netavark => "nvark",
        other => other.name(),
    }
}

/// `median / 95th percentile`.
pub(crate) fn time(samples: Option<&Samples>) -> String {
    let both = samples.and_then(|samples| Some((samples.median()?, samples.p95()?)));
    both.map_or_else(
        || "-".to_owned(),
        |(median, p95)| format!("{median:.2} / {p95:.2}"),
    )
}

pub(crate) fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
}

fn print_notes(results: &Results) {
    println!();
    println!("netavark writes its iptables rules in the -masq rows only; elsewhere its network is");
    println!("internal: no rules and no default route.");
    for (scenario, latencies) in &results.latencies {
        let after = latencies
            .get(&Ours)
            .and_then(|times| times.after_del.median());
        if let Some(after) = after.filter(|after| *after > 0.1) {
            println!(
                "{}: a child of ours goes on for {after:.1} ms after DEL",
                scenario.name
            );
        }
        print_single(results, scenario);
    }
}

/// One ADD, beside the attach of two networks.
fn print_single(results: &Results, scenario: &Scenario) {
    if let Some(single) = results.samples(scenario, Verb::Add, OursSingle) {
        let ratio = ratio(results.ratio(scenario, Verb::Add, Ours, OursSingle));
        println!(
            "{}: one ADD of ours takes {}, one attach of both {ratio}",
            scenario.name,
            time(Some(single)),
        );
    }
}

fn print_throughput(results: &Results) {
    if results.throughputs.is_empty() {
        return;
    }
    println!(
        "\n{:NAME$}{:>TIME$}{:>TIME$}{:>TIME$}",
        "eight at a time", "ADD/s", "DEL/s", "DEL/s to end"
    );
    for (who, rates) in &results.throughputs {
        println!(
            "{:NAME$}{:>TIME$.0}{:>TIME$.0}{:>TIME$.0}",
            who.name(),
            rates.add,
            rates.del,
            rates.del_to_the_end,
        );
    }
}

fn print_footprint(results: &Results) {
    if results.footprints.is_empty() {
        return;
    }
    println!(
        "\n{:NAME$}{:>TIME$}{:>TIME$}",
        "footprint, KiB", "peak memory", "executables"
    );
    for (who, footprint) in &results.footprints {
        println!(
            "{:NAME$}{:>TIME$}{:>TIME$}",
            who.name(),
            footprint.memory,
            footprint.executables
        );
    }
}

fn print_goals(results: &Results) {
    let goals = goals::judge(results);
    if goals.is_empty() {
        return;
    }
    println!(
        "\n{:NAME$}{:<26}{:>14}{:>10}",
        "goal", "", "wanted", "measured"
    );
    for goal in &goals {
        println!(
            "{:NAME$}{:<26}{:>14}{:>10.2}  {}",
            goal.scenario,
            goal.what,
            format!("{} {}", goal.wanted.words(), goal.wanted.limit()),
            goal.measured,
            if goal.is_met() { "met" } else { "MISSED" },
        );
    }
    let met = goals.iter().filter(|goal| goal.is_met()).count();
    println!("{met} of {} goals met", goals.len());
}
