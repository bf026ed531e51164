//! What passes an interface, as `tcpdump` hears it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;

use netns::Namespace;

/// `tcpdump` on an interface of a place, ended with the value.
pub(crate) struct Capture {
    tcpdump: Child,
}

impl Capture {
    pub(crate) fn start(place: &impl Namespace, interface: &str, filter: &str) -> Self {
        let mut tcpdump = place.run(|| {
            Command::new("tcpdump")
                .args([
                    "-n",
                    "-e",
                    "-l",
                    "--immediate-mode",
                    "-i",
                    interface,
                    filter,
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the tests need tcpdump")
        });
        // It says so on standard error once it hears everything.
        let mut said = BufReader::new(tcpdump.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tcpdump gave up");
        }
        Self { tcpdump }
    }

    /// What was seen.
    pub(crate) fn stop(mut self) -> String {
        // What has been captured is on its way through a pipe.
        thread::sleep(std::time::Duration::from_millis(50));
        self.tcpdump.kill().unwrap();
        let mut seen = String::new();
        let mut output = self.tcpdump.stdout.take().unwrap();
        output.read_to_string(&mut seen).unwrap();
        seen
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
