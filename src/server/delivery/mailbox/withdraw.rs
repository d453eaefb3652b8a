//! Taking a sender's messages out of a mailbox, for an account that is gone and whose name is given away.
//!
//! Whoever owns the mailbox may be logged in, reading and writing meanwhile. What their client has taken
//! already stays with it; what was pushed and not acknowledged counts as never sent.

use super::quota::Kind;
use super::{Mailbox, Work};
use crate::store::UserId;

/// A message in the store that is taken out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Withdrawn {
    /// Its number.
    pub number: u64,
    /// It is encrypted.
    pub is_envelope: bool,
    /// The bytes of its body.
    pub size: usize,
}

impl<R> Mailbox<R> {
    /// Whether a message of this sender is not on disk yet.
    pub(crate) fn has_unwritten_of(&self, sender: UserId) -> bool {
        let mut unwritten = self.unwritten.iter();
        unwritten.any(|unwritten| unwritten.message.sender == sender)
    }

    /// Takes messages of a sender out, none of which is unwritten: they are no longer pending, and
    /// nobody is pushed them from here on. The caller deletes those that the store has, and reports that
    /// with [`committed`](Self::committed) or [`failed`](Self::failed).
    pub(crate) fn withdraw(&mut self, sender: UserId, messages: &[Withdrawn]) -> Work {
        let mut work = Work::default();
        for message in messages {
            // One that was acknowledged is not counted any more, and is being deleted.
            if self.is_acknowledged(message.number) {
                continue;
            }
            let kind = match message.is_envelope {
                true => Kind::Envelope,
                false => Kind::Plain,
            };
            self.counts.remove(sender, kind, message.size);
            self.deleting.insert(message.number);
            work.acknowledged.insert(message.number);
        }
        if let Some(attached) = &mut self.attached {
            attached.withdraw(&work.acknowledged);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::model::{QUOTA, id, name};
    use super::super::{
        Attachment, Decision, Discretion, Earlier, Effect, Room, SessionId, Step, Submission,
    };
    use super::*;
    use crate::protocol::refusal::{Code, Refusal};
    use crate::protocol::request::{Body, Sender};
    use crate::store::{Message, Page, Summary, Tally};

    const SESSION: SessionId = SessionId(1);
    const ROOM: Room = Room {
        messages: 99,
        bytes: 1 << 20,
        deletions: 99,
    };

    /// The first message of a mailbox, from a sender who is withdrawn in these tests, on disk.
    fn with_one_stored() -> Mailbox<u32> {
        let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
        let submission = Submission {
            sender: UserId(1),
            from: name(0),
            mid: id(1),
            body: Body::Plain("hello".into()),
            at: 7,
            discretion: Discretion::Open,
            reply_to: 1,
        };
        let (now, mut effects) = (Instant::now(), Vec::new());
        let decision = mailbox.submit(submission, Earlier::None, true, now, &mut effects);
        assert!(matches!(decision, Decision::Made(_)));
        assert!(mailbox.has_unwritten_of(UserId(1)) && !mailbox.has_unwritten_of(UserId(2)));
        let work = mailbox.take_work(now, ROOM);
        mailbox.committed(&work, &mut effects);
        assert!(!mailbox.has_unwritten_of(UserId(1)));
        mailbox
    }

    const STORED: Withdrawn = Withdrawn {
        number: 1,
        is_envelope: false,
        size: 5,
    };

    fn page(number: u64, before: u64) -> Page {
        let message = Message {
            number,
            sender: UserId(1),
            from: Sender::User(name(0)),
            mid: id(1),
            at: 7,
            body: Body::Plain("hello".into()),
        };
        let messages = if number < before {
            vec![message]
        } else {
            Vec::new()
        };
        Page {
            messages,
            end: number,
            complete: true,
        }
    }

    fn attach(mailbox: &mut Mailbox<u32>) {
        mailbox.attach(Attachment {
            session: SESSION,
            envelopes: true,
            budget: None,
        });
    }

    fn pushed(effects: &[Effect<u32>]) -> usize {
        let pushed = effects.iter();
        pushed
            .filter(|effect| matches!(effect, Effect::Push(_)))
            .count()
    }

    #[test]
    fn what_is_withdrawn_is_pending_no_more_and_its_acknowledgement_is_unknown() {
        let mut mailbox = with_one_stored();
        attach(&mut mailbox);
        let mut effects = Vec::new();
        let Step::Read(reading) = mailbox.step(SESSION, true, &mut effects) else {
            panic!("there is something to read");
        };
        mailbox.page(SESSION, reading, page(1, 2), &mut effects);
        assert_eq!(pushed(&effects), 1);
        let work = mailbox.withdraw(UserId(1), &[STORED]);
        assert_eq!(work.acknowledged, [1].into());
        assert_eq!(mailbox.pending(), Tally::default());
        assert_eq!(mailbox.not_pushed(), 0);
        let from = Sender::User(name(0));
        assert!(!mailbox.acknowledge(SESSION, from, id(1), false, &mut effects));
        // It counts once, however often it is found.
        assert!(
            mailbox
                .withdraw(UserId(1), &[STORED])
                .acknowledged
                .is_empty()
        );
        mailbox.committed(&work, &mut effects);
        mailbox.detach(SESSION);
        assert!(mailbox.is_idle(Instant::now()));
    }

    #[test]
    fn a_page_that_was_read_before_pushes_nothing_of_it() {
        let mut mailbox = with_one_stored();
        attach(&mut mailbox);
        let mut effects = Vec::new();
        let Step::Read(before) = mailbox.step(SESSION, true, &mut effects) else {
            panic!("there is something to read");
        };
        let work = mailbox.withdraw(UserId(1), &[STORED]);
        mailbox.page(SESSION, before, page(1, 2), &mut effects);
        // Nor does one that is read before it is deleted.
        let Step::Read(again) = mailbox.step(SESSION, true, &mut effects) else {
            panic!("it is read again");
        };
        mailbox.committed(&work, &mut effects);
        mailbox.page(SESSION, again, page(1, 2), &mut effects);
        assert_eq!(pushed(&effects), 0, "{effects:?}");
        assert!(matches!(
            mailbox.step(SESSION, true, &mut effects),
            Step::Idle
        ));
    }

    #[test]
    fn what_could_not_be_deleted_is_deleted_with_the_next_batch() {
        let mut mailbox = with_one_stored();
        let work = mailbox.withdraw(UserId(1), &[STORED]);
        let refusal = Refusal::new(Code::Storage, "full");
        let (now, mut effects) = (Instant::now(), Vec::new());
        mailbox.failed(&work, &refusal, now, &mut effects);
        assert!(effects.is_empty() && mailbox.wake().is_some());
        assert_eq!(mailbox.take_work(now, ROOM).acknowledged, [1].into());
    }
}
