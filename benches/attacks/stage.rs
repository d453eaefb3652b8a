//! Runs one attack, and measures the time before, during and after it. It knows the people who
//! chat and the server's figures, but not what the attack does.

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

/// How often somebody logs in.
const LOGINS: Duration = Duration::from_millis(50);

/// How often a new client connects, and how long that may take.
const NEWCOMERS: Duration = Duration::from_millis(250);
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the server may take to recover.
const RECOVERY: Duration = Duration::from_secs(30);

/// The flags of the server: none, so that it has its default limits.
const FLAGS: &[&str] = &[];

/// An attack on a server.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// How many descriptors the server may open, if the attack limits that.
    pub(crate) descriptors: Option<u64>,
    /// What it needs on the server, made before anything is measured.
    pub(crate) prepare: fn(&Peer),
    /// Starts it, and returns at once or after a short preparation.
    pub(crate) begin: fn(&Peer) -> Result<Box<dyn Attacker>, String>,
}

/// The preparation of an attack that needs none.
pub(crate) fn nothing(_peer: &Peer) {}

/// An attack that is under way.
pub(crate) trait Attacker {
    /// Ends it, makes its checks, and says in a few words what it did.
    ///
    /// # Errors
    /// Something happened that should not have.
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

/// The result of an attack.
pub(crate) struct Outcome {
    /// The chat before, during and after.
    pub(crate) chat: [Times; 3],
    /// Logins before, during and after; one that is turned away is tried again until it is let in.
    pub(crate) logins: [Times; 3],
    /// How many new clients were greeted during the attack, and how many there were.
    pub(crate) newcomers: (usize, usize),
    /// Processor time of the server during the attack, in percent of one core.
    pub(crate) cpu: f64,
    /// Memory before, at the peak, and after.
    pub(crate) body: [Body; 3],
    /// From the attack's end until the server has as many sockets as before and
    /// greets new clients; nothing if that never happened.
    pub(crate) recovery: Option<Duration>,
    /// What the attacker did, in its words.
    pub(crate) note: Result<String, String>,
}

/// Runs one attack. An error says why it can't be run here.
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
    (attack.prepare)(&peer);
    let chats = Probes::chats(&peer, CHATS, PERIOD);
    let logins = Probes::logins(&peer, LOGINS);
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
    // What falls into the recovery counts as during the attack.
    let phases = [(0, 1), (1, 3), (3, 4)];
    let [chat, logins] = [chats, logins].map(|probes| {
        let record = probes.finish();
        phases.map(|(a, b)| record.between(moments[a], moments[b]))
    });
    Ok(Outcome {
        chat,
        logins,
        newcomers,
        cpu,
        body: [before, peak, after],
        recovery,
        note,
    })
}

/// Connects a new client now and then. Returns how many were greeted, and of how many.
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

/// Waits until the server has recovered.
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
