//! Identities in bob's name: claimed, proven, rejected and accepted, and what each
//! of them gets.

use data_encoding::{BASE64, HEXLOWER};
use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::Payload;
use serde_json::json;

use super::{Row, acquainted, deny_session, in_bobs_name, read_by, reads, row};
use crate::lab::{Client, Seen, Server};
use crate::mallory::Mallory;

/// Bob and alice can still talk: alice's words reach him, and his her.
fn they_talk(alice: &mut Client, bob: &mut Client, words: &str) -> String {
    alice.types(&format!("/msg bob {words}"));
    let shows = bob.sees(&format!("alice: {words}"));
    bob.types(&format!("/msg alice {words} too"));
    alice.sees(&format!("bob: {words} too"));
    alice.done();
    shows
}

/// A verified bob, in whose name others speak.
pub(super) fn claims() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    alice.types("/verify bob");
    alice.sees("compare it with");
    alice.types("/verify bob yes");
    alice.sees("bob is verified");
    let mallory = Mallory::new();
    let mut rows = Vec::new();

    let context = AssociatedData {
        message_id: [6; 16],
        sender: "bob",
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let envelope = mallory.envelope(&publish, &context, Payload::Text("x".to_owned()));
    let mut forged = BASE64.decode(envelope.as_bytes()).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = BASE64.encode(&forged);
    alice
        .proxy
        .inject_message("bob", [6; 16], ("envelope", &forged));
    alice.proxy.acknowledged("bob", &HEXLOWER.encode(&[6; 16]));
    alice.done();
    let shows = alice.line("(a message");
    rows.push(row(
        "an identity is claimed and not proven",
        shows,
        &[&alice, &bob],
        &[],
        0,
    ));
    let words = "still the bob i know";
    let shows = they_talk(&mut alice, &mut bob, words);
    let mut talk = row(
        "… what alice writes to bob then",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    );
    talk.left |= read_by(&mallory, &alice);
    rows.push(talk);

    let lie = "it is me, on a new phone";
    in_bobs_name(&mut alice, &mallory, [7; 16], Payload::Text(lie.to_owned()));
    alice.again(&[]);
    let words = "and still the bob i know";
    let shows = they_talk(&mut alice, &mut bob, words);
    let lies = alice.genuine("bob", lie);
    let mut talk = row(
        "an identity is claimed and proven: what alice writes to a verified bob then",
        shows,
        &[&alice, &bob],
        &[words],
        lies,
    );
    talk.left |= read_by(&mallory, &alice);
    rows.push(talk);

    in_bobs_name(&mut alice, &mallory, [8; 16], Payload::Text(lie.to_owned()));
    alice.types("/reject bob");
    alice.sees("is rejected");
    let before = alice.shown().len();
    in_bobs_name(&mut alice, &mallory, [9; 16], Payload::Text(lie.to_owned()));
    let warned = |line: &&String| line.contains("identity has changed");
    let warnings = alice.shown()[before..].iter().filter(warned).count();
    alice.types("/contacts");
    let shows = alice.sees("dropped under a rejected identity");
    let lies = alice.genuine("bob", lie) + warnings;
    rows.push(row(
        "a rejected identity speaks again",
        shows,
        &[&alice, &bob],
        &[lie],
        lies,
    ));
    rows
}

/// Alice takes the risk and accepts.
pub(super) fn accepted() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, _bob) = acquainted(&server);
    let mallory = Mallory::new();
    let old = alice.proxy.requests("send").remove(0);
    let old = HEXLOWER.decode(old["mid"].as_str().unwrap().as_bytes());
    let ask = || Payload::RetryRequest(vec![old.clone().unwrap().try_into().unwrap()]);
    in_bobs_name(&mut alice, &mallory, [5; 16], ask());
    deny_session(&alice, json!({"ok": mallory.bundle()}));
    let refused = "refused once it was encrypted";
    alice.types(&format!("/msg bob {refused}"));
    alice.sees("messages to bob wait here");
    alice.types("/accept bob");
    // One goes to the error output, the other does not, so their order is open.
    alice.done();
    let shows = alice.line("went to an identity before this one");
    alice.line("is accepted");
    // From here on the server takes what comes.
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Request(request) = seen
            && request["op"] == "send"
        {
            let stored = json!({"state": "stored", "at": crate::lab::now_ms()});
            onward.answer(request, "ok", stored);
        }
    });
    in_bobs_name(&mut alice, &mallory, [15; 16], ask());
    alice.types("/msg bob for the accepted one");
    alice.done();
    let earlier = "good morning";
    let mut asked = row(
        "an accepted identity asks for earlier messages",
        shows,
        &[&alice],
        &[earlier],
        0,
    );
    asked.left |= reads(&mallory, &alice, earlier);
    let mut withheld = row(
        "a message is refused as for another identity, which is then accepted",
        "(it waits for /verify bob yes)",
        &[&alice],
        &[refused],
        0,
    );
    withheld.left |= reads(&mallory, &alice, refused);
    vec![asked, withheld]
}
