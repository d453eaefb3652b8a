//! What a signal does to the running server. SIGINT and SIGTERM end it; SIGHUP has the settings,
//! the certificate and the log's file read again, unless it says that the terminal is gone from
//! which the server was started. What is read again is in [`reload`](super::reload).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::log;
use super::reload::Reloader;
use crate::clock;
use crate::sync;

/// How long after a SIGHUP the terminal may take to go: a shell passes the signal on before it ends
/// itself.
const TERMINAL_GOES: Duration = Duration::from_secs(5);

/// How often it is looked at meanwhile.
const TERMINAL_CHECK: Duration = Duration::from_millis(100);

/// Signals that are kept from the moment of [`begin`](Self::begin), to be acted upon by [`watch`].
pub(super) struct Kept {
    signals: Signals,
    terminal: Terminal,
}

impl Kept {
    /// Begins to keep them. Until then each ends the process in the system's way.
    ///
    /// # Errors
    /// They can't be received.
    pub(super) fn begin() -> io::Result<Self> {
        let terminal = Terminal::at_start();
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        Ok(Kept { signals, terminal })
    }
}

/// Whether the server ends with the terminal from which it was started.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    ends_the_server: bool,
}

impl Terminal {
    /// Looks whether there is a terminal. Under `nohup`, which has SIGHUP ignored, its end is not
    /// the server's. Call it before signals are received.
    fn at_start() -> Self {
        Terminal {
            ends_the_server: has_terminal() && !ignores_hangup(),
        }
    }

    fn is_gone(self) -> bool {
        self.ends_the_server && !has_terminal()
    }
}

/// Whether this process has a controlling terminal, which it loses when that is closed.
fn has_terminal() -> bool {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options.open("/dev/tty").is_ok()
}

/// Whether SIGHUP is ignored. Elsewhere than on Linux nothing tells, so it is taken to end the server.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal number 1 is the lowest bit.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Starts the thread that receives signals. The first SIGINT or SIGTERM asks for an orderly
/// shutdown, the second ends the process at once, which loses nothing that was accepted.
pub(super) fn watch(kept: Kept, stopping: Arc<AtomicBool>, reloader: Reloader) -> io::Result<()> {
    let Kept {
        mut signals,
        terminal,
    } = kept;
    let reloader = Arc::new(reloader);
    sync::spawn("signals", None, move || {
        for signal in signals.forever() {
            if signal != SIGHUP {
                if stopping.swap(true, Ordering::AcqRel) {
                    std::process::exit(128 + signal);
                }
            } else if terminal.is_gone() {
                end_with_terminal(&stopping);
            } else {
                log::reopen();
                start_reload(&reloader, &stopping, terminal);
            }
        }
    })
    .map(|_| ())
}

fn end_with_terminal(stopping: &AtomicBool) {
    if !stopping.swap(true, Ordering::AcqRel) {
        log::info(
            None,
            format_args!("the terminal is gone from which the server was started"),
        );
    }
}

/// Reads again on a thread of its own, because the files may lie on a disk that does not answer, and
/// SIGTERM must work nevertheless. After a SIGHUP that comes meanwhile the thread reads once more.
fn start_reload(reloader: &Arc<Reloader>, stopping: &Arc<AtomicBool>, terminal: Terminal) {
    /// Signals for which it was not yet read to the end.
    static OPEN: AtomicU32 = AtomicU32::new(0);
    if OPEN.fetch_add(1, Ordering::AcqRel) > 0 {
        log::warn(
            None,
            format_args!(
                "the settings and the certificate are still being read; they are read once more then"
            ),
        );
        return;
    }
    let (reloader, stopping) = (Arc::clone(reloader), Arc::clone(stopping));
    let started = sync::spawn("reload", None, move || {
        loop {
            let open = OPEN.load(Ordering::Acquire);
            reloader.reload();
            if OPEN.fetch_sub(open, Ordering::AcqRel) == open {
                break;
            }
        }
        let until = clock::now() + TERMINAL_GOES;
        while terminal.ends_the_server && clock::now() < until {
            if terminal.is_gone() {
                return end_with_terminal(&stopping);
            }
            sync::sleep(TERMINAL_CHECK);
        }
    });
    if let Err(error) = started {
        OPEN.store(0, Ordering::Release);
        log::error(
            None,
            format_args!("everything stays as it was: no thread to read it again: {error}"),
        );
    }
}
