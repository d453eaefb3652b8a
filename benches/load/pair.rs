//! One sender and one recipient, in the format of the measured server or relay. Each end is driven by
//! one thread, which may be the same.
//!
//! Every recipient checks what it gets: each sender's messages are numbered, and
//! a number that is missing ends the bench. Repetitions are counted.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde_json::json;

use super::account;
use super::peer::{Kind, Peer};
use crate::harness::stream::Stream;

/// Bytes of a message's body.
pub(crate) const BODY: usize = 200;

/// Bytes read at once.
const ROOM: usize = 64 * 1024;

/// The time between two messages that are measured one by one.
const REST: Duration = Duration::from_micros(50);

/// The beginning of the server's line with a message.
const MESSAGE: &[u8] = b"{\"event\":\"message\",\"from\":\"";

/// Bytes from one connection, cut into lines.
struct Incoming {
    room: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn new() -> Self {
        Incoming {
            room: vec![0; ROOM].into(),
            start: 0,
            end: 0,
        }
    }

    /// Reads once, and appends to what is left of a line.
    fn read(&mut self, stream: &mut Stream) -> io::Result<()> {
        self.room.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match stream.read(&mut self.room[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Option<&[u8]> {
        let rest = &self.room[self.start..self.end];
        let length = memchr::memchr(b'\n', rest)?;
        let line = self.start..self.start + length;
        self.start = line.end + 1;
        Some(&self.room[line])
    }
}

/// The sending end.
pub(crate) struct Sender {
    kind: Kind,
    pub(crate) stream: Stream,
    to: String,
    /// Messages sent so far; the number of the last one.
    pub(crate) sent: u64,
    body: String,
    out: Vec<u8>,
    answered: Incoming,
}

impl Sender {
    /// Connects as `from`, to send to `to`.
    pub(crate) fn new(peer: &Peer, from: &str, to: &str) -> Self {
        let body: Vec<u8> = (0..BODY)
            .map(|byte| (byte * 7 + from.len()) as u8)
            .collect();
        Sender {
            kind: peer.kind,
            stream: enter(peer, from),
            to: to.to_owned(),
            sent: 0,
            body: data_encoding::BASE64.encode(&body),
            out: Vec::new(),
            answered: Incoming::new(),
        }
    }

    /// Sends this many messages with one write.
    pub(crate) fn send(&mut self, count: usize) -> io::Result<()> {
        self.out.clear();
        for _ in 0..count {
            self.sent += 1;
            let (to, sent) = (&self.to, self.sent);
            let digits = HEXLOWER.encode(&sent.to_be_bytes());
            match self.kind.is_server() {
                true => writeln!(
                    self.out,
                    "{{\"id\":{sent},\"op\":\"send\",\"to\":\"{to}\",\"mid\":\"0000000000000000{digits}\",\
                     \"envelope\":\"{}\"}}",
                    self.body
                )?,
                // Two hundred bytes of body after the destination.
                false => writeln!(self.out, "{to} {digits} {}", &self.body[..BODY])?,
            }
        }
        self.stream.write_all(&self.out)?;
        self.stream.flush()
    }

    /// Waits for answers, and returns how many messages they answer.
    pub(crate) fn answers(&mut self) -> io::Result<usize> {
        loop {
            self.answered.read(&mut self.stream)?;
            let mut freed = 0;
            while let Some(line) = self.answered.line() {
                // Receipts (`delivered` events) free nothing: the answer did.
                if line.starts_with(b"{\"event\"") {
                    continue;
                }
                if self.kind.is_server() && !is_ok(line) {
                    return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
                }
                freed += 1;
            }
            if freed > 0 {
                return Ok(freed);
            }
        }
    }

    /// Waits until this many messages are answered.
    pub(crate) fn answers_to(&mut self, count: usize) -> io::Result<()> {
        let mut freed = 0;
        while freed < count {
            freed += self.answers()?;
        }
        Ok(())
    }

    /// Sends this many messages, with at most `window` of them unanswered at any time.
    pub(crate) fn send_all(&mut self, count: usize, window: usize) -> io::Result<()> {
        let mut sent = count.min(window);
        self.send(sent)?;
        let mut answered = 0;
        while answered < count {
            let freed = self.answers()?;
            answered += freed;
            let more = freed.min(count - sent);
            if more > 0 {
                self.send(more)?;
                sent += more;
            }
        }
        Ok(())
    }
}

/// `{"id":7,"ok":…`
fn is_ok(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"{\"id\":") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].starts_with(b",\"ok\"")
}

/// The receiving end.
pub(crate) struct Recipient {
    kind: Kind,
    pub(crate) stream: Stream,
    name: String,
    order: Order,
    answers: Answers,
    arrived: Incoming,
}

/// The messages that have come from each sender.
#[derive(Default)]
struct Order {
    /// Senders, and the last number of each.
    last: Vec<(Vec<u8>, u64)>,
    repeated: u64,
}

impl Order {
    /// Checks that a message is the sender's next one. Returns the sender's index, and whether the
    /// message was new.
    fn check(&mut self, name: &[u8], number: u64) -> (usize, bool) {
        let found = self.last.iter().position(|(known, _)| known == name);
        let sender = found.unwrap_or_else(|| {
            self.last.push((name.to_vec(), 0));
            self.last.len() - 1
        });
        let last = &mut self.last[sender].1;
        let new = number > *last;
        if new {
            assert!(number == *last + 1, "{number} follows {last}");
            *last = number;
        } else {
            self.repeated += 1;
        }
        (sender, new)
    }
}

/// The acknowledgements of received messages, in the format of the measured server or relay.
struct Answers {
    kind: Kind,
    /// The recipient of the relays' answers.
    to: String,
    out: Vec<u8>,
    /// The sender whose list of ids is open.
    open: Option<usize>,
}

impl Answers {
    fn add(&mut self, sender: usize, name: &[u8], number: &[u8]) {
        match self.kind {
            Kind::Bare => {}
            Kind::Acked => {
                self.out.extend_from_slice(self.to.as_bytes());
                self.out.push(b' ');
                self.out.extend_from_slice(number);
                self.out.push(b'\n');
            }
            Kind::Server | Kind::ServerTls => {
                if self.open == Some(sender) {
                    self.out.extend_from_slice(b"\",\"");
                } else {
                    self.close();
                    self.open = Some(sender);
                    self.out.extend_from_slice(b"{\"op\":\"ack\",\"from\":\"");
                    self.out.extend_from_slice(name);
                    self.out.extend_from_slice(b"\",\"ids\":[\"");
                }
                self.out.extend_from_slice(number);
            }
        }
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.extend_from_slice(b"\"]}\n");
        }
    }
}

