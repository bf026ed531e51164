//! The host's own interfaces that containers' links stand on: whether the kernel lets
//! them, and whether the network behind takes their frames. That one is missing, down
//! or too small their plugin's STATUS says.

use std::collections::BTreeSet;
use std::path::Path;

use kernel::{Link, Netlink, Result};

use super::Finding;

/// A network whose containers' links stand on one of the host's.
#[derive(Clone, Debug)]
pub(super) struct Above {
    pub(super) network: String,
    /// `macvlan`, `ipvlan` or `vlan`.
    pub(super) plugin: String,
    /// It takes the link below for one container (macvlan's mode `passthru`).
    pub(super) is_alone: bool,
    /// `ipvlan`'s mode.
    pub(super) mode: Option<String>,
    /// The number of its VLAN.
    pub(super) vlan: Option<u64>,
    pub(super) master: Link,
}

/// One of the host's interfaces, and what stands on it.
#[derive(Clone, Debug)]
pub(super) struct Master {
    above: Above,
    /// The bridge (or bond) that it is a port of, and what that is.
    controller: Option<(String, String)>,
    is_wireless: bool,
    /// The program of the kernel that drives the hardware.
    driver: Option<String>,
    /// The host's own VLANs on it.
    vlans: Vec<(u32, String)>,
}

/// Drivers of virtual machines' interfaces whose other side by default drops frames from
/// other hardware addresses than the one that it gave out, and what allows them there.
const GUARDED: &[(&str, &str)] = &[
    (
        "vmxnet3",
        "allow promiscuous mode, MAC address changes and forged transmits in the port group's security policy",
    ),
    (
        "hv_netvsc",
        "turn MAC address spoofing on for the virtual machine's network adapter",
    ),
    ("ena", "no setting allows it there"),
    ("gve", "no setting allows it there"),
];

/// Looks at what each network stands on.
pub(super) fn read(above: Vec<Above>) -> Result<Vec<Master>> {
    if above.is_empty() {
        return Ok(Vec::new());
    }
    let mut host = Netlink::open()?;
    let links = host.links()?;
    let of = |above: Above| {
        let master = &above.master;
        let mut all = links.iter();
        let controller = all.find(|link| Some(link.index) == master.controller);
        let sys = Path::new("/sys/class/net").join(&master.name);
        let driver = std::fs::read_link(sys.join("device/driver")).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let is_vlan = |link: &&Link| link.kind == "vlan" && link.lower == Some(master.index);
        let vlans = links.iter().filter(is_vlan);
        Master {
            controller: controller.map(|link| (link.name.clone(), link.kind.clone())),
            is_wireless: ["wireless", "phy80211"]
                .iter()
                .any(|part| sys.join(part).exists()),
            driver,
            vlans: vlans
                .filter_map(|link| Some((link.variant?, link.name.clone())))
                .collect(),
            above,
        }
    };
    Ok(above.into_iter().map(of).collect())
}

pub(super) fn judge(masters: &[Master]) -> Vec<Finding> {
    let each = masters.iter().flat_map(|master| {
        let found = [
            port(master),
            no_carrier(master),
            hardware_address(master),
            vlan_taken(master),
        ];
        found.into_iter().flatten()
    });
    each.chain(together(masters)).collect()
}

/// The kernel lets one thing take a link's frames.
fn port(master: &Master) -> Option<Finding> {
    /// A link of a routing domain (`vrf`) has a controller too, and keeps its frames.
    const TAKES_FRAMES: [&str; 4] = ["bridge", "bond", "team", "openvswitch"];
    let Above {
        network,
        plugin,
        master: link,
        ..
    } = &master.above;
    let (controller, kind) = master.controller.as_ref()?;
    // Frames of VLANs go another way.
    if plugin == "vlan" || !TAKES_FRAMES.contains(&kind.as_str()) {
        return None;
    }
    Some(Finding::error(
        format!(
            "network {network}: {} is a port of {controller} ({kind})",
            link.name
        ),
        format!("its frames are that one's, and the kernel makes no {plugin} link on it"),
        format!("set \"master\" to \"{controller}\""),
    ))
}

