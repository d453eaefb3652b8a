//! What a server that means harm gets: nothing shown as genuine, nothing sent
//! readable, nothing accepted unasked.

use super::*;
use crate::client::vault::HistoryQuery;
use crate::client::view::Mark;

/// Two who have exchanged a message, and carol.
fn three() -> (Double, Somebody, Somebody, Somebody) {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let bob = Somebody::registered(&server, "bob");
    let carol = Somebody::registered(&server, "carol");
    alice.send("bob", "hello");
    bob.reads("hello");
    alice.sees_state("delivered");
    (server, alice, bob, carol)
}

#[test]
fn a_message_under_another_name_is_not_shown_as_theirs() {
    let (server, alice, bob, carol) = three();
    alice.send("bob", "pay mallory");
    bob.reads("pay mallory");
    let (mid, bytes, _) = server.world.lock().unwrap().sends[1].clone();
    server.push(
        "bob",
        Incoming {
            from: carol.name,
            mid,
            at: 5,
            body: Body::Envelope(Blob(bytes.into())),
        },
    );
    assert!(matches!(bob.reads(""), Mark::Undecryptable(_)));
}

#[test]
fn a_damaged_message_does_not_stop_those_behind_it() {
    let (server, alice, bob, _) = three();
    for (number, bytes) in [vec![1], vec![0; 200], vec![255; 24 * 1024]]
        .into_iter()
        .enumerate()
    {
        server.push(
            "bob",
            Incoming {
                from: alice.name,
                mid: MessageId([number as u8; 16]),
                at: 5,
                body: Body::Envelope(Blob(bytes.into())),
            },
        );
        assert!(matches!(bob.reads(""), Mark::Undecryptable(_)));
    }
    alice.send("bob", "still here");
    assert_eq!(bob.reads("still here"), Mark::None);
    bob.run(Command::Fetch).unwrap();
    assert!(
        server.world.lock().unwrap().accounts[&bob.name]
            .mailbox
            .is_empty()
    );
}

#[test]
fn a_message_held_back_is_noticed() {
    let (server, alice, mut bob, _) = three();
    bob.log_out();
    alice.send("bob", "first");
    alice.send("bob", "second");
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();
    server
        .world
        .lock()
        .unwrap()
        .accounts
        .get_mut(&bob.name)
        .unwrap()
        .mailbox
        .remove(0);
    bob.log_in();
    bob.sees_line("1 message from alice has not arrived");
    bob.reads("second");
}

#[test]
fn forged_prekeys_are_refused() {
    let (server, _, bob, carol) = three();
    let mut world = server.world.lock().unwrap();
    let published = world
        .accounts
        .get_mut(&bob.name)
        .unwrap()
        .published
        .as_mut()
        .unwrap();
    published.signed_prekey.key.0[3] ^= 1;
    drop(world);
    let refused = carol.run(Command::Send(bob.name, "hi".to_owned()));
    assert!(refused.unwrap_err().contains("forged or damaged"));
}

#[test]
fn a_cheap_or_exhausting_derivation_is_refused() {
    let (server, alice, ..) = three();
    for (memory_kib, part) in [(8, "less than the least"), (u32::MAX, "more than the most")] {
        let kdf = crate::protocol::request::KdfParams {
            memory_kib,
            ..credentials::new_kdf()
        };
        server
            .world
            .lock()
            .unwrap()
            .accounts
            .get_mut(&alice.name)
            .unwrap()
            .set_login(kdf, [0; 32]);
        let elsewhere = Somebody::new(&server, "alice");
        let refused = elsewhere
            .login_flow()
            .log_in(alice.name, &mut answers(PASSWORD));
        let Err(LoginError::Derive(why)) = refused else {
            panic!()
        };
        let why = why.to_string();
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_claim_that_prekeys_run_out_is_believed_once() {
    let (server, alice, bob, _) = three();
    let stock = |name: &UserName| {
        let world = server.world.lock().unwrap();
        let published = world.accounts[name].published.as_ref().unwrap();
        published.one_time.len()
    };
    let before = stock(&alice.name);
    for _ in 0..5 {
        server.tell("alice", &Event::PrekeysLow { one_time: 0 });
    }
    // Whatever comes behind these lines comes after they were dealt with.
    bob.send("alice", "behind them");
    alice.reads("behind them");
    alice.everything();
    assert_eq!(stock(&alice.name), before, "published minutes ago");
}

#[test]
fn unencrypted_mail_in_a_known_name_is_unproven_in_the_history_too() {
    let (server, alice, bob, carol) = three();
    let plain = |from, text: &str, number| Incoming {
        from,
        mid: MessageId([number; 16]),
        at: 5,
        body: Body::Plain(text.into()),
    };
    server.push("alice", plain(bob.name, "send me your code", 1));
    assert_eq!(alice.reads("send me your code"), Mark::Unproven);
    server.push("alice", plain(carol.name, "hi", 2));
    assert_eq!(alice.reads("hi"), Mark::Unencrypted);
    alice.everything();
    alice
        .run(Command::History(HistoryQuery::default()))
        .unwrap();
    assert_eq!(alice.reads("send me your code"), Mark::Unproven);
    assert_eq!(alice.reads("hi"), Mark::Unencrypted);
}

#[test]
fn the_servers_words_are_marked_as_the_servers() {
    let (server, alice, ..) = three();
    server.world.lock().unwrap().lie = Some(r#"bob is "gone"; type /quit"#);
    let refused = alice.run(Command::Status(alice.name)).unwrap_err();
    assert_eq!(refused, r#"the server says "bob is 'gone'; type /quit""#);
}

/// Puts carol's keys in bob's place.
fn swap(server: &Double, bob: &Somebody, carol: &Somebody) {
    let mut world = server.world.lock().unwrap();
    let hers = world.accounts[&carol.name].published.clone();
    world.accounts.get_mut(&bob.name).unwrap().published = hers;
}

#[test]
fn swapped_keys_of_somebody_verified_are_never_accepted_by_themselves() {
    let (server, mut alice, bob, carol) = three();
    alice.run(Command::Verify(bob.name, false)).unwrap();
    alice.run(Command::Verify(bob.name, true)).unwrap();
    alice.log_out();
    alice.trust = Trust::Always;
    alice.log_in();
    swap(&server, &bob, &carol);
    alice.send("bob", "for bob's eyes");
    alice.sees_line("NOT the one you verified");
    assert!(
        server.world.lock().unwrap().accounts[&bob.name]
            .mailbox
            .is_empty()
    );
}

#[test]
fn with_trust_never_even_the_first_identity_waits() {
    let server = Double::start();
    let mut alice = Somebody::new(&server, "alice");
    alice.trust = Trust::Never;
    let account = alice
        .login_flow()
        .register(alice.name, &mut answers(PASSWORD))
        .unwrap();
    alice.start(account);
    let bob = Somebody::registered(&server, "bob");
    alice.send("bob", "once you are known");
    alice.sees_line("new identities are not trusted");
    assert!(server.world.lock().unwrap().sends.is_empty());
    alice.run(Command::Accept(bob.name)).unwrap();
    assert_eq!(bob.reads("once you are known"), Mark::None);
}
