//! `bench`: what an attachment costs, as whole processes, compared in one run
//! with the reference plugins, with netavark, and with the floor.
//!
//! `docs/benchmarks.md` says what is measured and how to read it.

mod contender;
mod crowd;
mod error;
mod footprint;
mod goals;
mod host;
mod latency;
mod leases;
mod options;
mod overlay;
mod process;
mod report;
mod results;
mod scenario;
mod statistics;
mod throughput;

use std::process::ExitCode;

use contender::{Contender, Programs};
use crowd::CROWDS;
use error::Result;
use latency::Serial;
use leases::LEASES;
use options::{FOOTPRINT, Options, THROUGHPUT};
use overlay::OVERLAY;
use results::{Machine, Results};
use scenario::SCENARIOS;
use statistics::Chance;

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1)).and_then(|options| match options {
        Some(options) => run(&options),
        None => {
            print!("{}", options::USAGE);
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut results = Results {
        rounds: options.rounds,
        machine: Machine::inspect(),
        ..Results::default()
    };
    host::withdraw()?;
    let programs = Programs::find(&options.without)?;
    let mut chance = Chance::from_clock();
    let mut serial = Serial::default();
    let all = options.among(&Contender::ALL);
    for scenario in SCENARIOS.into_iter().filter(|s| options.wants(s.name)) {
        if !scenario.is_usual() && options.only.is_empty() {
            eprintln!("not measuring {}: make bench-vm does", scenario.name);
            continue;
        }
        eprintln!("measuring {}", scenario.name);
        let latencies = latency::measure(
            &programs,
            scenario,
            &all,
            options.rounds,
            &mut chance,
            &mut serial,
        )?;
        results.latencies.push((scenario, latencies));
    }
    if options.wants(THROUGHPUT) {
        eprintln!("measuring {THROUGHPUT}");
        let pair = options.among(&[Contender::Floor, Contender::Ours, Contender::Reference]);
        let batch = options.rounds.next_multiple_of(throughput::AT_A_TIME);
        results.throughputs =
            throughput::measure(&programs, &pair, batch, &mut chance, &mut serial)?;
    }
    if options.wants(FOOTPRINT) {
        eprintln!("measuring {FOOTPRINT}");
        let single = [
            Contender::Floor,
            Contender::Ours,
            Contender::Reference,
            Contender::Netavark,
        ];
        results.footprints = footprint::measure(&programs, &options.among(&single), &mut serial)?;
    }
    if options.wants(LEASES) {
        eprintln!("measuring {LEASES}");
        let pair = options.among(&[Contender::Ours, Contender::Reference]);
        results.leases = leases::measure(&programs, &pair, options.rounds, &mut chance)?;
    }
    for (name, kind) in CROWDS.into_iter().filter(|(name, _)| options.wants(name)) {
        if !kind.is_in_every_kernel() && options.only.is_empty() {
            eprintln!("not measuring {name}: make bench-vm does");
            continue;
        }
        eprintln!("measuring {name}");
        let who = options.among(&crowd::CONTENDERS);
        let rounds = options.rounds;
        let costs = crowd::measure(&programs, kind, &who, rounds, &mut chance, &mut serial)?;
        results.crowd.extend(costs);
    }
    if options.wants(OVERLAY) && !options.without.contains(&Contender::Ours) {
        eprintln!("measuring {OVERLAY}");
        results.overlay = overlay::measure(&programs, options.rounds, &mut chance, &mut serial)?;
    }
    report::print(&results);
    leases::print(&results.leases);
    crowd::print(&results.crowd);
    overlay::print(&results.overlay);
    results.write(&options.output)?;
    println!("written to {}", options.output.display());
    Ok(())
}
