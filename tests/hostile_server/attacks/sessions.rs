//! Sessions that a server would like to force, revive or hide something behind, and the
//! numbers that go through all of them.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Row, acquainted, hold, row, take, text};
use crate::lab::{Client, Seen, Server};

/// The envelope of a client's latest `send`.
fn last_envelope(client: &Client) -> Vec<u8> {
    let send = client.proxy.requests("send").pop().unwrap();
    BASE64.decode(text(&send, "envelope").as_bytes()).unwrap()
}

fn is_initial(envelope: &[u8]) -> bool {
    envelope[1] == 2
}

fn session_of(envelope: &[u8]) -> &[u8] {
    &envelope[2..18]
}

/// Bob writes, and the server keeps the message.
fn kept_back(alice: &mut Client, bob: &mut Client, words: &str) -> Value {
    alice.done();
    let next = alice.proxy.count_messages();
    alice.proxy.meddle(hold);
    bob.types(&format!("/msg alice {words}"));
    let message = alice.proxy.message(next);
    alice.proxy.behave();
    message
}

pub(super) fn forced_and_revived() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();

    // Every key bundle comes without a one-time prekey.
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "keys"
        {
            onward.change(|line| line["ok"]["one_time"] = Value::Null);
        }
    });
    let mut forced = 0;
    for turn in 0..5_u8 {
        let mut garbage = vec![2, 1];
        garbage.extend([turn + 60; 16]);
        garbage.extend([7; 40 + 48]);
        let garbage = BASE64.encode(&garbage);
        let mid = [turn + 60; 16];
        alice
            .proxy
            .inject_message("bob", mid, ("envelope", &garbage));
        let id = data_encoding::HEXLOWER.encode(&mid);
        alice.proxy.acknowledged("bob", &id);
        alice.types(&format!("/msg bob turn {turn}"));
        bob.sees(&format!("alice: turn {turn}"));
        alice.done();
        forced += usize::from(is_initial(&last_envelope(&alice)));
        bob.types(&format!("/msg alice back {turn}"));
        alice.sees(&format!("bob: back {turn}"));
    }
    alice.proxy.behave();
    let shows = alice.line("bob: (a message");
    rows.push(row(
        "garbage is fed and one-time prekeys are withheld, to force sessions: five turns, no new one",
        shows,
        &[&alice, &bob],
        &["turn 1", "back 1"],
        forced,
    ));

    let words = "dropped before a new session";
    let old = kept_back(&mut alice, &mut bob, "from the old session");
    let _dropped = kept_back(&mut alice, &mut bob, words);
    bob.types("/renew alice");
    bob.sees("this client starts a new session with alice");
    bob.types("/msg alice in the new session");
    // The two come on two streams, in any order.
    let first = alice.sees_one_of(&["bob: in the new session", "2 messages from bob"]);
    let second = alice.sees_one_of(&["bob: in the new session", "2 messages from bob"]);
    let shows = [first, second]
        .into_iter()
        .find(|line| line.contains("not arrived"));
    let shows = shows.expect("the gap is told");
    rows.push(row(
        "messages are dropped before a new session",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    ));
    let started = alice.line("bob's client started a new session");
    rows.push(row(
        "… of which alice is told, for it goes on from none",
        started,
        &[&alice, &bob],
        &[words],
        0,
    ));

    alice.types("/msg bob in the new one, too");
    bob.sees("alice: in the new one, too");
    let new = last_envelope(&alice);
    take(&mut alice, &old);
    alice.types("/msg bob and still");
    bob.sees("alice: and still");
    let after = last_envelope(&alice);
    let revived = usize::from(session_of(&after) != session_of(&new));
    rows.push(row(
        "a message of a superseded session is played, to bring that back: it is read, and not answered in",
        alice.line("bob: from the old session"),
        &[&alice, &bob],
        &["from the old session", "and still"],
        revived,
    ));
    rows
}

pub(super) fn numbers() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();

    let words = "refused, and delivered all the same";
    bob.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "send"
        {
            let why = json!({"code": "too_large", "message": "too large"});
            onward.change(|line| *line = json!({"id": line["id"], "error": why}));
        }
    });
    bob.types(&format!("/msg alice {words}"));
    alice.sees(&format!("bob: {words}"));
    bob.sees("the message to alice was not sent");
    bob.proxy.behave();
    bob.types("/msg alice the next");
    let shows = alice.sees("one of the two was told something false");
    // It comes on another output than the warning, so either may be read first.
    alice.has_seen("bob: the next");
    rows.push(row(
        "a message is refused and delivered all the same (a forged void number)",
        shows,
        &[&alice, &bob],
        &[words],
        alice.genuine("bob", words).saturating_sub(1),
    ));

    let words = "in the session of before";
    let before = last_envelope(&bob);
    bob.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "login"
        {
            // The proof is the one that this login itself has named.
            let proof = request["vault_proof"].clone();
            onward.change(|line| {
                line["ok"]["vault"] = (1_u64 << 40).into();
                line["ok"]["vault_proof"] = proof.clone();
            });
        }
    });
    bob.again(&[]);
    bob.types(&format!("/msg alice {words}"));
    let shows = alice.sees(&format!("bob: {words}"));
    let forced = usize::from(session_of(&last_envelope(&bob)) != session_of(&before));
    bob.proxy.behave();
    rows.push(row(
        "a later state of bob's vault is claimed, to force a session that goes on from none",
        shows,
        &[&alice, &bob],
        &[words],
        forced,
    ));

    let copy = bob.copied();
    bob.types("/msg alice before the way back");
    alice.sees("bob: before the way back");
    bob.done();
    bob.rolled_back(&copy);
    let words = "after the way back";
    bob.types("/renew alice");
    bob.types(&format!("/msg alice {words}"));
    let shows = alice.sees_one_of(&[
        "two messages from bob have the same number",
        "bob's client counts its messages anew",
    ]);
    alice.has_seen(&format!("bob: {words}"));
    rows.push(row(
        "bob's vault is put back to an older copy",
        shows,
        &[&alice, &bob],
        &[words],
        alice.genuine("bob", words).saturating_sub(1),
    ));
    rows
}
