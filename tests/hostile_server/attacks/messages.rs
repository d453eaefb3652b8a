//! Messages between two who know each other, on their way through the one in between.

use data_encoding::BASE64;
use secure_chat::crypto::message::content::Payload;
use serde_json::{Value, json};

use super::{Row, acquainted, deny_session, hold, in_bobs_name, is_message, row, take, text};
use crate::lab::{Client, Seen, Server, now_ms};
use crate::mallory::Mallory;

/// Messages from bob to alice, on their way through the one in between.
pub(super) fn changed_messages() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();
    let words = "pay mallory in full";
    let message = held(&mut alice, &mut bob, words);
    let mut renamed = message.clone();
    renamed["from"] = "carol".into();
    take(&mut alice, &renamed);
    let (shows, lies) = (
        alice.line("carol: (a message"),
        alice.genuine("carol", words),
    );
    rows.push(row(
        "the sender's name is changed",
        shows,
        &[&alice, &bob],
        &[words],
        lies,
    ));
    take(&mut alice, &message);
    assert_eq!(alice.genuine("bob", words), 1, "the real one is unharmed");

    let words = "meet at noon by the well";
    let message = held(&mut alice, &mut bob, words);
    let mut other_id = message.clone();
    other_id["mid"] = "0123456789abcdef0123456789abcdef".into();
    take(&mut alice, &other_id);
    let (shows, lies) = (alice.line("bob: (a message"), alice.genuine("bob", words));
    rows.push(row(
        "the message's id is changed",
        shows,
        &[&alice, &bob],
        &[words],
        lies,
    ));
    take(&mut alice, &message);
    assert_eq!(alice.genuine("bob", words), 1, "the real one is unharmed");

    for repeated in [false, true] {
        if repeated {
            other_id["mid"] = "1123456789abcdef0123456789abcdef".into();
            take(&mut alice, &other_id);
        } else {
            take(&mut alice, &message);
        }
        let lies = alice.genuine("bob", words) - 1;
        rows.push(match repeated {
            false => row(
                "a message is replayed",
                "(nothing)",
                &[&alice, &bob],
                &[words],
                lies,
            ),
            true => {
                let shows = alice
                    .shown()
                    .iter()
                    .rev()
                    .find(|line| line.contains("bob: (a message"));
                let shows = shows.unwrap().clone();
                row(
                    "replayed under a new id",
                    shows,
                    &[&alice, &bob],
                    &[words],
                    lies,
                )
            }
        });
    }

    let words = "said only once";
    alice.proxy.meddle(|seen, onward| {
        if is_message(seen, onward) {
            onward.to_client.push(onward.to_client[0].clone());
        }
    });
    bob.types(&format!("/msg alice {words}"));
    alice.sees(words);
    alice.done();
    alice.proxy.behave();
    let (shows, lies) = (alice.line(words), alice.genuine("bob", words) - 1);
    rows.push(row(
        "a message is delivered twice",
        shows,
        &[&alice, &bob],
        &[words],
        lies,
    ));

    for (attack, words, cut) in [
        ("a bit of a message is changed", "transfer ten coins", false),
        ("a message is truncated", "transfer eleven coins", true),
    ] {
        lost_to(&mut rows, &mut alice, &mut bob, attack, words, cut);
    }
    let _lost = held(&mut alice, &mut bob, "never to arrive");
    let words = "after the damage";
    bob.types(&format!("/msg alice {words}"));
    alice.sees(&format!("bob: {words}"));
    alice.done();
    let shows = alice.line("not arrived");
    rows.push(row(
        "messages are dropped",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    ));

    let earlier = held(&mut alice, &mut bob, "the earlier");
    let later = held(&mut alice, &mut bob, "the later");
    take(&mut alice, &later);
    let shows = alice.line("1 message from bob has not arrived");
    take(&mut alice, &earlier);
    let lies = alice.genuine("bob", "the earlier") + alice.genuine("bob", "the later") - 2;
    let words = ["the earlier", "the later"];
    rows.push(row(
        "messages are reordered",
        shows,
        &[&alice, &bob],
        &words,
        lies,
    ));

    let words = "these are my own words";
    alice.types(&format!("/msg bob {words}"));
    bob.sees(words);
    alice.done();
    let sent = alice.proxy.requests("send").pop().unwrap();
    let reflected = json!({"event": "message", "from": "bob", "mid": sent["mid"],
        "at": now_ms(), "envelope": sent["envelope"]});
    take(&mut alice, &reflected);
    let shows = alice
        .shown()
        .iter()
        .rev()
        .find(|line| line.contains("bob: (a message"));
    let (shows, lies) = (shows.unwrap().clone(), alice.genuine("bob", words));
    rows.push(row(
        "alice's own message comes back as bob's",
        shows,
        &[&alice, &bob],
        &[words],
        lies,
    ));
    rows
}

/// A message with another envelope.
fn with_envelope(message: &Value, change: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut envelope = BASE64.decode(text(message, "envelope").as_bytes()).unwrap();
    change(&mut envelope);
    let mut changed = message.clone();
    changed["envelope"] = BASE64.encode(&envelope).into();
    changed
}

/// Bob writes, and the message is kept from alice. What their clients have to ask
/// each other after the attack before goes first.
fn held(alice: &mut Client, bob: &mut Client, words: &str) -> Value {
    alice.done();
    bob.done();
    alice.done();
    let next = alice.proxy.count_messages();
    alice.proxy.meddle(hold);
    bob.types(&format!("/msg alice {words}"));
    let message = alice.proxy.message(next);
    alice.proxy.behave();
    message
}

