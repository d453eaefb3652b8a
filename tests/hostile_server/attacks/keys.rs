//! Keys: low-order, forged, exchanged, handed out twice, and claimed without proof.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use secure_chat::crypto::message::associated_data::AssociatedData;
use secure_chat::crypto::message::content::Payload;
use serde_json::{Value, json};

use super::{Row, acquainted, deny_session, in_bobs_name, read_by, reads, row, strangers, take};
use crate::lab::{Client, Seen, Server, now_ms};
use crate::mallory::{Mallory, weak_bundle};

/// Keys that are served when alice writes to somebody for the first time.
pub(super) fn first_contact() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = strangers(&server, &[]);
    let mut rows = Vec::new();
    let served = Arc::new(Mutex::new(Value::Null));
    let serve = |alice: &Client, answer: Value| {
        *served.lock().unwrap() = answer;
        let served = Arc::clone(&served);
        alice.proxy.meddle(move |seen, onward| {
            if let Seen::Answer(request) = seen
                && request["op"] == "keys"
            {
                let mut line = served.lock().unwrap().clone();
                line["id"] = request["id"].clone();
                onward.to_client = vec![line.to_string().into_bytes()];
            }
        });
    };
    let mut forged = Mallory::new().bundle();
    forged["signed_prekey"]["key"] = BASE64.encode(&[9; 32]).into();
    let mut exchanged = Mallory::new().bundle();
    exchanged["identity"] = Mallory::new().bundle()["identity"].clone();
    for (attack, bundle) in [
        ("a low-order identity key (X25519)", weak_bundle("dh")),
        ("a low-order identity key (Ed25519)", weak_bundle("signing")),
        ("a low-order signed prekey", weak_bundle("signed")),
        ("a low-order one-time prekey", weak_bundle("one-time")),
        ("a prekey that was never signed", forged),
        ("another identity around a signed prekey", exchanged),
    ] {
        let words = "this is for carol alone";
        // A name of its own each time: nobody is pinned by an earlier attempt.
        let name = format!("carol{}", rows.len());
        serve(&alice, json!({"ok": bundle}));
        alice.types(&format!("/msg {name} {words}"));
        let shows = alice.sees("nothing was sent");
        alice.done();
        assert!(alice.proxy.requests("send").is_empty());
        rows.push(row(attack, shows, &[&alice], &[words], 0));
    }
    let words = "not for everybody";
    serve(
        &alice,
        json!({"error": {"code": "no_keys", "message": "none"}}),
    );
    alice.types(&format!("/msg carol {words}"));
    let shows = alice.sees("has no keys");
    rows.push(row(
        "keys of somebody new are denied",
        shows,
        &[&alice],
        &[words],
        0,
    ));

    let words = "whom am i talking to";
    let mallory = Mallory::new();
    let (bundle, named) = (mallory.bundle(), mallory.fingerprint());
    alice.proxy.meddle(move |seen, onward| match seen {
        Seen::Answer(request) if request["op"] == "keys" => {
            onward.change(|line| line["ok"] = bundle.clone());
        }
        Seen::Request(request) if request["op"] == "send" => {
            assert_eq!(request["identity"], named);
            onward.answer(request, "ok", json!({"state": "stored", "at": now_ms()}));
        }
        _ => {}
    });
    alice.types(&format!("/msg bob {words}"));
    alice.sees("stored for bob");
    let send = alice.proxy.requests("send").pop().unwrap();
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let read = mallory.reads(&send, &publish, "alice");
    let shows = alice.line("stored for bob");
    let mut first = row(
        "all keys are swapped at the very first message",
        shows,
        &[&alice],
        &[words],
        0,
    );
    first.left |= read.as_deref() == Some(words);
    rows.push(first.gap(true, "the first identity is trusted unless --trust never; comparing safety numbers shows it (next row)"));
    let numbers = |client: &mut Client, other: &str| {
        let before = client.shown().len();
        client.types(&format!("/verify {other}"));
        client.sees("compare it with");
        let digits = |line: &&String| line.starts_with("    ");
        let lines = client.shown()[before..].iter().filter(digits);
        lines.cloned().collect::<Vec<_>>()
    };
    let (hers, his) = (numbers(&mut alice, "bob"), numbers(&mut bob, "alice"));
    assert!(hers.len() == 3 && his.len() == 3, "{hers:?} {his:?}");
    let lies = usize::from(hers == his);
    let shows = format!("alice: {}… bob: {}…", hers[0].trim(), his[0].trim());
    rows.push(row(
        "… as /verify shows it: the numbers differ",
        shows,
        &[&bob],
        &[],
        lies,
    ));
    rows
}