fn no_carrier(master: &Master) -> Option<Finding> {
    let Above {
        network,
        master: link,
        ..
    } = &master.above;
    (link.is_up && !link.has_carrier).then(|| {
        Finding::warning(
            format!("network {network}: {} has no carrier", link.name),
            "containers are attached, and what they send goes nowhere",
            format!(
                "look at its cable and at the switch's port, or set another \"master\": ip link show {}",
                link.name
            ),
        )
    })
}

/// Who is behind the link may take frames from its own hardware address alone.
fn hardware_address(master: &Master) -> Option<Finding> {
    let Above {
        network,
        plugin,
        master: link,
        is_alone,
        ..
    } = &master.above;
    if plugin != "macvlan" || *is_alone {
        return None;
    }
    let instead = "use type ipvlan, whose links share the address of the one below";
    if master.is_wireless {
        return Some(Finding::warning(
            format!("network {network}: {} is wireless", link.name),
            "access points drop frames from other hardware addresses than the one that has joined, as switches do that ask for a login (802.1X)",
            instead,
        ));
    }
    let driver = master.driver.as_deref()?;
    let (_, allowed) = GUARDED.iter().find(|(name, _)| *name == driver)?;
    Some(Finding::warning(
        format!(
            "network {network}: {} is a virtual machine's ({driver})",
            link.name
        ),
        "the virtual switch behind it drops frames from other hardware addresses than its own, unless it is told otherwise",
        format!("{instead}; or {allowed}"),
    ))
}

/// A VLAN of a link is one link.
fn vlan_taken(master: &Master) -> Option<Finding> {
    let Above {
        network,
        master: link,
        vlan,
        ..
    } = &master.above;
    let id = (*vlan)?;
    let (_, taken) = master
        .vlans
        .iter()
        .find(|(other, _)| u64::from(*other) == id)?;
    Some(Finding::error(
        format!(
            "network {network}: VLAN {id} of {} is the host's own {taken}",
            link.name
        ),
        "there is one link a VLAN, so no container can have another",
        format!("remove {taken}; or, for both, use type macvlan with \"master\": \"{taken}\""),
    ))
}

/// What does not go together on one link.
fn together(masters: &[Master]) -> Vec<Finding> {
    let links: BTreeSet<u32> = masters
        .iter()
        .map(|master| master.above.master.index)
        .collect();
    let mut findings = Vec::new();
    for index in links {
        let all: Vec<&Above> = masters
            .iter()
            .map(|master| &master.above)
            .filter(|above| above.master.index == index && above.plugin != "vlan")
            .collect();
        let named: Vec<_> = all
            .iter()
            .map(|above| format!("{} ({})", above.network, above.plugin))
            .collect();
        let kinds: BTreeSet<_> = all.iter().map(|above| above.plugin.as_str()).collect();
        let name = all.first().map_or("", |above| above.master.name.as_str());
        if kinds.len() > 1 {
            findings.push(Finding::warning(
                format!("{name} is below links of two kinds: {}", named.join(", ")),
                "the kernel has one of them on a link at a time: while a container of one network runs, none can be attached to the other",
                "use one type for all networks of one link, or another \"master\"",
            ));
        } else if let Some(modes) = modes_of_ipvlan(&all) {
            findings.push(Finding::warning(
                format!("{name} is below ipvlan networks of several modes: {modes}"),
                "the kernel has one mode for all ipvlan links on a link: each container that is attached changes that of all others",
                "give the networks of one link the same \"mode\", or another \"master\"",
            ));
        } else if all.len() > 1 && all.iter().any(|above| above.is_alone) {
            findings.push(Finding::warning(
                format!("{name} is below several networks, and one has mode passthru: {}", named.join(", ")),
                "that mode takes the link for one container: while it runs, no other can be attached",
                "give the network with \"mode\": \"passthru\" a \"master\" of its own",
            ));
        }
    }
    findings
}

