//! The sender's way into a mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mailbox::{Decision, Discretion, Disposition, Earlier, Submission};
use super::refusals::{has_expired, session_over};
use super::resend::Resends;
use super::sessions::Session;
use super::shared_mailbox::{LastRecipient, ReplyTo};
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
        recipient: &mut LastRecipient,
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
        let unsearched = || match send.again {
            true => Earlier::Unknown,
            false => Earlier::None,
        };
        let mut earlier = unsearched();
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
        // Once the store was searched, the mailbox decides, unless it was taken out of memory meanwhile.
        loop {
            let mailbox = recipient.mailbox();
            let decision = self.update(mailbox, to_flush, |state, effects| {
                if state.is_retired() {
                    return Err(Box::new(submission));
                }
                // Under the lock, so that nothing follows once a look at the mailbox has found nothing
                // of an account that is removed.
                if session.is_over() {
                    return Ok(Decision::Made(Disposition::Refused(session_over())));
                }
                let recipient = &state.recipient;
                let accepts_unencrypted = self.accepts_unencrypted.load(Ordering::Relaxed);
                if let Err(refusal) =
                    recipient.check(&submission.body, send.identity, accepts_unencrypted)
                {
                    return Ok(Decision::Made(Disposition::Refused(refusal)));
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
                Ok(decision)
            });
            let decision = match decision {
                Ok(decision) => decision,
                Err(not_taken) => {
                    (submission, earlier) = (*not_taken, unsearched());
                    *recipient = match self.mailbox(&send.to) {
                        Ok(mailbox) => LastRecipient::new(mailbox),
                        Err(refusal) => return Some(Err(refusal)),
                    };
                    continue;
                }
            };
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
            let mid = submission.mid;
            let copy = self.first_copy(session, mailbox, mid, after, resends, budget);
            // One that may not be told that its first copy has expired is taken as a new one.
            let expired = match copy {
                Ok(None) if submission.discretion == Discretion::Open => {
                    self.has_expired(session, mailbox, mid, after, budget)
                }
                _ => Ok(false),
            };
            earlier = match (copy, expired) {
                (Ok(copy), Ok(false)) => Earlier::Searched(copy),
                (Ok(_), Ok(true)) => return Some(Err(has_expired())),
                (Err(refusal), _) | (_, Err(refusal)) => return Some(Err(refusal)),
            };
        }
    }
}
