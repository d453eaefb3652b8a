//! The server's log: one line for each event on standard error, with time, level and connection.
//! It never contains a password, a key or a message.
//!
//! The reader of standard error may stop reading: a pager, a terminal with Ctrl-S, a log shipper
//! that hangs. Lines therefore go through a bounded queue to the thread `log`, which alone waits
//! for the reader. Lines that find the queue full are dropped and counted, and the count is logged
//! once lines are read again.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use termcolor::{Buffer, Color, ColorSpec, WriteColor};

use crate::appearance;
use crate::clock;
use crate::command_line;
use crate::protocol::sanitize::sanitize;
use crate::sync;
use crate::sync::{Condvar, Mutex};

/// How many bytes the queue holds: some 2,000 lines. The thread may be writing as many again.
const MAX_WAITING: usize = 256 * 1024;

/// The number of a connection, counted from the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub u64);

/// The queue from all threads to the thread `log`.
struct LogQueue {
    /// Guards the lines. Innermost: held to append or to take, never while writing.
    state: Mutex<LogState>,
    /// Notified when lines were appended, and when all are written.
    changed: Condvar,
}

struct LogState {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines that were dropped since the last ones were taken.
    dropped: u64,
    /// The thread is writing lines that it has taken.
    writing: bool,
    /// The thread runs. Until then, each thread writes its own lines.
    started: bool,
}

static QUEUE: LogQueue = LogQueue::new();

impl LogQueue {
    const fn new() -> Self {
        LogQueue {
            state: Mutex::new(LogState {
                waiting: Vec::new(),
                dropped: 0,
                writing: false,
                started: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Appends a line, or drops it and counts it. Returns the line if the thread does not run, so
    /// that the caller writes it.
    fn append<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let mut state = self.state.lock();
        if !state.started {
            return Some(line);
        }
        if state.waiting.len() + line.len() > MAX_WAITING {
            state.dropped += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.changed.notify_all();
        None
    }

    /// Waits for lines and removes them, with the number of lines that were dropped after them.
    fn next_lines(&self) -> (Vec<u8>, u64) {
        let mut state = self.state.lock();
        state.writing = false;
        self.changed.notify_all();
        while state.waiting.is_empty() && state.dropped == 0 {
            state = self.changed.wait(state);
        }
        state.writing = true;
        let dropped = std::mem::take(&mut state.dropped);
        (std::mem::take(&mut state.waiting), dropped)
    }

    fn flush(&self, limit: Duration) {
        let deadline = clock::now() + limit;
        let mut state = self.state.lock();
        while state.started && (state.writing || !state.waiting.is_empty() || state.dropped > 0) {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left);
        }
    }
}

/// Starts the thread `log`, which ends with the process, and sends the messages of panics to it.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start() -> io::Result<()> {
    sync::spawn("log", None, || {
        loop {
            let (mut lines, dropped) = QUEUE.next_lines();
            if dropped > 0 {
                lines.extend(about_dropped(dropped));
            }
            write_all(&io::stderr(), &lines);
        }
    })?;
    QUEUE.state.lock().started = true;
    std::panic::set_hook(Box::new(|panic| {
        error(None, format_args!("a fault of the program: {panic}"));
    }));
    Ok(())
}

/// Waits until all lines are written, for at most `limit`. Call it before the process ends.
pub(crate) fn flush(limit: Duration) {
    QUEUE.flush(limit);
}

/// Logs what an operator may want to know.
pub(crate) fn info(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    append(&line("info", Color::Green, connection, text));
}

/// Logs what an operator should look at.
pub(crate) fn warn(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    append(&line("warn", Color::Yellow, connection, text));
}

/// Logs what an operator must act on.
pub(crate) fn error(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    append(&line("error", Color::Red, connection, text));
}

/// Writes why the server fails, for the person who has typed its command: a line without a time.
pub(crate) fn start_error(error: &dyn fmt::Display) {
    let me = command_line::called("server");
    append(format!("{me}: {error}\n").as_bytes());
}

fn append(line: &[u8]) {
    #[cfg(test)]
    if sync::is_scheduled() {
        return;
    }
    if let Some(line) = QUEUE.append(line) {
        write_all(&io::stderr(), line);
    }
}

fn about_dropped(count: u64) -> Vec<u8> {
    let lines = match count {
        1 => "1 line was",
        _ => &format!("{count} lines were"),
    };
    let text = format_args!("{lines} dropped here, because standard error was not read");
    line("warn", Color::Yellow, None, text)
}

fn line(
    level: &str,
    color: Color,
    connection: Option<ConnectionId>,
    text: fmt::Arguments<'_>,
) -> Vec<u8> {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    let text = text.to_string();
    let text = sanitize(&text);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut out = buffer(*COLOURS.get_or_init(|| appearance::colours(io::stderr().is_terminal())));
    let mut write = || -> io::Result<()> {
        write!(out, "{time} ")?;
        out.set_color(ColorSpec::new().set_fg(Some(color)))?;
        write!(out, "{level:5}")?;
        out.reset()?;
        match connection {
            Some(ConnectionId(id)) => writeln!(out, " #{id} {text}"),
            None => writeln!(out, " {text}"),
        }
    };
    // Writing into memory does not fail.
    let _ = write();
    out.into_inner()
}

/// An empty buffer for text, with or without colours.
pub(super) fn buffer(colours: bool) -> Buffer {
    match colours {
        true => Buffer::ansi(),
        false => Buffer::no_color(),
    }
}

/// Writes to a descriptor and waits for its reader for as long as that takes. It bypasses the
/// standard library's handle, whose lock a panicking thread would wait for. Errors are ignored,
/// because there is nobody left to tell.
pub(crate) fn write_all(to: &impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Another program has made the terminal or pipe non-blocking, which it shares.
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::OUT)];
                let _ = poll(&mut fds, None);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_counted_behind_those_that_had_it() {
        let queue = LogQueue::new();
        assert_eq!(queue.append(b"early\n"), Some(&b"early\n"[..]));
        queue.state.lock().started = true;
        let line = [b'x'; 1024];
        for _ in 0..MAX_WAITING / line.len() + 7 {
            assert_eq!(queue.append(&line), None);
        }
        let (lines, dropped) = queue.next_lines();
        assert_eq!((lines.len(), dropped), (MAX_WAITING, 7));
        queue.append(b"next\n");
        assert_eq!(queue.next_lines(), (b"next\n".to_vec(), 0));
        let text = String::from_utf8(about_dropped(7)).unwrap();
        assert!(text.contains("7 lines were dropped here"), "{text}");
    }

    #[test]
    fn a_flush_ends_when_its_time_is_up() {
        let queue = LogQueue::new();
        queue.flush(Duration::from_secs(60));
        queue.state.lock().started = true;
        queue.append(b"for nobody\n");
        queue.flush(Duration::from_millis(10));
        assert!(!queue.state.lock().waiting.is_empty());
    }
}
