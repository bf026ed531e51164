//! `slash24 gc`: frees what containers left behind, for runtimes that never say so.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use cni::runtime::{Network, Parameters};
use ipam::config::Storage;
use ipam::listing::{self, Holding};

use super::freed::{Freed, tell};
use super::host::RuntimeArgs;
use super::output::Output;
use super::valid::Valid;
use crate::aside;
use crate::collect;
use crate::error::Error;
use crate::networks::Networks;
use crate::stores::{Store, of_network, stores};

/// Free what containers left behind, for runtimes that never send GC
///
/// With --dead, leases whose container is gone for certain: nobody has its network
/// namespace, or they are of an earlier boot. With --valid, everything of the
/// configured networks that belongs to none of the attachments in a file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["dead", "valid"]))]
pub(super) struct Args {
    /// Free leases whose namespace is gone for certain
    #[arg(long)]
    dead: bool,
    /// Free what belongs to none of these attachments; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    valid: Option<PathBuf>,
    /// The network [default: all]
    #[arg(value_name = "NETWORK")]
    network: Option<String>,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Directory of leases [default: those that configurations name, and
    /// /var/lib/cni/networks]
    #[arg(long, value_name = "DIR", conflicts_with = "valid")]
    data_dir: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = r#"--dead frees a lease when no thread is in its namespace, no process has it open and
it is mounted nowhere; all of /proc must be visible for that, so run it as root in the
host's pid namespace. Leases that name no namespace (the reference's) and those that
"keepAcrossReboot" keeps from another boot stay.

--valid does what GC of CNI 1.1.0 does, for networks of any version: what the cache of
libcni knows is detached, links that our plugins left on the host are removed, leases
are freed. Networks with "disableGC" are passed over. FILE is JSON as CNI has it,
  [{"containerID": "c3f1", "ifname": "eth0"}, {"containerID": "77aa"}]
or a line an attachment, with or without the interface:
  c3f1 eth0
  77aa
Without an interface all of the container's are meant. What was attached after FILE
was written is left alone. A file with nothing in it is an error; [] means that there
is no container.

Examples:
  slash24 gc --dead
  slash24 gc --conf-dir /etc/cni/net.d --valid running.json
  nerdctl ps -q --no-trunc | slash24 gc --valid -"#;

pub(super) fn run(args: &Args) -> ExitCode {
    let freed = match &args.valid {
        Some(file) => valid(args, file.clone()),
        None => dead(args),
    };
    tell(args.output, freed)
}

fn dead(args: &Args) -> Result<Freed, Error> {
    let networks = Networks::read_existing(&args.runtime.conf_dir)?;
    networks.tell_broken();
    let stores = stores(&networks, args.data_dir.as_deref())?;
    let stores = of_network(stores, args.network.as_deref())?;
    let mut freed = Freed::default();
    let storages: Vec<&Storage> = stores.iter().map(|store| &store.storage).collect();
    let (all, census) = listing::free_dead(&storages);
    for (store, of_network) in stores.iter().zip(all) {
        freed.add(store, of_network);
    }
    // What is of an earlier boot was freed all the same.
    if let Some(unseen) = census.unseen() {
        freed.add_failure(Error::Unseen(unseen.to_owned()));
    }
    Ok(freed)
}

fn valid(args: &Args, file: PathBuf) -> Result<Freed, Error> {
    let mut networks = Networks::read(&args.runtime.conf_dir)?;
    networks.tell_broken();
    if let Some(name) = &args.network {
        let known = networks.names().into_iter().map(str::to_owned).collect();
        networks.found.retain(|one| one.network.name == *name);
        if networks.found.is_empty() {
            return Err(Error::NoSuchNetwork {
                network: name.clone(),
                known,
            });
        }
    }
    let mut valid = Valid::read(&file)?;
    let runtime = args.runtime.runtime()?;
    let stores = configured(stores(&networks, None)?);
    let before = holdings(&stores);
    let cached = runtime.cache.attachments(None)?;
    let holders = before
        .iter()
        .flatten()
        .map(|held| held.lease.container.as_str());
    let noted = cached
        .iter()
        .map(|one| one.parameters.container_id.as_str());
    valid.check_whole(holders.chain(noted))?;
    for Holding { lease, since, .. } in before.iter().flatten() {
        let ifname = lease.ifname.as_deref().unwrap_or_default();
        valid.add_if_younger(&lease.container, ifname, *since);
    }
    for one in &cached {
        let Parameters {
            container_id,
            ifname,
            ..
        } = &one.parameters;
        if let Some(since) = runtime.cache.noted(one) {
            valid.add_if_younger(container_id, ifname, since);
        }
    }
    let mut freed = Freed::default();
    for configured in &networks.found {
        if configured.network.disable_gc {
            told_to_leave(&configured.network);
            continue;
        }
        let errors = collect::network(&runtime, configured, valid.attachments());
        errors
            .into_iter()
            .for_each(|error| freed.add_failure(error));
    }
    let after = holdings(&stores);
    for ((store, before), after) in stores.iter().zip(before).zip(&after) {
        let gone = before.into_iter().filter(|held| !is_held(held, after));
        gone.for_each(|holding| freed.add_lease(&store.network, holding));
    }
    Ok(freed)
}

fn told_to_leave(network: &Network) {
    aside::say(format_args!(
        "network \"{}\" has \"disableGC\"; passed over",
        network.name
    ));
}

/// A network that is configured nowhere has no GC.
fn configured(mut stores: Vec<Store>) -> Vec<Store> {
    stores.retain(|store| !store.sources.is_empty());
    stores
}

/// The leases of each; what cannot be read GC itself says.
fn holdings(stores: &[Store]) -> Vec<Vec<Holding>> {
    let storages: Vec<&Storage> = stores.iter().map(|store| &store.storage).collect();
    let (found, _) = listing::holdings(&storages);
    let found = found.into_iter();
    found
        .map(|found| found.map(|f| f.found).unwrap_or_default())
        .collect()
}

fn is_held(holding: &Holding, now: &[Holding]) -> bool {
    let same = |other: &&Holding| other.address == holding.address && other.lease == holding.lease;
    now.iter().any(|other| same(&other))
}

/// When a list was made that is read from a file; what comes through a pipe is made
/// while this runs.
pub(super) fn made(metadata: std::io::Result<std::fs::Metadata>) -> SystemTime {
    let file = metadata.ok().filter(std::fs::Metadata::is_file);
    let modified = file.and_then(|file| file.modified().ok());
    modified.unwrap_or_else(SystemTime::now)
}
