//! The attacks, in groups that share a server and its clients.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use secure_chat::crypto::content::Body;
use secure_chat::crypto::context::Context;
use secure_chat::crypto::proof::{Challenge, Purpose, verify_proof};
use serde_json::{Value, json};

use crate::lab::{Client, Onward, PASSWORD, Seen, Server, now_ms};
use crate::mallory::{Mallory, bytes, weak_bundle};

/// What came of one attack.
pub(crate) struct Row {
    pub(crate) attack: &'static str,
    /// The line that the client shows.
    pub(crate) shows: String,
    /// Words left readable.
    pub(crate) left: bool,
    /// How many false things were shown as genuine.
    pub(crate) lies: usize,
    /// Why the row is not clean, if that is known.
    pub(crate) gap: Option<&'static str>,
}

/// Each with a server of its own, so they can run side by side.
pub(crate) const ATTACKS: [fn() -> Vec<Row>; 10] = [
    changed_messages,
    unencrypted_and_lies,
    garbage,
    first_contact,
    nobody_is_trusted,
    swapped_later,
    swapped_while_comparing,
    unproven_claims,
    one_time_prekey_twice,
    logins,
];

fn row(
    attack: &'static str,
    shows: impl Into<String>,
    clients: &[&Client],
    secrets: &[&str],
    lies: usize,
) -> Row {
    let words = secrets.iter().chain([&PASSWORD]);
    let left = |client: &&Client| words.clone().any(|words| client.proxy.has_seen(words));
    let shows: String = shows.into();
    // A message's time says nothing here.
    let shows = match shows.split_once(' ') {
        Some((time, rest)) if time.len() == 5 && time.contains(':') => rest,
        _ => shows.trim(),
    };
    Row {
        attack,
        shows: match shows.char_indices().nth(150) {
            Some((end, _)) => format!("{}…", &shows[..end]),
            None => shows.to_owned(),
        },
        left: clients.iter().any(left),
        lies,
        gap: None,
    }
}

impl Row {
    /// Not clean, for a reason that is known. `open` says whether it still is so.
    fn gap(self, open: bool, why: &'static str) -> Self {
        Row {
            gap: open.then_some(why),
            ..self
        }
    }
}

/// Alice and bob, who have exchanged a message each.
fn acquainted(server: &Server) -> (Client, Client) {
    let (mut alice, mut bob) = strangers(server, &[]);
    alice.types("/msg bob good morning");
    bob.sees("alice: good morning");
    bob.types("/msg alice good evening");
    alice.sees("bob: good evening");
    alice.done();
    bob.done();
    (alice, bob)
}

/// Alice, with flags, and bob.
fn strangers(server: &Server, flags: &[&str]) -> (Client, Client) {
    let alice = Client::register(server, "alice", flags);
    let bob = Client::register(server, "bob", &[]);
    (alice.registered(), bob.registered())
}

fn is_message(seen: &Seen<'_>, onward: &Onward) -> bool {
    matches!(seen, Seen::Event) && {
        let line: Value = serde_json::from_slice(&onward.to_client[0]).unwrap();
        line["event"] == "message"
    }
}

/// Keeps messages from the client.
fn hold(seen: &Seen<'_>, onward: &mut Onward) {
    if is_message(seen, onward) {
        onward.to_client.clear();
    }
}

fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap()
}

fn inject(client: &Client, message: &Value) {
    client.proxy.inject(message.to_string().as_bytes());
}

/// Injects a message and waits until it has been taken and shown.
fn take(client: &mut Client, message: &Value) {
    inject(client, message);
    let (from, mid) = (text(message, "from"), text(message, "mid"));
    client.proxy.acknowledged(from, mid);
    client.done();
}

/// A message with another envelope.
fn with_envelope(message: &Value, change: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut envelope = BASE64.decode(text(message, "envelope").as_bytes()).unwrap();
    change(&mut envelope);
    let mut changed = message.clone();
    changed["envelope"] = BASE64.encode(&envelope).into();
    changed
}

