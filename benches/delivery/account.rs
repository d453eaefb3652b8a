//! Accounts on the server, made and logged into as a client does: one login key
//! for all of them, so that the key derivation is paid once.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use secure_chat::crypto::password::{Cost, Derived, derive};
use secure_chat::crypto::proof::{Challenge, Credentials, Purpose};
use secure_chat::protocol::json::{ServerLine, parse_server_line, write_request};
use secure_chat::protocol::reply::Greeting;
use secure_chat::protocol::request::{Hello, Kdf, Login, Register, Request, SessionWish};
use secure_chat::protocol::{Fixed, UserName};

const SALT: [u8; 16] = [7; 16];
const COST: Cost = Cost::FLOOR;

static KEY: LazyLock<Derived> = LazyLock::new(|| derive("load", &SALT, COST).unwrap());

/// Registers the name on a fresh connection and stays logged in.
pub(crate) fn register(stream: TcpStream, name: &str) -> TcpStream {
    enter(stream, name, true)
}

/// Logs in on a fresh connection.
pub(crate) fn login(stream: TcpStream, name: &str) -> TcpStream {
    enter(stream, name, false)
}

fn enter(stream: TcpStream, name: &str, register: bool) -> TcpStream {
    let name: UserName = name.parse().unwrap();
    let greeting = call(&stream, &Request::Hello(Hello { version: 1 }));
    let greeting: Greeting = serde_json::from_value(greeting).unwrap();
    let challenge = Challenge {
        name: name.as_str(),
        nonce: &greeting.nonce.0,
        certificate: &[],
    };
    let key = &KEY.login_key;
    let session = SessionWish::default();
    let request = if register {
        let credentials = Credentials {
            login_key: key.public(),
            salt: SALT,
            cost: COST,
        };
        Request::Register(Register {
            name,
            kdf: Kdf {
                salt: Fixed(SALT),
                memory_kib: COST.memory_kib,
                passes: COST.passes,
                lanes: COST.lanes,
            },
            login_key: Fixed(key.public()),
            proof: Fixed(key.prove(&Purpose::Register(credentials), &challenge)),
            session,
        })
    } else {
        Request::Login(Login {
            name,
            proof: Fixed(key.prove(&Purpose::Login, &challenge)),
            session,
        })
    };
    call(&stream, &request);
    stream
}

/// One request, one answer; reads not a byte beyond it.
fn call(mut stream: &TcpStream, request: &Request) -> serde_json::Value {
    let mut line = Vec::new();
    write_request(&mut line, Some(1), request).unwrap();
    stream.write_all(&line).unwrap();
    let mut answer = Vec::new();
    // One byte at a time: messages may follow at once, and are not ours to take.
    BufReader::with_capacity(1, stream)
        .read_until(b'\n', &mut answer)
        .unwrap();
    match parse_server_line(&answer) {
        Ok(ServerLine::Answer(_, Ok(value))) => value,
        other => panic!("{other:?}"),
    }
}
