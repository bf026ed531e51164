//! GC: what is on the host for attachments that are no longer valid. Whose a thing
//! is stands on it ([`Identity`]), so nothing of another network, and nothing that
//! another program made, is ever taken for garbage.

use std::collections::HashSet;

use cni::{Call, Failure, Request};
use kernel::{Netlink, nft};

use crate::Result;
use crate::attachment::{Identity, MARK};

/// Which attachments of a network have ended without a DEL.
pub(crate) struct Stale {
    network: String,
    /// How the marks of the network's attachments begin.
    begin: String,
    /// The marks of those that are valid, and the names of their ports.
    valid: HashSet<String>,
    valid_ports: HashSet<String>,
    /// The numbers of their routes on the host.
    valid_numbers: HashSet<u32>,
    /// How the marks of valid containers begin whose interfaces are not named.
    valid_containers: Vec<String>,
}

/// Has `remove` remove what is on the host, then the IPAM plugin what it keeps. A
/// failure of one keeps nobody from the rest. A runtime that sends no list has not
/// said that there are no valid attachments: then nothing is removed.
pub(crate) fn collect(
    call: &Call<'_>,
    remove: impl FnOnce(&Stale) -> Result<()>,
) -> std::result::Result<(), Failure> {
    let removed = match Stale::of(call.request)? {
        Some(stale) => remove(&stale),
        None => Ok(()),
    };
    call.ipam_forward()?;
    Ok(removed?)
}

impl Stale {
    fn of(request: &Request) -> Result<Option<Self>> {
        let Some(attachments) = request.config.valid_attachments()? else {
            return Ok(None);
        };
        let network = &request.config.name;
        let mut stale = Stale {
            network: network.clone(),
            begin: format!("{MARK} {network} "),
            valid: HashSet::new(),
            valid_ports: HashSet::new(),
            valid_numbers: HashSet::new(),
            valid_containers: Vec::new(),
        };
        for attachment in attachments {
            let container = &attachment.container_id;
            match attachment.ifname.as_str() {
                "" => stale
                    .valid_containers
                    .push(format!("{MARK} {network} {container} ")),
                ifname => {
                    let identity = Identity::new(network, container, ifname);
                    stale.valid_numbers.insert(identity.number());
                    stale.valid.insert(identity.alias);
                    stale.valid_ports.insert(identity.host_link);
                }
            }
        }
        Ok(Some(stale))
    }

    /// Whether something with this mark on it belongs to such an attachment.
    pub(crate) fn has(&self, mark: &str) -> bool {
        let is_valid = |mark: &str| {
            let mut containers = self.valid_containers.iter();
            self.valid.contains(mark) || containers.any(|begin| begins(begin, mark))
        };
        mark.starts_with(&self.begin) && !is_valid(mark)
    }

    /// As [`Stale::has`], for what is known by the name of the host's link, with a mark
    /// that may be cut off.
    pub(crate) fn has_port(&self, port: &str, mark: &str) -> bool {
        mark.starts_with(&self.begin)
            && !self.valid_ports.contains(port)
            && !self
                .valid_containers
                .iter()
                .any(|begin| begins(begin, mark))
    }

    /// The network.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// Whether routes on the host with this number are of such an attachment. A number
    /// tells nothing of the container: where a valid one's interfaces are not named it
    /// may be any of them.
    pub(crate) fn has_number(&self, number: u32) -> bool {
        self.valid_containers.is_empty() && !self.valid_numbers.contains(&number)
    }

    /// Stops masquerading for a network that has no valid attachment at all.
    pub(crate) fn stop_masquerading(&self) -> Result<()> {
        match self.valid.is_empty() && self.valid_containers.is_empty() {
            true => Ok(nft::forget_network(&self.network)?),
            false => Ok(()),
        }
    }

    /// Removes their links on the host.
    pub(crate) fn remove_links(&self) -> Result<()> {
        let mut host = Netlink::open()?;
        let all = host.links()?;
        let stale: Vec<_> = all.iter().filter(|link| self.has(&link.alias)).collect();
        Ok(host.delete_links(&stale, &all)?)
    }
}

/// Whether a mark, which may be cut off, can begin with what those of a container do.
fn begins(begin: &str, mark: &str) -> bool {
    mark.starts_with(begin) || begin.starts_with(mark)
}

#[cfg(test)]
mod tests {
    use cni::{Command, Config, Environment};
    use serde_json::{Value, json};

    use super::*;

    fn stale(valid: Value) -> Option<Stale> {
        let config = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge",
            "cni.dev/valid-attachments": valid,
        });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let request = Request::new(Command::Gc, &Environment::default(), config).unwrap();
        Stale::of(&request).unwrap()
    }

    #[test]
    fn only_what_was_made_for_the_network_and_is_not_vouched_for() {
        let valid = json!([
            {"containerID": "a", "ifname": "eth0"},
            {"containerID": "whole", "ifname": ""},
        ]);
        let stale = stale(valid).unwrap();
        let long = "x".repeat(300);
        for (mark, expected) in [
            ("slash24 net a eth0", false),
            ("slash24 net a eth1", true),
            ("slash24 net ab eth0", true),
            ("slash24 net whole eth7", false),
            ("slash24 net wholesale eth7", true),
            ("slash24 network a eth0", false),
            ("slash24 other a eth0", false),
            ("slash24 net", false),
            ("net a eth0", false),
            ("", false),
            (Identity::new("net", &long, "eth0").alias.as_str(), true),
        ] {
            assert_eq!(stale.has(mark), expected, "{mark}");
        }
    }

    #[test]
    fn marks_that_were_cut_off_are_those_of_valid_attachments_all_the_same() {
        let long = "x".repeat(300);
        let mark = Identity::new("net", &long, "eth0").alias;
        let port = Identity::new("net", &long, "eth0").host_link;
        let by_name = stale(json!([{"containerID": long, "ifname": "eth0"}])).unwrap();
        assert!(!by_name.has(&mark));
        assert!(!by_name.has_port(&port, &mark[..100]));
        assert!(by_name.has_port("veth0", &mark[..100]));
        let whole = stale(json!([{"containerID": long}])).unwrap();
        assert!(!whole.has(&mark));
        assert!(!whole.has_port(&port, &mark[..100]));
        assert!(whole.has_port(&port, "slash24 net other eth0"));
    }

    #[test]
    fn routes_are_told_by_their_numbers() {
        let number = |ifname| Identity::new("net", "a", ifname).number();
        let by_name = stale(json!([{"containerID": "a", "ifname": "eth0"}])).unwrap();
        assert!(!by_name.has_number(number("eth0")) && by_name.has_number(number("eth1")));
        let whole = stale(json!([{"containerID": "b"}])).unwrap();
        assert!(!whole.has_number(number("eth0")), "it may be that one's");
    }

    #[test]
    fn no_list_is_not_an_empty_one() {
        assert!(stale(Value::Null).is_none());
        assert!(stale(json!([])).unwrap().has("slash24 net a eth0"));
    }
}