/// Messages from bob to alice, on their way through the one in between.
fn changed_messages() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();
    let mut count = 1;
    // Bob writes, and the message is kept from alice.
    let mut held = |alice: &Client, bob: &mut Client, words: &str| {
        alice.proxy.meddle(hold);
        bob.types(&format!("/msg alice {words}"));
        let message = alice.proxy.message(count);
        count += 1;
        alice.proxy.behave();
        message
    };

    let words = "pay mallory in full";
    let message = held(&alice, &mut bob, words);
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
    let message = held(&alice, &mut bob, words);
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
                    .shown
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
    let words = "after the damage";
    bob.types(&format!("/msg alice {words}"));
    alice.sees(&format!("bob: {words}"));
    alice.done();
    let shows = alice.line("have not arrived");
    rows.push(row(
        "messages are dropped",
        shows,
        &[&alice, &bob],
        &[words],
        0,
    ));

    alice.proxy.meddle(hold);
    let first = alice.proxy.count_messages();
    bob.types("/msg alice the earlier");
    bob.types("/msg alice the later");
    let [earlier, later] = [first, first + 1].map(|n| alice.proxy.message(n));
    alice.proxy.behave();
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
        .shown
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

/// One message changed on its way; the real one is lost by it.
fn lost_to(
    rows: &mut Vec<Row>,
    alice: &mut Client,
    bob: &mut Client,
    attack: &'static str,
    words: &str,
    cut: bool,
) {
    alice.proxy.meddle(hold);
    let n = alice.proxy.count_messages();
    bob.types(&format!("/msg alice {words}"));
    let message = alice.proxy.message(n);
    alice.proxy.behave();
    let changed = with_envelope(&message, |envelope| match cut {
        true => envelope.truncate(122),
        false => envelope[100] ^= 1,
    });
    take(alice, &changed);
    let shows = alice
        .shown
        .iter()
        .rev()
        .find(|line| line.contains("bob: (a message"));
    let (shows, lies) = (shows.unwrap().clone(), alice.genuine("bob", words));
    rows.push(row(attack, shows, &[alice, bob], &[words], lies));
}

