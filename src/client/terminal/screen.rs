//! Printing from any thread. Everything goes into one queue, and the thread `screen` writes it,
//! so that no other thread waits for a terminal or a pipe while it holds something. It also keeps
//! what completion and the prompt know of the session.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::InputEvent;
use super::completion::Completion;
use super::format::{Look, Times};
use super::printing::{Alerts, Print, PrintAbove, Printer, Queue, Routes};
use super::{modes, output};
use crate::appearance;
use crate::client::view::{Display, End, Person, SessionChange, ViewEvent, Written};
use crate::command_line;
use crate::protocol::{MessageId, UserName};
use crate::sync;

/// How long the end of a script waits for the reader of its output.
const SCRIPT_WRITES: Duration = Duration::from_secs(30);

/// How long the end waits for a person's terminal, which Ctrl-S may have stopped.
const PERSON_WRITES: Duration = Duration::from_secs(3);

/// How long a question on a terminal waits for the text that belongs above it.
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

/// The place where everything is shown.
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
    /// The system has no thread to give.
    pub(super) fn start(
        colours: Colours,
        plain: bool,
        routes: Routes,
        tell: SyncSender<InputEvent>,
    ) -> io::Result<Self> {
        let interactive = routes == Routes::Together;
        let queue = Arc::new(Queue::new());
        let look = Look {
            colours: colours.wanted(plain),
            plain,
            controls: modes::obeys_controls(),
            times: match interactive {
                true => Times::OfDay,
                false => Times::Short,
            },
        };
        let printer = Printer::new(look, routes);
        let (shared, stop) = (Arc::clone(&queue), tell.clone());
        sync::spawn("screen", None, move || {
            printer.run(&shared, || {
                // If this queue is full, the next question finds out through `ready`.
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

    /// Shows an event.
    pub(crate) fn print(&self, event: &ViewEvent) {
        self.queue.put(Print::ViewEvent(event.clone(), None));
    }

    /// Sets what a person wants to hear and see of a message that arrives.
    pub(crate) fn set_alerts(&self, alerts: Alerts) {
        if self.interactive {
            self.queue.put(Print::Alerts(alerts));
            self.completion.show_title(alerts.title && !self.plain);
        }
    }

    /// Shows the banner, if a person sees it.
    pub(crate) fn banner(&self) {
        if self.interactive && !self.plain {
            self.queue.put(Print::Banner);
        }
    }

    /// Shows the rows of a help text or menu: what to type, and what it does.
    pub(crate) fn table(&self, rows: Vec<(String, String)>) {
        self.queue.put(Print::Table(rows));
    }

    /// Clears the terminal, if it can be cleared.
    pub(crate) fn clear(&self) {
        if self.interactive && !self.plain {
            self.queue.put(Print::Clear);
        }
    }

    /// Waits until the text that belongs above a question is written. Returns whether asking makes
    /// sense, because everything could be written so far.
    pub(crate) fn ready(&self) -> bool {
        self.queue
            .drain(self.interactive.then_some(BEFORE_A_QUESTION));
        self.queue.failed().is_none()
    }

    /// Notes that the program was asked to end, and bounds all waiting for the output's reader.
    pub(super) fn hurry(&self) {
        self.queue.hurry(PERSON_WRITES);
    }

    /// Ends the thread once everything was written. A failure is also reported on standard error.
    ///
    /// # Errors
    /// Something was not written.
    pub(super) fn close(&self) -> Result<(), NotWritten> {
        self.queue.close(self.patience()).map_err(|why| {
            let me = command_line::called("client");
            output::last_words(&format!(
                "{me}: {why}; messages that were not shown stay unread"
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

    /// Whether this person's identity was verified; `None` if they are not known.
    pub(crate) fn verified(&self, name: &UserName) -> Option<bool> {
        self.completion.verified(name)
    }

    /// Notes a login, or with `None` a logout, for the prompt and for completion.
    pub(crate) fn set_session(&self, me: Option<UserName>) {
        self.completion.set_session(me);
    }

    /// Notes to whom lines without a command go from here on, for the prompt.
    pub(crate) fn set_talks_to(&self, name: Option<UserName>) {
        self.completion.set_talks_to(name);
    }

    /// To whom lines without a command go.
    pub(crate) fn talks_to(&self) -> Option<UserName> {
        self.completion.talks_to()
    }

    /// Notes that the person has turned to somebody, whose messages are not unread any more.
    pub(crate) fn turn_to(&self, name: &UserName) {
        self.completion.turn_to(name);
    }

    /// Which messages are unread of whom: those that came from others than the one who is
    /// written to, since the person last turned to them.
    pub(crate) fn unread(&self) -> Vec<(UserName, Vec<MessageId>)> {
        self.completion.unread()
    }

    pub(super) fn completion(&self) -> &Arc<Completion> {
        &self.completion
    }
}

/// Something that was to be shown could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotWritten;

impl Display for Screen {
    fn event(&self, mut event: ViewEvent) {
        match &mut event {
            ViewEvent::Contact { name, unread, .. } => *unread += self.completion.unread_of(name),
            ViewEvent::Sent { to, .. } => self.completion.turn_to(to),
            _ => {}
        }
        self.queue.put(Print::ViewEvent(event, None));
    }

    fn sent(&self, event: ViewEvent, window: Option<u64>) {
        // What was typed here is on the screen already.
        if window.is_some() {
            self.queue.put(Print::SentElsewhere(event));
        }
    }

    fn show_unread(&self, event: ViewEvent, written: Written) {
        let from = match &event {
            ViewEvent::Message { name, id, .. } => {
                self.completion.arrived(*name, *id);
                Some(*name)
            }
            _ => None,
        };
        self.queue.put(Print::ViewEvent(event, Some(written)));
        if let Some(from) = from
            && self.interactive
            && self.completion.wants_to_know_how_to_answer()
        {
            let hint = format!("to answer, type /to {from} and then just write");
            self.print(&ViewEvent::quiet(hint));
        }
    }

    fn session_changed(&self, change: SessionChange) {
        self.completion.session_changed(change);
    }

    fn finish_writing(&self) {
        self.queue.drain(Some(self.patience()));
    }

    fn people(&self, people: Vec<Person>) {
        self.completion.set_people(people);
    }

    fn ended(&self, end: End) {
        self.print(&match &end {
            End::ShutOut(why) | End::Vault(why) => ViewEvent::bad(why.as_str()),
            End::Gone(why) => ViewEvent::quiet(why.as_str()),
        });
        // If nobody listens, the program is ending already.
        let _gone = self.tell.try_send(InputEvent::Ended(end));
    }
}
