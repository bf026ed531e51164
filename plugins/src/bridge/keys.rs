//! The keys of `bridge`.

use cni::Config;
use kernel::PortFlags;
use serde::Deserialize;

use super::vlan::{self, Trunk, Vlans};
use crate::{Error, Result, forwarding};

/// The largest MTU of a veth (`ETH_MAX_MTU`), the smallest that IPv4 allows.
pub(super) const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Keys {
    pub(super) bridge: String,
    pub(super) is_gateway: bool,
    pub(super) is_default_gateway: bool,
    pub(super) force_address: bool,
    pub(super) ip_masq: bool,
    ip_masq_backend: String,
    mtu: u32,
    hairpin_mode: bool,
    pub(super) promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Option<Vec<Trunk>>,
    preserve_default_vlan: bool,
    #[serde(skip)]
    pub(super) vlans: Vlans,
    /// Whether there is an IPAM plugin.
    #[serde(skip)]
    pub(super) has_addresses: bool,
    pub(super) macspoofchk: bool,
    pub(super) enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            bridge: "cni0".into(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            ip_masq_backend: String::new(),
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            vlan: 0,
            vlan_trunk: None,
            preserve_default_vlan: true,
            vlans: Vlans::default(),
            has_addresses: false,
            macspoofchk: false,
            enabledad: false,
            disable_container_interface: false,
            port_isolation: false,
        }
    }
}

impl Keys {
    pub(super) fn read(config: &Config) -> Result<Self> {
        let mut keys: Keys = config.read()?;
        if keys.bridge.is_empty() {
            keys.bridge = Keys::default().bridge;
        }
        keys.is_gateway |= keys.is_default_gateway;
        keys.vlans = Vlans::new(keys.vlan, keys.vlan_trunk.as_deref())?;
        keys.vlans.keep_default = keys.preserve_default_vlan;
        keys.has_addresses = config.ipam_type().is_some();
        keys.validate(config)?;
        Ok(keys)
    }

    fn validate(&self, config: &Config) -> Result<()> {
        let bad = |key, value: &dyn std::fmt::Display, right: String| {
            let value = value.to_string();
            Err(Error::BadKey { key, value, right })
        };
        let quoted = |text: &str| format!("\"{text}\"");
        if !cni::name::is_interface(&self.bridge) {
            return bad("bridge", &quoted(&self.bridge), cni::name::INTERFACE.into());
        }
        if let Some(name) = self.vlan_gateway()
            && !cni::name::is_interface(&name)
        {
            let right = format!(
                "with \"isGateway\" and \"vlan\" the gateway is an interface {name}, whose name may have 15 characters"
            );
            return bad("bridge", &quoted(&self.bridge), right);
        }
        if self.mtu != 0 && !MTU.contains(&self.mtu) {
            let (least, most) = (MTU.start(), MTU.end());
            let right = format!("{least} to {most} bytes, or 0 for the default");
            return bad("mtu", &self.mtu, right);
        }
        forwarding::check_backend(&self.ip_masq_backend)?;
        if self.hairpin_mode && self.promisc_mode {
            return Err(Error::Exclusive("hairpinMode", "promiscMode"));
        }
        if self.disable_container_interface && config.ipam_type().is_some() {
            return Err(Error::Exclusive("disableContainerInterface", "ipam"));
        }
        Ok(())
    }

    /// The MTU, if one was chosen.
    pub(super) fn mtu(&self) -> Option<u32> {
        Some(self.mtu).filter(|mtu| *mtu != 0)
    }

    /// What the port does with frames.
    pub(super) fn port_flags(&self) -> PortFlags {
        PortFlags {
            hairpin: self.hairpin_mode,
            isolated: self.port_isolation,
            is_fixed: false,
        }
    }

    /// Whether the container's interface is left down.
    pub(super) fn is_container_down(&self) -> bool {
        self.disable_container_interface
    }

    /// The interface that has the gateway addresses of a VLAN, which the bridge
    /// itself is not in.
    pub(super) fn vlan_gateway(&self) -> Option<String> {
        let is_needed = self.is_gateway && self.has_addresses;
        let vlan = self.vlans.chosen.filter(|_| is_needed);
        vlan.map(|vlan| vlan::gateway_name(&self.bridge, vlan))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Those of a configuration with `extra`.
    pub(in crate::bridge) fn keys(extra: Value) -> Result<Keys> {
        let mut config = json!({"name": "n", "type": "bridge"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Keys::read(&Config::parse(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn defaults_and_other_cases() {
        let plain = keys(json!({"bridge": ""})).unwrap();
        assert_eq!(plain.bridge, "cni0");
        assert_eq!(plain.mtu(), None);
        assert_eq!(plain.port_flags(), PortFlags::default());
        assert!(!plain.vlans.are_used);
        let gateway = keys(json!({"isdefaultgateway": true, "MTU": 1400})).unwrap();
        assert!(gateway.is_gateway);
        assert_eq!(gateway.mtu(), Some(1400));
        assert_eq!(gateway.vlan_gateway(), None);
        let mut vlan = json!({"VLAN": 12, "isGateway": true, "bridge": "br0"});
        assert_eq!(keys(vlan.clone()).unwrap().vlan_gateway(), None);
        vlan["ipam"] = json!({"type": "static"});
        let vlan = keys(vlan).unwrap().vlan_gateway();
        assert_eq!(vlan.as_deref(), Some("br0.12"));
        for backend in ["", "iptables", "nftables"] {
            keys(json!({"ipMasqBackend": backend})).unwrap();
        }
    }

    #[test]
    fn errors_name_key_and_value() {
        let error = |extra| keys(extra).unwrap_err().to_string();
        assert!(
            error(json!({"bridge": "a-name-too-long-for-it"})).contains("\"bridge\": \"a-name-too")
        );
        assert!(error(json!({"mtu": 67})).contains("\"mtu\": 67"));
        assert!(error(json!({"mtu": "1500"})).contains("\"mtu\": invalid type"));
        assert!(
            error(json!({"hairpinMode": true, "promiscMode": true})).contains("exclude each other")
        );
        let down = json!({"disableContainerInterface": true, "ipam": {"type": "static"}});
        assert!(error(down).contains("\"disableContainerInterface\" and \"ipam\""));
        assert!(error(json!({"ipMasqBackend": "pf"})).contains("\"ipMasqBackend\": \"pf\""));
        let long = json!({
            "bridge": "twelve-chars", "vlan": 100, "isGateway": true, "ipam": {"type": "static"},
        });
        assert!(error(long).contains("twelve-chars.100"));
    }
}
