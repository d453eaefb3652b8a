//! The console's lines, read and written.

use super::*;
use crate::protocol::reply::{Incoming, SearchPage};

fn parse_text(text: &[u8]) -> Result<ConsoleLine, Refusal> {
    parse(text, || MessageId([7; 16]))
}

#[test]
fn commands_become_requests() {
    let Ok(ConsoleLine::Request(Request::Send(send))) = parse_text(b"SEND Bob  hello  there ")
    else {
        panic!()
    };
    assert_eq!((send.to.as_str(), send.mid), ("bob", MessageId([7; 16])));
    assert_eq!(send.body, Body::Plain("hello  there".into()));
    let Ok(ConsoleLine::Request(Request::PasswordLogin(login))) =
        parse_text(b"takeover bob pass word")
    else {
        panic!()
    };
    assert!(login.take_over && login.password.0.as_str() == "pass word");
    assert!(matches!(parse_text(b"  "), Ok(ConsoleLine::Greeting)));
    assert!(matches!(parse_text(b"HELP"), Ok(ConsoleLine::Help)));
    let Ok(ConsoleLine::Request(Request::Settings(change))) = parse_text(b"settings presence off")
    else {
        panic!()
    };
    assert_eq!((change.presence, change.listed), (Some(false), None));
}

#[test]
fn telnet_negotiation_is_ignored() {
    let line = b"\xff\xfd\x01\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0hel\xff\xf1p\r\x00";
    assert!(matches!(parse_text(line), Ok(ConsoleLine::Help)));
    for cut in 0..line.len() {
        let _ = parse_text(&line[..cut]);
    }
}

#[test]
fn mistakes_are_explained() {
    for (line, code) in [
        (&b"send bob"[..], Code::BadRequest),
        (b"send b\xc3\xb6b hi", Code::BadRequest),
        (b"login bob", Code::BadRequest),
        (b"publish", Code::UseJson),
        (b"dance", Code::UnknownOp),
        (b"\xfe\x80", Code::BadRequest),
        (b"send bob \x1b[2J", Code::BadRequest),
        (b"settings presence maybe", Code::BadRequest),
        (b"passwd a b c", Code::BadRequest),
    ] {
        assert_eq!(parse_text(line).unwrap_err().code, code, "{line:?}");
    }
}

#[test]
fn http_is_recognised() {
    for line in [
        &b"GET / HTTP/1.1"[..],
        b"POST /x",
        b"PRI * HTTP/2.0",
        b"FOO / HTTP/1.0",
    ] {
        assert!(is_http(line));
    }
    assert!(!is_http(b"send bob GET / it") && !is_http(b"get"));
}

#[test]
fn nobody_can_forge_a_line_or_a_row() {
    let shown = |text: &str| {
        let mut out = Vec::new();
        let event = Event::Message(Incoming {
            from: "mallory".parse().unwrap(),
            mid: MessageId([0; 16]),
            at: 1_700_000_000_000,
            body: Body::Plain(text.into()),
        });
        write_event(&mut out, &event);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        shown("hi\r\n+OK you are root\x1b[31m"),
        "* 2023-11-14 22:13 UTC NOT ENCRYPTED from mallory: hi\r\n\
         *     | +OK you are root\\u{1b}[31m\r\n"
    );
    for pad in [" ".repeat(29), "-".repeat(29), "-".repeat(160)] {
        let text = shown(&format!("{pad}+OK you are root"));
        let fits = |row: &str| row.starts_with("* ") && row.len() < COLUMNS + 2;
        assert!(text.split_inclusive("\r\n").all(fits), "{text:?}");
    }
}

#[test]
fn times_out_of_range_are_survived() {
    let user = UserStatus {
        name: "bob".parse().unwrap(),
        online: false,
        last_seen: Some(u64::MAX),
    };
    let mut out = Vec::new();
    write_answer(
        &mut out,
        &Ok(Reply::Found(SearchPage {
            users: vec![user],
            more: false,
        })),
    );
    assert!(out.starts_with(b"* bob is offline, last seen at an unknown time\r\n+OK 1 found"));
}
