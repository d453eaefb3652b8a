//! Requests to the thread `input`, the only one that reads a terminal and draws on it (its body
//! is in [`console`]). Other threads ask it for a line, ask it to print, or tell it of a signal.

mod console;
mod marks;
mod title;

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
use super::format::ProgressMark;
use super::modes::Modes;
use super::output::Stream;
use super::printing::PrintAbove;
use crate::protocol::MessageId;
use crate::sync;

/// How many requests may wait before their sender has to wait.
const REQUESTS: usize = 16;

/// What the thread is asked to do. It answers each request at once, except for a line.
enum Request {
    /// Ask for a line of this kind with this prompt, and with a text that is there to be changed. The
    /// line comes as an [`InputEvent`].
    Ask(Kind, String, String),
    /// Change the prompt of the line that was asked for, unless it has come already.
    AskAgain(Kind, String),
    /// Show something above the line.
    Show(Shown, SyncSender<io::Result<()>>),
    /// Leave the terminal to another program.
    Lend(SyncSender<()>),
    /// Take the terminal back from that program.
    Reclaim,
    /// Restore the terminal's modes, and end.
    End(SyncSender<()>),
}

/// What is shown above the line.
enum Shown {
    /// A text of whole lines.
    Text(String),
    /// A message of one's own, in place of the line that it was typed as.
    Sent(MessageId, String),
    /// A message of one's own that was not typed here: where a mark can follow it, and where none
    /// can.
    SentElsewhere(MessageId, String, String),
    /// How far messages of one's own got: the mark, and what to show if none was printed.
    Mark(Vec<MessageId>, ProgressMark, String),
    /// An empty terminal.
    Nothing,
}

/// What wakes the thread besides keys.
struct Bell {
    wake: UnixStream,
    /// The terminal has another size, or the program goes on after a stop.
    resized: AtomicBool,
    resumed: AtomicBool,
    /// The prompt is another.
    changed: AtomicBool,
    /// Ctrl-C, on a terminal that edits lines by itself.
    interrupted: AtomicBool,
    /// Whether Ctrl-C comes as a signal and only drops what is being typed.
    signals: AtomicBool,
}

/// A handle to the thread.
#[derive(Clone)]
pub(super) struct Input {
    requests: SyncSender<Request>,
    bell: Arc<Bell>,
}

impl Input {
    /// Starts the thread. It ends with [`Input::end`], or when the last handle is dropped.
    ///
    /// # Errors
    /// The system has no thread to give, or the terminal is gone.
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
            resized: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            signals: AtomicBool::new(!modes.edits_lines()),
        });
        let sources = (receiver, woken, Arc::clone(&bell));
        let changed = Arc::clone(&bell);
        completion.on_change(move || {
            changed.changed.store(true, Ordering::SeqCst);
            changed.ring();
        });
        let console = Console::new(sources, modes, tell, completion);
        sync::spawn("input", None, move || console.run())?;
        Ok(Input { requests, bell })
    }

    /// Sends a request. Returns `false` if the thread has ended.
    fn request(&self, request: Request) -> bool {
        let sent = self.requests.send(request).is_ok();
        self.bell.ring();
        sent
    }

    /// Asks for a line, which comes as an [`InputEvent`]. With `again`, it was asked for already,
    /// and only its prompt changes. Otherwise `text` stands in the line as if it had been typed.
    /// Returns `false` if the thread has ended.
    pub(super) fn ask(&self, kind: Kind, prompt: &str, text: &str, again: bool) -> bool {
        self.request(match again {
            true => Request::AskAgain(kind, prompt.to_owned()),
            false => Request::Ask(kind, prompt.to_owned(), text.to_owned()),
        })
    }

    /// Leaves the terminal, with its original modes, to another program until
    /// [`Input::reclaim`].
    pub(super) fn lend(&self) {
        let (done, lent) = sync_channel(1);
        // A thread that has ended has restored the terminal already.
        if self.request(Request::Lend(done)) {
            let _lent = lent.recv();
        }
    }

    /// Takes the terminal back after [`Input::lend`].
    pub(super) fn reclaim(&self) {
        self.request(Request::Reclaim);
    }

    /// Ends the thread, and waits for its end for at most `patience`.
    pub(super) fn end(&self, patience: Duration) {
        let (done, ended) = sync_channel(1);
        if self.requests.try_send(Request::End(done)).is_ok() {
            self.bell.ring();
            let _ended = ended.recv_timeout(patience);
        }
    }

    /// Reports that the terminal has another size.
    pub(super) fn resized(&self) {
        self.bell.resized.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Reports that the program continues after a stop.
    pub(super) fn resumed(&self) {
        self.bell.resumed.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Reports SIGINT. Returns whether it stands for a key here, which drops what is being typed.
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
        // A socket that is full wakes the thread as well.
        let _rung = (&self.wake).write(&[0]);
    }
}

impl Input {
    /// Shows something above the line. Once the thread has ended, no line is being typed that
    /// `otherwise` could break, so that is written directly.
    fn show(&mut self, shown: Shown, otherwise: &str) -> io::Result<()> {
        let (done, printed) = sync_channel(1);
        if self.request(Request::Show(shown, done))
            && let Ok(printed) = printed.recv()
        {
            return printed;
        }
        Stream::Out.write(otherwise)
    }
}

impl PrintAbove for Input {
    fn print(&mut self, text: String) -> io::Result<()> {
        self.show(Shown::Text(text.clone()), &text)
    }

    fn sent(&mut self, id: MessageId, text: String) -> io::Result<()> {
        self.show(Shown::Sent(id, text), "")
    }

    fn sent_elsewhere(&mut self, id: MessageId, text: String, otherwise: String) -> io::Result<()> {
        let shown = Shown::SentElsewhere(id, text, otherwise.clone());
        self.show(shown, &otherwise)
    }

    fn mark(
        &mut self,
        ids: Vec<MessageId>,
        mark: ProgressMark,
        otherwise: String,
    ) -> io::Result<()> {
        self.show(Shown::Mark(ids, mark, otherwise.clone()), &otherwise)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.show(Shown::Nothing, "")
    }
}
