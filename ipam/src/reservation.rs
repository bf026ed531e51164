//! Addresses that the configuration keeps for containers by name.
//!
//! ```json
//! "reservations": {"c3f1": "10.0.0.9", "default/web-0": ["10.0.0.10", "fd00::10"]}
//! ```
//!
//! A name is a container's id, the value of its label `task`, or the Kubernetes
//! namespace and name of its pod. As every host may have the same configuration,
//! addresses of other hosts are passed over.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni::Request;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// The names and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations(Vec<(String, IpAddr)>);

impl FromIterator<(String, IpAddr)> for Reservations {
    fn from_iter<I: IntoIterator<Item = (String, IpAddr)>>(reservations: I) -> Self {
        Reservations(reservations.into_iter().collect())
    }
}

impl Reservations {
    /// Every reserved address.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().map(|(_, address)| *address)
    }

    /// The addresses that are kept for one of the names.
    pub fn of<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = IpAddr> + 'a {
        let own = self.0.iter().filter(|(name, _)| names.contains(name));
        own.map(|(_, address)| *address)
    }

    /// The name that an address is kept for, when it is none of these.
    pub fn of_another(&self, address: IpAddr, names: &[String]) -> Option<&str> {
        let mut kept = self.0.iter().filter(|(_, kept)| *kept == address);
        let first = kept.clone().next()?;
        let own = kept.any(|(name, _)| names.contains(name));
        (!own).then_some(&first.0)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    args: Args,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    labels: Labels,
    cni: LabelKeys,
    #[serde(rename = "org.apache.mesos")]
    mesos: Mesos,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mesos {
    network_info: NetworkInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkInfo {
    labels: LabelKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LabelKeys {
    labels: Labels,
}

/// Labels as runtimes write them: Mesos and the conventions of CNI have a list, others an
/// object.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "neither a list of {\"key\": ..., \"value\": ...} nor an object"
)]
enum Labels {
    List(Vec<Label>),
    Map(BTreeMap<String, Value>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Label {
    key: String,
    value: String,
}

impl Default for Labels {
    fn default() -> Self {
        Labels::List(Vec::new())
    }
}

impl Labels {
    /// The values of the labels that name a task.
    fn tasks(self) -> Vec<String> {
        let tasks: Vec<String> = match self {
            Labels::List(labels) => {
                let tasks = labels.into_iter().filter(|label| label.key == TASK);
                tasks.map(|label| label.value).collect()
            }
            Labels::Map(labels) => {
                let tasks = labels.into_iter().filter(|(key, _)| key == TASK);
                tasks
                    .filter_map(|(_, value)| value.as_str().map(str::to_owned))
                    .collect()
            }
        };
        tasks.into_iter().filter(|task| !task.is_empty()).collect()
    }
}

/// The label that names a task.
const TASK: &str = "task";

/// The names by which a reservation may know the container of a request.
///
/// # Errors
/// Labels of the wrong shape.
pub fn names(request: &Request) -> Result<Vec<String>, Error> {
    let Args { labels, cni, mesos } = request.config.read::<Keys>()?.args;
    let labels = [labels, cni.labels, mesos.network_info.labels.labels];
    let tasks = labels.into_iter().flat_map(Labels::tasks);
    let pod = request
        .args
        .get("K8S_POD_NAMESPACE")
        .zip(request.args.get("K8S_POD_NAME"))
        .map(|(namespace, name)| format!("{namespace}/{name}"));
    let names = std::iter::once(request.container_id.clone())
        .chain(tasks)
        .chain(pod);
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use cni::{Command, Config, Environment};
    use serde_json::json;

    use super::*;

    fn names_of(args: &str, mut config: Value) -> Vec<String> {
        config["name"] = "net".into();
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let env = Environment::from_pairs([
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ]);
        names(&Request::new(Command::Del, &env, config).unwrap()).unwrap()
    }

    #[test]
    fn containers_have_names() {
        let labels = json!([{"key": "task", "value": "web"}, {"key": "x", "value": "y"}]);
        let mesos = json!({"network_info": {"labels": {"labels": labels}}});
        for (args, config, expected) in [
            ("", json!({}), &["c1"][..]),
            ("", json!({"args": {"labels": labels}}), &["c1", "web"]),
            (
                "",
                json!({"args": {"labels": {"task": "web", "x": 7}}}),
                &["c1", "web"],
            ),
            (
                "",
                json!({"args": {"cni": {"labels": {"task": 7}}}}),
                &["c1"],
            ),
            (
                "",
                json!({"args": {"cni": {"labels": labels}}}),
                &["c1", "web"],
            ),
            (
                "",
                json!({"args": {"org.apache.mesos": mesos}}),
                &["c1", "web"],
            ),
            (
                "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b",
                json!({}),
                &["c1", "a/b"],
            ),
            ("K8S_POD_NAME=b", json!({}), &["c1"]),
        ] {
            assert_eq!(names_of(args, config), expected);
        }
    }

    #[test]
    fn one_address_may_have_two_names() {
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        let kept: Reservations = [("a", 1), ("b", 1), ("b", 2)]
            .map(|(name, n)| (name.to_owned(), at(n)))
            .into_iter()
            .collect();
        let names = |name: &str| [name.to_owned()];
        assert_eq!(kept.of(&names("b")).collect::<Vec<_>>(), [at(1), at(2)]);
        assert_eq!(kept.of_another(at(1), &names("b")), None);
        assert_eq!(kept.of_another(at(1), &names("c")), Some("a"));
        assert_eq!(kept.of_another(at(3), &names("c")), None);
    }
}
