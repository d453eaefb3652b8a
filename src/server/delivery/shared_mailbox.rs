//! A mailbox that threads share: the pure machine under a lock, with the attached
//! session's send queue and what senders have to respect of the recipient.
//!
//! It carries out the machine's effects. Messages are appended to the session's send
//! queue under the lock, because that keeps their order. All else happens without the
//! lock: the caller flushes the [`FlushSet`] and does what the [`FollowUp`] says.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::mailbox::{Effect, Mailbox, Receipt, Room, Taken, Wake, Work};
use super::recipient::Recipient;
use super::refusals::{self, damaged};
use crate::crypto::handle::HandleKey;
use crate::protocol::ids::{ByteArray, Handle};
use crate::protocol::name::UserName;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Accepted, Event, Reply};
use crate::server::log;
use crate::server::net::send_queue::SendQueue;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::peers::message::Forwarded;
use crate::server::peers::reply::PeerReply;
use crate::server::stats::Ending;
use crate::store::{StoreError, UserId};
use crate::sync::{Mutex, MutexGuard, SyncSender};

/// Where the answer about a message goes.
pub(crate) enum ReplyTo {
    /// To the session that has sent it.
    Session {
        /// The sender's number.
        sender: UserId,
        /// The sender's connection.
        send_queue: Arc<SendQueue>,
        /// The request's id, if it has one.
        request_id: Option<u64>,
    },
    /// To the server of the sender's session, with the sender's number.
    Peer(UserId, PeerReply),
    /// To whoever waits for a notice to be taken. The channel has room for it.
    Notice(SyncSender<Result<(), Refusal>>),
}

impl ReplyTo {
    fn answer(
        self,
        mailbox: &SharedMailbox,
        answer: Result<Taken, Refusal>,
        to_flush: &mut FlushSet,
    ) {
        match self {
            ReplyTo::Session {
                sender,
                send_queue,
                request_id,
            } => {
                let answer = answer.map(|taken| Reply::Accepted(mailbox.accepted(sender, taken)));
                send_queue.late_answer(request_id, &answer);
                to_flush.add(&send_queue);
            }
            ReplyTo::Peer(sender, reply) => {
                let answer = answer.map(|taken| Reply::Accepted(mailbox.accepted(sender, taken)));
                reply.answer(Forwarded::Answer(answer));
            }
            ReplyTo::Notice(sender) => {
                // A receiver that was dropped needs no answer.
                let _ = sender.send(answer.map(drop));
            }
        }
    }
}

/// What is left to do after an event, without the mailbox's lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct FollowUp {
    /// Put the mailbox in the writer's queue.
    pub wake: Option<Wake>,
    /// Tell these senders that their messages are delivered. Only an acknowledgement
    /// makes receipts.
    pub receipts: Vec<Receipt>,
}

/// One user's mailbox, shared by threads.
pub(crate) struct SharedMailbox {
    /// The owner's number.
    pub user: UserId,
    /// The owner's name.
    pub name: UserName,
    /// Seals the places that senders are told.
    handles: Arc<HandleKey>,
    /// Guards the machine and all that is decided together with it. Only send queues'
    /// locks are taken under it, and no call under it blocks.
    state: Mutex<MailboxState>,
}

/// What the lock guards.
pub(crate) struct MailboxState {
    /// The machine.
    pub machine: Mailbox<ReplyTo>,
    /// The attached session's send queue.
    pub send_queue: Option<Arc<SendQueue>>,
    /// What senders have to respect.
    pub recipient: Recipient,
    /// How many sessions hold it only because they have written to it last.
    writers: usize,
    /// It was taken out of memory: another one is the user's mailbox, or will be.
    retired: bool,
}

impl MailboxState {
    /// Takes it out of memory, unless somebody uses it: somebody holds one of `held` references who is
    /// not just a session that wrote to it last, or there is something that the store does not know.
    pub(super) fn retire(&mut self, held: usize, now: Instant) -> bool {
        let unused = held == 1 + self.writers;
        self.retired = unused && self.machine.is_idle(now) && !self.recipient.damaged;
        self.retired
    }

    /// Whether it is nobody's mailbox any more, so that nothing may be put into it.
    pub(super) fn is_retired(&self) -> bool {
        self.retired
    }
}

/// The mailbox that a session wrote to last, kept to be found at once. It does not count as being used.
pub(crate) struct LastRecipient(Arc<SharedMailbox>);

impl LastRecipient {
    /// Keeps a mailbox.
    pub(crate) fn new(mailbox: Arc<SharedMailbox>) -> Self {
        mailbox.lock().writers += 1;
        LastRecipient(mailbox)
    }

    /// The mailbox, which may be retired.
    pub(crate) fn mailbox(&self) -> &Arc<SharedMailbox> {
        &self.0
    }
}

impl Drop for LastRecipient {
    fn drop(&mut self) {
        self.0.lock().writers -= 1;
    }
}

