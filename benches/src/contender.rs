//! Who is compared, and how each of them is asked for the same attachment.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Doing, Error, Result};
use crate::host::{self, Container, Host};
use crate::process::{self, Invocation, Outcome};
use crate::scenario::{BRIDGE, Network, Scenario};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    Floor,
    /// The floor again, without an announcement to the neighbours, and with a DEL that
    /// returns when the kernel does.
    FloorPlain,
    Ours,
    /// One ADD of ours, of the first network of a scenario that has two.
    OursSingle,
    Reference,
    Netavark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
}

impl Contender {
    pub(crate) const ALL: [Self; 6] = [
        Self::Floor,
        Self::FloorPlain,
        Self::Ours,
        Self::OursSingle,
        Self::Reference,
        Self::Netavark,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorPlain => "floor-plain",
            Self::Ours => "ours",
            Self::OursSingle => "ours-single",
            Self::Reference => "reference",
            Self::Netavark => "netavark",
        }
    }

    pub(crate) fn takes_part(self, scenario: &Scenario) -> bool {
        match self {
            Self::Ours | Self::Reference => true,
            Self::OursSingle => scenario.kinds.len() > 1,
            _ => scenario.kinds.iter().all(|kind| kind.is_everybodys()),
        }
    }
}

/// Where everybody's executables are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) slash24: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) memory: PathBuf,
    /// Ours under the names of plugins.
    ours: PathBuf,
    pub(crate) reference: PathBuf,
    pub(crate) netavark: PathBuf,
}

const NAMES: [&str; 6] = ["bridge", "macvlan", "ptp", "ipvlan", "vlan", "host-local"];

/// Those that nobody else has.
const OWN: [&str; 1] = ["vxlan"];

impl Programs {
    /// Ours and the floor stand beside this executable, the others where Debian
    /// puts them. Those in `without` may be absent.
    pub(crate) fn find(without: &[Contender]) -> Result<Self> {
        let here = std::env::current_exe().doing(|| "finding this executable".to_owned())?;
        let beside = here.parent().unwrap_or(Path::new("/")).to_path_buf();
        let programs = Self {
            slash24: beside.join("slash24"),
            floor: beside.join("bench-floor"),
            memory: beside.join("bench-memory"),
            ours: host::directory("ours")?,
            reference: "/usr/lib/cni".into(),
            netavark: "/usr/lib/podman/netavark".into(),
        };
        let build = "build it in release mode, as `make bench` does";
        require(&programs.floor, build)?;
        require(&programs.memory, build)?;
        require(Path::new("/usr/sbin/ip"), "apt-get install iproute2")?;
        if !without.contains(&Contender::Reference) {
            for name in NAMES {
                let remedy = "apt-get install containernetworking-plugins";
                require(&programs.reference.join(name), remedy)?;
            }
            require(Path::new("/usr/sbin/iptables"), "apt-get install iptables")?;
        }
        if !without.contains(&Contender::Netavark) {
            require(&programs.netavark, "apt-get install netavark")?;
            require(Path::new("/usr/sbin/iptables"), "apt-get install iptables")?;
        }
        if !without.contains(&Contender::Ours) {
            require(&programs.slash24, build)?;
            programs.link_names()?;
        }
        Ok(programs)
    }

    /// The host-local that a contender's plugins call.
    pub(crate) fn host_local(&self, who: Contender) -> PathBuf {
        self.plugins(who).join("host-local")
    }

    /// The directory of a contender's plugins.
    pub(crate) fn plugins(&self, who: Contender) -> &Path {
        match who {
            Contender::Ours => &self.ours,
            _ => &self.reference,
        }
    }

    /// One copy on our own file system, and a hard link to it for each name.
    fn link_names(&self) -> Result<()> {
        let copy = self.ours.join("slash24");
        fs::copy(&self.slash24, &copy).doing(|| copy.display().to_string())?;
        for name in NAMES.into_iter().chain(OWN) {
            let link = self.ours.join(name);
            fs::hard_link(&copy, &link).doing(|| link.display().to_string())?;
        }
        Ok(())
    }
}

