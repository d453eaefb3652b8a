//! The only part of the client that prints and reads keys.
//!
//! On a terminal, lines are typed with editing and completion, and messages that arrive meanwhile
//! are printed above the line. Without one, lines are read when they are asked for, there are no
//! prompts, banners or colours, and warnings and errors go to standard error.
//!
//! It has three threads, and a fourth after a signal. `screen` prints what is put into its queue. `input` reads every byte that
//! is typed, and draws the line. Both end with [`Terminal::finish`]; without a terminal, `input`
//! ends with the process. `signals` receives signals and ends with the process; after
//! the first one that ends the program, `signal-limit` bounds how long that takes.
//!
//! | file | what |
//! | --- | --- |
//! | `screen`, `printing` | the queue of what is to be shown, and the thread that prints it |
//! | `output` | writes to stdout and stderr; `closed.c` makes closed ones fail |
//! | `format` | how events look, in rows and colours |
//! | `input` | the thread that reads a terminal and draws the line |
//! | `lines` | the thread that reads a pipe or a file |
//! | `input_file` | reads what is named as input, until a signal ends the wait |
//! | `type_ahead`, `keys`, `editor`, `line`, `draw` | from bytes to keys, to a line, to rows, without I/O |
//! | `tty` | asks for a secret or a yes where input and output are not a terminal |
//! | `waker` | what wakes a script that waits |
//! | `completion` | what completion and the prompt know of the session |
//! | `modes` | the terminal's modes, and which terminals show plain text only |

mod completion;
mod draw;
mod editor;
mod format;
mod input;
mod input_file;
mod keys;
mod line;
mod lines;
mod modes;
mod output;
mod printing;
mod screen;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod tty;
mod type_ahead;
mod waker;

pub(crate) use self::format::transcript;
pub(crate) use self::printing::{Alerts, Routes};
pub(crate) use self::screen::{Colours, NotWritten, Screen};
pub(crate) use self::waker::Waker;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use self::editor::Kind;
use self::input::Input;
use self::modes::Modes;
use super::view::{End, ViewEvent};
use crate::clock;
use crate::sync;

/// What the main thread waits for: a line, a signal, or the end of the session.
#[derive(Debug)]
pub(crate) enum InputEvent {
    /// A line was typed or read.
    Line(Zeroizing<String>),
    /// There will be no more lines.
    Eof,
    /// Ctrl-C was pressed instead of an answer to a question.
    Cancelled,
    /// A signal asks the program to end.
    Stop,
    /// The session ended by itself.
    Ended(End),
    /// Reading failed.
    Failed(String),
    /// A [`Waker`] woke whoever waits.
    Woken,
}

/// How many events may wait for the main thread before their sender waits.
const MAX_EVENTS: usize = 16;

/// How long the end of the program waits for a terminal that accepts no more output.
const END_WAITS: Duration = Duration::from_secs(1);

/// How long the orderly end may take after a signal. What was not done by then is done at the next
/// start, as after a kill.
const SIGNAL_WAITS: Duration = Duration::from_secs(5);

/// The person or the script that uses the program.
pub(crate) struct Terminal {
    screen: Arc<Screen>,
    source: Source,
    heard: Receiver<InputEvent>,
    waker: Arc<Waker>,
    /// A line was asked for and has not come yet.
    asked: bool,
    /// [`InputEvent::Stop`] was received.
    stopped: bool,
    /// The signal that ends the program; 0 if there was none.
    signal: Arc<AtomicU8>,
}

/// Where lines come from.
enum Source {
    /// A person's terminal.
    Keys(Input, Modes),
    /// A pipe or a file.
    Lines(SyncSender<Kind>),
    /// Nowhere: a command reads standard input itself, if it wants to.
    Nothing,
}

impl Terminal {
    /// Takes over standard input, standard output and the signals.
    ///
    /// # Errors
    /// The system has no thread to give, the signals can't be received, or the terminal is gone.
    pub(crate) fn open(colours: Colours, plain: bool) -> io::Result<Self> {
        let modes = Modes::of_stdin(plain).filter(|_| io::stdout().is_terminal());
        let routes = match modes {
            Some(_) => Routes::Together,
            None => Routes::WarningsAside,
        };
        Terminal::with(colours, plain, modes, routes)
    }

