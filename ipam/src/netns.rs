//! Which network namespaces are alive.
//!
//! A namespace lives as long as a thread is in it, something has its file open, or
//! it is mounted somewhere. The kernel has no list of them, but it shows all three
//! in `/proc`. What was looked for and not found there is gone for certain only if
//! everything could be looked at; so a [`Census`] knows whether it is complete.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::record::Namespace;

/// Whether a namespace is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Something keeps it.
    Alive,
    /// Nothing does.
    Gone,
    /// Nothing was seen to, and not everything could be looked at.
    Unknown,
}

/// Every network namespace that something keeps, by inode. (And some files that are
/// none: their numbers do no harm.)
///
/// The kernel gives an inode's number to another namespace when the first is gone,
/// so one that seems alive may be another; one that is gone is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    alive: BTreeSet<u64>,
    /// What could not be looked at.
    unseen: Option<PathBuf>,
}

/// Whose open files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// Threads may have files of their own.
    OfEachThread,
    /// Those of the first thread of each process.
    OfProcesses,
}

impl Census {
    /// Looks at every thread, open file and mount of this machine.
    pub fn take() -> Self {
        Census::of_machine(Files::OfEachThread)
    }

    /// As [`Census::take`], but takes it that the threads of a process share its open
    /// files, which hardly any does not: a fraction of the time where processes have
    /// many of both.
    pub(crate) fn take_quickly() -> Self {
        Census::of_machine(Files::OfProcesses)
    }

    fn of_machine(files: Files) -> Self {
        let mut census = Census::of(Path::new("/proc"), files);
        // Processes of other pid namespaces are shown to the first of them alone.
        if !is_first_pid_namespace() {
            census.missed(Path::new("/proc/1/ns/pid"));
        }
        census
    }

    fn of(proc: &Path, files: Files) -> Self {
        let mut census = Census::default();
        let mut mounts_seen = BTreeSet::new();
        for process in census.entries(proc) {
            let name = process.file_name().unwrap_or_default().to_string_lossy();
            if name.bytes().all(|b| b.is_ascii_digit()) {
                census.look_at(&process, files, &mut mounts_seen);
            }
        }
        if mounts_seen.is_empty() {
            // There is no process to be seen, not even this one.
            census.missed(proc);
        }
        census
    }

    /// Whether a namespace is alive.
    pub fn life_of(&self, netns: &Namespace) -> Life {
        let at_path = fs::metadata(&netns.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (netns.device, netns.inode));
        match at_path || self.alive.contains(&netns.inode) {
            true => Life::Alive,
            false if self.unseen.is_some() => Life::Unknown,
            false => Life::Gone,
        }
    }

    /// What could not be looked at, and so may keep any namespace.
    pub fn unseen(&self) -> Option<&Path> {
        self.unseen.as_deref()
    }

    fn look_at(&mut self, process: &Path, files: Files, mounts_seen: &mut BTreeSet<PathBuf>) {
        for thread in self.entries(&process.join("task")) {
            self.count(&thread.join("ns/net"));
            let is_first = thread.file_name() == process.file_name();
            if files == Files::OfProcesses && !is_first {
                continue;
            }
            for file in self.entries(&thread.join("fd")) {
                let name = file.file_name().unwrap_or_default();
                self.count_file(&file, &thread.join("fdinfo").join(name));
            }
        }
        // Processes share mounts; each namespace of them is looked at once.
        match fs::read_link(process.join("ns/mnt")) {
            Ok(mounts) if !mounts_seen.insert(mounts.clone()) => {}
            Ok(_) => self.mounts(&process.join("mountinfo")),
            Err(error) => self.failed(&process.join("ns/mnt"), &error),
        }
    }

    /// Counts what a link of the kernel's leads to, if that is a namespace.
    fn count(&mut self, link: &Path) {
        match fs::read_link(link) {
            Ok(target) => self.alive.extend(inode(&target.to_string_lossy())),
            Err(error) => self.failed(link, &error),
        }
    }

    /// Counts an open file, if that is a namespace. One that was opened by the path
    /// at which it is mounted has that path for a name; what it is only its inode
    /// tells, of which the kernel speaks since 5.14. Looking at the file itself could
    /// wait for a file server.
    fn count_file(&mut self, link: &Path, info: &Path) {
        let target = match fs::read_link(link) {
            Ok(target) => target,
            Err(error) => return self.failed(link, &error),
        };
        let name = target.to_string_lossy();
        if !name.starts_with('/') {
            self.alive.extend(inode(&name));
            return;
        }
        match fs::read_to_string(info) {
            Ok(text) => {
                let told = text.lines().find_map(|line| line.strip_prefix("ino:"));
                let told = told.and_then(|inode| inode.trim().parse().ok());
                let looked_at = || fs::metadata(link).map(|file| file.ino());
                match told.map_or_else(looked_at, Ok) {
                    Ok(inode) => drop(self.alive.insert(inode)),
                    Err(error) => self.failed(link, &error),
                }
            }
            Err(error) => self.failed(info, &error),
        }
    }