/// The networks with their modes, if those are not all the same.
fn modes_of_ipvlan(all: &[&Above]) -> Option<String> {
    let ipvlan = || all.iter().filter(|above| above.plugin == "ipvlan");
    // The plugin's default.
    let mode = |above: &Above| above.mode.clone().unwrap_or_else(|| "l2".into());
    let modes: BTreeSet<_> = ipvlan().map(|above| mode(above)).collect();
    let named = ipvlan().map(|above| format!("{} ({})", above.network, mode(above)));
    (modes.len() > 1).then(|| named.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(network: &str, plugin: &str) -> Master {
        Master {
            above: Above {
                network: network.into(),
                plugin: plugin.into(),
                is_alone: false,
                mode: None,
                vlan: None,
                master: Link {
                    index: 2,
                    name: "eth0".into(),
                    is_up: true,
                    has_carrier: true,
                    ..Link::default()
                },
            },
            controller: None,
            is_wireless: false,
            driver: None,
            vlans: Vec::new(),
        }
    }

    fn told(masters: &[Master]) -> Vec<String> {
        judge(masters).into_iter().map(|one| one.what).collect()
    }

    #[test]
    fn a_plain_link_is_fine() {
        let all = ["macvlan", "vlan"].map(|plugin| master("n", plugin));
        assert_eq!(told(&all), Vec::<String>::new());
        assert_eq!(told(&[master("n", "ipvlan")]), Vec::<String>::new());
    }

    #[test]
    fn a_port_is_not_below_anything_but_vlans() {
        let port = |plugin, kind: &str| Master {
            controller: Some(("br0".into(), kind.into())),
            ..master("n", plugin)
        };
        let found = told(&[port("macvlan", "bridge")]);
        assert_eq!(found, ["network n: eth0 is a port of br0 (bridge)"]);
        assert_eq!(told(&[port("ipvlan", "bond")]).len(), 1);
        assert_eq!(
            told(&[port("vlan", "bridge"), port("macvlan", "vrf")]).len(),
            0
        );
    }

    #[test]
    fn who_guards_hardware_addresses() {
        let of = |plugin, is_wireless, driver: &str| Master {
            is_wireless,
            driver: Some(driver.into()),
            ..master("n", plugin)
        };
        assert_eq!(
            told(&[of("macvlan", true, "iwlwifi")]),
            ["network n: eth0 is wireless"]
        );
        let found = judge(&[of("macvlan", false, "vmxnet3")]);
        assert!(found[0].remedy.contains("forged transmits"), "{found:?}");
        assert_eq!(told(&[of("macvlan", false, "virtio_net")]).len(), 0);
        assert_eq!(told(&[of("ipvlan", true, "ena")]).len(), 0);
    }

    #[test]
    fn a_vlan_is_one_link() {
        let with = |id| {
            let mut master = master("n", "vlan");
            master.above.vlan = Some(id);
            master.vlans = vec![(7, "eth0.7".into())];
            master
        };
        assert_eq!(
            told(&[with(7)]),
            ["network n: VLAN 7 of eth0 is the host's own eth0.7"]
        );
        assert_eq!(told(&[with(8)]).len(), 0);
    }

    #[test]
    fn what_does_not_go_together() {
        let found = told(&[master("a", "macvlan"), master("b", "ipvlan")]);
        assert_eq!(
            found,
            ["eth0 is below links of two kinds: a (macvlan), b (ipvlan)"]
        );
        assert_eq!(
            told(&[master("a", "ipvlan"), master("b", "ipvlan")]).len(),
            0
        );
        let mut routed = master("b", "ipvlan");
        routed.above.mode = Some("l3".into());
        assert_eq!(
            told(&[master("a", "ipvlan"), routed]),
            ["eth0 is below ipvlan networks of several modes: a (l2), b (l3)"]
        );
        let mut alone = master("c", "macvlan");
        alone.above.is_alone = true;
        assert_eq!(told(&[alone.clone()]).len(), 0);
        assert_eq!(told(&[alone, master("a", "macvlan")]).len(), 1);
        let mut dead = master("n", "vlan");
        dead.above.master.has_carrier = false;
        assert_eq!(told(&[dead]), ["network n: eth0 has no carrier"]);
    }
}
