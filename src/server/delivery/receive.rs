//! The recipient's way out of a mailbox: attaching a session, reading what is pending,
//! acknowledging it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Delivery;
use super::mailbox::{Attachment, Receipt, Step};
use super::sessions::Session;
use super::shared_mailbox::SharedMailbox;
use crate::protocol::ids::MessageId;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::reply::{Acked, Event, Fetched};
use crate::protocol::request::{Ack, Sender};
use crate::server::log;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::peers::message::Told;
use crate::server::stats::Ending;
use crate::store::{StoreError, UserId};

impl Delivery {
    /// Begins pushing to a session. Append its welcome to the send queue first. `budget`
    /// is `None` for a session that takes all messages as they come.
    pub(crate) fn attach(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mailbox: &Arc<SharedMailbox>,
        envelopes: bool,
        budget: Option<usize>,
        to_flush: &mut FlushSet,
    ) {
        let attachment = Attachment {
            session: session.id,
            envelopes,
            budget,
        };
        self.update(mailbox, to_flush, |state, _| {
            if state.machine.attach(attachment) {
                state.send_queue = Some(Arc::clone(&session.send_queue));
            }
        });
        // The hook belongs to the send queue, which these would otherwise keep alive.
        let (delivery, weak_session) = (Arc::downgrade(self), Arc::downgrade(session));
        let weak_mailbox = Arc::downgrade(mailbox);
        let hook = move || {
            let parts = (
                delivery.upgrade(),
                weak_session.upgrade(),
                weak_mailbox.upgrade(),
            );
            if let (Some(delivery), Some(session), Some(mailbox)) = parts {
                let mut to_flush = FlushSet::default();
                delivery.advance(&session, &mailbox, &mut to_flush);
                to_flush.flush();
            }
        };
        session.send_queue.set_on_drained(Some(Arc::new(hook)));
        self.advance(session, mailbox, to_flush);
    }

    /// Ends pushing to a session.
    pub(crate) fn detach(&self, session: &Session, mailbox: &Arc<SharedMailbox>) {
        session.send_queue.set_on_drained(None);
        self.update(mailbox, &mut FlushSet::default(), |state, _| {
            if state.machine.detach(session.id) {
                state.send_queue = None;
            }
        });
    }

