//! A server that is known by its certificate, and somebody in its place who has another one
//! or speaks no TLS at all.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use super::{Row, as_in_the_table};
use crate::harness::{CLIENT_PASSWORD, ClientProcess, temporary_folder};
use crate::lab::Server;

/// What a client shows that knows a certificate of the server, and the exit code.
fn shown(server: SocketAddr, flags: &[&str]) -> (String, Option<i32>) {
    let data = temporary_folder();
    let pin = format!("{server} {}\n", "5a".repeat(32));
    std::fs::write(data.path().join("known_servers"), pin).unwrap();
    let flags = [&["--user", "alice"], flags].concat();
    let mut client = ClientProcess::start(server, data.path(), &flags);
    let code = client.ends();
    let shows = client.shown.join(" ");
    // The port is another one each time.
    let port = format!(":{}", server.port());
    (shows.replace(&port, ":8080"), code)
}

/// Answers one connection with a line of the console; gives all that was heard there.
fn speaks_plainly(listener: &TcpListener) -> JoinHandle<Vec<u8>> {
    let listener = listener.try_clone().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"-ERR tls_is_off use --tls off\r\n")
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        // A client that hangs up may reset the connection.
        let _reset = stream.read_to_end(&mut heard);
        heard
    })
}

/// Somebody in the place of a pinned server.
pub(super) fn without_tls() -> Vec<Row> {
    let row = |attack, (shows, code): (String, Option<i32>), heard: &[u8]| {
        assert_eq!(code, Some(6), "{shows}");
        let has = |words: &str| {
            heard
                .windows(words.len())
                .any(|seen| seen == words.as_bytes())
        };
        Row {
            attack,
            shows: as_in_the_table(&shows),
            left: has(CLIENT_PASSWORD) || has("hello"),
            lies: 0,
            gap: None,
        }
    };
    let mut rows = Vec::new();
    let server = Server::start();
    let shows = shown(server.address(), &["--tls", "pinned"]);
    rows.push(row("a pinned server shows another certificate", shows, b""));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = speaks_plainly(&listener);
    let shows = shown(address, &["--tls", "pinned"]);
    let heard = heard.join().unwrap();
    rows.push(row("a pinned server answers without TLS", shows, &heard));

    // Nobody may come, and nobody is waited for.
    listener.set_nonblocking(true).unwrap();
    let spelled = format!("LocalHost.:0{}", address.port());
    for (attack, flags) in [
        ("… and --tls off is tried", &["--tls", "off"][..]),
        (
            "… under another spelling",
            &["--tls", "off", "--server", &spelled],
        ),
    ] {
        let shows = shown(address, flags);
        let came = listener.accept().is_ok();
        rows.push(row(attack, shows, if came { b"hello" } else { b"" }));
    }
    rows
}
