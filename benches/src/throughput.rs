//! How many attachments a second, eight at a time, as an agent that starts many
//! tasks at once would have it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::contender::{Contender, Programs, Site, Verb};
use crate::error::{Error, Result};
use crate::host::{self, Container};
use crate::latency::Serial;
use crate::process::{self, Invocation};
use crate::scenario::TYPICAL;
use crate::statistics::{Chance, median};

pub(crate) const AT_A_TIME: usize = 8;
const ROUNDS: usize = 3;

/// Calls a second, the median of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) add: f64,
    pub(crate) del: f64,
    /// Counted until the last process that DEL left behind is gone as well.
    pub(crate) del_to_the_end: f64,
}

pub(crate) type Throughputs = BTreeMap<Contender, Rates>;

/// `batch` containers at once are attached, then all are detached.
pub(crate) fn measure(
    programs: &Programs,
    contenders: &[Contender],
    batch: usize,
    chance: &mut Chance,
    serial: &mut Serial,
) -> Result<Throughputs> {
    let mut sites = Vec::new();
    for contender in contenders {
        sites.push(Site::new(
            programs,
            *contender,
            TYPICAL,
            serial.resident()?,
        )?);
    }
    let mut rounds: BTreeMap<Contender, Vec<[f64; 3]>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        chance.shuffle(&mut sites);
        for site in &sites {
            let rates = attach_and_detach(site, batch, serial)?;
            rounds.entry(site.contender).or_default().push(rates);
            host::settle();
        }
    }
    let middle = |rounds: &[[f64; 3]], column: usize| {
        let values: Vec<_> = rounds.iter().map(|round| round[column]).collect();
        median(&values).unwrap_or_default()
    };
    let rates = rounds.into_iter().map(|(contender, rounds)| {
        let rates = Rates {
            add: middle(&rounds, 0),
            del: middle(&rounds, 1),
            del_to_the_end: middle(&rounds, 2),
        };
        (contender, rates)
    });
    Ok(rates.collect())
}

fn attach_and_detach(site: &Site, batch: usize, serial: &mut Serial) -> Result<[f64; 3]> {
    let containers = (0..batch)
        .map(|_| serial.container())
        .collect::<Result<Vec<_>>>()?;
    let mut rates = [0.0; 3];
    for (column, verb) in [(0, Verb::Add), (1, Verb::Del)] {
        let calls: Vec<_> = containers.iter().map(|c| site.calls(verb, c)).collect();
        let start = Instant::now();
        all_at_once(site, &calls)?;
        rates[column] = batch as f64 / start.elapsed().as_secs_f64();
        process::await_orphans()?;
        rates[2] = batch as f64 / start.elapsed().as_secs_f64();
        confirm(site, verb, &containers)?;
    }
    Ok(rates)
}

fn confirm(site: &Site, verb: Verb, containers: &[Container]) -> Result<()> {
    containers
        .iter()
        .try_for_each(|container| site.confirm(verb, container))
}

/// Each worker takes the next call when it has finished one.
fn all_at_once(site: &Site, calls: &[Vec<Invocation>]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        site.host.enter()?;
        while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
            process::run(call)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            let panicked = |_| Error::Usage("a worker panicked".to_owned());
            worker.join().map_err(panicked)?
        })
    })
}
