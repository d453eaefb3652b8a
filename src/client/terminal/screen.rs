//! Printing, from whichever thread: what is shown goes into one queue, and the thread
//! `screen` writes it, so that nobody waits for a terminal while holding anything.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Heard;
use super::format::{self, Paint};
use super::input::PrintAbove;
use crate::client::messenger::{Display, End, Person, Show, Tone};
use crate::protocol::UserName;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Colours {
    /// On a terminal, unless NO_COLOR is set; elsewhere if CLICOLOR_FORCE is.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colours {
    fn wanted(self, plain: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Colours::Always => true,
            Colours::Never => false,
            Colours::Auto if plain || set("NO_COLOR") => false,
            Colours::Auto => {
                let forced = std::env::var_os("CLICOLOR_FORCE");
                forced.is_some_and(|value| !value.is_empty() && value != "0")
                    || io::stdout().is_terminal()
            }
        }
    }
}

/// How many things wait to be printed before whoever shows one waits, too.
const QUEUE: usize = 256;

/// What the thread that prints is asked for.
enum Print {
    /// Text, and whether it is a warning or an error.
    Text(String, bool),
    /// From here on a line is typed below: this prints above it.
    Above(Box<dyn PrintAbove + Send>),
    /// Say when all that came before is written.
    Ready(SyncSender<()>),
}

/// Where everything is printed.
pub struct Screen {
    queue: SyncSender<Print>,
    people: Mutex<Vec<Person>>,
    logged_in: Mutex<bool>,
    colours: bool,
    plain: bool,
    interactive: bool,
    tell: SyncSender<Heard>,
}

impl Screen {
    /// Starts the thread `screen`, which ends when nobody can show anything any more.
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub(super) fn start(
        colours: Colours,
        plain: bool,
        interactive: bool,
        tell: SyncSender<Heard>,
    ) -> io::Result<Self> {
        let (queue, prints) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || print_all(&prints))?;
        Ok(Screen {
            queue,
            people: Mutex::new(Vec::new()),
            logged_in: Mutex::new(false),
            colours: colours.wanted(plain),
            plain,
            interactive,
            tell,
        })
    }

    pub(super) fn print_above(&self, printer: Box<dyn PrintAbove + Send>) {
        let _ended = self.queue.send(Print::Above(printer));
    }

    /// Waits until all that was shown is written.
    pub(super) fn ready(&self) {
        let (done, ready) = sync_channel(1);
        if self.queue.send(Print::Ready(done)).is_ok() {
            let _ended = ready.recv();
        }
    }

    /// Prints one thing.
    pub fn print(&self, show: &Show) {
        let text = format::lines(show, Paint(self.colours), self.plain);
        let aside = matches!(show, Show::Line(Tone::Bad | Tone::Warning, _));
        self.write(&text, aside && !self.interactive);
    }

    /// The banner, for a person.
    pub fn banner(&self) {
        if self.interactive && !self.plain {
            self.write(&format::banner(Paint(self.colours)), false);
        }
    }

    /// A list of commands or of the menu, each a key and what it does.
    pub fn table(&self, rows: &[(String, &str)]) {
        self.write(&format::table(rows, Paint(self.colours)), false);
    }

    /// Whether somebody known was verified; `None` if they aren't known.
    pub fn verified(&self, name: &UserName) -> Option<bool> {
        let people = held(&self.people);
        let person = people.iter().find(|person| person.name == *name);
        person.map(|person| person.verified)
    }

    /// Which commands and names are to be completed.
    pub fn log(&self, logged_in: bool) {
        *held(&self.logged_in) = logged_in;
        if !logged_in {
            held(&self.people).clear();
        }
    }

    pub(super) fn completion(&self) -> (bool, Vec<String>) {
        let people = held(&self.people);
        let names = people.iter().map(|person| person.name.to_string());
        (*held(&self.logged_in), names.collect())
    }

    fn write(&self, text: &str, aside: bool) {
        let _ended = self.queue.send(Print::Text(text.to_owned(), aside));
    }
}

/// Writing to a reader that is gone is no failure of ours.
fn print_all(prints: &Receiver<Print>) {
    let mut above: Option<Box<dyn PrintAbove + Send>> = None;
    for print in prints {
        let _written = match (print, above.as_mut()) {
            (Print::Above(printer), _) => {
                above = Some(printer);
                continue;
            }
            (Print::Ready(done), _) => {
                let _gone = done.send(());
                continue;
            }
            (Print::Text(text, _), Some(above)) => above.print(text),
            (Print::Text(text, true), None) => io::stderr().lock().write_all(text.as_bytes()),
            (Print::Text(text, false), None) => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

impl Display for Screen {
    fn show(&self, show: Show) {
        self.print(&show);
    }

    fn people(&self, people: Vec<Person>) {
        *held(&self.people) = people;
    }

    fn ended(&self, end: End) {
        let (End::ShutOut(why) | End::Vault(why)) = &end;
        self.print(&Show::bad(why.as_str()));
        // If nobody listens, the program is ending already.
        let _gone = self.tell.try_send(Heard::Ended(end));
    }
}

/// What is behind these locks is whole between any two statements.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
