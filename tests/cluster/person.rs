//! Somebody who uses the servers, as docs/PROTOCOL.md and docs/DELIVERY.md have a client do it: sends
//! numbered messages to random others, several in flight; sends what has no answer again, in order,
//! after the next login; notes each message in a vault, which here is a set in memory, before it
//! acknowledges it, and shows only what was new. A seed decides how impatient, slow and restless they are.
//!
//! A session that was left behind without an end is still listened to, and used, by a [`Ghost`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ghost::Ghost;
use super::harness::Dice;
use super::history::What;
use super::session::{Asked, Heard, Session};
use super::vault::{Unacked, Vault, acknowledge, record_answer, request_to_send};
use super::world::World;

/// The most unanswered messages.
const WINDOW: usize = 16;

/// A message that is not accepted yet.
struct Outgoing {
    to: usize,
    mid: u64,
    number: u64,
    /// The last handle for this recipient before it was sent first.
    after: Value,
    was_sent: bool,
    /// In which session it waits for an answer.
    in_flight: Option<u64>,
}

pub struct Person {
    world: Arc<World>,
    name: String,
    dice: Dice,
    /// In the order of sending.
    outbox: VecDeque<Outgoing>,
    next_number: Vec<u64>,
    handles: Vec<Value>,
    vault: Arc<Vault>,
    secret: Option<Value>,
    /// The session that was left without an end, and whether it has a successor.
    left: Vec<Arc<AtomicBool>>,
    /// They are away most of the time, so that mail waits for them.
    is_visitor: bool,
    /// When they write again.
    next_message: Instant,
    /// How long they wait for an answer.
    patience: Duration,
    /// How long they take to acknowledge, at most.
    slowness: Duration,
    has_finished: bool,
}

/// Why a stay in a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Closed,
    Replaced,
    /// Nothing was heard for too long.
    GivenUp,
    LoggedOut,
    /// Without a word.
    HungUp,
    /// They go on elsewhere, and this session is not told.
    Abandoned,
    Over,
}

impl Person {
    pub fn new(world: &Arc<World>, number: usize, seed: u64) -> Self {
        let mut dice = Dice::seeded(seed.wrapping_mul(1000).wrapping_add(number as u64));
        let people = world.names.len();
        // Most wait as long as a dead server's lease may last, some don't.
        let patience = [15_000, 12_000, 10_000, 3_000][dice.below(4) as usize];
        let slowness = [5, 20, 100, 1_000][dice.below(4) as usize];
        Person {
            world: Arc::clone(world),
            name: world.names[number].clone(),
            outbox: VecDeque::new(),
            next_number: vec![0; people],
            handles: vec![Value::Null; people],
            vault: Arc::default(),
            secret: None,
            left: Vec::new(),
            is_visitor: number % 4 == 3,
            next_message: Instant::now(),
            patience: Duration::from_millis(patience),
            slowness: Duration::from_millis(slowness),
            has_finished: false,
            dice,
        }
    }

    /// Uses the servers until the run closes and all own messages are accepted.
    pub fn live(&mut self) {
        while !self.has_finished && !self.world.has_failed() {
            let Some(session) = self.enter(false) else {
                self.pause(200);
                continue;
            };
            self.stay_and_leave(session, |person| person.has_finished);
        }
    }

    /// Goes on receiving until nobody sends any more.
    pub fn wait_for_the_others(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.world.all_are_finished() {
            assert!(
                Instant::now() < deadline,
                "the messages of some are not accepted"
            );
            if let Some(session) = self.enter(false) {
                self.stay_and_leave(session, |person| {
                    person.world.all_are_finished() || Instant::now() > deadline
                });
            } else {
                self.pause(200);
            }
        }
    }

    /// Fetches and acknowledges until nothing waits.
    pub fn fetch_the_rest(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.world.has_failed() {
            assert!(
                Instant::now() < deadline,
                "{} can't fetch the rest",
                self.name
            );
            let Some(mut session) = self.enter(true) else {
                self.pause(200);
                continue;
            };
            if self.fetch_all(&mut session) {
                self.leave(session, Leaving::HungUp);
                return;
            }
            self.leave(session, Leaving::Closed);
        }
    }

