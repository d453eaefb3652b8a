//! The thread that prints, and the bounded queue in front of it.
//!
//! A thread that has something to show puts it into the queue, holding no lock. Only the printing
//! thread formats and writes, without a lock, and it reports what was written. After the first
//! text that could not be written it writes nothing more, and what the queue holds counts as not
//! shown.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format;
use super::format::{Look, ProgressMark, Times};
use super::output::{OutputError, Stream};
use crate::client::local_time;
use crate::client::view::{ViewEvent, Written};
use crate::clock;
use crate::protocol::{MessageId, UserName};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How many items may wait to be printed before a thread that adds one has to wait.
const QUEUE: usize = 256;

/// Makes the terminal's bell ring.
const BELL: char = '\x07';

/// The time between two rings of the bell, however many messages arrive.
const BELL_PAUSE: Duration = Duration::from_secs(1);

/// Something to be printed.
pub(super) enum Print {
    /// An event, and the receipt to fill in once it was written.
    ViewEvent(ViewEvent, Option<Written>),
    /// A message of one's own that was sent from another window.
    SentElsewhere(ViewEvent),
    /// Rows of what to type and what it does.
    Table(Vec<(String, String)>),
    /// The program's name in large letters, if there is room for it.
    Banner,
    /// Nothing is to be left on the terminal.
    Clear,
    /// What to do, from here on, when a message arrives.
    Alerts(Alerts),
    /// From here on a line is typed at the bottom; this prints above it.
    Above(Box<dyn PrintAbove + Send>),
}

/// What a person wants to hear and see of a message that arrives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Alerts {
    /// The terminal's bell rings.
    pub bell: bool,
    /// The terminal's title says how many messages are unread.
    pub title: bool,
}

/// Something that prints above the line that is being typed.
pub(super) trait PrintAbove {
    /// Prints a text of whole lines, and returns once it was written.
    ///
    /// # Errors
    /// The terminal is gone.
    fn print(&mut self, text: String) -> io::Result<()>;
    /// Prints a message of one's own in place of the line that it was typed as. Nothing is
    /// printed where the typed line can't be replaced.
    ///
    /// # Errors
    /// The terminal is gone.
    fn sent(&mut self, id: MessageId, text: String) -> io::Result<()>;
    /// Prints a message of one's own that was not typed here, where a mark can follow it; in place of
    /// it `otherwise`, where none can.
    ///
    /// # Errors
    /// The terminal is gone.
    fn sent_elsewhere(&mut self, id: MessageId, text: String, otherwise: String) -> io::Result<()>;
    /// Shows at messages of one's own how far they got. Where none of them was printed, it prints
    /// `otherwise`.
    ///
    /// # Errors
    /// The terminal is gone.
    fn mark(
        &mut self,
        ids: Vec<MessageId>,
        mark: ProgressMark,
        otherwise: String,
    ) -> io::Result<()>;
    /// Clears the terminal.
    ///
    /// # Errors
    /// The terminal is gone.
    fn clear(&mut self) -> io::Result<()>;
}

/// What waits to be printed.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when an item was put in, taken out or written, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Print>,
    /// An item was taken out and is being written.
    busy: bool,
    /// Why nothing is written any more.
    failed: Option<OutputError>,
    /// When to stop waiting for the output's reader, once the program was asked to end.
    deadline: Option<Instant>,
    closed: bool,
}

