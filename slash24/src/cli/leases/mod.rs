//! `slash24 leases`: who holds what.

mod release;

use std::process::ExitCode;

use clap::Subcommand;
use ipam::listing::{self, Holding};
use ipam::pool::Usage;
use ipam::{Here, Pool};
use serde_json::{Value, json};

use super::holdings::{self, Held};
use super::output::{Output, answer, json_text};
use super::stores::StoreArgs;
use super::tables;
use crate::aside;
use crate::error::Error;
use crate::networks::Source;
use crate::stores::{Store, of_network};

/// Show who holds which address since when, and what is left
///
/// The leases are those of host-local, ours and the reference's: files in the data
/// directories that configurations name, and in /var/lib/cni/networks.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Subcommand)]
enum Command {
    Release(release::Args),
}

#[derive(clap::Args)]
struct ShowArgs {
    /// The network [default: all]
    #[arg(value_name = "NETWORK")]
    network: Option<String>,
    #[command(flatten)]
    stores: StoreArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
namespace  alive; gone: no process, no open file and no mount keeps it; unknown: the
           lease does not tell (the reference's never do), or it is of another boot
boot       this or earlier; a lease of an earlier boot is given to the next who asks,
           unless \"keepAcrossReboot\" is set

Examples:
  slash24 leases
  slash24 leases backend
  slash24 leases --output json backend | jq '.[].leases[] | select(.netns.state == \"gone\")'
  slash24 leases release 10.50.11.7
  slash24 leases release --container c3f1";

/// The leases of a network and how much of it is used.
struct Shown {
    store: Store,
    holdings: Vec<Holding>,
    /// Whether the leases were looked at.
    is_read: bool,
    /// Why some leases are not among them, or none.
    unread: Option<String>,
    ranges: Result<Vec<Usage>, String>,
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.command {
        Some(Command::Release(args)) => release::run(&args),
        None => answer(args.show.output, shown(&args.show), |shown| {
            match args.show.output {
                Output::Json => json_text(&shown.iter().map(to_json).collect()),
                Output::Table => to_tables(shown),
            }
        }),
    }
}

fn shown(args: &ShowArgs) -> Result<Vec<Shown>, Error> {
    let networks = args.stores.networks()?;
    let stores = of_network(args.stores.stores(&networks)?, args.network.as_deref())?;
    let storages: Vec<_> = stores.iter().map(|store| &store.storage).collect();
    let (found, census) = listing::holdings(&storages);
    if let Some(unseen) = census.unseen() {
        aside::say(format_args!(
            "{} cannot be looked at, so no namespace is known to be gone",
            unseen.display()
        ));
    }
    let mut shown = Vec::new();
    for (store, found) in stores.into_iter().zip(found) {
        let is_read = found.is_ok();
        let (holdings, unread) = match found {
            Ok(found) => (found.found, found.unread.map(|error| error.to_string())),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if let Some(unread) = &unread {
            aside::say(format_args!("network \"{}\": {unread}", store.network));
        }
        let ranges = usage(&store, &holdings).map_err(|error| error.to_string());
        if let Err(error) = &ranges {
            aside::say(error);
        }
        shown.push(Shown {
            store,
            holdings,
            is_read,
            unread,
            ranges,
        });
    }
    Ok(shown)
}

/// How much of each range good leases use.
fn usage(store: &Store, holdings: &[Holding]) -> Result<Vec<Usage>, Error> {
    let good = holdings.iter().filter(|holding| holding.current);
    let mut taken: Vec<_> = good.map(|holding| holding.address).collect();
    // Shared addresses have several holders.
    taken.dedup();
    let mut usage = Vec::new();
    for source in &store.sources {
        let pool = pool(source)?;
        usage.extend(pool.usage_with(&taken).into_iter().flatten());
    }
    Ok(usage)
}

/// The ranges of a network on this host.
fn pool(source: &Source) -> Result<Pool, Error> {
    let network = source.planned()?;
    let here = Here::new(network.addressing.location.clone());
    let pool = network
        .addressing
        .pool_at(&network.name, network.version, &here);
    pool.map_err(|error: ipam::Error| Error::of_network(&network.name, error))
}

fn held(shown: &Shown) -> impl Iterator<Item = Held<'_>> {
    shown.holdings.iter().map(|holding| Held {
        network: &shown.store.network,
        holding,
    })
}

fn to_tables(shown: &[Shown]) -> String {
    let held: Vec<Held<'_>> = shown.iter().flat_map(held).collect();
    let unread: Vec<&str> = shown
        .iter()
        .filter(|one| !one.is_read)
        .map(|one| one.store.network.as_str())
        .collect();
    let mut tables = match (held.is_empty(), unread.is_empty()) {
        (false, _) => vec![holdings::table(&held)],
        (true, true) => vec!["nobody holds an address".to_owned()],
        (true, false) => Vec::new(),
    };
    if !unread.is_empty() {
        let unread = unread.join(", ");
        tables.push(format!("who holds what of {unread} could not be looked at"));
    }
    let mut ranges = tables::new(&["network", "range", "subnet", "used", "free", "of"]);
    let mut any = false;
    for one in shown {
        for usage in one.ranges.iter().flatten() {
            any = true;
            let number = |number: u128| match one.is_read {
                true => number.to_string(),
                false => "unknown".to_owned(),
            };
            let [free, of] = match usage.range.is_shared() {
                true => ["any number", "shared"].map(str::to_owned),
                false => [number(usage.free()), usage.total.to_string()],
            };
            ranges.add_row([
                one.store.network.clone(),
                usage.range.to_string(),
                usage.range.subnet().to_string(),
                number(used(one, usage)),
                free,
                of,
            ]);
        }
    }
    if any {
        tables.push(ranges.to_string());
    }
    tables.join("\n")
}

/// Of a shared range, how many hold its addresses.
fn used(shown: &Shown, usage: &Usage) -> u128 {
    let holders = shown.holdings.iter();
    let holders = holders.filter(|h| h.current && usage.range.contains(h.address));
    match usage.range.is_shared() {
        true => holders.count() as u128,
        false => usage.used,
    }
}

fn to_json(shown: &Shown) -> Value {
    let range = |usage: &Usage| {
        json!({
            "range": usage.range.to_string(),
            "subnet": usage.range.subnet().to_string(),
            "gateway": usage.range.gateway(),
            "shared": usage.range.is_shared(),
            "used": shown.is_read.then(|| tables::number(used(shown, usage))),
            "free": shown.is_read.then(|| tables::number(usage.free())),
            "total": tables::number(usage.total),
        })
    };
    let ranges = shown.ranges.as_ref();
    json!({
        "network": shown.store.network,
        "directory": shown.store.storage.directory.path(),
        "configured": !shown.store.sources.is_empty(),
        "ranges": ranges.map(|ranges| ranges.iter().map(range).collect::<Vec<_>>()).ok(),
        "rangesError": ranges.err(),
        "leases": shown.holdings.iter().map(holdings::json).collect::<Vec<_>>(),
        "leasesError": shown.unread,
    })
}
