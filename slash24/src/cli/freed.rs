//! What a command freed, and what it could not.

use std::process::ExitCode;

use ipam::listing::{self, Holding};

use super::holdings::{self, Held};
use super::output::{Output, answer, json_text};
use crate::aside;
use crate::error::Error;
use crate::stores::Store;

/// Leases of several networks that were freed.
#[derive(Default)]
pub(super) struct Freed {
    leases: Vec<(String, Holding)>,
    /// What went wrong; it did not keep the rest from being done.
    failed: Vec<Error>,
}

impl Freed {
    /// Adds what became of one network.
    pub(super) fn add(&mut self, store: &Store, freed: Result<listing::Freed, ipam::Error>) {
        let named = |error| Error::of_network(&store.network, error);
        match freed {
            Ok(freed) => {
                let leases = freed.freed.into_iter();
                self.leases
                    .extend(leases.map(|holding| (store.network.clone(), holding)));
                self.failed.extend(freed.failed.map(named));
            }
            Err(error) => self.failed.push(named(error)),
        }
    }

    /// Adds a lease that is not there any more.
    pub(super) fn add_lease(&mut self, network: &str, holding: Holding) {
        self.leases.push((network.to_owned(), holding));
    }

    /// Adds something that went wrong.
    pub(super) fn add_failure(&mut self, error: Error) {
        self.failed.push(error);
    }

    /// What was freed.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Holding> {
        self.leases.iter().map(|(_, holding)| holding)
    }

    /// Whether there was nothing to do, and nothing went wrong.
    pub(super) fn is_nothing(&self) -> bool {
        self.leases.is_empty() && self.failed.is_empty()
    }
}

/// Says what was freed, also when something else went wrong.
pub(super) fn tell(output: Output, freed: Result<Freed, Error>) -> ExitCode {
    let Freed { leases, failed } = match freed {
        Ok(freed) => freed,
        Err(error) => return answer(output, Err::<(), _>(error), |()| String::new()),
    };
    let held: Vec<Held<'_>> = leases
        .iter()
        .map(|(network, holding)| Held { network, holding })
        .collect();
    let text = match output {
        Output::Json => json_text(&holdings::json_list(&held)),
        Output::Table => match held.len() {
            0 => "nothing was freed".to_owned(),
            1 => format!("freed:\n{}", holdings::table(&held)),
            number => format!("freed {number}:\n{}", holdings::table(&held)),
        },
    };
    let told = answer(output, Ok(()), |()| text);
    if failed.is_empty() {
        return told;
    }
    for error in failed {
        aside::say(error);
    }
    ExitCode::FAILURE
}
