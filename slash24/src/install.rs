//! `slash24 install` and `uninstall`: the plugins in a runtime's CNI directory.
//!
//! The directory gets one file, `slash24`, and each plugin's name as a hard link
//! to it. Everything is put in place by a rename, so a plugin that is being
//! executed stays whole, and there is no moment without one. One install or
//! uninstall works on a directory at a time; others wait.
//!
//! **Whose a file is.** Every build of slash24 carries [`MARK`]; an executable
//! that has it is one of ours, whichever version it is and however it came there.
//! A list of what was installed would be wrong as soon as somebody, or a package,
//! puts another `bridge` in its place.
//!
//! **What is kept.** A file that is not ours moves to
//! `DIR/.slash24/replaced/NAME` when it is replaced, as it is; of several over
//! time the last. Runtimes look for
//! plugins by name in the directory itself, and a `type` cannot lead into another
//! (specification, section 1).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::registry;

/// What tells a build of slash24 from any other file. It must never change.
const MARK: &[u8] = b"slash24: a file with this sentence is an executable of slash24";

/// The command line's own name.
const SELF: &str = "slash24";

/// A directory of plugins, which no other install works on.
struct Directory {
    path: PathBuf,
    _lock: File,
}

/// What is in a plugin's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A build of slash24.
    Ours,
    /// Anything else. A link to a build of slash24 is: a rename would replace it,
    /// and what it leads to would stay.
    Foreign,
}

/// What an install did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Installed {
    names: Vec<&'static str>,
    kept: Vec<PathBuf>,
}

/// What an uninstall did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uninstalled {
    removed: Vec<&'static str>,
    put_back: Vec<&'static str>,
    /// Kept files whose place something else has taken.
    left: Vec<PathBuf>,
}

/// Installs this executable; tells what was done.
pub(crate) fn into(directory: &Path, only: &[String], replace: bool) -> Result<String, Error> {
    let executable = Path::new("/proc/self/exe");
    let installed = install(directory, executable, &chosen(only)?, replace)?;
    Ok(installed.told(directory))
}

/// Uninstalls; tells what was done.
pub(crate) fn out_of(directory: &Path) -> Result<String, Error> {
    Ok(uninstall(directory)?.told(directory))
}

/// The plugins that `--only` names; all when it names none.
fn chosen(only: &[String]) -> Result<Vec<&'static str>, Error> {
    let known = registry::names();
    let find = |name: &String| {
        let found = known.iter().copied().find(|known| known == name);
        found.ok_or_else(|| Error::NoSuchPlugin {
            name: name.clone(),
            known: known.join(", "),
        })
    };
    match only.is_empty() {
        true => Ok(known),
        false => only.iter().map(find).collect(),
    }
}

