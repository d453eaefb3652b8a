//! Traffic under which a server is killed, and the account of every message.
//!
//! Senders write to recipients as fast as the server accepts it, each message with its place in its
//! conversation. When the server dies, they connect again and resend what was not answered, in order
//! and with `again`. Recipients keep a vault, as a client does: they acknowledge a message that they
//! know and don't show it again. Some are online, one comes and goes, and some log in only at the
//! end. Some crash between accepting and acknowledging a message, and some are taken over while
//! their old connection lives.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Nonce, Server, Wire, credentials, eventually, plain};

const SENDERS: [&str; 4] = ["sender0", "sender1", "sender2", "sender3"];

/// The most unanswered messages of a sender.
const WINDOW: usize = 32;

/// Bytes of a long message.
const LONG: usize = 12_000;

/// The messages that must be accepted after a restart before the next kill may come.
const PROGRESS: u64 = 200;

/// How a recipient behaves while the server lives and dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Habit {
    /// Is online whenever the server is.
    Online,
    /// Logs in once in each of the server's lives, accepts some messages, and leaves.
    Visiting,
    /// Logs in at the end.
    Offline,
}

const RECIPIENTS: [(&str, Habit); 6] = [
    ("online0", Habit::Online),
    ("online1", Habit::Online),
    ("online2", Habit::Online),
    ("visitor", Habit::Visiting),
    ("offline0", Habit::Offline),
    ("offline1", Habit::Offline),
];

/// Makes the accounts that [`crash_under_load`] needs.
pub fn register_everybody(server: &Server) {
    for name in SENDERS.into_iter().chain(RECIPIENTS.map(|(name, _)| name)) {
        server.register(name);
    }
}

/// Has the server crash under load, `crashes` times and once at the end, each at
/// a random moment. `crash` ends it without warning and starts it again.
pub fn crash_under_load(
    server: &mut Server,
    crashes: u64,
    mut crash: impl FnMut(&mut Server),
) -> Report {
    let stage = Stage::new(server.address());
    let (accepted, vaults) = std::thread::scope(|scope| {
        let stage = &stage;
        let senders = SENDERS.map(|name| scope.spawn(move || send(stage, name)));
        let recipients =
            RECIPIENTS.map(|(name, habit)| scope.spawn(move || receive(stage, name, habit)));
        let mut dice = Dice::new();
        for number in 1..=crashes {
            stage.wait_for_progress();
            // Any moment will do: it need not be long enough for anything.
            std::thread::sleep(Duration::from_micros(dice.below(200_000)));
            crash(server);
            stage.announce(server.address());
            if number % 20 == 0 {
                let accepted = stage.accepted.load(Ordering::Relaxed);
                println!("{number} crashes, {accepted} messages accepted");
            }
        }
        stage.closing.store(true, Ordering::Release);
        let accepted = senders.map(|sender| sender.join().unwrap());
        // The last crash frees the recipients, who wait for mail that won't come.
        crash(server);
        stage.announce(server.address());
        let vaults = recipients.map(|recipient| recipient.join().unwrap());
        (accepted, vaults)
    });
    let mut report = Report {
        crashes: crashes + 1,
        resent: stage.resent.load(Ordering::Relaxed),
        ..Report::default()
    };
    for ((index, (name, _)), mut vault) in RECIPIENTS.into_iter().enumerate().zip(vaults) {
        vault.collect(&mut login(server.wire(), name, false).expect("the server lives"));
        for (sender, accepted) in SENDERS.into_iter().zip(&accepted) {
            let shown = vault.shown.get(sender).map_or(0, |shelf| shelf.count);
            report.accepted += accepted[index];
            report.lost += accepted[index].saturating_sub(shown);
            report.unexpected += shown.saturating_sub(accepted[index]);
        }
        report.repeated += vault.repeated;
        report.twice += vault.twice;
        report.disordered += vault.disordered;
    }
    report
}

/// What became of all messages.
#[derive(Debug, Default)]
pub struct Report {
    crashes: u64,
    /// Messages the senders were told are accepted.
    pub accepted: u64,
    /// Accepted and not delivered.
    pub lost: u64,
    unexpected: u64,
    repeated: u64,
    resent: u64,
    twice: u64,
    disordered: u64,
}

impl Report {
    /// How often the promise was broken. A loss may count twice: what follows it
    /// is out of order.
    pub fn faults(&self) -> u64 {
        self.lost + self.twice + self.disordered + self.unexpected
    }

    /// That each of the server's lives did something, and the promise was kept.
    pub fn assert_kept(&self) {
        assert!(self.accepted >= (self.crashes - 1) * PROGRESS, "{self}");
        assert_eq!(self.faults(), 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes, {} messages accepted, {} resent by senders: accepted and not delivered \
             {}, shown twice {}, out of order {}, never accepted {}; {} delivered again and known \
             to the vault",
            self.crashes,
            self.accepted,
            self.resent,
            self.lost,
            self.twice,
            self.disordered,
            self.unexpected,
            self.repeated,
        )
    }
}

