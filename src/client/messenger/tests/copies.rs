//! An export goes on where the chat is, and two copies of an account take turns.

use super::retries::texts;
use super::*;
use crate::client::vault::Export;
use crate::client::view::{Mark, ViewEvent};
use crate::protocol::ByteArray;

fn export_of(somebody: &Somebody) -> Export {
    let export = somebody
        .login_flow()
        .export(somebody.name, &mut answers(PASSWORD))
        .unwrap();
    let sealed = export.seal("a long passphrase").unwrap();
    assert!(Export::open(&sealed, "another").is_err());
    Export::open(&sealed, "a long passphrase").unwrap()
}

fn imported(server: &Double, export: &Export) -> Somebody {
    let mut somebody = Somebody::new(server, "bob");
    let account = somebody
        .login_flow()
        .import(export, &mut answers(PASSWORD))
        .unwrap();
    somebody.start(account);
    somebody
}

#[test]
fn an_old_export_in_the_middle_of_a_chat_goes_on() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut bob = Somebody::registered(&server, "bob");
    alice.send("bob", "before the export");
    bob.reads("before the export");
    bob.run(Command::Verify(alice.name, false)).unwrap();
    bob.run(Command::Verify(alice.name, true)).unwrap();
    bob.log_out();
    let export = export_of(&bob);
    bob.log_in();
    bob.send("alice", "after the export");
    alice.reads("after the export");
    bob.log_out();
    for text in ["to the old session", "and another"] {
        alice.send("bob", text);
    }
    alice
        .run(Command::AwaitAnswers(Duration::from_secs(5)))
        .unwrap();

    let prekeys = || {
        let world = server.world.lock().unwrap();
        let published = world.accounts[&export.name].published.clone();
        let one_time = published.unwrap().one_time;
        one_time.iter().map(|prekey| prekey.id).collect::<Vec<_>>()
    };
    let old = prekeys();
    let bob = imported(&server, &export);
    let new = prekeys();
    assert!(!new.is_empty() && !new.iter().any(|id| old.contains(id)));
    bob.reads_again("to the old session");
    bob.reads_again("and another");
    alice.send("bob", "to the new one");
    assert_eq!(bob.reads("to the new one"), Mark::None);
    bob.send("alice", "the same bob");
    assert_eq!(alice.reads("the same bob"), Mark::None);
    let warned =
        |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("changed"));
    assert!(!alice.everything().iter().any(warned), "the same identity");
    let all = ["before the export", "to the old session", "and another"];
    assert_eq!(bob.texts("alice")[..3], texts(&all));
    let again = bob.run(Command::Verify(alice.name, false));
    again.unwrap();
    bob.sees_line("alice is verified");
}

#[test]
fn keys_are_published_anew_once_for_each_time_the_server_was_restored() {
    let server = Double::start();
    let mut bob = Somebody::registered(&server, "bob");
    let published = || {
        let world = server.world.lock().unwrap();
        let bob = world.accounts.values().next().unwrap();
        let published = bob.published.clone().unwrap();
        let one_time: Vec<_> = published.one_time.iter().map(|prekey| prekey.id).collect();
        (published.signed_prekey.id, one_time)
    };
    let restored = "the server was restored from a backup";
    for epoch in 1..3 {
        let before = published();
        bob.log_out();
        server.world.lock().unwrap().epoch = Some(ByteArray([epoch; 16]));
        bob.log_in();
        bob.sees_line(restored);
        let after = published();
        assert_ne!(before.0, after.0);
        assert!(!after.1.iter().any(|id| before.1.contains(id)));
        bob.log_out();
        bob.log_in();
        assert_eq!(published(), after, "once");
    }
    // A machine that was put back tells it by its count.
    let before = published();
    bob.log_out();
    for account in server.world.lock().unwrap().accounts.values_mut() {
        account.logins = 1;
    }
    bob.log_in();
    bob.sees_line(restored);
    assert_ne!(before.0, published().0);
}

