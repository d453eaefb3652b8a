//! Links over real sockets: what arrives, in which order, and who may connect.

mod faults;
mod strangers;
mod wire;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::handshake::Us;
use super::host::Host;
use super::message::{Call, Called, Forward, Forwarded, OnForwarded, Told, Unreachable};
use super::reply::PeerReply;
use super::*;
use crate::protocol::ids::{Blob, ByteArray, MessageId};
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Accepted, Event, MessageState, Reply};
use crate::protocol::request::{Body, Send};
use crate::server::delivery::resend::Resends;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::homes::Node;
use crate::store::lease::Lease;
use crate::store::{StoreError, UserId};

const PATIENCE: Duration = Duration::from_secs(20);

const SECRET: [u8; 32] = [9; 32];

/// What all servers of a store know of each other.
type Directory = Arc<Mutex<Vec<Node>>>;

/// The store, as one server sees it.
struct View {
    run: RunId,
    directory: Directory,
}

impl Homes for View {
    fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let nodes = self.directory.lock().unwrap();
        let others = nodes.iter().filter(|node| node.run != self.run);
        Ok(others.cloned().collect())
    }

    fn announce_address(&self, at: SocketAddr) -> Result<(), StoreError> {
        self.directory.lock().unwrap().push(Node {
            run: self.run,
            name: format!("node-{}", self.run.0),
            address: Some(at),
        });
        Ok(())
    }
}

type OnMessage = Box<dyn Fn(Forward, PeerReply) + std::marker::Send + Sync>;
type OnCall = Box<dyn Fn(Call) -> Called + std::marker::Send + Sync>;

/// Does what a test says.
struct TestHost {
    on_message: OnMessage,
    on_call: OnCall,
    events: Mutex<Sender<(UserName, Event)>>,
}

impl Host for TestHost {
    fn forwarded(
        &self,
        forward: Forward,
        _again: &mut Resends,
        reply: PeerReply,
        _to_flush: &mut FlushSet,
    ) {
        (self.on_message)(forward, reply);
    }

    fn called(&self, call: Call) -> Called {
        (self.on_call)(call)
    }

    fn event(&self, name: UserName, event: Event, _to_flush: &mut FlushSet) {
        self.events.lock().unwrap().send((name, event)).unwrap();
    }
}

/// One of the servers of a test.
struct Server {
    run: RunId,
    peers: Arc<Peers>,
    stats: Arc<Stats>,
    /// Until when it has its lease.
    lease: Arc<AtomicU64>,
    events: Mutex<Receiver<(UserName, Event)>>,
}

impl Server {
    /// Passes a message on. If that fails, `done` comes back.
    fn forward(&self, to: RunId, message: &Forward, done: OnForwarded) -> Result<(), OnForwarded> {
        match self.peers.links().get(to) {
            Ok(link) => link.forward(message, done),
            Err(Unreachable) => Err(done),
        }
    }

    fn call(&self, to: RunId, call: &Call, patience: Duration) -> Result<Called, Unreachable> {
        self.peers.links().call(to, call, patience)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.peers.stop(Duration::ZERO);
    }
}

/// How a test's servers are.
#[derive(Default)]
struct Scene {
    directory: Directory,
    runs: AtomicUsize,
}

impl Scene {
    fn us(&self, tls: Option<Arc<Acceptor>>) -> (Us, Arc<AtomicU64>) {
        let lease = Arc::new(AtomicU64::new(u64::MAX));
        let us = Us {
            run: RunId(1 + self.runs.fetch_add(1, Ordering::Relaxed) as i64),
            secret: SECRET,
            lease: Lease::until(&lease),
            tls,
            may_show: Box::new(|shown, ours| shown == ours),
        };
        (us, lease)
    }

