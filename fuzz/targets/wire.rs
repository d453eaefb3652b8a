//! What anybody can put on the wire: lines in both spellings, in whatever
//! pieces, and whatever comes before it is known which spelling it is.

use secure_chat::protocol::console;
use secure_chat::protocol::console::ConsoleLine;
use secure_chat::protocol::json::{
    ServerLine, parse_request, parse_server_line, write_answer, write_event, write_request,
};
use secure_chat::protocol::line_buffer::{LineBuffer, TooLong};
use secure_chat::protocol::reply::{
    Accepted, AccountSettings, Bundle, Fetched, Greeting, Incoming, Published, SearchPage,
    UserStatus, Waiting, Welcome,
};
use secure_chat::protocol::request::KdfParams;
use secure_chat::protocol::sanitize::sanitize;
use secure_chat::protocol::{Body, Event, MessageId, Request, limits};
use secure_chat::transport::fingerprint::Fingerprint;
use secure_chat::transport::proxy_header;
use secure_chat::transport::sniff::Language;
use secure_chat::transport::tls::follow;

/// A certificate that a server has made, and what it has signed about the next one.
const CERTIFICATE: &str = "MIIBWDCB/qADAgECAhQ/gTS3vFoLsj9rGxkcUA+XKpC3rTAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJTZWN1cmUgQ2hhdCBzZXJ2ZXIwIBcNNzUwMTAxMDAwMDAwWhgPNDA5NjAxMDEwMDAwMDBaMB0xGzAZBgNVBAMMElNlY3VyZSBDaGF0IHNlcnZlcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKOjx280DxotFzJ3HbkyAQ9YUxbeZFMOo6X5XntIWcbaWFMqBMEsy2k9IXFd3R5heRX718TSY7k9Wje2l4TqH6ejGjAYMBYGA1UdEQQPMA2CC3NlY3VyZS1jaGF0MAoGCCqGSM49BAMCA0kAMEYCIQCEYWE3LG1WYN7Qig15ipkMypAa3Xmkf5z8DOUC9pW2+gIhAP3oYyTkQv907X9HsUnP9B9Mmz5sD/U9B1814QvUwnnb";
const ITS_SIGNATURE: &str = "MEUCIQDfZSaJ4IxNHfa4sglC664T1C/6xKZzpGW9oZtfkoNriQIgZQbGH56BZRvzE8PY2hJpeQ+O7Q782sYYfjvA6uLHomw=";

/// A line read as a request and as a server's line.
///
/// Must hold: what parses is written again, and that parses to the same; what
/// doesn't parse is answered with one line.
pub(crate) fn json(data: &[u8]) {
    match parse_request(data) {
        (id, Ok(request)) => {
            if let Request::Send(send) = &request {
                assert!(!send.body.is_empty() && send.body.len() <= limits::MAX_ENVELOPE);
            }
            let mut first = Vec::new();
            write_request(&mut first, id, &request).unwrap();
            assert_one_line(&first);
            let (same_id, again) = parse_request(&first);
            let mut second = Vec::new();
            write_request(&mut second, same_id, &again.unwrap()).unwrap();
            assert!(first == second, "a request has two spellings");
        }
        (id, Err(refusal)) => {
            let mut answer = Vec::new();
            write_answer(&mut answer, id, &Err(refusal.clone()));
            assert_one_line(&answer);
            match parse_server_line(&answer) {
                Ok(ServerLine::Answer(same_id, Err(same))) => {
                    assert_eq!((same_id, same), (id, refusal));
                }
                other => panic!("a refusal was read as {other:?}"),
            }
        }
    }
    match parse_server_line(data) {
        Ok(ServerLine::Event(event)) => {
            let mut written = Vec::new();
            write_event(&mut written, &event);
            assert_one_line(&written);
            match parse_server_line(&written) {
                Ok(ServerLine::Event(again)) => assert_eq!(again, event),
                other => panic!("an event was read as {other:?}"),
            }
        }
        Ok(ServerLine::Answer(_, Ok(value))) => read_as_every_answer(&value),
        Ok(ServerLine::Answer(_, Err(_))) | Err(_) => {}
    }
}

