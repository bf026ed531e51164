//! The VLANs of a port: which they are, and the interface that is a VLAN's gateway.

use std::collections::BTreeSet;
use std::path::Path;

use kernel::{BridgePort, Link, Netlink, Netns, PortVlan, VethPair};
use serde::Deserialize;

use super::device;
use super::keys::Keys;
use crate::attachment::Identity;
use crate::check::differs;
use crate::undo::Undo;
use crate::{Error, Result};

/// The VLAN of frames without a tag on a trunk for which none was chosen.
const DEFAULT_NATIVE: u16 = 1;
/// The largest number of a VLAN (IEEE 802.1Q: 4095 is reserved).
const LAST: i64 = 4094;

/// An element of `vlanTrunk`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trunk {
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
    id: Option<i64>,
}

/// The VLANs of a container's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vlans {
    /// Whether the bridge must look at VLANs at all.
    pub(super) are_used: bool,
    /// `vlan`.
    pub(super) chosen: Option<u16>,
    /// `preserveDefaultVlan`: the port stays in the bridge's default VLAN as well.
    pub(super) keep_default: bool,
    tagged: BTreeSet<u16>,
}

impl Vlans {
    pub(super) fn new(vlan: i64, trunk: Option<&[Trunk]>) -> Result<Self> {
        let mut vlans = Vlans {
            are_used: vlan != 0 || trunk.is_some(),
            ..Vlans::default()
        };
        if vlan != 0 {
            vlans.chosen = Some(id("vlan", vlan, "1 to 4094, or 0 for none")?);
        }
        for element in trunk.unwrap_or_default() {
            vlans.tagged.extend(element.ids()?);
        }
        Ok(vlans)
    }

    /// The VLANs that the port is put into. Frames without a tag belong to the chosen
    /// one, which therefore is not also carried with one.
    fn wanted(&self) -> Vec<PortVlan> {
        let is_trunk = !self.tagged.is_empty();
        let native = self.chosen.or(is_trunk.then_some(DEFAULT_NATIVE));
        let ids: BTreeSet<_> = self.tagged.iter().copied().chain(native).collect();
        ids.into_iter()
            .map(|id| PortVlan {
                id,
                is_native: Some(id) == native,
                is_untagged: Some(id) == native,
            })
            .collect()
    }

    /// What must be deleted from and added to a port that is only in the bridge's
    /// default VLAN (0 is none), as a new one is.
    pub(super) fn plan(&self, default: u16) -> (Option<u16>, Vec<PortVlan>) {
        let wanted = self.wanted();
        let is_default = wanted.iter().any(|vlan| vlan.id == default);
        let keeps = wanted.is_empty() || self.keep_default || is_default || default == 0;
        ((!keeps).then_some(default), wanted)
    }

    /// What a port is then in.
    pub(super) fn expected(&self, default: u16) -> Vec<PortVlan> {
        let (deleted, mut vlans) = self.plan(default);
        let stays = default != 0 && deleted.is_none();
        if stays && vlans.iter().all(|vlan| vlan.id != default) {
            vlans.push(PortVlan {
                id: default,
                is_native: vlans.is_empty(),
                is_untagged: true,
            });
            vlans.sort_unstable();
        }
        vlans
    }

    /// Those of the port that leads to the gateway: the chosen one alone.
    fn of_gateway(&self) -> Self {
        Vlans {
            tagged: BTreeSet::new(),
            ..self.clone()
        }
    }
}

impl Trunk {
    fn ids(&self) -> Result<impl Iterator<Item = u16> + use<>> {
        let range = match (self.min, self.max) {
            (None, None) => None,
            (Some(min), Some(max)) if min <= max => {
                let [min, max] = [min, max].map(|number| id("vlanTrunk", number, RIGHT));
                Some(min?..=max?)
            }
            _ => return Err(bad("vlanTrunk", self.shown(), RIGHT)),
        };
        let single = self.id.map(|number| id("vlanTrunk", number, RIGHT));
        Ok(range.into_iter().flatten().chain(single.transpose()?))
    }

    fn shown(&self) -> String {
        let member =
            |key: &str, value: Option<i64>| value.map(|value| format!("\"{key}\": {value}"));
        let members = [member("minID", self.min), member("maxID", self.max)];
        format!(
            "{{{}}}",
            members.into_iter().flatten().collect::<Vec<_>>().join(", ")
        )
    }
}

const RIGHT: &str =
    "each element has an \"id\", or a \"minID\" and a \"maxID\" not below it, from 1 to 4094";