impl State {
    fn idle(&self) -> bool {
        self.failed.is_some() || (self.waiting.is_empty() && !self.busy)
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }
    }

    /// Puts an item in. Waits for room, unless printing has failed.
    pub(super) fn put(&self, print: Print) {
        let room = |state: &State| state.waiting.len() < QUEUE || state.failed.is_some();
        let mut state = self.wait(None, room);
        if state.failed.is_none() && !state.closed {
            state.waiting.push_back(print);
            self.changed.notify_all();
        }
    }

    /// Waits until all items were written or printing has failed, for at most `limit`.
    pub(super) fn drain(&self, limit: Option<Duration>) {
        drop(self.wait(limit, State::idle));
    }

    /// Bounds, from this moment on, how long the output's reader is waited for.
    pub(super) fn hurry(&self, limit: Duration) {
        let mut state = self.state();
        state.deadline = Some(clock::now() + limit);
        self.changed.notify_all();
    }

    /// Why nothing is printed any more, if so.
    pub(super) fn failed(&self) -> Option<OutputError> {
        self.state().failed.clone()
    }

    /// Ends the thread once everything was written, and waits for that for at most `limit`.
    ///
    /// # Errors
    /// Something was not written.
    pub(super) fn close(&self, limit: Duration) -> Result<(), OutputError> {
        let mut state = self.wait(Some(limit), State::idle);
        if !state.idle() {
            state.failed = Some(OutputError::NotRead);
        }
        state.closed = true;
        self.changed.notify_all();
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Waits until `holds` is true, for at most `limit`. After the deadline of
    /// [`hurry`](Self::hurry), printing counts as failed.
    fn wait(
        &self,
        limit: Option<Duration>,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let until = limit.map(|limit| clock::now() + limit);
        let mut state = self.state();
        while !holds(&state) {
            let now = clock::now();
            if state.deadline.is_some_and(|deadline| now >= deadline) {
                state.failed = Some(OutputError::NotRead);
                self.changed.notify_all();
                break;
            }
            let ends = [until, state.deadline].into_iter().flatten().min();
            state = match ends {
                None => self.changed.wait(state),
                Some(end) if now >= end => break,
                Some(end) => self.changed.wait_timeout(state, end - now),
            };
        }
        state
    }

    /// Waits for the next item; `None` at the end.
    fn next(&self) -> Option<Print> {
        let mut state = self.wait_for_work();
        let print = state.waiting.pop_front();
        state.busy = print.is_some();
        self.changed.notify_all();
        print
    }

    fn wait_for_work(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.waiting.is_empty() && !state.closed {
            state = self.changed.wait(state);
        }
        state
    }

    fn done(&self, failed: Option<OutputError>) {
        let mut state = self.state();
        state.busy = false;
        if state.failed.is_none() {
            state.failed = failed;
        }
        if state.failed.is_some() {
            state.waiting.clear();
        }
        self.changed.notify_all();
    }

    /// Takes the lock. The state is consistent after each statement.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What goes to which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routes {
    /// Everything to standard output, for a person.
    Together,
    /// Warnings and errors to standard error.
    WarningsAside,
    /// To standard output only what a command was asked for; all else to standard error.
    Data {
        /// As JSON, if this is given: the account whose data it is.
        json: Option<UserName>,
        /// Of all else, only warnings and errors.
        quiet: bool,
    },
}

impl Routes {
    /// Where an event goes, and its text; `None` if it is left out.
    fn route(self, event: &ViewEvent, look: Look) -> Option<(Stream, String)> {
        let stream = match self {
            Routes::WarningsAside if event.is_warning() => Stream::Err,
            Routes::Together | Routes::WarningsAside => Stream::Out,
            Routes::Data { json, .. } if event.is_data() => {
                if let Some(line) = json.and_then(|me| format::json::line(event, &me)) {
                    return Some((Stream::Out, line));
                }
                Stream::Out
            }
            Routes::Data { quiet: true, .. } if !event.is_warning() => return None,
            Routes::Data { .. } => Stream::Err,
        };
        Some((stream, format::lines(event, look, stream.columns())))
    }
}

/// The printing thread's own state.
pub(super) struct Printer {
    look: Look,
    routes: Routes,
    above: Option<Box<dyn PrintAbove + Send>>,
    /// The day of the message that was shown last, or today.
    day: String,
    /// What was shown last is a message of a list.
    in_list: bool,
    alerts: Alerts,
    /// When the bell rang last.
    rung: Option<Instant>,
}

impl Printer {
    pub(super) fn new(look: Look, routes: Routes) -> Self {
        Printer {
            look,
            routes,
            above: None,
            day: local_time::day(clock::unix_ms()),
            in_list: false,
            alerts: Alerts::default(),
            rung: None,
        }
    }