#[test]
fn two_copies_that_take_turns_lose_nothing() {
    let server = Double::start();
    let alice = Somebody::registered(&server, "alice");
    let mut original = Somebody::registered(&server, "bob");
    alice.send("bob", "hello");
    original.reads("hello");
    original.log_out();
    let mut copy = imported(&server, &export_of(&original));
    copy.log_out();
    for turn in 0..20 {
        let away = format!("while away {turn}");
        alice.send("bob", &away);
        alice
            .run(Command::AwaitAnswers(Duration::from_secs(5)))
            .unwrap();
        let bob = if turn % 2 == 0 {
            &mut original
        } else {
            &mut copy
        };
        bob.log_in();
        if turn > 1 {
            bob.sees_line("with a copy of this device's keys");
            // By itself a client starts one such session a day: the original did at its
            // first turn.
            if turn == 2 {
                bob.sees_line("one was started less than a day ago");
            }
            bob.run(Command::Renew(alice.name)).unwrap();
        }
        let here = format!("while here {turn}");
        alice.send("bob", &here);
        let arrived = |wanted: &str| {
            bob.sees(wanted, |event| match event {
                ViewEvent::Message {
                    text,
                    mark: Mark::None,
                    ..
                } if text == wanted => Some(()),
                _ => None,
            });
        };
        // Either may come first: one of the two may have to come again.
        let texts = [&away, &here].map(String::as_str);
        let mut missing: Vec<&str> = texts.to_vec();
        while !missing.is_empty() {
            let found = bob.sees("either", |event| match event {
                ViewEvent::Message {
                    text,
                    mark: Mark::None,
                    ..
                } => missing.iter().position(|missing| missing == text),
                _ => None,
            });
            missing.remove(found);
        }
        bob.send("alice", &format!("answer {turn}"));
        alice.sees("the answer", |event| match event {
            ViewEvent::Message {
                text,
                mark: Mark::None,
                ..
            } if *text == format!("answer {turn}") => Some(()),
            _ => None,
        });
        alice.send("bob", &format!("goodbye {turn}"));
        arrived(&format!("goodbye {turn}"));
        bob.log_out();
    }
    let lost = |who: &mut Somebody| {
        who.log_in();
        let texts = who.texts("alice");
        who.log_out();
        texts.iter().filter(|text| text.is_none()).count()
    };
    assert_eq!((lost(&mut original), lost(&mut copy)), (0, 0));
}

/// No word of the server alone makes a client give up its sessions, for ones that go on from none.
#[test]
fn a_server_that_claims_a_later_vault_forces_no_session() {
    let (server, mut alice, bob) = super::setups::acquainted();
    let claims: [fn(&[double::Named]) -> double::Named; 6] = [
        |_| (u64::MAX >> 1, None),
        |_| (1 << 31, Some(ByteArray([7; 16]))),
        |named| (named.last().unwrap().0 + 5, None),
        |named| (named.last().unwrap().0 + 5, named.last().unwrap().1),
        |named| *named.last().unwrap(),
        |named| named[named.len().saturating_sub(2)],
    ];
    for (number, claim) in claims.into_iter().enumerate() {
        alice.log_out();
        server.world.lock().unwrap().claim_generation = Some(claim);
        alice.log_in();
        super::setups::they_talk(&alice, &bob, &format!("claim {number}"));
        // Also on a connection after the first one.
        alice.run(Command::Reconnect).unwrap();
        super::setups::they_talk(&alice, &bob, &format!("claim {number} again"));
        let told =
            |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("older"));
        assert!(!alice.everything().iter().any(told), "claim {number}");
        assert!(!bob.everything().iter().any(told), "claim {number}");
    }
    assert_eq!(super::renewals::started(&server).len(), 1);
}

