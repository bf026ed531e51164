//! Where a network's leases are.

use std::path::Path;
use std::time::Duration;

use cni::Config;
use serde::Deserialize;

use crate::Error;
use crate::store::{self, LeaseDirectory};

/// Where a network's leases are. Read by itself, so that addresses can be freed
/// when the rest of the configuration is wrong or the host's place is unknown.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The lease directory.
    pub directory: LeaseDirectory,
    /// How long to wait for its lock.
    pub lock_timeout: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    ipam: Ipam,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    data_dir: String,
    lock_timeout: Option<f64>,
    keep_across_reboot: bool,
}

/// What cannot be done without.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LeastKeys {
    ipam: Least,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Least {
    data_dir: String,
}

impl Storage {
    /// Reads `ipam.dataDir`, `ipam.lockTimeout` and `ipam.keepAcrossReboot`.
    ///
    /// # Errors
    /// A value of the wrong type, a timeout that is no time.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let Ipam {
            data_dir,
            lock_timeout,
            keep_across_reboot,
        } = config.read::<Keys>()?.ipam;
        let directory = directory(&data_dir, config);
        Ok(Storage {
            directory: directory.keeping_across_reboot(keep_across_reboot),
            lock_timeout: seconds("ipam.lockTimeout", lock_timeout, store::LOCK_TIMEOUT)?,
        })
    }

    /// The same for who gives back what he holds: where that is must be known. The lock is
    /// waited for as usual when `lockTimeout` is wrong, and others' leases count as good
    /// in any boot when `keepAcrossReboot` is.
    ///
    /// # Errors
    /// `ipam.dataDir` has the wrong type.
    pub fn read_to_free(config: &Config) -> Result<Self, Error> {
        Storage::read(config).or_else(|_| {
            let Least { data_dir } = config.read::<LeastKeys>()?.ipam;
            Ok(Storage {
                directory: directory(&data_dir, config).keeping_across_reboot(true),
                lock_timeout: store::LOCK_TIMEOUT,
            })
        })
    }
}

fn directory(data_dir: &str, config: &Config) -> LeaseDirectory {
    let data_dir = match data_dir.is_empty() {
        true => store::DATA_DIR,
        false => data_dir,
    };
    LeaseDirectory::new(Path::new(data_dir), &config.name)
}

/// A time in the configuration, in seconds.
pub(super) fn seconds(key: &str, value: Option<f64>, default: Duration) -> Result<Duration, Error> {
    let duration = |s| Duration::try_from_secs_f64(s).map_err(|_| Error::NotSeconds(s).at(key));
    value.map_or(Ok(default), duration)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(mut value: Value) -> Config {
        value["name"] = "net".into();
        Config::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn leases_are_found_whatever_else_is_wrong() {
        let value =
            json!({"ipam": {"subnet": 5, "dataDir": "/x", "locktimeout": 0.5, "location": 7}});
        let storage = Storage::read(&config(value)).unwrap();
        assert_eq!(storage.directory.path(), Path::new("/x/net"));
        assert_eq!(storage.lock_timeout, Duration::from_millis(500));
        let storage = Storage::read(&config(json!({}))).unwrap();
        assert_eq!(
            storage.directory.path(),
            Path::new("/var/lib/cni/networks/net")
        );
        for wrong in [-1.0, 1e300] {
            let value = json!({"ipam": {"lockTimeout": wrong}});
            assert!(
                Storage::read(&config(value))
                    .unwrap_err()
                    .to_string()
                    .contains("lockTimeout")
            );
        }
    }

    #[test]
    fn what_is_held_can_be_given_back_whatever_else_is_wrong() {
        for (key, wrong) in [
            ("lockTimeout", json!(-1)),
            ("lockTimeout", json!("soon")),
            ("keepAcrossReboot", json!("yes")),
        ] {
            let mut value = json!({"ipam": {"dataDir": "/x"}});
            value["ipam"][key] = wrong;
            let config = config(value);
            assert!(
                Storage::read(&config)
                    .unwrap_err()
                    .to_string()
                    .contains(key)
            );
            let storage = Storage::read_to_free(&config).unwrap();
            assert_eq!(storage.directory.path(), Path::new("/x/net"));
            assert_eq!(storage.lock_timeout, store::LOCK_TIMEOUT);
            assert!(storage.directory.keeps_across_reboot());
        }
        let config = config(json!({"ipam": {"dataDir": 7}}));
        let error = Storage::read_to_free(&config).unwrap_err().to_string();
        assert!(error.contains("ipam.dataDir"), "{error}");
    }
}
