//! Which of the host's devices is meant: by its name, its hardware address, or the
//! place where the kernel shows it.

use std::fs;
use std::path::{Path, PathBuf};

use cni::Config;
use kernel::{Link, Mac, Netlink};
use serde::Deserialize;

use crate::{Error, Result};

const PCI: &str = "/sys/bus/pci/devices";
const AUXILIARY: &str = "/sys/bus/auxiliary/devices";
/// Drivers that hand a network card to a program in user space (DPDK): the kernel
/// has no link for it then.
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKeys {
    device: String,
    hwaddr: String,
    kernelpath: String,
    #[serde(rename = "pciBusID")]
    pci_bus_id: String,
    #[serde(rename = "runtimeConfig")]
    runtime: RawRuntime,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRuntime {
    #[serde(rename = "deviceID")]
    device_id: String,
}

/// The device that a configuration names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Device {
    Named(String),
    WithMac(Mac),
    /// The first link in this directory of the kernel's.
    At(PathBuf),
    /// A program in user space drives it.
    UserSpace,
}

impl Device {
    /// The one that the keys name. A name goes first, then the hardware address, then
    /// the paths; the runtime's device takes the place of the configured PCI address.
    pub(super) fn read(config: &Config) -> Result<Self> {
        let mut raw: RawKeys = config.read()?;
        let mut auxiliary = None;
        let id = raw.runtime.device_id;
        if !id.is_empty() {
            if below(PCI, "runtimeConfig.deviceID", &id)?.exists() {
                raw.pci_bus_id = id;
            } else if below(AUXILIARY, "runtimeConfig.deviceID", &id)?.exists() {
                raw.pci_bus_id.clear();
                auxiliary = Some(id);
            } else {
                let right = format!("the name of a device in {PCI} or {AUXILIARY}");
                return Err(bad("runtimeConfig.deviceID", &id, right));
            }
        }
        if !raw.pci_bus_id.is_empty() && is_in_user_space(&raw.pci_bus_id)? {
            return Ok(Device::UserSpace);
        }
        if !raw.device.is_empty() {
            return match cni::name::is_interface(&raw.device) {
                true => Ok(Device::Named(raw.device)),
                false => Err(bad("device", &raw.device, cni::name::INTERFACE.into())),
            };
        }
        if !raw.hwaddr.is_empty() {
            let mac: Option<Mac> = raw.hwaddr.parse().ok();
            let right = || "a hardware address such as 0a:58:0a:32:0b:02".into();
            let mac = mac.ok_or_else(|| bad("hwaddr", &raw.hwaddr, right()))?;
            return Ok(Device::WithMac(mac));
        }
        if !raw.kernelpath.is_empty() {
            let path = Path::new(&raw.kernelpath);
            return match path.starts_with("/sys/devices") && !has_parent(path) {
                true => Ok(Device::At(path.join("net"))),
                false => {
                    let right = "a path that begins with /sys/devices/".into();
                    Err(bad("kernelpath", &raw.kernelpath, right))
                }
            };
        }
        if !raw.pci_bus_id.is_empty() {
            return pci_directory(&raw.pci_bus_id).map(Device::At);
        }
        match auxiliary {
            Some(id) => Ok(Device::At(Path::new(AUXILIARY).join(id).join("net"))),
            None => Err(Error::NoDeviceKey),
        }
    }

    /// The link, if it is on the host.
    pub(super) fn find(&self, host: &mut Netlink) -> Result<Link> {
        let found = match self {
            Device::Named(name) => host.link(name)?,
            Device::WithMac(mac) => {
                let mut links = host.links()?.into_iter();
                links.find(|link| link.mac == Some(*mac))
            }
            Device::At(directory) => match first_name(directory) {
                Some(name) => host.link(&name)?,
                None => None,
            },
            Device::UserSpace => None,
        };
        found.ok_or_else(|| Error::NoDevice(self.to_string()))
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Named(name) => write!(f, "\"device\": \"{name}\""),
            Device::WithMac(mac) => write!(f, "\"hwaddr\": \"{mac}\""),
            Device::At(directory) => write!(f, "{}", directory.display()),
            Device::UserSpace => f.write_str("a device that is driven in user space"),
        }
    }
}

