//! `slash24 explain`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{Output, answer, json_text};
use super::tables;
use crate::explain::{self, Explanation, Offer};

/// Tell which interface of a container a packet leaves by, and why
///
/// Lists which networks offer a way, with which priority, which of them serves, and
/// which takes over if that one fails. It changes nothing.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Path of the container's network namespace
    #[arg(long, value_name = "PATH")]
    netns: PathBuf,
    /// Where the packet goes [default: anywhere outside, by both families]
    #[arg(value_name = "DESTINATION")]
    destination: Option<IpAddr>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  slash24 explain --netns /run/netns/web
  slash24 explain --netns /proc/4711/ns/net 10.50.11.77
  slash24 explain --netns /run/netns/web --output json | jq '.[].interface'";

pub(super) fn run(args: &Args) -> ExitCode {
    let destination = args.destination.map(|to| to.to_canonical());
    let explained = explain::explain(&args.netns, destination);
    answer(args.output, explained, |families| match args.output {
        Output::Json => json_text(&families.iter().map(to_json).collect()),
        Output::Table => to_text(families),
    })
}

fn to_json(family: &Explanation) -> Value {
    let serving = family.serving();
    json!({
        "family": if family.ipv4 { "ipv4" } else { "ipv6" },
        "destination": family.destination.map(|to| to.to_string()).or(family.half.map(str::to_owned)),
        "table": family.table,
        "interface": serving.map(|offer| &offer.interface),
        "network": serving.and_then(|offer| offer.network.as_ref()),
        "gateway": serving.and_then(|offer| offer.gateway),
        "why": family.why(),
        "next": family.next().map(|offer| &offer.interface),
        "routes": family.offers.iter().map(offer_json).collect::<Vec<_>>(),
        "bySource": family.by_source.iter().map(|one| json!({
            "from": one.from,
            "table": one.table,
            "interface": one.way.as_ref().map(|(interface, _)| interface),
            "gateway": one.way.as_ref().and_then(|(_, gateway)| *gateway),
        })).collect::<Vec<_>>(),
    })
}

fn offer_json(offer: &Offer) -> Value {
    json!({
        "to": offer.to,
        "table": offer.table,
        "interface": Some(&offer.interface).filter(|name| !name.is_empty()),
        "network": offer.network,
        "gateway": offer.gateway,
        "priority": offer.priority(),
        "metric": offer.metric,
        "state": offer.state.text(),
    })
}

fn to_text(families: &[Explanation]) -> String {
    let texts = families.iter().map(family_text);
    texts.collect::<Vec<_>>().join("\n\n")
}

fn family_text(family: &Explanation) -> String {
    let whole = if family.ipv4 { "IPv4" } else { "IPv6" };
    let to = match (family.destination, family.half) {
        (Some(to), _) => format!("to {to}"),
        (None, Some(half)) => format!("to {half}, half of what is outside"),
        (None, None) => format!("anywhere by {whole}"),
    };
    let mut lines = Vec::new();
    match family.serving() {
        Some(serving) => {
            let of = serving
                .network
                .as_ref()
                .map(|network| format!(" ({network})"));
            let via = serving.gateway.map(|gateway| format!(" via {gateway}"));
            lines.push(format!(
                "{to}: {}{}{}",
                serving.interface,
                of.unwrap_or_default(),
                via.unwrap_or_default()
            ));
            lines.push(format!("  why:  {}", family.why()));
            lines.push(match family.next() {
                Some(next) => format!("  next: {}, if {} fails", next.interface, serving.interface),
                None => format!("  next: none, if {} fails", serving.interface),
            });
        }
        None if family.is_local => {
            lines.push(format!("{to}: the container itself; {}", family.why()))
        }
        None => lines.push(format!("{to}: no way; {}", family.why())),
    }
    if !family.offers.is_empty() {
        let header = [
            "state",
            "interface",
            "network",
            "to",
            "gateway",
            "priority",
            "metric",
        ];
        let mut table = tables::new(&header);
        for offer in &family.offers {
            let gateway = offer.gateway.map(|gateway| gateway.to_string());
            table.add_row([
                offer.state.text().to_owned(),
                offer.interface.clone(),
                offer.network.clone().unwrap_or_default(),
                match offer.table {
                    explain::MAIN => offer.to.clone(),
                    table => format!("{} (table {table})", offer.to),
                },
                gateway.unwrap_or_default(),
                offer.origin.to_string(),
                offer.metric.to_string(),
            ]);
        }
        lines.push(table.to_string());
    }
    for one in &family.by_source {
        let way = match &one.way {
            Some((interface, Some(gateway))) => format!("{interface} via {gateway}"),
            Some((interface, None)) => interface.clone(),
            None => "no way there, so as above".into(),
        };
        lines.push(format!("from {} (table {}): {way}", one.from, one.table));
    }
    lines.join("\n")
}