    /// Pushes to a session that is behind, as far as its window and send queue allow.
    /// Returns how many messages that were.
    fn advance(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> usize {
        let mut pushed = 0;
        loop {
            let room = session.send_queue.has_room();
            let step = self.update(mailbox, to_flush, |state, effects| {
                let step = state.machine.step(session.id, room, effects);
                pushed += effects.len();
                step
            });
            let Step::Read(reading) = step else {
                return pushed;
            };
            let page = match self.store.page(mailbox.user, reading.bounds) {
                Ok(page) => page,
                Err(StoreError::Damaged(why)) => {
                    mailbox.set_aside(&why);
                    return pushed;
                }
                Err(error) => {
                    log::error(None, format_args!("reading mail failed: {error}"));
                    // The client connects again, and the new session reads again.
                    session.send_queue.end_for(Ending::Unreadable);
                    return pushed;
                }
            };
            self.update(mailbox, to_flush, |state, effects| {
                state.machine.page(session.id, reading, page, effects);
                pushed += effects.len();
            });
        }
    }

    /// Acknowledges messages by id.
    pub(crate) fn ack(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        ack: &Ack,
        to_flush: &mut FlushSet,
    ) -> Acked {
        let (acked, elided) = self.update(mailbox, to_flush, |state, effects| {
            let hidden = state.recipient.hides_from(&ack.from, &mailbox.name);
            let machine = &mut state.machine;
            let mids = ack.ids.iter();
            let acked = mids
                .filter(|mid| machine.acknowledge(session.id, ack.from, **mid, hidden, effects))
                .count();
            (acked, machine.take_elided())
        });
        self.stats.elided.add(elided);
        self.after_ack(session, mailbox, acked, to_flush);
        Acked {
            acked,
            unknown: ack.ids.len() - acked,
        }
    }

    /// Acknowledges all that the session was pushed, for the console.
    pub(crate) fn ack_shown(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> Acked {
        let (acked, _) = self.conclude_shown(session, mailbox, to_flush);
        Acked { acked, unknown: 0 }
    }

    /// The same, for a console that wants to see what comes next.
    pub(crate) fn fetch_next(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> Fetched {
        let (_, sent) = self.conclude_shown(session, mailbox, to_flush);
        Fetched {
            sent,
            waiting: mailbox.lock().machine.not_pushed(),
        }
    }

    /// Acknowledges all that the session was pushed. Returns how many messages that were, and
    /// how many were pushed then.
    fn conclude_shown(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> (usize, usize) {
        let (acked, elided) = self.update(mailbox, to_flush, |state, effects| {
            let recipient = &state.recipient;
            let hidden = |from: &Sender| recipient.hides_from(from, &mailbox.name);
            let machine = &mut state.machine;
            let acked = machine.acknowledge_shown(session.id, hidden, effects);
            (acked, machine.take_elided())
        });
        self.stats.elided.add(elided);
        (acked, self.after_ack(session, mailbox, acked, to_flush))
    }

    /// Returns how many messages were pushed now that there is room for them.
    fn after_ack(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        acked: usize,
        to_flush: &mut FlushSet,
    ) -> usize {
        self.stats.acknowledged.add(acked as u64);
        self.advance(session, mailbox, to_flush)
    }

    /// Tells those senders who are online and read that `recipient` has their messages.
    pub(super) fn send_receipts(
        &self,
        recipient: UserName,
        receipts: Vec<Receipt>,
        to_flush: &mut FlushSet,
    ) {
        let mut by_sender: BTreeMap<(UserName, UserId), Vec<MessageId>> = BTreeMap::new();
        for Receipt { sender, user, mid } in receipts {
            by_sender.entry((sender, user)).or_default().push(mid);
        }
        for ((sender, user), mids) in by_sender {
            for mids in mids.chunks(limits::MAX_IDS) {
                let event = Event::Delivered {
                    to: recipient,
                    ids: mids.to_vec(),
                };
                // Who does not read goes without: receipts are asked for after a login, too.
                self.tell(user, sender, event, to_flush);
            }
        }
    }

    /// Tells a user of something that is not durable, if they are online and read, here or at another
    /// server.
    pub(crate) fn tell(&self, user: UserId, name: UserName, event: Event, to_flush: &mut FlushSet) {
        if !self.tell_here(&name, &event, to_flush)
            && let Some(peers) = self.peers()
            && let Some(run) = self.home_of(user, &name)
        {
            peers.event(run, &Told { name, event });
        }
    }

    /// The same, of what another server has passed on. If the mailbox has left this one a moment ago, it goes after it.
    pub(crate) fn tell_passed_on(&self, name: UserName, event: Event, to_flush: &mut FlushSet) {
        if !self.tell_here(&name, &event, to_flush)
            && let Some(peers) = self.peers()
            && let Some(run) = self.released_to(&name)
        {
            peers.event(run, &Told { name, event });
        }
    }

    /// Tells a user who is online here. Returns whether they are.
    fn tell_here(&self, name: &UserName, event: &Event, to_flush: &mut FlushSet) -> bool {
        let Some(online) = self.sessions.find(name) else {
            return false;
        };
        if online.send_queue.has_room() {
            online.send_queue.event(event);
            to_flush.add(&online.send_queue);
        }
        true
    }

    /// Pushes what is pending once more, from the oldest message on.
    pub(crate) fn fetch(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        limit: usize,
        to_flush: &mut FlushSet,
    ) -> Fetched {
        mailbox.lock().machine.rewind(session.id, limit);
        let sent = self.advance(session, mailbox, to_flush);
        Fetched {
            sent,
            waiting: mailbox.lock().machine.not_pushed(),
        }
    }
}
