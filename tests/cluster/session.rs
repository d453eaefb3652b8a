//! A connection of a person: lines that come and go, the login, and what was asked and is not
//! answered yet. Everything is written into the history.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Nonce, credentials};
use super::history::What;
use super::world::World;

/// How long a read waits before the person does something else.
const GLANCE: Duration = Duration::from_millis(10);

/// How long a write may take before the connection is given up.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// What a read found.
pub enum Heard {
    Line(Value),
    Nothing,
    End,
}

/// A request that has no answer yet.
#[derive(Debug, Clone)]
pub enum Asked {
    Send { to: String, mid: u64 },
    Ack,
    Other,
}

/// A connection.
pub struct Session {
    pub number: u64,
    /// The node that was dialled.
    pub node: usize,
    pub who: String,
    pub asked: HashMap<u64, Asked>,
    /// When something was heard last, or nothing was asked.
    pub quiet_since: Instant,
    stream: TcpStream,
    read: Vec<u8>,
    last_request: u64,
}

impl Session {
    /// Dials a node, for somebody.
    pub fn dial(world: &World, who: &str, node: usize) -> io::Result<Self> {
        let address: SocketAddr = world.addresses[node];
        let stream = TcpStream::connect_timeout(&address, WRITE_TIME)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(WRITE_TIME))?;
        Ok(Session {
            number: world.next_session(),
            node,
            who: who.to_owned(),
            asked: HashMap::new(),
            quiet_since: Instant::now(),
            stream,
            read: Vec::new(),
            last_request: 0,
        })
    }

    /// Writes a request; whether the connection took it.
    pub fn ask(&mut self, asked: Asked, mut request: Value) -> bool {
        if self.asked.is_empty() {
            self.quiet_since = Instant::now();
        }
        self.last_request += 1;
        self.asked.insert(self.last_request, asked);
        request["id"] = json!(self.last_request);
        let line = format!("{request}\n");
        self.stream.write_all(line.as_bytes()).is_ok()
    }

    /// The number that the next request will have.
    pub fn next_request(&self) -> u64 {
        self.last_request + 1
    }

    /// Reads a line, if one comes soon.
    pub fn listen(&mut self) -> Heard {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                self.quiet_since = Instant::now();
                return Heard::Line(serde_json::from_slice(&line).expect("the server sends JSON"));
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Heard::End,
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Heard::Nothing,
                    _ => return Heard::End,
                },
            }
        }
    }

    /// Whether something was asked and nothing heard for so long.
    pub fn is_silent_for(&self, patience: Duration) -> bool {
        !self.asked.is_empty() && self.quiet_since.elapsed() > patience
    }

    /// Waits for the answer to what was asked just now; news that comes ahead of it is dropped, which
    /// before a welcome can only be a receipt.
    fn answer(&mut self, deadline: Instant) -> Option<Value> {
        while Instant::now() < deadline {
            match self.listen() {
                Heard::End => return None,
                Heard::Line(line) if line["id"].as_u64() == Some(self.last_request) => {
                    self.asked.remove(&self.last_request);
                    return Some(line);
                }
                Heard::Line(_) | Heard::Nothing => {}
            }
        }
        None
    }

    /// Logs in as a client does: for the session whose secret it has, and, if somebody else's is in the
    /// way, by take-over. Returns the secret of the new one.
    pub fn log_in(
        &mut self,
        world: &World,
        mut take_over: bool,
        replaces: Option<&Value>,
        patience: Duration,
    ) -> Option<Value> {
        let deadline = Instant::now() + patience;
        for _ in 0..2 {
            if !self.ask(Asked::Other, json!({"op": "hello", "version": 1})) {
                return None;
            }
            let greeting = self.answer(deadline)?;
            let nonce = greeting["ok"]["nonce"].as_str()?;
            let nonce = data_encoding::BASE64.decode(nonce.as_bytes()).unwrap();
            let nonce = Nonce(nonce.try_into().unwrap(), Vec::new());
            let mut login = credentials()[0].login(&self.who, &nonce);
            login["op"] = json!("login");
            login["take_over"] = json!(take_over);
            if let Some(secret) = replaces {
                login["replaces"] = secret.clone();
            }
            if !self.ask(Asked::Other, login) {
                return None;
            }
            let welcome = self.answer(deadline)?;
            if !welcome["ok"].is_null() {
                world.record(&self.who, self.number, What::Began { node: self.node });
                return Some(welcome["ok"]["session"].clone());
            }
            match welcome["error"]["code"].as_str() {
                Some("already_online") => take_over = true,
                Some("storage" | "internal" | "shutting_down" | "server_full" | "timed_out") => {
                    return None;
                }
                _ => panic!("{} was refused: {welcome}", self.who),
            }
        }
        None
    }

    /// Ends the connection, however it stands.
    pub fn hang_up(self) {
        // It fails only if it has ended.
        let _ended = self.stream.shutdown(Shutdown::Both);
    }
}
