//! Delivery: who has which mailbox open, and the ways of a message through it.
//!
//! Lock order, outermost first: postbox table, postbox, then either an outbox
//! or the writer's queue. The session table is never held together with any.

pub mod mailbox;
pub mod sessions;
pub mod shared_mailbox;
pub mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::mailbox::{Attachment, Earlier, Mailbox, Offer, Offered, Quota, Step};
use self::sessions::{Session, Sessions};
use self::shared_mailbox::{Origin, Postbox, Recipient, damaged};
use self::writer::Writer;
use super::net::send_queue::Touched;
use super::stats::Counters;
use crate::crypto::keys::Identity as IdentityKey;
use crate::protocol::ids::MessageId;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{
    Accepted, Acked, Answer, Event, Fetched, MessageState, Reply, Waiting,
};
use crate::protocol::request::{Ack, Body, Identity, Outcome, Send};
use crate::store::{Store, StoreError, Summary};

/// Idle mailboxes kept in memory; past it, those nobody uses are dropped.
const MAX_IDLE: usize = 10_000;

/// The moment of a request, read once for all that a connection sent together.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For people: ms since 1970.
    pub millis: u64,
}

impl Now {
    /// The present.
    pub fn read() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now {
            instant: Instant::now(),
            millis: since.map_or(0, |since| since.as_millis() as u64),
        }
    }
}

/// See the module.
pub struct Delivery {
    store: Arc<dyn Store>,
    writer: Arc<Writer>,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
    quota: Quota,
    takes_unencrypted: bool,
    /// Open mailboxes. Held for single operations on the map; the store is
    /// never asked under it.
    postboxes: Mutex<HashMap<UserName, Arc<Postbox>>>,
}

