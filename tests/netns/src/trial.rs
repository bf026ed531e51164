//! One named trial of the test program.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;

/// No honest trial takes this long; one that does waits for something that will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A trial that passes if `story` returns and fails if it panics.
///
/// A story that hangs ends the whole program with a message, since nothing could take its thread
/// back; the namespaces go with the process.
pub fn trial(name: impl Into<String>, story: impl FnOnce() + Send + 'static) -> Trial {
    let name = name.into();
    let shown = name.clone();
    Trial::test(name, move || {
        let (done, waiting) = channel::<()>();
        thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{shown}: still running after {PATIENCE:?}, giving up");
                std::process::exit(101);
            }
        });
        story();
        drop(done);
        Ok(())
    })
}
