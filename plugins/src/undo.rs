//! All or nothing: what an ADD did is taken back unless it was finished.

use std::fmt::Display;
use std::io::Write;

/// The steps back, most recent last. Dropped without [`Undo::keep`], by an error
/// or a panic, it goes them.
#[derive(Default)]
pub(crate) struct Undo<'a>(Vec<Box<dyn FnOnce() + 'a>>);

impl<'a> Undo<'a> {
    /// Adds a step back for what has just been done. If it fails there is nobody
    /// left to tell but the log: the error that caused it matters more.
    pub(crate) fn push<E: Display>(&mut self, step: impl FnOnce() -> Result<(), E> + 'a) {
        self.0.push(Box::new(|| {
            if let Err(error) = step() {
                // Whoever called may be gone as well; the other steps are still to go.
                let _ = writeln!(std::io::stderr(), "while undoing: {error}");
            }
        }));
    }

    /// The work is finished: nothing is to be undone.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn steps_go_back_in_reverse_and_only_if_not_kept() {
        let log = RefCell::new(Vec::new());
        let step = |n| {
            let log = &log;
            move || {
                log.borrow_mut().push(n);
                if n == 2 { Err("cannot") } else { Ok(()) }
            }
        };
        let mut undo = Undo::default();
        (1..=3).for_each(|n| undo.push(step(n)));
        drop(undo);
        assert_eq!(*log.borrow(), [3, 2, 1]);

        let mut undo = Undo::default();
        undo.push(step(4));
        undo.keep();
        assert_eq!(*log.borrow(), [3, 2, 1]);
    }
}
