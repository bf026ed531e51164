//! The command line.

use std::path::PathBuf;

use crate::contender::Contender;
use crate::crowd::CROWDS;
use crate::error::{Error, Result};
use crate::leases::LEASES;
use crate::overlay::OVERLAY;
use crate::scenario::SCENARIOS;

pub(crate) const THROUGHPUT: &str = "eight-at-a-time";
pub(crate) const FOOTPRINT: &str = "footprint";

pub(crate) const USAGE: &str = "\
usage: bench [OPTION…]        (as root)
  -n NUMBER         rounds, 60 unless told, 200 at most
  --quick           10 rounds: whether everything works, not how fast
  --only NAME       one part, may be repeated: a row of the table (bridge-v4, …),
                    eight-at-a-time, footprint, leases, overlay, crowd (of bridge),
                    crowd-macvlan, crowd-ptp, crowd-ipvlan or crowd-vlan
  --without NAME    leaves a contender out, may be repeated: floor, floor-plain,
                    ours (with ours-single), ours-single, reference, netavark
  --output FILE     where the JSON goes, bench-results/bench.json unless told
";

const QUICK: usize = 10;
const USUAL: usize = 60;
/// A /24 has room for one lease a container, and eight-at-a-time has `rounds`
/// containers at once.
const MOST: usize = 200;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) without: Vec<Contender>,
    pub(crate) output: PathBuf,
}

impl Options {
    /// `None` if help is asked for.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            rounds: USUAL,
            only: Vec::new(),
            without: Vec::new(),
            output: "bench-results/bench.json".into(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || {
                let missing = || Error::Usage(format!("{word} needs a value\n{USAGE}"));
                words.next().ok_or_else(missing)
            };
            match word.as_str() {
                "-h" | "--help" => return Ok(None),
                "-n" => options.rounds = rounds(&value()?)?,
                "--quick" => options.rounds = QUICK,
                "--only" => options.only.push(part(value()?)?),
                "--without" => options.without.extend(contenders(&value()?)?),
                "--output" => options.output = value()?.into(),
                _ => return Err(Error::Usage(format!("no such option: {word}\n{USAGE}"))),
            }
        }
        Ok(Some(options))
    }

    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// Those that were not left out.
    pub(crate) fn among(&self, contenders: &[Contender]) -> Vec<Contender> {
        let left_in = |who: &&Contender| !self.without.contains(who);
        contenders.iter().filter(left_in).copied().collect()
    }
}

fn rounds(text: &str) -> Result<usize> {
    let wrong = || Error::Usage(format!("-n is `{text}`, not a number from 1 to {MOST}"));
    let rounds = text
        .parse()
        .ok()
        .filter(|rounds| (1..=MOST).contains(rounds));
    rounds.ok_or_else(wrong)
}

fn part(name: String) -> Result<String> {
    let mut parts: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    parts.extend([THROUGHPUT, FOOTPRINT, LEASES, OVERLAY]);
    parts.extend(CROWDS.map(|(name, _)| name));
    if parts.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(Error::Usage(format!(
        "--only is `{name}`, not one of {}",
        parts.join(", ")
    )))
}

fn contenders(name: &str) -> Result<Vec<Contender>> {
    let known = |who: &&Contender| who.name() == name;
    match Contender::ALL.iter().find(known) {
        Some(Contender::Ours) => Ok(vec![Contender::Ours, Contender::OursSingle]),
        Some(who) => Ok(vec![*who]),
        None => {
            let names = Contender::ALL.map(Contender::name).join(", ");
            let message = format!("--without is `{name}`, not one of {names}");
            Err(Error::Usage(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn everything_sixty_times_unless_told_otherwise() {
        let options = parse("").unwrap().unwrap();
        assert_eq!(options.rounds, 60);
        assert!(options.wants("bridge-v4") && options.wants(FOOTPRINT));
    }

    #[test]
    fn only_and_without_narrow_it() {
        let line = "--quick --only bridge-v4 --only footprint --without netavark";
        let options = parse(line).unwrap().unwrap();
        assert_eq!(options.rounds, 10);
        assert!(options.wants("bridge-v4") && !options.wants("bridge-dual"));
        let left = options.among(&[Contender::Ours, Contender::Netavark]);
        assert_eq!(left, [Contender::Ours]);
    }

    #[test]
    fn a_wrong_word_is_named_with_what_would_be_right() {
        let message = |line| parse(line).unwrap_err().to_string();
        assert!(message("-n many").contains("`many`, not a number from 1 to 200"));
        assert!(message("--only bridges").contains("bridge-v4, bridge-dual"));
        assert!(message("--without us").contains("floor, floor-plain"));
        assert!(message("--only").contains("needs a value"));
        assert!(message("--fast").contains("no such option"));
    }
}
