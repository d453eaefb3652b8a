//! The open windows, and what is shown in all of them. Nothing here waits: a window whose queue is
//! full is dropped, so that the messenger never waits for another process.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use super::wire::{ToWindow, WindowKind};
use crate::client::messenger::command::CommandResult;
use crate::client::view::{Display, End, Person, SessionChange, ViewEvent, Written};
use crate::sync::Mutex;

/// How many windows there may be, scripts included.
pub(super) const MAX_WINDOWS: usize = 16;

/// How many items may wait until a window reads them: some more than fill its screen. A window
/// with more is dropped.
pub(super) const QUEUE: usize = 256;

/// What waits to be written to a window.
pub(super) enum Outgoing {
    /// A line.
    Line(ToWindow),
    /// What a command has shown, and its result.
    Answer(Vec<ViewEvent>, CommandResult),
    /// Something may have come.
    Woken,
}

/// An open window.
struct Window {
    number: u64,
    kind: WindowKind,
    queue: SyncSender<Outgoing>,
    /// Shutting it down ends the window's threads.
    stream: UnixStream,
    /// Whether [`Outgoing::Woken`] waits to be written.
    woken: Arc<AtomicBool>,
}

/// All windows.
#[derive(Default)]
pub(super) struct Windows {
    /// Guards the fields of [`State`]. Nothing under it waits, and no lock is taken under it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Window>,
    /// How many connections there are, also those that have said nothing yet.
    connections: usize,
    /// How many windows there were.
    count: u64,
    people: Vec<Person>,
    closed: bool,
}

/// A place among the connections, until it is dropped.
pub(super) struct Place(Arc<Windows>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().connections -= 1;
    }
}

impl Windows {
    /// A place for another connection; `None` if there are enough.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.connections >= MAX_WINDOWS {
            return None;
        }
        state.connections += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Opens a window, and welcomes it before anything else is shown there. Gives its number;
    /// `None` if the session has ended.
    pub(super) fn open(
        &self,
        kind: WindowKind,
        queue: SyncSender<Outgoing>,
        stream: UnixStream,
        woken: Arc<AtomicBool>,
    ) -> Option<u64> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let welcome = ToWindow::Welcome {
            pid: std::process::id(),
            people: state.people.clone(),
        };
        // It is the queue's first item.
        let _queued = queue.try_send(Outgoing::Line(welcome));
        state.count += 1;
        let number = state.count;
        state.open.push(Window {
            number,
            kind,
            queue,
            stream,
            woken,
        });
        Some(number)
    }

    /// Forgets a window that has ended.
    pub(super) fn close(&self, number: u64) {
        let mut state = self.state.lock();
        state.open.retain(|window| window.number != number);
    }

    /// Puts a line into the queues of all windows of people, but one.
    fn show(&self, but: Option<u64>, line: impl Fn() -> ToWindow) {
        let mut state = self.state.lock();
        state.open.retain(|window| {
            if window.kind != WindowKind::Chat || but == Some(window.number) {
                return true;
            }
            let queued = window.queue.try_send(Outgoing::Line(line())).is_ok();
            if !queued {
                let _ended = window.stream.shutdown(Shutdown::Both);
            }
            queued
        });
    }

    /// Tells the windows of scripts that something may have come.
    fn wake(&self) {
        let state = self.state.lock();
        let scripts = state
            .open
            .iter()
            .filter(|window| window.kind == WindowKind::Script);
        for window in scripts {
            if !window.woken.swap(true, Ordering::SeqCst)
                && window.queue.try_send(Outgoing::Woken).is_err()
            {
                window.woken.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Ends all windows, and lets in no more. What is in their queues is still written.
    pub(super) fn end(&self, end: Option<&End>) {
        let mut state = self.state.lock();
        state.closed = true;
        for window in state.open.drain(..) {
            if let Some(end) = end {
                // Without it, the window sees the end of the connection.
                let line = ToWindow::Ended(end.clone());
                let _queued = window.queue.try_send(Outgoing::Line(line));
            }
            let _ended = window.stream.shutdown(Shutdown::Read);
        }
    }
}

/// The display of a session that has windows: its own person's, and all windows.
pub(super) struct SharedDisplay {
    own: Arc<dyn Display>,
    windows: Arc<Windows>,
}

impl SharedDisplay {
    pub(super) fn new(own: Arc<dyn Display>, windows: Arc<Windows>) -> Self {
        SharedDisplay { own, windows }
    }
}

impl Display for SharedDisplay {
    fn event(&self, event: ViewEvent) {
        self.windows.show(None, || ToWindow::Shows(event.clone()));
        if matches!(event, ViewEvent::Receipt { .. }) {
            self.windows.wake();
        }
        self.own.event(event);
    }

    fn answer(&self, event: ViewEvent) {
        self.own.answer(event);
    }

    fn sent(&self, event: ViewEvent, window: Option<u64>) {
        self.windows.show(window, || ToWindow::Sent(event.clone()));
        if window.is_some() {
            self.own.sent(event, window);
        }
    }

    fn show_unread(&self, event: ViewEvent, written: Written) {
        self.windows.show(None, || ToWindow::Message(event.clone()));
        self.windows.wake();
        self.own.show_unread(event, written);
    }

    fn finish_writing(&self) {
        self.own.finish_writing();
    }

    fn people(&self, people: Vec<Person>) {
        self.windows.state.lock().people.clone_from(&people);
        self.windows.show(None, || ToWindow::People(people.clone()));
        self.own.people(people);
    }

    fn session_changed(&self, change: SessionChange) {
        self.windows.show(None, || ToWindow::Changed(change));
        self.own.session_changed(change);
    }

    fn woken(&self) {
        self.own.woken();
    }

    fn ended(&self, end: End) {
        self.windows.end(Some(&end));
        self.own.ended(end);
    }
}
