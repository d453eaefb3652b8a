//! The sender's way into a mailbox, and the question what became of a message.

use std::sync::Arc;

use super::mailbox::{Decision, Disposition, Earlier, Submission};
use super::sessions::Session;
use super::shared_mailbox::{ReplyTo, SharedMailbox};
use super::{Delivery, Now};
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{Accepted, MessageState, Waiting};
use crate::protocol::request::{Outcome, Send};
use crate::server::net::send_queue::flush_set::FlushSet;

impl Delivery {
    /// Submits a message to its recipient's mailbox. If the disposition is pending, the
    /// answer comes through the session's send queue.
    pub(crate) fn send(
        &self,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        send: Send,
        request_id: Option<u64>,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Disposition {
        let mut earlier = match send.again {
            true => Earlier::Unknown,
            false => Earlier::None,
        };
        let mut submission = Submission {
            sender: session.user,
            from: session.name,
            mid: send.mid,
            body: send.body,
            at: now.millis,
            reply_to: ReplyTo {
                send_queue: Arc::clone(&session.send_queue),
                request_id,
            },
        };
        // At most two rounds: once the store was searched, the mailbox decides.
        loop {
            let decision = self.update(mailbox, to_flush, |state, effects| {
                let recipient = &state.recipient;
                let accepts_unencrypted = self.accepts_unencrypted;
                if let Err(refusal) =
                    recipient.check(&submission.body, send.identity, accepts_unencrypted)
                {
                    return Decision::Made(Disposition::Refused(refusal));
                }
                if recipient.blocked.contains(&submission.from) {
                    // The sender must not learn of the block: the message is dropped.
                    return Decision::Made(Disposition::Accepted(Accepted {
                        state: MessageState::Stored,
                        at: now.millis,
                    }));
                }
                let attached = state.send_queue.as_ref();
                let room = attached.is_none_or(|send_queue| send_queue.has_room());
                let machine = &mut state.machine;
                let decision = machine.accept(submission, earlier, room, now.instant, effects);
                if let Decision::Made(Disposition::Pending) = decision {
                    // It is counted under the lock, since answering takes the lock too.
                    session.send_queue.expect_answer();
                }
                decision
            });
            submission = match decision {
                Decision::Made(disposition) => {
                    if disposition == Disposition::Pending {
                        self.stats.taken.add(1);
                    }
                    return disposition;
                }
                Decision::SearchFirst(submission) => submission,
            };
            let (sender, mid) = (submission.sender, submission.mid);
            earlier = match self.store.find(mailbox.user, sender, &[mid]) {
                Ok(mut found) => Earlier::Searched(found.pop()),
                Err(error) => return Disposition::Refused(mailbox.read_failed(error)),
            };
        }
    }

    /// Tells which of the ids that this session's user sent are still pending.
    ///
    /// # Errors
    /// There is no such recipient, or the store failed.
    pub(crate) fn outcome(&self, session: &Session, outcome: &Outcome) -> Result<Waiting, Refusal> {
        let mailbox = self.mailbox(&outcome.to)?;
        let mut waiting = Vec::new();
        let mut unknown = Vec::new();
        let state = mailbox.lock();
        for mid in &outcome.ids {
            match state.machine.is_pending(session.user, *mid) {
                Some(true) => waiting.push(*mid),
                Some(false) => {}
                None => unknown.push(*mid),
            }
        }
        drop(state);
        if !unknown.is_empty() {
            let found = self
                .store
                .find(mailbox.user, session.user, &unknown)
                .map_err(|error| mailbox.read_failed(error))?;
            let state = mailbox.lock();
            let pending = found
                .iter()
                .filter(|message| !state.machine.is_acknowledged(message.number));
            waiting.extend(pending.map(|message| message.mid));
        }
        Ok(Waiting { waiting })
    }
}