    fn fetch_all(&mut self, session: &mut Session) -> bool {
        loop {
            let request = session.next_request();
            let mut unacked = Unacked::default();
            let mut is_fetched = false;
            let mut waiting = true;
            if !session.ask(Asked::Other, json!({"op": "fetch"})) {
                return false;
            }
            // A fetch that filled the connection has more to come behind its answer.
            while !is_fetched || !session.asked.is_empty() {
                match session.listen() {
                    Heard::End => return false,
                    Heard::Nothing if session.is_silent_for(self.patience) => return false,
                    Heard::Nothing => {}
                    Heard::Line(line) if line["id"].as_u64() == Some(request) => {
                        session.asked.remove(&request);
                        if line["ok"].is_null() {
                            return false;
                        }
                        is_fetched = true;
                        waiting = line["ok"]["sent"] != 0 || line["ok"]["waiting"] != 0;
                        if !acknowledge(&self.world, session, &mut unacked) {
                            return false;
                        }
                    }
                    Heard::Line(line) => {
                        if !self.hear(session, &line, &mut unacked) {
                            return false;
                        }
                    }
                }
            }
            if !waiting && unacked.ids.is_empty() {
                return true;
            }
            if !acknowledge(&self.world, session, &mut unacked) {
                return false;
            }
        }
    }

