//! Who an attachment is: everything that is made for it on the host is named by
//! the network, the container and the interface, so that it is found again with
//! nothing but a call's parameters, also when the namespace has gone.

use std::net::{IpAddr, Ipv6Addr};

use cni::{Attachment, Request};
use kernel::{Link, Mac};
use serde::Deserialize;

use crate::{Error, Result};

/// What is written on every link that is made: this, and whose it is.
pub(crate) const MARK: &str = "slash24";
/// How the second names of the host's devices begin that containers have.
pub(crate) const OTHER_NAME: &str = "s24-";
/// `IFALIASZ - 2` (linux/if.h): in a message a NUL follows the text, and the kernel
/// counts it.
const LONGEST_ALIAS: usize = 254;
/// How the hardware addresses begin that follow from leases.
const OF_LEASES: [u8; 2] = [0x0a, 0x58];

/// The names of one attachment.
pub(crate) struct Identity {
    /// The name of the host's end of a veth pair: `veth` and eleven digits.
    pub(crate) host_link: String,
    /// The name of a container's link that cannot have its own from the start: `tmp` and
    /// eleven digits.
    pub(crate) unfinished_link: String,
    /// The name that a device of the host's has besides its own while it is the
    /// container's: [`OTHER_NAME`] and eleven digits.
    pub(crate) other_name: String,
    /// What is written on the links: `slash24 NETWORK CONTAINER INTERFACE`.
    pub(crate) alias: String,
    hash: u64,
}

impl Identity {
    pub(crate) fn of(request: &Request) -> Self {
        Identity::new(&request.config.name, &request.container_id, &request.ifname)
    }

    /// Of any attachment, whoever calls.
    pub(crate) fn new(network: &str, container: &str, ifname: &str) -> Self {
        let whole = format!("{MARK} {network} {container} {ifname}");
        let hash = fnv1a(whole.as_bytes());
        // Names of containers are ASCII, interface names may not be.
        let end = whole.floor_char_boundary(LONGEST_ALIAS);
        Identity {
            host_link: format!("veth{:011x}", hash >> 20),
            other_name: format!("{OTHER_NAME}{:011x}", hash >> 20),
            unfinished_link: format!("tmp{:011x}", hash >> 20),
            alias: whole[..end].to_owned(),
            hash,
        }
    }

    /// Where it takes its turn; hardly anybody else's place.
    pub(crate) fn place(&self) -> u64 {
        self.hash
    }

    /// Whether a link with this on it was made for another attachment. One that
    /// says nothing may be ours: a process can be killed before it is written.
    pub(crate) fn is_anothers(&self, link: &Link) -> bool {
        let marked = link.alias.split(' ').next() == Some(MARK);
        marked && link.alias != self.alias
    }

    /// Whether a link was certainly made for this attachment.
    pub(crate) fn is_own(&self, link: &Link) -> bool {
        link.alias == self.alias
    }

    /// Whether a link has a hardware address that an ADD of this attachment, which
    /// may not know its lease any more, can have given it.
    pub(crate) fn may_have_made(&self, link: &Link) -> bool {
        let of_lease = |mac: Mac| mac.0.starts_with(&OF_LEASES);
        link.mac
            .is_some_and(|mac| of_lease(mac) || mac == self.container_mac())
    }

    /// A hardware address for the host's end.
    pub(crate) fn host_mac(&self) -> Mac {
        self.mac_of(b"host")
    }

    /// A hardware address for the container's interface when it has no address to
    /// derive one from.
    pub(crate) fn container_mac(&self) -> Mac {
        self.mac_of(b"container")
    }

    /// What tells its routes on the host from those of other attachments where many are
    /// out of one link: their metric, which is of no other use there.
    pub(crate) fn number(&self) -> u32 {
        // 0 is none.
        (self.hash as u32).max(1)
    }

    fn mac_of(&self, end: &[u8]) -> Mac {
        let hash = fnv1a(&[&self.hash.to_be_bytes(), end].concat());
        let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
        Mac::local([a, b, c, d, e, f])
    }
}

/// Fowler–Noll–Vo 1a with 64 bits: the names must be the same in every version
/// of this program, which the standard library's hashes do not promise.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The hardware address for a lease: a function of the address, so that what
/// neighbours remember is right again when the address is given to the next. The
/// holders of a shared address must not share that as well.
pub(crate) fn mac_of_lease(lease: &Attachment, identity: &Identity) -> Mac {
    let own = lease.ips.iter().filter(|ip| !ip.shared);
    let mac = mac_of_addresses(own.map(|ip| ip.address.ip()));
    mac.unwrap_or_else(|| identity.container_mac())
}

