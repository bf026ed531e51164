//! `slash24 check`.

use std::process::ExitCode;

use super::container::{ContainerArgs, container, plan, without_results};
use super::output::{Output, answer};
use super::tables;

/// Check that a container is attached as it should be
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    container: ContainerArgs,
}

const EXAMPLES: &str = "\
Every network that the container is on is checked; with a task, it must be on all
of the task's as well.

Examples:
  slash24 check --id web
  slash24 check --netns /run/netns/web --id web --output table task.json";

pub(super) fn run(Args { container: args }: Args) -> ExitCode {
    let output = args.host.output;
    let checked = || {
        let container = container(args.id, args.netns.as_deref())?;
        let runtime = args.host.runtime.runtime()?;
        let planned = match &args.task {
            Some(task) => plan(task, &args.host, &container)?,
            None => Vec::new(),
        };
        Ok(framework_glue::check(&runtime, &container, &planned)?)
    };
    answer(output, checked(), |checked| match output {
        Output::Json => without_results(checked),
        Output::Table => tables::places(checked, "as it should be"),
    })
}
