//! Running trials on another kernel: `tests/vm/run` boots one of Debian's that has what the
//! running one lacks, and executes this same program in it with the names of those trials.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Conclusion, Trial};
use serde_json::{Value, json};

/// The names of the trials that the program is to run, one a line; set inside of the machine.
const TRIALS: &str = "NETNS_VM_TRIALS";
/// What boots the machine.
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vm/run");
/// How a line begins that tells what came of a trial.
const VERDICT: &str = "verdict ";
/// The seconds that all trials together may take.
const LONGEST: u32 = 3600;

/// Whether this program runs inside of the machine.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(TRIALS).is_some()
}

/// The time to wait for what should take `usually`. An emulated processor is slow.
pub(crate) fn patience(usually: Duration) -> Duration {
    match is_inside() {
        true => 5 * usually,
        false => usually,
    }
}

/// The trials that the machine has to run, and what came of them.
#[derive(Default)]
struct Board {
    names: BTreeSet<String>,
    verdicts: BTreeMap<String, Result<(), String>>,
    is_started: bool,
    /// How the machine ended.
    end: Option<String>,
}

static BOARD: Mutex<Board> = Mutex::new(Board {
    names: BTreeSet::new(),
    verdicts: BTreeMap::new(),
    is_started: false,
    end: None,
});
static NEWS: Condvar = Condvar::new();

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A trial of that name which the machine runs.
pub(crate) fn trial(name: String) -> Trial {
    board().names.insert(name.clone());
    let shown = name.clone();
    Trial::test(shown, move || {
        static START: Once = Once::new();
        START.call_once(|| drop(thread::spawn(boot)));
        let unknown =
            |board: &mut Board| !board.verdicts.contains_key(&name) && board.end.is_none();
        let board = NEWS.wait_while(board(), unknown);
        let board = board.unwrap_or_else(PoisonError::into_inner);
        let end = board.end.as_deref().unwrap_or_default();
        let missing = || Err(format!("the machine did not run it ({end})"));
        let verdict = board.verdicts.get(&name).cloned().unwrap_or_else(missing);
        verdict.map_err(Into::into)
    })
    .with_kind("vm")
}

/// Boots the machine, which runs the trials on the board, and notes what it says of them.
fn boot() {
    let names: Vec<_> = {
        let mut board = board();
        board.is_started = true;
        board.names.iter().cloned().collect()
    };
    let end = match run_inside(&names) {
        Ok(status) => status,
        Err(error) => format!("{RUN}: {error}"),
    };
    board().end = Some(end);
    NEWS.notify_all();
}

fn run_inside(names: &[String]) -> std::io::Result<String> {
    let mut machine = Command::new(RUN)
        .arg(std::env::current_exe()?)
        .env(TRIALS, names.join("\n"))
        .env("VM_TIMEOUT", LONGEST.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = machine.stdout.take().into_iter();
    for line in output.flat_map(|output| BufReader::new(output).lines()) {
        let line = line?;
        let verdict = line.strip_prefix(VERDICT);
        let verdict: Option<Value> = verdict.and_then(|json| serde_json::from_str(json).ok());
        let Some(verdict) = verdict else { continue };
        let name = verdict["trial"].as_str().unwrap_or_default().to_owned();
        let outcome = match &verdict["failure"] {
            Value::Null => Ok(()),
            failure => Err(failure.as_str().unwrap_or_default().to_owned()),
        };
        board().verdicts.insert(name, outcome);
        NEWS.notify_all();
    }
    Ok(machine.wait()?.to_string())
}

/// Runs a story inside of the machine and tells the program outside what came of it.
pub(crate) fn tell(name: &str, story: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(story));
    let failure = outcome.as_ref().err().map(|panic| words(panic.as_ref()));
    let verdict = json!({"trial": name, "failure": failure});
    // The printer of the trials may be in the middle of a line.
    let line = format!("\n{VERDICT}{verdict}\n");
    let mut output = std::io::stdout().lock();
    let told = output
        .write_all(line.as_bytes())
        .and_then(|()| output.flush());
    drop(output);
    told.expect("standard output is the machine's");
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let formatted = || panic.downcast_ref::<String>().cloned();
    literal
        .or_else(formatted)
        .unwrap_or_else(|| "it panicked".into())
}

/// Runs trials: those that need another kernel come last and share one machine.
pub fn run(arguments: &Arguments, mut trials: Vec<Trial>) -> Conclusion {
    if let Ok(names) = std::env::var(TRIALS) {
        let names: BTreeSet<_> = names.lines().collect();
        trials.retain(|trial| names.contains(trial.name()));
    } else {
        let mut board = board();
        for trial in trials
            .iter()
            .filter(|trial| arguments.is_filtered_out(trial))
        {
            board.names.remove(trial.name());
        }
        trials.sort_by_key(|trial| board.names.contains(trial.name()));
    }
    let conclusion = libtest_mimic::run(arguments, trials);
    // It powers itself off when it has said everything.
    let running = |board: &mut Board| board.is_started && board.end.is_none();
    drop(NEWS.wait_timeout_while(board(), Duration::from_secs(30), running));
    conclusion
}
