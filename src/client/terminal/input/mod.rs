//! The way to the one thread that reads a terminal and draws on it, [`console`]. Whoever
//! asks for a line, prints, or hears a signal tells that thread, and wakes it.

mod console;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use self::console::Console;
use super::InputEvent;
use super::completion::Completion;
use super::editor::Kind;
use super::modes::Modes;
use super::output::Stream;
use super::printing::PrintAbove;
use crate::sync;

/// How many requests wait before whoever has one waits, too.
const REQUESTS: usize = 16;

/// What the thread is asked for. Each is answered at once, but for a line.
enum Request {
    /// A line of this kind, with this prompt; it is told as [`InputEvent`].
    Ask(Kind, String),
    /// Another prompt for the line that was asked for, if it has not come yet.
    AskAgain(Kind, String),
    /// Text to show, whole lines.
    Print(String, SyncSender<io::Result<()>>),
    /// Let another program have the terminal.
    Lend(SyncSender<()>),
    /// The other program is done.
    TakeBack,
    /// Leave the terminal as it was found.
    End(SyncSender<()>),
}

/// What wakes the thread, besides keys.
struct Bell {
    wake: UnixStream,
    /// The terminal has another size, or the program goes on after a stop.
    redraw: AtomicBool,
    resumed: AtomicBool,
    /// Ctrl-C, on a terminal that edits lines by itself.
    interrupted: AtomicBool,
    /// Whether Ctrl-C comes as a signal, and is not meant to end the program.
    signals: AtomicBool,
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Input {
    requests: SyncSender<Request>,
    bell: Arc<Bell>,
}

impl Input {
    /// Starts the thread. It ends with [`Input::end`], or when nobody can ask any more.
    ///
    /// # Errors
    /// That there is no thread or no terminal to be had.
    pub(super) fn start(
        modes: Modes,
        tell: SyncSender<InputEvent>,
        completion: Arc<Completion>,
    ) -> io::Result<Self> {
        modes.type_in()?;
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (requests, receiver) = sync_channel(REQUESTS);
        let bell = Arc::new(Bell {
            wake,
            redraw: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            signals: AtomicBool::new(!modes.edits_lines()),
        });
        let sources = (receiver, woken, Arc::clone(&bell));
        let console = Console::new(sources, modes, tell, completion);
        sync::spawn("input", None, move || console.run())?;
        Ok(Input { requests, bell })
    }

    /// `false` if the thread has ended.
    fn request(&self, request: Request) -> bool {
        let sent = self.requests.send(request).is_ok();
        self.bell.ring();
        sent
    }

    /// Asks for a line, which is told as [`InputEvent`]; `again` if it was asked for already,
    /// and only the prompt is to change. `false` if the thread has ended.
    pub(super) fn ask(&self, kind: Kind, prompt: &str, again: bool) -> bool {
        self.request(match again {
            true => Request::AskAgain(kind, prompt.to_owned()),
            false => Request::Ask(kind, prompt.to_owned()),
        })
    }

    /// Leaves the terminal to another program as it was found, until [`Input::take_back`].
    pub(super) fn lend(&self) {
        let (done, lent) = sync_channel(1);
        // If the thread has ended, the terminal is as it was found.
        if self.request(Request::Lend(done)) {
            let _lent = lent.recv();
        }
    }

    /// Ends what [`Input::lend`] began.
    pub(super) fn take_back(&self) {
        self.request(Request::TakeBack);
    }

    /// Ends the thread, and waits for that as long as `patience`.
    pub(super) fn end(&self, patience: Duration) {
        let (done, ended) = sync_channel(1);
        if self.requests.try_send(Request::End(done)).is_ok() {
            self.bell.ring();
            let _ended = ended.recv_timeout(patience);
        }
    }

    /// The terminal has another size.
    pub(super) fn resized(&self) {
        self.bell.redraw.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// The program goes on after it was stopped.
    pub(super) fn resumed(&self) {
        self.bell.resumed.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// SIGINT: whether that is a key here, which drops what is being typed.
    pub(super) fn interrupted(&self) -> bool {
        let key = self.bell.signals.load(Ordering::SeqCst);
        if key {
            self.bell.interrupted.store(true, Ordering::SeqCst);
            self.bell.ring();
        }
        key
    }
}

impl Bell {
    fn ring(&self) {
        // A pipe that is full wakes as well.
        let _rung = (&self.wake).write(&[0]);
    }
}

impl PrintAbove for Input {
    fn print(&mut self, text: String) -> io::Result<()> {
        let (done, printed) = sync_channel(1);
        if self.request(Request::Print(text.clone(), done))
            && let Ok(printed) = printed.recv()
        {
            return printed;
        }
        // The thread has ended, perhaps just now: there is no line to be torn.
        Stream::Out.write(&text)
    }
}
