//! `slash24 install`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::tell;
use crate::install;

/// Put the plugins into a runtime's CNI directory
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Replace files that are no slash24 plugins, and keep them aside
    #[arg(long)]
    replace: bool,
    /// Install these plugins only; those of an earlier install are upgraded
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    only: Vec<String>,
}

const EXAMPLES: &str = "\
DIR gets one file, slash24, and the plugins' names as hard links to it, each put in
place by a rename: it can be run while plugins are in use, and again to upgrade.
A file that is no slash24 plugin is only replaced with --replace; it is kept as
DIR/.slash24/replaced/NAME, where no runtime looks.

Examples:
  slash24 install /opt/cni/bin
  slash24 install --replace /opt/cni/bin
  slash24 install --only bridge,host-local /usr/libexec/cni";

pub(super) fn run(args: &Args) -> ExitCode {
    tell(install::into(&args.directory, &args.only, args.replace))
}
