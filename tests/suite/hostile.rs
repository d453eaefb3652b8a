//! Lines that are not requests, and bytes that are not lines. Each gets a clear
//! error or a clean close, and nobody else notices.

use serde_json::{Value, json};

use crate::harness::{Server, mid};

/// The code of the answer to one raw line.
fn code(server: &Server, line: &[u8]) -> String {
    let mut wire = server.wire();
    wire.write(line);
    wire.write(b"\n");
    let answer: Value = serde_json::from_str(&wire.line().unwrap()).unwrap();
    answer["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn lines_that_are_no_requests_are_answered_and_survived() {
    let server = Server::start();
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(10_000), close.repeat(10_000));
        format!("{{\"op\":\"ping\",\"x\":{open}1{close}}}")
    };
    let nested_field = format!("{{\"op\":\"status\",\"name\":{}", "[".repeat(30_000));
    let nested_op = format!("{{\"op\":{}", "{\"op\":".repeat(9_000));
    let bad_lines: Vec<Vec<u8>> = [
        "{",
        "{}",
        "{]",
        "{\"op\":}",
        "{\"op\":null}",
        "{\"op\":17}",
        "{\"op\":[\"ping\"]}",
        "{\"op\":\"ping\",\"op\":\"send\"}",
        "{\"op\":\"ping\"} trailing",
        "{\"op\":\"ping\",\"id\":-1}",
        "{\"op\":\"ping\",\"id\":\"1\"}",
        "{\"op\":\"ping\",\"id\":1.5}",
        "{\"op\":\"ping\",\"id\":18446744073709551616}",
        "{\"op\":\"hello\"}",
        "{\"op\":\"hello\",\"version\":\"1\"}",
        "{\"op\":\"hello\",\"version\":4294967296}",
        "{\"op\":\"login\",\"name\":\"alice\",\"proof\":\"AAAA\"}",
        "{\"op\":\"login\",\"name\":\"alice\",\"proof\":null}",
        "{\"op\":\"register\",\"name\":\"alice\",\"kdf\":{},\"login_key\":\"\",\"proof\":\"\"}",
        "{\"op\":\"kdf\",\"name\":\"\"}",
        "{\"op\":\"kdf\",\"name\":\"\\u0430lice\"}",
        "{\"op\":\"kdf\",\"name\":\"bob\\u202e\"}",
        "{\"op\":\"kdf\",\"name\":\"bo\\u0000b\"}",
        "{\"op\":\"kdf\",\"name\":\"\\ud800\"}",
        &nested_field,
        &nested_op,
    ]
    .map(|line| line.as_bytes().to_vec())
    .into_iter()
    .chain([
        b"{\"op\":\"pi\0ng\"}".to_vec(),
        b"{\"op\":\"\xff\xfe\"}".to_vec(),
        b"{\0\0\0\0".to_vec(),
        b"{\"op\":\"ping\",\"x\":\"\x01\"}".to_vec(),
    ])
    .collect();
    for line in bad_lines {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        assert_eq!(code(&server, &line), "bad_request", "{shown}");
    }
    assert_eq!(code(&server, b"{\"op\":\"\"}"), "unknown_op");
    assert_eq!(code(&server, b"{\"op\":\"PING\"}"), "unknown_op");

    // Nesting inside a field nobody reads is either skipped or refused.
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let mut wire = server.wire();
        let line = deep(open, close).replace("\"ping\"", "\"ping\",\"id\":1");
        assert!(line.len() < 100_000);
        wire.write(line.as_bytes());
        wire.write(b"\n");
        let answer = wire.line().unwrap();
        assert!(
            answer.contains("\"ok\"") || answer.contains("error"),
            "{answer}"
        );
    }
    server.register("alice");
}

#[test]
fn every_operation_but_four_needs_a_login() {
    let server = Server::start();
    let mut stranger = server.client();
    let prekey = json!({"id": 1, "key": "A".repeat(43) + "=", "signature": "A".repeat(86) + "=="});
    let identity = json!({"signing": "A".repeat(43) + "=", "dh": "A".repeat(43) + "="});
    let kdf = json!({"salt": "A".repeat(22) + "==", "memory_kib": 1, "passes": 1, "lanes": 1});
    let requests = [
        ("logout", json!({})),
        ("search", json!({"text": "al"})),
        ("status", json!({"name": "alice"})),
        ("settings", json!({})),
        ("block", json!({"name": "alice"})),
        ("unblock", json!({"name": "alice"})),
        ("keys", json!({"name": "alice"})),
        (
            "publish",
            json!({"identity": identity, "signed_prekey": prekey, "one_time": []}),
        ),
        ("send", json!({"to": "alice", "mid": mid(1), "text": "x"})),
        ("outcome", json!({"to": "alice", "ids": []})),
        ("ack", json!({"from": "alice", "ids": [mid(1)]})),
        ("fetch", json!({})),
        (
            "passwd",
            json!({"kdf": kdf, "login_key": "A".repeat(43) + "=", "proof": "A".repeat(86) + "=="}),
        ),
        ("delete_account", json!({"proof": "A".repeat(86) + "=="})),
    ];
    for (op, fields) in requests {
        let refused = stranger.ask(op, fields);
        assert_eq!(refused, Err("not_logged_in".to_owned()), "{op}");
    }
    stranger.ok("ping", json!({}));
}

