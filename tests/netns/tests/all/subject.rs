//! Whose plugins a trial is about.
//!
//! What is the same with the reference plugins runs with both: Debian's show that the trial asks for
//! nothing but the behaviour that operators know.

use libtest_mimic::Trial;
use netns::{Container, Namespace, Plugins, trial};

/// The newest version of the protocol that an implementation speaks.
pub(crate) fn newest(plugins: Plugins) -> &'static str {
    match plugins {
        Plugins::Slash24 => "1.1.0",
        Plugins::Debian => "1.0.0",
    }
}

/// The short name of an implementation, for the names of trials.
pub(crate) fn label(plugins: Plugins) -> &'static str {
    match plugins {
        Plugins::Slash24 => "slash24",
        Plugins::Debian => "debian",
    }
}

/// A trial of our plugins, and one of Debian's.
pub(crate) fn both(name: &str, story: fn(Plugins)) -> Vec<Trial> {
    let of = |plugins| trial(format!("{name}/{}", label(plugins)), move || story(plugins));
    vec![of(Plugins::Slash24), of(Plugins::Debian)]
}

/// A trial of our plugins alone.
pub(crate) fn ours(name: &str, story: fn()) -> Vec<Trial> {
    vec![trial(format!("{name}/slash24"), story)]
}

/// Waits until Debian's bridge serves its own IPv6 address, which it probes for duplicates during
/// its first second. Ours must serve at once.
pub(crate) fn wait_for_the_gateway(plugins: Plugins, container: &Container<'_>, gateway: &str) {
    if plugins == Plugins::Debian {
        container.wait_until("the gateway answers", || container.reaches(gateway));
    }
}
