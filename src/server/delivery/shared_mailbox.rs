//! A mailbox at work: the pure machine with its lock, its session's outbox, and
//! what a sender has to respect of the recipient.
//!
//! It carries out the machine's effects. Messages are appended to the session's
//! outbox under the lock, because that is what keeps their order; everything
//! that touches a socket happens later, when [`FlushSet`] is flushed without it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::mailbox::{Effect, Mailbox, Work};
use super::writer::Writer;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Event, Reply};
use crate::server::log;
use crate::server::net::send_queue::SendQueue;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::UserId;
use crate::sync::{Mutex, MutexGuard};

/// Who waits for the answer to a `send`.
#[derive(Clone)]
pub(crate) struct Origin {
    /// On which connection.
    pub send_queue: Arc<SendQueue>,
    /// To which request.
    pub request: Option<u64>,
}

/// See the module.
pub(crate) struct SharedMailbox {
    /// Whose.
    pub user: UserId,
    /// The same, by name.
    pub name: UserName,
    /// Guards the machine and all that is decided together with it. Under it
    /// are taken: an outbox's lock, the writer's queue. Never another postbox's,
    /// never the session table's, and no call blocks.
    state: Mutex<MailboxState>,
}

/// What the lock guards.
pub(crate) struct MailboxState {
    /// The machine.
    pub machine: Mailbox<Origin>,
    /// The attached session's outbox.
    pub send_queue: Option<Arc<SendQueue>>,
    /// What senders have to respect.
    pub recipient: Recipient,
}

/// What a sender has to respect.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recipient {
    /// Takes encrypted messages only.
    pub refuse_unencrypted: bool,
    /// The published identity's fingerprint.
    pub identity: Option<[u8; 32]>,
    /// Whose messages are dropped.
    pub blocked: HashSet<UserName>,
    /// The account was deleted.
    pub deleted: bool,
    /// What the store holds of this mailbox is damaged: it takes nothing and gives
    /// nothing, until a server is started on a database that was mended.
    pub damaged: bool,
}

impl Recipient {
    /// Why nothing reaches this mailbox, if that is so.
    pub(crate) fn closed(&self) -> Option<Refusal> {
        if self.deleted {
            return Some(Refusal::new(
                Code::UnknownUser,
                "the recipient has deleted their account",
            ));
        }
        self.damaged.then(damaged)
    }
}

/// What the store holds of a mailbox or an account is damaged.
pub(crate) fn damaged() -> Refusal {
    Refusal::new(
        Code::Damaged,
        "what the server keeps of this mailbox or account is damaged; tell the operator, who has \
         to mend it or to restore a backup",
    )
}

impl SharedMailbox {
    /// A postbox around a mailbox.
    pub(crate) fn new(
        user: UserId,
        name: UserName,
        machine: Mailbox<Origin>,
        recipient: Recipient,
    ) -> Self {
        SharedMailbox {
            user,
            name,
            state: Mutex::new(MailboxState {
                machine,
                send_queue: None,
                recipient,
            }),
        }
    }

    /// Takes the lock. A panic of another holder is survived: the machine moves
    /// in steps that can't fail half-way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock()
    }

    /// The writer's visit. What waits in a closed mailbox is refused here, since
    /// its senders were not answered yet.
    pub(crate) fn take_work(
        self: &Arc<Self>,
        now: Instant,
        limit: usize,
        writer: &Writer,
        to_flush: &mut FlushSet,
    ) -> Work {
        let mut state = self.lock();
        let mut effects = Vec::new();
        let work = match state.recipient.closed() {
            None => state.machine.take_work(now, limit),
            Some(refusal) => Work {
                given_up: state.machine.abandon(&refusal, &mut effects),
                ..Work::default()
            },
        };
        self.carry_out(&mut state, effects, writer, to_flush);
        work
    }

    /// Closes the mailbox, since what the store holds of it is damaged. Whoever is
    /// attached is told, and disconnected.
    pub(crate) fn set_aside(&self, why: &str) {
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
                 those who write to it are told. Stop the server, mend chat.db or restore a backup",
                self.name
            ),
        );
        if let Some(send_queue) = send_queue {
            send_queue.answer(None, &Err(damaged()));
            send_queue.flush();
            // Its own thread ends the connection, with the news sent.
            send_queue.socket().close_reading();
        }
    }

    /// The server ends and can't write: what waits is refused. Says how many
    /// acknowledgements are not recorded.
    pub(crate) fn abandon(
        self: &Arc<Self>,
        refusal: &Refusal,
        writer: &Writer,
        to_flush: &mut FlushSet,
    ) -> usize {
        let mut state = self.lock();
        let mut effects = Vec::new();
        let given_up = state.machine.abandon(refusal, &mut effects);
        self.carry_out(&mut state, effects, writer, to_flush);
        given_up
    }

    /// The writer's work is on disk.
    pub(crate) fn committed(
        self: &Arc<Self>,
        work: &Work,
        writer: &Writer,
        to_flush: &mut FlushSet,
    ) {
        let mut state = self.lock();
        let mut effects = Vec::new();
        state.machine.committed(work, &mut effects);
        self.carry_out(&mut state, effects, writer, to_flush);
    }

    /// The writer's work was not done.
    pub(crate) fn failed(
        self: &Arc<Self>,
        work: &Work,
        refusal: &Refusal,
        writer: &Writer,
        to_flush: &mut FlushSet,
    ) {
        let mut state = self.lock();
        let mut effects = Vec::new();
        state.machine.failed(work, refusal, &mut effects);
        self.carry_out(&mut state, effects, writer, to_flush);
    }

    /// Carries out effects under the lock, puts the mailbox in the writer's line
    /// if it asks for that, and returns receipts for senders, who are found in
    /// another table and therefore told outside.
    pub(crate) fn carry_out(
        self: &Arc<Self>,
        state: &mut MailboxState,
        effects: Vec<Effect<Origin>>,
        writer: &Writer,
        to_flush: &mut FlushSet,
    ) -> Vec<(UserName, crate::protocol::MessageId)> {
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
                Effect::Answer(origin, accepted) => {
                    let answer = Ok(Reply::Accepted(accepted));
                    origin.send_queue.late_answer(origin.request, &answer);
                    to_flush.add(&origin.send_queue);
                }
                Effect::Refuse(origin, refusal) => {
                    origin.send_queue.late_answer(origin.request, &Err(refusal));
                    to_flush.add(&origin.send_queue);
                }
                Effect::Receipt(sender, id) => receipts.push((sender, id)),
            }
        }
        if let Some(wake) = state.machine.wake() {
            writer.enqueue(self, wake);
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
        let machine = Mailbox::new(&Summary::default(), quota);
        let name = name.parse().unwrap();
        Arc::new(SharedMailbox::new(
            UserId(1),
            name,
            machine,
            Recipient::default(),
        ))
    }
}
