//! One attack from before it to after it, and what is measured of it. Knows the
//! people who chat and the server's figures, not what the attack does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::load::account::greet;
use super::load::peer::{Kind, Peer, Setup};
use super::load::probe::{Probes, Times};
use crate::harness::stream::Stream;

/// Pairs who chat, and how often each says something.
const CHATS: usize = 10;
const PERIOD: Duration = Duration::from_millis(20);

/// How long it is quiet before and after an attack.
const QUIET: Duration = Duration::from_secs(3);

/// How often somebody new connects, and how long that may take.
const NEWCOMERS: Duration = Duration::from_millis(250);
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the server has to become as before.
const RECOVERY: Duration = Duration::from_secs(30);

/// How the server is started: as an operator would, with the limits it has by itself.
const FLAGS: &[&str] = &[];

/// What can be done to a server.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Descriptors that the server may open, if that is part of it.
    pub(crate) descriptors: Option<u64>,
    /// Starts it, and returns at once or after a short preparation.
    pub(crate) begin: fn(&Peer) -> Result<Box<dyn Attacker>, String>,
}

/// An attack under way.
pub(crate) trait Attacker {
    /// Ends it, and checks what it has to check: what it did, in a few words.
    ///
    /// # Errors
    /// What should not have happened.
    fn end(self: Box<Self>, peer: &Peer) -> Result<String, String>;
}

/// The server's figures at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    pub(crate) rss_mib: f64,
    pub(crate) descriptors: usize,
}

impl Body {
    fn of(peer: &Peer) -> Self {
        Body {
            rss_mib: peer.status("VmRSS") / 1024.0,
            descriptors: peer.descriptors(),
        }
    }
}

/// What came of an attack.
pub(crate) struct Outcome {
    /// The chat before, during and after.
    pub(crate) chat: [Times; 3],
    /// Newcomers who were greeted during the attack, and all of them.
    pub(crate) newcomers: (usize, usize),
    /// Processor time of the server during the attack, in percent of one core.
    pub(crate) cpu: f64,
    /// Before, at the peak, after.
    pub(crate) body: [Body; 3],
    /// From the attack's end until the server has as many sockets as before and
    /// greets newcomers; nothing if that never happened.
    pub(crate) recovery: Option<Duration>,
    /// The attacker's words.
    pub(crate) note: Result<String, String>,
}

/// Runs one attack; `Err` says why it can't be run here.
pub(crate) fn run(attack: &Attack, kind: Kind, duration: Duration) -> Result<Outcome, String> {
    let mut setup = Setup::new(kind).flags(FLAGS);
    if let Some(count) = attack.descriptors {
        setup = setup.descriptors(count);
    }
    let peer = setup.start();
    if let Some(count) = attack.descriptors
        && peer.descriptor_limit() > count as f64
    {
        return Err("the server may raise its own limit of descriptors here".to_owned());
    }
    let chats = Probes::chats(&peer, CHATS, PERIOD);
    let mut moments = vec![Instant::now()];
    thread::sleep(QUIET);
    let before = Body::of(&peer);
    let sockets = peer.sockets();
    moments.push(Instant::now());
    peer.forget_peak();
    let cpu = peer.cpu();
    let watch = AtomicBool::new(true);
    let (attacker, newcomers, most) = thread::scope(|scope| {
        let newcomers = scope.spawn(|| newcomers(&peer, &watch));
        let most = scope.spawn(|| most_descriptors(&peer, &watch));
        let attacker = (attack.begin)(&peer);
        thread::sleep(duration);
        watch.store(false, Ordering::Relaxed);
        (attacker, newcomers.join().unwrap(), most.join().unwrap())
    });
    let cpu = (peer.cpu() - cpu) / moments[1].elapsed().as_secs_f64() * 100.0;
    let peak = Body {
        rss_mib: peer.status("VmHWM") / 1024.0,
        descriptors: most,
    };
    moments.push(Instant::now());
    let note = attacker.and_then(|attacker| attacker.end(&peer));
    let recovery = recover(&peer, sockets);
    moments.push(Instant::now());
    thread::sleep(QUIET);
    moments.push(Instant::now());
    let after = Body::of(&peer);
    let record = chats.finish();
    // What falls into the recovery counts as during the attack.
    let chat = [(0, 1), (1, 3), (3, 4)].map(|(a, b)| record.between(moments[a], moments[b]));
    Ok(Outcome {
        chat,
        newcomers,
        cpu,
        body: [before, peak, after],
        recovery,
        note,
    })
}

/// Somebody new every now and then: how many were greeted, of how many.
fn newcomers(peer: &Peer, watch: &AtomicBool) -> (usize, usize) {
    let (mut greeted, mut all) = (0, 0);
    while watch.load(Ordering::Relaxed) {
        let next = Instant::now() + NEWCOMERS;
        all += 1;
        greeted += usize::from(newcomer(peer).is_ok());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    (greeted, all)
}

fn newcomer(peer: &Peer) -> io::Result<()> {
    let socket = std::net::TcpStream::connect_timeout(&peer.address, NEWCOMER_PATIENCE)?;
    socket.set_read_timeout(Some(NEWCOMER_PATIENCE))?;
    let mut stream = Stream::over(socket, peer.kind == Kind::ServerTls)?;
    greet(&mut stream).map(drop)
}

fn most_descriptors(peer: &Peer, watch: &AtomicBool) -> usize {
    let mut most = 0;
    while watch.load(Ordering::Relaxed) {
        most = most.max(peer.descriptors());
        thread::sleep(Duration::from_millis(100));
    }
    most
}

/// Waits until the server is as before.
fn recover(peer: &Peer, sockets: usize) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < RECOVERY {
        if peer.sockets() <= sockets && newcomer(peer).is_ok() {
            return Some(start.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}