/// What all threads of the play share.
struct Stage {
    /// The server's present life, and where it listens in it.
    server: Mutex<(u64, SocketAddr)>,
    /// No new messages: finish.
    closing: AtomicBool,
    accepted: AtomicU64,
    resent: AtomicU64,
}

impl Stage {
    fn new(address: SocketAddr) -> Self {
        Stage {
            server: Mutex::new((0, address)),
            closing: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            resent: AtomicU64::new(0),
        }
    }

    fn announce(&self, address: SocketAddr) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = (server.0 + 1, address);
    }

    fn server(&self) -> (u64, SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_progress(&self) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("messages are accepted", || {
            self.accepted.load(Ordering::Relaxed) >= before + PROGRESS
        });
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Connects and logs in, however many lives that takes.
    fn enter(&self, name: &str) -> (u64, Wire) {
        let mut entered = None;
        eventually("the server is back", || {
            let (life, address) = self.server();
            entered = Wire::try_connect(address)
                .ok()
                .and_then(|wire| login(wire, name, true))
                .map(|wire| (life, wire));
            entered.is_some()
        });
        entered.unwrap()
    }
}

/// Logs in, taking over what an older connection left; `None` if the server died.
fn login(mut wire: Wire, name: &str, receive: bool) -> Option<Wire> {
    let greeting = ask(&mut wire, &json!({"id": 0, "op": "hello", "version": 1}))?;
    let nonce = greeting["ok"]["nonce"].as_str().unwrap();
    let nonce = data_encoding::BASE64.decode(nonce.as_bytes()).unwrap();
    let proof = credentials()[0].prove_login(name, &Nonce(nonce.try_into().unwrap(), Vec::new()));
    let request = json!({"id": 0, "op": "login", "name": name, "proof": proof,
                         "take_over": true, "receive": receive});
    let welcome = ask(&mut wire, &request)?;
    assert_eq!(welcome["ok"]["name"], name, "{welcome}");
    Some(wire)
}

/// Sends a request and reads its answer. Receipts may come ahead of it, even
/// of a login's: the session is there before its welcome is written.
fn ask(wire: &mut Wire, request: &Value) -> Option<Value> {
    wire.try_write(format!("{request}\n").as_bytes()).ok()?;
    loop {
        let line = next(wire)?;
        if line["event"] != "delivered" {
            return Some(line);
        }
    }
}

fn next(wire: &mut Wire) -> Option<Value> {
    wire.line().map(|line| serde_json::from_str(&line).unwrap())
}

/// A message without an answer.
struct Outgoing {
    request: u64,
    /// Which of the recipients gets it.
    to: usize,
    fields: Value,
}

/// Sends until the play ends. Returns how many were accepted, by recipient.
fn send(stage: &Stage, name: &str) -> [u64; RECIPIENTS.len()] {
    let mut dice = Dice::new();
    let mut places = [0; RECIPIENTS.len()];
    let mut outbox: VecDeque<Outgoing> = VecDeque::new();
    // The last handle in each mailbox: without it, every resend would have the server search the
    // whole of a mailbox that nobody empties, until it asks the sender to slow down.
    let mut handles = RECIPIENTS.map(|_| Value::Null);
    let mut request = 0;
    loop {
        let (_, mut wire) = stage.enter(name);
        let mut lines = Vec::new();
        for outgoing in &mut outbox {
            outgoing.fields["again"] = json!(true);
            outgoing.fields["after"] = handles[outgoing.to].clone();
            lines.extend_from_slice(&outgoing.line());
        }
        stage
            .resent
            .fetch_add(outbox.len() as u64, Ordering::Relaxed);
        let mut alive = wire.try_write(&lines).is_ok();
        while alive {
            while outbox.len() < WINDOW && !stage.is_closing() {
                request += 1;
                let to = dice.below(RECIPIENTS.len() as u64) as usize;
                let number = (to as u64) << 32 | places[to];
                let (recipient, habit) = RECIPIENTS[to];
                // Long ones make the server fold its log into the database, too; not
                // to those who let mail pile up.
                let long = habit == Habit::Online && dice.below(4) == 0;
                let padding = "x".repeat(if long { LONG } else { 0 });
                let fields = plain(recipient, number, &format!("{} {padding}", places[to]));
                places[to] += 1;
                let outgoing = Outgoing {
                    request,
                    to,
                    fields,
                };
                alive &= wire.try_write(&outgoing.line()).is_ok();
                outbox.push_back(outgoing);
            }
            if outbox.is_empty() {
                return places;
            }
            // Now and then it is the sender's connection that dies.
            alive &= dice.below(3000) != 0 && answered(stage, &mut wire, &mut outbox, &mut handles);
        }
    }
}

impl Outgoing {
    fn line(&self) -> Vec<u8> {
        let mut line = json!({"id": self.request, "op": "send"});
        let fields = self.fields.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(fields);
        format!("{line}\n").into_bytes()
    }
}