impl Delivery {
    /// Delivery over a store.
    pub fn new(
        store: Arc<dyn Store>,
        writer: Arc<Writer>,
        sessions: Arc<Sessions>,
        counters: Arc<Counters>,
        quota: Quota,
        takes_unencrypted: bool,
    ) -> Self {
        Delivery {
            store,
            writer,
            sessions,
            counters,
            quota,
            takes_unencrypted,
            postboxes: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UserName, Arc<Postbox>>> {
        // Every statement under it leaves the map whole.
        self.postboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A user's mailbox, opened if it is not open.
    ///
    /// # Errors
    /// There is no such user, the mailbox is damaged, or the store failed.
    pub fn postbox(&self, name: &UserName) -> Result<Arc<Postbox>, Refusal> {
        let open = self.table().get(name).map(Arc::clone);
        let postbox = match open {
            Some(postbox) => postbox,
            None => self.open(name)?,
        };
        let damage = postbox.lock().recipient.damaged.then(damaged);
        damage.map_or(Ok(postbox), Err)
    }

    fn open(&self, name: &UserName) -> Result<Arc<Postbox>, Refusal> {
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
        let mailbox = Mailbox::new(&summary, self.quota);
        let opened = Arc::new(Postbox::new(account.id, *name, mailbox, recipient));
        if let Some(why) = damage {
            opened.set_aside(&why);
        }
        let mut table = self.table();
        if table.len() >= MAX_IDLE {
            // One that somebody holds, or that moves, is not idle. Nobody can
            // take hold of it meanwhile: that needs this table.
            table.retain(|_, postbox| {
                Arc::strong_count(postbox) > 1 || {
                    let state = postbox.lock();
                    !state.mailbox.is_idle() || state.recipient.damaged
                }
            });
        }
        // Of two that opened it at once, the first one's is used by both.
        Ok(Arc::clone(table.entry(*name).or_insert(opened)))
    }

    /// A read of a mailbox failed.
    fn read_failed(postbox: &Postbox, error: StoreError) -> Refusal {
        match error {
            StoreError::Damaged(why) => {
                postbox.set_aside(&why);
                damaged()
            }
            error => store_failed(error),
        }
    }

    /// Takes a message; `None` if the answer comes later.
    pub fn send(
        &self,
        session: &Session,
        postbox: &Arc<Postbox>,
        send: Send,
        request: Option<u64>,
        now: Now,
        touched: &mut Touched,
    ) -> Option<Answer> {
        let offered = Offered {
            sender: session.user,
            from: session.name,
            id: send.mid,
            body: send.body,
            at: now.millis,
            origin: Origin {
                outbox: Arc::clone(&session.outbox),
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
            let mut state = postbox.lock();
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
                && state.mailbox.waits(sender, id).is_none()
            {
                drop(state);
                match self.store.find(postbox.user, sender, &[id]) {
                    Ok(mut found) => earlier = Earlier::Searched(found.pop()),
                    Err(error) => return Some(Err(Self::read_failed(postbox, error))),
                }
                continue;
            }
            let room = state.outbox.as_ref().is_none_or(|outbox| outbox.has_room());
            let mut effects = Vec::new();
            // Counted first: the answer may come at once, on another thread.
            session.outbox.expect_answer();
            let offer = state
                .mailbox
                .accept(offered, earlier, room, now.instant, &mut effects);
            postbox.carry_out(&mut state, effects, &self.writer, touched);
            drop(state);
            let answer = match offer {
                Offer::Undecided => {
                    self.counters.taken.add(1);
                    return None;
                }
                Offer::Known(accepted) => Ok(Reply::Accepted(accepted)),
                Offer::Refused(refusal) => Err(refusal),
                // Asked above, under the same lock.
                Offer::Search => Err(Refusal::new(Code::Internal, "try again")),
            };
            session.outbox.late_answer(request, &answer);
            touched.add(&session.outbox);
            return None;
        }
    }

    fn permitted(
        &self,
        recipient: &Recipient,
        body: &Body,
        identity: Option<crate::protocol::Fixed<32>>,
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
    pub fn pending(&self, postbox: &Arc<Postbox>, now: Now) -> (u64, u64, u64) {
        let mut state = postbox.lock();
        let mut effects = Vec::new();
        let mailbox = &mut state.mailbox;
        mailbox.give_notice(now.millis, false, now.instant, &mut effects);
        let pending = mailbox.pending();
        postbox.carry_out(&mut state, effects, &self.writer, &mut Touched::default());
        pending
    }

    /// Begins receiving. Call it after the welcome has been appended.
    pub fn attach(
        self: &Arc<Self>,
        session: &Arc<Session>,
        postbox: &Arc<Postbox>,
        envelopes: bool,
        budget: Option<usize>,
        touched: &mut Touched,
    ) {
        let what = Attachment {
            session: session.id,
            envelopes,
            budget,
        };
        let mut state = postbox.lock();
        if state.mailbox.attach(what) {
            state.outbox = Some(Arc::clone(&session.outbox));
        }
        postbox.carry_out(&mut state, Vec::new(), &self.writer, touched);
        drop(state);
        let hook = {
            let (delivery, session) = (Arc::downgrade(self), Arc::downgrade(session));
            let postbox = Arc::downgrade(postbox);
            move || {
                let parts = (delivery.upgrade(), session.upgrade(), postbox.upgrade());
                if let (Some(delivery), Some(session), Some(postbox)) = parts {
                    let mut touched = Touched::default();
                    delivery.advance(&session, &postbox, &mut touched);
                    touched.flush();
                }
            }
        };
        session.outbox.set_on_drained(Some(Arc::new(hook)));
        self.advance(session, postbox, touched);
    }

    /// Ends receiving.
    pub fn detach(&self, session: &Session, postbox: &Arc<Postbox>) {
        session.outbox.set_on_drained(None);
        let mut state = postbox.lock();
        if state.mailbox.detach(session.id) {
            state.outbox = None;
        }
        postbox.carry_out(
            &mut state,
            Vec::new(),
            &self.writer,
            &mut Touched::default(),
        );
    }

    /// Pushes a session that is behind as far as its window and outbox allow,
    /// and says how many messages that were.
    fn advance(&self, session: &Session, postbox: &Arc<Postbox>, touched: &mut Touched) -> usize {
        let mut pushed = 0;
        loop {
            let mut effects = Vec::new();
            let room = session.outbox.has_room();
            let mut state = postbox.lock();
            let step = state.mailbox.step(session.id, room, &mut effects);
            pushed += effects.len();
            postbox.carry_out(&mut state, effects, &self.writer, touched);
            drop(state);
            let Step::Read(reading) = step else {
                return pushed;
            };
            let page = match self.store.page(postbox.user, reading.bounds) {
                Ok(page) => page,
                Err(StoreError::Damaged(why)) => {
                    postbox.set_aside(&why);
                    return pushed;
                }
                Err(error) => {
                    super::log::error(None, format_args!("reading mail failed: {error}"));
                    session.outbox.end(); // Its client comes back, and asks again.
                    return pushed;
                }
            };
            let mut effects = Vec::new();
            let mut state = postbox.lock();
            state.mailbox.page(session.id, reading, page, &mut effects);
            pushed += effects.len();
            postbox.carry_out(&mut state, effects, &self.writer, touched);
        }
    }

    /// Acknowledges messages by id.
    pub fn ack(
        &self,
        session: &Session,
        postbox: &Arc<Postbox>,
        ack: &Ack,
        touched: &mut Touched,
    ) -> Acked {
        let mut effects = Vec::new();
        let mut state = postbox.lock();
        let acked = ack
            .ids
            .iter()
            .filter(|id| {
                state
                    .mailbox
                    .acknowledge(session.id, ack.from, **id, &mut effects)
            })
            .count();
        let receipts = postbox.carry_out(&mut state, effects, &self.writer, touched);
        drop(state);
        self.after_ack(session, postbox, acked, receipts, touched);
        Acked {
            acked,
            unknown: ack.ids.len() - acked,
        }
    }

    /// Acknowledges all that was shown, for the console.
    pub fn ack_shown(
        &self,
        session: &Session,
        postbox: &Arc<Postbox>,
        touched: &mut Touched,
    ) -> Acked {
        let mut effects = Vec::new();
        let mut state = postbox.lock();
        let acked = state.mailbox.acknowledge_shown(session.id, &mut effects);
        let receipts = postbox.carry_out(&mut state, effects, &self.writer, touched);
        drop(state);
        self.after_ack(session, postbox, acked, receipts, touched);
        Acked { acked, unknown: 0 }
    }

    fn after_ack(
        &self,
        session: &Session,
        postbox: &Arc<Postbox>,
        acked: usize,
        receipts: Vec<(UserName, MessageId)>,
        touched: &mut Touched,
    ) {
        self.counters.acknowledged.add(acked as u64);
        let mut by_sender: HashMap<UserName, Vec<MessageId>> = HashMap::new();
        for (sender, id) in receipts {
            by_sender.entry(sender).or_default().push(id);
        }
        for (sender, ids) in by_sender {
            if let Some(online) = self.sessions.find(&sender) {
                for ids in ids.chunks(limits::MAX_IDS) {
                    let (to, ids) = (session.name, ids.to_vec());
                    online.outbox.event(&Event::Delivered { to, ids });
                }
                touched.add(&online.outbox);
            }
        }
        self.advance(session, postbox, touched);
    }

    /// Pushes what is pending again, from the oldest.
    pub fn fetch(
        &self,
        session: &Session,
        postbox: &Arc<Postbox>,
        limit: usize,
        touched: &mut Touched,
    ) -> Fetched {
        postbox.lock().mailbox.rewind(session.id, limit);
        let sent = self.advance(session, postbox, touched);
        Fetched {
            sent,
            waiting: postbox.lock().mailbox.not_pushed(),
        }
    }

    /// Which of the ids this session's user sent still wait.
    ///
    /// # Errors
    /// There is no such recipient, or the store failed.
    pub fn outcome(&self, session: &Session, outcome: &Outcome) -> Result<Waiting, Refusal> {
        let postbox = self.postbox(&outcome.to)?;
        let mut waiting = Vec::new();
        let mut unknown = Vec::new();
        let state = postbox.lock();
        for id in &outcome.ids {
            match state.mailbox.waits(session.user, *id) {
                Some(true) => waiting.push(*id),
                Some(false) => {}
                None => unknown.push(*id),
            }
        }
        drop(state);
        if !unknown.is_empty() {
            let found = self
                .store
                .find(postbox.user, session.user, &unknown)
                .map_err(|error| Self::read_failed(&postbox, error))?;
            let state = postbox.lock();
            waiting.extend(
                found
                    .iter()
                    .filter(|message| !state.mailbox.is_acknowledged(message.number))
                    .map(|message| message.id),
            );
        }
        Ok(Waiting { waiting })
    }
}

/// An identity's fingerprint; `None` if it is not one.
pub fn fingerprint(identity: &Identity) -> Option<[u8; 32]> {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&identity.signing.0);
    bytes[32..].copy_from_slice(&identity.dh.0);
    let identity = IdentityKey::from_bytes(&bytes).ok()?;
    Some(identity.fingerprint())
}

/// No account has this name.
pub fn unknown_user(name: &UserName) -> Refusal {
    Refusal::new(
        Code::UnknownUser,
        format!("there is no user called {name}; search for the name"),
    )
}

/// A read failed.
pub fn store_failed(error: StoreError) -> Refusal {
    super::log::error(None, format_args!("a read failed: {error}"));
    if let StoreError::Damaged(_) = error {
        return damaged();
    }
    Refusal::new(
        Code::Storage,
        "the server could not read its database; try again later, and tell the operator",
    )
}
