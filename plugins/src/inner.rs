//! The plugin that does the attaching, for plugins that change what it made: the one
//! before in the chain, whose result is `prevResult`, or the one in `delegate`, since
//! Mesos runs one plugin a network and no chains.

use cni::{Attachment, Call, Config, Failure, Request, delegate, fold};
use serde_json::Value;

use crate::{Error, Result};

const KEY: &str = "delegate";
/// What is said in the outer configuration, mostly by the runtime, and means the whole
/// network.
const PASSED_ON: [&str; 6] = [
    "args",
    "dns",
    "runtimeConfig",
    "prevResult",
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
];

/// The inner plugin.
pub(crate) struct Inner<'a> {
    call: Call<'a>,
    delegate: Option<Request>,
}

impl<'a> Inner<'a> {
    /// Finds it in the configuration.
    ///
    /// # Errors
    /// [`Error::BadKey`] for a `delegate` that is no configuration.
    pub(crate) fn of(call: &Call<'a>) -> Result<Self> {
        let delegate = match call.request.config.get(KEY) {
            Some(value) => Some(request(call.request, value)?),
            None => None,
        };
        Ok(Inner {
            call: *call,
            delegate,
        })
    }

    /// Has it attach, if it has not: in a chain it has been called before.
    ///
    /// # Errors
    /// Its own failure; [`Error::NothingInside`] when there is none.
    pub(crate) fn add(&self) -> Result<Attachment> {
        match &self.delegate {
            Some(request) => Ok(delegate::add(&self.call_of(request), name(request))?),
            None => self.prev_result()?.ok_or(Error::NothingInside),
        }
    }

    /// Takes its ADD back; a chain's runtime does that by itself.
    ///
    /// # Errors
    /// Its own failure.
    pub(crate) fn undo(&self) -> std::result::Result<(), Failure> {
        match &self.delegate {
            Some(request) => delegate::undo(&self.call_of(request), name(request)),
            None => Ok(()),
        }
    }

    /// Has it do what the runtime asks for: DEL, CHECK, GC or STATUS.
    ///
    /// # Errors
    /// Its own failure.
    pub(crate) fn forward(&self) -> std::result::Result<(), Failure> {
        match &self.delegate {
            Some(request) => delegate::forward(&self.call_of(request), name(request)),
            None => Ok(()),
        }
    }

    /// The result of the plugin before, or of ADD for the verbs that follow.
    ///
    /// # Errors
    /// It is there and no result.
    pub(crate) fn prev_result(&self) -> Result<Option<Attachment>> {
        Ok(self.call.request.config.prev_result()?)
    }

    fn call_of<'b>(&self, request: &'b Request) -> Call<'b>
    where
        'a: 'b,
    {
        Call {
            request,
            plugins: self.call.plugins,
        }
    }
}

fn name(request: &Request) -> &str {
    &request.config.plugin_type
}

/// The inner plugin's configuration: its own keys, in the network and the version of
/// the outer one, with what the runtime added there.
fn request(outer: &Request, value: &Value) -> Result<Request> {
    let bad = || Error::BadKey {
        key: KEY,
        value: value.to_string(),
        right: "an interface plugin's configuration: {\"type\": \"bridge\", …}".into(),
    };
    let mut object = value.as_object().ok_or_else(bad)?.clone();
    object.retain(|key, _| {
        !["name", "cniVersion"]
            .iter()
            .any(|own| key.eq_ignore_ascii_case(own))
    });
    object.insert("name".into(), outer.config.name.clone().into());
    object.insert("cniVersion".into(), outer.config.version.as_str().into());
    for key in PASSED_ON {
        if let Some(value) = outer.config.get(key)
            && fold::get(&object, key).is_none()
        {
            object.insert(key.into(), value.clone());
        }
    }
    let config = Config::from_object(object)?;
    if config.plugin_type.is_empty() {
        return Err(bad());
    }
    Ok(Request {
        config,
        ..outer.clone()
    })
}

#[cfg(test)]
mod tests {
    use cni::{Command, Environment};
    use serde_json::json;

    use super::*;

    fn outer(extra: Value) -> Request {
        let mut config = json!({"cniVersion": "0.2.0", "name": "n", "type": "default-route"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let env = Environment::from_pairs([("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0")]);
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        Request::new(Command::Del, &env, config).unwrap()
    }

    #[test]
    fn the_inner_configuration_is_of_the_same_network() {
        let outer = outer(json!({
            "args": {"cni": {"ips": ["10.0.0.2"]}},
            "dns": {"nameservers": ["10.0.0.1"]},
            "delegate": {"type": "bridge", "Name": "other", "cniversion": "1.0.0", "mtu": 1400},
        }));
        let inner = request(&outer, outer.config.get("delegate").unwrap()).unwrap();
        assert_eq!(
            (inner.config.name.as_str(), inner.config.version.as_str()),
            ("n", "0.2.0")
        );
        assert_eq!(name(&inner), "bridge");
        assert_eq!(inner.config.get("args"), outer.config.get("args"));
        assert_eq!(inner.config.get("mtu"), Some(&json!(1400)));
        assert_eq!(inner.config.dns.nameservers, ["10.0.0.1"]);
    }

    #[test]
    fn what_is_no_plugin() {
        for value in [json!("bridge"), json!({}), json!({"type": ""})] {
            let error = request(&outer(json!({})), &value).unwrap_err().to_string();
            assert!(
                error.contains("\"delegate\"") && error.contains("bridge"),
                "{error}"
            );
        }
    }
}