    fn start(&self, us: (Us, Arc<AtomicU64>), on_message: OnMessage, on_call: OnCall) -> Server {
        let (us, lease) = us;
        let run = us.run;
        let stats = Arc::new(Stats::default());
        let view = View {
            run,
            directory: Arc::clone(&self.directory),
        };
        let peers = Peers::over(us, Arc::new(view), Arc::clone(&stats));
        let (events, received) = mpsc::channel();
        let host = TestHost {
            on_message,
            on_call,
            events: Mutex::new(events),
        };
        let listener = peers.listen(None).unwrap();
        peers.start(listener, Arc::new(host)).unwrap();
        Server {
            run,
            peers,
            stats,
            lease,
            events: Mutex::new(received),
        }
    }

    fn server(&self, on_message: OnMessage) -> Server {
        self.start(self.us(None), on_message, Box::new(|_| Called::Done))
    }

    /// One that nobody asks anything.
    fn asking(&self) -> Server {
        self.server(Box::new(|_, _| panic!("nobody asks it")))
    }
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn message(from: &str, at: u64) -> Forward {
    Forward {
        sender: UserId(7),
        from: name(from),
        send: Send {
            to: name("bob"),
            mid: MessageId([at as u8; 16]),
            body: Body::Envelope(Blob(Box::new([1; 100]))),
            identity: Some(ByteArray([2; 32])),
            again: at.is_multiple_of(5),
            after: None,
        },
        at,
        first: at.is_multiple_of(2),
    }
}

/// The answer that says when the message came.
fn accepted(at: u64) -> Forwarded {
    Forwarded::Answer(Ok(Reply::Accepted(Accepted {
        state: MessageState::Stored,
        at,
        handle: Some(ByteArray([3; 16])),
    })))
}

/// What became of messages, by number.
#[derive(Default)]
struct Results {
    known: Mutex<HashMap<u64, Vec<Forwarded>>>,
    changed: Condvar,
}

impl Results {
    fn hook(self: &Arc<Self>, at: u64) -> OnForwarded {
        let results = Arc::clone(self);
        Box::new(move |forwarded, _: &mut FlushSet| {
            results
                .known
                .lock()
                .unwrap()
                .entry(at)
                .or_default()
                .push(forwarded);
            results.changed.notify_all();
        })
    }

    /// Waits for the results of this many messages, and returns them. None has two.
    fn wait(&self, count: usize) -> HashMap<u64, Forwarded> {
        let known = self.known.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(known, PATIENCE, |known| known.len() < count);
        let (known, _) = waited.unwrap();
        assert_eq!(known.len(), count, "not all have come");
        let one = |(at, all): (&u64, &Vec<Forwarded>)| {
            assert_eq!(all.len(), 1, "message {at}");
            (*at, all[0].clone())
        };
        known.iter().map(one).collect()
    }
}

fn forward(from: &Server, to: &Server, forward: &Forward, done: OnForwarded) {
    let sent = from.forward(to.run, forward, done);
    assert!(sent.is_ok(), "message {}", forward.at);
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn acceptor(folder: &Path) -> Arc<Acceptor> {
    Arc::new(Acceptor::open(folder, None).unwrap().unwrap())
}

/// Many threads pass messages on at once, which are answered late and from other threads.
fn exchange(from: &Server, to: &Server, seen: &Mutex<Vec<(UserName, u64)>>) {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let results = Arc::new(Results::default());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let results = &results;
            scope.spawn(move || {
                for count in 0..EACH {
                    let at = thread * EACH + count;
                    let user = format!("user-{thread}");
                    forward(from, to, &message(&user, at), results.hook(at));
                }
            });
        }
    });
    let all = results.wait((THREADS * EACH) as usize);
    assert!(all.iter().all(|(at, result)| *result == accepted(*at)));
    let seen = seen.lock().unwrap();
    for thread in 0..THREADS {
        let user = name(&format!("user-{thread}"));
        let of_user = seen.iter().filter(|(from, _)| *from == user);
        let order: Vec<u64> = of_user.map(|(_, at)| *at).collect();
        let sent: Vec<u64> = (thread * EACH..(thread + 1) * EACH).collect();
        assert_eq!(order, sent, "{user}");
    }
    assert_eq!(from.stats.peers.forwarded.get(), THREADS * EACH);
    assert_eq!(from.stats.peers.answered.get(), THREADS * EACH);
    assert_eq!(to.stats.peers.received.get(), THREADS * EACH);
    assert_eq!(from.stats.peers.links.get(), 1);
}