/// A client types an answer by what it asked, so a hostile one may be of any form.
fn read_as_every_answer(value: &serde_json::Value) {
    fn read<T: serde::de::DeserializeOwned>(value: &serde_json::Value) {
        // Refusing it is as good as taking it; only a panic is not.
        let _read = serde_json::from_value::<T>(value.clone());
    }
    if let Ok(greeting) = serde_json::from_value::<Greeting>(value.clone()) {
        // A certificate is read before anything of it is believed.
        let first = greeting.successions.first();
        let known = first.map_or(&[][..], |step| &step.certificate.0);
        let shown = Fingerprint([0; 32]);
        assert!(follow(Fingerprint::of(known), shown, &greeting.successions).is_err());
    }
    read::<KdfParams>(value);
    read::<Welcome>(value);
    read::<SearchPage>(value);
    read::<UserStatus>(value);
    read::<AccountSettings>(value);
    read::<Bundle>(value);
    read::<Published>(value);
    read::<Accepted>(value);
    read::<Waiting>(value);
    read::<Fetched>(value);
}

fn assert_one_line(bytes: &[u8]) {
    let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(newlines == 1 && bytes.ends_with(b"\n"), "not one line");
}

/// A console line, and the same bytes as the text of a message that is shown.
///
/// Must hold: only console operations come of it; what is printed has no control
/// characters but its own line ends, so nobody's words can drive a terminal.
pub(crate) fn console(data: &[u8]) {
    let parsed = console::parse(data, || MessageId([7; 16]));
    match &parsed {
        Ok(ConsoleLine::Request(Request::Send(send))) => {
            assert!(matches!(&send.body, Body::Plain(text)
                if !text.is_empty() && text.len() <= limits::MAX_TEXT));
        }
        Ok(ConsoleLine::Request(request)) => assert!(
            !matches!(
                request,
                Request::Hello(_) | Request::Publish(_) | Request::Keys(_) | Request::Ack(_)
            ),
            "JSON's operations are JSON's"
        ),
        Ok(ConsoleLine::Greeting | ConsoleLine::Help(_) | ConsoleLine::Quit) => {}
        Err(refusal) => {
            let mut answer = Vec::new();
            console::write_answer(&mut answer, &Err(refusal.clone()));
            assert_printable(&answer);
        }
    }
    let text = String::from_utf8_lossy(data);
    assert_harmless(&sanitize(&text));
    let message = Incoming {
        from: "mallory".parse().unwrap(),
        mid: MessageId([8; 16]),
        at: u64::from(data.first().copied().unwrap_or(0)) << 40,
        body: Body::Plain(text.into()),
    };
    let mut shown = Vec::new();
    console::write_event(&mut shown, &Event::Message(message));
    let lines = std::str::from_utf8(&shown).unwrap();
    for line in lines.split_inclusive("\r\n") {
        assert!(line.starts_with("* "), "somebody else began {line:?}");
        assert_printable(line.as_bytes());
    }
}

fn assert_printable(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    let line = text.strip_suffix("\r\n").unwrap();
    assert_harmless(line);
}

fn assert_harmless(text: &str) {
    let bidi = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let control = text.chars().find(|c| c.is_control() || bidi(*c));
    assert_eq!(control, None, "it reaches the terminal");
}

/// The line buffer against the simplest model of it: all bytes in one vector.
/// The first two bytes say how long a line may be, the third how the rest is cut
/// into reads.
pub(crate) fn lines(data: &[u8]) {
    let Some(([high, low, seed], bytes)) = data.split_first_chunk() else {
        return;
    };
    let max_line = usize::from(u16::from_be_bytes([*high, *low]) % 4096) + 2;
    let mut buffer = LineBuffer::new(max_line);
    let mut found = Vec::new();
    let (mut rest, mut step) = (bytes, usize::from(*seed) + 1);
    'reads: while !rest.is_empty() {
        // Any sequence of sizes will do, as long as the input decides it.
        step = step * 31 % 997 + 1;
        let space = buffer.space();
        let count = space.len().min(rest.len()).min(step);
        assert!(count > 0, "no space is an endless loop");
        let (piece, after) = rest.split_at(count);
        space[..count].copy_from_slice(piece);
        buffer.filled(count);
        rest = after;
        loop {
            match buffer.next_line() {
                None => break,
                Some(Ok(line)) => found.push(line.to_vec()),
                Some(Err(TooLong)) => {
                    found.push(b"too long".to_vec());
                    break 'reads;
                }
            }
        }
        assert!(buffer.rest().len() < max_line, "it holds more than a line");
        if step % 3 == 0 {
            buffer.shrink();
        }
    }
    assert!(
        found == model(bytes, max_line),
        "the buffer and the model differ"
    );
}