    fn pause(&mut self, most_millis: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.below(most_millis)));
    }

    /// Logs in at some node.
    fn enter(&mut self, take_over: bool) -> Option<Session> {
        let node = self.dice.below(self.world.addresses.len() as u64) as usize;
        let mut session = Session::dial(&self.world, &self.name, node).ok()?;
        // Who goes on elsewhere says so at once, now and then, as a person on a second machine does.
        let take_over = take_over || (!self.left.is_empty() && self.dice.below(2) == 0);
        let secret = self.secret.clone();
        match session.log_in(&self.world, take_over, secret.as_ref(), self.patience) {
            Some(secret) => {
                self.secret = Some(secret);
                for left in self.left.drain(..) {
                    left.store(true, Ordering::Release);
                }
                Some(session)
            }
            None => {
                session.hang_up();
                None
            }
        }
    }

    fn stay_and_leave(&mut self, mut session: Session, is_over: impl Fn(&Person) -> bool) {
        let mut unacked = Unacked::default();
        let why = self.stay(&mut session, &mut unacked, is_over);
        self.leave(session, why);
    }

    fn leave(&mut self, session: Session, why: Leaving) {
        for outgoing in &mut self.outbox {
            outgoing.in_flight = None;
        }
        let how = format!("{why:?}");
        self.world
            .record(&self.name, session.number, What::Ended { how });
        match why {
            Leaving::Abandoned | Leaving::GivenUp => {
                let has_successor = Arc::new(AtomicBool::new(false));
                self.left.push(Arc::clone(&has_successor));
                let ghost = Ghost {
                    world: Arc::clone(&self.world),
                    vault: Arc::clone(&self.vault),
                    has_successor,
                    session,
                };
                std::thread::spawn(move || ghost.haunt());
            }
            _ => session.hang_up(),
        }
        if why == Leaving::LoggedOut {
            self.secret = None;
        }
        let is_away = self.is_visitor && !self.world.is_closing();
        self.pause(match why {
            Leaving::LoggedOut | Leaving::HungUp if is_away => 4_000,
            // They do not come back by themselves; here a person wants it, a moment later.
            Leaving::Replaced => 500,
            _ => 100,
        });
    }

    /// Sends, receives and acknowledges until something ends the session.
    fn stay(
        &mut self,
        session: &mut Session,
        unacked: &mut Unacked,
        is_over: impl Fn(&Person) -> bool,
    ) -> Leaving {
        loop {
            if self.world.is_closing() && self.outbox.is_empty() && !self.has_finished {
                self.has_finished = true;
                self.world.finish();
            }
            if is_over(self) || self.world.has_failed() {
                return Leaving::Over;
            }
            if let Some(why) = self.restlessness() {
                return match why {
                    Leaving::LoggedOut => self.log_out(session, unacked),
                    why => why,
                };
            }
            if !self.send(session) {
                return Leaving::Closed;
            }
            match session.listen() {
                Heard::End => return Leaving::Closed,
                Heard::Nothing if session.is_silent_for(self.patience) => return Leaving::GivenUp,
                Heard::Nothing => {}
                Heard::Line(line) if line["event"] == "replaced" => return Leaving::Replaced,
                Heard::Line(line) => {
                    if !self.hear(session, &line, unacked) {
                        return Leaving::Closed;
                    }
                }
            }
            let is_due = unacked.due.is_some_and(|due| Instant::now() >= due);
            if is_due && !acknowledge(&self.world, session, unacked) {
                return Leaving::Closed;
            }
        }
    }

    /// Whether they leave just now, while the run lasts, and how. Asked about a hundred times a second.
    fn restlessness(&mut self) -> Option<Leaving> {
        if self.world.is_closing() {
            return None;
        }
        match self.dice.below(if self.is_visitor { 150 } else { 1500 }) {
            0 => Some(Leaving::LoggedOut),
            1 => Some(Leaving::HungUp),
            2 => Some(Leaving::Abandoned),
            _ => None,
        }
    }

    fn log_out(&mut self, session: &mut Session, unacked: &mut Unacked) -> Leaving {
        let request = session.next_request();
        if !session.ask(Asked::Other, json!({"op": "logout"})) {
            return Leaving::Closed;
        }
        loop {
            match session.listen() {
                Heard::End => return Leaving::Closed,
                Heard::Nothing if session.is_silent_for(self.patience) => return Leaving::GivenUp,
                Heard::Nothing => {}
                Heard::Line(line) if line["event"] == "replaced" => return Leaving::Replaced,
                Heard::Line(line) if line["id"].as_u64() == Some(request) => {
                    return match line["ok"].is_null() {
                        true => Leaving::Closed,
                        false => Leaving::LoggedOut,
                    };
                }
                Heard::Line(line) => {
                    self.hear(session, &line, unacked);
                }
            }
        }
    }

    /// Sends what was refused or had no answer, and something new now and then; whether the connection
    /// took it. To a recipient nothing new goes out while something older waits to be sent again.
    fn send(&mut self, session: &mut Session) -> bool {
        let people = self.world.names.len();
        for to in 0..people {
            let is_refused =
                |outgoing: &Outgoing| outgoing.to == to && outgoing.in_flight.is_none();
            let is_in_flight =
                |outgoing: &Outgoing| outgoing.to == to && outgoing.in_flight.is_some();
            if !self.outbox.iter().any(is_refused) || self.outbox.iter().any(is_in_flight) {
                continue;
            }
            for outgoing in self.outbox.iter_mut().filter(|outgoing| outgoing.to == to) {
                if !outgoing.send(&self.world, session) {
                    return false;
                }
            }
        }
        let is_soon = Instant::now() < self.next_message;
        if self.world.is_closing() || self.outbox.len() >= WINDOW || is_soon {
            return true;
        }
        // Several at once now and then, and some milliseconds none.
        let pause = [0, 0, 5, 10, 20, 50][self.dice.below(6) as usize];
        self.next_message = Instant::now() + Duration::from_millis(pause);
        let to = self.dice.below(people as u64) as usize;
        if self
            .outbox
            .iter()
            .any(|outgoing| outgoing.to == to && outgoing.in_flight.is_none())
        {
            return true;
        }
        let mut outgoing = Outgoing {
            to,
            mid: self.vault.next_mid.fetch_add(1, Ordering::Relaxed),
            number: self.next_number[to],
            after: self.handles[to].clone(),
            was_sent: false,
            in_flight: None,
        };
        self.next_number[to] += 1;
        let taken = outgoing.send(&self.world, session);
        self.outbox.push_back(outgoing);
        taken
    }

    /// Takes a line; whether the connection took what it asks for.
    fn hear(&mut self, session: &mut Session, line: &Value, unacked: &mut Unacked) -> bool {
        let Some(id) = line["id"].as_u64() else {
            return self
                .vault
                .hear_event(&self.world, session, line, unacked, self.slowness);
        };
        let Some(asked) = session.asked.remove(&id) else {
            return true;
        };
        record_answer(&self.world, session, id, &asked, line);
        let Asked::Send { mid, .. } = asked else {
            return true;
        };
        let place = self.outbox.iter().position(|outgoing| outgoing.mid == mid);
        let Some(place) = place else { return true };
        if line["ok"].is_null() {
            self.outbox[place].in_flight = None;
            // Whatever refuses may need a moment.
            self.pause(20);
        } else {
            let outgoing = self.outbox.remove(place).unwrap();
            self.handles[outgoing.to] = line["ok"]["handle"].clone();
        }
        true
    }
}

impl Outgoing {
    fn send(&mut self, world: &World, session: &mut Session) -> bool {
        let to = world.names[self.to].clone();
        let again = std::mem::replace(&mut self.was_sent, true);
        let text = format!(
            "{} {}",
            self.number,
            "x".repeat((self.mid % 7 * 100) as usize)
        );
        let mut request = request_to_send(&to, self.mid, &text);
        if again {
            request["again"] = json!(true);
            request["after"] = self.after.clone();
        }
        self.in_flight = Some(session.number);
        let (number, mid) = (Some(self.number), self.mid);
        let sent = What::Sent {
            to: to.clone(),
            mid,
            number,
            again,
        };
        world.record(&session.who, session.number, sent);
        session.ask(Asked::Send { to, mid }, request)
    }
}