fn require(path: &Path, remedy: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::Missing {
        path: path.to_path_buf(),
        remedy: remedy.to_owned(),
    })
}

/// A contender on a host of its own, ready for one scenario: with its leases,
/// its configuration files, and the bridge unless that is to be made each time.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) contender: Contender,
    pub(crate) networks: Vec<Network>,
    pub(crate) host: Host,
    programs: &'a Programs,
    scenario: Scenario,
    directory: PathBuf,
    /// Stays attached, so that the bridge has a port and netavark keeps it.
    resident: Option<Container>,
}

impl<'a> Site<'a> {
    pub(crate) fn new(
        programs: &'a Programs,
        contender: Contender,
        scenario: Scenario,
        resident: Container,
    ) -> Result<Self> {
        let mut networks = scenario.networks();
        if contender == Contender::OursSingle {
            networks.truncate(1);
        }
        let directory = host::directory(&format!("{}/{}", scenario.name, contender.name()))?;
        let mut site = Self {
            contender,
            networks,
            host: Host::new()?,
            programs,
            scenario,
            directory,
            resident: None,
        };
        site.write_files()?;
        if !scenario.new_bridge {
            site.run(Verb::Add, &resident)?;
            site.confirm(Verb::Add, &resident)?;
            site.resident = Some(resident);
        }
        Ok(site)
    }