fn bad(key: &'static str, value: &str, right: String) -> Error {
    Error::BadKey {
        key,
        value: format!("\"{value}\""),
        right,
    }
}

fn has_parent(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part, std::path::Component::ParentDir))
}

/// A device's directory. Its name must not lead elsewhere.
fn below(directory: &str, key: &'static str, name: &str) -> Result<PathBuf> {
    match name.contains('/') || name == ".." || name == "." {
        true => Err(bad(
            key,
            name,
            format!("the name of a device in {directory}"),
        )),
        false => Ok(Path::new(directory).join(name)),
    }
}

fn is_in_user_space(id: &str) -> Result<bool> {
    let driver = below(PCI, "pciBusID", id)?.join("driver");
    let driver = fs::canonicalize(&driver).map_err(|error| {
        let right = format!("a device with a driver: {}: {error}", driver.display());
        bad("pciBusID", id, right)
    })?;
    let name = driver.file_name().and_then(|name| name.to_str());
    Ok(name.is_some_and(|name| USER_SPACE.contains(&name)))
}

/// Where the links of a PCI device are; those of virtio have a device in between.
fn pci_directory(id: &str) -> Result<PathBuf> {
    let device = below(PCI, "pciBusID", id)?;
    let direct = device.join("net");
    if direct.exists() {
        return Ok(direct);
    }
    let entries = fs::read_dir(&device).into_iter().flatten().flatten();
    let virtio =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"virtio"));
    let mut nets = virtio.map(|entry| entry.path().join("net"));
    nets.find(|net| net.exists())
        .ok_or_else(|| Error::NoDevice(format!("a network interface of {}", device.display())))
}

fn first_name(directory: &Path) -> Option<String> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names.first()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(keys: Value) -> Result<Device> {
        let mut config = json!({"cniVersion": "1.0.0", "name": "n", "type": "host-device"});
        let more = keys.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        Device::read(&Config::parse(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_name_goes_before_all_else() {
        let named = Device::Named("eth1".into());
        let both = json!({"device": "eth1", "hwaddr": "0a:00:00:00:00:01"});
        assert_eq!(read(both).unwrap(), named);
        let mac = Device::WithMac(Mac([10, 0, 0, 0, 0, 1]));
        assert_eq!(read(json!({"hwaddr": "0A:00:00:00:00:01"})).unwrap(), mac);
        let path = Device::At("/sys/devices/pci0000:00/net".into());
        let kernelpath = json!({"kernelpath": "/sys/devices/pci0000:00"});
        assert_eq!(read(kernelpath).unwrap(), path);
    }

    #[test]
    fn wrong_values_are_told_by_their_keys() {
        for (keys, told) in [
            (json!({}), "\"device\""),
            (json!({"device": "a/b"}), "\"device\": \"a/b\""),
            (json!({"hwaddr": "0a:00"}), "\"hwaddr\": \"0a:00\""),
            (json!({"kernelpath": "/etc"}), "\"kernelpath\": \"/etc\""),
            (
                json!({"kernelpath": "/sys/devices/../../etc"}),
                "\"kernelpath\"",
            ),
            (json!({"pciBusID": "no"}), "\"pciBusID\": \"no\""),
            (json!({"pciBusID": "../x"}), "\"pciBusID\": \"../x\""),
            (
                json!({"runtimeConfig": {"deviceID": "no"}}),
                "\"runtimeConfig.deviceID\": \"no\"",
            ),
        ] {
            let message = read(keys).unwrap_err().to_string();
            assert!(message.contains(told), "{told} is not in {message}");
        }
    }
}
