//! Single steps: what each event does, one case a test. The promise as a whole is
//! tested in `model`.

use super::model::{QUOTA, id, name};
use super::*;
use crate::protocol::ids::Blob;
use crate::store::Page;

const ROOM: Room = Room {
    messages: 99,
    bytes: 1 << 20,
    deletions: 99,
};

fn submission(sequence: usize, body: &str) -> Submission<u32> {
    Submission {
        sender: UserId(1),
        from: name(0),
        mid: id(sequence),
        body: Body::Plain(body.into()),
        at: 7,
        discretion: Discretion::Open,
        reply_to: sequence as u32,
    }
}

fn send(
    mailbox: &mut Mailbox<u32>,
    sequence: usize,
    effects: &mut Vec<Effect<u32>>,
) -> Disposition {
    let submission = submission(sequence, "hello");
    match mailbox.submit(submission, Earlier::None, true, Instant::now(), effects) {
        Decision::Made(disposition) => disposition,
        Decision::SearchFirst(_) => panic!("nothing is to be searched"),
    }
}

fn attach(mailbox: &mut Mailbox<u32>, envelopes: bool, budget: Option<usize>) -> SessionId {
    let session = SessionId(1);
    let mut effects = Vec::new();
    mailbox.attach(Attachment {
        session,
        envelopes,
        budget,
    });
    while let Step::Read(reading) = mailbox.step(session, true, &mut effects) {
        mailbox.page(
            session,
            reading,
            Page {
                complete: true,
                ..Page::default()
            },
            &mut effects,
        );
    }
    session
}

#[test]
fn an_acknowledgement_in_time_spares_the_write() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    let session = attach(&mut mailbox, true, None);
    let mut effects = Vec::new();
    assert_eq!(
        send(&mut mailbox, 1, &mut effects),
        Disposition::AnsweredLater
    );
    assert!(matches!(effects[..], [Effect::Push(_)]));
    assert_eq!(mailbox.wake(), Some(Wake::Later));
    effects.clear();
    assert!(mailbox.acknowledge(session, Sender::User(name(0)), id(1), false, &mut effects));
    let [Effect::Answer(1, accepted)] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(accepted.state, MessageState::Delivered);
    let work = mailbox.take_work(Instant::now() + WRITE_DELAY, ROOM);
    assert!(work.messages.is_empty() && work.acknowledged.is_empty());
}

#[test]
fn an_abandoned_mailbox_refuses_what_waits_and_needs_no_writer() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    let session = attach(&mut mailbox, true, None);
    let mut effects = Vec::new();
    // One on disk and acknowledged, one deferred, one due.
    let _ = send(&mut mailbox, 1, &mut effects);
    let work = mailbox.take_work(Instant::now() + WRITE_DELAY, ROOM);
    mailbox.committed(&work, &mut effects);
    mailbox.acknowledge(session, Sender::User(name(0)), id(1), false, &mut effects);
    let _ = send(&mut mailbox, 2, &mut effects);
    mailbox.detach(session);
    let _ = send(&mut mailbox, 3, &mut effects);
    effects.clear();
    let refusal = Refusal::new(Code::Damaged, "damaged");
    assert_eq!(mailbox.abandon(&refusal, &mut effects), 1);
    let refused: Vec<u32> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Refuse(reply_to, _) => *reply_to,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refused, [2, 3]);
    assert_eq!(
        mailbox.wake(),
        None,
        "a writer that is called again never ends"
    );
    assert!(mailbox.is_idle(Instant::now()));
    assert_eq!(mailbox.pending(), Tally::default());
}

#[test]
fn a_repeated_id_gets_the_first_answer_or_a_conflict() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    let mut effects = Vec::new();
    let resent = submission(1, "hello");
    assert!(matches!(
        mailbox.submit(resent, Earlier::Unknown, true, Instant::now(), &mut effects),
        Decision::SearchFirst(_)
    ));
    assert_eq!(
        send(&mut mailbox, 1, &mut effects),
        Disposition::AnsweredLater
    );
    assert_eq!(
        send(&mut mailbox, 1, &mut effects),
        Disposition::AnsweredLater
    );
    let other = submission(1, "another");
    let refused = mailbox.submit(other, Earlier::None, true, Instant::now(), &mut effects);
    assert!(
        matches!(refused, Decision::Made(Disposition::Refused(r)) if r.code == Code::IdConflict)
    );
    let work = mailbox.take_work(Instant::now(), ROOM);
    assert_eq!(work.messages.len(), 1);
    mailbox.committed(&work, &mut effects);
    let answers = effects
        .iter()
        .filter(|e| matches!(e, Effect::Answer(1, _)))
        .count();
    assert_eq!(answers, 2, "both copies wait for the same outcome");
    assert!(matches!(
        send(&mut mailbox, 1, &mut effects),
        Disposition::Accepted(_)
    ));
}

