//! Printing, from whichever thread: what is shown goes into one queue, and the
//! thread `screen` writes it, so that nobody else waits for a terminal or a pipe
//! while holding anything. It also passes on what completion and the prompt know.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::InputEvent;
use super::completion::Completion;
use super::format::Look;
use super::printing::{Print, PrintAbove, Printer, Queue};
use super::{modes, output};
use crate::appearance;
use crate::client::view::{Display, End, Person, ViewEvent, Written};
use crate::protocol::UserName;
use crate::sync;

/// How long the end of a script waits for the reader of its output.
const SCRIPT_WRITES: Duration = Duration::from_secs(30);

/// How long a person's terminal is waited for, which may be stopped by Ctrl-S.
const PERSON_WRITES: Duration = Duration::from_secs(3);

/// How long a question waits for what is to stand above it on a terminal.
const BEFORE_A_QUESTION: Duration = Duration::from_secs(1);

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Colours {
    /// On a terminal that obeys control sequences, unless NO_COLOR is set; elsewhere if
    /// CLICOLOR_FORCE is.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colours {
    fn wanted(self, plain: bool) -> bool {
        match self {
            Colours::Always => true,
            Colours::Never => false,
            Colours::Auto => {
                let terminal = io::stdout().is_terminal();
                !plain && appearance::colours(terminal) && (!terminal || modes::obeys_controls())
            }
        }
    }
}

/// Where everything is shown.
pub(crate) struct Screen {
    queue: Arc<Queue>,
    completion: Arc<Completion>,
    plain: bool,
    interactive: bool,
    tell: SyncSender<InputEvent>,
}

impl Screen {
    /// Starts the thread `screen`, which ends with [`close`](Self::close).
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub(super) fn start(
        colours: Colours,
        plain: bool,
        interactive: bool,
        tell: SyncSender<InputEvent>,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let printer = Printer {
            look: Look {
                colours: colours.wanted(plain),
                plain,
                controls: modes::obeys_controls(),
            },
            aside: !interactive,
            above: None,
        };
        let (shared, stop) = (Arc::clone(&queue), tell.clone());
        sync::spawn("screen", None, move || {
            printer.run(&shared, || {
                // Whoever asks for the next line hears of it in any case.
                let _full = stop.try_send(InputEvent::Stop);
            });
        })?;
        Ok(Screen {
            queue,
            completion: Arc::default(),
            plain,
            interactive,
            tell,
        })
    }

    pub(super) fn print_above(&self, printer: Box<dyn PrintAbove + Send>) {
        self.queue.put(Print::Above(printer));
    }

    /// Shows one thing.
    pub(crate) fn print(&self, event: &ViewEvent) {
        self.queue.put(Print::ViewEvent(event.clone(), None));
    }

    /// The banner, for a person.
    pub(crate) fn banner(&self) {
        if self.interactive && !self.plain {
            self.queue.put(Print::Banner);
        }
    }

    /// A list of commands or of the menu, each a key and what it does.
    pub(crate) fn table(&self, rows: &[(String, &str)]) {
        let owned = |(key, what): &(String, &str)| (key.clone(), (*what).to_owned());
        self.queue
            .put(Print::Table(rows.iter().map(owned).collect()));
    }

    /// Before something is asked: waits for what is to stand above the question.
    /// Whether it is of any use to ask, since what was shown could be written.
    pub(super) fn ready(&self) -> bool {
        self.queue
            .settle(self.interactive.then_some(BEFORE_A_QUESTION));
        self.queue.failed().is_none()
    }

    /// The program is told to end: the reader of the output is not waited for much longer.
    pub(super) fn hurry(&self) {
        self.queue.hurry(PERSON_WRITES);
    }

    /// Ends the thread once everything was written. If that fails, says so on
    /// standard error.
    ///
    /// # Errors
    /// That something was not written.
    pub(super) fn close(&self) -> Result<(), NotWritten> {
        self.queue.close(self.patience()).map_err(|why| {
            output::last_words(&format!(
                "client: {why}; what was not shown stays unread, and is shown at the next login"
            ));
            NotWritten
        })
    }

    fn patience(&self) -> Duration {
        match self.interactive {
            true => PERSON_WRITES,
            false => SCRIPT_WRITES,
        }
    }

    /// Whether somebody known was verified; `None` if they aren't known.
    pub(crate) fn verified(&self, name: &UserName) -> Option<bool> {
        self.completion.verified(name)
    }

    /// Which commands and names are to be completed.
    pub(crate) fn log(&self, logged_in: bool) {
        self.completion.set_logged_in(logged_in);
    }

    pub(super) fn completion(&self) -> &Arc<Completion> {
        &self.completion
    }
}

/// Something that was to be shown could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotWritten;

impl Display for Screen {
    fn event(&self, event: ViewEvent) {
        self.queue.put(Print::ViewEvent(event, None));
    }

    fn show_unread(&self, event: ViewEvent, written: Written) {
        self.queue.put(Print::ViewEvent(event, Some(written)));
    }

    fn settle(&self) {
        self.queue.settle(Some(self.patience()));
    }

    fn people(&self, people: Vec<Person>) {
        self.completion.set_people(people);
    }

    fn ended(&self, end: End) {
        let (End::ShutOut(why) | End::Vault(why)) = &end;
        self.print(&ViewEvent::bad(why.as_str()));
        // If nobody listens, the program is ending already.
        let _gone = self.tell.try_send(InputEvent::Ended(end));
    }
}
