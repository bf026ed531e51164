//! Results as tables, for people.

use cni::{Attachment, Route, Version};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use framework_glue::Attached;
use serde_json::Value;

/// What ADD made: a row an interface.
pub(crate) fn attached(attached: &[Attached]) -> String {
    let mut table = new(&["interface", "network", "address", "gateway", "route", "MAC"]);
    for one in attached {
        let result = one.result.as_ref();
        let read = result.and_then(|r| Attachment::from_json(r, Version::V1_1_0, "result").ok());
        let attachment = read.unwrap_or_default();
        let addresses = attachment.ips.iter().map(|ip| ip.address.to_string());
        let gateways = attachment.ips.iter();
        let gateways = gateways.filter_map(|ip| ip.gateway.map(|gateway| gateway.to_string()));
        let mut inside = attachment.interfaces.iter();
        let inside = inside.find(|i| !i.sandbox.is_empty() && i.name == one.ifname);
        table.add_row([
            one.ifname.clone(),
            one.network.clone(),
            lines(addresses),
            lines(gateways),
            lines(attachment.routes.iter().map(route)),
            inside.map(|i| i.mac.clone()).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// Which networks something was done with.
pub(crate) fn places(attached: &[Attached], state: &str) -> String {
    if attached.is_empty() {
        return "attached to no network".into();
    }
    let mut table = new(&["interface", "network", "state"]);
    for one in attached {
        table.add_row([one.ifname.as_str(), &one.network, state]);
    }
    table.to_string()
}

pub(super) fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn route(route: &Route) -> String {
    match route.gw {
        Some(gateway) => format!("{} via {gateway}", route.dst),
        None => route.dst.to_string(),
    }
}

fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join("\n")
}

/// A number for programs; what has more than 64 bits is rounded.
pub(super) fn number(number: u128) -> Value {
    match u64::try_from(number) {
        Ok(number) => number.into(),
        Err(_) => (number as f64).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_an_interface() {
        let attached = [Attached {
            network: "backend".into(),
            ifname: "eth1".into(),
            result: Some(json!({
                "cniVersion": "1.0.0",
                "interfaces": [{"name": "eth1", "mac": "0a:58:00:00:00:01", "sandbox": "/x"}],
                "ips": [{"address": "10.50.11.2/24", "gateway": "10.50.11.1"},
                        {"address": "fd00::2/64"}],
                "routes": [{"dst": "10.0.0.0/8", "gw": "10.50.11.1"}, {"dst": "fd00::/8"}],
            })),
        }];
        let table = super::attached(&attached);
        for text in [
            "│ eth1 ",
            " backend ",
            " 10.50.11.2/24 ",
            " fd00::2/64 ",
            " 10.50.11.1 ",
            " 10.0.0.0/8 via 10.50.11.1 ",
            " 0a:58:00:00:00:01 ",
        ] {
            assert!(table.contains(text), "{text:?} is not in\n{table}");
        }
        assert!(places(&attached, "detached").contains("│ eth1      ┆ backend ┆ detached │"));
        assert_eq!(places(&[], "detached"), "attached to no network");
    }
}