/// `--trust never`
pub(super) fn nobody_is_trusted() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, _bob) = strangers(&server, &["--trust", "never"]);
    let mallory = Mallory::new();
    deny_session(&alice, json!({"ok": mallory.bundle()}));
    let words = "only once i know you";
    alice.types(&format!("/msg bob {words}"));
    let shows = alice.sees("new identities are not trusted");
    alice.done();
    assert!(alice.proxy.requests("send").is_empty());
    vec![row(
        "the same under --trust never",
        shows,
        &[&alice],
        &[words],
        0,
    )]
}

/// Keys that are exchanged once bob is known.
pub(super) fn swapped_later() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, bob) = acquainted(&server);
    let mut rows = Vec::new();
    let mallory = Mallory::new();
    let forged = "it is me, on a new phone";
    in_bobs_name(
        &mut alice,
        &mallory,
        [4; 16],
        Payload::Text(forged.to_owned()),
    );
    let (shows, lies) = (
        alice.line("(identity changed)"),
        alice.genuine("bob", forged),
    );
    rows.push(row(
        "a message in bob's name under another identity",
        shows,
        &[&alice],
        &[forged],
        lies,
    ));

    deny_session(&alice, json!({"ok": mallory.bundle()}));
    let words = "for the bob i know";
    alice.types(&format!("/msg bob {words}"));
    let shows = alice.sees("messages to bob wait here");
    alice.done();
    let mut held = row(
        "bob's identity is swapped",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    );
    held.left |= read_by(&mallory, &alice);
    rows.push(held);
    drop((alice, bob));

    let server = Server::start();
    let (mut alice, bob) = acquainted(&server);
    alice.types("/verify bob");
    alice.sees("compare it with");
    alice.types("/verify bob yes");
    alice.sees("bob is verified");
    alice.again(&["--trust", "always"]);
    deny_session(&alice, json!({"ok": mallory.bundle()}));
    alice.types(&format!("/msg bob {words}"));
    let shows = alice.sees("NOT the one you verified");
    alice.done();
    let mut held = row(
        "the identity of a verified bob, under --trust always",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    );
    held.left |= read_by(&mallory, &alice);
    rows.push(held);
    rows
}

/// The moment between looking at a safety number and saying that it is right.
pub(super) fn swapped_while_comparing() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, _bob) = acquainted(&server);
    let mallory = Mallory::new();
    alice.types("/verify bob");
    alice.sees("compare it with");
    in_bobs_name(
        &mut alice,
        &mallory,
        [5; 16],
        Payload::Text("hi".to_owned()),
    );
    let old = alice.proxy.requests("send").remove(0);
    let old = data_encoding::HEXLOWER.decode(old["mid"].as_str().unwrap().as_bytes());
    let ask = Payload::RetryRequest(vec![old.unwrap().try_into().unwrap()]);
    in_bobs_name(&mut alice, &mallory, [15; 16], ask);
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Request(request) = seen
            && request["op"] == "send"
        {
            onward.answer(request, "ok", json!({"state": "stored", "at": now_ms()}));
        }
    });
    alice.types("/verify bob yes");
    alice.done();
    let words = "for the one whose number i compared";
    alice.types(&format!("/msg bob {words}"));
    alice.done();
    let read = read_by(&mallory, &alice);
    let verified = alice
        .shown()
        .iter()
        .rev()
        .find(|line| line.contains("verif"));
    let shows = verified.unwrap().clone();
    let lies = alice.genuine("bob", "hi");
    let mut swapped = row(
        "bob's identity is swapped between /verify and /verify yes",
        shows,
        &[&alice],
        &[words],
        lies,
    );
    swapped.left |= read;
    let open = swapped.left || lies > 0;
    let earlier = "good morning";
    let mut asked = row(
        "… after which it asks for earlier messages",
        alice
            .shown()
            .iter()
            .rev()
            .find(|line| line.contains("sent again"))
            .cloned()
            .unwrap_or_default(),
        &[&alice],
        &[earlier],
        0,
    );
    asked.left |= reads(&mallory, &alice, earlier);
    let asked_open = asked.left;
    let why = "the yes counts for an identity whose number was never shown";
    vec![
        swapped.gap(open, why),
        asked.gap(asked_open, "thirty days of messages follow from it"),
    ]
}

