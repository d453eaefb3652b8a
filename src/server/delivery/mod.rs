//! Delivery: who has which mailbox open, and the ways of a message through it.
//!
//! Lock order, outermost first: postbox table, postbox, then either an outbox
//! or the writer's queue. The session table is never held together with any.

pub(crate) mod mailbox;
pub(crate) mod sessions;
pub(crate) mod shared_mailbox;
pub(crate) mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use self::mailbox::{Attachment, Earlier, Mailbox, Offer, Quota, Step, Submission};
use self::sessions::{Session, Sessions};
use self::shared_mailbox::{Origin, Recipient, SharedMailbox, damaged};
use self::writer::Writer;
use super::net::send_queue::FlushSet;
use super::stats::Stats;
use crate::clock;
use crate::crypto::keys::PublicIdentity;
use crate::protocol::ids::MessageId;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{
    Accepted, Acked, Answer, Event, Fetched, MessageState, Reply, Waiting,
};
use crate::protocol::request::{Ack, Body, Identity, Outcome, Send};
use crate::store::{Store, StoreError, Summary};
use crate::sync::{Mutex, MutexGuard};

/// Idle mailboxes kept in memory; past it, those nobody uses are dropped.
const MAX_IDLE: usize = 10_000;

/// The moment of a request, read once for all that a connection sent together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For people: ms since 1970.
    pub millis: u64,
}

impl Now {
    /// The present.
    pub(crate) fn read() -> Self {
        Now {
            instant: clock::now(),
            millis: clock::unix_ms(),
        }
    }
}

/// See the module.
pub(crate) struct Delivery {
    store: Arc<dyn Store>,
    writer: Arc<Writer>,
    sessions: Arc<Sessions>,
    stats: Arc<Stats>,
    quota: Quota,
    takes_unencrypted: bool,
    /// Open mailboxes. Held for single operations on the map; the store is
    /// never asked under it.
    mailboxes: Mutex<HashMap<UserName, Arc<SharedMailbox>>>,
}

