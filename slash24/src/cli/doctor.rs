//! `slash24 doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::host::{CONF_DIR, absolute, plugin_directories};
use super::output::{Output, answer, json_text};
use crate::doctor::{self, Level};

/// Look for what is in the way of containers' networks on this host
///
/// Reads the configured networks, the kernel's parameters and other programs'
/// packet filters, and changes nothing.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    conf_dir: PathBuf,
    /// Directory of plugins; can be repeated [default: $CNI_PATH, else /opt/cni/bin]
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
Each finding says what it is, why it matters and what to do. It fails when there is an
error: then a network cannot be attached to. Warnings alone are no failure.

Examples:
  slash24 doctor
  slash24 doctor --output json | jq '.[].what'";

pub(super) fn run(args: &Args) -> ExitCode {
    let examined = || {
        let plugin_dirs = plugin_directories(&args.plugin_dir)?;
        Ok(doctor::examine(&absolute(&args.conf_dir)?, &plugin_dirs))
    };
    let examined = examined();
    let has_errors = examined
        .as_ref()
        .is_ok_and(|findings| findings.iter().any(|one| one.level == Level::Error));
    let code = answer(args.output, examined, |findings| match args.output {
        Output::Json => json_text(&doctor::json(findings)),
        Output::Table => doctor::text(findings),
    });
    match has_errors {
        true => ExitCode::FAILURE,
        false => code,
    }
}
