//! One client's connection to the stage's server: what it asks, and what it must never be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Value, json};

use super::stage::{LOGIN_KEY, NAMES, Stage, mid, sequence};
use crate::crypto::account::login_proof::{ProofContext, Purpose};
use crate::protocol::ids::{ByteArray, MessageId};
use crate::transport::socket::memory::ClientEnd;

/// The id of every request that acknowledges.
const ACK: u64 = 50;

/// One client's connection.
pub(super) struct Client {
    stage: Arc<Stage>,
    user: usize,
    end: ClientEnd,
    lines: Vec<u8>,
    session: u64,
    /// How many bytes it reads at once.
    pub bite: usize,
    /// It may be silent for long, and answers the pings.
    idles: bool,
    /// How often it has asked for all that is pending once more.
    fetches: usize,
    /// How often the session was pushed each message.
    pushes: BTreeMap<(usize, usize, usize), usize>,
    /// What it has acknowledged without an answer yet, and what the server has counted.
    acknowledging: VecDeque<(usize, usize, usize)>,
    settled: BTreeSet<(usize, usize, usize)>,
}

impl Stage {
    /// A new connection, whose buffers hold `capacity` bytes each way; `None` once the server
    /// accepts no more.
    pub(super) fn connect(self: &Arc<Self>, user: usize, capacity: usize) -> Option<Client> {
        let end = self.accept(capacity)?;
        Some(Client::new(Arc::clone(self), user, end))
    }
}

impl Client {
    fn new(stage: Arc<Stage>, user: usize, end: ClientEnd) -> Self {
        Client {
            user,
            end,
            lines: Vec::new(),
            session: 0,
            bite: usize::MAX,
            idles: stage.asks_the_silent(),
            fetches: 0,
            pushes: BTreeMap::new(),
            acknowledging: VecDeque::new(),
            settled: BTreeSet::new(),
            stage,
        }
    }

    pub(super) fn request(&self, request: &Value) -> bool {
        self.end.write(format!("{request}\n").as_bytes())
    }

