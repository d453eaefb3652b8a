//! A server as it runs, on a disk and on sockets in memory, and clients that talk to it: the
//! stage on which scenarios play.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::Disk;
use crate::clock;
use crate::crypto::account::password::{Argon2Params, LoginKey, derive};
use crate::protocol::ids::MessageId;
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
use crate::server::run;
use crate::server::shared::Shared;
use crate::store::lease::Lease;
use crate::store::{Message, Store, UserId};
use crate::sync;
use crate::sync::{Receiver, Signal};
use crate::transport::socket::memory::{ClientEnd, connect};

/// Everybody's login key.
pub(super) static LOGIN_KEY: LazyLock<LoginKey> = LazyLock::new(|| {
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

impl Running {
    /// Nobody hears it from here on.
    fn cut_off(&self) {
        for client in lock(&self.clients).drain(..) {
            client.reset();
        }
    }
}

/// The server with its disk, and the record of what clients have seen.
pub(super) struct Stage {
    pub disk: Arc<Disk>,
    config: Config,
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
    /// How often each was sent, but for those that went out in one piece.
    pub sent: BTreeMap<(usize, usize, usize), usize>,
    /// In the order shown, after the vault has dropped what it knew.
    pub shown: Vec<(usize, usize, usize)>,
    pub vault: BTreeSet<(usize, usize, usize)>,
    /// Requests that only a live session may make and that were granted: the account, the
    /// session, and how many had been granted when the request was made.
    pub granted: Vec<(usize, u64, usize)>,
    /// How many sessions were welcomed.
    pub welcomes: u64,
    /// Nothing more will be sent.
    pub closing: bool,
}

fn config() -> Config {
    Config {
        store: None,
        peer_listen: None,
        alone: true,
        standbys: 0,
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
        keep_last_seen: None,
        keep_mail: None,
        unencrypted: true,
        registration: Registration::Closed,
        member_invitations: 0,
        plaintext: true,
        console_from: Vec::new(),
        proxy_from: Vec::new(),
        log: log::Settings::default(),
        metrics: None,
        journal: None,
        certificate: None,
    }
}

impl Stage {
    pub(super) fn new() -> Arc<Self> {
        Stage::with(|_| ())
    }

    /// One whose server has other settings.
    pub(super) fn with(set: impl FnOnce(&mut Config)) -> Arc<Self> {
        let mut config = config();
        set(&mut config);
        let disk = Arc::new(Disk::default());
        for name in NAMES {
            disk.add_account(name, LOGIN_KEY.public());
        }
        let stage = Arc::new(Stage {
            disk,
            config,
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
        let shared = Arc::new(Shared::new(self.config.clone(), Arc::clone(&store), None));
        let ended = shared.writer.start(store, Arc::clone(&shared.stats));
        let running = Running {
            shared,
            connections: Arc::default(),
            ended: ended.unwrap(),
            clients: Mutex::default(),
        };
        *lock(&self.running) = Some(Arc::new(running));
    }

    /// Whether the server asks silent clients for a sign of life in a time that may pass.
    pub(super) fn asks_the_silent(&self) -> bool {
        self.config.ping_after < FOREVER
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(lock(&self.running).as_ref().unwrap())
    }

    /// What the connections of the server share.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.running().shared)
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
        // From here on the old one can't write to the disk.
        self.start();
        old.cut_off();
        drop(door);
        old.connections.shut_down(Duration::from_secs(3));
        old.shared.writer.stop();
    }

    /// The end as `run::serve` brings it about. The process ends in any case, so what goes on
    /// then can neither write to the disk nor be heard.
    /// Returns whether all was recorded.
    fn shut_down(&self) -> bool {
        let door = self.door.lock();
        self.note(|seen| seen.closing = true);
        drop(door);
        let running = self.running();
        let ended = run::shut_down(&running.shared, &running.connections, None, &running.ended);
        assert!(
            !matches!(ended, Err(RecvTimeoutError::Disconnected)),
            "the writer says how it has ended"
        );
        self.disk.restart();
        running.cut_off();
        ended.is_ok_and(|ended| ended.unrecorded == 0)
    }

    /// The client's end of a new connection, whose buffers hold `capacity` bytes each way; `None`
    /// once the server accepts no more.
    pub(super) fn accept(&self, capacity: usize) -> Option<ClientEnd> {
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
        let send_queue = Arc::new(SendQueue::new(
            socket,
            Arc::clone(&running.shared.stats),
            Lease::for_ever(),
        ));
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let connections = &running.connections;
        let registered = connections.register(id, &send_queue, peer, None, 0);
        let registration = registered.ok().unwrap();
        let shared = Arc::clone(&running.shared);
        let config = shared.config();
        let connection = Connection::new(shared, config, &registration, peer, send_queue);
        // Without a thread the connection ends, as in the accept loop.
        drop(Worker::new(connection, registration).start());
        Some(end)
    }

    /// What must hold of each schedule once nothing more happens.
    fn judge(&self) {
        let seen = self.seen();
        let mut pending = BTreeSet::new();
        for (recipient, message) in self.disk.mail() {
            pending.insert(key(recipient, &message));
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

    /// Nobody is logged in and no session is attached once all connections have ended. If all was
    /// `recorded`, each mailbox counts what it has.
    fn judge_sessions(&self, recorded: bool) {
        let shared = self.shared();
        for name in NAMES {
            let name = name.parse().unwrap();
            assert!(shared.sessions.find(&name).is_none(), "a session is left");
            let mailbox = shared.delivery.mailbox(&name).unwrap();
            let state = mailbox.lock();
            assert!(
                state.send_queue.is_none(),
                "{name}'s mailbox keeps the send queue of a session that has ended"
            );
            let stored = self.disk.mail();
            let of_this = stored.iter().filter(|(user, _)| *user == mailbox.user);
            assert!(
                !recorded
                    || !state.machine.is_idle(clock::now())
                    || state.machine.pending().messages() == of_this.count() as u64,
                "{name}'s mailbox counts other messages than it has"
            );
        }
    }

    /// Ends the server, and lets every thread end.
    pub(super) fn end(&self) {
        let recorded = self.shut_down();
        sync::await_threads();
        self.judge_sessions(recorded);
    }

    /// The same, and judges.
    pub(super) fn conclude(&self) {
        self.end();
        self.judge();
    }
}

/// The sender, the recipient and the sequence of a message on the disk.
pub(super) fn key(recipient: UserId, message: &Message) -> (usize, usize, usize) {
    let from = NAMES.iter().position(|name| match &message.from {
        Sender::User(from) => from.as_str() == *name,
        _ => false,
    });
    let to = recipient.0 as usize - 1;
    (from.unwrap(), to, sequence(&message.mid))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The id of a sender's message.
pub(super) fn mid(from: usize, sequence: usize) -> MessageId {
    let mut bytes = [from as u8; 16];
    bytes[8..].copy_from_slice(&(sequence as u64).to_be_bytes());
    MessageId(bytes)
}

/// Which of its sender's messages has this id.
pub(super) fn sequence(mid: &MessageId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&mid.0[8..]);
    u64::from_be_bytes(bytes) as usize
}
