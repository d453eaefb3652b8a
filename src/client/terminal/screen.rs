//! Printing: one place, one lock, from whichever thread.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustyline::ExternalPrinter;

use super::Heard;
use super::format::{self, Paint};
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

/// Where everything is printed.
pub struct Screen {
    /// Prints above the line that is being typed, once there is such a thing.
    above: Mutex<Option<Box<dyn ExternalPrinter + Send>>>,
    people: Mutex<Vec<Person>>,
    logged_in: Mutex<bool>,
    colours: bool,
    plain: bool,
    interactive: bool,
    tell: SyncSender<Heard>,
}

impl Screen {
    pub(super) fn new(
        colours: Colours,
        plain: bool,
        interactive: bool,
        tell: SyncSender<Heard>,
    ) -> Self {
        Screen {
            above: Mutex::new(None),
            people: Mutex::new(Vec::new()),
            logged_in: Mutex::new(false),
            colours: colours.wanted(plain),
            plain,
            interactive,
            tell,
        }
    }

    pub(super) fn print_above(&self, printer: Box<dyn ExternalPrinter + Send>) {
        *held(&self.above) = Some(printer);
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

    /// Writing to a reader that is gone is no failure of ours.
    fn write(&self, text: &str, aside: bool) {
        let mut above = held(&self.above);
        let _written = match above.as_mut() {
            Some(printer) => printer
                .print(text.to_owned())
                .map_err(|error| io::Error::other(error.to_string())),
            None if aside => io::stderr().lock().write_all(text.as_bytes()),
            None => {
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