/// What is claimed and never proven.
pub(super) fn unproven_claims() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, bob) = acquainted(&server);
    let mut rows = Vec::new();
    alice.again(&["--trust", "always"]);
    let context = AssociatedData {
        message_id: [6; 16],
        sender: "bob",
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let envelope = Mallory::new().envelope(&publish, &context, Payload::Text("x".to_owned()));
    let mut forged = BASE64.decode(envelope.as_bytes()).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = BASE64.encode(&forged);
    alice
        .proxy
        .inject_message("bob", [6; 16], ("envelope", &forged));
    let mid = data_encoding::HEXLOWER.encode(&[6; 16]);
    alice.proxy.acknowledged("bob", &mid);
    alice.done();
    let accepted = alice
        .shown()
        .iter()
        .find(|line| line.contains("was accepted, as --trust"));
    let open = accepted.is_some();
    let shows = accepted
        .cloned()
        .unwrap_or_else(|| alice.line("(a message"));
    rows.push(
        row(
            "a forged message names another identity, under --trust always",
            shows,
            &[&alice, &bob],
            &[],
            0,
        )
        .gap(
            open,
            "the claim is accepted though the message is not authentic",
        ),
    );
    drop((alice, bob));

    let server = Server::start();
    let (mut alice, bob) = strangers(&server, &[]);
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "keys"
        {
            onward.change(|line| line["ok"] = weak_bundle("signed"));
        }
    });
    let words = "weak and then right";
    alice.types(&format!("/msg bob {words}"));
    alice.sees("nothing was sent");
    alice.proxy.behave();
    alice.types("/contacts");
    alice.done();
    let pinned = alice.shown().iter().find(|line| line.starts_with("bob "));
    let open = pinned.is_some_and(|line| line.ends_with("not verified"));
    let shows = pinned
        .cloned()
        .unwrap_or_else(|| "(bob is not pinned)".to_owned());
    rows.push(
        row(
            "weak keys are refused: what /contacts says then",
            shows,
            &[&alice, &bob],
            &[words],
            0,
        )
        .gap(
            open,
            "the refused identity stays pinned, so that the right one looks like a change",
        ),
    );
    rows
}

/// One prekey for two people.
pub(super) fn one_time_prekey_twice() -> Vec<Row> {
    let server = Server::start();
    let carol = Client::register(&server, "carol", &[]);
    let (mut alice, mut bob) = strangers(&server, &[]);
    let mut carol = carol.registered();
    let first = Arc::new(Mutex::new(Value::Null));
    for client in [&alice, &carol] {
        let first = Arc::clone(&first);
        client.proxy.meddle(move |seen, onward| {
            if let Seen::Answer(request) = seen
                && request["op"] == "keys"
            {
                let mut first = first.lock().unwrap();
                onward.change(|line| match *first {
                    Value::Null => *first = line["ok"]["one_time"].clone(),
                    _ => line["ok"]["one_time"] = first.clone(),
                });
            }
        });
    }
    let words = "the first with this key";
    alice.types(&format!("/msg bob {words}"));
    bob.sees(&format!("alice: {words}"));
    let second = "the second with this key";
    carol.types(&format!("/msg bob {second}"));
    let shows = bob.sees("carol: (a message");
    bob.done();
    // Carol's client may have been asked, and have sent it again: once.
    let lies = bob.genuine("carol", second).saturating_sub(1);
    let mut rows = Vec::new();
    let clients = [&alice, &bob, &carol];
    rows.push(row(
        "one one-time prekey is handed out twice",
        shows,
        &clients,
        &[words, second],
        lies,
    ));
    let sent = alice.proxy.requests("send").pop().unwrap();
    let astray = json!({"event": "message", "from": "alice", "mid": sent["mid"],
        "at": now_ms(), "envelope": sent["envelope"]});
    take(&mut carol, &astray);
    let (shows, lies) = (
        carol.line("alice: (a message"),
        carol.genuine("alice", words),
    );
    rows.push(row(
        "a message is delivered to somebody else",
        shows,
        &[&alice, &carol],
        &[words],
        lies,
    ));
    rows
}
