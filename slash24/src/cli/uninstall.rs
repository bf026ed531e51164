//! `slash24 uninstall`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::tell;
use crate::install;

/// Take the plugins out again, and put back what they replaced
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  slash24 uninstall /opt/cni/bin";

pub(super) fn run(args: &Args) -> ExitCode {
    tell(install::out_of(&args.directory))
}
