//! One sender and one recipient, driven by one thread, in the spelling of what
//! is measured.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::account;
use super::peer::{Kind, Peer};

/// Bytes of a message's body.
pub(crate) const BODY: usize = 200;

/// A pair of connections.
pub(crate) struct Pair {
    kind: Kind,
    pub(crate) sender: TcpStream,
    pub(crate) recipient: TcpStream,
    pub(crate) from: String,
    pub(crate) to: String,
    sent: u64,
    body: String,
    out: Vec<u8>,
    arrived: Incoming,
    answered: Incoming,
}

/// Bytes from one connection, cut into lines.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// Reads once and returns the whole lines that are there; `None` at the end.
    fn read(&mut self, mut stream: &TcpStream) -> Option<usize> {
        let before = self.bytes.len();
        self.bytes.resize(before + 65536, 0);
        let count = match stream.read(&mut self.bytes[before..]) {
            Ok(count) if count > 0 => count,
            _ => 0,
        };
        self.bytes.truncate(before + count);
        if count == 0 { None } else { Some(count) }
    }

    /// Takes all whole lines out.
    fn take_lines(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else {
            return 0;
        };
        let mut lines = 0;
        for line in self.bytes[..end].split(|byte| *byte == b'\n') {
            each(line);
            lines += 1;
        }
        self.bytes.drain(..=end);
        lines
    }
}

impl Pair {
    /// Connects (and on the server registers) both ends.
    pub(crate) fn new(peer: &Peer, number: usize) -> Self {
        let (from, to) = (format!("s{number:05}"), format!("r{number:05}"));
        let enter = |name: &str| {
            let mut stream = peer.connect();
            match peer.kind {
                Kind::Server => account::register(stream, name),
                _ => {
                    stream.write_all(format!("{name}\n").as_bytes()).unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                    stream
                }
            }
        };
        let body: Vec<u8> = (0..BODY).map(|byte| (byte * 7 + number) as u8).collect();
        Pair {
            kind: peer.kind,
            sender: enter(&from),
            recipient: enter(&to),
            from,
            to,
            sent: 0,
            body: data_encoding::BASE64.encode(&body),
            out: Vec::new(),
            arrived: Incoming::default(),
            answered: Incoming::default(),
        }
    }

    /// Sends so many messages with one write.
    pub(crate) fn send(&mut self, count: usize) {
        self.out.clear();
        for _ in 0..count {
            self.sent += 1;
            let (to, sent) = (&self.to, self.sent);
            match self.kind {
                Kind::Server => writeln!(
                    self.out,
                    "{{\"id\":{sent},\"op\":\"send\",\"to\":\"{to}\",\"mid\":\"{sent:032x}\",\
                     \"envelope\":\"{}\"}}",
                    self.body
                ),
                Kind::Bare | Kind::Acked => {
                    // Two hundred bytes of body behind the destination.
                    writeln!(self.out, "{to} {sent:016x} {}", &self.body[..BODY])
                }
            }
            .unwrap();
        }
        (&self.sender).write_all(&self.out).unwrap();
    }

    /// Waits for messages and acknowledges them, if that is done here; says how many.
    pub(crate) fn receive(&mut self) -> usize {
        let count = self.take(true);
        if count > 0 && self.kind != Kind::Bare {
            (&self.recipient).write_all(&self.out).unwrap();
        }
        count
    }