    /// The next line; `None` at the end.
    pub(super) fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                let Ok(line) = serde_json::from_slice::<Value>(&line) else {
                    // A guest whose place is needed, and of whom nothing was read yet.
                    assert!(line.starts_with(b"-ERR server_full"));
                    continue;
                };
                if line["event"] == "ping" {
                    assert!(
                        self.idles,
                        "{} waits for something that never comes",
                        NAMES[self.user]
                    );
                    self.request(&json!({"op": "ping"}));
                }
                if line["id"] == ACK {
                    let message = self.acknowledging.pop_front();
                    let counted = line["ok"]["acked"] == 1;
                    self.settled.extend(message.filter(|_| counted));
                }
                return Some(line);
            }
            let bytes = self.end.read(self.bite.min(64 * 1024));
            if bytes.is_empty() {
                return None;
            }
            self.lines.extend(bytes);
        }
    }

    /// Logs in, and takes the account's other session over. `false` at the end.
    pub(super) fn log_in(&mut self) -> bool {
        self.request(&json!({"id": 1, "op": "hello", "version": 1}));
        let Some(greeting) = self.answer(1) else {
            return false;
        };
        let nonce: ByteArray<32> = serde_json::from_value(greeting["ok"]["nonce"].clone()).unwrap();
        let context = ProofContext {
            name: NAMES[self.user],
            nonce: &nonce.0,
            certificate: &[],
        };
        let proof = ByteArray(LOGIN_KEY.prove(&Purpose::Login, &context));
        let login = json!({
            "id": 2, "op": "login", "name": NAMES[self.user], "proof": proof, "take_over": true,
        });
        self.request(&login);
        let welcomed = self
            .answer(2)
            .is_some_and(|welcome| welcome["ok"].is_object());
        if welcomed {
            self.session = self.stage.note(|seen| {
                seen.welcomes += 1;
                seen.welcomes
            });
        }
        welcomed
    }

    /// The answer to a request that must come next but for events.
    fn answer(&mut self, id: u64) -> Option<Value> {
        loop {
            let line = self.line()?;
            if line["id"] == id {
                return Some(line);
            }
            self.take(&line, false);
        }
    }

    /// Whether the session may act for the account; not if the connection has ended. It fails
    /// when the session acts again after another one of the account has acted: then both live.
    pub(super) fn acts(&mut self) -> bool {
        let made = self.stage.seen().granted.len();
        let request = json!({"id": 3, "op": "ack", "from": "alice", "ids": []});
        if !self.request(&request) || self.answer(3).is_none_or(|line| line["ok"].is_null()) {
            return false;
        }
        let (user, session) = (self.user, self.session);
        self.stage.note(|seen| {
            let granted = &mut seen.granted;
            let ended = granted.iter().take(made).any(|(who, other, since)| {
                let mut earlier = granted.iter().take(*since);
                *who == user && *other != session && earlier.any(|(_, s, _)| *s == session)
            });
            assert!(!ended, "two sessions of {} live", NAMES[user]);
            granted.push((user, session, made));
        });
        true
    }

    pub(super) fn send(&self, to: usize, sequence: usize, size: usize, again: bool) -> bool {
        let message = (self.user, to, sequence);
        self.stage
            .note(|seen| *seen.sent.entry(message).or_default() += 1);
        self.request(&self.sending(to, sequence, size, again))
    }

    fn sending(&self, to: usize, sequence: usize, size: usize, again: bool) -> Value {
        json!({
            "id": 100 + sequence, "op": "send", "to": NAMES[to], "mid": mid(self.user, sequence),
            "text": "x".repeat(size), "again": again,
        })
    }

    /// Takes a message that has come: stores it, shows it if it is new, acknowledges it.
    pub(super) fn take(&mut self, line: &Value, acknowledges: bool) {
        if line["event"] != "message" {
            return;
        }
        let from = NAMES.iter().position(|name| line["from"] == *name).unwrap();
        let id: MessageId = serde_json::from_value(line["mid"].clone()).unwrap();
        let message = (from, self.user, sequence(&id));
        let pushes = self.pushes.entry(message).or_default();
        *pushes += 1;
        let (pushes, settled) = (*pushes, self.settled.contains(&message));
        self.stage.note(|seen| {
            // One that was sent again after all was done may come again: the vault knows it.
            let sent = seen.sent.get(&message).copied().unwrap_or(1);
            assert!(
                pushes <= sent + self.fetches && !(settled && sent == 1),
                "{message:?} was pushed again"
            );
            if seen.vault.insert(message) {
                seen.shown.push(message);
            }
        });
        if acknowledges {
            self.acknowledging.push_back(message);
            let ack = json!({"id": ACK, "op": "ack", "from": NAMES[from], "ids": [id]});
            self.request(&ack);
        }
    }

    /// Asks for all that is pending once more.
    pub(super) fn fetch(&mut self) {
        self.fetches += 1;
        self.request(&json!({"op": "fetch"}));
    }

    /// Hides the user's presence, or shows it. `false` at the end.
    pub(super) fn set_presence(&mut self, shown: bool) -> bool {
        self.request(&json!({"id": 5, "op": "settings", "presence": shown}));
        self.answer(5).is_some()
    }

    /// Sends without waiting for an answer, in one piece.
    pub(super) fn send_all(&self, to: usize, sequences: RangeInclusive<usize>) -> bool {
        let lines: Vec<String> = sequences
            .map(|sequence| format!("{}\n", self.sending(to, sequence, 3, false)))
            .collect();
        self.end.write(lines.concat().as_bytes())
    }

    /// Goes without a word.
    pub(super) fn reset(&self) {
        self.end.reset();
    }

    /// Says that it sends no more.
    pub(super) fn close_writing(&self) {
        self.end.close_writing();
    }
}