/// Installs `executable` and the plugins `names`. Those that an earlier install
/// put there besides are upgraded with them: plugins of one directory are one
/// file, or they could not call each other in one process.
fn install(
    directory: &Path,
    executable: &Path,
    names: &[&'static str],
    replace: bool,
) -> Result<Installed, Error> {
    fs::create_dir_all(directory).map_err(|error| Error::path(directory, error))?;
    let directory = Directory::open(directory)?;
    let mut wanted = Vec::new();
    let mut in_the_way = Vec::new();
    for (name, found) in directory.look()? {
        let chosen = name == SELF || names.contains(&name);
        if chosen || found == Found::Ours {
            wanted.push(name);
        }
        if chosen && found == Found::Foreign {
            in_the_way.push(directory.place(name));
        }
    }
    if !in_the_way.is_empty() && !replace {
        return Err(Error::InTheWay(in_the_way));
    }
    // A folder cannot be kept: it is found out before anything has changed.
    if let Some(folder) = in_the_way
        .iter()
        .find(|place| place.is_dir() && !place.is_symlink())
    {
        return Err(Error::path(folder, io::ErrorKind::IsADirectory.into()));
    }
    let copied = directory.copy(executable)?;
    let mut kept = Vec::new();
    let placed = wanted.iter().try_for_each(|name| {
        let place = directory.place(name);
        if in_the_way.contains(&place) {
            kept.push(directory.keep(name)?);
        }
        directory.link(&copied, name)
    });
    directory.tidy();
    placed.map(|()| Installed {
        names: wanted,
        kept,
    })
}

/// Removes what is ours and puts back what it replaced.
fn uninstall(directory: &Path) -> Result<Uninstalled, Error> {
    let directory = Directory::open(directory)?;
    let mut done = Uninstalled::default();
    for (name, found) in directory.look()? {
        let (place, kept) = (directory.place(name), directory.kept(name));
        let is_kept = fs::symlink_metadata(&kept).is_ok();
        let failed = |error| Error::path(&place, error);
        match (found, is_kept) {
            (Found::Nothing | Found::Foreign, false) => {}
            (Found::Foreign, true) => done.left.push(kept),
            (Found::Ours, false) => {
                fs::remove_file(&place).map_err(failed)?;
                done.removed.push(name);
            }
            (Found::Nothing | Found::Ours, true) => {
                fs::rename(&kept, &place).map_err(failed)?;
                done.put_back.push(name);
            }
        }
    }
    directory.tidy();
    Ok(done)
}

impl Directory {
    /// Waits for whoever else installs here.
    fn open(path: &Path) -> Result<Self, Error> {
        let locked = File::open(path).and_then(|lock| lock.lock().map(|()| lock));
        let directory = Directory {
            path: path.to_owned(),
            _lock: locked.map_err(|error| Error::path(path, error))?,
        };
        directory.tidy();
        Ok(directory)
    }

    /// What is where `slash24` and the plugins would be. Names of one file are
    /// looked into once.
    fn look(&self) -> Result<Vec<(&'static str, Found)>, Error> {
        let mut known = HashMap::new();
        let mut look = |place: &Path| {
            let metadata = match fs::symlink_metadata(place) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Found::Nothing);
                }
                Err(error) => return Err(error),
            };
            if !metadata.is_file() {
                return Ok(Found::Foreign);
            }
            Ok(match known.entry((metadata.dev(), metadata.ino())) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => *entry.insert(match is_marked(place)? {
                    true => Found::Ours,
                    false => Found::Foreign,
                }),
            })
        };
        let names = [SELF].into_iter().chain(registry::names());
        let found = names.map(|name| {
            let place = self.place(name);
            let found = look(&place).map_err(|error| Error::path(&place, error));
            Ok((name, found?))
        });
        found.collect()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.path.join(".slash24/replaced").join(name)
    }

    fn new_file(&self, name: &str) -> PathBuf {
        self.path.join(".slash24/new").join(name)
    }

    /// Keeps a foreign file aside, by another link to it: it stays in its place
    /// until the new one takes it.
    fn keep(&self, name: &str) -> Result<PathBuf, Error> {
        let (place, kept) = (self.place(name), self.kept(name));
        let new = self.new_file(&format!("{name}.kept"));
        make_parent(&kept)
            .and_then(|()| fs::hard_link(&place, &new))
            .and_then(|()| fs::rename(&new, &kept))
            .map_err(|error| Error::path(&place, error))?;
        Ok(kept)
    }

    /// A whole copy, on the disk, before any name leads to it.
    fn copy(&self, executable: &Path) -> Result<PathBuf, Error> {
        let copy = self.new_file(SELF);
        let copied = make_parent(&copy)
            .and_then(|()| File::open(executable))
            .and_then(|mut from| {
                let mut options = OpenOptions::new();
                let options = options.write(true).create_new(true).mode(0o755);
                let mut to = options.open(&copy)?;
                io::copy(&mut from, &mut to)?;
                // Whatever the umask says: containers' runtimes are not all root.
                to.set_permissions(fs::Permissions::from_mode(0o755))?;
                to.sync_all()
            });
        copied.map_err(|error| Error::path(&copy, error))?;
        Ok(copy)
    }

    fn link(&self, copied: &Path, name: &str) -> Result<(), Error> {
        let new = self.new_file(&format!("{name}.link"));
        fs::hard_link(copied, &new)
            .and_then(|()| fs::rename(&new, self.place(name)))
            .map_err(|error| Error::path(&self.place(name), error))
    }

    /// Removes what an install that was killed left behind, and folders that
    /// hold nothing.
    fn tidy(&self) {
        let _ = fs::remove_dir_all(self.path.join(".slash24/new"));
        let _ = fs::remove_dir(self.path.join(".slash24/replaced"));
        let _ = fs::remove_dir(self.path.join(".slash24"));
    }
}

fn make_parent(file: &Path) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))
}

/// Whether a file is a build of slash24.
fn is_marked(file: &Path) -> io::Result<bool> {
    let bytes = fs::read(file)?;
    Ok(bytes.starts_with(b"\x7fELF") && memchr::memmem::find(&bytes, MARK).is_some())
}

impl Installed {
    fn told(&self, directory: &Path) -> String {
        let mut text = format!("{}: {}\n", directory.display(), self.names.join(", "));
        for kept in &self.kept {
            text += &format!("what was there is kept as {}\n", kept.display());
        }
        text
    }
}

impl Uninstalled {
    fn told(&self, directory: &Path) -> String {
        let mut text = String::new();
        let list = |names: &[&str]| match names {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        text += &format!("{}: removed {}\n", directory.display(), list(&self.removed));
        if !self.put_back.is_empty() {
            text += &format!("put back what was there before: {}\n", list(&self.put_back));
        }
        for kept in &self.left {
            text += &format!("{} stays, as its place is taken\n", kept.display());
        }
        text
    }
}
