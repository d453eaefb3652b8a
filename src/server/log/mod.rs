//! The server's log: one line for each event, with time, level, connection and what the event is
//! about. It never contains a password, a key or a message.
//!
//! | file | what |
//! | --- | --- |
//! | here | logging, starting, flushing |
//! | `address` | how much of a client's address is told |
//! | `line` | an event as a line for people, or as JSON |
//! | `queue` | the lines that wait to be written, with their bound |
//! | `sink` | standard error or a file, and opening the file again |
//!
//! The reader of standard error may stop reading: a pager, a terminal with Ctrl-S, a log shipper
//! that hangs. Lines therefore go through a bounded queue to the thread `log`, which alone waits
//! for the reader or the disk. Lines that find the queue full are dropped and counted, and the
//! count is logged once lines are written again.
//!
//! Nothing that a peer says can forge a line: a line for people is [sanitized][sanitize], and JSON
//! is written by its own rules.
//!
//! [sanitize]: crate::protocol::sanitize::sanitize

mod address;
mod line;
mod queue;
mod sink;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::ValueEnum;

pub(crate) use self::address::{Addresses, ClientAddress};
use self::line::Line;
use self::queue::LogQueue;
use self::sink::Sink;
pub(crate) use self::sink::{buffer, write_all};
use crate::clock;
use crate::command_line;
use crate::sync;

/// The number of a connection, counted from the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub u64);

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// What helps to find a fault: each refused request, for instance.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What an operator must act on.
    Error,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A sentence for a person.
    Human,
    /// One JSON object.
    Json,
}

/// Where lines go, and which.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How a line is written.
    pub format: Format,
    /// Events below this level are left out.
    pub level: Level,
    /// What is told of clients' addresses.
    pub addresses: Addresses,
    /// The file to append to; standard error without one.
    pub file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            format: Format::Human,
            level: Level::Info,
            addresses: Addresses::Full,
            file: None,
        }
    }
}

/// What an event is about: a name and a value, for programs that read the log.
pub(crate) type Field<'a> = (&'static str, &'a dyn fmt::Display);

static QUEUE: LogQueue = LogQueue::new();
static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The [`Level`] below which events are left out, as a number.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Starts the thread `log`, which ends with the process, and sends the messages of panics to it.
/// Call it once, before anything is logged.
///
/// # Errors
/// The file can't be opened, or the system has no thread to give.
pub(crate) fn start(settings: Settings) -> io::Result<()> {
    let mut sink = Sink::open(settings.file.as_deref())?;
    set_level(settings.level);
    address::set(settings.addresses);
    let _first = SETTINGS.set(settings);
    sync::spawn("log", None, move || {
        loop {
            let taken = QUEUE.next();
            if taken.reopen
                && let Err(error) = sink.reopen()
            {
                let text = format_args!("the log's file can't be opened again: {error}");
                QUEUE.append(&line(Level::Error, "log_file", None, &[], text));
            }
            let mut lines = taken.lines;
            if taken.dropped > 0 {
                lines.extend(about_dropped(taken.dropped));
            }
            QUEUE.count_lost(sink.write(&lines));
            write_all(&io::stderr(), &taken.to_stderr);
        }
    })?;
    QUEUE.start();
    std::panic::set_hook(Box::new(|panic| {
        error(None, format_args!("a fault of the program: {panic}"));
    }));
    Ok(())
}

/// Leaves out events below this level from here on.
pub(crate) fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Leaves out every event from here on. A command that works on a stopped server's folder says what
/// happened in one sentence of its own.
pub(crate) fn silence() {
    LEVEL.store(u8::MAX, Ordering::Relaxed);
}

/// Has the file opened again before the next line is written: it was moved aside.
pub(crate) fn reopen() {
    QUEUE.ask_to_reopen();
}

/// Waits until all lines are written, for at most `limit`. Call it before the process ends.
pub(crate) fn flush(limit: Duration) {
    QUEUE.flush(clock::now() + limit);
}

/// How many lines were dropped or could not be written since the start.
pub(crate) fn dropped() -> u64 {
    QUEUE.lost()
}

/// How many bytes of lines wait to be written.
pub(crate) fn waiting_bytes() -> usize {
    QUEUE.waiting_bytes()
}

/// Logs an event. `kind` is its name for programs, `text` its sentence for people, and the
/// `fields` what it is about.
pub(crate) fn event(
    level: Level,
    kind: &'static str,
    connection: Option<ConnectionId>,
    fields: &[Field<'_>],
    text: fmt::Arguments<'_>,
) {
    if level as u8 >= LEVEL.load(Ordering::Relaxed) {
        append(&line(level, kind, connection, fields, text));
    }
}

/// Logs what an operator may want to know.
pub(crate) fn info(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    event(Level::Info, "server", connection, &[], text);
}

/// Logs what an operator should look at.
pub(crate) fn warn(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    event(Level::Warn, "server", connection, &[], text);
}

/// Logs what an operator must act on.
pub(crate) fn error(connection: Option<ConnectionId>, text: fmt::Arguments<'_>) {
    event(Level::Error, "server", connection, &[], text);
}

/// Writes why the server fails, for the person who has typed its command: a line without a time
/// on standard error. A log that goes elsewhere gets it as well.
pub(crate) fn start_error(failure: &dyn fmt::Display) {
    let plain = format!("{}: {failure}\n", command_line::called("server"));
    match SETTINGS.get() {
        Some(Settings {
            file: None,
            format: Format::Human,
            ..
        })
        | None => append(plain.as_bytes()),
        Some(_) => {
            event(Level::Error, "failed", None, &[], format_args!("{failure}"));
            QUEUE.append_to_stderr(plain.as_bytes());
        }
    }
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
    let text = format_args!("{lines} dropped here, because the log was not read");
    line(Level::Warn, "dropped", None, &[("lines", &count)], text)
}

fn line(
    level: Level,
    kind: &'static str,
    connection: Option<ConnectionId>,
    fields: &[Field<'_>],
    text: fmt::Arguments<'_>,
) -> Vec<u8> {
    let line = Line {
        level,
        kind,
        connection,
        fields,
        text,
    };
    match SETTINGS.get() {
        Some(settings) if settings.format == Format::Json => line.json(),
        Some(settings) if settings.file.is_some() => line.human(false),
        _ => line.human(sink::stderr_has_colours()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told() {
        let text = String::from_utf8(about_dropped(7)).unwrap();
        assert!(text.contains("7 lines were dropped here"), "{text}");
    }
}
