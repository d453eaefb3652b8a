//! The queue from all threads to the thread `log`: bounded, and nobody waits for room in it.

use std::time::Instant;

use crate::clock;
use crate::sync::{Condvar, Mutex};

/// How many bytes the queue holds: some 2,000 lines. The thread may be writing as many again.
pub(super) const MAX_WAITING: usize = 256 * 1024;

/// The queue.
pub(super) struct LogQueue {
    /// Guards the lines. Innermost: held to append or to take, never while writing.
    state: Mutex<LogState>,
    /// Notified when lines were appended, and when all are written.
    changed: Condvar,
}

struct LogState {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Whole lines for standard error, wherever the log goes.
    to_stderr: Vec<u8>,
    /// Lines that were dropped since the last ones were taken.
    dropped: u64,
    /// Lines that were dropped or could not be written since the start.
    lost: u64,
    /// The file is to be opened again.
    reopen: bool,
    /// The thread is writing lines that it has taken.
    writing: bool,
    /// The thread runs. Until then, each thread writes its own lines.
    started: bool,
}

impl LogState {
    fn has_work(&self) -> bool {
        let lines = !self.waiting.is_empty() || !self.to_stderr.is_empty();
        lines || self.dropped > 0 || self.reopen
    }
}

/// What the thread has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whole lines for the log.
    pub(super) lines: Vec<u8>,
    /// Whole lines for standard error.
    pub(super) to_stderr: Vec<u8>,
    /// How many lines were dropped after these.
    pub(super) dropped: u64,
    /// Open the log's file again, before anything is written.
    pub(super) reopen: bool,
}

impl LogQueue {
    pub(super) const fn new() -> Self {
        LogQueue {
            state: Mutex::new(LogState {
                waiting: Vec::new(),
                to_stderr: Vec::new(),
                dropped: 0,
                lost: 0,
                reopen: false,
                writing: false,
                started: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The thread runs, and takes the lines from here on.
    pub(super) fn start(&self) {
        self.state.lock().started = true;
    }

    /// Appends a line, or drops it and counts it. Returns the line if the thread does not run, so
    /// that the caller writes it.
    pub(super) fn append<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let mut state = self.state.lock();
        if !state.started {
            return Some(line);
        }
        if state.waiting.len() + line.len() > MAX_WAITING {
            state.dropped += 1;
            state.lost += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.changed.notify_all();
        None
    }

    /// Appends a line that goes to standard error in any case. There are few of them.
    pub(super) fn append_to_stderr(&self, line: &[u8]) {
        self.state.lock().to_stderr.extend_from_slice(line);
        self.changed.notify_all();
    }

    /// Asks the thread to open the file again.
    pub(super) fn ask_to_reopen(&self) {
        self.state.lock().reopen = true;
        self.changed.notify_all();
    }

    /// Counts lines that could not be written.
    pub(super) fn count_lost(&self, lines: u64) {
        if lines > 0 {
            self.state.lock().lost += lines;
        }
    }

    /// How many lines were dropped or could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    /// How many bytes wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Waits for something to do, and takes it.
    pub(super) fn next(&self) -> Taken {
        let mut state = self.state.lock();
        state.writing = false;
        self.changed.notify_all();
        while !state.has_work() {
            state = self.changed.wait(state);
        }
        state.writing = true;
        Taken {
            lines: std::mem::take(&mut state.waiting),
            to_stderr: std::mem::take(&mut state.to_stderr),
            dropped: std::mem::take(&mut state.dropped),
            reopen: std::mem::take(&mut state.reopen),
        }
    }

    /// Waits until all is written, at most until `deadline`.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while state.started && (state.writing || state.has_work()) {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_without_room_are_counted_behind_those_that_had_it() {
        let queue = LogQueue::new();
        assert_eq!(queue.append(b"early\n"), Some(&b"early\n"[..]));
        queue.start();
        let line = [b'x'; 1024];
        for _ in 0..MAX_WAITING / line.len() + 7 {
            assert_eq!(queue.append(&line), None);
        }
        let taken = queue.next();
        assert_eq!((taken.lines.len(), taken.dropped), (MAX_WAITING, 7));
        queue.append(b"next\n");
        queue.ask_to_reopen();
        let taken = queue.next();
        assert_eq!((&*taken.lines, taken.dropped), (&b"next\n"[..], 0));
        assert!(taken.reopen);
        assert_eq!(queue.lost(), 7);
    }

    #[test]
    fn a_flush_ends_when_its_time_is_up() {
        let queue = LogQueue::new();
        queue.flush(clock::now() + Duration::from_secs(60));
        queue.start();
        queue.append(b"for nobody\n");
        queue.flush(clock::now() + Duration::from_millis(10));
        assert_eq!(queue.waiting_bytes(), 11);
    }
}
