//! Delivery: a message's way from its sender through a mailbox to its recipient.
//!
//! | file | what |
//! | --- | --- |
//! | this one | which mailboxes are in memory |
//! | `send` | submitting a message |
//! | [`forward`] | passing a message on to the server that has its recipient's mailbox |
//! | [`homes`] | which server has a mailbox, and how it comes to another one |
//! | `resend` | finding the first copy of a message that is sent again; what became of messages |
//! | `expiry` | removing what waits for too long, and telling its senders |
//! | `purge` | giving a removed account's name away, with nothing of that account left |
//! | `receive` | attaching a session, pushing to it, acknowledging |
//! | [`mailbox`] | the pure machine that decides all of it |
//! | [`shared_mailbox`] | the machine under its lock, with the effects it asks for |
//! | [`recipient`] | the recipient's rules for senders: blocks, identity, encryption |
//! | [`writer`] | the thread that commits |
//! | [`sessions`] | who is logged in |
//! | [`refusals`] | what a client is told when one of these fails |
//!
//! Requests are not parsed here and sockets are not touched: a session is reached through
//! its send queue. Lock order, outermost first: mailbox table, mailbox, send queue. The
//! session table and the writer's queue are never locked together with any of them.

pub(crate) mod expiry;
pub(crate) mod forward;
pub(crate) mod homes;
pub(crate) mod mailbox;
pub(crate) mod purge;
mod receive;
pub(crate) mod recipient;
pub(crate) mod refusals;
pub(crate) mod resend;
pub(crate) mod send;
pub(crate) mod sessions;
pub(crate) mod shared_mailbox;
pub(crate) mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use self::homes::{HomesSeen, NotHere};
use self::mailbox::{Effect, Mailbox, Quota, TurnedAway};
use self::recipient::Recipient;
use self::refusals::{damaged, read_failed};
use self::sessions::Sessions;
use self::shared_mailbox::{MailboxState, ReplyTo, SharedMailbox};
use self::writer::Writer;
use super::net::send_queue::flush_set::FlushSet;
use super::peers::links::Links;
use super::stats::Stats;
use crate::clock;
use crate::crypto::handle::HandleKey;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::News;
use crate::store::{Store, StoreError, Summary, Tally, UserId};
use crate::sync::{Condvar, Mutex, SyncSender};

/// Once this many mailboxes are in memory, those that nobody uses are dropped.
const SWEEP_FROM: usize = if cfg!(test) { 2 } else { 10_000 };

/// The moment of a request, read once for all that a connection sent together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For measuring and waiting.
    pub instant: Instant,
    /// For what is stored and shown: ms since 1970.
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

/// Who sends a message, or asks what became of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    /// The user's number.
    pub user: UserId,
    /// The user's name.
    pub name: UserName,
}

/// Pays for rows that are read on a user's behalf, out of what the user may have read.
///
/// It refuses once that is used up; the read that overdraws it is still allowed.
pub(crate) type Budget<'a> = &'a dyn Fn(usize) -> Result<(), Refusal>;

/// The mailboxes, and what moves messages through them.
pub(crate) struct Delivery {
    store: Arc<dyn Store>,
    writer: Arc<Writer>,
    sessions: Arc<Sessions>,
    stats: Arc<Stats>,
    quota: Quota,
    accepts_unencrypted: AtomicBool,
    /// The mailboxes in memory. Held for single operations that leave the map whole, and
    /// for a look into each mailbox when there are too many. The store is never asked
    /// under it.
    mailboxes: Mutex<Mailboxes>,
    /// Notified when a mailbox has been opened, or could not be.
    opened: Condvar,
    handles: Arc<HandleKey>,
    /// The other servers of the store, if there can be any.
    peers: OnceLock<Arc<Links>>,
    /// Held for single operations, with no other lock.
    homes_seen: Mutex<HomesSeen>,
}

#[derive(Default)]
struct Mailboxes {
    by_name: HashMap<UserName, Arc<SharedMailbox>>,
    /// Those that a thread is opening. One at a time does, or the later one would miss what
    /// happened through the earlier one's.
    opening: HashSet<UserName>,
    /// Above every number that a mailbox had when it was dropped.
    first_number: u64,
}

