//! Arguments of `slash24 plan`. Which options there are depends on the templates:
//! every field of theirs is one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use ipam::plan::{self, Bounds};

use super::super::output::Output;
use crate::error::Error;

/// The arguments, taken apart.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) configurations: Vec<PathBuf>,
    pub(super) bounds: Bounds,
    pub(super) subnets: bool,
    pub(super) output: Output,
}

impl Arguments {
    /// Reads files and options in any order; `--name value` and `--name=value`.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, Error> {
        let mut configurations = Vec::new();
        let mut fields = Vec::new();
        let mut subnets = false;
        let mut output = Output::Table;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(option) = argument.strip_prefix("--") else {
                if argument.starts_with('-') {
                    return Err(unknown(argument));
                }
                configurations.push(PathBuf::from(argument));
                continue;
            };
            let (name, joined) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let mut value = || {
                let next = joined.or_else(|| rest.next().map(String::as_str));
                next.ok_or_else(|| Error::Usage(format!("--{name} needs a value")))
            };
            match name {
                "subnets" if joined.is_none() => subnets = true,
                "output" => {
                    let text = value()?;
                    output = Output::from_str(text, true).map_err(|_| {
                        Error::Usage(format!("--output {text}: it is table or json"))
                    })?;
                }
                "field" => {
                    let text = value()?;
                    let (name, values) = text.split_once('=').ok_or_else(|| {
                        Error::Usage(format!("--field {text}: it is NAME=FIRST-LAST"))
                    })?;
                    fields.push(field(name, values)?);
                }
                "" => return Err(unknown(argument)),
                name => fields.push(field(name, value()?)?),
            }
        }
        if configurations.is_empty() {
            return Err(Error::Usage(
                "name a configuration or a directory of them".to_owned(),
            ));
        }
        let mut names = BTreeSet::new();
        if let Some((twice, _)) = fields.iter().find(|(name, _)| !names.insert(name.clone())) {
            return Err(Error::Usage(format!("--{twice} is given twice")));
        }
        Ok(Arguments {
            configurations,
            bounds: fields.into_iter().collect(),
            subnets,
            output,
        })
    }

    /// A field that is in no template, while one that is was not given, is a slip of the
    /// pen. Otherwise it is a field that the plan does not depend on, which the check tells.
    pub(super) fn check_fields(&self, networks: &[plan::Network]) -> Result<(), Error> {
        let known = networks
            .iter()
            .flat_map(|network| network.addressing.fields());
        let known: BTreeSet<&str> = known.collect();
        let is_missing = known.iter().any(|name| self.bounds.get(name).is_none());
        let slip = self.bounds.fields().find(|(name, _)| !known.contains(name));
        let Some((slip, _)) = slip.filter(|_| is_missing) else {
            return Ok(());
        };
        let known: Vec<String> = known.iter().map(|name| format!("--{name}")).collect();
        let known = known.join(", ");
        Err(Error::Usage(format!(
            "--{slip}: no template has a field of that name; there are {known}"
        )))
    }
}

fn field(name: &str, values: &str) -> Result<(String, (u64, u64)), Error> {
    let bounds = Bounds::parse(values).ok_or_else(|| {
        Error::Usage(format!(
            "--{name} {values}: it is the first and the last value, as in 0-255, or one value"
        ))
    })?;
    Ok((name.to_owned(), bounds))
}

fn unknown(argument: &str) -> Error {
    Error::Usage(format!(
        "{argument}: options are --FIELD FIRST-LAST, --subnets and --output; see --help"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Arguments, String> {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        Arguments::parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn files_and_options_in_any_order() {
        let all = parsed("--rack 0-9 a.conf --slot=7 --subnets b --output JSON --field output=1-2");
        let all = all.unwrap();
        assert_eq!(all.configurations, [PathBuf::from("a.conf"), "b".into()]);
        let fields: Vec<_> = all.bounds.fields().collect();
        assert_eq!(
            fields,
            [("output", (1, 2)), ("rack", (0, 9)), ("slot", (7, 7))]
        );
        assert!(all.subnets && all.output == Output::Json);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (arguments, why) in [
            ("--rack 0-9", "name a configuration"),
            ("a --rack", "--rack needs a value"),
            ("a --rack 9-0", "as in 0-255"),
            ("a --rack b", "--rack b"),
            ("a --rack 1 --rack 2", "--rack is given twice"),
            ("a -x", "-x: options are"),
            ("a --output yaml", "table or json"),
            ("a --field x", "NAME=FIRST-LAST"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(why), "{arguments}: {error}");
        }
    }
}
