//! `slash24 vxlan`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use cni::runtime::PluginConfig;
use plugins::vxlan::{Synced, sync};
use serde_json::{Value, json};

use super::host::CONF_DIR;
use super::output::{Output, answer};
use crate::error::Error;
use crate::networks::{Configured, Networks};

/// Look after VXLAN networks that are in use
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sync(SyncArgs),
}

/// Bring all VXLAN networks in line with their inventories
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct SyncArgs {
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    conf_dir: PathBuf,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
Hosts that came or went become known to this host's networks or are forgotten, and
networks whose configuration was changed get devices as it says; no
container is touched. It can be run at any time and as often as one likes. A network
without a container on this host needs nothing.

Examples:
  slash24 vxlan sync
  slash24 vxlan sync --dry-run --output json";

fn sync_one(configured: &Configured, plugin: PluginConfig, dry_run: bool) -> Result<Synced, Error> {
    let network = &configured.network;
    let config = configured.config_of(plugin, network.version())?;
    sync(&config, dry_run).map_err(|error| Error::Network {
        network: network.name.clone(),
        failure: Box::new(error.into()),
    })
}

/// A network, and what became of it.
type Done = (String, Synced);

pub(super) fn run(args: Args) -> ExitCode {
    let Command::Sync(args) = args.command;
    let output = args.output;
    answer(output, sync_all(&args), |networks| match output {
        Output::Json => as_json(networks),
        Output::Table => as_text(networks),
    })
}

/// All networks are tried; the first error is what the command ends with.
fn sync_all(args: &SyncArgs) -> Result<Vec<Done>, Error> {
    let networks = Networks::read(&args.conf_dir)?;
    networks.tell_broken();
    let mut done = Vec::new();
    let mut failed = None;
    for configured in &networks.found {
        for plugin in configured.plugins() {
            let synced = match plugin {
                Ok(plugin) if plugin.plugin_type != "vxlan" => continue,
                Ok(plugin) => sync_one(configured, plugin, args.dry_run),
                Err(error) => Err(error),
            };
            match synced {
                Ok(synced) => done.push((configured.network.name.clone(), synced)),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
    }
    match failed {
        None => Ok(done),
        Some(error) => {
            // What was done is told even so.
            let text = as_text(&done);
            if !text.is_empty() {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            Err(error)
        }
    }
}

fn as_text(networks: &[Done]) -> String {
    let mut lines = Vec::new();
    for (name, synced) in networks {
        lines.push(match (synced.is_here, synced.changes.len()) {
            (false, _) => format!("{name}: no container on this host"),
            (true, 0) => format!("{name}: {} entries, as they should be", synced.entries),
            (true, changes) => format!("{name}: {changes} changes to {} entries", synced.entries),
        });
        let devices = synced.devices.iter();
        lines.extend(devices.map(|change| format!("  ~ {change}")));
        let why = synced.why_asked.iter();
        lines.extend(why.map(|why| format!("  each question goes to all hosts: {why}")));
        lines.extend(synced.changes.iter().map(|change| format!("  {change}")));
    }
    lines.join("\n")
}

fn as_json(networks: &[Done]) -> String {
    let network = |(name, synced): &Done| {
        let of = |is_added| -> Vec<&str> {
            let changes = synced.changes.iter();
            let of_kind = changes.filter(move |change| change.is_added == is_added);
            of_kind.map(|change| change.what.as_str()).collect()
        };
        json!({
            "network": name,
            "isHere": synced.is_here,
            "entries": synced.entries,
            "whyAsked": synced.why_asked,
            "devices": synced.devices,
            "added": of(true),
            "deleted": of(false),
        })
    };
    Value::Array(networks.iter().map(network).collect()).to_string()
}
