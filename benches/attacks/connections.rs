//! Attacks by clients that never log in: with many connections, slow ones, half handshakes, or
//! nonsense.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::load::peer::Peer;
use super::raid::{Begun, Counts, Raid};
use crate::harness::stream::Stream;

/// The address that attackers come from.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// How long an attacker waits for anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// How fast the connections that stay are made.
const CONNECT_BURST: usize = 20;
const CONNECT_TICK: Duration = Duration::from_millis(5);

/// Slow connections, and how often each sends a byte.
const SLOW: usize = 2000;
const BYTE_EVERY: Duration = Duration::from_secs(3);

/// The connections of the flood in all, its threads, how many each opens at once, and how often.
const FLOOD: usize = 20_000;
const FLOOD_THREADS: usize = 4;
const FLOOD_BURST: usize = 5;
const FLOOD_TICK: Duration = Duration::from_millis(10);

/// Handshakes that are never finished.
const HALF_OPEN: usize = 500;

/// How often nonsense comes, and how much of it.
const GARBAGE_EVERY: Duration = Duration::from_millis(5);
const GARBAGE: usize = 4096;
const GARBAGE_PATIENCE: Duration = Duration::from_millis(50);

/// More connections than the server has descriptors.
const TOO_MANY: usize = 400;

const CONNECTED: &str = "connected";
const OPEN: &str = "still open at the end";

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = Stream::connect_from(FROM, to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Makes up to `count` connections until the attack is over, not faster than a server with a
/// short queue accepts them.
fn connect_many(to: SocketAddr, count: usize, stop: &AtomicBool) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for number in 0..count {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        streams.extend(connect(to));
        if number % CONNECT_BURST == 0 {
            thread::sleep(CONNECT_TICK);
        }
    }
    streams
}

/// Connections that the server has not ended.
fn still_open(streams: &[TcpStream]) -> usize {
    let open = |stream: &&TcpStream| {
        let mut stream: &TcpStream = stream;
        stream.set_nonblocking(true).unwrap();
        // Refusals may be there to be read before the end.
        let mut words = [0; 4096];
        loop {
            match stream.read(&mut words) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    };
    streams.iter().filter(open).count()
}

/// No attack, for comparison.
pub(crate) fn nothing(_peer: &Peer) -> Begun {
    Raid::begin(0, |_| Counts::new())
}

/// Two thousand clients that begin a request and never end it.
pub(crate) fn slowloris(peer: &Peer) -> Begun {
    let to = peer.address;
    Raid::begin(1, move |stop| {
        let streams = connect_many(to, SLOW, stop);
        let line = br#"{"op":"hello","version":1,"and":"so on, and so on, and so on"#;
        let mut bytes = 0;
        let mut due = Instant::now();
        'bytes: for byte in line.iter().cycle() {
            for mut stream in &streams {
                bytes += usize::from(stream.write_all(&[*byte]).is_ok());
            }
            due += BYTE_EVERY;
            while Instant::now() < due {
                if stop.load(Ordering::Relaxed) {
                    break 'bytes;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        let open = still_open(&streams);
        vec![
            (streams.len(), CONNECTED),
            (bytes, "bytes sent"),
            (open, OPEN),
        ]
    })
}

/// Twenty thousand connections in ten seconds, each closed as soon as it is open.
pub(crate) fn connect_flood(peer: &Peer) -> Begun {
    let to = peer.address;
    Raid::begin(FLOOD_THREADS, move |stop| {
        let (mut connected, mut failed) = (0, 0);
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) && connected + failed < FLOOD / FLOOD_THREADS {
            sleep_until(due);
            due += FLOOD_TICK;
            for _ in 0..FLOOD_BURST {
                match connect(to) {
                    Ok(stream) => {
                        // A reset: an end that leaves nothing behind at this side.
                        let _ = set_socket_linger(&stream, Some(Duration::ZERO));
                        connected += 1;
                    }
                    Err(_) => failed += 1,
                }
            }
        }
        vec![(connected, CONNECTED), (failed, "not")]
    })
}

/// Five hundred clients that begin a TLS handshake and stop in the middle of it.
pub(crate) fn half_open_tls(peer: &Peer) -> Begun {
    let to = peer.address;
    Raid::begin(1, move |stop| {
        let streams = connect_many(to, HALF_OPEN, stop);
        // A record of 512 bytes with a ClientHello of 508, of which 100 come.
        let mut half = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        half.resize(100, 0x55);
        for mut stream in &streams {
            let _ = stream.write_all(&half);
        }
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        let open = still_open(&streams);
        vec![(streams.len(), CONNECTED), (open, OPEN)]
    })
}

/// Bytes that begin like TLS and are not.
pub(crate) fn tls_garbage(peer: &Peer) -> Begun {
    let to = peer.address;
    Raid::begin(2, move |stop| {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut sent, mut ended) = (0, 0);
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            sleep_until(due);
            due += GARBAGE_EVERY;
            let mut noise: Vec<u8> = (0..GARBAGE).map(|_| xorshift(&mut seed)).collect();
            // Now a record's head that announces all of it, now not even that.
            let head: &[u8] = if sent % 2 == 0 {
                &[0x16, 3, 1, 0x0f, 0xfb]
            } else {
                &[0x16]
            };
            noise[..head.len()].copy_from_slice(head);
            let Ok(mut stream) = connect(to) else {
                continue;
            };
            // A server that waits for more is not waited for.
            stream.set_read_timeout(Some(GARBAGE_PATIENCE)).unwrap();
            sent += usize::from(stream.write_all(&noise).is_ok());
            ended += usize::from(ends(&mut stream));
        }
        vec![(sent, "sent"), (ended, "ended by the server at once")]
    })
}

/// Whether the peer ends the connection in time.
fn ends(stream: &mut TcpStream) -> bool {
    let mut words = [0; 4096];
    loop {
        match stream.read(&mut words) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn xorshift(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as u8
}

/// More connections than the server has descriptors for, all kept.
pub(crate) fn descriptors(peer: &Peer) -> Begun {
    let to = peer.address;
    Raid::begin(1, move |stop| {
        let streams = connect_many(to, TOO_MANY, stop);
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        let open = still_open(&streams);
        vec![(streams.len(), CONNECTED), (open, OPEN)]
    })
}
