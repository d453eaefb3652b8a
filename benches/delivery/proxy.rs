//! A relay of bytes between one real client and the server, in clear, that notes
//! when each `send` passed and when its answer did: the client does not print it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;

/// A message that was answered.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) sent: Instant,
    pub(crate) ok: Instant,
}

#[derive(Default)]
struct Seen {
    waiting: HashMap<u64, Instant>,
    answered: Vec<Answered>,
    refused: Vec<String>,
}

/// The relay. It serves one client after another for as long as the bench runs.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    /// A relay in front of a server.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The server may have ended with its round.
                if let Ok(server) = TcpStream::connect(server) {
                    serve(client, server, &shared);
                }
            }
        });
        Proxy { address, seen }
    }

    /// The messages that were answered so far.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        self.seen.lock().unwrap().answered.clone()
    }

    /// Refusals of messages so far.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.seen.lock().unwrap().refused.clone()
    }
}

fn serve(client: TcpStream, server: TcpStream, seen: &Arc<Mutex<Seen>>) {
    let clone = |stream: &TcpStream| stream.try_clone().unwrap();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (from, to, notes) = (clone(&client), clone(&server), Arc::clone(seen));
    thread::spawn(move || {
        copy(&from, &to, |line| {
            if line["op"] == "send"
                && let Some(id) = line["id"].as_u64()
            {
                notes.lock().unwrap().waiting.insert(id, Instant::now());
            }
        });
    });
    let notes = Arc::clone(seen);
    thread::spawn(move || {
        copy(&server, &client, |line| {
            let mut seen = notes.lock().unwrap();
            let id = line["id"].as_u64();
            let Some(sent) = id.and_then(|id| seen.waiting.remove(&id)) else {
                return;
            };
            match line.get("ok") {
                Some(_) => seen.answered.push(Answered {
                    sent,
                    ok: Instant::now(),
                }),
                None => seen.refused.push(line.to_string()),
            }
        });
    });
}

/// Copies lines until one side ends, then ends the other.
fn copy(from: &TcpStream, mut to: &TcpStream, mut look: impl FnMut(&Value)) {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(count) if count > 0) {
        if let Ok(value) = serde_json::from_slice(&line) {
            look(&value);
        }
        if to.write_all(&line).is_err() {
            break;
        }
        line.clear();
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
