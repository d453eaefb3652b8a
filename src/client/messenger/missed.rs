//! What arrives right after a login is shown as a block: how much the server says it is, how far it
//! has come, and where it ends.

use super::Messenger;
use super::session_kind::SessionKind;
use crate::client::view::{SessionChange, ViewEvent, plural};

/// How much has to wait for its progress to be shown.
const WORTH_PROGRESS: u64 = 100;

/// What waited on the server at the login.
pub(super) struct Missed {
    /// How many messages and receipts, as the server says.
    total: u64,
    /// How many of them have come.
    come: u64,
    /// How many messages were shown.
    shown: u64,
}

impl Messenger {
    /// Begins the block, if something waits.
    pub(super) fn begin_missed(&mut self, total: u64) {
        self.end_progress();
        self.missed = (total > 0).then_some(Missed {
            total,
            come: 0,
            shown: 0,
        });
        // A command that gets no mail is about something else.
        if total > 0 && self.login.kind != SessionKind::OneShot {
            self.say(ViewEvent::plain(format!(
                // The server can't tell receipts from messages, and neither can this client yet.
                "while you were away: {total} {}",
                plural(total, "message or receipt", "messages or receipts")
            )));
        }
    }

    /// Notes what has come and what was shown of it, and ends the block with the last of it.
    pub(super) fn note_missed(&mut self, come: usize, shown: usize) {
        let Some(missed) = &mut self.missed else {
            return;
        };
        missed.come += come as u64;
        missed.shown += shown as u64;
        let Missed { total, come, shown } = *missed;
        if come < total {
            if total >= WORTH_PROGRESS {
                let progress = SessionChange::Progress(Some((come, total)));
                self.display.session_changed(progress);
            }
            return;
        }
        self.end_progress();
        match shown {
            0 => self.say(ViewEvent::quiet("that was all: nothing to show")),
            count => self.display.all_came(ViewEvent::quiet(format!(
                "that was all: {count} {}",
                plural(count, "message", "messages")
            ))),
        }
    }

    /// Ends the block without a word, for instance because the connection is lost.
    pub(super) fn end_progress(&mut self) {
        if self.missed.take().is_some() {
            self.display.session_changed(SessionChange::Progress(None));
        }
    }
}
