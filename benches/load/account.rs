//! Registers accounts and logs in to them, as a client does. All share one login key, so that it is
//! derived once.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use secure_chat::protocol::json::{ServerLine, parse_server_line};
use secure_chat::protocol::reply::{Event, Greeting};
use serde_json::{Value, json};

use super::peer::Peer;
use crate::harness::stream::Stream;
use crate::harness::{Nonce, credentials};

/// The silence after which the server has moved a connection to a waiting thread.
pub(crate) const REST: Duration = Duration::from_secs(7);

/// Registers the name on a fresh connection and stays logged in.
pub(crate) fn register(mut stream: Stream, name: &str) -> Stream {
    let nonce = greet(&mut stream).unwrap();
    enter(
        &mut stream,
        "register",
        credentials()[0].registration(name, &nonce),
    )
    .unwrap();
    stream
}

/// Logs in on a fresh connection.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn login(stream: &mut Stream, name: &str) -> io::Result<()> {
    let nonce = greet(stream)?;
    enter(stream, "login", credentials()[0].login(name, &nonce))
}

/// Makes silent logged-in connections on several threads. Returns when the server has had the time
/// to move them to waiting threads.
pub(crate) fn idle_connections(peer: &Peer, count: usize, makers: usize) -> Vec<Stream> {
    secure_chat::transport::socket::raise_descriptor_limit(count as u64 + 1000);
    let connections = std::thread::scope(|scope| {
        let make = |first: usize| {
            let numbers = (first..count).step_by(makers);
            let one = |number| register(peer.connect(), &format!("idle{number}"));
            numbers.map(one).collect::<Vec<_>>()
        };
        let makers: Vec<_> = (0..makers)
            .map(|first| scope.spawn(move || make(first)))
            .collect();
        makers
            .into_iter()
            .flat_map(|maker| maker.join().unwrap())
            .collect()
    });
    if count > 0 {
        std::thread::sleep(REST);
    }
    connections
}

/// Says hello, and returns what a proof on this connection has to sign.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn greet(stream: &mut Stream) -> io::Result<Nonce> {
    let greeting = ask(stream, "hello", json!({"version": 1}))?;
    let greeting: Greeting = serde_json::from_value(greeting)?;
    Ok(Nonce(greeting.nonce.0, stream.certificate()))
}

/// Sends a request and reads its answer, and not a byte more, because messages may follow at once.
fn enter(stream: &mut Stream, op: &str, fields: Value) -> io::Result<()> {
    exchange(stream, op, fields, 1).map(drop)
}

/// Sends a request and reads its answer, many bytes at a time, on a connection that gets no
/// messages.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn ask(stream: &mut Stream, op: &str, fields: Value) -> io::Result<Value> {
    exchange(stream, op, fields, 8192)
}

fn exchange(stream: &mut Stream, op: &str, fields: Value, at_once: usize) -> io::Result<Value> {
    let mut request = fields;
    request["id"] = json!(1);
    request["op"] = json!(op);
    stream.write_all(format!("{request}\n").as_bytes())?;
    stream.flush()?;
    let mut lines = BufReader::with_capacity(at_once, stream);
    loop {
        let mut answer = Vec::new();
        lines.read_until(b'\n', &mut answer)?;
        match parse_server_line(&answer) {
            Ok(ServerLine::Answer(_, Ok(value))) => return Ok(value),
            // Asked whether we are there: any request says so.
            Ok(ServerLine::Event(event)) if matches!(*event, Event::Ping {}) => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
}
