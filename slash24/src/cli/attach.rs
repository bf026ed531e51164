//! `slash24 attach`.

use std::path::PathBuf;
use std::process::ExitCode;

use framework_glue::Attached;
use serde_json::{Value, json};

use super::container::{container, plan};
use super::host::HostArgs;
use super::output::{Output, answer, json_text};
use super::tables;

use crate::aside;

/// Attach a container to the networks of its task, or to none of them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The container's id
    #[arg(long)]
    id: String,
    /// Path of the container's network namespace
    #[arg(long, value_name = "PATH")]
    netns: PathBuf,
    /// The task's document (Hydrogen); `-` reads standard input
    #[arg(value_name = "TASK.json")]
    task: PathBuf,
    #[command(flatten)]
    host: HostArgs,
}

const EXAMPLES: &str = r#"The networks become eth0, eth1, … in the order of the task's list:
  {"container": {"network": [
    {"name": "frontend"},
    {"name": "backend", "ipaddress": [{"ip": "10.50.11.77", "protocol": "ipv4"}]}
  ]}}
If one fails, those before it are detached again and the error says which and why.

Examples:
  slash24 attach --netns /run/netns/web --id web task.json
  slash24 attach --netns /run/netns/web --id web --output table task.json
  curl -s http://scheduler/app | slash24 attach --netns /run/netns/web --id web -"#;

pub(super) fn run(args: Args) -> ExitCode {
    let output = args.host.output;
    let attached = || {
        let container = container(args.id, Some(&args.netns))?;
        let runtime = args.host.runtime.runtime()?;
        let planned = plan(&args.task, &args.host, &container)?;
        for note in planned.iter().flat_map(|one| &one.notes) {
            aside::say(note);
        }
        Ok(framework_glue::attach(&runtime, &container, &planned)?)
    };
    answer(output, attached(), |attached| match output {
        Output::Json => json_text(&attached.iter().map(with_result).collect()),
        Output::Table => tables::attached(attached),
    })
}

fn with_result(attached: &Attached) -> Value {
    json!({
        "network": attached.network,
        "ifname": attached.ifname,
        "result": attached.result,
    })
}