    /// Prints items until the queue is closed. It calls `failed` once, if one could not be
    /// written.
    pub(super) fn run(mut self, queue: &Queue, failed: impl Fn()) {
        while let Some(print) = queue.next() {
            match self.print(print) {
                Ok(written) => {
                    if let Some(written) = written
                        && queue.failed().is_none()
                    {
                        written.note();
                    }
                    queue.done(None);
                }
                Err(why) => {
                    queue.done(Some(why));
                    failed();
                }
            }
        }
    }

    fn print(&mut self, print: Print) -> Result<Option<Written>, OutputError> {
        match print {
            Print::ViewEvent(event, written) => {
                self.print_event(&event, written.is_some())?;
                Ok(written)
            }
            Print::SentElsewhere(event) => {
                self.print_sent_elsewhere(&event)?;
                Ok(None)
            }
            Print::Table(rows) => {
                self.write(
                    Stream::Out,
                    &format::table(&rows, self.look, Stream::Out.columns()),
                )?;
                Ok(None)
            }
            Print::Banner => {
                let banner = format::banner(self.look, Stream::Out.size());
                self.write(Stream::Out, &banner)?;
                Ok(None)
            }
            Print::Clear => {
                self.day = local_time::day(clock::unix_ms());
                self.in_list = false;
                if let Some(above) = &mut self.above {
                    above.clear().map_err(unwritable)?;
                }
                Ok(None)
            }
            Print::Alerts(alerts) => {
                self.alerts = alerts;
                Ok(None)
            }
            Print::Above(above) => {
                self.above = Some(above);
                Ok(None)
            }
        }
    }

    fn print_event(&mut self, event: &ViewEvent, arrives: bool) -> Result<(), OutputError> {
        let Some((stream, text)) = self.routes.route(event, self.look) else {
            return Ok(());
        };
        match (&mut self.above, event) {
            (Some(above), ViewEvent::Sent { id, .. }) => {
                return above.sent(*id, text).map_err(unwritable);
            }
            (Some(above), ViewEvent::Receipt { state, ids, .. }) => {
                let mark = format::mark(state, self.look);
                let otherwise = match *state {
                    "not sent" | "expired" => String::new(),
                    _ => text,
                };
                return above.mark(ids.clone(), mark, otherwise).map_err(unwritable);
            }
            (
                None,
                ViewEvent::Sent { .. }
                | ViewEvent::Receipt {
                    state: "not sent" | "expired",
                    ..
                },
            ) => {
                return Ok(());
            }
            _ => {}
        }
        let mut whole = self.day_line(event).unwrap_or_default();
        whole.push_str(&text);
        if arrives && self.rings() {
            whole.push(BELL);
        }
        self.write(stream, &whole)
    }

    /// A message that was sent from another window, where a mark can follow it if there are marks.
    fn print_sent_elsewhere(&mut self, event: &ViewEvent) -> Result<(), OutputError> {
        match (&mut self.above, format::as_sent(event)) {
            (Some(above), Some((id, sent))) => {
                let columns = Stream::Out.columns();
                let lines = |event| format::lines(event, self.look, columns);
                let shown = above.sent_elsewhere(id, lines(&sent), lines(event));
                shown.map_err(unwritable)
            }
            _ => self.print_event(event, false),
        }
    }

    /// A line with the day of a message, if the one before was of another day, or if a list
    /// begins with it and it is not of today.
    fn day_line(&mut self, event: &ViewEvent) -> Option<String> {
        let was_in_list = std::mem::replace(&mut self.in_list, false);
        let ViewEvent::Message { at, listed, .. } = event else {
            return None;
        };
        self.in_list = *listed;
        if *listed && !was_in_list {
            self.day = local_time::day(clock::unix_ms());
        }
        let day = local_time::day(*at);
        if self.look.times != Times::OfDay || day == self.day {
            return None;
        }
        self.day = day;
        Some(format::day(&self.day, self.look, Stream::Out.columns()))
    }

