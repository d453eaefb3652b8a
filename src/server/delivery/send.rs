//! The sender's way into a mailbox.

use std::sync::atomic::Ordering;

use super::homes::NotHere;
use super::mailbox::{Decision, Discretion, Disposition, Earlier, Submission};
use super::refusals::{has_expired, session_over};
use super::resend::Resends;
use super::sessions::Session;
use super::shared_mailbox::{LastRecipient, ReplyTo};
use super::{Author, Budget, Delivery, Now};
use crate::protocol::reply::{Answer, Reply};
use crate::protocol::request::Send;
use crate::server::net::send_queue::SendQueue;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::homes::RunId;

/// What a `send` brings with it beside the message.
pub(crate) struct Sending<'a> {
    /// The sender.
    pub author: Author,
    /// Where an answer goes that comes later.
    pub reply_to: ReplyTo,
    /// The sender's session, if it is at this server.
    pub session: Option<&'a Session>,
    /// What counts the answers that come later.
    pub undecided: Option<&'a SendQueue>,
    /// When it came.
    pub now: Now,
    /// What is known of the messages that the sender sends again.
    pub resends: &'a mut Resends,
    /// What looking for them may cost.
    pub budget: Budget<'a>,
}

/// What became of an attempt to submit a message to a mailbox in memory.
pub(crate) enum Sent {
    /// The answer comes later.
    Later,
    /// This is the answer.
    Now(Answer),
    /// The mailbox has left memory, and this run of another server has it. Here is the message.
    Elsewhere(RunId, Box<Send>),
}

impl Delivery {
    /// Submits a message to its recipient's mailbox in memory.
    pub(crate) fn send(
        &self,
        recipient: &mut LastRecipient,
        send: Send,
        sending: Sending<'_>,
        to_flush: &mut FlushSet,
    ) -> Sent {
        let Sending {
            author,
            reply_to,
            session,
            undecided,
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
            sender: author.user,
            from: author.name,
            mid: send.mid,
            body: send.body,
            at: now.millis,
            discretion: Discretion::Open, // Decided under the lock.
            reply_to,
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
                if session.is_some_and(Session::is_over) {
                    return Ok(Decision::Made(Disposition::Refused(session_over())));
                }
                let recipient = &state.recipient;
                let accepts_unencrypted = self.accepts_unencrypted.load(Ordering::Relaxed);
                if let Err(refusal) =
                    recipient.check(&submission.body, send.identity, accepts_unencrypted)
                {
                    return Ok(Decision::Made(Disposition::Refused(refusal)));
                }
                submission.discretion = recipient.discretion(&author.name, &mailbox.name);
                let attached = state.send_queue.as_ref();
                let room = attached.is_none_or(|send_queue| send_queue.has_room());
                let machine = &mut state.machine;
                let decision = machine.submit(submission, earlier, room, now.instant, effects);
                if let (Decision::Made(Disposition::AnsweredLater), Some(undecided)) =
                    (&decision, undecided)
                {
                    // It is counted under the lock, since answering takes the lock too.
                    undecided.expect_answer();
                }
                Ok(decision)
            });
            let decision = match decision {
                Ok(decision) => decision,
                Err(not_taken) => {
                    (submission, earlier) = (*not_taken, unsearched());
                    *recipient = match self.mailbox(&send.to) {
                        Ok(mailbox) => LastRecipient::new(mailbox),
                        Err(NotHere::Refused(refusal)) => return Sent::Now(Err(refusal)),
                        Err(NotHere::At(run)) => {
                            let body = submission.body;
                            return Sent::Elsewhere(run, Box::new(Send { body, ..send }));
                        }
                    };
                    continue;
                }
            };
            submission = match decision {
                Decision::Made(Disposition::AnsweredLater) => {
                    self.stats.taken.add(1);
                    return Sent::Later;
                }
                Decision::Made(Disposition::Accepted(taken)) => {
                    let accepted = mailbox.accepted(author.user, taken);
                    return Sent::Now(Ok(Reply::Accepted(accepted)));
                }
                Decision::Made(Disposition::Refused(refusal)) => return Sent::Now(Err(refusal)),
                Decision::SearchFirst(submission) => submission,
            };
            let after = send.after;
            let mid = submission.mid;
            let copy = self.first_copy(author, mailbox, mid, after, resends, budget);
            // One that may not be told that its first copy has expired is taken as a new one.
            let expired = match copy {
                Ok(None) if submission.discretion == Discretion::Open => {
                    self.has_expired(author, mailbox, mid, after, budget)
                }
                _ => Ok(false),
            };
            earlier = match (copy, expired) {
                (Ok(copy), Ok(false)) => Earlier::Searched(copy),
                (Ok(_), Ok(true)) => return Sent::Now(Err(has_expired())),
                (Err(refusal), _) | (_, Err(refusal)) => return Sent::Now(Err(refusal)),
            };
        }
    }
}
