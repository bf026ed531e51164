//! What came of checking a plan, for people and for programs.

use ipam::Place;
use ipam::plan::{self, Fault, Room, Service};
use serde_json::{Map, Value, json};

use super::super::output::json_text;
use super::super::tables;
use super::Checked;

/// For people: what there is, why places do not overlap, what is wrong.
pub(super) fn tables(checked: &Checked) -> String {
    let report = &checked.report;
    let mut parts = vec![format!("{} places: {}", report.places, places(checked))];
    if !report.services.is_empty() {
        parts.push(ranges(&report.services));
        parts.push(served(report));
        let proofs: Vec<String> = report.services.iter().map(|s| proof(s, checked)).collect();
        parts.push(proofs.join("\n"));
    }
    if checked.subnets {
        parts.push(subnets(checked));
    }
    parts.extend(checked.notes.iter().cloned());
    let (grave, notes): (Vec<&Fault>, Vec<&Fault>) =
        report.faults.iter().partition(|fault| fault.is_grave());
    parts.extend(notes.iter().map(|note| format!("note: {note}")));
    parts.extend(grave.iter().map(|fault| format!("WRONG: {fault}")));
    parts.push(match grave.len() {
        0 => "nothing is wrong: no overlap, no reserved block, every value fits".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        number => format!("{number} things are wrong"),
    });
    parts.join("\n")
}

fn places(checked: &Checked) -> String {
    let fields = checked
        .bounds
        .fields()
        .map(|(name, (low, high))| match low == high {
            true => format!("{name} {low}"),
            false => format!("{name} {low}-{high}"),
        });
    let fields: Vec<String> = fields.collect();
    match fields.is_empty() {
        true => "the configurations are for one".to_owned(),
        false => fields.join(", "),
    }
}

fn ranges(services: &[Service]) -> String {
    let mut table = tables::new(&[
        "network",
        "range",
        "subnet",
        "first",
        "last",
        "subnets",
        "containers",
    ]);
    for service in services {
        let (first, last) = match service.ends {
            Some((first, last)) => (first.to_string(), last.to_string()),
            None => Default::default(),
        };
        table.add_row([
            service.whose.network.clone(),
            service.whose.key.clone(),
            service.whose.template.clone(),
            first,
            last,
            service.subnets.to_string(),
            containers(service.containers),
        ]);
    }
    table.to_string()
}

fn served(report: &plan::Report) -> String {
    let mut table = tables::new(&["network", "hosts", "containers a host", "containers"]);
    for served in &report.served {
        table.add_row([
            served.network.clone(),
            served.hosts.to_string(),
            containers(served.containers),
            number(served.containers.map(|room| room.all)),
        ]);
    }
    table.to_string()
}

/// How many containers each place has room for.
fn containers(room: Option<Room>) -> String {
    match room {
        Some(Room { least, most, .. }) if least < most => {
            format!("{} to {}", number(Some(least)), number(Some(most)))
        }
        room => number(room.map(|room| room.least)),
    }
}

fn number(number: Option<u128>) -> String {
    match number {
        None => "any number".to_owned(),
        Some(u128::MAX) => "more than 2^127".to_owned(),
        Some(number) => number.to_string(),
    }
}

/// Why no two places have an address in common.
fn proof(service: &Service, checked: &Checked) -> String {
    let Service {
        whose,
        fields,
        apart,
        ..
    } = service;
    let head = format!("{} {}", whose.network, whose.key);
    let varying: Vec<&str> = checked.bounds.varying().collect();
    if varying.is_empty() {
        return format!("{head}: one place");
    }
    if service.containers.is_none() {
        return format!("{head}: shared, by containers of any place");
    }
    let is_missing = |fault: &Fault| {
        let of = match fault {
            Fault::NotInSubnet { whose, .. } => Some(whose),
            _ => None,
        };
        of == Some(whose)
    };
    if checked.report.faults.iter().any(is_missing) {
        return format!("{head}: places share addresses");
    }
    if fields.is_empty() {
        return format!("{head}: one address, the same wherever its container is");
    }
    let bits = fields
        .iter()
        .map(|(name, first, last)| match first == last {
            true => format!("{name} is bit {first}"),
            false => format!("{name} is bits {first} to {last}"),
        });
    let bits: Vec<String> = bits.collect();
    format!(
        "{head}: {}, all in the first {apart}: no two places have an address in common",
        bits.join(", ")
    )
}

fn subnets(checked: &Checked) -> String {
    let all = plan::subnets(&checked.networks, &checked.bounds);
    let lines = all.map(|(place, whose, subnet)| {
        format!("{place}  {} {}  {subnet}", whose.network, whose.key)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// For programs.
pub(super) fn json(checked: &Checked) -> String {
    let report = &checked.report;
    let fields = checked.bounds.fields();
    let fields: Map<String, Value> = fields
        .map(|(name, (low, high))| (name.to_owned(), json!([low, high])))
        .collect();
    let network = |served: &plan::Served| {
        let ranges = report.services.iter();
        let own = ranges.filter(|service| service.whose.network == served.network);
        let room = served.containers;
        json!({
            "name": served.network,
            "hosts": tables::number(served.hosts),
            "containersPerHost": room.map(|room| tables::number(room.least)),
            "mostContainersPerHost": room.map(|room| tables::number(room.most)),
            "containers": room.map(|room| tables::number(room.all)),
            "ranges": own.map(range).collect::<Vec<_>>(),
        })
    };
    let mut all = json!({
        "right": report.is_right(),
        "places": tables::number(report.places),
        "fields": fields,
        "networks": report.served.iter().map(network).collect::<Vec<_>>(),
        "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        "notes": checked.notes,
    });
    if checked.subnets {
        let subnets = plan::subnets(&checked.networks, &checked.bounds);
        let subnets = subnets.map(|(place, whose, subnet)| {
            json!({
                "place": place_json(&place),
                "network": whose.network,
                "key": whose.key,
                "subnet": subnet.to_string(),
            })
        });
        all["subnets"] = subnets.collect();
    }
    json_text(&all)
}

fn range(service: &Service) -> Value {
    let bits =
        |(name, first, last): &(String, u32, u32)| json!({"field": name, "bits": [first, last]});
    json!({
        "key": service.whose.key,
        "template": service.whose.template,
        "fields": service.fields.iter().map(bits).collect::<Vec<_>>(),
        "apartInFirstBits": service.apart,
        "places": tables::number(service.places),
        "subnets": tables::number(service.subnets),
        "first": service.ends.map(|(first, _)| first.to_string()),
        "last": service.ends.map(|(_, last)| last.to_string()),
        "containersPerHost": service.containers.map(|room| tables::number(room.least)),
        "mostContainersPerHost": service.containers.map(|room| tables::number(room.most)),
    })
}

fn fault(fault: &Fault) -> Value {
    json!({
        "kind": fault.kind(),
        "wrong": fault.is_grave(),
        "message": fault.to_string(),
        "place": fault.place().map(place_json),
    })
}

fn place_json(place: &Place) -> Value {
    let fields = place.fields();
    fields
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}
