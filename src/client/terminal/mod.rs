//! The only room that prints and that reads keys.
//!
//! On a terminal, lines are typed with editing and completion, and what arrives
//! meanwhile is printed above the line. Without one, lines are read as they come,
//! there are no prompts, banners or colours, and warnings and errors go to stderr.
//!
//! Three threads: `screen` prints what is put into its queue, and ends with
//! [`Terminal::finish`]. `input` reads a line or a secret when asked to, so that the asker
//! can hear of signals meanwhile; it ends when nobody asks any more, or with the
//! process if it is in the middle of a read. `signals` lives as long as the process.

mod format;
mod input;
mod output;
mod printing;
mod screen;

pub use screen::{Colours, NotWritten, Screen};

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use super::messenger::{End, Show};
use input::Ask;

/// What comes from outside while the main thread waits.
#[derive(Debug)]
pub enum Heard {
    /// A line was typed.
    Line(Zeroizing<String>),
    /// There will be no more lines.
    Eof,
    /// The person or the system wants the program to end.
    Stop,
    /// The session ended by itself.
    Ended(End),
    /// Reading failed.
    Failed(String),
}

/// How many things may be heard before whoever tells waits.
const HEARD: usize = 16;

/// The person, or the script, at the other end.
pub struct Terminal {
    screen: Arc<Screen>,
    asks: SyncSender<Ask>,
    heard: Receiver<Heard>,
    /// A line was asked for and has not come yet.
    asked: bool,
    /// The program is to end.
    stopped: bool,
    interactive: bool,
    /// How the terminal was before, for an end in the middle of a read.
    before: Option<Termios>,
}

impl Terminal {
    /// Takes over stdin, stdout and the signals.
    ///
    /// # Errors
    /// That there are no threads or signals to be had.
    pub fn open(colours: Colours, plain: bool) -> io::Result<Self> {
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let before = tcgetattr(io::stdin()).ok();
        let (tell, heard) = sync_channel(HEARD);
        let (asks, asked) = sync_channel(1);
        let screen = Arc::new(Screen::start(colours, plain, interactive, tell.clone())?);
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        watch(signals, tell.clone(), before.clone(), Arc::clone(&screen))?;
        let shown = Arc::clone(&screen);
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                if interactive {
                    input::from_keys(&asked, &tell, &shown);
                } else {
                    input::from_lines(&asked, &tell);
                }
            })?;
        Ok(Terminal {
            screen,
            asks,
            heard,
            asked: false,
            stopped: false,
            interactive,
            before,
        })
    }

    /// Where to show things.
    pub fn screen(&self) -> &Arc<Screen> {
        &self.screen
    }

    /// Shows one thing.
    pub fn say(&self, show: &Show) {
        self.screen.print(show);
    }

    /// Whether there is a person to ask.
    pub fn interactive(&self) -> bool {
        self.interactive
    }

    /// Waits for a line, or for something else that happens first. Then the next
    /// call goes on waiting for the same line.
    pub fn line(&mut self, prompt: &str) -> Heard {
        self.ask(Ask::Line(prompt.to_owned()))
    }

    /// Waits for a line that isn't shown while it is typed.
    pub fn secret(&mut self, prompt: &str) -> Heard {
        self.ask(Ask::Secret(prompt.to_owned()))
    }

    fn ask(&mut self, ask: Ask) -> Heard {
        let gone = || Heard::Failed("the input is gone".to_owned());
        if !self.screen.ready() {
            self.stopped = true;
            return Heard::Stop;
        }
        if !self.asked {
            if self.asks.send(ask).is_err() {
                return gone();
            }
            self.asked = true;
        }
        let heard = self.heard.recv().unwrap_or_else(|_| gone());
        if !matches!(heard, Heard::Ended(_)) {
            self.asked = false;
        }
        self.stopped |= matches!(heard, Heard::Stop);
        heard
    }

    /// Whether [`Heard::Stop`] was heard, whatever was being asked just then.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Waits until everything was written, for a limited time, and leaves the
    /// terminal as it was found.
    ///
    /// # Errors
    /// That something was not written, of which the person has been told.
    pub fn finish(&self) -> Result<(), NotWritten> {
        let written = self.screen.close();
        restore(self.before.as_ref());
        written
    }
}

fn restore(before: Option<&Termios>) {
    if let Some(before) = before {
        // There is nobody left to tell if it fails.
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

fn watch(
    mut signals: Signals,
    tell: SyncSender<Heard>,
    before: Option<Termios>,
    screen: Arc<Screen>,
) -> io::Result<()> {
    let watch = move || {
        let mut told = false;
        for _signal in signals.forever() {
            screen.hurry();
            // A second one means that the orderly end takes too long.
            if std::mem::replace(&mut told, true) || tell.try_send(Heard::Stop).is_err() {
                restore(before.as_ref());
                std::process::exit(1);
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)?;
    Ok(())
}