/// The hardware address of whoever is leased these, an IPv4 address before others.
pub(crate) fn mac_of_addresses(ips: impl Iterator<Item = IpAddr> + Clone) -> Option<Mac> {
    let ip = ips
        .clone()
        .find(IpAddr::is_ipv4)
        .or_else(|| ips.clone().next());
    ip.map(mac_of_address)
}

/// The hardware address of whoever is leased `ip` in the first place.
pub(crate) fn mac_of_address(ip: IpAddr) -> Mac {
    let [a, b, c, d] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = fnv1a(&ip.octets()).to_be_bytes();
            [a, b, c, d]
        }
    };
    Mac([OF_LEASES[0], OF_LEASES[1], a, b, c, d])
}

/// `fe80::` and the identifier that follows from a hardware address (RFC 4291,
/// appendix A).
pub(crate) fn link_local_of(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let identifier = [word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)];
    let [e, f, g, h] = identifier;
    Ipv6Addr::new(0xfe80, 0, 0, 0, e, f, g, h)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MacKeys {
    mac: String,
    args: ArgsKeys,
    runtime_config: MacSource,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKeys {
    cni: MacSource,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MacSource {
    mac: String,
}

/// The hardware address that was asked for. The more specific wins: the
/// runtime's capability, then `args`, then `CNI_ARGS`, then the configuration.
pub(crate) fn requested_mac(request: &Request) -> Result<Option<Mac>> {
    let keys: MacKeys = request.config.read()?;
    let sources = [
        ("runtimeConfig.mac", keys.runtime_config.mac),
        ("args.cni.mac", keys.args.cni.mac),
        (
            "CNI_ARGS MAC",
            request.args.get("MAC").unwrap_or_default().to_owned(),
        ),
        ("mac", keys.mac),
    ];
    let asked = sources.into_iter().find(|(_, text)| !text.is_empty());
    let Some((key, text)) = asked else {
        return Ok(None);
    };
    let mac: Option<Mac> = text.parse().ok().filter(|mac: &Mac| mac.is_unicast());
    mac.map(Some).ok_or(Error::BadKey {
        key,
        value: format!("\"{text}\""),
        right: "a unicast hardware address such as 0a:58:0a:32:0b:02".into(),
    })
}

#[cfg(test)]
mod tests {
    use cni::{Command, Config, Environment};
    use serde_json::{Value, json};

    use super::*;

    fn request(container: &str, extra: Value, args: &str) -> Request {
        let mut config = json!({"name": "net", "type": "bridge"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let env = Environment::from_pairs([
            ("CNI_CONTAINERID", container),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ]);
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        Request::new(Command::Del, &env, config).unwrap()
    }

    #[test]
    fn names_are_those_of_every_version() {
        let identity = Identity::of(&request("c1", json!({}), ""));
        assert_eq!(identity.alias, "slash24 net c1 eth0");
        assert_eq!(identity.host_link.len(), 15);
        assert_eq!(
            identity.host_link,
            format!("veth{:011x}", fnv1a(b"slash24 net c1 eth0") >> 20)
        );
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(identity.host_mac(), identity.container_mac());
    }

    #[test]
    fn links_of_others_are_told_apart() {
        let identity = Identity::of(&request(&"x".repeat(300), json!({}), ""));
        assert_eq!(identity.alias.len(), LONGEST_ALIAS);
        let link = |alias: &str| Link {
            alias: alias.into(),
            ..Link::default()
        };
        assert!(identity.is_anothers(&link("slash24 net other eth0")));
        assert!(!identity.is_anothers(&link("")));
        assert!(!identity.is_anothers(&link("somebody's note")));
        assert!(identity.is_own(&link(&identity.alias)));
    }

    #[test]
    fn the_most_specific_mac_wins() {
        let mac = |extra, args| {
            requested_mac(&request("c", extra, args))
                .unwrap()
                .map(|mac| mac.0[5])
        };
        assert_eq!(mac(json!({}), ""), None);
        let conf = json!({"mac": "0a:00:00:00:00:01"});
        assert_eq!(mac(conf.clone(), ""), Some(1));
        assert_eq!(mac(conf, "MAC=0a:00:00:00:00:02"), Some(2));
        let args = json!({"args": {"cni": {"mac": "0a:00:00:00:00:03"}}});
        assert_eq!(mac(args.clone(), "MAC=0a:00:00:00:00:02"), Some(3));
        let mut all = args;
        all["runtimeConfig"] = json!({"mac": "0a:00:00:00:00:04"});
        assert_eq!(mac(all, ""), Some(4));
        let bad = request("c", json!({"mac": "01:00:5e:00:00:01"}), "");
        assert!(
            requested_mac(&bad)
                .unwrap_err()
                .to_string()
                .contains("\"mac\"")
        );
    }
}