/// An export makes no gap of what came before it.
#[test]
fn nothing_that_came_before_an_export_counts_as_missing() {
    let (server, alice, mut bob) = super::setups::acquainted();
    for number in 0..5 {
        super::setups::they_talk(&alice, &bob, &format!("before {number}"));
    }
    bob.log_out();
    let bob = imported(&server, &export_of(&bob));
    bob.send("alice", "from here on");
    alice.reads("from here on");
    alice.send("bob", "I see");
    bob.sees_line("so it can't be told whether earlier messages are missing");
    bob.reads("I see");
    super::setups::they_talk(&alice, &bob, "after it");
    let gap = |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("not arrived"));
    assert!(!bob.everything().iter().any(gap));
}

/// A receipt can't be told from a message before it is opened, so what may be one is no loss.
#[test]
fn a_receipt_that_waits_at_an_import_is_no_loss() {
    let server = Double::start();
    let mut alice = Somebody::new(&server, "alice");
    alice.receipts = true;
    let mut alice = alice.register();
    let mut bob = Somebody::registered(&server, "bob");
    super::setups::they_talk(&alice, &bob, "before");
    alice.log_out();
    bob.send("alice", "the last words");
    bob.log_out();
    let export = export_of(&bob);
    alice.log_in();
    alice.reads("the last words");
    alice.log_out();
    let waiting = |server: &Double| {
        let world = server.world.lock().unwrap();
        world.accounts[&"bob".parse().unwrap()].mailbox.len()
    };
    assert_eq!(waiting(&server), 1, "the receipt");
    let bob = imported(&server, &export);
    let mut shown = bob.everything();
    alice.log_in();
    super::setups::they_talk(&alice, &bob, "after");
    assert!(bob.texts("alice").iter().all(Option::is_some));
    shown.extend(bob.everything());
    let lines = shown.iter().filter_map(|event| match event {
        ViewEvent::Line(_, line) => Some(line.as_str()),
        ViewEvent::Message { mark, .. } => {
            assert!(matches!(mark, Mark::None), "{event:?}");
            None
        }
        _ => None,
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    assert!(lines.contains("it may be receipts only"), "{lines}");
    assert!(!lines.contains("not arrived"), "{lines}");
    assert!(!lines.contains("could not be decrypted"), "{lines}");
}

/// What the vault's file was, after which alice wrote to bob, who has the copy that she
/// wrote in.
fn put_back(server: &Double, alice: &mut Somebody, bob: &Somebody) -> Vec<u8> {
    alice.log_out();
    let folder = alice.server.replace(':', "_");
    let path = alice.home.path().join(folder).join("alice.vault");
    let old = std::fs::read(&path).unwrap();
    alice.log_in();
    let before = server.world.lock().unwrap().sends.len();
    alice.send("bob", "of the later vault");
    bob.reads("of the later vault");
    alice.log_out();
    std::fs::write(&path, old).unwrap();
    server.world.lock().unwrap().sends[before].1.clone()
}

#[test]
fn a_vault_that_was_put_back_sends_in_no_old_session() {
    let (server, mut alice, bob) = super::setups::acquainted();
    // The second time the chain of the session that was put back is just as old.
    for time in 0..2 {
        let later = put_back(&server, &mut alice, &bob);
        alice.log_in();
        alice.sees_line("this vault is older than the one that logged in last");
        let before = server.world.lock().unwrap().sends.len();
        alice.send("bob", "of the earlier vault");
        if time == 1 {
            // By itself a client starts one such session a day.
            alice.sees_line("one was started less than a day ago");
            alice.run(Command::Renew(bob.name)).unwrap();
        }
        assert_eq!(bob.reads("of the earlier vault"), Mark::None);
        let earlier = server.world.lock().unwrap().sends[before].1.clone();
        // Ratchet key and number stand at the beginning of an envelope.
        assert_ne!(earlier[2..58], later[2..58]);
        bob.send("alice", "understood");
        assert_eq!(alice.reads("understood"), Mark::None);
    }
    // It is no news at the login after that.
    alice.log_out();
    alice.log_in();
    let older =
        |event: &ViewEvent| matches!(event, ViewEvent::Line(_, line) if line.contains("is older"));
    assert!(!alice.everything().iter().any(older));
}
