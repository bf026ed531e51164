//! `slash24 leases release`: takes addresses from who holds them.

use std::net::IpAddr;
use std::process::ExitCode;

use ipam::listing::{self, Holding};
use ipam::netns::Life;

use super::super::freed::{Freed, tell};
use super::super::output::Output;
use super::super::stores::StoreArgs;
use crate::aside;
use crate::error::Error;
use crate::stores::{Store, of_network};

/// Free leases by address or by container, without asking
///
/// The address can be given to another container at once. A container that is still
/// there keeps the address on its interface, so this is for what is left of one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The addresses; of all their holders, unless a container is named
    #[arg(value_name = "ADDRESS", required_unless_present = "container")]
    addresses: Vec<IpAddr>,
    /// The container's id
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// The interface, of several that the container has
    #[arg(long, value_name = "NAME", requires = "container")]
    ifname: Option<String>,
    /// The network [default: all]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    #[command(flatten)]
    stores: StoreArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
It fails when nobody holds what is named.

Examples:
  slash24 leases release 10.50.11.7 fd00:24:32:b::7
  slash24 leases release --container c3f1
  slash24 leases release --network backend --container c3f1 --ifname eth1";

pub(super) fn run(args: &Args) -> ExitCode {
    tell(args.output, release(args))
}

fn release(args: &Args) -> Result<Freed, Error> {
    let networks = args.stores.networks()?;
    let stores = of_network(args.stores.stores(&networks)?, args.network.as_deref())?;
    let mut freed = Freed::default();
    for store in &stores {
        freed.add(store, listing::free(&store.storage, |h| args.mean(h)));
    }
    // Nobody is asked, but they are told.
    for holding in freed.leases().filter(|holding| holding.life == Life::Alive) {
        aside::say(format_args!(
            "the namespace of {}, which held {}, is still there",
            holding.lease, holding.address
        ));
    }
    match freed.is_nothing() {
        true => Err(Error::Usage(args.nothing(&stores))),
        false => Ok(freed),
    }
}

impl Args {
    fn mean(&self, holding: &Holding) -> bool {
        let container = self.container.as_ref();
        let ifname = self.ifname.as_ref();
        let address = self.addresses.is_empty() || self.addresses.contains(&holding.address);
        address
            && container.is_none_or(|container| *container == holding.lease.container)
            && ifname.is_none_or(|ifname| Some(ifname) == holding.lease.ifname.as_ref())
    }

    fn nothing(&self, stores: &[Store]) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        let who = match (&self.container, &self.ifname) {
            (Some(container), Some(ifname)) => {
                format!("container {container}, interface {ifname},")
            }
            (Some(container), None) => format!("container {container}"),
            (None, _) => "nobody".to_owned(),
        };
        let verb = if self.container.is_some() {
            "does not hold"
        } else {
            "holds"
        };
        let what = match addresses.is_empty() {
            true => "an address".to_owned(),
            false => addresses.join(" or "),
        };
        let networks: Vec<&str> = stores.iter().map(|store| store.network.as_str()).collect();
        let networks = match networks.is_empty() {
            true => "no network has leases here".to_owned(),
            false => format!("looked at {}", networks.join(", ")),
        };
        format!("{who} {verb} {what}; {networks}")
    }
}
