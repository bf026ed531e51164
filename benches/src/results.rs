//! Everything that a run has measured, and the machine that it ran on; as JSON.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::contender::{Contender, Verb};
use crate::crowd;
use crate::error::{Doing, Result};
use crate::footprint::Footprints;
use crate::goals::{self, Goal};
use crate::latency::Latencies;
use crate::leases::{self, Costs};
use crate::overlay;
use crate::scenario::Scenario;
use crate::statistics::Samples;
use crate::throughput::{AT_A_TIME, Throughputs};

#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) machine: Machine,
    pub(crate) latencies: Vec<(Scenario, Latencies)>,
    pub(crate) throughputs: Throughputs,
    pub(crate) footprints: Footprints,
    pub(crate) leases: Costs,
    pub(crate) crowd: crowd::Costs,
    pub(crate) overlay: overlay::Networks,
}

impl Results {
    pub(crate) fn samples(
        &self,
        scenario: &Scenario,
        verb: Verb,
        who: Contender,
    ) -> Option<&Samples> {
        let (_, latencies) = self
            .latencies
            .iter()
            .find(|(row, _)| row.name == scenario.name)?;
        let times = latencies.get(&who)?;
        Some(match verb {
            Verb::Add => &times.add,
            Verb::Del => &times.del,
        })
    }

    /// The median of the one in medians of the other.
    pub(crate) fn ratio(
        &self,
        scenario: &Scenario,
        verb: Verb,
        one: Contender,
        other: Contender,
    ) -> Option<f64> {
        let median = |who| self.samples(scenario, verb, who)?.median();
        Some(median(one)? / median(other)?)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "machine": self.machine.to_json(),
            "rounds": self.rounds,
            "unit": "ms",
            "latencies": self.latencies.iter().map(latencies_json).collect::<Map<_, _>>(),
            "throughput": throughput_json(&self.throughputs),
            "footprint": footprint_json(&self.footprints),
            "leases": leases::to_json(&self.leases),
            "crowd": crowd::to_json(&self.crowd),
            "overlay": overlay::to_json(&self.overlay),
            "goals": goals::judge(self).iter().map(goal_json).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).doing(|| directory.display().to_string())?;
        }
        let text = format!("{:#}\n", self.to_json());
        fs::write(path, text).doing(|| path.display().to_string())
    }
}

fn latencies_json((scenario, latencies): &(Scenario, Latencies)) -> (String, Value) {
    let row: Map<_, _> = latencies
        .iter()
        .map(|(who, times)| {
            let value = json!({
                "add": samples_json(&times.add),
                "del": samples_json(&times.del),
                "after_del": samples_json(&times.after_del),
            });
            (who.name().to_owned(), value)
        })
        .collect();
    (scenario.name.to_owned(), row.into())
}

pub(crate) fn samples_json(samples: &Samples) -> Value {
    json!({
        "n": samples.len(), "median": samples.median(), "p95": samples.p95(),
        "fastest": samples.fastest(),
    })
}

fn throughput_json(throughputs: &Throughputs) -> Value {
    let rates = throughputs.iter().map(|(who, rates)| {
        let value = json!({
            "add_per_second": rates.add, "del_per_second": rates.del,
            "del_per_second_to_the_end": rates.del_to_the_end,
        });
        (who.name().to_owned(), value)
    });
    json!({ "at_a_time": AT_A_TIME, "contenders": rates.collect::<Map<_, _>>() })
}

fn footprint_json(footprints: &Footprints) -> Value {
    let footprints = footprints.iter().map(|(who, footprint)| {
        let value = json!({
            "peak_memory_kib": footprint.memory, "executables_kib": footprint.executables,
        });
        (who.name().to_owned(), value)
    });
    footprints.collect::<Map<_, _>>().into()
}

fn goal_json(goal: &Goal) -> Value {
    json!({
        "what": goal.what, "scenario": goal.scenario, "wanted": goal.wanted.words(),
        "limit": goal.wanted.limit(), "measured": goal.measured, "met": goal.is_met(),
    })
}

/// What the numbers depend on besides the contenders.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    /// Processes that were running or wanted to, on average, in the minute
    /// before the run.
    pub(crate) load: String,
    pub(crate) packages: Vec<String>,
}

impl Machine {
    pub(crate) fn inspect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let load = read("/proc/loadavg");
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: model.map_or_else(String::new, |(_, name)| name.to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            packages: ["containernetworking-plugins", "netavark", "iptables"]
                .into_iter()
                .filter_map(package)
                .collect(),
        }
    }

    /// Whether others were at work: netlink has one lock for all of them, and
    /// what they do shows in everybody's times, though not evenly.
    pub(crate) fn is_busy(&self) -> bool {
        let load: f64 = self.load.parse().unwrap_or_default();
        load > self.cpus as f64 / 2.0
    }

    fn to_json(&self) -> Value {
        json!({
            "kernel": self.kernel, "cpu": self.cpu, "cpus": self.cpus,
            "load_before": self.load, "busy": self.is_busy(), "packages": self.packages,
        })
    }
}

/// Debian's name and version of what is installed.
fn package(name: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${Version}", name]);
    let output = query
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