impl Recipient {
    /// Connects as `name`; `from` is who will send, where the kind has to know it.
    pub(crate) fn new(peer: &Peer, name: &str, from: &str) -> Self {
        Self::over(enter(peer, name), peer.kind, name, from)
    }

    /// A recipient on a connection that is logged in.
    pub(crate) fn over(stream: Stream, kind: Kind, name: &str, from: &str) -> Self {
        Recipient {
            kind,
            stream,
            name: name.to_owned(),
            order: Order::default(),
            answers: Answers {
                kind,
                to: from.to_owned(),
                out: Vec::new(),
                open: None,
            },
            arrived: Incoming::new(),
        }
    }

    /// Waits for messages, acknowledges them, and returns how many were new.
    pub(crate) fn receive(&mut self) -> io::Result<usize> {
        let count = self.take()?;
        self.acknowledge()?;
        Ok(count)
    }

    /// Waits for messages, and returns how many were new.
    pub(crate) fn take(&mut self) -> io::Result<usize> {
        loop {
            self.arrived.read(&mut self.stream)?;
            let (mut lines, mut new) = (0, 0);
            while let Some(line) = self.arrived.line() {
                let (name, number) = match self.kind.is_server() {
                    true => match cut(line) {
                        Some(parts) => parts,
                        None => continue,
                    },
                    // The destination, a number, the body.
                    false => (&b""[..], &line[self.name.len() + 1..][..16]),
                };
                let value = parse_hex(&number[number.len() - 16..]);
                let (sender, is_new) = self.order.check(name, value);
                self.answers.add(sender, name, number);
                lines += 1;
                new += usize::from(is_new);
            }
            self.answers.close();
            if lines > 0 {
                return Ok(new);
            }
        }
    }

