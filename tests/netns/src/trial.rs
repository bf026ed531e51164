//! One named trial of the test program.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::{Feature, vm};

/// No honest trial takes this long; one that does waits for something that will not come.
const PATIENCE: Duration = Duration::from_secs(300);

/// A trial that passes if `story` returns and fails if it panics.
///
/// A story that hangs ends the whole program with a message, since nothing could take its thread
/// back; the namespaces go with the process.
pub fn trial(name: impl Into<String>, story: impl FnOnce() + Send + 'static) -> Trial {
    let name = name.into();
    let shown = name.clone();
    Trial::test(name, move || {
        let (done, waiting) = channel::<()>();
        let patience = vm::patience(PATIENCE);
        let hanging = shown.clone();
        thread::spawn(move || {
            if waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{hanging}: still running after {patience:?}, giving up");
                std::process::exit(101);
            }
        });
        match vm::is_inside() {
            true => vm::tell(&shown, story),
            false => story(),
        }
        drop(done);
        Ok(())
    })
}

/// A trial of what needs parts of the kernel that may be missing: it runs here if they are there,
/// and otherwise in a machine with a kernel that has them (`tests/vm/run`). A kernel there that
/// lacks them too makes it fail.
pub fn trial_needing(
    features: &'static [Feature],
    name: impl Into<String>,
    story: impl FnOnce() + Send + 'static,
) -> Trial {
    let is_there = || features.iter().all(|feature| feature.is_there());
    if vm::is_inside() || is_there() {
        trial(name, move || {
            let missing: Vec<_> = features.iter().filter(|one| !one.is_there()).collect();
            assert!(missing.is_empty(), "no kernel at hand has {missing:?}");
            story();
        })
    } else {
        vm::trial(name.into())
    }
}

/// A trial that runs on the kernel of `tests/vm/run`, which is some years old, whatever the running
/// one has.
pub fn trial_on_old_kernel(
    name: impl Into<String>,
    story: impl FnOnce() + Send + 'static,
) -> Trial {
    match vm::is_inside() {
        true => trial(name, story),
        false => vm::trial(name.into()),
    }
}
