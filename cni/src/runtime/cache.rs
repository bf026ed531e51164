//! The results of ADD, kept for CHECK and DEL, in the place and the format of
//! libcni (`cacheAdd` in its `api.go`), so that any runtime that is built on it
//! can clean up after this one and the reverse.
//!
//! An attachment has the file `results/<network>-<container>-<interface>` under
//! the cache's directory. It is written before the first plugin is called,
//! without a result, and again after the last with it: whatever happens between,
//! DEL knows what may have to be removed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Network, Parameters};
use crate::{Attachment, Error, Version, fold, name};

const KIND: &str = "cniCacheV1";

/// The directory of cached results.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// What is known of an attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    /// The network's name.
    pub network: String,
    /// What the runtime said about the attachment.
    pub parameters: Parameters,
    /// The network's configuration at ADD, as it was written; `None` in the
    /// format from before 2019, which kept nothing but the result.
    pub config: Option<Vec<u8>>,
    /// The result of ADD; `None` while ADD has not succeeded.
    pub result: Option<Value>,
}

/// The file's contents.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stored {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    capability_args: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

impl Cache {
    /// Where runtimes keep their results unless told otherwise.
    pub const DEFAULT: &str = "/var/lib/cni";

    /// The cache in `directory`, which need not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Cache {
            directory: directory.into(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn results(&self) -> PathBuf {
        self.directory.join("results")
    }

    /// The file of an attachment.
    pub fn file(&self, network: &str, container: &str, ifname: &str) -> PathBuf {
        self.results()
            .join(format!("{network}-{container}-{ifname}"))
    }

    /// What is known of an attachment.
    ///
    /// # Errors
    /// [`Error::Cache`] or [`Error::InFile`] when its file is there and cannot be
    /// read or understood; [`Error::CacheOfAnother`] when it is another attachment's,
    /// as names with hyphens can be put together in several ways.
    pub fn read(
        &self,
        network: &str,
        container: &str,
        ifname: &str,
    ) -> Result<Option<Cached>, Error> {
        let file = self.file(network, container, ifname);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Cache { file, error }),
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(Error::NotJson)
            .map_err(|error| error.in_file(&file))?;
        match Cached::from_json(&value).map_err(|error| error.in_file(&file))? {
            Some(cached) if cached.is_of(network, container, ifname) => Ok(Some(cached)),
            Some(cached) => Err(Error::CacheOfAnother {
                file,
                network: cached.network,
                container: cached.parameters.container_id,
            }),
            None => Ok(Some(Cached::legacy(network, container, ifname, value))),
        }
    }

    /// The attachments of one container, or of all, ordered by the network's
    /// name. Files that are something else are passed over.
    ///
    /// Of one container's file that is torn (libcni does not write it in one piece, and
    /// a host can lose its power) nothing is known but the names that its own name has.
    ///
    /// # Errors
    /// [`Error::Cache`] when the directory is there and cannot be read.
    pub fn attachments(&self, container: Option<&str>) -> Result<Vec<Cached>, Error> {
        let results = self.results();
        let failed = |error| Error::Cache {
            file: results.clone(),
            error,
        };
        let entries = match fs::read_dir(&results) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_unstable();
        let part = container.map(|id| format!("-{id}-"));
        let read = |name: &std::ffi::OsString| {
            let named = part.as_ref().is_none_or(|part| {
                name.to_str()
                    .is_some_and(|name| name.contains(part.as_str()))
            });
            let bytes = named.then(|| fs::read(results.join(name)).ok()).flatten()?;
            let Ok(value) = serde_json::from_slice(&bytes) else {
                return Cached::torn(name.to_str()?, container?);
            };
            let cached = Cached::from_json(&value).ok().flatten()?;
            let of = |id| cached.parameters.container_id == id;
            container.is_none_or(of).then_some(cached)
        };
        Ok(names.iter().filter_map(read).collect())
    }

    /// When an attachment was noted last; none when it is not.
    pub fn noted(&self, cached: &Cached) -> Option<SystemTime> {
        let parameters = &cached.parameters;
        let file = self.file(
            &cached.network,
            &parameters.container_id,
            &parameters.ifname,
        );
        fs::metadata(file).and_then(|file| file.modified()).ok()
    }

