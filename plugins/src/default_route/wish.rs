//! What is wished of a network's default route: by the network's configuration, and
//! by the task, which may put its wish where its runtime has room for it.

use cni::{Config, fold};
use serde_json::{Map, Value};

use super::order::{DEFAULT_PRIORITY, PRIORITIES};
use crate::{Error, Result};

const NETWORK: &str = "defaultRoute";
const CAPABILITY: &str = "runtimeConfig.defaultRoute";
const ARGS: &str = "args.cni.defaultRoute";
const LABEL: &str = "label default-route";
const RIGHT: &str =
    "true, false, {\"priority\": 0 to 200}, or one of these a family: {\"ipv4\": …, \"ipv6\": …}";

/// What is wished of one family's default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// There is to be none.
    None,
    /// There is to be one, before all that do not say so.
    First {
        priority: u32,
        /// Whether this very family was named; else one in the other family will do.
        is_for_family: bool,
    },
    /// If there is one, it has this priority.
    Priority(u32),
}

impl Wish {
    /// As a task says it, of both families at once.
    pub(crate) const FIRST: Wish = Wish::First {
        priority: *PRIORITIES.start(),
        is_for_family: false,
    };

    /// Whether there must be a route.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Wish::First { .. })
    }

    /// The priority, unless there is to be no route.
    pub(crate) fn priority(self) -> Option<u32> {
        match self {
            Wish::None => None,
            Wish::First { priority, .. } | Wish::Priority(priority) => Some(priority),
        }
    }

    /// As an operator says it: behind a task, which has the first priority for itself.
    fn of_network(mut self) -> Self {
        if let Wish::First { priority, .. } | Wish::Priority(priority) = &mut self {
            *priority = (*priority).max(PRIORITIES.start() + 1);
        }
        self
    }

    /// As it is when the family that it is of was named.
    fn of_family(mut self) -> Self {
        if let Wish::First { is_for_family, .. } = &mut self {
            *is_for_family = true;
        }
        self
    }
}

/// What is wished, for each family; nothing where nobody said anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) ipv4: Option<Wish>,
    pub(crate) ipv6: Option<Wish>,
}

impl Wishes {
    /// The wishes of a configuration, the task's before the network's. But what the
    /// operator says never to offer is not to be had by a task.
    ///
    /// # Errors
    /// [`Error::BadKey`]; [`Error::NoDefaultRouteHere`] when a task wants what the
    /// network has in no family.
    pub(crate) fn read(config: &Config) -> Result<Self> {
        let network = match config.get(NETWORK) {
            Some(value) => parse(value, NETWORK)?,
            None => Wishes::default(),
        };
        let network = Wishes {
            ipv4: network.ipv4.map(Wish::of_network),
            ipv6: network.ipv6.map(Wish::of_network),
        };
        let Some((key, task)) = of_task(config)? else {
            return Ok(network);
        };
        let wants = |wish: Option<Wish>| wish.is_some_and(|wish| wish != Wish::None);
        let joined = Wishes {
            ipv4: join(network.ipv4, task.ipv4),
            ipv6: join(network.ipv6, task.ipv6),
        };
        let wanted = wants(task.ipv4) || wants(task.ipv6);
        let granted =
            (wants(task.ipv4) && wants(joined.ipv4)) || (wants(task.ipv6) && wants(joined.ipv6));
        match wanted && !granted {
            true => Err(Error::NoDefaultRouteHere(key)),
            false => Ok(joined),
        }
    }

    /// Whether there is what was wished for, `has` being asked of each family.
    ///
    /// # Errors
    /// [`Error::NoWayOut`], [`Error::NoWayOutBy`].
    pub(crate) fn are_met(&self, has: impl Fn(bool) -> bool) -> Result<()> {
        let is_somewhere = has(true) || has(false);
        for (ipv4, family) in [(true, "ipv4"), (false, "ipv6")] {
            match self.of(ipv4) {
                Some(Wish::First {
                    is_for_family: true,
                    ..
                }) if !has(ipv4) => {
                    return Err(Error::NoWayOutBy(family));
                }
                Some(Wish::First { .. }) if !is_somewhere => return Err(Error::NoWayOut),
                _ => {}
            }
        }
        Ok(())
    }

    /// The wish for a family.
    pub(crate) fn of(&self, ipv4: bool) -> Option<Wish> {
        if ipv4 { self.ipv4 } else { self.ipv6 }
    }

    /// The priority in a family, said or not; none if there is to be no route.
    pub(crate) fn priority(&self, ipv4: bool) -> Option<u32> {
        self.of(ipv4).map_or(Some(DEFAULT_PRIORITY), Wish::priority)
    }
}