    /// Acknowledges what was taken, if that is done here.
    pub(crate) fn acknowledge(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.answers.out)?;
        self.answers.out.clear();
        self.stream.flush()
    }

    /// Waits until this many new messages have come.
    pub(crate) fn receive_all(&mut self, count: usize) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            received += self.receive()?;
        }
        Ok(())
    }

    /// Waits until the server has taken the acknowledgements; for when no message
    /// is left to come.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        account::ask(&mut self.stream, "ping", json!({})).map(drop)
    }

    /// How many new messages have come so far.
    pub(crate) fn total(&self) -> u64 {
        self.order.last.iter().map(|(_, number)| number).sum()
    }

    /// How many messages have come again.
    pub(crate) fn repeated(&self) -> u64 {
        self.order.repeated
    }

    /// Ends the connection without a logout.
    pub(crate) fn vanish(&self) {
        let _ = self.stream.socket().shutdown(Shutdown::Both);
    }

    /// Logs in again; what was not acknowledged comes again. The server may need
    /// a moment to notice that the last connection is gone.
    pub(crate) fn come_back(&mut self, peer: &Peer) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut stream = peer.connect();
            match account::login(&mut stream, &self.name) {
                Ok(()) => {
                    self.stream = stream;
                    self.arrived = Incoming::new();
                    self.answers.out.clear();
                    return;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The sender and the id of a message event; `None` for other events.
fn cut(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(MESSAGE)?;
    let (sender, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'"')?);
    let id = rest.strip_prefix(b"\",\"mid\":\"")?.get(..32)?;
    Some((sender, id))
}

fn parse_hex(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => digit - b'a' + 10,
        };
        number << 4 | u64::from(value)
    })
}

/// Connects under a name; the server's accounts are made for it.
fn enter(peer: &Peer, name: &str) -> Stream {
    let mut stream = peer.connect();
    if peer.kind.is_server() {
        return account::register(stream, name);
    }
    stream.write_all(format!("{name}\n").as_bytes()).unwrap();
    // A client that has received this can be written to.
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// A pair of connections.
pub(crate) struct Pair {
    pub(crate) sender: Sender,
    pub(crate) recipient: Recipient,
}

impl Pair {
    /// Connects (and at the server registers) both ends.
    pub(crate) fn new(peer: &Peer, number: usize) -> Self {
        Self::across(peer, peer, number)
    }

    /// Both ends at servers of one database.
    pub(crate) fn across(from_peer: &Peer, to_peer: &Peer, number: usize) -> Self {
        let (from, to) = (format!("s{number:05}"), format!("r{number:05}"));
        Pair {
            recipient: Recipient::new(to_peer, &to, &from),
            sender: Sender::new(from_peer, &from, &to),
        }
    }

    /// This many pairs.
    pub(crate) fn many(peer: &Peer, count: usize) -> Vec<Self> {
        (0..count).map(|number| Self::new(peer, number)).collect()
    }

    /// One step of a closed loop: returns how many messages went through.
    pub(crate) fn turn(&mut self) -> io::Result<usize> {
        let received = self.recipient.receive()?;
        let freed = match self.sender.kind.answers() {
            true => self.sender.answers()?,
            false => received,
        };
        self.sender.send(freed)?;
        Ok(freed)
    }

    /// Makes both ends polled: reads return at once.
    pub(crate) fn poll(&self) {
        for stream in [&self.sender.stream, &self.recipient.stream] {
            stream.socket().set_nonblocking(true).unwrap();
        }
    }

    /// Sends one message, waits for it by polling, and returns the time it took. It begins a little
    /// after the message before, so that the measured process is idle again.
    pub(crate) fn polled_one_way(&mut self) -> Duration {
        let rest = Instant::now() + REST;
        while Instant::now() < rest {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        self.sender.send(1).unwrap();
        polled(start, || self.recipient.take());
        let taken = start.elapsed();
        if self.sender.kind.answers() {
            self.recipient.acknowledge().unwrap();
            polled(start, || self.sender.answers());
        }
        taken
    }

    /// Sends one message, waits for it and for its answer, and returns the moment of its arrival.
    pub(crate) fn one_way(&mut self) -> io::Result<Instant> {
        self.sender.send(1)?;
        let new = self.recipient.take()?;
        let arrived = Instant::now();
        if new != 1 {
            return Err(io::Error::other("one message was sent, and came again"));
        }
        self.recipient.acknowledge()?;
        self.sender.answers()?;
        Ok(arrived)
    }

    /// Bounds how long a read may wait.
    pub(crate) fn set_patience(&self, limit: Duration) {
        for stream in [&self.sender.stream, &self.recipient.stream] {
            stream.socket().set_read_timeout(Some(limit)).unwrap();
        }
    }
}

fn polled<T>(start: Instant, mut attempt: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(start.elapsed() < Duration::from_secs(10), "nothing came");
            }
            other => return other.unwrap(),
        }
    }
}