/// Answers on a thread of its own, in the order of the messages.
fn answering_late(seen: &Arc<Mutex<Vec<(UserName, u64)>>>) -> OnMessage {
    let (sender, receiver) = mpsc::channel::<(u64, PeerReply)>();
    thread::spawn(move || {
        for (at, reply) in receiver {
            reply.answer(accepted(at));
        }
    });
    let (sender, seen) = (Mutex::new(sender), Arc::clone(seen));
    Box::new(move |forward, reply| {
        seen.lock().unwrap().push((forward.from, forward.at));
        sender.lock().unwrap().send((forward.at, reply)).unwrap();
    })
}

#[test]
fn messages_arrive_in_order_and_each_is_answered_once() {
    let (scene, seen) = (Scene::default(), Arc::default());
    let (from, to) = (scene.asking(), scene.server(answering_late(&seen)));
    exchange(&from, &to, &seen);
}

#[test]
fn under_tls_it_is_the_same() {
    let home = tempfile::tempdir().unwrap();
    let tls = acceptor(home.path());
    let (scene, seen) = (Scene::default(), Arc::default());
    let nothing = || -> OnCall { Box::new(|_| Called::Done) };
    let nobody = Box::new(|_, _| panic!("nobody asks it"));
    let from = scene.start(scene.us(Some(Arc::clone(&tls))), nobody, nothing());
    let to = scene.start(scene.us(Some(tls)), answering_late(&seen), nothing());
    exchange(&from, &to, &seen);
}

#[test]
fn a_message_arrives_as_it_was_and_so_does_each_answer() {
    let scene = Scene::default();
    let from = scene.asking();
    let (sender, arrived) = mpsc::channel();
    let (sender, answers) = (Mutex::new(sender), Mutex::new(Vec::new()));
    let refusal = Refusal::new(Code::MailboxFull, "the mailbox is full; wait");
    let delivered = Accepted {
        state: MessageState::Delivered,
        at: 5,
        handle: None,
    };
    answers.lock().unwrap().extend([
        Forwarded::NotHere,
        Forwarded::Answer(Err(refusal)),
        Forwarded::Answer(Ok(Reply::Accepted(delivered))),
    ]);
    let expected = answers.lock().unwrap().clone();
    let to = scene.server(Box::new(move |forward, reply| {
        sender.lock().unwrap().send(forward).unwrap();
        reply.answer(answers.lock().unwrap().pop().unwrap());
    }));
    let results = Arc::new(Results::default());
    let mut sent = [
        message("alice", 1),
        message("alice", 2),
        message("alice", 3),
    ];
    sent[0].send.body = Body::Plain("hello, wörld".into());
    sent[1].send.identity = None;
    sent[1].send.again = true;
    sent[1].send.after = Some(ByteArray([4; 16]));
    for (at, one) in (0..).zip(&sent) {
        forward(&from, &to, one, results.hook(at));
        let came = arrived.recv_timeout(PATIENCE).unwrap();
        assert_eq!(format!("{came:?}"), format!("{one:?}"));
        assert_eq!(came.send.body, one.send.body);
    }
    let results = results.wait(3);
    for (at, answer) in (0..).zip(expected.iter().rev()) {
        assert_eq!(results[&at], *answer);
    }
}

