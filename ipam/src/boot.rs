//! Which boot of the kernel this is, and whether something is from an earlier one.
//!
//! No container survives a reboot, and hardly any runtime tells anybody that its
//! containers have gone. So a lease from an earlier boot is nobody's.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

use crate::lease_file;

/// Where the kernel tells its boot's id.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A file that the kernel makes whenever it boots (`devtmpfs`).
const FIRST_FILE: &str = "/dev/null";

/// A boot of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    id: String,
    /// Found out when it is first asked for.
    since: OnceCell<SystemTime>,
}

impl Boot {
    /// The boot of the running kernel.
    pub fn now() -> Self {
        Boot {
            id: lease_file::read_text(Path::new(BOOT_ID)).unwrap_or_default(),
            since: OnceCell::new(),
        }
    }

    /// Its id; empty when the kernel does not tell.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Before it began, for certain: nothing of this boot is older.
    ///
    /// A machine without a battery for its clock boots in the past and leaps
    /// forward when it hears of the time. The kernel's own file tells when the
    /// clock says that it booted *then*, so the earlier of the two counts.
    pub fn since(&self) -> SystemTime {
        *self.since.get_or_init(|| {
            let made = fs::symlink_metadata(FIRST_FILE).and_then(|file| file.modified());
            let began = began().unwrap_or(SystemTime::UNIX_EPOCH);
            made.map_or(began, |made| made.min(began))
        })
    }

    /// Whether something is from an earlier boot: by the id of its boot if that
    /// was recorded, else by when it was made.
    pub fn is_after(&self, boot: Option<&str>, made: SystemTime) -> bool {
        match boot {
            Some(boot) => !self.id.is_empty() && boot != self.id,
            None => made < self.since(),
        }
    }
}

/// When the kernel booted, by the clock as it is set now.
fn began() -> Option<SystemTime> {
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    SystemTime::now().checked_sub(Duration::from(up) + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let boot = Boot::now();
        assert_eq!(boot.id().len(), 36, "{boot:?}");
        assert!(boot.since() < SystemTime::now());
        assert_eq!(boot.id(), Boot::now().id());
    }

    #[test]
    fn ids_count_more_than_times() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let boot = Boot {
            id: "b".into(),
            since: since.into(),
        };
        let second = Duration::from_secs(1);
        assert!(boot.is_after(Some("a"), since + second));
        assert!(!boot.is_after(Some("b"), since - second));
        assert!(boot.is_after(None, since - second));
        assert!(!boot.is_after(None, since));
        let unknown = Boot {
            id: String::new(),
            since: since.into(),
        };
        assert!(!unknown.is_after(Some("a"), since - second));
    }
}
