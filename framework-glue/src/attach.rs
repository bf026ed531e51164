//! Attaching, detaching and checking a task's container: all of its networks.

use std::path::PathBuf;

use cni::Failure;
use cni::runtime::{Cached, ContainerLock, Network, Parameters, Runtime};
use serde_json::Value;

use crate::{Error, Planned};

/// The container that is worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The path of its network namespace. Where there is none, detaching and
    /// checking take the one of the time of ADD.
    pub netns: Option<PathBuf>,
}

/// A network that a container is on, or was.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The network's name.
    pub network: String,
    /// The interface in the container.
    pub ifname: String,
    /// The result of ADD, in the version of the network's configuration; `None`
    /// for an attachment that was begun and never finished.
    pub result: Option<Value>,
}

/// An attachment to go on with.
struct Known {
    name: String,
    /// As it was configured at ADD, if that can be read.
    network: Result<Network, cni::Error>,
    parameters: Parameters,
    result: Option<Value>,
}

/// Attaches a container to every planned network, or to none: when one fails,
/// those before it are detached again, the last one first. A network that the
/// container was on before is not detached by that.
///
/// # Errors
/// Which network failed and why, with what could not be undone in the details;
/// or that an interface leads to another network already.
pub fn attach(
    runtime: &Runtime,
    container: &Container,
    planned: &[Planned],
) -> Result<Vec<Attached>, Error> {
    let _alone = runtime.cache.lock_container(&container.id)?;
    let before = runtime.cache.attachments(Some(&container.id))?;
    refuse_taken_interfaces(&before, planned)?;
    let is_new = |one: &Planned| {
        let is_it = |cached: &Cached| one.is(&cached.network, &cached.parameters.ifname);
        !before
            .iter()
            .any(|cached| is_it(cached) && cached.result.is_some())
    };
    let mut attached = Vec::new();
    for (index, one) in planned.iter().enumerate() {
        let added = runtime.add(&one.network, &one.parameters);
        let added = added.and_then(|result| Ok(result.to_json(one.network.version())?));
        match added {
            Ok(result) => attached.push(Attached {
                network: one.network.name.clone(),
                ifname: one.parameters.ifname.clone(),
                result: Some(result),
            }),
            Err(failure) => {
                let mut failure = failure;
                let undo = planned[..index].iter().rev().filter(|one| is_new(one));
                for one in undo {
                    if let Err(error) = runtime.del(&one.network, &one.parameters) {
                        let name = &one.network.name;
                        let detail = format!("network \"{name}\" stays attached: {error}");
                        add_detail(&mut failure, &detail);
                    }
                }
                return Err(Error::plugins(&one.network.name, &one.parameters, failure));
            }
        }
    }
    Ok(attached)
}

/// An ADD would fail, and there are plugins whose DEL then removes the interface
/// of that name, whoever made it.
fn refuse_taken_interfaces(before: &[Cached], planned: &[Planned]) -> Result<(), Error> {
    for one in planned {
        let is_taken = |cached: &&Cached| {
            cached.parameters.ifname == one.parameters.ifname && cached.network != one.network.name
        };
        if let Some(other) = before.iter().find(is_taken) {
            return Err(Error::InterfaceTaken {
                network: one.network.name.clone(),
                container: one.parameters.container_id.clone(),
                ifname: one.parameters.ifname.clone(),
                other: other.network.clone(),
            });
        }
    }
    Ok(())
}

/// Detaches a container from every network that the cache knows it to be on, the
/// last interface first, by the configurations of the time of ADD. When the
/// cache knows none, or not any more what they were, it goes by what is `planned` today.
///
/// Goes on when a network fails; that one stays in the cache.
///
/// # Errors
/// The first network that failed and why, with the others in the details; or
/// that of `planned`.
pub fn detach<E: From<Error>>(
    runtime: &Runtime,
    container: &Container,
    planned: impl FnOnce() -> Result<Vec<Planned>, E>,
) -> Result<Vec<Attached>, E> {
    let _alone = lock_if_possible(runtime, container)?;
    let mut known = known(runtime, container)?;
    if known.is_empty() {
        known.extend(planned()?.into_iter().map(Known::from));
    } else if known.iter().any(|known| known.network.is_err()) {
        fill_in(&mut known, planned()?);
    }
    let mut failed = None;
    let mut detached = Vec::new();
    for one in known.into_iter().rev() {
        let deleted = one.run(runtime, |network| runtime.del(network, &one.parameters));
        match (deleted, &mut failed) {
            (Ok(()), _) => detached.push(Attached::from(one)),
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(Error::Plugins { failure, .. })) => {
                add_detail(failure, &error.to_string());
            }
            (Err(_), Some(_)) => {}
        }
    }
    detached.reverse();
    failed.map_or(Ok(detached), |error| Err(error.into()))
}