fn join(network: Option<Wish>, task: Option<Wish>) -> Option<Wish> {
    match network {
        Some(Wish::None) => network,
        _ => task.or(network),
    }
}

/// What the task says, and where: the most specific place counts.
fn of_task(config: &Config) -> Result<Option<(&'static str, Wishes)>> {
    let inner = |value: Option<&'_ Value>, key: &str| -> Option<Value> {
        fold::get(value?.as_object()?, key).cloned()
    };
    let args = config.get("args");
    let capability = inner(config.get("runtimeConfig"), NETWORK);
    let places = [
        (CAPABILITY, capability),
        (
            ARGS,
            args.and_then(|args| inner(fold::get(args.as_object()?, "cni"), NETWORK)),
        ),
        (LABEL, args.and_then(mesos_label).map(Value::from)),
    ];
    let found = places
        .into_iter()
        .find_map(|(key, value)| Some((key, value?)));
    found
        .map(|(key, value)| Ok((key, parse(&value, key)?)))
        .transpose()
}

/// The label `default-route` of Mesos' `NetworkInfo`.
fn mesos_label(args: &Value) -> Option<String> {
    let step = |value: &Value, key: &str| fold::get(value.as_object()?, key).cloned();
    let info = step(&step(args, "org.apache.mesos")?, "network_info")?;
    let labels = step(&step(&info, "labels")?, "labels")?;
    let mut labels = labels.as_array()?.iter();
    let label =
        labels.find(|label| step(label, "key").is_some_and(|key| key == "default-route"))?;
    // A label without a value is there, and that is all it can say.
    let value = step(label, "value");
    Some(
        value
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_else(|| "true".into()),
    )
}

fn parse(value: &Value, key: &'static str) -> Result<Wishes> {
    let bad = || Error::BadKey {
        key,
        value: value.to_string(),
        right: RIGHT.into(),
    };
    // Labels and the like are text, whatever they mean.
    let decoded = match value {
        Value::String(text) => serde_json::from_str(text.trim()).map_err(|_| bad())?,
        other => other.clone(),
    };
    if let Value::Object(object) = &decoded {
        return of_object(object).ok_or_else(bad);
    }
    let wish = wish(&decoded).ok_or_else(bad)?;
    Ok(Wishes {
        ipv4: Some(wish),
        ipv6: Some(wish),
    })
}

/// An object may name a priority for both families, and exceptions.
fn of_object(object: &Map<String, Value>) -> Option<Wishes> {
    let known = ["priority", "ipv4", "ipv6"];
    let is_known = |key: &String| known.iter().any(|known| key.eq_ignore_ascii_case(known));
    if object.is_empty() || !object.keys().all(is_known) {
        return None;
    }
    let of = |key: &str| match fold::get(object, key) {
        Some(value) => wish(value).map(Some),
        None => Some(None),
    };
    let both = of("priority")?.filter(|wish| matches!(wish, Wish::Priority(_)));
    if both.is_none() && fold::get(object, "priority").is_some() {
        return None;
    }
    Some(Wishes {
        ipv4: of("ipv4")?.map(Wish::of_family).or(both),
        ipv6: of("ipv6")?.map(Wish::of_family).or(both),
    })
}