    /// Counts the namespaces that are mounted: their root is `net:[INODE]`.
    fn mounts(&mut self, mountinfo: &Path) {
        match fs::read_to_string(mountinfo) {
            Ok(text) => {
                let roots = text.lines().filter_map(|line| line.split(' ').nth(3));
                self.alive.extend(roots.filter_map(inode));
            }
            Err(error) => self.failed(mountinfo, &error),
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        match fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                self.failed(folder, &error);
                Vec::new()
            }
        }
    }

    /// What has gone in the meantime keeps nothing.
    fn failed(&mut self, path: &Path, error: &io::Error) {
        let gone = error.kind() == ErrorKind::NotFound
            || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32);
        if !gone {
            self.missed(path);
        }
    }

    fn missed(&mut self, path: &Path) {
        self.unseen.get_or_insert_with(|| path.to_owned());
    }
}

/// The inode in `net:[4026531840]`.
fn inode(name: &str) -> Option<u64> {
    let inode = name.strip_prefix("net:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// The first pid namespace has a number of its own (`PROC_PID_INIT_INO` of
/// linux/proc_ns.h).
fn is_first_pid_namespace() -> bool {
    const FIRST: u64 = 0xefff_fffc;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|file| file.ino() == FIRST)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn own() -> Namespace {
        Namespace::at(Path::new("/proc/self/ns/net")).unwrap()
    }

    #[test]
    fn our_own_is_alive() {
        let census = Census::take();
        let mut own = own();
        assert_eq!(census.life_of(&own), Life::Alive);
        own.path = PathBuf::new();
        assert_eq!(census.life_of(&own), Life::Alive);
    }

    /// A process table with one process.
    fn table() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in [
            "7/ns",
            "7/task/7/ns",
            "7/task/7/fd",
            "7/task/7/fdinfo",
            "7/task/8/ns",
            "7/task/8/fd",
        ] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let link = |target: &str, path: &str| symlink(target, dir.path().join(path)).unwrap();
        link("mnt:[1]", "7/ns/mnt");
        link("net:[101]", "7/task/7/ns/net");
        link("net:[102]", "7/task/8/ns/net");
        link("net:[103]", "7/task/7/fd/3");
        link("/dev/null", "7/task/7/fd/4");
        link("/run/netns/a", "7/task/7/fd/5");
        link("net:[107]", "7/task/8/fd/3");
        let info = |text: &str, file: &str| {
            fs::write(dir.path().join("7/task/7/fdinfo").join(file), text).unwrap();
        };
        info("pos:\t0\nflags:\t0100000\nmnt_id:\t24\nino:\t106\n", "5");
        // As kernels before 5.14 have it.
        info("pos:\t0\nflags:\t0100000\nmnt_id:\t24\n", "4");
        let mounts = "30 1 0:4 net:[104] /run/netns/a rw - nsfs nsfs rw\n31 1 0:5 / /x rw\n";
        fs::write(dir.path().join("7/mountinfo"), mounts).unwrap();
        dir
    }

    fn life(census: &Census, inode: u64) -> Life {
        census.life_of(&Namespace {
            device: 4,
            inode,
            path: "/nonexistent/ns".into(),
        })
    }

    #[test]
    fn threads_files_and_mounts_keep_a_namespace() {
        let table = table();
        let census = Census::of(table.path(), Files::OfEachThread);
        assert_eq!(census.unseen(), None);
        for inode in [101, 102, 103, 104, 106, 107] {
            assert_eq!(life(&census, inode), Life::Alive, "{inode}");
        }
        let quickly = Census::of(table.path(), Files::OfProcesses);
        for inode in [101, 102, 103, 104, 106] {
            assert_eq!(life(&quickly, inode), Life::Alive, "{inode}");
        }
        assert_eq!(life(&census, 105), Life::Gone);
    }

    #[test]
    fn nothing_is_gone_while_something_is_hidden() {
        let table = table();
        fs::remove_file(table.path().join("7/mountinfo")).unwrap();
        fs::create_dir(table.path().join("7/mountinfo")).unwrap();
        let census = Census::of(table.path(), Files::OfEachThread);
        assert_eq!(life(&census, 105), Life::Unknown);
        assert_eq!(life(&census, 101), Life::Alive);
        assert!(census.unseen().unwrap().ends_with("7/mountinfo"));
        assert_eq!(
            life(
                &Census::of(Path::new("/nonexistent"), Files::OfEachThread),
                101
            ),
            Life::Unknown
        );
    }
}