/// Reads a line, removes the message that it answers from the outbox, and keeps its handle. Returns
/// `false` when the server died.
fn answered(
    stage: &Stage,
    wire: &mut Wire,
    outbox: &mut VecDeque<Outgoing>,
    handles: &mut [Value],
) -> bool {
    let Some(line) = next(wire) else {
        return false;
    };
    if let Some(id) = line["id"].as_u64() {
        assert!(line["error"].is_null(), "a kill is no error: {line}");
        let place = outbox.iter().position(|outgoing| outgoing.request == id);
        let outgoing = outbox.remove(place.expect("one answer each")).unwrap();
        handles[outgoing.to] = line["ok"]["handle"].clone();
        stage.accepted.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Receives as this recipient's habit is, until the play ends.
fn receive(stage: &Stage, name: &str, habit: Habit) -> Vault {
    let mut vault = Vault::default();
    let mut dice = Dice::new();
    let mut last_visit = None;
    // A connection that is open and that nobody reads any more. The next login takes its session
    // over.
    let mut left_open: Option<Wire> = None;
    if habit == Habit::Offline {
        return vault;
    }
    loop {
        if habit == Habit::Visiting && last_visit == Some(stage.server().0) {
            if stage.is_closing() {
                return vault;
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let (life, mut wire) = stage.enter(name);
        // The last crash may be over by this time, and only another one would end a wait for
        // mail that no sender sends any more.
        if stage.is_closing() {
            return vault;
        }
        last_visit = Some(life);
        drop(left_open.take());
        let mut taken = 0;
        let mut unacked: HashMap<String, Vec<String>> = HashMap::new();
        while let Some(event) = next(&mut wire) {
            if event["event"] == "message" {
                let (from, mid) = vault.take(&event);
                unacked.entry(from).or_default().push(mid);
                taken += 1;
            }
            // What is at hand is acked together, and sometimes late. Now and
            // then the recipient dies with messages taken and not acked.
            let enough = unacked.values().map(Vec::len).sum::<usize>() >= 100;
            if dice.below(2000) == 0 {
                left_open = (dice.below(2) == 0).then_some(wire);
                break;
            }
            if enough || (!wire.has_line() && dice.below(8) != 0) {
                for (from, ids) in unacked.drain() {
                    let ack = json!({"op": "ack", "from": from, "ids": ids});
                    // A dead server is noticed by the read that follows.
                    let _ = wire.try_write(format!("{ack}\n").as_bytes());
                }
                if habit == Habit::Visiting && taken > 300 {
                    break;
                }
            }
        }
        // What is left is collected when all is over.
        if stage.is_closing() {
            return vault;
        }
    }
}

/// What one recipient has taken, and found wrong with it.
#[derive(Default)]
struct Vault {
    known: HashSet<(String, String)>,
    shown: HashMap<String, Shelf>,
    /// Delivered again, known, and therefore not shown.
    repeated: u64,
    twice: u64,
    disordered: u64,
}

/// What was shown of one sender.
#[derive(Default)]
struct Shelf {
    count: u64,
    places: HashSet<u64>,
}

impl Vault {
    /// Takes a message, shows it if it is new, and says what to acknowledge.
    fn take(&mut self, event: &Value) -> (String, String) {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        let (from, mid) = (text("from"), text("mid"));
        if !self.known.insert((from.clone(), mid.clone())) {
            self.repeated += 1;
            return (from, mid);
        }
        let text = text("text");
        let place: u64 = text.split(' ').next().unwrap().parse().unwrap();
        let shelf = self.shown.entry(from.clone()).or_default();
        if !shelf.places.insert(place) {
            self.twice += 1;
        } else {
            // Every message is sent until it is accepted, so none may be skipped.
            self.disordered += u64::from(place != shelf.count);
            shelf.count += 1;
        }
        (from, mid)
    }

    /// Fetches and acknowledges until nothing waits.
    fn collect(&mut self, wire: &mut Wire) {
        loop {
            wire.write(b"{\"id\":1,\"op\":\"fetch\"}\n");
            let mut unacked: HashMap<String, Vec<String>> = HashMap::new();
            let fetched = loop {
                let line = next(wire).expect("the server lives");
                if line["event"] == "message" {
                    let (from, mid) = self.take(&line);
                    unacked.entry(from).or_default().push(mid);
                } else if line["id"] == 1 {
                    break line["ok"].clone();
                }
            };
            if fetched["sent"] == 0 {
                assert_eq!(fetched["waiting"], 0);
                return;
            }
            for (from, ids) in unacked {
                let count = ids.len();
                let ack = json!({"id": 2, "op": "ack", "from": from, "ids": ids});
                wire.write(format!("{ack}\n").as_bytes());
                // Where a fetch filled the connection, the rest of it may come behind its answer.
                // It stays pending, and the next fetch brings it again.
                let answer = loop {
                    let line = next(wire).expect("the server lives");
                    if line["id"] == 2 {
                        break line;
                    }
                };
                assert_eq!(answer["ok"]["acked"], count, "{answer}");
            }
        }
    }
}

/// Chance that costs nothing (xorshift64, Marsaglia 2003).
pub struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Dice(random() | 1)
    }

    /// Chance that a seed decides.
    pub fn seeded(seed: u64) -> Self {
        // Small seeds lie close together, and so would their first numbers.
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            dice.below(1);
        }
        dice
    }

    /// A number from 0 up to the bound, without it.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Another number each time.
pub fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0)
}
