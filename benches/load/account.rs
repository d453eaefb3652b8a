//! Accounts on the server, made and logged into as a client does: one login key
//! for all of them, so that the key derivation is paid once.

use std::io::{self, BufRead, BufReader, Write};
use std::sync::LazyLock;
use std::time::Duration;

use secure_chat::crypto::account::login_proof::{LoginVerifier, ProofContext, Purpose};
use secure_chat::crypto::account::password::{Argon2Params, Derived, derive};
use secure_chat::protocol::json::{ServerLine, parse_server_line, write_request};
use secure_chat::protocol::reply::{Event, Greeting};
use secure_chat::protocol::request::{Hello, KdfParams, Login, Register, Request, SessionOptions};
use secure_chat::protocol::{ByteArray, UserName};

use super::peer::Peer;
use super::stream::Stream;

const SALT: [u8; 16] = [7; 16];
const COST: Argon2Params = Argon2Params::FLOOR;

/// Silence after which the server has put a connection to rest.
pub(crate) const REST: Duration = Duration::from_secs(7);

static KEY: LazyLock<Derived> = LazyLock::new(|| derive("load", &SALT, COST).unwrap());

/// Registers the name on a fresh connection and stays logged in.
pub(crate) fn register(mut stream: Stream, name: &str) -> Stream {
    enter(&mut stream, name, true).unwrap();
    stream
}

/// Logs in on a fresh connection.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn login(stream: &mut Stream, name: &str) -> io::Result<()> {
    enter(stream, name, false)
}

/// Logged-in connections that say nothing, made by so many threads at once; returns
/// when the server has had the time to put them to rest.
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

/// Says hello.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn greet(stream: &mut Stream) -> io::Result<Greeting> {
    let greeting = ask(stream, &Request::Hello(Hello { version: 1 }))?;
    Ok(serde_json::from_value(greeting)?)
}

fn enter(stream: &mut Stream, name: &str, register: bool) -> io::Result<()> {
    let name: UserName = name.parse().unwrap();
    let greeting = greet(stream)?;
    let certificate = stream.certificate();
    let challenge = ProofContext {
        name: name.as_str(),
        nonce: &greeting.nonce.0,
        certificate: &certificate,
    };
    let key = &KEY.login_key;
    let session = SessionOptions::default();
    let request = if register {
        let credentials = LoginVerifier {
            login_key: key.public(),
            salt: SALT,
            cost: COST,
        };
        Request::Register(Register {
            name,
            kdf: KdfParams {
                salt: ByteArray(SALT),
                memory_kib: COST.memory_kib,
                passes: COST.passes,
                lanes: COST.lanes,
            },
            login_key: ByteArray(key.public()),
            proof: ByteArray(key.prove(&Purpose::Register(credentials), &challenge)),
            session,
        })
    } else {
        Request::Login(Login {
            name,
            proof: ByteArray(key.prove(&Purpose::Login, &challenge)),
            session,
        })
    };
    call(stream, &request).map(drop)
}

/// One request, one answer; reads not a byte beyond it, because messages may
/// follow at once.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn call(stream: &mut Stream, request: &Request) -> io::Result<serde_json::Value> {
    exchange(stream, request, 1)
}

/// The same on a connection to which nobody writes: many bytes at a time.
///
/// # Errors
/// The server's refusal, or the connection's end.
pub(crate) fn ask(stream: &mut Stream, request: &Request) -> io::Result<serde_json::Value> {
    exchange(stream, request, 8192)
}

fn exchange(
    stream: &mut Stream,
    request: &Request,
    at_once: usize,
) -> io::Result<serde_json::Value> {
    let mut line = Vec::new();
    write_request(&mut line, Some(1), request).unwrap();
    stream.write_all(&line)?;
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