/// What waits in the mailboxes in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenMailboxes {
    /// How many mailboxes those are.
    pub count: u64,
    /// Messages in all of them.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Messages in the one that has most.
    pub most_messages: u64,
    /// Bytes in the one that has most.
    pub most_bytes: u64,
}

impl OpenMailboxes {
    fn add(&mut self, mailbox: Tally) {
        self.count += 1;
        self.messages += mailbox.messages();
        self.bytes += mailbox.bytes;
        self.most_messages = self.most_messages.max(mailbox.messages());
        self.most_bytes = self.most_bytes.max(mailbox.bytes);
    }
}

/// A mailbox that is being opened: whoever wants it waits until this is dropped.
struct Opening<'a> {
    delivery: &'a Delivery,
    name: UserName,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.delivery.mailboxes.lock().opening.remove(&self.name);
        self.delivery.opened.notify_all();
    }
}

impl Mailboxes {
    /// Drops those that nobody uses, if there are many.
    fn drop_idle(&mut self) {
        if self.by_name.len() < SWEEP_FROM {
            return;
        }
        let now = clock::now();
        let first_number = &mut self.first_number;
        // Nobody can begin to use one meanwhile, since that takes the table's lock.
        self.by_name.retain(|_, mailbox| {
            if Arc::strong_count(mailbox) > 1 {
                return true;
            }
            let state = mailbox.lock();
            *first_number = (*first_number).max(state.machine.next_number());
            !state.machine.is_idle(now) || state.recipient.damaged
        });
    }
}