fn id(key: &'static str, number: i64, right: &str) -> Result<u16> {
    let valid = (1..=LAST)
        .contains(&number)
        .then(|| u16::try_from(number).ok());
    valid
        .flatten()
        .ok_or_else(|| bad(key, number.to_string(), right))
}

fn bad(key: &'static str, value: String, right: &str) -> Error {
    Error::BadKey {
        key,
        value,
        right: right.to_owned(),
    }
}

/// How a port's VLANs are written in messages.
pub(super) fn shown(vlans: &[PortVlan]) -> String {
    let one = |vlan: &PortVlan| match (vlan.is_native, vlan.is_untagged) {
        (true, _) => format!("{} (native)", vlan.id),
        (false, true) => format!("{} (untagged)", vlan.id),
        (false, false) => vlan.id.to_string(),
    };
    match vlans {
        [] => "none".into(),
        vlans => vlans.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// `BRIDGE.VLAN`, as the reference names it.
pub(super) fn gateway_name(bridge: &str, vlan: u16) -> String {
    format!("{bridge}.{vlan}")
}

/// The bridge's end of the gateway's cable.
fn gateway_port(keys: &Keys, gateway: &str) -> String {
    Identity::new("", &keys.bridge, gateway).host_link
}

/// CHECK: whether the gateway called `name` is in its VLAN. What else its port is in, other
/// networks may want.
pub(super) fn check_gateway(
    host: &mut Netlink,
    keys: &Keys,
    bridge: &Link,
    name: &str,
) -> Result<()> {
    let port = gateway_port(keys, name);
    let found = host.link(&port)?;
    let found = found.filter(|port| port.controller == Some(bridge.index));
    let what = format!("port {port}, which leads to {name}");
    let expected = format!("a port of {}", bridge.name);
    let found = found.ok_or_else(|| differs(&what, &expected, "none"))?;
    let is_in = host.port_vlans(found.index)?;
    let wanted = keys.vlans.of_gateway().wanted();
    match wanted.iter().all(|vlan| is_in.contains(vlan)) {
        true => Ok(()),
        false => Err(differs(
            &format!("VLANs of {what}"),
            &shown(&wanted),
            &shown(&is_in),
        )),
    }
}

/// Puts a port, which has just become one, into its VLANs.
pub(super) fn join(host: &mut Netlink, vlans: &Vlans, bridge: &Link, port: &str) -> Result<()> {
    if vlans.wanted().is_empty() {
        return Ok(());
    }
    match host.link(port)? {
        Some(port) => put_into(host, vlans, bridge, port.index),
        None => Ok(()),
    }
}

fn put_into(host: &mut Netlink, vlans: &Vlans, bridge: &Link, port: u32) -> Result<()> {
    let (delete, add) = vlans.plan(bridge.default_vlan);
    let deleted = delete.map(|vlan| kernel::delete_port_vlan(port, vlan));
    let added = kernel::add_port_vlans(port, &add);
    Ok(host.apply(&deleted.into_iter().chain([added]).collect::<Vec<_>>())?)
}

/// Makes sure that the VLAN's gateway interface is there: one end of a virtual cable
/// whose other end is the bridge's port in that VLAN. It is the network's, not a
/// container's.
pub(super) fn ensure_gateway(
    host: &mut Netlink,
    keys: &Keys,
    bridge: &Link,
    undo: &mut Undo<'_>,
) -> Result<Option<Link>> {
    let Some(name) = keys.vlan_gateway() else {
        return Ok(None);
    };
    let port = gateway_port(keys, &name);
    if host.link(&name)?.is_none() {
        create_gateway(host, &name, &port, bridge, undo)?;
    }
    // What is there may be what a process has left that was killed half-way.
    if let Some(found) = host.link(&port)? {
        if found.controller != Some(bridge.index) {
            host.apply(&[
                kernel::generate_no_addresses(&port),
                kernel::attach_port(&BridgePort {
                    name: &port,
                    bridge: bridge.index,
                    alias: &format!("slash24-gateway {name}"),
                }),
            ])?;
        }
        // Which VLANs it is in the kernel tells of all ports at once; to say it again is
        // one request.
        put_into(host, &keys.vlans.of_gateway(), bridge, found.index)?;
    }
    let gateway = host.link(&name)?;
    let gateway = gateway.ok_or_else(|| kernel::Error::Garbled(format!("create {name}")))?;
    if !gateway.is_up {
        device::route_for_others(&name)?;
        host.apply(&[kernel::set_state(gateway.index, true)])?;
    }
    Ok(Some(gateway))
}

fn create_gateway(
    host: &mut Netlink,
    name: &str,
    port: &str,
    bridge: &Link,
    undo: &mut Undo<'_>,
) -> Result<()> {
    let own = Netns::open(Path::new("/proc/thread-self/ns/net"))?;
    let pair = VethPair {
        host_name: port,
        host_mac: device::random_mac()?,
        container_name: name,
        container_mac: device::random_mac()?,
        container: own.descriptor(),
        mtu: Some(bridge.mtu),
        bridge: None,
    };
    match host.apply(&[kernel::create_veth(&pair)]) {
        Ok(()) => {
            let (name, bridge) = (name.to_owned(), bridge.index);
            undo.push(move || remove_if_alone(&name, bridge));
            Ok(())
        }
        // Another process was first.
        Err(error) if error.errno() == Some(kernel::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the gateway back when no container has come to the bridge meanwhile.
fn remove_if_alone(name: &str, bridge: u32) -> kernel::Result<()> {
    let mut host = Netlink::open()?;
    match (host.link(name)?, host.ports(bridge)?.len()) {
        (Some(gateway), 0 | 1) => kernel::remove_link(gateway.index, None, None),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn vlans(vlan: i64, trunk: Value) -> Result<Vlans> {
        let trunk: Option<Vec<Trunk>> = serde_json::from_value(trunk).unwrap();
        Vlans::new(vlan, trunk.as_deref())
    }

    fn ids(vlans: &[PortVlan]) -> Vec<u16> {
        vlans.iter().map(|vlan| vlan.id).collect()
    }

    #[test]
    fn without_vlans_a_port_stays_as_the_bridge_made_it() {
        let plain = vlans(0, Value::Null).unwrap();
        assert_eq!(plain.plan(1), (None, vec![]));
        assert_eq!(shown(&plain.expected(1)), "1 (native)");
        assert!(!plain.are_used);
        let empty = vlans(0, json!([])).unwrap();
        assert!(empty.are_used);
        assert_eq!(empty.plan(1), (None, vec![]));
    }

    #[test]
    fn a_chosen_vlan_takes_the_place_of_the_default() {
        let mut ten = vlans(10, Value::Null).unwrap();
        let (deleted, added) = ten.plan(1);
        assert_eq!((deleted, shown(&added)), (Some(1), "10 (native)".into()));
        assert_eq!(ten.plan(10).0, None);
        assert_eq!(ten.plan(0).0, None);
        ten.keep_default = true;
        assert_eq!(ten.plan(1).0, None);
        assert_eq!(shown(&ten.expected(1)), "1 (untagged), 10 (native)");
    }

    #[test]
    fn a_trunk_has_ranges_numbers_and_a_native_vlan() {
        let trunk = json!([{"minID": 100, "maxID": 103}, {"id": 7}, {"id": 101}, {}]);
        let plain = vlans(0, trunk.clone()).unwrap();
        assert_eq!(ids(&plain.plan(1).1), [1, 7, 100, 101, 102, 103]);
        assert_eq!(plain.plan(1).0, None);
        assert_eq!(
            shown(&plain.expected(1)),
            "1 (native), 7, 100, 101, 102, 103"
        );
        // The native one is in the trunk as well: its frames have no tag.
        let native = vlans(101, trunk).unwrap();
        assert_eq!(shown(&native.expected(1)), "7, 100, 101 (native), 102, 103");
    }

    #[test]
    fn wrong_numbers_are_named() {
        for (vlan, trunk, says) in [
            (4095, Value::Null, "\"vlan\": 4095"),
            (-1, Value::Null, "\"vlan\": -1"),
            (0, json!([{"minID": 5}]), "\"vlanTrunk\": {\"minID\": 5}"),
            (0, json!([{"maxID": 5}]), "{\"maxID\": 5}"),
            (
                0,
                json!([{"minID": 9, "maxID": 5}]),
                "{\"minID\": 9, \"maxID\": 5}",
            ),
            (0, json!([{"minID": 0, "maxID": 5}]), "\"vlanTrunk\": 0"),
            (
                0,
                json!([{"minID": 1, "maxID": 4095}]),
                "\"vlanTrunk\": 4095",
            ),
            (0, json!([{"id": 0}]), "\"vlanTrunk\": 0"),
        ] {
            let error = vlans(vlan, trunk).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("4094"), "{error}");
        }
    }
}