fn wish(value: &Value) -> Option<Wish> {
    match value {
        Value::Bool(false) => Some(Wish::None),
        Value::Bool(true) => Some(Wish::FIRST),
        Value::Number(number) => {
            let priority = u32::try_from(number.as_u64()?).ok()?;
            PRIORITIES
                .contains(&priority)
                .then_some(Wish::Priority(priority))
        }
        Value::Object(object) if object.len() == 1 => {
            let priority = fold::get(object, "priority").filter(|value| value.is_number())?;
            wish(priority)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(extra: Value) -> Result<Wishes> {
        let mut config = json!({"name": "n", "type": "bridge"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Wishes::read(&Config::parse(config.to_string().as_bytes()).unwrap())
    }

    fn both(wish: Wish) -> Wishes {
        Wishes {
            ipv4: Some(wish),
            ipv6: Some(wish),
        }
    }

    fn first(priority: u32, is_for_family: bool) -> Wish {
        Wish::First {
            priority,
            is_for_family,
        }
    }

    fn label(value: &str) -> Value {
        json!({"org.apache.mesos": {"network_info": {"labels": {"labels": [
            {"key": "zone", "value": "a"}, {"key": "default-route", "value": value},
        ]}}}})
    }

    #[test]
    fn every_form() {
        for (value, expected) in [
            (json!(true), both(first(1, false))),
            (json!(false), both(Wish::None)),
            (json!({"priority": 7}), both(Wish::Priority(7))),
            (json!({"Priority": 0}), both(Wish::Priority(1))),
            (json!("true"), both(first(1, false))),
            (json!("7"), both(Wish::Priority(7))),
            (json!("{\"priority\": 7}"), both(Wish::Priority(7))),
            (
                json!({"ipv4": {"priority": 3}}),
                Wishes {
                    ipv4: Some(Wish::Priority(3)),
                    ipv6: None,
                },
            ),
            (
                json!({"IPv4": true, "ipv6": false}),
                Wishes {
                    ipv4: Some(first(1, true)),
                    ipv6: Some(Wish::None),
                },
            ),
            (
                json!({"priority": 9, "ipv6": false}),
                Wishes {
                    ipv4: Some(Wish::Priority(9)),
                    ipv6: Some(Wish::None),
                },
            ),
        ] {
            assert_eq!(
                read(json!({"defaultroute": value})).unwrap(),
                expected,
                "{value}"
            );
        }
        assert_eq!(read(json!({})).unwrap(), Wishes::default());
        assert_eq!(
            read(json!({"defaultRoute": null})).unwrap(),
            Wishes::default()
        );
    }

    #[test]
    fn what_cannot_be() {
        for value in [
            json!(-1),
            json!(201),
            json!({"priority": 201}),
            json!({"priority": true}),
            json!({}),
            json!([]),
            json!("yes"),
            json!({"ipv4": "true"}),
            json!({"ipv5": true}),
            json!({"priority": 1.5}),
        ] {
            let error = read(json!({"defaultRoute": value}))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("\"defaultRoute\"") && error.contains("0 to 200"),
                "{error}"
            );
        }
        let error = read(json!({"args": label("maybe")}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("label default-route") && error.contains("maybe"),
            "{error}"
        );
    }

    #[test]
    fn the_most_specific_wish_counts() {
        let mut config = json!({"defaultRoute": {"priority": 1}});
        config["args"] = label("2");
        assert_eq!(read(config.clone()).unwrap(), both(Wish::Priority(2)));
        config["args"]["cni"] = json!({"defaultRoute": {"priority": 3}});
        assert_eq!(read(config.clone()).unwrap(), both(Wish::Priority(3)));
        config["runtimeConfig"] = json!({"defaultRoute": {"ipv6": {"priority": 4}}});
        let joined = Wishes {
            ipv4: Some(Wish::Priority(1)),
            ipv6: Some(Wish::Priority(4)),
        };
        assert_eq!(read(config).unwrap(), joined);
        let bare = json!({"org.apache.mesos": {"network_info": {"labels": {"labels": [{"key": "default-route"}]}}}});
        assert_eq!(read(json!({"args": bare})).unwrap(), both(Wish::FIRST));
    }

    #[test]
    fn what_a_network_never_offers_no_task_gets() {
        let error = read(json!({"defaultRoute": false, "args": label("true")})).unwrap_err();
        assert!(error.to_string().contains("label default-route"), "{error}");
        let half = json!({"defaultRoute": {"ipv4": false}, "args": label("true")});
        let expected = Wishes {
            ipv4: Some(Wish::None),
            ipv6: Some(Wish::FIRST),
        };
        assert_eq!(read(half).unwrap(), expected);
        let none = json!({"defaultRoute": {"priority": 4}, "args": label("false")});
        assert_eq!(read(none).unwrap(), both(Wish::None));
    }

    #[test]
    fn a_task_comes_before_any_operator() {
        let task = read(json!({"args": label("true")})).unwrap();
        for operator in [
            json!(true),
            json!(0),
            json!({"ipv4": {"priority": 0}, "ipv6": true}),
        ] {
            let operator = read(json!({"defaultRoute": operator})).unwrap();
            for ipv4 in [true, false] {
                assert!(
                    task.priority(ipv4) < operator.priority(ipv4),
                    "{operator:?}"
                );
            }
        }
    }

    #[test]
    fn a_family_that_is_named_must_have_one() {
        let of = |wish: Value| read(json!({"defaultRoute": wish})).unwrap();
        for (wish, met) in [
            // With routes for: IPv4, IPv6, both, none.
            (json!(true), [true, true, true, false]),
            (json!({"ipv6": true}), [false, true, true, false]),
            (
                json!({"ipv4": true, "ipv6": false}),
                [true, false, true, false],
            ),
            (
                json!({"ipv4": true, "ipv6": true}),
                [false, false, true, false],
            ),
            (json!({"priority": 3}), [true; 4]),
            (json!(false), [true; 4]),
        ] {
            let wishes = of(wish.clone());
            let cases = [[true, false], [false, true], [true, true], [false, false]];
            let found =
                cases.map(|[v4, v6]| wishes.are_met(|ipv4| if ipv4 { v4 } else { v6 }).is_ok());
            assert_eq!(found, met, "{wish}");
        }
    }
}