#[test]
fn quotas_hold_and_the_recipient_is_told_once() {
    let quota = Quota {
        messages: 4,
        bytes: 1000,
        share: 50,
    };
    let mut mailbox = Mailbox::new(&Summary::default(), 1, quota);
    let mut effects = Vec::new();
    for sequence in 1..=2 {
        assert_eq!(
            send(&mut mailbox, sequence, &mut effects),
            Disposition::AnsweredLater
        );
    }
    for sequence in 3..=5 {
        let refused = send(&mut mailbox, sequence, &mut effects);
        assert!(matches!(refused, Disposition::Refused(r) if r.code == Code::MailboxFull));
    }
    let pending = mailbox.pending();
    assert_eq!(
        (pending.plain, pending.notices),
        (2, 1),
        "one notice for a flood"
    );
    let session = attach(&mut mailbox, true, None);
    let mut effects = Vec::new();
    mailbox.rewind(session, 0);
    while let Step::Read(reading) = mailbox.step(session, true, &mut effects) {
        mailbox.page(
            session,
            reading,
            Page {
                complete: true,
                ..Page::default()
            },
            &mut effects,
        );
    }
    let notices = effects
        .iter()
        .filter(|e| matches!(e, Effect::Push(m) if m.from == Sender::Server));
    assert_eq!(notices.count(), 1);
}

#[test]
fn a_console_is_told_of_envelopes_and_not_sent_them() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    attach(&mut mailbox, false, None);
    let envelope = Submission {
        sender: UserId(1),
        from: name(0),
        mid: id(1),
        body: Body::Envelope(Blob(vec![1].into())),
        at: 7,
        discretion: Discretion::Open,
        reply_to: 1,
    };
    let mut effects = Vec::new();
    let _ = mailbox.submit(envelope, Earlier::None, true, Instant::now(), &mut effects);
    assert!(matches!(effects[..], [Effect::EnvelopesWait(1)]));
    assert_eq!(
        mailbox.wake(),
        Some(Wake::Now),
        "nobody will acknowledge it: write it at once"
    );
}

#[test]
fn a_full_window_makes_a_session_fall_behind() {
    let mut mailbox = Mailbox::new(
        &Summary::default(),
        1,
        Quota {
            messages: 1 << 40,
            ..QUOTA
        },
    );
    let session = attach(&mut mailbox, true, None);
    let mut effects = Vec::new();
    for sequence in 1..=3000 {
        let _ = send(&mut mailbox, sequence, &mut effects);
    }
    let pushed = effects
        .iter()
        .filter(|e| matches!(e, Effect::Push(_)))
        .count();
    assert_eq!(pushed, 2048);
    assert_eq!(
        mailbox.acknowledge_shown(session, |_| false, &mut effects),
        2048
    );
    effects.clear();
    assert!(matches!(
        mailbox.step(session, true, &mut effects),
        Step::Idle
    ));
    assert_eq!(
        effects.len(),
        3000 - 2048,
        "the rest came from memory, and it is live again"
    );
}

#[test]
fn a_late_session_does_not_replace_its_successor() {
    let mut mailbox: Mailbox<u32> = Mailbox::new(&Summary::default(), 1, QUOTA);
    let attachment = |id| Attachment {
        session: SessionId(id),
        envelopes: true,
        budget: None,
    };
    mailbox.attach(attachment(2));
    mailbox.attach(attachment(1));
    mailbox.detach(SessionId(1));
    assert!(mailbox.attached(SessionId(2)).is_some());
}

#[test]
fn a_fetching_session_gets_its_budget() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    let session = attach(&mut mailbox, true, Some(0));
    let mut effects = Vec::new();
    for sequence in 1..=5 {
        let _ = send(&mut mailbox, sequence, &mut effects);
    }
    assert!(effects.is_empty());
    mailbox.rewind(session, 3);
    while let Step::Read(reading) = mailbox.step(session, true, &mut effects) {
        mailbox.page(
            session,
            reading,
            Page {
                complete: true,
                ..Page::default()
            },
            &mut effects,
        );
    }
    assert_eq!((effects.len(), mailbox.not_pushed()), (3, 2));
}

