//! The sender's way into a mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mailbox::{Decision, Discretion, Disposition, Earlier, Submission};
use super::resend::Resends;
use super::sessions::Session;
use super::shared_mailbox::{ReplyTo, SharedMailbox};
use super::{Budget, Delivery, Now};
use crate::protocol::reply::{Answer, Reply};
use crate::protocol::request::Send;
use crate::server::net::send_queue::flush_set::FlushSet;

/// What a `send` brings with it beside the message.
pub(crate) struct Sending<'a> {
    /// The sender's session.
    pub session: &'a Session,
    /// The request's id, if it has one.
    pub request_id: Option<u64>,
    /// When it came.
    pub now: Now,
    /// What the session knows of the messages that it sends again.
    pub resends: &'a mut Resends,
    /// What looking for them may cost.
    pub budget: Budget<'a>,
}

impl Delivery {
    /// Submits a message to its recipient's mailbox. Returns the answer, or `None` if it comes
    /// later, through the session's send queue.
    pub(crate) fn send(
        &self,
        mailbox: &Arc<SharedMailbox>,
        send: Send,
        sending: Sending<'_>,
        to_flush: &mut FlushSet,
    ) -> Option<Answer> {
        let Sending {
            session,
            request_id,
            now,
            resends,
            budget,
        } = sending;
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
            discretion: Discretion::Open, // Decided under the lock.
            reply_to: ReplyTo::Session {
                sender: session.user,
                send_queue: Arc::clone(&session.send_queue),
                request_id,
            },
        };
        // At most two rounds: once the store was searched, the mailbox decides.
        loop {
            let decision = self.update(mailbox, to_flush, |state, effects| {
                let recipient = &state.recipient;
                let accepts_unencrypted = self.accepts_unencrypted.load(Ordering::Relaxed);
                if let Err(refusal) =
                    recipient.check(&submission.body, send.identity, accepts_unencrypted)
                {
                    return Decision::Made(Disposition::Refused(refusal));
                }
                submission.discretion = recipient.discretion(&session.name, &mailbox.name);
                let attached = state.send_queue.as_ref();
                let room = attached.is_none_or(|send_queue| send_queue.has_room());
                let machine = &mut state.machine;
                let decision = machine.submit(submission, earlier, room, now.instant, effects);
                if let Decision::Made(Disposition::AnsweredLater) = decision {
                    // It is counted under the lock, since answering takes the lock too.
                    session.send_queue.expect_answer();
                }
                decision
            });
            submission = match decision {
                Decision::Made(Disposition::AnsweredLater) => {
                    self.stats.taken.add(1);
                    return None;
                }
                Decision::Made(Disposition::Accepted(taken)) => {
                    return Some(Ok(Reply::Accepted(mailbox.accepted(session.user, taken))));
                }
                Decision::Made(Disposition::Refused(refusal)) => return Some(Err(refusal)),
                Decision::SearchFirst(submission) => submission,
            };
            let after = send.after;
            let copy = self.first_copy(session, mailbox, submission.mid, after, resends, budget);
            earlier = match copy {
                Ok(copy) => Earlier::Searched(copy),
                Err(refusal) => return Some(Err(refusal)),
            };
        }
    }
}