impl Delivery {
    /// Delivery over a store.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        writer: Arc<Writer>,
        sessions: Arc<Sessions>,
        stats: Arc<Stats>,
        quota: Quota,
        takes_unencrypted: bool,
    ) -> Self {
        Delivery {
            store,
            writer,
            sessions,
            stats,
            quota,
            takes_unencrypted,
            mailboxes: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UserName, Arc<SharedMailbox>>> {
        // Every statement under it leaves the map whole.
        self.mailboxes.lock()
    }

    /// A user's mailbox, opened if it is not open.
    ///
    /// # Errors
    /// There is no such user, the mailbox is damaged, or the store failed.
    pub(crate) fn mailbox(&self, name: &UserName) -> Result<Arc<SharedMailbox>, Refusal> {
        let open = self.table().get(name).map(Arc::clone);
        let mailbox = match open {
            Some(mailbox) => mailbox,
            None => self.open(name)?,
        };
        let damage = mailbox.lock().recipient.damaged.then(damaged);
        damage.map_or(Ok(mailbox), Err)
    }

    fn open(&self, name: &UserName) -> Result<Arc<SharedMailbox>, Refusal> {
        let account = self.store.account(name).map_err(store_failed)?;
        let account = account.ok_or_else(|| unknown_user(name))?;
        let read = || {
            let blocked = self.store.blocked(account.id)?;
            Ok((blocked, self.store.summary(account.id)?))
        };
        let (blocked, summary, damage) = match read() {
            Ok((blocked, summary)) => (blocked, summary, None),
            // It stays open, closed for all: to find this once is enough.
            Err(StoreError::Damaged(why)) => (Vec::new(), Summary::default(), Some(why)),
            Err(error) => return Err(store_failed(error)),
        };
        let recipient = Recipient {
            refuse_unencrypted: account.flags.refuse_unencrypted,
            identity: account.identity.as_ref().and_then(fingerprint),
            blocked: blocked.into_iter().collect(),
            deleted: false,
            damaged: false,
        };
        let machine = Mailbox::new(&summary, self.quota);
        let opened = Arc::new(SharedMailbox::new(account.id, *name, machine, recipient));
        if let Some(why) = damage {
            opened.set_aside(&why);
        }
        let mut table = self.table();
        if table.len() >= MAX_IDLE {
            // One that somebody holds, or that moves, is not idle. Nobody can
            // take hold of it meanwhile: that needs this table.
            table.retain(|_, mailbox| {
                Arc::strong_count(mailbox) > 1 || {
                    let state = mailbox.lock();
                    !state.machine.is_idle() || state.recipient.damaged
                }
            });
        }
        // Of two that opened it at once, the first one's is used by both.
        Ok(Arc::clone(table.entry(*name).or_insert(opened)))
    }

    /// A read of a mailbox failed.
    fn read_failed(mailbox: &SharedMailbox, error: StoreError) -> Refusal {
        match error {
            StoreError::Damaged(why) => {
                mailbox.set_aside(&why);
                damaged()
            }
            error => store_failed(error),
        }
    }

    /// Takes a message; `None` if the answer comes later.
    pub(crate) fn send(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        send: Send,
        request: Option<u64>,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Option<Answer> {
        let offered = Submission {
            sender: session.user,
            from: session.name,
            id: send.mid,
            body: send.body,
            at: now.millis,
            origin: Origin {
                send_queue: Arc::clone(&session.send_queue),
                request,
            },
        };
        let mut earlier = match send.again {
            true => Earlier::Unknown,
            false => Earlier::None,
        };
        loop {
            let retry = match earlier {
                Earlier::Unknown => Some((offered.sender, offered.id)),
                Earlier::None | Earlier::Searched(_) => None,
            };
            let mut state = mailbox.lock();
            let recipient = &state.recipient;
            if let Err(refusal) = self.permitted(recipient, &offered.body, send.identity) {
                return Some(Err(refusal));
            }
            if recipient.blocked.contains(&offered.from) {
                return Some(Ok(Reply::Accepted(Accepted {
                    state: MessageState::Stored,
                    at: now.millis,
                })));
            }
            // Only the store can tell; it is asked without the lock, and then
            // the offer repeated.
            if let Some((sender, id)) = retry
                && state.machine.waits(sender, id).is_none()
            {
                drop(state);
                match self.store.find(mailbox.user, sender, &[id]) {
                    Ok(mut found) => earlier = Earlier::Searched(found.pop()),
                    Err(error) => return Some(Err(Self::read_failed(mailbox, error))),
                }
                continue;
            }
            let room = state
                .send_queue
                .as_ref()
                .is_none_or(|send_queue| send_queue.has_room());
            let mut effects = Vec::new();
            // Counted first: the answer may come at once, on another thread.
            session.send_queue.expect_answer();
            let offer = state
                .machine
                .accept(offered, earlier, room, now.instant, &mut effects);
            mailbox.carry_out(&mut state, effects, &self.writer, to_flush);
            drop(state);
            let answer = match offer {
                Offer::Undecided => {
                    self.stats.taken.add(1);
                    return None;
                }
                Offer::Known(accepted) => Ok(Reply::Accepted(accepted)),
                Offer::Refused(refusal) => Err(refusal),
                // Asked above, under the same lock.
                Offer::Search => Err(Refusal::new(Code::Internal, "try again")),
            };
            session.send_queue.late_answer(request, &answer);
            to_flush.add(&session.send_queue);
            return None;
        }
    }

    fn permitted(
        &self,
        recipient: &Recipient,
        body: &Body,
        identity: Option<crate::protocol::ByteArray<32>>,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = recipient.closed() {
            return Err(refusal);
        }
        let plain = matches!(body, Body::Plain(_));
        if plain && (!self.takes_unencrypted || recipient.refuse_unencrypted) {
            return Err(Refusal::new(
                Code::UnencryptedRefused,
                "only encrypted messages are taken here; send it with the client",
            ));
        }
        match (identity, recipient.identity) {
            _ if plain => Ok(()),
            (Some(_), None) => Err(Refusal::new(
                Code::NoKeys,
                "the recipient has no keys published any more; try again when they have logged in",
            )),
            (Some(named), Some(published)) if named.0 != published => Err(Refusal::new(
                Code::IdentityChanged,
                "the recipient has another identity now; get their keys and check who it is",
            )),
            _ => Ok(()),
        }
    }

    /// What is pending for a login: envelopes, unencrypted messages, notices,
    /// the news that gathered since the last notice included.
    pub(crate) fn pending(&self, mailbox: &Arc<SharedMailbox>, now: Now) -> (u64, u64, u64) {
        let mut state = mailbox.lock();
        let mut effects = Vec::new();
        let machine = &mut state.machine;
        machine.give_notice(now.millis, false, now.instant, &mut effects);
        let pending = machine.pending();
        mailbox.carry_out(&mut state, effects, &self.writer, &mut FlushSet::default());
        pending
    }

    /// Begins receiving. Call it after the welcome has been appended.
    pub(crate) fn attach(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mailbox: &Arc<SharedMailbox>,
        envelopes: bool,
        budget: Option<usize>,
        to_flush: &mut FlushSet,
    ) {
        let what = Attachment {
            session: session.id,
            envelopes,
            budget,
        };
        let mut state = mailbox.lock();
        if state.machine.attach(what) {
            state.send_queue = Some(Arc::clone(&session.send_queue));
        }
        mailbox.carry_out(&mut state, Vec::new(), &self.writer, to_flush);
        drop(state);
        let hook = {
            let (delivery, session) = (Arc::downgrade(self), Arc::downgrade(session));
            let mailbox = Arc::downgrade(mailbox);
            move || {
                let parts = (delivery.upgrade(), session.upgrade(), mailbox.upgrade());
                if let (Some(delivery), Some(session), Some(mailbox)) = parts {
                    let mut to_flush = FlushSet::default();
                    delivery.advance(&session, &mailbox, &mut to_flush);
                    to_flush.flush();
                }
            }
        };
        session.send_queue.set_on_drained(Some(Arc::new(hook)));
        self.advance(session, mailbox, to_flush);
    }

    /// Ends receiving.
    pub(crate) fn detach(&self, session: &Session, mailbox: &Arc<SharedMailbox>) {
        session.send_queue.set_on_drained(None);
        let mut state = mailbox.lock();
        if state.machine.detach(session.id) {
            state.send_queue = None;
        }
        mailbox.carry_out(
            &mut state,
            Vec::new(),
            &self.writer,
            &mut FlushSet::default(),
        );
    }

    /// Pushes a session that is behind as far as its window and outbox allow,
    /// and says how many messages that were.
    fn advance(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> usize {
        let mut pushed = 0;
        loop {
            let mut effects = Vec::new();
            let room = session.send_queue.has_room();
            let mut state = mailbox.lock();
            let step = state.machine.step(session.id, room, &mut effects);
            pushed += effects.len();
            mailbox.carry_out(&mut state, effects, &self.writer, to_flush);
            drop(state);
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
                    super::log::error(None, format_args!("reading mail failed: {error}"));
                    session.send_queue.end(); // Its client comes back, and asks again.
                    return pushed;
                }
            };
            let mut effects = Vec::new();
            let mut state = mailbox.lock();
            state.machine.page(session.id, reading, page, &mut effects);
            pushed += effects.len();
            mailbox.carry_out(&mut state, effects, &self.writer, to_flush);
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
        let mut effects = Vec::new();
        let mut state = mailbox.lock();
        let acked = ack
            .ids
            .iter()
            .filter(|id| {
                state
                    .machine
                    .acknowledge(session.id, ack.from, **id, &mut effects)
            })
            .count();
        let receipts = mailbox.carry_out(&mut state, effects, &self.writer, to_flush);
        drop(state);
        self.after_ack(session, mailbox, acked, receipts, to_flush);
        Acked {
            acked,
            unknown: ack.ids.len() - acked,
        }
    }

    /// Acknowledges all that was shown, for the console.
    pub(crate) fn ack_shown(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
    ) -> Acked {
        let mut effects = Vec::new();
        let mut state = mailbox.lock();
        let acked = state.machine.acknowledge_shown(session.id, &mut effects);
        let receipts = mailbox.carry_out(&mut state, effects, &self.writer, to_flush);
        drop(state);
        self.after_ack(session, mailbox, acked, receipts, to_flush);
        Acked { acked, unknown: 0 }
    }

    fn after_ack(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        acked: usize,
        receipts: Vec<(UserName, MessageId)>,
        to_flush: &mut FlushSet,
    ) {
        self.stats.acknowledged.add(acked as u64);
        let mut by_sender: HashMap<UserName, Vec<MessageId>> = HashMap::new();
        for (sender, id) in receipts {
            by_sender.entry(sender).or_default().push(id);
        }
        for (sender, ids) in by_sender {
            if let Some(online) = self.sessions.find(&sender) {
                for ids in ids.chunks(limits::MAX_IDS) {
                    let (to, ids) = (session.name, ids.to_vec());
                    online.send_queue.event(&Event::Delivered { to, ids });
                }
                to_flush.add(&online.send_queue);
            }
        }
        self.advance(session, mailbox, to_flush);
    }

    /// Pushes what is pending again, from the oldest.
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

    /// Which of the ids this session's user sent still wait.
    ///
    /// # Errors
    /// There is no such recipient, or the store failed.
    pub(crate) fn outcome(&self, session: &Session, outcome: &Outcome) -> Result<Waiting, Refusal> {
        let mailbox = self.mailbox(&outcome.to)?;
        let mut waiting = Vec::new();
        let mut unknown = Vec::new();
        let state = mailbox.lock();
        for id in &outcome.ids {
            match state.machine.waits(session.user, *id) {
                Some(true) => waiting.push(*id),
                Some(false) => {}
                None => unknown.push(*id),
            }
        }
        drop(state);
        if !unknown.is_empty() {
            let found = self
                .store
                .find(mailbox.user, session.user, &unknown)
                .map_err(|error| Self::read_failed(&mailbox, error))?;
            let state = mailbox.lock();
            waiting.extend(
                found
                    .iter()
                    .filter(|message| !state.machine.is_acknowledged(message.number))
                    .map(|message| message.id),
            );
        }
        Ok(Waiting { waiting })
    }
}

/// An identity's fingerprint; `None` if it is not one.
pub(crate) fn fingerprint(identity: &Identity) -> Option<[u8; 32]> {
    let identity = PublicIdentity::from_bytes(&identity.to_bytes()).ok()?;
    Some(identity.fingerprint())
}

/// No account has this name.
pub(crate) fn unknown_user(name: &UserName) -> Refusal {
    Refusal::new(
        Code::UnknownUser,
        format!("there is no user called {name}; search for the name"),
    )
}

/// A read failed.
pub(crate) fn store_failed(error: StoreError) -> Refusal {
    super::log::error(None, format_args!("a read failed: {error}"));
    if let StoreError::Damaged(_) = error {
        return damaged();
    }
    Refusal::new(
        Code::Storage,
        "the server could not read its database; try again later, and tell the operator",
    )
}
