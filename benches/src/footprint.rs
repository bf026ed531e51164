//! How large a contender is, on disk and in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::contender::{Contender, Programs, Site, Verb};
use crate::error::{Doing, Error, Result};
use crate::latency::Serial;
use crate::process;
use crate::scenario::{SCENARIOS, Scenario};

/// All in KiB.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// The highest peak of resident memory over every scenario's ADD and DEL.
    pub(crate) memory: u64,
    /// What has to be installed for a bridge with host-local, and macvlan.
    pub(crate) executables: u64,
}

pub(crate) type Footprints = BTreeMap<Contender, Footprint>;

pub(crate) fn measure(
    programs: &Programs,
    contenders: &[Contender],
    serial: &mut Serial,
) -> Result<Footprints> {
    let measure = |contender: &Contender| {
        let mut memory = 0;
        let scenarios = SCENARIOS.into_iter().filter(Scenario::is_usual);
        for scenario in scenarios.filter(|scenario| contender.takes_part(scenario)) {
            let site = Site::new(programs, *contender, scenario, serial.resident()?)?;
            let container = serial.container()?;
            for verb in [Verb::Add, Verb::Del] {
                let calls = site.calls(verb, &container).into_iter();
                let calls: Vec<_> = calls.map(|call| call.under(&programs.memory)).collect();
                site.host.enter()?;
                let outcome = process::run(&calls)?;
                memory = memory.max(peak(&outcome.stderr)?);
                process::await_orphans()?;
                site.confirm(verb, &container)?;
            }
        }
        let footprint = Footprint {
            memory,
            executables: size(&executables(programs, *contender))?,
        };
        Ok((*contender, footprint))
    };
    contenders.iter().map(measure).collect()
}

/// The launcher's line comes last.
fn peak(stderr: &str) -> Result<u64> {
    let line = stderr.lines().last().unwrap_or_default();
    let wrong = |_| Error::Usage(format!("bench-memory wrote `{line}` instead of a number"));
    line.parse().map_err(wrong)
}

fn executables(programs: &Programs, contender: Contender) -> Vec<PathBuf> {
    match contender {
        Contender::Floor | Contender::FloorPlain => vec![programs.floor.clone()],
        Contender::Ours | Contender::OursSingle => vec![programs.slash24.clone()],
        Contender::Netavark => vec![programs.netavark.clone()],
        Contender::Reference => {
            let names = ["bridge", "macvlan", "host-local"];
            names.map(|name| programs.reference.join(name)).to_vec()
        }
    }
}

fn size(files: &[PathBuf]) -> Result<u64> {
    let sizes = files.iter().map(|file| {
        let facts = fs::metadata(file).doing(|| file.display().to_string())?;
        Ok(facts.len().div_ceil(1024))
    });
    sizes.sum()
}
