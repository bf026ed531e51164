//! `slash24 vxlan`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use cni::runtime::{Directory, Network, PluginConfig};
use cni::{Config, Failure};
use plugins::vxlan::{Synced, sync};
use serde_json::{Value, json};

use super::host::CONF_DIR;
use super::output::{Output, answer};
use crate::error::Error;

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

fn sync_one(network: &Network, plugin: &PluginConfig, dry_run: bool) -> Result<Synced, Failure> {
    let plugin = plugin
        .clone()
        .with("name", network.name.clone().into())
        .with("cniVersion", network.version().to_string().into());
    let config = Config::from_object(plugin.into_raw())?;
    Ok(sync(&config, dry_run)?)
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
    let directory = Directory::read(&args.conf_dir)?;
    let mut done = Vec::new();
    let mut failed = None;
    for network in directory.networks() {
        for plugin in network.plugins.iter().filter(|p| p.plugin_type == "vxlan") {
            match sync_one(network, plugin, args.dry_run) {
                Ok(synced) => done.push((network.name.clone(), synced)),
                Err(error) => {
                    failed.get_or_insert(Error::Network {
                        network: network.name.clone(),
                        failure: Box::new(error),
                    });
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