    /// Waits for messages, and leaves their acknowledgement in `out`.
    fn take(&mut self, blocking: bool) -> usize {
        let Pair {
            out,
            arrived,
            from,
            kind,
            ..
        } = self;
        loop {
            if arrived.read(&self.recipient).is_none() && (blocking || arrived.bytes.is_empty()) {
                return 0;
            }
            out.clear();
            let mut ids = 0;
            if *kind == Kind::Server {
                write!(out, "{{\"op\":\"ack\",\"from\":\"{from}\",\"ids\":[").unwrap();
            }
            let count = arrived.take_lines(|line| match kind {
                // {"event":"message","from":"s00001","mid":"…
                Kind::Server => {
                    let at = 36 + from.len();
                    assert!(
                        line.starts_with(b"{\"event\":\"message\""),
                        "{}",
                        String::from_utf8_lossy(line)
                    );
                    out.extend_from_slice(if ids == 0 { b"\"" } else { b",\"" });
                    out.extend_from_slice(&line[at..at + 32]);
                    out.push(b'"');
                    ids += 1;
                }
                Kind::Acked => {
                    let number = line.split(|byte| *byte == b' ').nth(1).unwrap();
                    out.extend_from_slice(from.as_bytes());
                    out.push(b' ');
                    out.extend_from_slice(number);
                    out.push(b'\n');
                }
                Kind::Bare => {}
            });
            if *kind == Kind::Server {
                out.extend_from_slice(b"]}\n");
            }
            if count > 0 {
                return count;
            }
        }
    }

    /// Waits for answers to the sender; says how many messages they free.
    pub(crate) fn answers(&mut self) -> usize {
        loop {
            if self.answered.read(&self.sender).is_none() {
                return 0;
            }
            let mut freed = 0;
            self.answered.take_lines(|line| {
                // Receipts (`delivered` events) free nothing: the answer did.
                if !line.starts_with(b"{\"event\"") {
                    freed += 1;
                }
                assert!(
                    !line.windows(7).any(|part| part == b"\"error\""),
                    "{}",
                    String::from_utf8_lossy(line)
                );
            });
            if freed > 0 {
                return freed;
            }
        }
    }

    /// One step of a closed loop: returns how many messages went through.
    pub(crate) fn turn(&mut self) -> usize {
        let received = self.receive();
        let freed = match self.kind {
            Kind::Bare => received,
            _ => self.answers(),
        };
        if freed > 0 {
            self.send(freed);
        }
        freed
    }

    /// Sends one message and waits for it by polling; the time it took.
    pub(crate) fn one_way(&mut self) -> std::time::Duration {
        let start = std::time::Instant::now();
        self.send(1);
        let taken = loop {
            if self.take(false) > 0 {
                break start.elapsed();
            }
        };
        if self.kind != Kind::Bare {
            (&self.recipient).write_all(&self.out).unwrap();
            while self.answered.read(&self.sender).is_none() {}
            self.answered.bytes.clear();
        }
        taken
    }

    /// The receiving end alone, for a thread of its own.
    pub(crate) fn receiving_half(&self) -> Pair {
        Pair {
            kind: self.kind,
            sender: self.sender.try_clone().unwrap(),
            recipient: self.recipient.try_clone().unwrap(),
            from: self.from.clone(),
            to: self.to.clone(),
            sent: 0,
            body: String::new(),
            out: Vec::new(),
            arrived: Incoming::default(),
            answered: Incoming::default(),
        }
    }

    /// Takes messages and acknowledges them only after a while.
    pub(crate) fn receive_late(&mut self, late: std::time::Duration) -> bool {
        let count = self.take(true);
        std::thread::sleep(late);
        count > 0 && (&self.recipient).write_all(&self.out).is_ok()
    }

    /// Ends both connections.
    pub(crate) fn close(&self) {
        let _ = self.sender.shutdown(std::net::Shutdown::Both);
        let _ = self.recipient.shutdown(std::net::Shutdown::Both);
    }

    /// The recipient logs out, and the server has noticed when this returns.
    pub(crate) fn leave(&mut self) {
        (&self.recipient)
            .write_all(b"{\"id\":1,\"op\":\"logout\"}\n")
            .unwrap();
        self.arrived.read(&self.recipient).unwrap();
        self.arrived.bytes.clear();
    }

    /// The recipient logs in again.
    pub(crate) fn come_back(&mut self, peer: &Peer) {
        self.recipient = account::login(peer.connect(), &self.to);
    }
}
