//! `slash24 detach`.

use std::process::ExitCode;

use super::container::{ContainerArgs, container, plan, without_results};
use super::output::{Output, answer};
use super::tables;

/// Detach a container from every network that it was attached to
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    container: ContainerArgs,
}

const EXAMPLES: &str = "\
It goes by what was noted when the container was attached, so it works when
configurations or the task have changed since, and when the namespace is gone.
The task is only needed when those notes are lost.

Examples:
  slash24 detach --id web
  slash24 detach --netns /run/netns/web --id web task.json";

pub(super) fn run(Args { container: args }: Args) -> ExitCode {
    let output = args.host.output;
    let detached = || {
        let container = container(args.id, args.netns.as_deref())?;
        let runtime = args.host.runtime.runtime()?;
        // Only read when it is needed: it may be gone, or changed.
        let planned = || match &args.task {
            Some(task) => plan(task, &args.host, &container),
            None => Ok(Vec::new()),
        };
        framework_glue::detach(&runtime, &container, planned)
    };
    answer(output, detached(), |detached| match output {
        Output::Json => without_results(detached),
        Output::Table => tables::places(detached, "detached"),
    })
}