#[test]
fn calls_run_beside_messages_and_are_bounded() {
    let scene = Scene::default();
    let from = scene.asking();
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    let inside = Arc::clone(&gate);
    let on_call: OnCall = Box::new(move |call| match call {
        Call::Ping => Called::Done,
        Call::BansChanged => {
            let (count, changed) = &*inside;
            *count.lock().unwrap() += 1;
            changed.notify_all();
            let waits = |count: &mut i32| *count < 100;
            drop(changed.wait_while(count.lock().unwrap(), waits).unwrap());
            Called::NotHere
        }
        _ => panic!("nobody asks that"),
    });
    let to = scene.start(
        scene.us(None),
        Box::new(|forward, reply| reply.answer(accepted(forward.at))),
        on_call,
    );
    let call = |call: &Call| from.call(to.run, call, PATIENCE);
    thread::scope(|scope| {
        let slow: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| call(&Call::BansChanged)))
            .collect();
        let (count, changed) = &*gate;
        let begun = changed.wait_while(count.lock().unwrap(), |count| *count < 4);
        drop(begun.unwrap());
        assert_eq!(call(&Call::Ping), Ok(Called::Busy), "all places are taken");
        let results = Arc::new(Results::default());
        forward(&from, &to, &message("alice", 3), results.hook(3));
        assert_eq!(results.wait(1)[&3], accepted(3));
        *count.lock().unwrap() = 100;
        changed.notify_all();
        for slow in slow {
            assert_eq!(slow.join().unwrap(), Ok(Called::NotHere));
        }
    });
    wait_until("the places are free again", || {
        call(&Call::Ping) == Ok(Called::Done)
    });
}

#[test]
fn who_asks_loses_patience_and_the_link_goes_on() {
    let scene = Scene::default();
    let from = scene.asking();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = Arc::clone(&gate);
    let on_call: OnCall = Box::new(move |call| {
        if matches!(call, Call::BansChanged) {
            let (open, changed) = &*inside;
            drop(
                changed
                    .wait_while(open.lock().unwrap(), |open| !*open)
                    .unwrap(),
            );
        }
        Called::Done
    });
    let to = scene.start(scene.us(None), Box::new(|_, _| ()), on_call);
    let short = Duration::from_millis(50);
    let asked = from.call(to.run, &Call::BansChanged, short);
    assert_eq!(asked, Err(Unreachable));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for _ in 0..3 {
        let asked = from.call(to.run, &Call::Ping, PATIENCE);
        assert_eq!(asked, Ok(Called::Done), "a late answer harms nobody");
    }
    assert_eq!(from.stats.peers.links.get(), 1);
}

#[test]
fn the_first_event_makes_the_link_and_none_is_lost_meanwhile() {
    let scene = Scene::default();
    let (from, to) = (scene.asking(), scene.asking());
    for count in 0..20 {
        let event = Event::PrekeysLow { one_time: count };
        let name = name("bob");
        from.peers.links().event(to.run, &Told { name, event });
    }
    for count in 0..20 {
        let (to, event) = to.events.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(to, name("bob"));
        assert_eq!(event, Event::PrekeysLow { one_time: count });
    }
    let made = |server: &Server| server.stats.peers.links.get();
    assert_eq!((made(&from), made(&to)), (1, 0));
}

/// Messages a second over one link: `cargo test --release --lib -- --ignored --nocapture link_throughput`.
#[test]
#[ignore = "a measurement"]
fn link_throughput() {
    let home = tempfile::tempdir().unwrap();
    for tls in [None, Some(acceptor(home.path()))] {
        let what = if tls.is_some() { "TLS" } else { "plain" };
        let scene = Scene::default();
        let done: fn() -> OnCall = || Box::new(|_| Called::Done);
        let from = scene.start(scene.us(tls.clone()), Box::new(|_, _| ()), done());
        let answer = |forward: Forward, reply: PeerReply| reply.answer(accepted(forward.at));
        let to = scene.start(scene.us(tls), Box::new(answer), done());
        let count = Arc::new(AtomicUsize::new(0));
        const ALL: usize = 200_000;
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for at in 0..ALL as u64 / 2 {
                        let count = Arc::clone(&count);
                        let done = move |_, _: &mut FlushSet| {
                            count.fetch_add(1, Ordering::Relaxed);
                        };
                        let mut message = message("alice", at);
                        message.send.again = false;
                        message.send.body = Body::Envelope(Blob(Box::new([1; 400])));
                        while from
                            .forward(to.run, &message, Box::new(done.clone()))
                            .is_err()
                        {}
                    }
                });
            }
        });
        wait_until("all are answered", || count.load(Ordering::Relaxed) == ALL);
        let took = begun.elapsed();
        let rate = ALL as f64 / took.as_secs_f64();
        println!("{what}: {rate:.0} messages of 400 bytes a second");
    }
}