/// What needs no cryptography at all.
fn unencrypted_and_lies() -> Vec<Row> {
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
    let before = alice.shown.len();
    alice.types("/history bob");
    alice.done();
    let shows = alice.shown[before..]
        .iter()
        .find(|line| line.contains(words));
    let shows = shows.unwrap().clone();
    let open = !shows.contains("(unproven)");
    rows.push(
        row(
            "the same, later in /history",
            shows,
            &[&alice],
            &[words],
            alice.genuine("bob", words),
        )
        .gap(
            open,
            "marked as unencrypted, but not as unproven, and inside the conversation",
        ),
    );

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
    let lies = alice.shown.iter().filter(raw).count()
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
    alice.types("/who bob");
    let shows = alice.sees("lost his keys");
    let open = !shows.contains("server");
    rows.push(
        row("lies in the text of an error", shows, &[&alice], &[], 0)
            .gap(open, "nothing says that these are the server's words"),
    );
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
    in_bobs_name(&mut alice, &mallory, [3; 16], Body::RetryRequest(vec![old]));
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

/// From now on the server says that bob's identity has changed, and answers the
/// question for his keys with `answer`.
fn deny_session(client: &Client, answer: Value) {
    client.proxy.meddle(move |seen, onward| match seen {
        Seen::Request(request) if request["op"] == "send" => {
            let why = json!({"code": "identity_changed", "message": "another identity"});
            onward.answer(request, "error", why);
        }
        Seen::Answer(request) if request["op"] == "keys" => {
            let mut line = answer.clone();
            line["id"] = request["id"].clone();
            onward.to_client = vec![line.to_string().into_bytes()];
        }
        _ => {}
    });
}

/// A message to alice in bob's name under mallory's identity, taken and shown.
fn in_bobs_name(alice: &mut Client, mallory: &Mallory, mid: [u8; 16], body: Body) {
    let context = Context {
        message_id: mid,
        sender: "bob",
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let envelope = mallory.envelope(&publish, &context, body);
    alice
        .proxy
        .inject_message("bob", mid, ("envelope", &envelope));
    alice
        .proxy
        .acknowledged("bob", &data_encoding::HEXLOWER.encode(&mid));
    alice.done();
}

/// Lines that are no protocol at all.
fn garbage() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    let mut rows = Vec::new();
    let deep = format!("{{\"id\":1,\"ok\":{}", "[".repeat(60_000));
    let huge = format!("{{\"event\":\"{}\"}}", "x".repeat(200_000));
    let lines: [(&'static str, &[u8]); 5] = [
        ("a line of garbage", b"\x00\xff\xfe\x1b[2J"),
        ("a line without end", huge.as_bytes()),
        ("a deeply nested line", deep.as_bytes()),
        ("a sender's name that is none", br#"{"event":"message","from":"../x","mid":"00000000000000000000000000000000","at":1,"text":"x"}"#),
        ("numbers out of range", br#"{"id":-1,"ok":{}}"#),
    ];
    for (attack, line) in lines {
        alice.proxy.inject(line);
        let shows = alice.sees("connection lost");
        alice.sees("connected again");
        rows.push(row(attack, shows, &[&alice], &[], 0));
    }
    for line in [
        &br#"{"event":"of the future"}"#[..],
        br#"{"id":99999999,"ok":{"state":"delivered","at":18446744073709551615}}"#,
        br#"{"event":"delivered","to":"nobody","ids":["00000000000000000000000000000000"]}"#,
    ] {
        alice.proxy.inject(line);
    }
    alice.done();
    let before = alice.peak_mib();
    // More than the client's queue of lines, and more than it keeps aside.
    let filler = "x".repeat(16_000);
    for n in 0..2_000_u32 {
        let mid: [u8; 16] = std::array::from_fn(|i| n.to_be_bytes()[i % 4] ^ i as u8);
        alice
            .proxy
            .inject_message("mallory", mid, ("text", &filler));
    }
    alice.proxy.acknowledged(
        "mallory",
        &data_encoding::HEXLOWER.encode(&std::array::from_fn::<_, 16, _>(|i| {
            1_999_u32.to_be_bytes()[i % 4] ^ i as u8
        })),
    );
    alice.done();
    let peak = alice.peak_mib().zip(before);
    if let Some((peak, before)) = peak {
        assert!(
            peak < before + 100,
            "{before} MiB before a flood, {peak} after"
        );
    }
    let shows = peak.map_or("(not measured)".to_owned(), |(peak, before)| {
        format!("(all of it, marked; memory at its peak {before} MiB before, {peak} MiB after)")
    });
    rows.push(row(
        "a flood of 2,000 messages, 32 MB",
        shows,
        &[&alice],
        &[],
        0,
    ));
    let before = alice.proxy.requests("publish").len();
    for _ in 0..5 {
        alice
            .proxy
            .inject(br#"{"event":"prekeys_low","one_time":0}"#);
    }
    alice.done();
    let published = alice.proxy.requests("publish").len() - before;
    let shows = format!("(nothing; prekeys are published {published} times)");
    rows.push(
        row(
            "five times: prekeys are running out",
            shows,
            &[&alice],
            &[],
            0,
        )
        .gap(
            published > 2,
            "every claim costs 100 new prekeys, and the vault keeps them all",
        ),
    );
    rows.push(flood_during_a_call(&mut alice));
    bob.types("/msg alice after all that");
    alice.sees("bob: after all that");
    rows
}

/// The answer that a client waits for never comes, and everything else does.
fn flood_during_a_call(alice: &mut Client) -> Row {
    alice.proxy.meddle(|seen, onward| {
        if let Seen::Request(request) = seen
            && request["op"] == "search"
        {
            onward.to_server.clear();
        }
    });
    let before = alice.peak_mib();
    alice.types("/search bo");
    alice.proxy.requested("search");
    let filler = "y".repeat(60_000);
    for n in 0..1_000_u32 {
        let mid = std::array::from_fn(|i| !n.to_be_bytes()[i % 4] ^ i as u8);
        alice
            .proxy
            .inject_message("mallory", mid, ("text", &filler));
    }
    let request = alice.proxy.requests("search").pop().unwrap();
    let error = json!({"id": request["id"], "error": {"code": "slow_down", "message": "at last"}});
    alice.proxy.inject(error.to_string().as_bytes());
    alice.sees("at last");
    alice.proxy.behave();
    alice.done();
    let peak = alice.peak_mib().zip(before);
    let shows = peak.map_or("(not measured)".to_owned(), |(peak, before)| {
        format!("(all of it, marked; memory at its peak {before} MiB before, {peak} MiB after)")
    });
    row(
        "1,000 messages, 60 MB, instead of an answer",
        shows,
        &[&*alice],
        &[],
        0,
    )
    .gap(
        peak.is_some_and(|(peak, before)| peak > before + 25),
        "up to 20,000 lines are kept while an answer is awaited, whatever their size",
    )
}

/// Keys that are served when alice writes to somebody for the first time.
fn first_contact() -> Vec<Row> {
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
        let before = client.shown.len();
        client.types(&format!("/verify {other}"));
        client.sees("compare it with");
        let digits = |line: &&String| line.starts_with("    ");
        let lines = client.shown[before..].iter().filter(digits);
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
fn nobody_is_trusted() -> Vec<Row> {
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
fn swapped_later() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, bob) = acquainted(&server);
    let mut rows = Vec::new();
    let mallory = Mallory::new();
    let forged = "it is me, on a new phone";
    in_bobs_name(&mut alice, &mallory, [4; 16], Body::Text(forged.to_owned()));
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
    let shows = alice.sees("the message waits here until you accept");
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

/// Whether anything that alice sent opens for mallory.
fn read_by(mallory: &Mallory, alice: &Client) -> bool {
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let sends = alice.proxy.requests("send");
    let mut sends = sends.iter();
    sends.any(|send| mallory.reads(send, &publish, "alice").is_some())
}

/// What is claimed and never proven.
fn unproven_claims() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, bob) = acquainted(&server);
    let mut rows = Vec::new();
    alice.again(&["--trust", "always"]);
    let context = Context {
        message_id: [6; 16],
        sender: "bob",
        recipient: "alice",
    };
    let publish = alice.proxy.requests("publish").pop().unwrap();
    let envelope = Mallory::new().envelope(&publish, &context, Body::Text("x".to_owned()));
    let mut forged = BASE64.decode(envelope.as_bytes()).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = BASE64.encode(&forged);
    alice
        .proxy
        .inject_message("bob", [6; 16], ("envelope", &forged));
    alice.sees("bob: (a message");
    alice.done();
    let accepted = alice
        .shown
        .iter()
        .find(|line| line.contains("was accepted, as --trust"));
    let open = accepted.is_some();
    let shows = accepted
        .cloned()
        .unwrap_or_else(|| alice.line("bob: (a message"));
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
    let pinned = alice.shown.iter().find(|line| line.starts_with("bob "));
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

/// The moment between looking at a safety number and saying that it is right.
fn swapped_while_comparing() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, _bob) = acquainted(&server);
    let mallory = Mallory::new();
    alice.types("/verify bob");
    alice.sees("compare it with");
    in_bobs_name(&mut alice, &mallory, [5; 16], Body::Text("hi".to_owned()));
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
    let verified = alice.shown.iter().rev().find(|line| line.contains("verif"));
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
    vec![swapped.gap(
        open,
        "the yes counts for an identity whose number was never shown",
    )]
}

/// One prekey for two people.
fn one_time_prekey_twice() -> Vec<Row> {
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
    let lies = bob.genuine("carol", second);
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

/// Logging in on a machine without a vault, where the server names the cost.
fn logins() -> Vec<Row> {
    let server = Server::start();
    let bob = Client::register(&server, "bob", &[]).registered();
    let key = bytes(&bob.proxy.requests("register")[0]["login_key"]);
    let mut rows = Vec::new();
    for (attack, field, value, part) in [
        (
            "the password's cost is lowered",
            "memory_kib",
            8,
            "less than the least allowed",
        ),
        (
            "… or its passes",
            "passes",
            1,
            "less than the least allowed",
        ),
        (
            "the password's cost is raised",
            "memory_kib",
            u32::MAX,
            "more than the most allowed",
        ),
        (
            "… or its passes",
            "passes",
            1_000_000,
            "more than the most allowed",
        ),
    ] {
        let mut elsewhere = Client::elsewhere(&server, "bob", move |seen, onward| {
            if let Seen::Answer(request) = seen
                && request["op"] == "kdf"
            {
                onward.change(|line| line["ok"][field] = value.into());
            }
        });
        let shows = elsewhere.sees(part);
        assert_eq!(elsewhere.ends(), Some(3));
        let lies = elsewhere.proxy.requests("login").len();
        rows.push(row(attack, shows, &[&elsewhere], &[], lies));
    }
    // A proof for the certificate of another server, to be used there.
    let mut elsewhere = Client::elsewhere(&server, "bob", |seen, onward| {
        if let Seen::Answer(request) = seen
            && request["op"] == "hello"
        {
            onward.change(|line| {
                line["ok"]["certificate"] = BASE64.encode(&[7; 32]).into();
                line["ok"]["nonce"] = BASE64.encode(&[8; 32]).into();
            });
        }
    });
    elsewhere.ends();
    let usable = elsewhere.proxy.requests("login").iter().any(|login| {
        let challenge = Challenge {
            name: "bob",
            nonce: &[8; 32],
            certificate: &[7; 32],
        };
        verify_proof(&key, &Purpose::Login, &challenge, &bytes(&login["proof"])).is_ok()
    });
    let shows = elsewhere.shown.last().cloned().unwrap_or_default();
    rows.push(
        row(
            "a login proof for another server's certificate is asked for",
            shows,
            &[&elsewhere],
            &[],
            usize::from(usable),
        )
        .gap(
            usable,
            "the client signs the fingerprint that the server names, not the one it saw",
        ),
    );
    rows
}
