//! Giving a removed account's name away: first all that the account has left with others goes, its mail
//! that waits for them and their blocks of it, and then the name.
//!
//! All mail is looked through for that, in reads that nobody waits for, and the writer gets small parts,
//! so that logins and messages go on in between. Mailboxes that are in memory are told before the store
//! is, whether or not their owners are logged in. The name goes last, in a transaction of its own: whatever
//! cuts this off leaves it reserved, and the next try completes the purge.

use std::sync::Arc;
use std::time::Duration;

use super::homes::NotHere;
use super::mailbox::{Withdrawn, Work};
use super::refusals::{damaged, read_failed, write_failed};
use super::shared_mailbox::SharedMailbox;
use super::{Delivery, Opening};
use crate::clock;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::expiry::{FIRST, Key};
use crate::store::purge::Trace;
use crate::store::{Change, Changed, NewAccount, StoreError, UserId};
use crate::sync;

/// How long it may take until what the account sent last is on disk, and until its connection has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How far a purge is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// So many messages, of anybody, were looked at.
    pub looked_at: u64,
    /// So many of the account's were removed.
    pub removed: u64,
}

impl Delivery {
    /// Gives the name of a deleted account, which has no session, to a new one. `progress` is told how
    /// far the purge is after each part of it, and may end it.
    ///
    /// # Errors
    /// The name is still reserved, and some of the account's mail may be gone.
    pub(crate) fn give_name_away<E: From<Refusal>>(
        &self,
        earlier: UserId,
        account: NewAccount,
        progress: &mut dyn FnMut(Purged) -> Result<(), E>,
    ) -> Result<(Changed, Purged), E> {
        let name = account.name;
        self.require_no_other_server()?;
        self.wait_until_written(earlier)?;
        let purged = self.purge_mail(earlier, progress)?;
        self.purge_blocks(earlier, &name)?;
        let opening = self.take_out_deleted(&name)?;
        let changed = self.writer.change(Change::Reuse(earlier, account))?;
        drop(opening);
        Ok((changed, purged))
    }

    /// Refuses while other servers have mailboxes that the account may have written to.
    fn require_no_other_server(&self) -> Result<(), Refusal> {
        let others = self.store.nodes().map_err(read_failed)?;
        let Some(other) = others.first() else {
            return Ok(());
        };
        Err(Refusal::new(
            Code::Internal,
            format!(
                "a removed account's name can be given away only while one server uses the database, and {} \
                 does, too; stop the others first",
                other.name
            ),
        ))
    }

    /// Waits until no mailbox has a message of this sender in memory only. None is added meanwhile.
    fn wait_until_written(&self, sender: UserId) -> Result<(), Refusal> {
        let deadline = clock::now() + PATIENCE;
        loop {
            let is_unwritten = |mailbox: &Arc<SharedMailbox>| {
                let state = mailbox.lock();
                state.machine.has_unwritten_of(sender)
            };
            if !self.in_memory().iter().any(is_unwritten) {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(write_failed(&StoreError::Full));
            }
            sync::sleep(LOOK_AGAIN);
        }
    }

    fn in_memory(&self) -> Vec<Arc<SharedMailbox>> {
        self.mailboxes.lock().by_name.values().cloned().collect()
    }

    /// Removes all mail from the account, and all that waits for it.
    fn purge_mail<E: From<Refusal>>(
        &self,
        account: UserId,
        progress: &mut dyn FnMut(Purged) -> Result<(), E>,
    ) -> Result<Purged, E> {
        let mut purged = Purged::default();
        let mut after = Some(FIRST);
        while let Some(from) = after {
            let part = self.store.traces(account, from).map_err(read_failed)?;
            self.purge_part(account, &part.found)?;
            purged.looked_at += part.looked_at as u64;
            purged.removed += part.found.len() as u64;
            progress(purged)?;
            after = part.next;
        }
        Ok(purged)
    }

    fn purge_part(&self, account: UserId, found: &[Trace]) -> Result<(), Refusal> {
        if found.is_empty() {
            return Ok(());
        }
        let mut told = Vec::new();
        for of_one in found.chunk_by(|one, next| one.recipient == next.recipient) {
            told.extend(self.withdraw(account, of_one)?);
        }
        let places: Vec<Key> = found.iter().map(|it| (it.recipient, it.number)).collect();
        let purge = Change::Purge(account, places, Vec::new());
        let purged = self.writer.change(purge);
        let mut to_flush = FlushSet::default();
        for (mailbox, work) in told {
            self.update(&mailbox, &mut to_flush, |state, effects| match &purged {
                Ok(_) => state.machine.committed(&work, effects),
                // The mailbox has them deleted like acknowledged ones.
                Err(refusal) => state.machine.failed(&work, refusal, clock::now(), effects),
            });
        }
        to_flush.flush();
        purged.map(drop)
    }

    /// Tells a mailbox that these messages, all that is looked at of it, are about to be deleted. Returns
    /// it with what it has to be told afterwards; nothing, if its owner is gone.
    fn withdraw(
        &self,
        account: UserId,
        found: &[Trace],
    ) -> Result<Option<(Arc<SharedMailbox>, Work)>, Refusal> {
        let Some(owner) = found.first().and_then(|first| first.owner) else {
            return Ok(None);
        };
        let mailbox = match self.mailbox(&owner) {
            Ok(mailbox) => mailbox,
            // It was removed meanwhile.
            Err(NotHere::Refused(refusal)) if refusal.code == Code::UnknownUser => return Ok(None),
            Err(not_here) => return Err(not_here.into()),
        };
        let messages = found.iter().map(|trace| Withdrawn {
            number: trace.number,
            is_envelope: trace.is_envelope,
            size: trace.size,
        });
        let messages: Vec<Withdrawn> = messages.collect();
        let work = self.update(&mailbox, &mut FlushSet::default(), |state, _| {
            state.machine.withdraw(account, &messages)
        });
        Ok(Some((mailbox, work)))
    }

    /// Lifts everybody's blocks of the account, which must not become blocks of the next owner of its name.
    fn purge_blocks(&self, account: UserId, name: &UserName) -> Result<(), Refusal> {
        let mut after = Some(FIRST);
        while let Some(from) = after {
            let part = self.store.blockers(account, from).map_err(read_failed)?;
            if !part.found.is_empty() {
                let purge = Change::Purge(account, Vec::new(), part.found);
                self.writer.change(purge)?;
            }
            after = part.next;
        }
        for mailbox in self.in_memory() {
            mailbox.lock().recipient.blocked.remove(name);
        }
        Ok(())
    }

    /// Takes a deleted account's mailbox out of memory, once nobody uses it. Until the answer is dropped,
    /// nobody can open one of that name.
    fn take_out_deleted(&self, name: &UserName) -> Result<Opening<'_>, Refusal> {
        let deadline = clock::now() + PATIENCE;
        loop {
            if let Some((opening, _)) = self.take_out(name) {
                return Ok(opening);
            }
            let found = self.mailboxes.lock().by_name.get(name).cloned();
            if found.is_some_and(|mailbox| mailbox.lock().recipient.damaged) {
                return Err(damaged());
            }
            if clock::now() >= deadline {
                return Err(Refusal::new(
                    Code::Internal,
                    "the connection of the name's last owner has not ended yet; try again in a minute",
                ));
            }
            sync::sleep(LOOK_AGAIN);
        }
    }
}
