//! How long one call takes: every contender in every round, in an order that
//! chance decides anew, each time with a fresh container.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contender::{Contender, Programs, Site, Verb};
use crate::error::Result;
use crate::host::{self, Container};
use crate::process;
use crate::scenario::Scenario;
use crate::statistics::{Chance, Samples};

/// Rounds that are not counted.
const WARM_UP: usize = 2;
/// Containers that are kept until their namespaces are taken apart together.
const KEPT: usize = 48;

/// One contender in one scenario.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) add: Samples,
    pub(crate) del: Samples,
    /// What a contender's child goes on doing after DEL has returned.
    pub(crate) after_del: Samples,
}

pub(crate) type Latencies = BTreeMap<Contender, Times>;

/// Gives every container of a run its own number.
#[derive(Debug, Default)]
pub(crate) struct Serial(usize);

impl Serial {
    /// For those who assign addresses themselves, numbers come round again
    /// when nobody has them any more.
    pub(crate) fn container(&mut self) -> Result<Container> {
        self.0 += 1;
        Container::new(self.0, (self.0 % 250) as u8 + 2)
    }

    /// One that stays attached, so its number must not come round.
    pub(crate) fn resident(&mut self) -> Result<Container> {
        self.0 += 1;
        Container::new(self.0, 254)
    }
}

pub(crate) fn measure(
    programs: &Programs,
    scenario: Scenario,
    contenders: &[Contender],
    rounds: usize,
    chance: &mut Chance,
    serial: &mut Serial,
) -> Result<Latencies> {
    let mut sites = Vec::new();
    for contender in contenders.iter().filter(|who| who.takes_part(&scenario)) {
        sites.push(Site::new(
            programs,
            *contender,
            scenario,
            serial.resident()?,
        )?);
    }
    let mut latencies = Latencies::new();
    let mut kept = Vec::new();
    for round in 0..WARM_UP + rounds {
        chance.shuffle(&mut sites);
        for site in &sites {
            let container = serial.container()?;
            let (add, del, after) = attach_and_detach(site, &container)?;
            kept.push(container);
            if round >= WARM_UP {
                let times = latencies.entry(site.contender).or_default();
                times.add.push(add);
                times.del.push(del);
                times.after_del.push(after);
            }
        }
        if kept.len() >= KEPT {
            kept.clear();
            host::settle();
        }
    }
    drop((sites, kept));
    host::settle();
    Ok(latencies)
}

fn attach_and_detach(site: &Site, container: &Container) -> Result<(Duration, Duration, Duration)> {
    let add = site.run(Verb::Add, container)?.elapsed;
    process::await_orphans()?;
    site.confirm(Verb::Add, container)?;
    let del = site.run(Verb::Del, container)?.elapsed;
    site.confirm(Verb::Del, container)?;
    let after = process::await_orphans()?;
    Ok((add, del, after))
}