#[test]
fn what_follows_a_refused_message_waits_for_it() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    let (mut effects, now) = (Vec::new(), Instant::now());
    let refused = |disposition: &Disposition| match disposition {
        Disposition::Refused(refusal) => Some(refusal.code),
        _ => None,
    };
    assert_eq!(
        send(&mut mailbox, 1, &mut effects),
        Disposition::AnsweredLater
    );
    let work = mailbox.take_work(now, ROOM);
    // One that came meanwhile, and one of somebody else's.
    assert_eq!(
        send(&mut mailbox, 2, &mut effects),
        Disposition::AnsweredLater
    );
    let mut other = submission(1, "hello");
    (other.sender, other.from) = (UserId(2), name(1));
    let other = mailbox.submit(other, Earlier::None, true, now, &mut effects);
    assert!(matches!(other, Decision::Made(Disposition::AnsweredLater)));
    let full = Refusal::new(Code::Storage, "full");
    mailbox.failed(&work, &full, now, &mut effects);
    let to_whom = effects.drain(..).filter_map(|effect| match effect {
        Effect::Refuse(to, _) => Some(to),
        _ => None,
    });
    assert_eq!(to_whom.collect::<Vec<_>>(), [1, 2]);
    assert!(!mailbox.is_idle(now));
    // One that was under way to the server, then all of them in order.
    let third = send(&mut mailbox, 3, &mut effects);
    assert_eq!(refused(&third), Some(Code::Storage));
    for sequence in 1..=3 {
        assert_eq!(
            send(&mut mailbox, sequence, &mut effects),
            Disposition::AnsweredLater
        );
    }
    let work = mailbox.take_work(now, ROOM);
    let order: Vec<_> = work.messages.iter().map(|m| (m.sender, m.mid)).collect();
    let own = [1, 2, 3].map(|sequence| (UserId(1), id(sequence)));
    assert_eq!(order[1..], own);
}

#[test]
fn a_sender_that_has_read_the_time_earlier_is_not_written_first() {
    let mut mailbox = Mailbox::new(&Summary::default(), 1, QUOTA);
    attach(&mut mailbox, true, None);
    let (mut effects, early) = (Vec::new(), Instant::now());
    for (sequence, now) in [(1, early + WRITE_DELAY), (2, early)] {
        let submission = submission(sequence, "hello");
        let decision = mailbox.submit(submission, Earlier::None, true, now, &mut effects);
        assert!(matches!(
            decision,
            Decision::Made(Disposition::AnsweredLater)
        ));
    }
    assert!(
        mailbox
            .take_work(early + WRITE_DELAY, ROOM)
            .messages
            .is_empty()
    );
    let work = mailbox.take_work(early + 2 * WRITE_DELAY, ROOM);
    let order: Vec<_> = work.messages.iter().map(|message| message.mid).collect();
    assert_eq!(order, [id(1), id(2)]);
}

#[test]
fn a_burst_leaves_no_memory_behind() {
    let quota = Quota {
        messages: 1 << 40,
        share: 100,
        ..QUOTA
    };
    let mut mailbox = Mailbox::new(&Summary::default(), 1, quota);
    let session = attach(&mut mailbox, true, None);
    let memory = |mailbox: &Mailbox<u32>| {
        let window = mailbox.attached.as_ref().map_or(0, |a| a.window.memory());
        window + mailbox.seen.memory() + mailbox.unwritten.memory()
    };
    let mut effects = Vec::new();
    for sequence in 0..2048 {
        assert_eq!(
            send(&mut mailbox, sequence, &mut effects),
            Disposition::AnsweredLater
        );
    }
    assert!(memory(&mailbox) > 100_000);
    assert_eq!(
        mailbox.acknowledge_shown(session, |_| false, &mut effects),
        2048
    );
    assert!(memory(&mailbox) <= 320 * 1024, "{}", memory(&mailbox));
    mailbox.shrink();
    assert!(memory(&mailbox) <= 32 * 1024, "{}", memory(&mailbox));
    // The same by way of the disk, and for one that fails.
    mailbox.detach(session);
    let room = Room {
        messages: 5000,
        bytes: 1 << 30,
        deletions: 5000,
    };
    for fails in [false, true] {
        for sequence in 0..5000 {
            let sequence = 10_000 + 5000 * usize::from(fails) + sequence;
            assert_eq!(
                send(&mut mailbox, sequence, &mut effects),
                Disposition::AnsweredLater
            );
        }
        let work = mailbox.take_work(Instant::now(), room);
        let full = Refusal::new(Code::Storage, "full");
        match fails {
            false => mailbox.committed(&work, &mut effects),
            true => mailbox.failed(&work, &full, Instant::now(), &mut effects),
        }
        assert!(memory(&mailbox) <= 64 * 1024, "{}", memory(&mailbox));
        mailbox.shrink();
        assert!(memory(&mailbox) <= 32 * 1024, "{}", memory(&mailbox));
    }
}

#[test]
fn what_follows_a_message_that_could_not_be_searched_for_waits_for_it() {
    let (mut mailbox, mut effects) = (Mailbox::new(&Summary::default(), 1, QUOTA), Vec::new());
    mailbox.stall(UserId(1), id(1), Instant::now());
    let second = send(&mut mailbox, 2, &mut effects);
    assert!(matches!(second, Disposition::Refused(why) if why.code == Code::Storage));
    for sequence in 1..=2 {
        assert_eq!(
            send(&mut mailbox, sequence, &mut effects),
            Disposition::AnsweredLater
        );
    }
}