/// Detaching and checking must not fail for want of a lock: the disk may be full, or
/// read-only.
fn lock_if_possible(
    runtime: &Runtime,
    container: &Container,
) -> Result<Option<ContainerLock>, Error> {
    match runtime.cache.lock_container(&container.id) {
        Err(cni::Error::Cache { .. }) => Ok(None),
        alone => Ok(alone.map(Some)?),
    }
}

/// What the cache does not say any more of attachments the task may.
fn fill_in(known: &mut [Known], planned: Vec<Planned>) {
    for one in planned {
        let is_it = |known: &&mut Known| {
            known.network.is_err() && one.is(&known.name, &known.parameters.ifname)
        };
        if let Some(known) = known.iter_mut().find(is_it) {
            *known = Known::from(one);
        }
    }
}

/// Checks that a container is on every network that is `planned`, and that every
/// one that the cache knows it to be on is as ADD left it.
///
/// # Errors
/// The first network that is not as it should be, or that the container is not
/// on.
pub fn check(
    runtime: &Runtime,
    container: &Container,
    planned: &[Planned],
) -> Result<Vec<Attached>, Error> {
    let _alone = lock_if_possible(runtime, container)?;
    let known = known(runtime, container)?;
    for one in planned {
        if !known.iter().any(|k| one.is(&k.name, &k.parameters.ifname)) {
            let (name, ifname) = (&one.network.name, &one.parameters.ifname);
            let error = cni::Error::NotAttached {
                container: container.id.clone(),
                ifname: ifname.clone(),
                cache: runtime.cache.file(name, &container.id, ifname),
            };
            return Err(Error::plugins(name, &one.parameters, error.into()));
        }
    }
    if known.is_empty() {
        return Err(Error::NotAttached {
            container: container.id.clone(),
            cache: runtime.cache.directory().to_owned(),
        });
    }
    for one in &known {
        one.run(runtime, |network| runtime.check(network, &one.parameters))?;
    }
    Ok(known.into_iter().map(Attached::from).collect())
}

/// What the cache knows of a container, in the order of its interfaces.
fn known(runtime: &Runtime, container: &Container) -> Result<Vec<Known>, Error> {
    let mut cached = runtime.cache.attachments(Some(&container.id))?;
    // eth10 comes after eth9.
    cached.sort_by_cached_key(|cached| {
        let ifname = &cached.parameters.ifname;
        (ifname.len(), ifname.clone())
    });
    let known = cached.into_iter().map(|cached| {
        let mut known = Known::from(cached);
        if container.netns.is_some() {
            known.parameters.netns.clone_from(&container.netns);
        }
        known
    });
    Ok(known.collect())
}

fn add_detail(failure: &mut Failure, detail: &str) {
    if !failure.details.is_empty() {
        failure.details.push_str("; ");
    }
    failure.details.push_str(detail);
}

impl Planned {
    fn is(&self, network: &str, ifname: &str) -> bool {
        self.network.name == network && self.parameters.ifname == ifname
    }
}

impl Known {
    fn run(
        &self,
        runtime: &Runtime,
        what: impl FnOnce(&Network) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        let done = match &self.network {
            Ok(network) => what(network),
            Err(error) => {
                let Parameters {
                    container_id,
                    ifname,
                    ..
                } = &self.parameters;
                let file = runtime.cache.file(&self.name, container_id, ifname);
                let error = format!(
                    "what was noted when it was attached, {}, cannot be read: {error}; give the task's document",
                    file.display()
                );
                Err(Failure::new(cni::code::DECODING, error))
            }
        };
        done.map_err(|failure| Error::plugins(&self.name, &self.parameters, failure))
    }
}

impl From<Cached> for Known {
    fn from(cached: Cached) -> Self {
        Known {
            network: cached.network(),
            name: cached.network,
            parameters: cached.parameters,
            result: cached.result,
        }
    }
}

impl From<Planned> for Known {
    fn from(planned: Planned) -> Self {
        Known {
            name: planned.network.name.clone(),
            network: Ok(planned.network),
            parameters: planned.parameters,
            result: None,
        }
    }
}

impl From<Known> for Attached {
    fn from(known: Known) -> Self {
        Attached {
            network: known.name,
            ifname: known.parameters.ifname,
            result: known.result,
        }
    }
}
