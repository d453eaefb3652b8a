//! A server as it runs, on a disk and on sockets in memory, and clients that talk to it: the
//! stage on which scenarios play.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::disk::Disk;
use crate::crypto::account::login_proof::{ProofContext, Purpose};
use crate::crypto::account::password::{Argon2Params, LoginKey, derive};
use crate::protocol::ids::{ByteArray, MessageId};
use crate::protocol::request::{Body, Sender};
use crate::server::config::{Config, Registration};
use crate::server::delivery::mailbox::Quota;
use crate::server::delivery::writer::Ended;
use crate::server::limits::Settings;
use crate::server::log;
use crate::server::log::ConnectionId;
use crate::server::net::connection::Connection;
use crate::server::net::registry::Connections;
use crate::server::net::send_queue::SendQueue;
use crate::server::net::worker::Worker;
use crate::server::shared::Shared;
use crate::store::{Message, Store, UserId};
use crate::sync;
use crate::sync::{Receiver, Signal};
use crate::transport::socket::memory::{ClientEnd, connect};

/// Everybody's login key.
static LOGIN_KEY: LazyLock<LoginKey> = LazyLock::new(|| {
    let cost = Argon2Params {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    derive("password", &[1; 16], cost).unwrap().login_key
});

/// The accounts.
pub(super) const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// A silence that no honest wait lasts.
const FOREVER: Duration = Duration::from_secs(1_000_000);

/// One start of the server.
struct Running {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    ended: Receiver<Ended>,
    clients: Mutex<Vec<ClientEnd>>,
}

/// The server with its disk, and the record of what clients have seen.
pub(super) struct Stage {
    pub disk: Arc<Disk>,
    running: Mutex<Option<Arc<Running>>>,
    seen: Mutex<Seen>,
    changed: Signal,
    /// Held while somebody connects, and while the server goes: it accepts nobody then.
    door: sync::Mutex<()>,
}

/// What clients have seen: survives everything.
#[derive(Default)]
pub(super) struct Seen {
    /// Messages (sender, recipient, sequence) whose sender has its `ok`.
    pub accepted: BTreeSet<(usize, usize, usize)>,
    /// Those that were refused. They may have been shown all the same.
    pub refused: BTreeSet<(usize, usize, usize)>,
    /// In the order shown, after the vault has dropped what it knew.
    pub shown: Vec<(usize, usize, usize)>,
    vault: BTreeSet<(usize, usize, usize)>,
    /// Requests that only a live session may make and that were granted: the account, the
    /// session, and how many had been granted when the request was made.
    granted: Vec<(usize, u64, usize)>,
    /// How many sessions were welcomed.
    welcomes: u64,
    /// Nothing more will be sent.
    pub closing: bool,
}

fn config() -> Config {
    Config {
        listen: Vec::new(),
        data: "unused".into(),
        new: false,
        max_clients: 100,
        max_line: 64 * 1024,
        login_time: FOREVER,
        handshake_time: FOREVER,
        ping_after: FOREVER,
        idle_limit: 2 * FOREVER,
        quota: Quota {
            messages: 1000,
            bytes: 1 << 30,
            share: 100,
        },
        limits: Settings {
            clients_per_address: 0,
            messages_per_second: 0,
            searches_per_minute: 0,
            bundles_per_minute: 0,
            registrations_per_hour: 0,
            console_logins_per_minute: 0,
            loopback: false,
        },
        unencrypted: true,
        registration: Registration::Closed,
        plaintext: true,
        console_from: Vec::new(),
        log: log::Settings::default(),
        metrics: None,
        certificate: None,
    }
}

impl Stage {
    pub(super) fn new() -> Arc<Self> {
        let disk = Arc::new(Disk::default());
        for name in NAMES {
            disk.add_account(name, LOGIN_KEY.public());
        }
        let stage = Arc::new(Stage {
            disk,
            running: Mutex::new(None),
            seen: Mutex::default(),
            changed: Signal::default(),
            door: sync::Mutex::default(),
        });
        stage.start();
        stage
    }

    fn start(&self) {
        let store: Arc<dyn Store> = self.disk.restart();
        let shared = Arc::new(Shared::new(config(), Arc::clone(&store), None));
        let ended = shared.writer.start(store, Arc::clone(&shared.stats));
        let running = Running {
            shared,
            connections: Arc::default(),
            ended: ended.unwrap(),
            clients: Mutex::default(),
        };
        *lock(&self.running) = Some(Arc::new(running));
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(lock(&self.running).as_ref().unwrap())
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Changes the record, and wakes those who wait for it.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let value = change(&mut self.seen());
        self.changed.notify_all();
        value
    }

    /// Waits until the record is like this.
    pub(super) fn wait_until(&self, ready: impl Fn(&Seen) -> bool) {
        while !ready(&self.seen()) {
            self.changed.wait(None, (file!(), line!()));
        }
    }

    /// kill -9, and a new start.
    pub(super) fn crash(&self) {
        let door = self.door.lock();
        let old = self.running();
        // From here on the old one can neither write to the disk nor be heard.
        self.start();
        for client in lock(&old.clients).drain(..) {
            client.reset();
        }
        drop(door);
        old.connections.shut_down(Duration::from_secs(3));
        old.shared.writer.stop();
    }

    /// An orderly end, as `run::serve` does it, but that it waits for the writer however long a
    /// schedule makes that; every thread has to end.
    pub(super) fn shut_down(&self) -> Ended {
        let door = self.door.lock();
        self.note(|seen| seen.closing = true);
        drop(door);
        let running = self.running();
        running.connections.shut_down(Duration::from_secs(3));
        running.shared.writer.stop();
        running
            .ended
            .recv_timeout(FOREVER)
            .expect("the writer's thread ends")
    }

    /// A new connection, whose buffers hold `capacity` bytes each way; `None` once the server
    /// accepts no more.
    pub(super) fn connect(self: &Arc<Self>, user: usize, capacity: usize) -> Option<Client> {
        let _door = self.door.lock();
        if self.seen().closing {
            return None;
        }
        let running = self.running();
        let (socket, end) = connect(capacity);
        let id = {
            let mut clients = lock(&running.clients);
            clients.push(end.clone());
            ConnectionId(clients.len() as u64)
        };
        let send_queue = Arc::new(SendQueue::new(socket, Arc::clone(&running.shared.stats)));
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let connections = &running.connections;
        let registered = connections.register(id, &send_queue, peer.ip(), None, 0);
        let registration = registered.ok().unwrap();
        let shared = Arc::clone(&running.shared);
        let connection = Connection::new(shared, &registration, peer, send_queue);
        let started = Worker::new(connection, registration).start();
        assert!(started.is_ok(), "a thread for a connection");
        Some(Client {
            stage: Arc::clone(self),
            user,
            end,
            lines: Vec::new(),
            session: 0,
            bite: usize::MAX,
        })
    }

    /// What must hold of each schedule once nothing more happens.
    pub(super) fn judge(&self) {
        let seen = self.seen();
        let mut pending = BTreeSet::new();
        for (recipient, message) in self.disk.mail() {
            pending.insert((
                message.sender.0 as usize - 1,
                recipient.0 as usize - 1,
                sequence(&message.mid),
            ));
        }
        for message in &seen.accepted {
            assert!(
                seen.vault.contains(message) || pending.contains(message),
                "{message:?} was accepted, and is neither shown nor on the disk"
            );
        }
        let mut last: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for message in &seen.shown {
            assert!(twice.insert(*message), "{message:?} was shown twice");
            if seen.refused.contains(message) {
                continue;
            }
            let before = last.insert((message.0, message.1), message.2);
            assert!(
                before.is_none_or(|before| before < message.2),
                "{message:?} was shown after {before:?}"
            );
        }
    }

    /// Nobody is logged in and no session is attached once all connections have ended.
    pub(super) fn judge_sessions(&self) {
        let shared = Arc::clone(&self.running().shared);
        for name in NAMES {
            let name = name.parse().unwrap();
            assert!(shared.sessions.find(&name).is_none(), "a session is left");
            let mailbox = shared.delivery.mailbox(&name).unwrap();
            assert!(
                mailbox.lock().send_queue.is_none(),
                "{name}'s mailbox keeps the send queue of a session that has ended"
            );
        }
    }

    /// Ends the server, lets every thread end, and judges.
    pub(super) fn conclude(&self) {
        self.shut_down();
        sync::await_threads();
        self.judge_sessions();
        self.judge();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mid(from: usize, sequence: usize) -> MessageId {
    let mut bytes = [from as u8; 16];
    bytes[8..].copy_from_slice(&(sequence as u64).to_be_bytes());
    MessageId(bytes)
}

fn sequence(mid: &MessageId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&mid.0[8..]);
    u64::from_be_bytes(bytes) as usize
}

/// A message as the disk holds it.
pub(super) fn stored(from: usize, sequence: usize, size: usize) -> Message {
    Message {
        number: 0,
        sender: UserId(from as i64 + 1),
        from: Sender::User(NAMES[from].parse().unwrap()),
        mid: mid(from, sequence),
        at: 1,
        body: Body::Plain("x".repeat(size).into()),
    }
}

/// One client's connection.
pub(super) struct Client {
    stage: Arc<Stage>,
    user: usize,
    end: ClientEnd,
    lines: Vec<u8>,
    session: u64,
    /// How many bytes it reads at once.
    pub bite: usize,
}

impl Client {
    pub(super) fn request(&self, request: &Value) -> bool {
        self.end.write(format!("{request}\n").as_bytes())
    }

    /// The next line; `None` at the end.
    pub(super) fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line).unwrap();
                assert!(
                    line["event"] != "ping",
                    "{} waits for something that never comes",
                    NAMES[self.user]
                );
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
        let send = json!({
            "id": 100 + sequence, "op": "send", "to": NAMES[to], "mid": mid(self.user, sequence),
            "text": "x".repeat(size), "again": again,
        });
        self.request(&send)
    }

    /// Takes a message that has come: stores it, shows it if it is new, acknowledges it.
    pub(super) fn take(&self, line: &Value, acknowledges: bool) {
        if line["event"] != "message" {
            return;
        }
        let from = NAMES.iter().position(|name| line["from"] == *name).unwrap();
        let id: MessageId = serde_json::from_value(line["mid"].clone()).unwrap();
        let message = (from, self.user, sequence(&id));
        self.stage.note(|seen| {
            if seen.vault.insert(message) {
                seen.shown.push(message);
            }
        });
        if acknowledges {
            self.request(&json!({"op": "ack", "from": NAMES[from], "ids": [id]}));
        }
    }

    /// Asks for all that is pending once more.
    pub(super) fn fetch(&self) {
        self.request(&json!({"op": "fetch"}));
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