    /// Takes over standard output and the signals for a command that asks nothing but, perhaps,
    /// a secret.
    ///
    /// # Errors
    /// The system has no thread to give, or the signals can't be received.
    pub(crate) fn open_for_data(colours: Colours, plain: bool, routes: Routes) -> io::Result<Self> {
        Terminal::with(colours, plain, None, routes)
    }

    fn with(
        colours: Colours,
        plain: bool,
        modes: Option<Modes>,
        routes: Routes,
    ) -> io::Result<Self> {
        let (tell, heard) = sync_channel(MAX_EVENTS);
        let screen = Arc::new(Screen::start(colours, plain, routes, tell.clone())?);
        let waker = Arc::new(Waker::new(tell.clone()));
        let source = match modes {
            Some(modes) => {
                let input =
                    Input::start(modes.clone(), tell.clone(), Arc::clone(screen.completion()))?;
                screen.print_above(Box::new(input.clone()));
                Source::Keys(input, modes)
            }
            None if matches!(routes, Routes::Data { .. }) => Source::Nothing,
            None => Source::Lines(read_lines(tell.clone())?),
        };
        let signal = Arc::new(AtomicU8::new(0));
        watch(&source, tell, Arc::clone(&signal), Arc::clone(&screen))?;
        Ok(Terminal {
            screen,
            source,
            heard,
            waker,
            asked: false,
            stopped: false,
            signal,
        })
    }

    /// The screen, on which everything is shown.
    pub(crate) fn screen(&self) -> &Arc<Screen> {
        &self.screen
    }

    /// Shows an event.
    pub(crate) fn say(&self, event: &ViewEvent) {
        self.screen.print(event);
    }

    /// Whether a person can be asked.
    pub(crate) fn interactive(&self) -> bool {
        matches!(self.source, Source::Keys(..))
    }

    /// Waits for a line of the chat, or for another event that comes first. After such an event,
    /// the next call waits for the same line. Its prompt shows what [`Screen`] knows.
    pub(crate) fn line(&mut self) -> InputEvent {
        self.ask(Kind::Line, "", "")
    }

    /// Waits for the answer to a question, which Ctrl-C cancels.
    pub(crate) fn question(&mut self, prompt: &str) -> InputEvent {
        self.ask(Kind::Question, prompt, "")
    }

    /// Waits for the answer to a question that was answered wrongly before: what was typed then
    /// stands there, to be changed.
    pub(crate) fn question_again(&mut self, prompt: &str, typed: &str) -> InputEvent {
        self.ask(Kind::Question, prompt, typed)
    }

    /// Whether [`confirm`](Self::confirm) can ask: a person sees warnings.
    pub(crate) fn can_confirm(&self) -> bool {
        self.interactive() || io::stderr().is_terminal()
    }

    /// Waits for the answer to a question that was shown as a warning. In `client | tee log` the
    /// process's own terminal is asked.
    pub(crate) fn confirm(&mut self, prompt: &str) -> InputEvent {
        if self.interactive() {
            return self.question(prompt);
        }
        self.screen.ready();
        let heard = tty::question(prompt, &self.signal);
        self.stopped |= matches!(heard, InputEvent::Stop);
        heard
    }

    /// Waits for an answer that is not shown while it is typed. If input and output are not both
    /// a terminal, the process's own terminal is asked, if it has one.
    pub(crate) fn secret(&mut self, prompt: &str) -> InputEvent {
        match &self.source {
            Source::Keys(..) => self.ask(Kind::Secret, prompt, ""),
            Source::Lines(_) | Source::Nothing => {
                self.screen.ready();
                let heard = tty::secret(prompt, &self.signal);
                self.stopped |= matches!(heard, InputEvent::Stop);
                heard
            }
        }
    }