    /// Whether the bell is to ring now.
    fn rings(&mut self) -> bool {
        let now = clock::now();
        let is_silent = |rung: Instant| now.saturating_duration_since(rung) < BELL_PAUSE;
        if !self.alerts.bell || self.rung.is_some_and(is_silent) {
            return false;
        }
        self.rung = Some(now);
        true
    }

    fn write(&mut self, stream: Stream, text: &str) -> Result<(), OutputError> {
        let written = match &mut self.above {
            Some(above) => above.print(text.to_owned()),
            None => stream.write(text),
        };
        written.map_err(|error| OutputError::Unwritable(stream, Arc::new(error)))
    }
}

fn unwritable(error: io::Error) -> OutputError {
    OutputError::Unwritable(Stream::Out, Arc::new(error))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use std::sync::Arc;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn line(number: usize) -> Print {
        Print::ViewEvent(ViewEvent::plain(number.to_string()), None)
    }

    fn number(print: Option<Print>) -> Option<usize> {
        match print? {
            Print::ViewEvent(ViewEvent::Line(_, text), None) => text.parse().ok(),
            _ => None,
        }
    }

    #[test]
    fn whoever_shows_too_much_waits_and_the_order_holds() {
        let queue = Arc::new(Queue::new());
        let shared = Arc::clone(&queue);
        let shows = thread::spawn(move || (0..3 * QUEUE).for_each(|at| shared.put(line(at))));
        for expected in 0..3 * QUEUE {
            assert_eq!(number(queue.next()), Some(expected));
            assert!(queue.state().waiting.len() <= QUEUE);
            queue.done(None);
        }
        shows.join().unwrap();
        queue.drain(None);
        queue.close(SOON).unwrap();
        assert_eq!(number(queue.next()), None);
    }

    #[test]
    fn nobody_waits_for_an_output_that_failed() {
        let queue = Queue::new();
        queue.put(line(0));
        queue.put(line(1));
        assert_eq!(number(queue.next()), Some(0));
        let full = Arc::new(io::ErrorKind::StorageFull.into());
        queue.done(Some(OutputError::Unwritable(Stream::Out, full)));
        (0..3 * QUEUE).for_each(|at| queue.put(line(at)));
        queue.drain(None);
        assert!(
            queue.state().waiting.is_empty(),
            "nothing of it is written later"
        );
        let error = queue.close(SOON).unwrap_err();
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_reader_that_does_not_read_is_given_up() {
        for told_to_end in [false, true] {
            let queue = Queue::new();
            (0..QUEUE).for_each(|at| queue.put(line(at)));
            assert_eq!(number(queue.next()), Some(0));
            queue.put(line(QUEUE));
            if told_to_end {
                queue.hurry(SOON);
                // There is no room for it.
                queue.put(line(QUEUE + 1));
                queue.drain(None);
            }
            let closed = queue.close(SOON);
            assert!(matches!(closed, Err(OutputError::NotRead)), "{closed:?}");
        }
    }

    #[test]
    fn every_list_of_earlier_messages_begins_with_its_day() {
        let look = Look {
            times: Times::OfDay,
            colours: false,
            plain: false,
            controls: true,
        };
        let mut printer = Printer::new(look, Routes::Together);
        let message = |at: u64| ViewEvent::Message {
            name: "bob".parse().unwrap(),
            outgoing: false,
            text: "hello".to_owned(),
            at,
            mark: crate::client::view::Mark::None,
            state: "received",
            id: MessageId([1; 16]),
            verified: false,
            failed: None,
            listed: true,
        };
        let other = ViewEvent::plain("a remark");
        let mut dated = |event: &ViewEvent| printer.day_line(event).is_some();
        assert!(dated(&message(0)) && !dated(&message(1)));
        assert!(!dated(&other));
        assert!(dated(&message(1)), "the day was said above the remark only");
        assert!(dated(&message(clock::unix_ms())) && !dated(&other));
        assert!(!dated(&message(clock::unix_ms())), "today needs no day");
    }
}
