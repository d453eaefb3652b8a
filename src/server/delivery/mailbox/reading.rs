//! The recipient's side: a session that is attached, and how one that is behind
//! catches up.
//!
//! It never asks the store itself: [`Mailbox::step`] says which page to read, the
//! caller reads it without the mailbox's lock, and [`Mailbox::page`] takes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::window::Window;
use super::writing::Progress;
use super::{Effect, Mailbox, SessionId};
use crate::protocol::request::Body;
use crate::store::{Message, Page, PageBounds};

/// Messages of one page read from the store.
const PAGE_MESSAGES: usize = 500;

/// Bytes after which a page ends.
const PAGE_BYTES: usize = 256 * 1024;

/// What a session takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment {
    /// Which session.
    pub session: SessionId,
    /// Envelopes too; the console can't read them.
    pub envelopes: bool,
    /// Everything as it comes; `Some` for a session that fetches so many at a time.
    pub budget: Option<usize>,
}

/// The next thing a session that is behind needs.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read this page and hand it to [`Mailbox::page`].
    Read(Reading),
    /// Nothing: it is live, full, out of budget or gone.
    Idle,
}

/// A page to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Which.
    pub bounds: PageBounds,
    /// Tells an answer that came too late: the session may have gone back since,
    /// and the store shown messages that were acknowledged in between.
    ticket: u64,
}

#[derive(Debug)]
pub(super) struct Attached {
    what: Attachment,
    pub(super) window: Window,
    position: Position,
    /// The last page asked for.
    ticket: u64,
    /// Acknowledged before this session began, deletion not committed yet: the
    /// store may still show them.
    stale: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// All pending messages up to the newest have been pushed.
    Live,
    /// Pushed up to `cursor`; the store holds nothing above `cursor` and below `store_clear_below`.
    Behind { cursor: u64, store_clear_below: u64 },
}

impl<R> Mailbox<R> {
    /// Begins a session, in place of the one before, unless that is a later
    /// one (`false`). It is behind, from the first pending message: call [`step`](Self::step).
    pub(crate) fn attach(&mut self, what: Attachment) -> bool {
        if self
            .attached
            .as_ref()
            .is_some_and(|a| a.what.session > what.session)
        {
            return false;
        }
        self.make_deferred_due();
        self.attached = Some(Attached {
            what,
            window: Window::default(),
            position: Position::Behind {
                cursor: 0,
                store_clear_below: 0,
            },
            ticket: 0,
            stale: self.acknowledged_on_disk(),
        });
        true
    }

    /// Ends a session; `false` if it was not attached. What it did not
    /// acknowledge stays pending.
    pub(crate) fn detach(&mut self, session: SessionId) -> bool {
        let attached = self.attached(session).is_some();
        if attached {
            self.attached = None;
            self.make_deferred_due();
        }
        attached
    }

    /// Goes back to the first pending message, with a new budget for sessions
    /// that have one. Call [`step`](Self::step) afterwards.
    pub(crate) fn rewind(&mut self, session: SessionId, budget: usize) {
        let stale = self.acknowledged_on_disk();
        if let Some(attached) = self.attached(session) {
            attached.window = Window::default();
            attached.position = Position::Behind {
                cursor: 0,
                store_clear_below: 0,
            };
            attached.stale = stale;
            attached.ticket += 1;
            attached.what.budget = attached.what.budget.map(|_| budget);
        }
    }

    /// Moves a session that is behind: pushes what is at hand, and says what to
    /// read next. `room` says whether its outbox can take more.
    pub(crate) fn step(
        &mut self,
        session: SessionId,
        room: bool,
        effects: &mut Vec<Effect<R>>,
    ) -> Step {
        let next = self.next;
        let Some(attached) = self.attached.as_mut().filter(|a| a.what.session == session) else {
            return Step::Idle;
        };
        loop {
            let Position::Behind {
                cursor,
                store_clear_below,
            } = attached.position
            else {
                return Step::Idle;
            };
            if !room || attached.window.is_full() || attached.what.budget == Some(0) {
                return Step::Idle;
            }
            let unwritten = self.unwritten.after(cursor);
            match unwritten {
                Some(unwritten) if unwritten.message.number <= store_clear_below => {
                    let cursor = unwritten.message.number;
                    let store_clear_below = store_clear_below.max(cursor + 1);
                    attached.position = Position::Behind {
                        cursor,
                        store_clear_below,
                    };
                    let waiting = unwritten.progress != Progress::WritingAcknowledged;
                    if waiting && attached.takes(&unwritten.message) {
                        attached.push(&unwritten.message, effects);
                    }
                }
                None if store_clear_below >= next => {
                    if attached.what.budget.is_none() {
                        attached.position = Position::Live;
                    }
                    return Step::Idle;
                }
                unwritten => {
                    attached.ticket += 1;
                    let bounds = PageBounds {
                        after: cursor,
                        before: unwritten.map_or(next, |first| first.message.number),
                        messages: PAGE_MESSAGES
                            .min(attached.window.space())
                            .min(attached.what.budget.unwrap_or(usize::MAX)),
                        bytes: PAGE_BYTES,
                        envelopes: attached.what.envelopes,
                    };
                    return Step::Read(Reading {
                        bounds,
                        ticket: attached.ticket,
                    });
                }
            }
        }
    }

    /// Takes a page that [`step`](Self::step) asked for. A page that is
    /// not the last one asked for is ignored.
    pub(crate) fn page(
        &mut self,
        session: SessionId,
        reading: Reading,
        page: Page,
        effects: &mut Vec<Effect<R>>,
    ) {
        let Some(attached) = self.attached(session) else {
            return;
        };
        let Position::Behind {
            mut cursor,
            mut store_clear_below,
        } = attached.position
        else {
            return;
        };
        if attached.ticket != reading.ticket {
            return;
        }
        attached.ticket += 1;
        if page.complete {
            store_clear_below = store_clear_below.max(reading.bounds.before);
        }
        for message in page.messages {
            cursor = message.number;
            if !attached.stale.remove(&message.number) {
                attached.push(&Arc::new(message), effects);
            }
        }
        attached.position = Position::Behind {
            cursor,
            store_clear_below,
        };
    }

    /// Pushes a new message to a session that is live; `false` if it was not pushed.
    pub(super) fn push_live(
        &mut self,
        message: &Arc<Message>,
        room: bool,
        effects: &mut Vec<Effect<R>>,
    ) -> bool {
        let envelopes = self.counts.envelopes();
        let Some(attached) = &mut self.attached else {
            return false;
        };
        if attached.position != Position::Live {
            return false;
        }
        if !attached.takes(message) {
            effects.push(Effect::EnvelopesWait(envelopes));
            return false;
        }
        if !room || attached.window.is_full() {
            attached.position = Position::Behind {
                cursor: message.number - 1,
                store_clear_below: message.number,
            };
            return false;
        }
        attached.window.push(message);
        effects.push(Effect::Push(Arc::clone(message)));
        true
    }

    pub(super) fn attached(&mut self, session: SessionId) -> Option<&mut Attached> {
        self.attached.as_mut().filter(|a| a.what.session == session)
    }
}

impl Attached {
    fn takes(&self, message: &Message) -> bool {
        self.what.envelopes || !matches!(message.body, Body::Envelope(_))
    }

    fn push<R>(&mut self, message: &Arc<Message>, effects: &mut Vec<Effect<R>>) {
        self.window.push(message);
        if let Some(budget) = &mut self.what.budget {
            *budget = budget.saturating_sub(1);
        }
        effects.push(Effect::Push(Arc::clone(message)));
    }
}
