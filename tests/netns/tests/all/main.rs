//! Every integration test, as trials of one program: `cargo test -p slash24-netns -- FILTER`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests by #[test], and these are trials"
)]

mod vocabulary;

use libtest_mimic::{Arguments, run};

fn main() {
    netns::become_root();
    let arguments = Arguments::from_args();
    let trials = [vocabulary::trials()].into_iter().flatten().collect();
    run(&arguments, trials).exit();
}