/// What the lines of `bytes` are.
fn model(bytes: &[u8], max_line: usize) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        let whole = pieces.peek().is_some();
        if piece.len() >= max_line {
            lines.push(b"too long".to_vec());
            break;
        }
        if whole {
            lines.push(piece.strip_suffix(b"\r").unwrap_or(piece).to_vec());
        }
    }
    lines
}

/// A connection's first bytes, told apart as the server tells them.
///
/// Must hold: an HTTP request never becomes a command, whatever its body says.
pub(crate) fn sniff(data: &[u8]) {
    let mut buffer = LineBuffer::new(limits::MAX_LINE);
    let count = data.len().min(buffer.space().len());
    buffer.space()[..count].copy_from_slice(&data[..count]);
    buffer.filled(count);
    let first = buffer.rest().first().copied();
    let mut first_line = true;
    while let Some(Ok(line)) = buffer.next_line() {
        match first.map(Language::of) {
            // What follows is for rustls.
            None | Some(Language::Tls) => return,
            Some(Language::Json) => drop(parse_request(line)),
            Some(Language::Console) => {
                let is_first = first_line;
                first_line &= line.is_empty();
                if is_first && console::is_http(line) {
                    return;
                }
                let command = console::parse(line, || MessageId([7; 16]));
                assert!(
                    !(is_first && looks_like_http(line)),
                    "an HTTP request came through as {command:?}"
                );
            }
        }
    }
}

/// A connection from a proxy, in pieces. The first byte says how long a piece is.
///
/// Must hold: pieces change nothing; a refusal is final; a header lies within its bound, and what it
/// says depends on nothing behind it; a client's address is one that a client can have.
pub(crate) fn proxy_header(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else {
        return;
    };
    let whole = proxy_header::parse(bytes);
    let step = usize::from(*step).max(1);
    for cut in (0..bytes.len()).step_by(step) {
        match proxy_header::parse(&bytes[..cut]) {
            Ok(None) => {}
            decided => {
                assert_eq!(decided, whole, "more bytes have changed the decision");
                break;
            }
        }
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.length <= bytes.len().min(proxy_header::MAX_HEADER));
            assert!(
                proxy_header::begins(bytes),
                "a header that elsewhere is not seen"
            );
            assert_eq!(proxy_header::parse(&bytes[..header.length]), whole);
            if let Some(client) = header.client {
                let ip = client.ip();
                assert_eq!(ip, ip.to_canonical());
                assert!(!ip.is_unspecified() && !ip.is_multicast());
            }
        }
        Ok(None) => assert!(bytes.len() < proxy_header::MAX_HEADER),
        Err(_) => {}
    }
}

/// `token SP target SP HTTP/1.x` (RFC 9112 section 3), for any method.
fn looks_like_http(line: &[u8]) -> bool {
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    matches!(words.as_slice(), [method, _, version]
        if !method.is_empty()
            && method.iter().all(u8::is_ascii_alphabetic)
            && version.starts_with(b"HTTP/1."))
}

