//! `slash24 plan`: checks an addressing plan before it is rolled out.

mod arguments;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use ipam::plan::{self, Bounds};

use super::output::{Output, answer};
use crate::error::Error;
use crate::networks::{Networks, sources};
use arguments::Arguments;

/// Check an addressing plan before it is rolled out
///
/// Every place of the data centre is looked at as its hosts will: which subnets it
/// has, whether two places or two networks share addresses, which values do not fit,
/// how many hosts and containers there is room for.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(super) struct Args {
    /// Configurations, or directories of them; and --FIELD FIRST-LAST for each field
    /// of the templates, --subnets, --output
    #[arg(
        value_name = "CONF",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

const USAGE: &str =
    "slash24 plan CONF... [--FIELD FIRST-LAST]... [--subnets] [--output table|json]";

const EXAMPLES: &str = "\
Options, anywhere after the first CONF:
  --FIELD FIRST-LAST  the values that a field of the place has, ends included, as in
                      --rack 0-255; --slot 7 is one value
  --field NAME=FIRST-LAST
                      the same, for fields with the names of options
  --subnets           print every place's subnets too
  --output table|json

That no two places share addresses is proved from the templates: each field has bits
of its own in the prefix. It fails when something is wrong with the plan. Files of a
directory that are no network's configuration are passed over.

Examples:
  slash24 plan /etc/cni/net.d --rack 0-255 --slot 0-255
  slash24 plan backend.conf frontend.conf --rack 0-99 --chassis 0-15 --slot 1-16
  slash24 plan backend.conf --rack 0-255 --slot 0-255 --subnets --output json |
    jq -r '.subnets[] | [.place.rack, .place.slot, .subnet] | @tsv'";

/// A plan, and what came of checking it.
struct Checked {
    bounds: Bounds,
    networks: Vec<plan::Network>,
    report: plan::Report,
    /// What is not checked.
    notes: Vec<String>,
    /// Whether every subnet is to be printed.
    subnets: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let arguments = match Arguments::parse(&args.arguments) {
        Ok(arguments) => arguments,
        Err(error) => return answer(Output::Table, Err::<(), _>(error), |()| String::new()),
    };
    let output = arguments.output;
    let checked = check(arguments);
    let right = checked
        .as_ref()
        .is_ok_and(|checked| checked.report.is_right());
    let printed = answer(output, checked, |checked| match output {
        Output::Json => report::json(checked),
        Output::Table => report::tables(checked),
    });
    match right {
        true => printed,
        false => ExitCode::FAILURE,
    }
}

fn check(arguments: Arguments) -> Result<Checked, Error> {
    let mut configured = Networks::default();
    for conf in &arguments.configurations {
        configured.extend(Networks::read(conf)?);
    }
    // A plan that is not read is not checked.
    if let Some(broken) = configured.broken.into_iter().next() {
        return Err(broken);
    }
    configured.broken = Vec::new();
    let (mut networks, mut notes) = (Vec::new(), Vec::new());
    for source in sources(&configured) {
        match source.has_addresses() {
            true => {
                let network = source.planned()?;
                match source.has_leases() || !network.addressing.sets.is_empty() {
                    true => networks.push(network),
                    false => notes.push(format!(
                        "network \"{}\" has the addresses that are asked for: not checked",
                        source.network
                    )),
                }
            }
            false => notes.push(format!(
                "network \"{}\" has its addresses from {}: not checked",
                source.network, source.ipam_type
            )),
        }
    }
    if networks.is_empty() {
        return Err(Error::NothingToPlan(paths(&arguments.configurations)));
    }
    arguments.check_fields(&networks)?;
    let report = plan::check(&networks, &arguments.bounds);
    Ok(Checked {
        bounds: arguments.bounds,
        networks,
        report,
        notes,
        subnets: arguments.subnets,
    })
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}
