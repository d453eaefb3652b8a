//! The lines that were entered before: stepping through them, and searching them. Which key
//! does what is decided in the editor.

use zeroize::Zeroizing;

/// How many lines are remembered.
const MAX_LINES: usize = 200;

/// The lines that were entered before, the latest last.
#[derive(Default)]
pub(super) struct History {
    lines: Vec<String>,
    /// The line that is shown, and what was being typed instead.
    shown: Option<(usize, Zeroizing<String>)>,
}

impl History {
    /// Remembers a line, unless it is blank or the same as the one before.
    pub(super) fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line.to_owned());
    }

    /// Forgets which line is shown and what was being typed instead.
    pub(super) fn leave(&mut self) {
        self.shown = None;
    }

    /// The line before or after the one shown, to be shown instead of `typed`. After the latest
    /// comes what was being typed; `None` means that there is nothing further.
    pub(super) fn step(&mut self, earlier: bool, typed: &str) -> Option<Zeroizing<String>> {
        let now = self.shown.as_ref().map_or(self.lines.len(), |(at, _)| *at);
        let next = match earlier {
            true => now.checked_sub(1)?,
            false => now + 1,
        };
        let draft = self.shown.take().map(|(_, draft)| draft);
        let Some(line) = self.lines.get(next) else {
            return draft;
        };
        let draft = draft.unwrap_or_else(|| Zeroizing::new(typed.to_owned()));
        self.shown = Some((next, draft));
        Some(Zeroizing::new(line.clone()))
    }

    /// How many lines there are: the place at which a search for earlier ones begins.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The latest line before the place `end` that contains `what`, and its place.
    pub(super) fn find_before(&self, end: usize, what: &str) -> Option<(usize, &str)> {
        let lines = self.lines[..end].iter().enumerate();
        let mut found = lines.rev().filter(|(_, line)| line.contains(what));
        found.next().map(|(at, line)| (at, line.as_str()))
    }

    /// The place of the first line from `start` on that contains `what`.
    pub(super) fn find_from(&self, start: usize, what: &str) -> Option<usize> {
        (start..self.lines.len()).find(|at| self.lines[*at].contains(what))
    }
}
