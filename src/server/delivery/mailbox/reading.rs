//! The recipient's side of a mailbox: an attached session and its reading cursor.
//!
//! The machine never asks the store. [`Mailbox::step`] says which page to read, the
//! caller reads it without the mailbox's lock, and [`Mailbox::page`] takes it.
//!
//! # The cursor, step by step
//!
//! The store holds messages 1 to 1200, message 1201 is unwritten, and 1202 is the next
//! number. `Behind(c, s)` stands for a cursor `c` (all up to it was pushed) and a bound
//! `s` (the store has nothing more to push below it).
//!
//! 1. The session attaches: `Behind(0, 0)`.
//! 2. `step` finds 1201 in memory, but knows nothing of what the store holds before it:
//!    it asks for a page of the numbers between 0 and 1201, of at most 500 messages.
//! 3. `page` pushes 1 to 500: `Behind(500, 0)`. The next pages end at 1000 and 1200. The
//!    last one is complete, so the store has nothing more below 1201: `Behind(1200, 1201)`.
//! 4. `step` pushes 1201 from memory: `Behind(1201, 1202)`. Nothing is left in memory,
//!    and the bound has reached the next number: the session is live.
//! 5. Message 1202 is accepted and pushed at once.
//! 6. Message 1203 is accepted while the send queue is full, so it stays in memory:
//!    `Behind(1202, 1203)`. The session has fallen behind.
//! 7. The send queue drains, and `step` pushes 1203 from memory: live again. Had the
//!    writer stored 1203 meanwhile, `step` would ask for a page after 1202.
//! 8. `fetch` rewinds: `Behind(0, 0)`, with an empty window. A page that was asked for
//!    before is ignored, since its ticket is old; it may hold what was acknowledged since.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::window::Window;
use super::{Effect, Mailbox, SessionId};
use crate::protocol::request::Body;
use crate::store::{Message, Page, PageBounds};

/// At most this many messages are read from the store at once.
const PAGE_MESSAGES: usize = 500;

/// A page ends after this many bytes of bodies.
const PAGE_BYTES: usize = 256 * 1024;

/// A session that wants to receive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment {
    /// The session's number.
    pub session: SessionId,
    /// Whether it takes envelopes; the console can't read them.
    pub envelopes: bool,
    /// How many more messages it wants, for a session that fetches; `None` for one that
    /// takes all messages as they come.
    pub budget: Option<usize>,
}

/// What a session that is behind needs next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read this page and hand it to [`Mailbox::page`].
    Read(Reading),
    /// Nothing: it is live, its queue or window is full, its budget is used up, or it ended.
    Idle,
}

/// A page to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Which messages.
    pub bounds: PageBounds,
    /// Must be the session's latest, or the page comes too late to be used.
    ticket: u64,
}

/// The attached session.
#[derive(Debug)]
pub(super) struct Attached {
    attachment: Attachment,
    pub(super) window: Window,
    position: Position,
    /// Numbers the pages that were asked for.
    ticket: u64,
    /// Messages that were acknowledged before this session began to read, but that the
    /// store may still show because their deletion is not committed.
    stale: BTreeSet<u64>,
}

/// How far a session has been pushed what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// All of it was pushed.
    Live,
    /// It was pushed up to `cursor`. The store holds nothing to push between `cursor`
    /// and `store_clear_below`, both exclusive.
    Behind { cursor: u64, store_clear_below: u64 },
}

impl Position {
    /// Before the first pending message.
    const START: Position = Position::Behind {
        cursor: 0,
        store_clear_below: 0,
    };
}

impl<R> Mailbox<R> {
    /// Attaches a session in place of the one before, and returns `true`; a session that
    /// is older than the attached one is not attached. The session begins behind, at the
    /// first pending message: call [`step`](Self::step).
    pub(crate) fn attach(&mut self, attachment: Attachment) -> bool {
        let newer = |a: &Attached| a.attachment.session > attachment.session;
        if self.attached.as_ref().is_some_and(newer) {
            return false;
        }
        self.make_deferred_due();
        self.attached = Some(Attached {
            attachment,
            window: Window::default(),
            position: Position::START,
            ticket: 0,
            stale: self.acknowledged_on_disk(),
        });
        true
    }

