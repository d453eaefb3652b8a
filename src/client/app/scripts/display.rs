//! What the messenger shows to a script. Results and remarks go to the screen, which knows their
//! outputs. Messages are pulled by the script itself: here it is only woken, so that the messenger
//! never waits for it.

use std::sync::Arc;

use crate::client::terminal::{Screen, Waker};
use crate::client::view::{Display, End, Person, ViewEvent, Written};

/// The display of a script.
pub(super) struct ScriptDisplay {
    screen: Arc<Screen>,
    waker: Arc<Waker>,
}

impl ScriptDisplay {
    pub(super) fn new(screen: Arc<Screen>, waker: Arc<Waker>) -> Self {
        ScriptDisplay { screen, waker }
    }
}

impl Display for ScriptDisplay {
    fn event(&self, event: ViewEvent) {
        let is_receipt = matches!(event, ViewEvent::Receipt { .. });
        self.screen.event(event);
        if is_receipt {
            self.waker.wake();
        }
    }

    fn show_unread(&self, _event: ViewEvent, _written: Written) {
        self.waker.wake();
    }

    fn all_came(&self, _event: ViewEvent) {}

    fn woken(&self) {
        self.waker.wake();
    }

    fn finish_writing(&self) {
        self.screen.finish_writing();
    }

    fn people(&self, _people: Vec<Person>) {}

    fn ended(&self, end: End) {
        self.screen.ended(end);
    }
}