/// One message changed on its way; the real one has to be asked for.
fn lost_to(
    rows: &mut Vec<Row>,
    alice: &mut Client,
    bob: &mut Client,
    attack: &'static str,
    words: &str,
    cut: bool,
) {
    let message = held(alice, bob, words);
    let changed = with_envelope(&message, |envelope| match cut {
        true => envelope.truncate(122),
        false => envelope[100] ^= 1,
    });
    take(alice, &changed);
    let shows = alice
        .shown()
        .iter()
        .rev()
        .find(|line| line.contains("bob: (a message"));
    // Bob's client may have been asked, and have sent it again: once.
    let repeated = alice.genuine("bob", words).saturating_sub(1);
    let (shows, lies) = (shows.unwrap().clone(), repeated);
    rows.push(row(attack, shows, &[alice, bob], &[words], lies));
}

/// What needs no cryptography at all.
pub(super) fn unencrypted_and_lies() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();

    let words = "send me your recovery code";
    alice.proxy.inject_message("bob", [1; 16], ("text", words));
    let shows = alice.sees(words);
    alice.done();
    let lies = alice.genuine("bob", words);
    rows.push(row(
        "an unencrypted message in bob's name",
        shows,
        &[&alice],
        &[words],
        lies,
    ));
    let before = alice.shown().len();
    alice.types("/history bob");
    alice.done();
    let shows = alice.shown()[before..]
        .iter()
        .find(|line| line.contains(words));
    let shows = shows.unwrap().clone();
    assert!(shows.contains("bob (unproven) [UNENCRYPTED]"), "{shows}");
    rows.push(row(
        "the same, later in /history",
        shows,
        &[&alice],
        &[words],
        alice.genuine("bob", words),
    ));

    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\r\nbob: forged line\u{202e}\u{9b}1m";
    alice
        .proxy
        .inject_message("bob", [2; 16], ("text", hostile));
    alice.sees("forged line");
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "search"
        {
            let id = &request["id"];
            let hostile = "\u{1b}[2J\r\nbob: forged error\u{7}\u{202e}";
            let error = json!({"id": id, "error": {"code": "slow_down", "message": hostile}});
            onward.to_client = vec![error.to_string().into_bytes()];
        }
    });
    alice.types("/search bo");
    let shows = alice.sees("forged error");
    alice.done();
    let raw = |line: &&String| line.contains(|c: char| c.is_control() || c == '\u{202e}');
    let lies = alice.shown().iter().filter(raw).count()
        + alice.genuine("bob", "forged line")
        + alice.genuine("bob", "forged error");
    rows.push(row(
        "terminal escapes in messages and errors",
        shows,
        &[&alice],
        &[],
        lies,
    ));

    alice.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "status"
        {
            let lie = "bob has lost his keys; write with /send-unencrypted bob TEXT";
            let error = json!({"id": request["id"], "error": {"code": "internal", "message": lie}});
            onward.to_client = vec![error.to_string().into_bytes()];
        }
    });
    alice.types("/status bob");
    let shows = alice.sees("lost his keys");
    assert!(shows.starts_with("the server says \""), "{shows}");
    rows.push(row(
        "lies in the text of an error",
        shows,
        &[&alice],
        &[],
        0,
    ));
    alice.types("/send-unencrypted bob the safe is open");
    let shows = alice.sees("nothing is ever sent to them unencrypted");
    rows.push(row(
        "… and alice does as she is told",
        shows,
        &[&alice],
        &["the safe is open"],
        0,
    ));

    let words = "are you there";
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Request(request) = seen
            && request["op"] == "send"
        {
            onward.answer(request, "ok", json!({"state": "delivered", "at": now_ms()}));
        }
    });
    alice.types(&format!("/msg bob {words}"));
    let shows = alice.sees("delivered to bob");
    alice.done();
    bob.done();
    assert_eq!(bob.genuine("alice", words), 0);
    rows.push(
        row(
            "a forged `delivered` for a message that was dropped",
            shows,
            &[&alice],
            &[words],
            0,
        )
        .gap(
            true,
            "receipts are the server's word; bob sees a gap with alice's next message",
        ),
    );
    alice.proxy.behave();
    alice.types("/msg bob still here");
    bob.sees("still here");
    bob.done();
    let shows = bob.line("1 message from alice has not arrived");
    rows.push(row(
        "… as bob sees it",
        shows,
        &[&alice, &bob],
        &["still here"],
        0,
    ));

    let words = "never without encryption";
    deny_session(
        &alice,
        json!({"error": {"code": "no_keys", "message": "none"}}),
    );
    alice.types(&format!("/msg bob {words}"));
    let shows = alice.sees("has no keys, though you know");
    rows.push(row(
        "bob's keys are denied (downgrade)",
        shows,
        &[&alice],
        &[words],
        0,
    ));
    alice.proxy.behave();

    let mallory = Mallory::new();
    let sends = alice.proxy.requests("send");
    let old = text(&sends[0], "mid");
    let old: [u8; 16] = data_encoding::HEXLOWER
        .decode(old.as_bytes())
        .unwrap()
        .try_into()
        .unwrap();
    in_bobs_name(
        &mut alice,
        &mallory,
        [3; 16],
        Payload::RetryRequest(vec![old]),
    );
    let shows = alice.line("bob's identity has changed");
    alice.done();
    let after = alice.proxy.requests("send").len();
    assert_eq!(after, sends.len(), "nothing is sent again");
    rows.push(row(
        "old messages are asked for under a swapped identity",
        shows,
        &[&alice],
        &["good morning"],
        0,
    ));
    rows
}
