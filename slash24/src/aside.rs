//! What is said to people beside a command's answer.

use std::fmt::Display;
use std::io::Write;

/// Says a sentence on standard error. Nobody may be listening there, which is no reason
/// to leave the work undone.
pub(crate) fn say(sentence: impl Display) {
    let _ = writeln!(std::io::stderr(), "slash24: {sentence}");
}
