//! Lines that are no protocol, more of them than anybody needs, and logins at a cost
//! that the server names.

use data_encoding::BASE64;
use secure_chat::crypto::account::login_proof::{ProofContext, Purpose, verify_proof};
use serde_json::json;

use super::{Row, acquainted, row};
use crate::lab::{Client, Seen, Server};
use crate::mallory::bytes;

/// Lines that do not follow the protocol at all.
pub(super) fn garbage() -> Vec<Row> {
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
    assert_eq!(published, 0, "they were published minutes ago");
    rows.push(row(
        "five times: prekeys are running out",
        shows,
        &[&alice],
        &[],
        0,
    ));
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
    for n in 0..2_000_u32 {
        let mid = std::array::from_fn(|i| !n.to_be_bytes()[i % 4] ^ i as u8);
        alice
            .proxy
            .inject_message("mallory", mid, ("text", &filler));
    }
    let request = alice.proxy.requests("search").pop().unwrap();
    let error = json!({"id": request["id"], "error": {"code": "slow_down", "message": "at last"}});
    alice.proxy.inject(error.to_string().as_bytes());
    // It hangs up before it has read all that.
    let ended = alice.sees_one_of(&["at last", "too much instead of an answer"]);
    assert!(ended.contains("too much"), "{ended}");
    alice.proxy.behave();
    alice.sees("connected again");
    alice.done();
    let peak = alice.peak_mib().zip(before);
    let shows = peak.map_or("(not measured)".to_owned(), |(peak, before)| {
        assert!(peak < before + 50, "{before} MiB before, {peak} after");
        format!("{ended} (memory at its peak {before} MiB before, {peak} MiB after)")
    });
    row(
        "2,000 messages, 120 MB, instead of an answer",
        shows,
        &[&*alice],
        &[],
        0,
    )
}

/// Logging in on a machine without a vault, where the server names the cost.
pub(super) fn logins() -> Vec<Row> {
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
        let challenge = ProofContext {
            name: "bob",
            nonce: &[8; 32],
            certificate: &[7; 32],
        };
        verify_proof(&key, &Purpose::Login, &challenge, &bytes(&login["proof"])).is_ok()
    });
    let shows = elsewhere.shown().last().cloned().unwrap_or_default();
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
