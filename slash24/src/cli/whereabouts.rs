//! `slash24 where`: which place, network, host and container an address belongs to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ipam::config::RangeTemplate;
use ipam::listing::{self, Holding};
use ipam::plan::{self, Whereabouts};
use ipam::{Here, Location, Place, SubnetTemplate};
use serde_json::{Value, json};

use super::holdings;
use super::output::{Output, answer, json_text};
use super::stores::StoreArgs;
use super::tables;
use crate::aside;
use crate::error::Error;
use crate::networks::{Configured, Networks};

/// Tell which place, network, host and container an address belongs to
///
/// The place is decoded from the templates of the configured networks, so it works
/// for addresses of every host. Who holds the address is known on its own host.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    #[command(flatten)]
    stores: StoreArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
It fails when the address is in the subnet of no configured network, and nobody holds
it here.

Examples:
  slash24 where 10.50.43.200
  slash24 where --output json fd00:24:32:20b::7 | jq '.[].place'";

/// Whether an address is this host's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    This,
    /// With the name that its location gives that host, if it is by name.
    Another(Option<String>),
    /// The place of this host is not known.
    Unknown(String),
}

/// An answer.
struct Found {
    file: Option<PathBuf>,
    network: String,
    at: Option<Whereabouts>,
    host: Whose,
    what: String,
    /// Whether it is known on its host who holds it.
    has_leases: bool,
    holders: Vec<Holding>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    answer(args.output, find(args), |found| match args.output {
        Output::Json => json_text(&found.iter().map(to_json).collect()),
        Output::Table => to_table(found),
    })
}

fn find(args: &Args) -> Result<Vec<Found>, Error> {
    let address = args.address.to_canonical();
    let networks = args.stores.networks()?;
    let mut held = holders(args, &networks, address)?;
    let mut found = Vec::new();
    let mut templates = Vec::new();
    for configured in &networks.found {
        match located(configured, address) {
            Ok((answers, known)) => {
                found.extend(answers);
                templates.extend(known);
            }
            Err(error) => aside::say(format_args!("{error}; passed over")),
        }
    }
    for one in &mut found {
        let own = held.iter().filter(|(network, _)| *network == one.network);
        one.holders = own.map(|(_, holding)| holding.clone()).collect();
    }
    held.retain(|(network, _)| !found.iter().any(|one| one.network == *network));
    // Networks that are not configured any more, or were given other subnets.
    for (network, holding) in held {
        found.push(Found {
            file: None,
            network,
            at: None,
            host: Whose::This,
            what: "in no range".to_owned(),
            has_leases: true,
            holders: vec![holding],
        });
    }
    match found.is_empty() {
        true => Err(Error::Nowhere { address, templates }),
        false => Ok(found),
    }
}

/// The leases of an address on this host.
fn holders(
    args: &Args,
    networks: &Networks,
    address: IpAddr,
) -> Result<Vec<(String, Holding)>, Error> {
    let stores = args.stores.stores(networks)?;
    let storages: Vec<_> = stores.iter().map(|store| &store.storage).collect();
    let (all, _) = listing::holdings_at(&storages, address);
    let mut held = Vec::new();
    for (store, found) in stores.iter().zip(all) {
        match found {
            Ok(found) => {
                let its = found.found.into_iter();
                held.extend(its.map(|holding| (store.network.clone(), holding)));
            }
            Err(error) => aside::say(format_args!("network \"{}\": {error}", store.network)),
        }
    }
    Ok(held)
}

/// Where the ranges of a network have an address, and the templates of all.
fn located(configured: &Configured, address: IpAddr) -> Result<(Vec<Found>, Vec<String>), Error> {
    let (mut found, mut templates) = (Vec::new(), Vec::new());
    for source in configured
        .sources()?
        .iter()
        .filter(|source| source.has_addresses())
    {
        let network = source.planned()?;
        let ranges = network.addressing.sets.iter().flatten();
        templates.extend(ranges.map(|range| range.text().to_owned()));
        let networks = [network];
        let [network] = &networks;
        for at in plan::whereabouts(&networks, address) {
            let location = &network.addressing.location;
            let here = Here::new(location.clone());
            let host = whose(&at.place, location, &here);
            let place = match (&host, here.place()) {
                (Whose::This, Ok(place)) => place.clone(),
                _ => at.place.clone(),
            };
            found.push(Found {
                file: Some(configured.file.clone()),
                network: network.name.clone(),
                what: what(network, &at, place, address),
                at: Some(at),
                host,
                has_leases: source.has_leases(),
                holders: Vec::new(),
            });
        }
    }
    Ok((found, templates))
}