#[test]
fn bodies_that_are_no_message_are_refused() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let long_text = "x".repeat(16 * 1024 + 1);
    let long_envelope = data_encoding::BASE64.encode(&vec![7; 24 * 1024 + 1]);
    let bodies = [
        json!({}),
        json!({"text": ""}),
        json!({"envelope": ""}),
        json!({"text": 5}),
        json!({"text": null, "envelope": null}),
        json!({"text": "x", "envelope": "AQID"}),
        json!({"envelope": "not base64!"}),
        json!({"envelope": "AQI"}),
        json!({"envelope": "AQJ="}),
        json!({"envelope": "AQ ID"}),
        json!({"envelope": [1, 2, 3]}),
        json!({"text": long_text}),
        json!({"envelope": long_envelope}),
        json!({"text": "x", "identity": "AAAA"}),
        json!({"text": "x", "again": "yes"}),
        json!({"text": "x", "mid": "00"}),
        json!({"text": "x", "mid": "zz000000000000000000000000000000"}),
        json!({"text": "x", "to": "no spaces"}),
        json!({"text": "x", "to": "*"}),
    ];
    for (number, mut fields) in bodies.into_iter().enumerate() {
        // A request that is understood begins the row of bad lines anew.
        alice.ok("ping", json!({}));
        let defaults = json!({"to": "bob", "mid": mid(number as u64)});
        for (field, value) in defaults.as_object().unwrap() {
            if fields[field].is_null() {
                fields[field] = value.clone();
            }
        }
        let refused = alice.ask("send", fields.clone());
        let too_large = fields["text"] == long_text || fields["envelope"] == long_envelope;
        let code = if too_large {
            "too_large"
        } else {
            "bad_request"
        };
        assert_eq!(refused, Err(code.to_owned()));
    }
    bob.no_event();
}

#[test]
fn keys_that_nobody_could_use_are_refused() {
    let server = Server::start();
    let mut alice = server.register("alice");
    let key = |byte: u8| data_encoding::BASE64.encode(&[byte; 32]);
    let prekey = json!({"id": 1, "key": key(9), "signature": "A".repeat(86) + "=="});
    for (signing, dh) in [(0, 0), (1, 1), (9, 0), (255, 255)] {
        let identity = json!({"signing": key(signing), "dh": key(dh)});
        let fields = json!({"identity": identity, "signed_prekey": prekey, "one_time": []});
        assert_eq!(alice.ask("publish", fields), Err("bad_key".to_owned()));
    }
    let many: Vec<Value> = (0..201)
        .map(|id| json!({"id": id, "key": key(9)}))
        .collect();
    let identity = json!({"signing": key(9), "dh": key(9)});
    let fields = json!({"identity": identity, "signed_prekey": prekey, "one_time": many});
    assert_eq!(alice.ask("publish", fields), Err("too_large".to_owned()));
    let none = alice.ask("keys", json!({"name": "alice"}));
    assert_eq!(none, Err("no_keys".to_owned()));
}

#[test]
fn too_many_bad_lines_end_a_connection() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.write(b"{\n".repeat(9).as_slice());
    for _ in 0..9 {
        assert!(wire.line().unwrap().contains("bad_request"));
    }
    wire.write(b"{\"op\":\"ping\",\"id\":1}\n");
    assert_eq!(wire.line().unwrap(), "{\"id\":1,\"ok\":{}}");
    let _ = wire.try_write(b"{\n".repeat(11).as_slice());
    let rest = wire.rest();
    assert_eq!(rest.matches("bad_request").count(), 10);
    assert!(
        rest.lines().last().unwrap().contains("too_many_errors"),
        "{rest}"
    );
}

#[test]
fn a_web_page_cannot_make_a_browser_speak_it() {
    let server = Server::start();
    let mut victim = server.register("victim");
    let body =
        "\r\nregister mallory correct horse\r\nsend victim from the web\r\n{\"op\":\"ping\"}\r\n";
    let requests = [
        format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n{body}"),
        format!("GET / HTTP/1.1\r\n{body}"),
        format!("OPTIONS * HTTP/1.1\r\n{body}"),
        format!("PROPFIND /x HTTP/1.1\r\n{body}"),
        format!("PUT /a%20b HTTP/1.0\r\n{body}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{body}"),
        format!("POST /{} HTTP/1.1\r\n{body}", "x".repeat(60_000)),
    ];
    for request in requests {
        let mut browser = server.wire();
        let _ = browser.try_write(request.as_bytes());
        let rest = browser.rest();
        assert!(rest.starts_with("-ERR not_http "), "{rest}");
        assert_eq!(rest.lines().count(), 1, "nothing else is read: {rest}");
    }
    victim.no_event();
    let found = victim.ok("search", json!({"text": "mallory"}));
    assert_eq!(found["users"], json!([]));
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_tls_hello_gets_an_answer_and_an_end() {
    let server = Server::start();
    let mut wire = server.wire();
    // A ClientHello's beginning: handshake record, TLS 1.0 framing, garbage.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    hello.extend((0..500).map(|i| (i * 7 % 256) as u8));
    let _ = wire.try_write(&hello);
    let rest = wire.rest();
    assert_eq!(rest.lines().count(), 1, "{rest}");
    assert!(rest.starts_with("-ERR "), "{rest}");
    server.register("alice");
}