/// Seeds of the five targets.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    const MID: &str = "000102030405060708090a0b0c0d0e0f";
    let base64 = |bytes: usize| zeros_in_base64(bytes);
    let (key, signature, salt) = (base64(32), base64(64), base64(16));
    let json = [
        ("hello", r#"{"id":1,"op":"hello","version":1}"#.to_owned()),
        (
            "hello-certificate",
            format!(r#"{{"id":1,"op":"hello","version":1,"certificate":"{key}"}}"#),
        ),
        (
            "greeting",
            format!(
                r#"{{"id":1,"ok":{{"server":"secure-chat","version":1,"oldest":1,"nonce":"{key}","max_line":65536,"previous":"{key}","successions":[{{"certificate":"{CERTIFICATE}","next":"XMDnAn4sYp88PwQW3LanQoYSbsWeaFko6RqyD7Qd+pM=","at":1795820659757,"scheme":1027,"signature":"{ITS_SIGNATURE}"}}]}}}}"#
            ),
        ),
        (
            "send-envelope",
            format!(
                r#"{{"id":7,"op":"send","to":"bob","mid":"{MID}","envelope":"AQID","identity":"{key}"}}"#
            ),
        ),
        (
            "send-text",
            format!(
                r#"{{"id":7,"op":"send","to":"Bob","mid":"{MID}","text":"h\u00e9llo","again":true}}"#
            ),
        ),
        (
            "register",
            format!(
                r#"{{"op":"register","name":"a","kdf":{{"salt":"{salt}","memory_kib":65536,"passes":3,"lanes":1}},"login_key":"{key}","proof":"{signature}","take_over":true}}"#
            ),
        ),
        (
            "publish",
            format!(
                r#"{{"id":2,"op":"publish","identity":{{"signing":"{key}","dh":"{key}"}},"signed_prekey":{{"id":1,"key":"{key}","signature":"{signature}"}},"one_time":[{{"id":1,"key":"{key}"}}],"replace":true}}"#
            ),
        ),
        (
            "ack",
            format!(r#"{{"op":"ack","from":"*","ids":["{MID}"]}}"#),
        ),
        (
            "settings",
            r#"{"id":3,"op":"settings","listed":false}"#.to_owned(),
        ),
        ("deep", "[".repeat(300)),
        (
            "message",
            format!(
                r#"{{"event":"message","from":"al","mid":"{MID}","at":5,"text":"x\u001b[2J"}}"#
            ),
        ),
        (
            "notice",
            format!(
                r#"{{"event":"notice","mid":"{MID}","at":5,"notice":"turned_away","names":["al"],"count":2}}"#
            ),
        ),
        (
            "delivered",
            format!(r#"{{"event":"delivered","to":"al","ids":["{MID}"]}}"#),
        ),
        (
            "later-event",
            r#"{"event":"of the future","x":1}"#.to_owned(),
        ),
        (
            "refusal",
            r#"{"id":null,"error":{"code":"slow_down","message":"no"}}"#.to_owned(),
        ),
        (
            "welcome",
            format!(
                r#"{{"id":2,"ok":{{"name":"al","session":"{salt}","envelopes":1,"plain":0,"notices":0,"identity":null,"signed_prekey":null,"one_time":0,"logins":1,"settings":{{"listed":true,"presence":true,"refuse_unencrypted":false,"blocked":["bob"]}}}}}}"#
            ),
        ),
    ];
    let console = [
        ("send", &b"send bob h\xc3\xa9llo"[..]),
        ("register", b"register bob correct horse"),
        ("passwd", b"passwd old new"),
        ("search", b"search al"),
        ("settings", b"settings encrypted-only on"),
        (
            "telnet",
            b"\xff\xfb\x1f\xff\xfa\x1f\x00\x50\xff\xf0login bob x\r\0",
        ),
        ("escape", b"\x1b[2J\x1b]0;title\x07\xe2\x80\xae"),
        ("json-only", b"publish x"),
        ("empty", b""),
    ];
    let lines = [
        ("short", &b"\x00\x40\x01one\r\ntwo\n\nthree"[..]),
        ("too-long", b"\x00\x02\x05abcdefgh\n"),
        ("bare-returns", b"\x01\x00\x09\r\r\n\r\n\n\xff\r"),
    ];
    let sniff = [
        (
            "browser",
            &b"POST / HTTP/1.1\r\nHost: x\r\n\r\nsend bob hi\r\n"[..],
        ),
        ("odd-method", b"SEND bob HTTP/1.1\r\nsend bob hi\r\n"),
        ("json", b"{\"op\":\"ping\"}\nsend bob hi\n"),
        ("console", b"\r\nlogin bob secret\r\nsend al hi\r\n"),
        ("tls", b"\x16\x03\x01\x00\xc5\x01\n"),
        ("telnet", b"\xff\xfd\x03GET / HTTP/1.0\r\n"),
    ];
    let v4 =
        b"\x01\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x30\x39\x1f\x90";
    let v6 = b"\x05\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28 \x01\r\xb8\0\0\0\0\0\0\0\0\0\0\0\x07 \x01\r\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x30\x39\x1f\x90\x04\0\x01x{}";
    let headers = [
        ("ipv4", &v4[..]),
        ("ipv6-and-addition", v6),
        ("local", b"\x03\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
        ("too-long", b"\x02\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"),
        (
            "version-1",
            b"\x02PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        ),
    ];
    let mut seeds: Vec<(&'static str, String, Vec<u8>)> = Vec::new();
    for (name, line) in json {
        seeds.push(("json", name.to_owned(), line.into_bytes()));
    }
    let raw = [
        ("console", &console[..]),
        ("lines", &lines),
        ("sniff", &sniff),
        ("proxy_header", &headers),
    ];
    for (target, cases) in raw {
        for (name, bytes) in cases {
            seeds.push((target, (*name).to_owned(), bytes.to_vec()));
        }
    }
    seeds
}

/// So many zero bytes in base64.
fn zeros_in_base64(bytes: usize) -> String {
    let pad = (3 - bytes % 3) % 3;
    let symbols = bytes.div_ceil(3) * 4 - pad;
    format!("{}{}", "A".repeat(symbols), "=".repeat(pad))
}
