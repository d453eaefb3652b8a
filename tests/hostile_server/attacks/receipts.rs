//! Receipts that the server drops, delays, plays back and makes up.

use super::{Row, acquainted, hold, inject, row, take};
use crate::lab::{Client, Server};

/// How often alice was told that bob has received something.
fn told(alice: &Client) -> usize {
    let told = |line: &&String| line.contains("received by bob");
    alice.shown().iter().filter(told).count()
}

/// What `/info` says of the last message's way.
fn info(alice: &mut Client) -> String {
    alice.types("/info");
    let shows = alice.sees("delivered  ");
    alice.done();
    let (_, who) = shows.split_once(", ").expect("who says so");
    format!("delivered, {who}")
}

pub(super) fn receipts() -> Vec<Row> {
    let server = Server::start();
    let (mut alice, mut bob) = acquainted(&server);
    bob.types("/settings receipts on");
    bob.done();
    let mut rows = Vec::new();

    let before = alice.proxy.count_messages();
    alice.proxy.meddle(hold);
    alice.types("/msg bob one");
    bob.sees("alice: one");
    alice.sees("delivered to bob");
    let receipt = alice.proxy.message(before);
    let shows = info(&mut alice);
    let lies = told(&alice);
    rows.push(row(
        "a receipt is dropped: what /info says",
        shows,
        &[&alice, &bob],
        &[],
        lies,
    ));

    alice.proxy.behave();
    bob.types("/msg alice two");
    let shows = alice.sees("bob: two");
    alice.done();
    let gaps = alice
        .shown()
        .iter()
        .filter(|line| line.contains("not arrived"));
    let lies = gaps.count();
    rows.push(row(
        "… and the message after it",
        shows,
        &[&alice, &bob],
        &[],
        lies,
    ));

    // Late, and true all the same.
    inject(&alice, &receipt);
    let shows = alice.sees("received by bob");
    alice.done();
    rows.push(row(
        "a receipt is delayed",
        shows,
        &[&alice, &bob],
        &[],
        told(&alice) - 1,
    ));

    // Bob never gets the next one.
    bob.proxy.meddle(hold);
    alice.types("/msg bob three");
    alice.sees("stored for bob");
    let sent = alice.proxy.requests("send").pop().unwrap();
    let forged = serde_json::json!({"event": "delivered", "to": "bob", "ids": [sent["mid"]]});
    inject(&alice, &forged);
    alice.sees("delivered to bob");
    let mut replayed = receipt;
    replayed["mid"] = "77".repeat(16).into();
    take(&mut alice, &replayed);
    let shows = alice.line("could not be decrypted");
    let lies = told(&alice) - 1;
    rows.push(row(
        "a receipt is played back",
        shows,
        &[&alice, &bob],
        &[],
        lies,
    ));
    alice.types(&format!("/info {}", sent["mid"].as_str().unwrap()));
    let shows = alice.sees("delivered  ");
    let (_, who) = shows.split_once(", ").unwrap();
    let lies = told(&alice) - 1;
    rows.push(row(
        "… and `delivered` forged, for a message that was dropped: what /info says",
        format!("delivered, {who}"),
        &[&alice, &bob],
        &[],
        lies,
    ));

    bob.proxy.behave();
    let notice = |mid: &str, news: serde_json::Value| {
        let mut notice = serde_json::json!({"event": "notice", "mid": mid.repeat(16), "at": 1});
        notice
            .as_object_mut()
            .unwrap()
            .extend(news.as_object().unwrap().clone());
        notice
    };
    let removed = [serde_json::json!({"name": "alice", "count": 1})];
    let missed = serde_json::json!({"notice": "missed", "from": removed, "count": 1});
    inject(&bob, &notice("78", missed));
    bob.sees("the server says that it removed 1 message or receipt from alice");
    alice.types("/msg bob four");
    // With the request to send again what was played back.
    let shows = bob.sees("2 messages from alice have not arrived");
    rows.push(row(
        "a message is dropped and said to have expired",
        shows,
        &[&alice, &bob],
        &[],
        0,
    ));
    alice.sees("received by bob");
    let sent = alice.proxy.requests("send").pop().unwrap();
    let expired = serde_json::json!({"notice": "expired", "to": "bob", "ids": [sent["mid"]]});
    inject(&alice, &notice("79", expired));
    alice.proxy.acknowledged("*", &"79".repeat(16));
    alice.types(&format!("/info {}", sent["mid"].as_str().unwrap()));
    let shows = alice.sees("received  ");
    alice.done();
    let lies = alice.shown().iter().filter(|line| line.contains("expired"));
    let lies = lies.count();
    let (_, who) = shows.split_once(", ").unwrap();
    rows.push(row(
        "`expired` is forged for a message that arrived: what /info says",
        format!("received, {who}"),
        &[&alice, &bob],
        &[],
        lies,
    ));
    rows
}
