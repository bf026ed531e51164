//! What the project wants to reach. A goal that is missed is reported, it does
//! not make the benchmark fail: a machine may be busy.

use crate::contender::Contender::{self, Floor, Netavark, Ours, OursSingle, Reference};
use crate::contender::Verb;
use crate::results::Results;
use crate::scenario::{Kind, Scenario};

/// What is wanted of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl Wanted {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    pub(crate) fn limit(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => limit,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::AtMost(_) => "at most",
            Self::AtLeast(_) => "at least",
        }
    }
}

/// A goal and what was measured for it.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) wanted: Wanted,
    pub(crate) measured: f64,
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        self.wanted.is_met_by(self.measured)
    }
}

const KIB_PER_MB: f64 = 1e6 / 1024.0;

/// Every goal that something was measured for.
pub(crate) fn judge(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (scenario, _) in &results.latencies {
        judge_latencies(results, scenario, &mut goals);
    }
    let rate = |who: Contender| results.throughputs.get(&who);
    if let (Some(ours), Some(reference)) = (rate(Ours), rate(Reference)) {
        for (what, measured) in [
            ("ADD a second / reference", ours.add / reference.add),
            ("DEL a second / reference", ours.del / reference.del),
        ] {
            goals.push(Goal {
                what,
                scenario: "eight-at-a-time",
                wanted: Wanted::AtLeast(4.0),
                measured,
            });
        }
    }
    if let Some(ours) = results.footprints.get(&Ours) {
        for (what, limit, kib) in [
            ("peak memory, MB", 3.0, ours.memory),
            ("executable, MB", 4.0, ours.executables),
        ] {
            goals.push(Goal {
                what,
                scenario: "footprint",
                wanted: Wanted::AtMost(limit),
                measured: kib as f64 / KIB_PER_MB,
            });
        }
    }
    goals
}

fn judge_latencies(results: &Results, scenario: &Scenario, goals: &mut Vec<Goal>) {
    let mut goal = |what, wanted, verb, slower: Contender, faster: Contender| {
        if let Some(measured) = results.ratio(scenario, verb, slower, faster) {
            goals.push(Goal {
                what,
                scenario: scenario.name,
                wanted,
                measured,
            });
        }
    };
    if scenario.kinds.len() > 1 {
        let twice = Wanted::AtMost(1.8);
        goal(
            "attach of two / one ADD",
            twice,
            Verb::Add,
            Ours,
            OursSingle,
        );
        return;
    }
    // What an ADD costs that has to make the bridge is for information.
    if scenario.new_bridge {
        return;
    }
    let (add, del) = if scenario.kinds.iter().any(|kind| !kind.is_everybodys()) {
        (4.0, 4.0)
    } else if scenario.masquerade {
        (12.0, 30.0)
    } else {
        (5.0, 10.0)
    };
    if !scenario.masquerade {
        goal("ADD / floor", Wanted::AtMost(1.3), Verb::Add, Ours, Floor);
    }
    goal(
        "reference / ADD",
        Wanted::AtLeast(add),
        Verb::Add,
        Reference,
        Ours,
    );
    goal(
        "reference / DEL",
        Wanted::AtLeast(del),
        Verb::Del,
        Reference,
        Ours,
    );
    if scenario.kinds == [Kind::Bridge] {
        goal(
            "netavark / ADD",
            Wanted::AtLeast(1.5),
            Verb::Add,
            Netavark,
            Ours,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Times;
    use crate::scenario::SCENARIOS;
    use std::time::Duration;

    #[test]
    fn a_limit_itself_is_good_enough() {
        assert!(Wanted::AtMost(1.3).is_met_by(1.3));
        assert!(!Wanted::AtMost(1.3).is_met_by(1.31));
        assert!(Wanted::AtLeast(5.0).is_met_by(5.0));
        assert!(!Wanted::AtLeast(5.0).is_met_by(4.99));
    }

    #[test]
    fn masquerading_raises_what_is_wanted() {
        let mut results = Results::default();
        for scenario in &SCENARIOS[..3] {
            let mut latencies = crate::latency::Latencies::new();
            for (who, milliseconds) in [(Ours, 2), (Reference, 20)] {
                let mut times = Times::default();
                times.add.push(Duration::from_millis(milliseconds));
                times.del.push(Duration::from_millis(milliseconds));
                latencies.insert(who, times);
            }
            results.latencies.push((*scenario, latencies));
        }
        let verdicts: Vec<_> = judge(&results)
            .iter()
            .filter(|goal| goal.what == "reference / ADD")
            .map(|goal| (goal.scenario, goal.measured, goal.is_met()))
            .collect();
        let expected = [
            ("bridge-v4", 10.0, true),
            ("bridge-dual", 10.0, true),
            ("bridge-v4-masq", 10.0, false),
        ];
        assert_eq!(verdicts, expected);
    }
}