    /// What `slash24 attach` reads: a file for each network, and the task.
    fn write_files(&self) -> Result<()> {
        let configurations = self.file("conf");
        fs::create_dir_all(&configurations).doing(|| configurations.display().to_string())?;
        for network in &self.networks {
            let path = configurations.join(format!("{}.conf", network.name()));
            let text = network.cni(&self.file("leases"), 0).to_string();
            fs::write(&path, text).doing(|| path.display().to_string())?;
        }
        let name = |network: &Network| json!({ "name": network.name() });
        let networks: Vec<_> = self.networks.iter().map(name).collect();
        let task = json!({ "container": { "network": networks } }).to_string();
        let path = self.file("task.json");
        fs::write(&path, task).doing(|| path.display().to_string())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the call on the site's host.
    pub(crate) fn run(&self, verb: Verb, container: &Container) -> Result<Outcome> {
        let calls = self.calls(verb, container);
        self.host.enter()?;
        if verb == Verb::Add && self.scenario.new_bridge {
            self.drop_bridge()?;
        }
        process::run(&calls)
    }

    fn drop_bridge(&self) -> Result<()> {
        if nix::net::if_::if_nametoindex(BRIDGE).is_err() {
            return Ok(());
        }
        let drop = Invocation::new(&self.programs.floor)
            .argument("drop")
            .argument(BRIDGE);
        process::run(&[drop]).map(|_| ())
    }

    /// Fails unless the call has done what it was for.
    pub(crate) fn confirm(&self, verb: Verb, container: &Container) -> Result<()> {
        let found = match verb {
            Verb::Add => {
                // An internal network of netavark has no default route.
                let routed = self.contender != Contender::Netavark || self.scenario.masquerade;
                container.find_attached(&self.networks, routed)?
            }
            Verb::Del => match container.find_left(&self.networks)? {
                None => self.find_lease(container)?,
                left => left,
            },
        };
        match found {
            None => Ok(()),
            Some(found) => Err(Error::Untrue {
                contender: format!("{} ({})", self.contender.name(), self.scenario.name),
                found,
            }),
        }
    }

    /// A lease is a file that is named by the address and begins with the
    /// container's id.
    fn find_lease(&self, container: &Container) -> Result<Option<String>> {
        for network in &self.networks {
            let Ok(files) = fs::read_dir(self.file("leases").join(network.name())) else {
                continue;
            };
            for file in files {
                let path = file.doing(|| "reading leases".to_owned())?.path();
                if fs::read(&path).is_ok_and(|text| text.starts_with(container.id.as_bytes())) {
                    return Ok(Some(format!("{} is still leased", path.display())));
                }
            }
        }
        Ok(None)
    }

    /// Everything that the contender has to be asked.
    pub(crate) fn calls(&self, verb: Verb, container: &Container) -> Vec<Invocation> {
        match self.contender {
            Contender::Floor => vec![self.floor(verb, container, ["add", "del"])],
            Contender::FloorPlain => {
                vec![self.floor(verb, container, ["add-silent", "del-waiting"])]
            }
            Contender::Ours if self.networks.len() > 1 => vec![self.attach(verb, container)],
            Contender::Ours | Contender::OursSingle => {
                self.plugins(&self.programs.ours, verb, container)
            }
            Contender::Reference => self.plugins(&self.programs.reference, verb, container),
            Contender::Netavark => vec![self.netavark(verb, container)],
        }
    }

    fn floor(&self, verb: Verb, container: &Container, [add, del]: [&str; 2]) -> Invocation {
        let mut call = Invocation::new(&self.programs.floor);
        call = match verb {
            Verb::Add => call.argument(add),
            Verb::Del => call.argument(del),
        };
        call = call.argument(&container.path);
        for network in &self.networks {
            let words = match verb {
                Verb::Add => network.floor(container.number, self.resident.is_none()),
                Verb::Del => vec![network.interface()],
            };
            call.arguments.extend(words.into_iter().map(Into::into));
        }
        call
    }

    /// A call of a plugin for each network; DEL in the reverse order.
    fn plugins(&self, directory: &Path, verb: Verb, container: &Container) -> Vec<Invocation> {
        let command = match verb {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
        };
        let call = |network: &Network| {
            Invocation::new(&directory.join(network.plugin()))
                .variable("CNI_COMMAND", command)
                .variable("CNI_CONTAINERID", &container.id)
                .variable("CNI_NETNS", &container.path)
                .variable("CNI_IFNAME", network.interface())
                .variable("CNI_PATH", directory)
                .stdin(
                    network
                        .cni(&self.file("leases"), container.number)
                        .to_string(),
                )
        };
        let mut calls: Vec<_> = self.networks.iter().map(call).collect();
        if verb == Verb::Del {
            calls.reverse();
        }
        calls
    }

    fn attach(&self, verb: Verb, container: &Container) -> Invocation {
        let command = match verb {
            Verb::Add => "attach",
            Verb::Del => "detach",
        };
        Invocation::new(&self.programs.ours.join("slash24"))
            .argument(command)
            .argument("--netns")
            .argument(&container.path)
            .argument("--id")
            .argument(&container.id)
            .argument("--conf-dir")
            .argument(self.file("conf"))
            .argument("--plugin-dir")
            .argument(&self.programs.ours)
            .argument("--cache-dir")
            .argument(self.file("cache"))
            .argument(self.file("task.json"))
    }

    fn netavark(&self, verb: Verb, container: &Container) -> Invocation {
        let mut wanted = Map::new();
        let mut known = Map::new();
        for network in &self.networks {
            let addresses: Vec<_> = network
                .families()
                .iter()
                .map(|family| family.address(container.number).to_string())
                .collect();
            let interface = json!({
                "static_ips": addresses, "interface_name": network.interface(),
            });
            wanted.insert(network.name(), interface);
            known.insert(network.name(), network.netavark());
        }
        let request: Value = json!({
            "container_id": container.id, "container_name": container.id,
            "networks": wanted, "network_info": known,
        });
        let command = match verb {
            Verb::Add => "setup",
            Verb::Del => "teardown",
        };
        Invocation::new(&self.programs.netavark)
            .argument("--config")
            .argument(&self.directory)
            .argument(command)
            .argument(&container.path)
            .stdin(request.to_string())
    }
}
