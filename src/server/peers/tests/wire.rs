//! The frames: each comes back as it was, and no bytes do harm.

use proptest::prelude::*;

use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::reply::{Event, News};
use crate::protocol::request::{Body, Send};
use crate::server::peers::frames::LENGTH;
use crate::server::peers::message::{Call, Called, Forward, Forwarded, Told};
use crate::server::peers::wire::*;
use crate::store::UserId;
use crate::store::homes::RunId;

fn forwards() -> impl Strategy<Value = Forward> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..300)
            .prop_map(|bytes| Body::Envelope(Blob(bytes.into()))),
        ".{1,200}".prop_map(|text: String| Body::Plain(text.into())),
    ];
    let ids = (any::<i64>(), any::<u64>(), any::<[u8; 16]>());
    let options = (
        proptest::option::of(any::<[u8; 32]>()),
        any::<bool>(),
        proptest::option::of(any::<[u8; 16]>()),
    );
    let name = "[a-z0-9][a-z0-9._-]{0,31}";
    (ids, name, name, body, options).prop_map(|(ids, from, to, body, options)| Forward {
        sender: UserId(ids.0),
        from: from.parse().unwrap(),
        send: Send {
            to: to.parse().unwrap(),
            mid: MessageId(ids.2),
            body,
            identity: options.0.map(ByteArray),
            again: options.1,
            after: options.2.map(ByteArray),
        },
        at: ids.1,
        first: ids.1.is_multiple_of(2),
    })
}

/// Some frame of each kind.
fn frames() -> Vec<Vec<u8>> {
    let bob: UserName = "bob".parse().unwrap();
    let mut frames = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frames.push(frame[LENGTH..].to_vec());
    };
    let notice = Call::Notice {
        name: bob,
        news: News::Announcement {
            text: "soon".to_owned(),
        },
    };
    let release = Call::Release {
        name: bob,
        to: RunId(3),
        precedence: crate::server::delivery::sessions::Precedence::Resume(ByteArray([5; 16])),
        why: None,
    };
    add(&|queue| write_call(queue, 1, &notice));
    add(&|queue| write_call(queue, 2, &release));
    add(&|queue| {
        write_called(
            queue,
            2,
            &Called::Released {
                turned_away: Default::default(),
                displaced: true,
            },
        )
    });
    add(&|queue| write_called(queue, u64::MAX, &Called::Sessions(Vec::new())));
    let event = Event::PrekeysLow { one_time: 4 };
    add(&|queue| {
        write_event(
            queue,
            &Told {
                name: bob,
                event: event.clone(),
            },
        )
    });
    add(&|queue| write_answer(queue, 9, &Forwarded::NotHere));
    let refusal = crate::protocol::refusal::Refusal::bad_request("no");
    add(&|queue| write_answer(queue, 9, &Forwarded::Answer(Err(refusal.clone()))));
    add(&write_beat);
    frames
}

#[test]
fn each_frame_is_of_one_direction() {
    for frame in frames() {
        assert!(
            read_request(&frame).is_ok() != read_response(&frame).is_ok(),
            "{frame:?}"
        );
        assert!(reads_back(&frame));
    }
}

#[test]
fn the_largest_messages_fit_and_larger_ones_are_refused() {
    let of = |body| Forward {
        sender: UserId(1),
        from: "a".repeat(32).parse().unwrap(),
        send: Send {
            to: "b".repeat(32).parse().unwrap(),
            mid: MessageId([1; 16]),
            body,
            identity: Some(ByteArray([2; 32])),
            again: true,
            after: Some(ByteArray([3; 16])),
        },
        at: 1,
        first: false,
    };
    let envelope = |length: usize| Body::Envelope(Blob(vec![0; length].into()));
    for (length, fits) in [
        (limits::MAX_ENVELOPE, true),
        (limits::MAX_ENVELOPE + 1, false),
    ] {
        let frame = write_request(&Request::Forward(1, of(envelope(length))));
        assert!(frame.len() <= MAX_REQUEST);
        assert_eq!(read_request(&frame[LENGTH..]).is_ok(), fits);
    }
    let ids = vec![MessageId([255; 16]); limits::MAX_IDS];
    let outcome = Call::Outcome {
        sender: UserId(i64::MAX),
        from: "a".parse().unwrap(),
        outcome: crate::protocol::request::Outcome {
            to: "b".parse().unwrap(),
            handles: vec![Some(ByteArray([255; 16])); ids.len()],
            ids,
        },
    };
    assert!(write_request(&Request::Call(1, outcome)).len() <= MAX_REQUEST);
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(id: u64, forward in forwards()) {
        let written = write_request(&Request::Forward(id, forward.clone()));
        let Ok(Request::Forward(same, read)) = read_request(&written[LENGTH..]) else {
            panic!("it was not read");
        };
        prop_assert_eq!(same, id);
        prop_assert_eq!(&read.send.body, &forward.send.body);
        prop_assert_eq!(format!("{read:?}"), format!("{forward:?}"));
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(reads_back(&bytes));
    }

    #[test]
    fn no_change_does_harm(
        forward in forwards(),
        which in any::<proptest::sample::Index>(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u8,
        cut in any::<bool>(),
    ) {
        let message = write_request(&Request::Forward(1, forward))[LENGTH..].to_vec();
        let mut frames = frames();
        frames.push(message);
        let frame = &mut frames[which.index(9)];
        let at = at.index(frame.len());
        match cut {
            true => frame.truncate(at),
            false => frame[at] ^= 1 << bit,
        }
        prop_assert!(reads_back(frame));
    }
}