impl SharedMailbox {
    /// A mailbox without a session.
    pub(super) fn new(
        user: UserId,
        name: UserName,
        handles: Arc<HandleKey>,
        machine: Mailbox<ReplyTo>,
        recipient: Recipient,
    ) -> Self {
        SharedMailbox {
            user,
            name,
            handles,
            state: Mutex::new(MailboxState {
                machine,
                send_queue: None,
                recipient,
                writers: 0,
                retired: false,
            }),
        }
    }

    /// Takes the lock, for what makes no effects. The machine moves in steps that can't
    /// fail half-way, so a panic of another holder leaves it whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock()
    }

    /// Gives the machine an event under the lock, and carries out its effects.
    pub(super) fn update<T>(
        &self,
        to_flush: &mut FlushSet,
        event: impl FnOnce(&mut MailboxState, &mut Vec<Effect<ReplyTo>>) -> T,
    ) -> (T, FollowUp) {
        let mut effects = Vec::new();
        let mut state = self.lock();
        let value = event(&mut state, &mut effects);
        let receipts = self.carry_out(&state, effects, to_flush);
        let wake = state.machine.wake();
        (value, FollowUp { wake, receipts })
    }

    /// Hands the mailbox's work to the writer. What waits in a closed mailbox is refused
    /// instead, since its senders have no answer yet.
    pub(super) fn take_work(
        &self,
        now: Instant,
        room: Room,
        to_flush: &mut FlushSet,
    ) -> (Work, FollowUp) {
        self.update(to_flush, |state, effects| match state.recipient.closed() {
            None => state.machine.take_work(now, room),
            Some(refusal) => Work {
                abandoned: state.machine.abandon(&refusal, effects),
                ..Work::default()
            },
        })
    }

    /// Explains a failed read of this mailbox, and sets it aside if it is damaged.
    pub(super) fn read_failed(&self, error: StoreError) -> Refusal {
        match error {
            StoreError::Damaged(why) => {
                self.set_aside(&why);
                damaged()
            }
            error => refusals::read_failed(error),
        }
    }

    /// The answer to `sender` that a message was accepted.
    pub(super) fn accepted(&self, sender: UserId, taken: Taken) -> Accepted {
        let handle = self.handles.seal(sender.0, self.user.0, taken.number);
        Accepted {
            state: taken.state,
            at: taken.at,
            handle: Some(ByteArray(handle)),
        }
    }

    /// The number in a handle that this server gave `sender` for a message in this mailbox.
    pub(super) fn number_in(&self, sender: UserId, handle: Handle) -> Option<u64> {
        self.handles.open(sender.0, self.user.0, &handle.0)
    }

    /// Closes the mailbox because what the store holds of it is damaged. An attached
    /// session is told and disconnected.
    pub(super) fn set_aside(&self, why: &dyn fmt::Display) {
        let mut state = self.lock();
        let known = std::mem::replace(&mut state.recipient.damaged, true);
        let send_queue = state.send_queue.clone();
        drop(state);
        if known {
            return;
        }
        log::error(
            None,
            format_args!(
                "the mailbox of {} is damaged and set aside, all others go on: {why}; its owner and \
                 those who write to it are told. Stop the server, mend the database or restore a backup",
                self.name
            ),
        );
        if let Some(send_queue) = send_queue {
            send_queue.answer(None, &Err(damaged()));
            send_queue.flush();
            send_queue.stop_reading_for(Ending::Unreadable);
        }
    }

    /// Carries out effects, and returns the receipts among them: their senders' sessions
    /// are found in another table, whose lock is never taken under this one.
    fn carry_out(
        &self,
        state: &MailboxState,
        effects: Vec<Effect<ReplyTo>>,
        to_flush: &mut FlushSet,
    ) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for effect in effects {
            match effect {
                Effect::Push(message) => {
                    if let Some(send_queue) = &state.send_queue {
                        send_queue.message(&message);
                        to_flush.add(send_queue);
                    }
                }
                Effect::EnvelopesWait(count) => {
                    if let Some(send_queue) = &state.send_queue {
                        send_queue.event(&Event::EnvelopesWait { count });
                        to_flush.add(send_queue);
                    }
                }
                Effect::Answer(reply_to, taken) => reply_to.answer(self, Ok(taken), to_flush),
                Effect::Refuse(reply_to, refusal) => reply_to.answer(self, Err(refusal), to_flush),
                Effect::Receipt(receipt) => receipts.push(receipt),
            }
        }
        receipts
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::server::delivery::mailbox::Quota;
    use crate::store::Summary;

    pub(in crate::server) fn mailbox(name: &str) -> Arc<SharedMailbox> {
        let quota = Quota {
            messages: 100,
            bytes: 100_000,
            share: 100,
        };
        let machine = Mailbox::new(&Summary::default(), 1, quota);
        let name = name.parse().unwrap();
        Arc::new(SharedMailbox::new(
            UserId(1),
            name,
            Arc::new(HandleKey::new(&[0; 32])),
            machine,
            Recipient::default(),
        ))
    }
}