/// Compares the place of an address with this host's, as far as the address tells.
fn whose(place: &Place, location: &Location, here: &Here) -> Whose {
    let told = place.fields().count();
    if told == 0 {
        return Whose::This;
    }
    match here.place() {
        Err(error) => Whose::Unknown(error.to_string()),
        Ok(own)
            if place
                .fields()
                .all(|(field, value)| own.get(field) == Some(value)) =>
        {
            Whose::This
        }
        Ok(_) => Whose::Another(match location {
            Location::Hostname(pattern) => pattern.fill(place),
            _ => None,
        }),
    }
}

/// What an address is for, by the configuration.
fn what(network: &plan::Network, at: &Whereabouts, place: Place, address: IpAddr) -> String {
    let here = Here::new(Location::Literal(place));
    let ranges = network.addressing.sets.iter().flatten();
    let range = ranges.filter(|range| range.key() == at.whose.key);
    let ranges: Vec<&RangeTemplate> = range.collect();
    let is_fixed = ranges.iter().any(|range| range.is_fixed());
    let Some(range) = ranges.iter().find_map(|range| range.at(&here).ok()) else {
        // The subnet of an address does not tell the fields below its prefix.
        return match is_fixed {
            true => "in the subnet",
            false => "unknown",
        }
        .to_owned();
    };
    let reservations = network
        .addressing
        .reservations_at(&here)
        .unwrap_or_default();
    if range.gateway() == Some(address) {
        return "the gateway".to_owned();
    }
    if let Some(name) = reservations.of_another(address, &[]) {
        return format!("reserved for {name}");
    }
    if is_fixed {
        return match range.contains(address) {
            true => "the address in the configuration",
            false => "in the subnet",
        }
        .to_owned();
    }
    match (
        range.contains(address),
        range.excludes(address),
        range.shares(address),
    ) {
        (false, ..) => "in the subnet, not in the range",
        (_, true, _) => "excluded",
        (.., true) => "shared by containers",
        _ => "a container's",
    }
    .to_owned()
}

fn to_table(found: &[Found]) -> String {
    let mut table = tables::new(&["network", "subnet", "place", "host", "address", "held by"]);
    for one in found {
        let host = match &one.host {
            Whose::This => "this one".to_owned(),
            Whose::Another(Some(name)) => name.clone(),
            Whose::Another(None) => "another".to_owned(),
            Whose::Unknown(why) => {
                aside::say(format_args!("network \"{}\": {why}", one.network));
                "unknown".to_owned()
            }
        };
        let holder = |holding: &Holding| {
            let [_, container, ifname, since, namespace, boot] = holdings::row(holding);
            format!(
                "container {container}, interface {ifname}\nsince {since}\nnamespace {namespace}, boot {boot}"
            )
        };
        let holders: Vec<String> = one.holders.iter().map(holder).collect();
        let nobody = match (one.has_leases, one.host == Whose::This) {
            (false, _) => "static keeps no leases",
            (true, true) => "nobody",
            (true, false) => "",
        };
        table.add_row([
            one.network.clone(),
            one.at
                .as_ref()
                .map(|at| at.subnet.to_string())
                .unwrap_or_default(),
            place(one).join("\n"),
            host,
            one.what.clone(),
            match holders.is_empty() {
                true => nobody.to_owned(),
                false => holders.join("\n"),
            },
        ]);
    }
    table.to_string()
}

/// The fields of the place in the order of the template: `rack 50`, `slot 11`.
fn place(found: &Found) -> Vec<String> {
    let Some(at) = &found.at else {
        return Vec::new();
    };
    let template = SubnetTemplate::parse_host(&at.whose.template);
    let Ok(template) = template else {
        return Vec::new();
    };
    let mut told: Vec<String> = Vec::new();
    for field in template.address().fields() {
        let value = at.place.get(&field.name).unwrap_or_default();
        let text = format!("{} {value}", field.name);
        if !told.contains(&text) {
            told.push(text);
        }
    }
    match told.is_empty() {
        true => vec!["every place".to_owned()],
        false => told,
    }
}

fn to_json(found: &Found) -> Value {
    let (host, name, error) = match &found.host {
        Whose::This => ("this", None, None),
        Whose::Another(name) => ("another", name.as_ref(), None),
        Whose::Unknown(why) => ("unknown", None, Some(why)),
    };
    let at = found.at.as_ref();
    let place = at.map(|at| {
        let fields = at.place.fields();
        fields
            .map(|(field, value)| (field.to_owned(), Value::from(value)))
            .collect::<Value>()
    });
    json!({
        "network": found.network,
        "file": found.file,
        "key": at.map(|at| &at.whose.key),
        "template": at.map(|at| &at.whose.template),
        "subnet": at.map(|at| at.subnet.to_string()),
        "place": place,
        "host": host,
        "hostname": name,
        "hostError": error,
        "what": found.what,
        "holders": found.has_leases.then(|| {
            let holders = found.holders.iter().map(holdings::json);
            holders.collect::<Vec<_>>()
        }),
    })
}
