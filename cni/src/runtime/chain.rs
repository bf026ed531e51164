//! The operations on a network (specification, section 3).

use serde_json::{Map, Value};

use super::run::{Run, Step, named};
use super::{Cached, Network, Parameters, PluginConfig, Runtime};
use crate::delegate::{self, Found};
use crate::{Attachment, Command, Error, Failure, Version, name};

impl Runtime {
    /// Attaches a container to a network, or leaves it as it was.
    ///
    /// When a plugin fails, it and those before it are told to DEL in reverse
    /// order. Not so if the container was attached before this call: then the
    /// plugins have taken back what they did just now, and what was is kept.
    ///
    /// # Errors
    /// The failure of the plugin that failed, with its name, and in the details
    /// what of it could not be taken back.
    pub fn add(&self, network: &Network, parameters: &Parameters) -> Result<Attachment, Failure> {
        check_names(network, parameters)?;
        let steps = self.find_all(network)?;
        let run = Run {
            runtime: self,
            network,
            version: self.agree(network, &steps)?,
            parameters,
        };
        let _no_gc = self.cache.share()?;
        let before = match self.cached(network, parameters) {
            Err(error @ Error::CacheOfAnother { .. }) => return Err(error.into()),
            before => before.ok().flatten(),
        };
        let is_new = before.is_none_or(|cached| cached.result.is_none());
        let mut record = run.record();
        if is_new {
            self.cache.write(&record)?;
        }
        let mut result = None;
        for (index, step) in steps.iter().enumerate() {
            match run.add_one(step, result.as_ref()) {
                Ok(attachment) => result = Some(attachment),
                Err(failure) if is_new => {
                    return Err(run.take_back(&steps[..=index], result.as_ref(), failure));
                }
                Err(failure) => return Err(failure),
            }
        }
        let attachment = result.unwrap_or_default();
        let kept = attachment.to_json(run.version).and_then(|value| {
            record.result = Some(value);
            self.cache.write(&record)
        });
        match kept {
            Ok(()) => Ok(attachment),
            Err(error) if is_new => Err(run.take_back(&steps, Some(&attachment), error.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Detaches a container from a network. Every plugin of the chain is called,
    /// in reverse order, even after one has failed; then the attachment stays in
    /// the cache, so that DEL can be called again.
    ///
    /// # Errors
    /// The first failure.
    pub fn del(&self, network: &Network, parameters: &Parameters) -> Result<(), Failure> {
        check_names(network, parameters)?;
        // Cleaning up must not fail for want of a lock.
        let _no_gc = self.cache.share();
        self.del_without_lock(network, parameters)
    }

    pub(super) fn del_without_lock(
        &self,
        network: &Network,
        parameters: &Parameters,
    ) -> Result<(), Failure> {
        let cached = self.cached(network, parameters);
        let is_anothers = matches!(cached, Err(Error::CacheOfAnother { .. }));
        let cached = cached.ok().flatten();
        let run = self.continued(network, parameters, cached.as_ref());
        let result = cached.and_then(|cached| cached.attachment(run.version).ok().flatten());
        let mut first = Ok(());
        for plugin in network.plugins.iter().rev() {
            first = first.and(run.del_one(plugin, result.as_ref()));
        }
        first?;
        if !is_anothers {
            self.cache.remove(&network.name, parameters)?;
        }
        Ok(())
    }

    /// Has every plugin verify an attachment; the first that fails ends it.
    ///
    /// # Errors
    /// The failure, the version is older than 0.4.0 and has no CHECK, or the
    /// container is not attached. None when the network has `disableCheck`.
    pub fn check(&self, network: &Network, parameters: &Parameters) -> Result<(), Failure> {
        check_names(network, parameters)?;
        let cached = self.cached(network, parameters)?;
        let run = self.continued(network, parameters, cached.as_ref());
        run.must_have(Command::Check)?;
        if network.disable_check {
            return Ok(());
        }
        let attachment = cached.and_then(|cached| cached.attachment(run.version).transpose());
        let attachment = attachment.unwrap_or_else(|| Err(self.not_attached(network, parameters)));
        let attachment = attachment?;
        for plugin in &network.plugins {
            run.call(
                plugin,
                &self.find(plugin)?,
                Command::Check,
                Some(&attachment),
            )?;
        }
        Ok(())
    }

    /// Asks every plugin whether ADD can be served. Before 1.1.0 there was no
    /// such question, and the answer is yes.
    ///
    /// # Errors
    /// The first failure, with the code that the plugin gave.
    pub fn status(&self, network: &Network) -> Result<(), Failure> {
        let steps = self.find_all(network)?;
        let run = Run {
            runtime: self,
            network,
            version: self.agree(network, &steps)?,
            parameters: &Parameters::default(),
        };
        if run.version < Command::Status.since() {
            return Ok(());
        }
        for step in &steps {
            run.call(step.plugin, &step.found, Command::Status, None)?;
        }
        Ok(())
    }

    /// Has every plugin remove what belongs to no attachment of `request`, the
    /// keys of GC. Every plugin is called; a failure does not end it.
    pub(super) fn gc_plugins(
        &self,
        network: &Network,
        request: &Map<String, Value>,
    ) -> Vec<Failure> {
        let run = Run {
            runtime: self,
            network,
            version: self.continued_version(network, None),
            parameters: &Parameters::default(),
        };
        if run.version < Command::Gc.since() {
            return Vec::new();
        }
        let gc = |plugin: &PluginConfig| {
            let keys = request.iter();
            let plugin = keys.fold(plugin.clone(), |p, (k, v)| p.with(k, v.clone()));
            let found = self.find(&plugin)?;
            run.call(&plugin, &found, Command::Gc, None).map(drop)
        };
        network
            .plugins
            .iter()
            .filter_map(|plugin| gc(plugin).err())
            .collect()
    }

    pub(super) fn find(&self, plugin: &PluginConfig) -> Result<Found, Error> {
        delegate::find_in(&self.path, &plugin.plugin_type, self.plugins)
    }

    /// All of them before the first is called: nothing is begun that cannot end.
    fn find_all<'a>(&self, network: &'a Network) -> Result<Vec<Step<'a>>, Failure> {
        let find = |plugin: &'a PluginConfig| {
            let found = self.find(plugin).map_err(Failure::from);
            let found = found.map_err(|failure| named(failure, plugin))?;
            Ok(Step { plugin, found })
        };
        network.plugins.iter().map(find).collect()
    }

    fn cached(&self, network: &Network, parameters: &Parameters) -> Result<Option<Cached>, Error> {
        let (id, ifname) = (&parameters.container_id, &parameters.ifname);
        self.cache.read(&network.name, id, ifname)
    }

    fn continued<'a>(
        &'a self,
        network: &'a Network,
        parameters: &'a Parameters,
        cached: Option<&Cached>,
    ) -> Run<'a> {
        Run {
            runtime: self,
            network,
            version: self.continued_version(network, cached),
            parameters,
        }
    }

    /// The version of ADD, as far as that is known and still allowed.
    fn continued_version(&self, network: &Network, cached: Option<&Cached>) -> Version {
        let result = cached.and_then(|cached| cached.result.as_ref());
        let version = result.and_then(|result| result["cniVersion"].as_str()?.parse().ok());
        let version = version.filter(|version| network.versions.contains(version));
        version.unwrap_or_else(|| network.version())
    }

    fn not_attached(&self, network: &Network, parameters: &Parameters) -> Error {
        let (container, ifname) = (&parameters.container_id, &parameters.ifname);
        Error::NotAttached {
            container: container.clone(),
            ifname: ifname.clone(),
            cache: self.cache.file(&network.name, container, ifname),
        }
    }
}

fn check_names(network: &Network, parameters: &Parameters) -> Result<(), Error> {
    let bad = |variable, value: &str, right| {
        let value = value.to_owned();
        Err(Error::BadVariable {
            variable,
            value,
            right,
        })
    };
    if !name::is_identifier(&network.name) {
        return Err(Error::BadValue {
            key: "name",
            value: network.name.clone(),
            right: name::IDENTIFIER,
        });
    }
    if !name::is_identifier(&parameters.container_id) {
        return bad(
            "CNI_CONTAINERID",
            &parameters.container_id,
            name::IDENTIFIER,
        );
    }
    if !name::is_interface(&parameters.ifname) {
        return bad("CNI_IFNAME", &parameters.ifname, name::INTERFACE);
    }
    Ok(())
}
