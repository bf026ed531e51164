//! Bringing a network that is in use in line with its configuration and its inventory:
//! hosts that came or went become known to the kernel or are forgotten, devices become
//! what they should be, and no attachment is touched.

use std::fmt;

use cni::Config;
use kernel::{EVERYBODY, Neighbour, Netlink, Remote};

use super::blueprint::Blueprint;
use super::changes::{Changes, Difference};
use super::desired::Way;
use super::keys::Keys;
use super::renew::Renewal;
use super::{names, segment};
use crate::Result;
use crate::lock::Lock;

/// What became of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Whether it has a container on this host; if not, there is nothing to do, as
    /// the first container will find the inventory as it is then.
    pub is_here: bool,
    /// How many entries the kernel has, or should have, of other hosts.
    pub entries: usize,
    /// Why questions go to all of them, where it might be computed who has which address.
    pub why_asked: Option<String>,
    /// What was changed of the network's devices, or would be.
    pub devices: Vec<String>,
    /// What was changed of its entries, or would be.
    pub changes: Vec<Change>,
}

/// One entry that was added or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether it was added.
    pub is_added: bool,
    /// What: a host, an address and its host, a neighbour.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_added { '+' } else { '-' };
        write!(f, "{sign} {}", self.what)
    }
}

/// Brings a network in line with its inventory; with `dry_run`, says what would be
/// changed.
///
/// # Errors
/// The inventory cannot be read, this host is not in it, or the network has another mode,
/// which a network in use cannot be given.
pub fn sync(config: &Config, dry_run: bool) -> Result<Synced> {
    let keys = Keys::read(config)?;
    // Nobody makes or removes the devices meanwhile.
    let _lock = Lock::alone(&names::lock(keys.vni))?;
    let mut host = Netlink::open()?;
    let Some(bridge) = segment::find(&mut host, &config.name, keys.vni)? else {
        return Ok(Synced::default());
    };
    let blueprint = Blueprint::draw(&mut host, config, &keys)?;
    let network = &config.name;
    let desired = &blueprint.desired;
    let mut renewal = Renewal::plan(&mut host, network, &bridge, &blueprint)?;
    let changes = match desired.is_ours() {
        true => Some(renewal.entries(desired)?),
        false => None,
    };
    let synced = Synced {
        is_here: true,
        entries: desired.len(),
        why_asked: desired.why_asked.clone(),
        devices: renewal.words(),
        changes: changes.as_ref().map(in_words).unwrap_or_default(),
    };
    if dry_run {
        return Ok(synced);
    }
    let is_anew = renewal.is_anew();
    let far = renewal.carry_out(&mut host, network, &bridge, &blueprint)?;
    // One that is new knows all by now.
    if let Some((mut far, changes)) = far.zip(changes).filter(|_| !is_anew) {
        far.apply(&changes)?;
    }
    Ok(synced)
}

fn in_words(changes: &Changes) -> Vec<Change> {
    let remote = |remote: &Remote| match remote.mac {
        EVERYBODY => format!("host {}", remote.host),
        mac => format!("{mac} on host {}", remote.host),
    };
    let neighbour = |one: &Neighbour| format!("neighbour {} {}", one.ip, one.mac);
    let way = |way: &Way| format!("route {} via {}", way.subnet, way.via);
    let mut words = listed(&changes.remotes, remote);
    words.extend(listed(&changes.neighbours, neighbour));
    words.extend(listed(&changes.ways, way));
    words
}

fn listed<T>(difference: &Difference<T>, what: impl Fn(&T) -> String) -> Vec<Change> {
    let change = |is_added| {
        let what = &what;
        move |item: &T| Change {
            is_added,
            what: what(item),
        }
    };
    let deleted = difference.delete.iter().map(change(false));
    deleted
        .chain(difference.add.iter().map(change(true)))
        .collect()
}
