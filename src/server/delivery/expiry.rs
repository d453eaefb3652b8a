//! Mail that waits longer than the operator keeps it: removed from mailboxes that nobody uses, and told to
//! its senders.
//!
//! A mailbox is out of memory while its mail is removed, so that the machine never sees a message
//! vanish. One that is in use is left alone: its owner is logged in, or somebody is writing to it.
//! Who removed messages are of is told at once if they are logged in, and otherwise at their next login.

use std::sync::Arc;

use super::shared_mailbox::SharedMailbox;
use super::{Delivery, Now};
use crate::clock;
use crate::protocol::ids::MessageId;
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::News;
use crate::server::peers::message::Call;
use crate::store::expiry::{Due, FIRST, Key, Step, Stepped, Untold};
use crate::store::{Change, Changed, UserId};
use crate::sync::sync_channel;

/// The most ids in one notice. A line with them has about 18 KiB.
const IDS: usize = 500;

/// What came of removing mail from a mailbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// So many messages are gone, and there may be more.
    Removed(u64),
    /// The mailbox is in use.
    InUse,
}

impl Delivery {
    /// Removes mail that waited for too long from a mailbox, and tells its senders.
    ///
    /// # Errors
    /// Nothing was removed.
    pub(crate) fn remove_expired(&self, due: Due) -> Result<Removal, Refusal> {
        let Some((opening, turned_away)) = self.take_out(&due.name) else {
            return Ok(Removal::InUse);
        };
        // What another server has, that one looks through.
        if self.peers().is_some() && self.claim(&due.name).is_err() {
            return Ok(Removal::InUse);
        }
        let step = Step::Remove(due, clock::unix_ms());
        let removed = self.writer.change(Change::Expiry(step));
        if !turned_away.is_empty() {
            // It is counted in memory only, until its notice can be stored.
            let mailbox = self.load(&opening).map_err(Refusal::from)?;
            mailbox.lock().machine.turned_away().add(turned_away);
        }
        drop(opening);
        let Changed::Expiry(Stepped::Removed(count, senders)) = removed? else {
            return Ok(Removal::Removed(0));
        };
        self.stats.expired.add(count);
        for sender in senders {
            // Who comes online from here on is told at the login.
            match self.sessions.find(&sender) {
                None => self.have_expired_told(sender),
                Some(session) => {
                    if let Ok(mailbox) = self.mailbox(&sender) {
                        self.tell_expired(session.user, &mailbox, Now::read());
                    }
                }
            }
        }
        Ok(Removal::Removed(count))
    }

    /// Has the other servers tell a sender who is logged in there. Who is not reached hears it at the next
    /// login.
    fn have_expired_told(&self, name: UserName) {
        self.call_all(&Call::TellExpired { name });
    }

    /// Puts notices into a sender's mailbox about messages of theirs that were removed, as far as the
    /// recipients let that be seen. They are marked first, so that two threads never tell one thing
    /// twice. A notice that a crash takes away is told by `outcome`.
    pub(crate) fn tell_expired(&self, sender: UserId, mailbox: &Arc<SharedMailbox>, now: Now) {
        let mut after = FIRST;
        loop {
            // What can't be read or marked is told at a later login.
            let Ok(untold) = self.store.untold(sender, after, IDS) else {
                return;
            };
            let Some(last) = untold.last() else {
                return;
            };
            after = (last.recipient, last.number);
            let is_last = untold.len() < IDS;
            let open = untold.iter().filter(|message| message.open);
            let keys: Vec<Key> = open.map(Untold::key).collect();
            if !keys.is_empty() {
                let mark = Change::Expiry(Step::Told(keys));
                let Ok(Changed::Expiry(Stepped::Told(marked))) = self.writer.change(mark) else {
                    return;
                };
                self.notify_of(&untold, &marked, mailbox, now);
            }
            if is_last {
                return;
            }
        }
    }

    /// One notice for each recipient, about those that are marked.
    fn notify_of(&self, untold: &[Untold], marked: &[Key], mailbox: &Arc<SharedMailbox>, now: Now) {
        for of_one in untold.chunk_by(|one, next| one.recipient == next.recipient) {
            let told = of_one
                .iter()
                .filter(|message| marked.contains(&message.key()));
            let ids: Vec<MessageId> = told.map(|message| message.mid).collect();
            if let Some(to) = of_one.first().and_then(|first| first.name)
                && !ids.is_empty()
            {
                // Nobody waits for it to be durable.
                let (told, _) = sync_channel(1);
                self.notify(mailbox, &News::Expired { to, ids }, now, told);
            }
        }
    }
}
