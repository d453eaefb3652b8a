//! Connections that a proxy makes for others: whose they are, what that decides, and what is no
//! header.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::process::Command;

use serde_json::Value;

use crate::harness::stream::Stream;
use crate::harness::{PATIENCE, Server, eventually, process};

/// The proxy: another address of this machine than that of people who use telnet on it.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn header(client: &str) -> Vec<u8> {
    let port = [0x30, 0x39, 0x1f, 0x90];
    let (family, addresses) = match client.parse::<Ipv4Addr>() {
        Ok(v4) => (0x11, [&v4.octets()[..], &[127, 0, 0, 1], &port].concat()),
        Err(_) => {
            let v6: Ipv6Addr = client.parse().unwrap();
            let here = Ipv6Addr::LOCALHOST.octets();
            (0x21, [&v6.octets()[..], &here, &port].concat())
        }
    };
    let length = [0, addresses.len() as u8];
    [SIGNATURE, &[0x21, family], &length, &addresses].concat()
}

/// A server behind a proxy, with these flags.
fn server(flags: &[&str]) -> Server {
    let proxied = ["--proxy-from", "127.0.0.2", "--log", "json"];
    Server::with(&[&proxied, flags].concat())
}

/// A connection from an address of this machine that has sent these bytes.
fn connect(server: &Server, from: Ipv4Addr, bytes: &[u8]) -> TcpStream {
    let mut stream = Stream::connect_from(from, server.address(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// A connection that the proxy makes for a client, which begins with these bytes.
fn proxied(server: &Server, client: &str, bytes: &[u8]) -> TcpStream {
    connect(server, PROXY, &[&header(client), bytes].concat())
}

/// All that comes until the server closes.
fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too: the server closes with bytes unread.
    let _end = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The first line that comes.
fn line(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

const PING: &[u8] = b"{\"id\":1,\"op\":\"ping\"}\n";
const REGISTER: &[u8] = b"register carol correct-horse-battery\r\nquit\r\n";

#[test]
fn the_client_behind_the_proxy_is_the_peer() {
    let server = server(&["--plaintext", "--console-from", "192.0.2.0/24"]);
    let login = b"register carol correct-horse-battery\r\nlogin carol correct-horse-battery\r\n";
    let mut carol = proxied(&server, "192.0.2.7", login);
    let registered = line(&mut carol);
    assert!(registered.starts_with("+OK"), "{registered}");
    eventually("carol is logged in", || {
        server.log().contains("logged in as carol")
    });
    let event: Value = server
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|event: &Value| event["event"] == "login")
        .unwrap();
    assert_eq!(event["address"], "192.0.2.7:12345");
    let mut list = process::command(env!("CARGO_BIN_EXE_server"));
    let list = list.args(["--json", "sessions", "list", "--data"]);
    let list = list.arg(server.data()).output().unwrap();
    let listed = String::from_utf8(list.stdout).unwrap();
    assert!(listed.contains("192.0.2.7:12345"), "{listed}");
}

#[test]
fn the_rules_of_this_machine_are_for_clients_on_it() {
    let server = server(&[]);
    let taken = |stream| answer(stream).starts_with("+OK");
    assert!(taken(proxied(&server, "127.0.0.1", REGISTER)));
    let elsewhere = answer(proxied(&server, "192.0.2.7", REGISTER));
    assert!(elsewhere.starts_with("-ERR tls_required "), "{elsewhere}");
    let six = answer(proxied(&server, "2001:db8::7", PING));
    assert!(six.contains("tls_required"), "{six}");
    let mapped = answer(proxied(&server, "::ffff:192.0.2.7", PING));
    assert!(mapped.contains("tls_required"), "{mapped}");
}

#[test]
fn where_it_must_be_a_missing_or_broken_header_ends_the_connection() {
    let server = server(&[]);
    let mut damaged = header("192.0.2.7");
    damaged[13] = 0x31;
    let mut long = header("192.0.2.7");
    long[14] = 0xff;
    let mut nobody = header("192.0.2.7");
    nobody[13] = 0;
    for bytes in [
        PING,
        REGISTER,
        b"\x16\x03\x01\x00\x05hello",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8080\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT!",
        &damaged,
        &long,
        &nobody,
        &[0; 5000],
    ] {
        let said = answer(connect(&server, PROXY, bytes));
        assert!(said.starts_with("-ERR proxy_header "), "{bytes:?}: {said}");
    }
    let gone = connect(&server, PROXY, &header("192.0.2.7")[..20]);
    drop(gone);
    eventually("all have left", || server.connections() == 0);
    eventually("it is logged", || {
        server.log().contains("was refused (proxy_header)")
    });
    server.register("alice");
}

#[test]
fn elsewhere_it_is_refused_in_whatever_pieces_it_comes() {
    let server = server(&[]);
    let bytes = [&header("127.0.0.1")[..], PING].concat();
    let here = Ipv4Addr::LOCALHOST;
    let said = answer(connect(&server, here, &bytes));
    assert!(said.starts_with("-ERR proxy_header "), "{said}");
    let mut slow = connect(&server, here, b"");
    slow.set_nodelay(true).unwrap();
    for byte in &bytes {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let said = answer(slow);
    assert!(said.contains("-ERR proxy_header "), "{said}");
    let first = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8080\r\n";
    let said = answer(connect(&server, here, first));
    assert!(said.starts_with("-ERR proxy_header "), "{said}");
}

#[test]
fn a_header_may_come_slowly_but_not_for_ever() {
    let server = server(&["--handshake-time", "2"]);
    let bytes = [&header("127.0.0.1")[..], PING].concat();
    let mut slow = connect(&server, PROXY, b"");
    slow.set_nodelay(true).unwrap();
    for byte in &bytes {
        slow.write_all(&[*byte]).unwrap();
    }
    assert!(line(&mut slow).contains("\"ok\""));
    let halted = answer(connect(&server, PROXY, &bytes[..27]));
    assert!(halted.starts_with("-ERR timed_out "), "{halted}");
    let silent = answer(connect(&server, PROXY, b""));
    assert!(silent.starts_with("-ERR timed_out "), "{silent}");
}

#[test]
fn a_proxy_that_looks_after_the_server_is_answered() {
    let server = server(&[]);
    let local = [SIGNATURE, b"\x20\x00\x00\x00", PING].concat();
    assert!(line(&mut connect(&server, PROXY, &local)).contains("\"ok\""));
    // The whole machine is a proxy's here, `server ping` included.
    let flags = ["--proxy-from", "127.0.0.0/8"];
    let all = Server::with(&flags);
    let on = all.address().to_string();
    let mut ping = process::command(env!("CARGO_BIN_EXE_server"));
    let ping: &mut Command = ping.args(["ping", "--listen", &on]).args(flags);
    assert!(ping.output().unwrap().status.success());
}

#[test]
fn limits_and_bans_are_for_the_client() {
    let server = server(&["--plaintext", "--max-clients-per-address", "2"]);
    let open = |client: &str| {
        let mut stream = proxied(&server, client, PING);
        let said = line(&mut stream);
        (stream, said)
    };
    let taken = |(_, said): &(TcpStream, String)| said.contains("\"ok\"");
    let held: Vec<_> = (0..2).map(|_| open("192.0.2.7")).collect();
    assert!(held.iter().all(taken));
    let third = open("192.0.2.7").1;
    assert!(third.starts_with("-ERR server_full "), "{third}");
    assert!(taken(&open("192.0.2.8")), "another client has its own");
    // A site of 48 bits has eight times as many as an address.
    let site: Vec<_> = (0..16)
        .map(|network| open(&format!("2001:db8:1:{network:x}::7")))
        .collect();
    assert!(site.iter().all(taken));
    let more = open("2001:db8:1:ffff::7").1;
    assert!(more.starts_with("-ERR server_full "), "{more}");
    assert!(taken(&open("2001:db8:2::7")));
    drop(held);
    eventually("their places are free", || taken(&open("192.0.2.7")));

    let mut before = open("198.51.100.7").0;
    let mut ban = process::command(env!("CARGO_BIN_EXE_server"));
    let ban = ban.args(["ban", "198.51.100.0/24", "--data"]);
    assert!(ban.arg(server.data()).output().unwrap().status.success());
    let ended = line(&mut before);
    assert!(ended.contains("\"banned\""), "{ended}");
    let banned = open("198.51.100.9").1;
    assert!(banned.starts_with("-ERR banned "), "{banned}");
    assert!(taken(&open("203.0.113.7")));
    assert!(!server.log().contains("127.0.0.2"));
}
