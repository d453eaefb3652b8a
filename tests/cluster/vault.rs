//! What the sessions of one person share: the vault, which here is a set in memory, and how answers and
//! news are noted. A message is noted before it is acknowledged, and shown only if it was new.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness;
use super::history::What;
use super::session::{Asked, Session};
use super::world::World;

/// What sessions of one person share.
#[derive(Default)]
pub struct Vault {
    /// Senders and ids. It is locked while what it decides is recorded.
    known: Mutex<HashSet<(String, u64)>>,
    pub next_mid: AtomicU64,
}

/// Messages to acknowledge, by sender.
#[derive(Default)]
pub struct Unacked {
    pub ids: HashMap<String, Vec<u64>>,
    /// When.
    pub due: Option<Instant>,
}

/// A `send` with an unencrypted text.
pub fn request_to_send(to: &str, mid: u64, text: &str) -> Value {
    let mut request = harness::plain(to, mid, text);
    request["op"] = json!("send");
    request
}

/// Writes down what was answered.
pub fn record_answer(world: &World, session: &Session, id: u64, asked: &Asked, line: &Value) {
    let what = match asked {
        Asked::Send { to, mid } => {
            let (to, mid) = (to.clone(), *mid);
            match line["error"]["code"].as_str() {
                None => What::Accepted { to, mid },
                Some(code) => What::Refused {
                    to,
                    mid,
                    code: code.to_owned(),
                },
            }
        }
        Asked::Ack => match line["ok"]["acked"].as_u64() {
            Some(count) => What::Acked { request: id, count },
            None => return,
        },
        Asked::Other => return,
    };
    world.record(&session.who, session.number, what);
}

/// Acknowledges; whether the connection took it.
pub fn acknowledge(world: &World, session: &mut Session, unacked: &mut Unacked) -> bool {
    unacked.due = None;
    for (from, ids) in unacked.ids.drain() {
        let ids: Vec<String> = ids.into_iter().map(harness::mid).collect();
        let request = session.next_request();
        world.record(&session.who, session.number, What::Acking { request });
        if !session.ask(Asked::Ack, json!({"op": "ack", "from": from, "ids": ids})) {
            return false;
        }
    }
    true
}

impl Vault {
    /// Takes news of the server; whether the connection took what it asks for.
    pub fn hear_event(
        &self,
        world: &World,
        session: &mut Session,
        line: &Value,
        unacked: &mut Unacked,
        slowness: Duration,
    ) -> bool {
        match line["event"].as_str() {
            Some("message") => {}
            Some("ping") => return session.ask(Asked::Other, json!({"op": "ping"})),
            // A receipt, or the error that says why the connection ends.
            _ => return true,
        }
        let from = line["from"].as_str().unwrap().to_owned();
        let mid = u64::from_str_radix(line["mid"].as_str().unwrap(), 16).unwrap();
        let number = line["text"]
            .as_str()
            .and_then(|text| text.split(' ').next()?.parse().ok());
        let (who, session) = (&session.who, session.number);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        world.record(
            who,
            session,
            What::Arrived {
                from: from.clone(),
                mid,
            },
        );
        if known.insert((from.clone(), mid)) {
            world.record(
                who,
                session,
                What::Shown {
                    from: from.clone(),
                    mid,
                    number,
                },
            );
        }
        drop(known);
        unacked.ids.entry(from).or_default().push(mid);
        let millis = 1 + slowness.as_millis() as u64;
        let wait = Duration::from_millis(harness::random() % millis);
        unacked.due.get_or_insert(Instant::now() + wait);
        true
    }
}