    /// Keeps what is known of an attachment, in one piece: readers see the file
    /// of before or this one.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub fn write(&self, cached: &Cached) -> Result<(), Error> {
        let parameters = &cached.parameters;
        let file = self.file(
            &cached.network,
            &parameters.container_id,
            &parameters.ifname,
        );
        let stored = serde_json::to_vec(&Stored::of(cached)).unwrap_or_default();
        let written = self
            .make_directory()
            .and_then(|()| replace(&self.directory, &file, &stored));
        written.map_err(|error| Error::Cache { file, error })
    }

    /// Forgets an attachment.
    ///
    /// # Errors
    /// [`Error::Cache`]; not when it is not known.
    pub fn remove(&self, network: &str, parameters: &Parameters) -> Result<(), Error> {
        let file = self.file(network, &parameters.container_id, &parameters.ifname);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Cache { file, error })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn make_directory(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.results())
    }
}

/// Writes a new file in `beside` and moves it to `file`. It is not made where
/// the results are, as libcni takes every file there for one.
fn replace(beside: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = beside.join(format!(".result-{}-{count}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let moved = options
        .open(&new)
        .and_then(|mut open| open.write_all(bytes))
        .and_then(|()| fs::rename(&new, file));
    moved.inspect_err(|_| drop(fs::remove_file(&new)))
}

impl Cached {
    /// The network as it was configured at ADD.
    ///
    /// # Errors
    /// As [`Network::parse`]; [`Error::MissingKey`] when it was not kept.
    pub fn network(&self) -> Result<Network, Error> {
        let config = self.config.as_deref().ok_or(Error::MissingKey("config"))?;
        Network::parse(config)
    }

    /// The result of ADD, if it succeeded.
    ///
    /// # Errors
    /// [`Error::BadResult`].
    pub fn attachment(&self, default: Version) -> Result<Option<Attachment>, Error> {
        let read = |value| Attachment::from_json(value, default, "the cached result");
        self.result.as_ref().map(read).transpose()
    }

    /// `None` when it is not of this format.
    fn from_json(value: &Value) -> Result<Option<Self>, Error> {
        let is_object = value.as_object().ok_or(Error::MissingKey("kind"))?;
        if fold::get(is_object, "kind").and_then(Value::as_str) != Some(KIND) {
            return Ok(None);
        }
        let stored: Stored = fold::read(value)?;
        let config = STANDARD.decode(&stored.config);
        if stored.network_name.is_empty() || stored.if_name.is_empty() {
            return Err(Error::MissingKey("networkName"));
        }
        Ok(Some(Cached {
            network: stored.network_name,
            parameters: Parameters {
                container_id: stored.container_id,
                netns: Some(stored.netns)
                    .filter(|n| !n.is_empty())
                    .map(PathBuf::from),
                ifname: stored.if_name,
                args: stored.cni_args,
                capability_args: stored.capability_args,
            },
            config: config.ok().filter(|bytes| !bytes.is_empty()),
            result: stored.result,
        }))
    }

    fn is_of(&self, network: &str, container: &str, ifname: &str) -> bool {
        let Parameters {
            container_id,
            ifname: own,
            ..
        } = &self.parameters;
        self.network == network && container_id == container && own == ifname
    }

    fn legacy(network: &str, container: &str, ifname: &str, result: Value) -> Self {
        Cached {
            network: network.to_owned(),
            parameters: Parameters {
                container_id: container.to_owned(),
                ifname: ifname.to_owned(),
                ..Parameters::default()
            },
            config: None,
            result: Some(result),
        }
    }

    /// From the name of a file that cannot be read as JSON.
    fn torn(file: &str, container: &str) -> Option<Self> {
        let (network, ifname) = file.rsplit_once(&format!("-{container}-"))?;
        let is_one = name::is_identifier(network) && name::is_interface(ifname);
        is_one.then(|| Cached {
            result: None,
            ..Cached::legacy(network, container, ifname, Value::Null)
        })
    }
}

impl Stored {
    fn of(cached: &Cached) -> Self {
        let parameters = &cached.parameters;
        let netns = parameters.netns.as_deref().unwrap_or(Path::new(""));
        Stored {
            kind: KIND.to_owned(),
            container_id: parameters.container_id.clone(),
            config: STANDARD.encode(cached.config.as_deref().unwrap_or_default()),
            if_name: parameters.ifname.clone(),
            network_name: cached.network.clone(),
            netns: netns.to_string_lossy().into_owned(),
            cni_args: parameters.args.clone(),
            capability_args: parameters.capability_args.clone(),
            result: cached.result.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn cached() -> Cached {
        let capability_args = json!({"portMappings": [{"hostPort": 80}]});
        Cached {
            network: "back-end".into(),
            parameters: Parameters {
                container_id: "c1".into(),
                netns: Some("/run/netns/c1".into()),
                ifname: "eth0".into(),
                args: vec![("IP".into(), "10.0.0.2".into())],
                capability_args: capability_args.as_object().unwrap().clone(),
            },
            config: Some(br#"{"name":"back-end","type":"x"}"#.to_vec()),
            result: Some(json!({"cniVersion": "1.0.0"})),
        }
    }

    #[test]
    fn the_file_is_as_libcni_writes_it() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path().join("deep/cni"));
        cache.write(&cached()).unwrap();
        let file = dir.path().join("deep/cni/results/back-end-c1-eth0");
        let value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let expected = json!({
            "kind": "cniCacheV1",
            "containerId": "c1",
            "config": "eyJuYW1lIjoiYmFjay1lbmQiLCJ0eXBlIjoieCJ9",
            "ifName": "eth0",
            "networkName": "back-end",
            "netns": "/run/netns/c1",
            "cniArgs": [["IP", "10.0.0.2"]],
            "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
            "result": {"cniVersion": "1.0.0"},
        });
        assert_eq!(value, expected);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        let beside = fs::read_dir(dir.path().join("deep/cni")).unwrap().count();
        assert_eq!(beside, 1, "the temporary file is still there");
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        assert_eq!(cache.read("back-end", "c1", "eth0").unwrap(), None);
        assert_eq!(cache.attachments(None).unwrap(), []);
        cache.write(&cached()).unwrap();
        assert_eq!(
            cache.read("back-end", "c1", "eth0").unwrap(),
            Some(cached())
        );
        assert_eq!(cache.attachments(Some("c1")).unwrap(), [cached()]);
        // "end-c1" is a part of the file's name and not the container.
        assert_eq!(cache.attachments(Some("end-c1")).unwrap(), []);
        assert_eq!(cached().network().unwrap().plugins[0].plugin_type, "x");
        cache.remove("back-end", &cached().parameters).unwrap();
        cache.remove("back-end", &cached().parameters).unwrap();
        assert_eq!(cache.read("back-end", "c1", "eth0").unwrap(), None);
    }

    #[test]
    fn the_format_of_before_2019_is_a_bare_result() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        cache.make_directory().unwrap();
        let result =
            json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.2/24"}]});
        fs::write(cache.file("n", "c", "eth0"), result.to_string()).unwrap();
        let cached = cache.read("n", "c", "eth0").unwrap().unwrap();
        assert_eq!(cached.config, None);
        let attachment = cached.attachment(Version::V1_0_0).unwrap().unwrap();
        assert_eq!(attachment.ips[0].address.to_string(), "10.0.0.2/24");
        assert_eq!(cache.attachments(Some("c")).unwrap(), []);
    }

    #[test]
    fn a_torn_file_is_an_error_that_names_it() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        cache.make_directory().unwrap();
        fs::write(cache.file("n", "c", "eth0"), "{\"kind\":").unwrap();
        let error = cache.read("n", "c", "eth0").unwrap_err().to_string();
        assert!(error.contains("results/n-c-eth0"), "{error}");
        let known = cache.attachments(Some("c")).unwrap();
        let [torn] = known.as_slice() else {
            panic!("{known:?}");
        };
        assert!(torn.is_of("n", "c", "eth0"));
        assert_eq!((&torn.config, &torn.result), (&None, &None));
        // Whose it is cannot be said without the container's id; and a lock is no file of it.
        assert_eq!(cache.attachments(None).unwrap(), []);
        fs::write(cache.results().join(".lock-a-c-b"), "").unwrap();
        assert_eq!(cache.attachments(Some("c")).unwrap().len(), 1);
    }

    #[test]
    fn a_file_of_another_attachment_is_told() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::new(dir.path());
        cache.write(&cached()).unwrap();
        let error = cache.read("back", "end-c1", "eth0").unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("back-end-c1-eth0") && said.contains("\"c1\""),
            "{said}"
        );
    }
}