    /// What wakes [`wait`](Self::wait).
    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Waits until a [`Waker`] wakes it, a signal comes or the session ends; `None` if none of
    /// these happens before `deadline`.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Option<InputEvent> {
        let heard = match deadline {
            None => self.heard.recv().ok(),
            Some(at) => {
                let left = at.saturating_duration_since(clock::now());
                self.heard.recv_timeout(left).ok()
            }
        };
        self.waker.rearm();
        self.stopped |= matches!(heard, Some(InputEvent::Stop));
        heard
    }

    fn ask(&mut self, kind: Kind, prompt: &str, text: &str) -> InputEvent {
        if !self.screen.ready() {
            self.stopped = true;
            return InputEvent::Stop;
        }
        let again = std::mem::replace(&mut self.asked, true);
        let goes_on = match &self.source {
            Source::Keys(input, _) => input.ask(kind, prompt, text, again),
            Source::Lines(asks) => again || asks.send(kind).is_ok(),
            Source::Nothing => false,
        };
        let gone = || InputEvent::Failed("the input is gone".to_owned());
        let heard = match goes_on {
            true => self.heard.recv().unwrap_or_else(|_| gone()),
            false => gone(),
        };
        if !matches!(heard, InputEvent::Ended(_)) {
            self.asked = false;
        }
        self.stopped |= matches!(heard, InputEvent::Stop);
        heard
    }

    /// Gives the terminal to `borrower`, such as a password command, while it runs.
    pub(crate) fn lend<T>(&self, borrower: impl FnOnce() -> T) -> T {
        let Source::Keys(input, _) = &self.source else {
            return borrower();
        };
        self.screen.ready();
        input.lend();
        let result = borrower();
        input.reclaim();
        result
    }

    /// Whether [`InputEvent::Stop`] was received in answer to any question.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The signal that ends the program, if there was one.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Says, from any thread, which signal ends the program; 0 if there was none.
    pub(crate) fn signal_flag(&self) -> &Arc<AtomicU8> {
        &self.signal
    }

    /// Waits for a limited time until everything was written, and restores the terminal's modes.
    ///
    /// # Errors
    /// Something was not written; the person has been told so.
    pub(crate) fn finish(&self) -> Result<(), NotWritten> {
        let written = self.screen.close();
        if let Source::Keys(input, modes) = &self.source {
            input.end(END_WAITS);
            modes.restore();
        }
        written
    }
}

fn read_lines(tell: SyncSender<InputEvent>) -> io::Result<SyncSender<Kind>> {
    let (asks, asked) = sync_channel(1);
    sync::spawn("input", None, move || lines::read(&asked, &tell))?;
    Ok(asks)
}

/// Starts the thread that receives signals.
fn watch(
    source: &Source,
    tell: SyncSender<InputEvent>,
    told: Arc<AtomicU8>,
    screen: Arc<Screen>,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT])?;
    let terminal = match source {
        Source::Keys(input, modes) => Some((input.clone(), modes.clone())),
        Source::Lines(_) | Source::Nothing => None,
    };
    let watch = move || {
        for signal in signals.forever() {
            match (&terminal, signal) {
                (Some((input, _)), SIGWINCH) => input.resized(),
                (Some((input, _)), SIGCONT) => input.resumed(),
                (None, SIGWINCH | SIGCONT) => {}
                (Some((input, _)), SIGINT) if input.interrupted() => {}
                _ => {
                    screen.hurry();
                    let number = u8::try_from(signal).unwrap_or(1);
                    let first = told.swap(number, Ordering::SeqCst) == 0;
                    let modes = terminal.as_ref().map(|(_, modes)| modes.clone());
                    // A person sends a second one if the orderly end takes too long.
                    if !first || tell.try_send(InputEvent::Stop).is_err() {
                        exit(modes.as_ref(), number);
                    }
                    let _at_a_second_signal = sync::spawn("signal-limit", None, move || {
                        sync::sleep(SIGNAL_WAITS);
                        exit(modes.as_ref(), number);
                    });
                }
            }
        }
    };
    sync::spawn("signals", None, watch)?;
    Ok(())
}

/// Ends the process because of a signal.
fn exit(modes: Option<&Modes>, signal: u8) -> ! {
    if let Some(modes) = modes {
        modes.restore();
    }
    std::process::exit(128 + i32::from(signal));
}