impl Delivery {
    /// Delivery over a store, with no mailbox in memory.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        writer: Arc<Writer>,
        sessions: Arc<Sessions>,
        stats: Arc<Stats>,
        quota: Quota,
        accepts_unencrypted: bool,
    ) -> Self {
        let mailboxes = Mailboxes {
            first_number: store.first_number(),
            ..Mailboxes::default()
        };
        Delivery {
            handles: Arc::new(HandleKey::new(&store.secret())),
            store,
            writer,
            sessions,
            stats,
            quota,
            accepts_unencrypted: AtomicBool::new(accepts_unencrypted),
            mailboxes: Mutex::new(mailboxes),
            opened: Condvar::new(),
            peers: OnceLock::new(),
            homes_seen: Mutex::default(),
        }
    }

    /// Says whether unencrypted messages are taken from here on.
    pub(crate) fn set_accepts_unencrypted(&self, accepts: bool) {
        self.accepts_unencrypted.store(accepts, Ordering::Relaxed);
    }

    /// A user's mailbox, loaded if it is not in memory.
    ///
    /// # Errors
    /// There is no such user, another server has the mailbox, it is damaged, or the store failed.
    pub(crate) fn mailbox(&self, name: &UserName) -> Result<Arc<SharedMailbox>, NotHere> {
        let mailbox = match self.find_or_begin(name) {
            Ok(mailbox) => mailbox,
            Err(opening) => self.load(&opening)?,
        };
        let is_damaged = mailbox.lock().recipient.damaged;
        match is_damaged {
            true => Err(damaged().into()),
            false => Ok(mailbox),
        }
    }

    /// The mailbox if it is in memory, or the task to open it. Waits for whoever opens it already.
    fn find_or_begin(&self, name: &UserName) -> Result<Arc<SharedMailbox>, Opening<'_>> {
        let mut mailboxes = self.mailboxes.lock();
        loop {
            if let Some(mailbox) = mailboxes.by_name.get(name) {
                return Ok(Arc::clone(mailbox));
            }
            if mailboxes.opening.insert(*name) {
                return Err(Opening {
                    delivery: self,
                    name: *name,
                });
            }
            mailboxes = self.opened.wait(mailboxes);
        }
    }

    fn load(&self, opening: &Opening<'_>) -> Result<Arc<SharedMailbox>, NotHere> {
        let name = &opening.name;
        let (account, claimed) = self.claim(name)?;
        let read = || {
            let blocked = self.store.blocked(account.id)?;
            Ok((blocked, self.store.summary(account.id)?))
        };
        let (blocked, summary, damage) = match read() {
            Ok((blocked, summary)) => (blocked, summary, None),
            // It stays in memory, closed, so that the damage is found and logged once.
            Err(StoreError::Damaged(why)) => (Vec::new(), Summary::default(), Some(why)),
            Err(error) => return Err(read_failed(error).into()),
        };
        let recipient = Recipient::new(&account, blocked);
        let first_number = self.mailboxes.lock().first_number.max(claimed);
        let machine = Mailbox::new(&summary, first_number, self.quota);
        let handles = Arc::clone(&self.handles);
        let loaded = SharedMailbox::new(account.id, *name, handles, machine, recipient);
        if let Some(why) = damage {
            loaded.set_aside(&why);
        }
        let loaded = Arc::new(loaded);
        let mut mailboxes = self.mailboxes.lock();
        mailboxes.drop_idle();
        mailboxes.by_name.insert(*name, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Takes a mailbox that nobody uses out of memory. Until the answer is dropped, nobody can open it.
    fn take_out(&self, name: &UserName) -> Option<(Opening<'_>, TurnedAway)> {
        let mut mailboxes = self.mailboxes.lock();
        if mailboxes.opening.contains(name) {
            return None;
        }
        let mut turned_away = TurnedAway::default();
        if let Some(mailbox) = mailboxes.by_name.get(name) {
            let held = Arc::strong_count(mailbox);
            let mut state = mailbox.lock();
            if !state.retire(held, clock::now()) {
                return None;
            }
            turned_away = std::mem::take(state.machine.turned_away());
            let next = state.machine.next_number();
            drop(state);
            mailboxes.first_number = mailboxes.first_number.max(next);
            mailboxes.by_name.remove(name);
        }
        mailboxes.opening.insert(*name);
        let opening = Opening {
            delivery: self,
            name: *name,
        };
        Some((opening, turned_away))
    }

    /// Gives a mailbox an event, carries out its effects, and follows up on them.
    fn update<T>(
        &self,
        mailbox: &Arc<SharedMailbox>,
        to_flush: &mut FlushSet,
        event: impl FnOnce(&mut MailboxState, &mut Vec<Effect<ReplyTo>>) -> T,
    ) -> T {
        let (value, follow_up) = mailbox.update(to_flush, event);
        if let Some(wake) = follow_up.wake {
            self.writer.enqueue(mailbox, wake);
        }
        if !follow_up.receipts.is_empty() {
            self.send_receipts(mailbox.name, follow_up.receipts, to_flush);
        }
        value
    }

    /// Puts a notice into a mailbox. `told` is sent whether it was taken, which is as durable as a
    /// message is then.
    pub(crate) fn notify(
        &self,
        mailbox: &Arc<SharedMailbox>,
        news: &News,
        now: Now,
        told: SyncSender<Result<(), Refusal>>,
    ) {
        let mut to_flush = FlushSet::default();
        self.update(mailbox, &mut to_flush, |state, effects| {
            let room = state.send_queue.as_ref();
            let room = room.is_none_or(|queue| queue.has_room());
            let machine = &mut state.machine;
            let reply_to = Some(ReplyTo::Notice(told));
            machine.add_notice(news, now.millis, reply_to, room, now.instant, effects);
        });
        to_flush.flush();
    }

    /// What waits in the mailboxes in memory. It looks into one after the other.
    pub(crate) fn open_mailboxes(&self) -> OpenMailboxes {
        let mailboxes: Vec<_> = self.mailboxes.lock().by_name.values().cloned().collect();
        let mut all = OpenMailboxes::default();
        for mailbox in mailboxes {
            let pending = mailbox.lock().machine.pending();
            all.add(pending);
        }
        all
    }

    /// What is pending at a login, with a notice of who was turned away since the last one.
    pub(crate) fn pending(&self, mailbox: &Arc<SharedMailbox>, now: Now) -> Tally {
        self.update(mailbox, &mut FlushSet::default(), |state, effects| {
            let machine = &mut state.machine;
            machine.deliver_notice(now.millis, false, now.instant, effects);
            machine.pending()
        })
    }
}

#[cfg(test)]
mod tests;