    /// Detaches a session. Returns `false` if it was not attached. What it did not
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
            attached.position = Position::START;
            attached.stale = stale;
            attached.ticket += 1;
            attached.attachment.budget = attached.attachment.budget.map(|_| budget);
        }
    }

    /// Moves a session that is behind: pushes what is in memory, and says what to read
    /// next. `room` says whether its send queue can take more.
    pub(crate) fn step(
        &mut self,
        session: SessionId,
        room: bool,
        effects: &mut Vec<Effect<R>>,
    ) -> Step {
        let next = self.next;
        let attached = self.attached.as_mut();
        let Some(attached) = attached.filter(|a| a.attachment.session == session) else {
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
            if !room || attached.window.is_full() || attached.attachment.budget == Some(0) {
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
                    let waiting = unwritten.progress.is_needed();
                    if waiting && attached.accepts(&unwritten.message) {
                        attached.push(&unwritten.message, effects);
                    }
                }
                None if store_clear_below >= next => {
                    if attached.attachment.budget.is_none() {
                        attached.position = Position::Live;
                    }
                    return Step::Idle;
                }
                unwritten => {
                    let before = unwritten.map_or(next, |first| first.message.number);
                    return Step::Read(attached.next_page(cursor, before));
                }
            }
        }
    }

    /// Pushes a page that [`step`](Self::step) asked for, unless another one was asked for
    /// since.
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
        cursor = cursor.max(page.end);
        for message in page.messages {
            if !attached.stale.remove(&message.number) {
                attached.push(&Arc::new(message), effects);
            }
        }
        attached.position = Position::Behind {
            cursor,
            store_clear_below,
        };
    }

    /// Pushes a new message to a session that is live. Returns `false` if it was not pushed.
    pub(super) fn push_live(
        &mut self,
        message: &Arc<Message>,
        room: bool,
        effects: &mut Vec<Effect<R>>,
    ) -> bool {
        let envelopes = self.counts.total().envelopes;
        let Some(attached) = &mut self.attached else {
            return false;
        };
        if attached.position != Position::Live {
            return false;
        }
        if !attached.accepts(message) {
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

    /// The session, if it is the attached one.
    pub(super) fn attached(&mut self, session: SessionId) -> Option<&mut Attached> {
        self.attached
            .as_mut()
            .filter(|attached| attached.attachment.session == session)
    }
}

impl Attached {
    /// Asks for a page of the messages between two numbers.
    fn next_page(&mut self, after: u64, before: u64) -> Reading {
        self.ticket += 1;
        let budget = self.attachment.budget.unwrap_or(usize::MAX);
        let bounds = PageBounds {
            after,
            before,
            messages: PAGE_MESSAGES.min(self.window.space()).min(budget),
            rows: PAGE_MESSAGES,
            bytes: PAGE_BYTES,
            envelopes: self.attachment.envelopes,
        };
        Reading {
            bounds,
            ticket: self.ticket,
        }
    }

    /// Forgets messages that are not to be pushed, nor to be acknowledged, any more. A page that was
    /// asked for may hold them, so it is asked for again.
    pub(super) fn withdraw(&mut self, numbers: &BTreeSet<u64>) {
        self.window.withdraw(numbers);
        if let Position::Behind { cursor, .. } = self.position {
            let unread = numbers.iter().filter(|number| **number > cursor);
            self.stale.extend(unread);
            self.ticket += 1;
        }
    }

    fn accepts(&self, message: &Message) -> bool {
        self.attachment.envelopes || !matches!(message.body, Body::Envelope(_))
    }

    fn push<R>(&mut self, message: &Arc<Message>, effects: &mut Vec<Effect<R>>) {
        self.window.push(message);
        if let Some(budget) = &mut self.attachment.budget {
            *budget = budget.saturating_sub(1);
        }
        effects.push(Effect::Push(Arc::clone(message)));
    }
}
