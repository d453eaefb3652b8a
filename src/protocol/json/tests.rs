//! Lines of JSON, read and written.

use super::*;
use crate::protocol::ids::{Blob, ByteArray};
use crate::protocol::reply::Incoming;

const MID: &str = "000102030405060708090a0b0c0d0e0f";

#[test]
fn a_send_round_trips() {
    let line = format!(
        r#"{{"id":7,"op":"send","to":"Bob","mid":"{MID}","envelope":"AQID","new_field":[{{}}]}}"#
    );
    let (id, request) = parse_request(line.as_bytes());
    let Ok(Request::Send(send)) = request else {
        panic!("{request:?}")
    };
    assert_eq!((id, send.to.as_str()), (Some(7), "bob"));
    let mut out = Vec::new();
    write_request(&mut out, id, &Request::Send(send)).unwrap();
    let again = format!(
        "{{\"id\":7,\"op\":\"send\",\"to\":\"bob\",\"mid\":\"{MID}\",\"envelope\":\"AQID\"}}\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), again);
}

#[test]
fn an_array_is_no_object() {
    let (key, signature) = ("A".repeat(43) + "=", "A".repeat(86) + "==");
    let (salt, name) = ("A".repeat(22) + "==", "\"name\":\"bob\"");
    let proof = format!("\"login_key\":\"{key}\",\"proof\":\"{signature}\"");
    let (object, list) = (
        format!("{{\"salt\":\"{salt}\",\"memory_kib\":1,\"passes\":1,\"lanes\":1}}"),
        format!("[\"{salt}\",1,1,1]"),
    );
    let register =
        |kdf: &str| format!("{{\"id\":3,\"op\":\"register\",{name},\"kdf\":{kdf},{proof}}}");
    let passwd = |kdf: &str| format!("{{\"id\":3,\"op\":\"passwd\",\"kdf\":{kdf},{proof}}}");
    let publish = |identity: &str, prekey: &str, one_time: &str| {
        format!(
            "{{\"id\":3,\"op\":\"publish\",\"identity\":{identity},\"signed_prekey\":{prekey},\
             \"one_time\":[{one_time}]}}"
        )
    };
    let identity = format!("{{\"signing\":\"{key}\",\"dh\":\"{key}\"}}");
    let prekey = format!("{{\"id\":1,\"key\":\"{key}\",\"signature\":\"{signature}\"}}");
    let one_time = format!("{{\"id\":1,\"key\":\"{key}\"}}");
    for line in [
        register(&object),
        passwd(&object),
        publish(&identity, &prekey, &one_time),
        "  {\"op\":\"ping\"}".to_owned(),
    ] {
        let (_, request) = parse_request(line.as_bytes());
        assert!(request.is_ok(), "{line} {request:?}");
    }
    for line in [
        register(&list),
        passwd(&list),
        publish(&format!("[\"{key}\",\"{key}\"]"), &prekey, &one_time),
        publish(
            &identity,
            &format!("[1,\"{key}\",\"{signature}\"]"),
            &one_time,
        ),
        publish(&identity, &prekey, &format!("[1,\"{key}\"]")),
        "[3,\"ping\"]".to_owned(),
        " [3,\"ping\"]".to_owned(),
        format!("[3,\"send\",\"bob\",\"{MID}\",null,\"x\"]"),
    ] {
        let (_, request) = parse_request(line.as_bytes());
        assert_eq!(request.unwrap_err().code, Code::BadRequest, "{line}");
    }
}

#[test]
fn what_is_wrong_is_said_with_the_id() {
    let cases: [(&str, Code); 9] = [
        (r#"{"id":3,"op":"dance"}"#, Code::UnknownOp),
        (r#"{"id":3,"op":"status"}"#, Code::BadRequest),
        (r#"{"id":3,"op":"status","name":17}"#, Code::BadRequest),
        (
            r#"{"id":3,"op":"status","name":"no spaces"}"#,
            Code::BadRequest,
        ),
        (r#"{"id":3,"op":5}"#, Code::BadRequest),
        (r#"{"id":3}"#, Code::BadRequest),
        (
            r#"{"id":3,"op":"send","to":"bob","mid":"00","text":"x"}"#,
            Code::BadRequest,
        ),
        (
            r#"{"id":3,"op":"search","text":"al","limit":-1}"#,
            Code::BadRequest,
        ),
        (
            r#"{"id":3,"op":"ack","from":"*x","ids":[]}"#,
            Code::BadRequest,
        ),
    ];
    for (line, code) in cases {
        let (id, request) = parse_request(line.as_bytes());
        assert_eq!((id, request.unwrap_err().code), (Some(3), code), "{line}");
    }
}

#[test]
fn garbage_has_no_id() {
    let deep = "[".repeat(50_000);
    for line in [
        "{",
        "{\"id\":-1,\"op\":\"ping\"}",
        "\u{0}",
        &deep,
        "{\"op\":",
    ] {
        let (id, request) = parse_request(line.as_bytes());
        assert_eq!((id, request.unwrap_err().code), (None, Code::BadRequest));
    }
}

#[test]
fn a_message_has_exactly_one_body() {
    for body in [
        r#""text":"x","envelope":"AQ==""#,
        r#""at":1"#,
        r#""text":"""#,
        r#""envelope":"""#,
    ] {
        let line = format!(r#"{{"id":1,"op":"send","to":"bob","mid":"{MID}",{body}}}"#);
        assert_eq!(
            parse_request(line.as_bytes()).1.unwrap_err().code,
            Code::BadRequest,
            "{body}"
        );
    }
    let long = "x".repeat(16385);
    let line = format!(r#"{{"id":1,"op":"send","to":"bob","mid":"{MID}","text":"{long}"}}"#);
    assert!(parse_request(line.as_bytes()).1.is_err());
}

#[test]
fn the_short_way_writes_what_serde_would() {
    let message = |body| Incoming {
        from: "alice".parse().unwrap(),
        mid: MID.parse().unwrap(),
        at: 1_700_000_000_123,
        body,
    };
    for body in [
        Body::Envelope(Blob(vec![1, 2, 250, 251].into())),
        Body::Plain("quote \" and \u{1} and é".into()),
    ] {
        let message = message(body);
        let (mut short, mut long) = (Vec::new(), Vec::new());
        write_message(
            &mut short,
            &message.from,
            &message.mid,
            message.at,
            &message.body,
        );
        write_event(&mut long, &Event::Message(message.clone()));
        assert_eq!(short, long);
        let Ok(ServerLine::Event(event)) = parse_server_line(&short) else {
            panic!()
        };
        assert_eq!(*event, Event::Message(message));
    }
}

#[test]
fn answers_are_told_from_events() {
    let mut out = Vec::new();
    let mut accepted = Accepted {
        state: MessageState::Delivered,
        at: 0,
        handle: Some(ByteArray([9; 16])),
    };
    write_answer(&mut out, Some(u64::MAX), &Ok(Reply::Accepted(accepted)));
    let Ok(ServerLine::Answer(id, Ok(value))) = parse_server_line(&out) else {
        panic!()
    };
    assert_eq!(id, Some(u64::MAX));
    assert_eq!(serde_json::from_value::<Accepted>(value).unwrap(), accepted);

    // An older server tells no handle.
    accepted.handle = None;
    let older = b"{\"id\":1,\"ok\":{\"state\":\"delivered\",\"at\":0}}";
    let Ok(ServerLine::Answer(_, Ok(value))) = parse_server_line(older) else {
        panic!()
    };
    assert_eq!(serde_json::from_value::<Accepted>(value).unwrap(), accepted);

    out.clear();
    write_answer(&mut out, None, &Ok(Reply::Accepted(accepted)));
    assert!(out.is_empty(), "a success without an id stays unsaid");
    write_answer(&mut out, None, &Err(Refusal::bad_request("no")));
    assert!(matches!(
        parse_server_line(&out),
        Ok(ServerLine::Answer(None, Err(_)))
    ));
    assert!(matches!(
        parse_server_line(b"{\"event\":\"of the future\",\"x\":1}"),
        Ok(ServerLine::Event(event)) if *event == Event::Unknown
    ));
    assert!(parse_server_line(b"SSH-2.0-OpenSSH").is_err());
    assert!(matches!(
        parse_server_line(b"-ERR server_full try again later\r"),
        Ok(ServerLine::Answer(None, Err(refusal)))
            if refusal == Refusal::new(Code::ServerFull, "try again later")
    ));
    let newer = console_refusal(b"-ERR brand_new some sentence").unwrap();
    assert_eq!(newer.code, Code::Unknown);
    for other in [&b"-ERR"[..], b"+OK fine", b"-ERR \xff x", b"{}", b""] {
        assert_eq!(console_refusal(other), None);
    }
}

/// Which example of [`EXAMPLES`] shows an operation; `None` for the console's own.
/// The match has no wildcard, so that a new operation has to be given an example.
fn example_of(request: &Request) -> Option<usize> {
    Some(match request {
        Request::Hello(_) => 0,
        Request::Kdf(_) => 1,
        Request::Register(_) => 2,
        Request::Login(_) => 3,
        Request::Logout => 4,
        Request::Search(_) => 5,
        Request::Status(_) => 6,
        Request::Settings(_) => 7,
        Request::Block(_) => 8,
        Request::Unblock(_) => 9,
        Request::Keys(_) => 10,
        Request::Publish(_) => 11,
        Request::Send(_) => 12,
        Request::Outcome(_) => 13,
        Request::Ack(_) => 14,
        Request::Fetch(_) => 15,
        Request::Passwd(_) => 16,
        Request::DeleteAccount(_) => 17,
        Request::Ping => 18,
        Request::Reset(_) => 19,
        Request::Invite => 20,
        Request::Available(_) => 21,
        Request::Claim(_) => 22,
        Request::PersonalData(_) => 23,
        Request::AckShown
        | Request::PasswordReset { .. }
        | Request::PasswordRegister(_)
        | Request::PasswordLogin(_)
        | Request::PasswordChange { .. } => return None,
    })
}

const EXAMPLES: [&str; 24] = [
    r#"{"op":"hello","version":1}"#,
    r#"{"op":"kdf","name":"bob"}"#,
    r#"{"op":"register","name":"bob","kdf":KDF,"login_key":"B32","proof":"B64","invitation":"B16","take_over":false,"receive":false,"presence":true}"#,
    r#"{"op":"login","name":"bob","proof":"B64","take_over":true,"replaces":"B16","receive":true,"presence":true}"#,
    r#"{"op":"logout"}"#,
    r#"{"op":"search","text":"bo","after":"bob","limit":5}"#,
    r#"{"op":"status","name":"bob"}"#,
    r#"{"op":"settings","listed":false,"presence":true,"refuse_unencrypted":true}"#,
    r#"{"op":"block","name":"bob"}"#,
    r#"{"op":"unblock","name":"bob"}"#,
    r#"{"op":"keys","name":"bob"}"#,
    r#"{"op":"publish","identity":{"signing":"B32","dh":"B32"},"signed_prekey":{"id":1,"key":"B32","signature":"B64"},"one_time":[{"id":2,"key":"B32"}],"replace":true,"new_identity":false}"#,
    r#"{"op":"send","to":"bob","mid":"MID","text":"hi","again":true,"after":"B16"}"#,
    r#"{"op":"outcome","to":"bob","ids":["MID"],"handles":["B16"]}"#,
    r#"{"op":"ack","from":"bob","ids":["MID"]}"#,
    r#"{"op":"fetch","limit":5}"#,
    r#"{"op":"passwd","kdf":KDF,"login_key":"B32","proof":"B64"}"#,
    r#"{"op":"delete_account","proof":"B64"}"#,
    r#"{"op":"ping"}"#,
    r#"{"op":"reset","name":"bob","kdf":KDF,"login_key":"B32","proof":"B64","take_over":true,"receive":true,"presence":false}"#,
    r#"{"op":"invite"}"#,
    r#"{"op":"available","name":"bob"}"#,
    r#"{"op":"claim","name":"bob","password":"of then","kdf":KDF,"login_key":"B32","take_over":false,"receive":true,"presence":true}"#,
    r#"{"op":"personal_data","after":"6.17.0"}"#,
];

/// An example with real values in the place of its capitals.
fn filled(example: &str) -> String {
    let kdf = r#"{"salt":"B16","memory_kib":65536,"passes":3,"lanes":1}"#;
    let line = example.replace("KDF", kdf).replace("MID", MID);
    [("B16", 16), ("B32", 32), ("B64", 64)]
        .into_iter()
        .fold(line, |line, (name, bytes)| {
            line.replace(name, &BASE64.encode(&vec![7; bytes]))
        })
}

#[test]
fn every_request_survives_the_wire() {
    for (place, example) in EXAMPLES.iter().enumerate() {
        let line = filled(example);
        let (_, parsed) = parse_request(line.as_bytes());
        let request = parsed.unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"));
        assert_eq!(example_of(&request), Some(place), "{line}");
        let mut out = Vec::new();
        write_request(&mut out, None, &request).unwrap();
        let wrote: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            wrote, read,
            "what was read is written again, field for field"
        );
    }
    let mut out = Vec::new();
    assert!(write_request(&mut out, None, &Request::AckShown).is_none());
}

#[test]
fn the_quick_parser_takes_what_the_thorough_one_takes() {
    let (to, ids) = (
        format!("\"to\":\"bob\",\"mid\":\"{MID}\""),
        format!("\"ids\":[\"{MID}\"]"),
    );
    let send = format!("\"op\":\"send\",{to},\"envelope\":\"AQID\"");
    for (line, taken) in [
        (format!("{{{send}}}"), true),
        (
            format!(
                " {{\"id\":null,\"after\":null,\"identity\":null,\"more\":1,\"more\":2,{send}}}"
            ),
            true,
        ),
        (format!("{{{send},\"again\":true,\"text\":null}}"), true),
        (
            "{\"ids\":[],\"op\":\"ack\",\"from\":\"*\"}".to_owned(),
            true,
        ),
        (
            format!("{{\"op\":\"\\u0061ck\",\"from\":\"bob\",{ids}}}"),
            true,
        ),
        (format!("{{{send}}} 1"), false),
        (format!("{{{send},\"again\":null}}"), false),
        (format!("{{{send},\"op\":\"send\"}}"), false),
        (format!("{{{send},\"id\":null,\"id\":7}}"), false),
        (format!("{{{send},\"text\":\"both\"}}"), false),
        (format!("{{{send},\"id\":-1}}"), false),
        (format!("[7,\"send\",{send}]"), false),
        (
            format!("{{\"op\":{{\"send\":null}},{to},\"envelope\":\"AQID\"}}"),
            false,
        ),
        (format!("{{\"op\":0,{to},\"envelope\":\"AQID\"}}"), false),
        (format!("{{\"op\":\"ack\",{ids}}}"), false),
        (format!("{{{to},\"envelope\":\"AQID\"}}"), false),
    ] {
        let line = line.as_bytes();
        let mut frequent = Frequent::default();
        let quick = frequent.read(line).then(|| frequent.take_request());
        let quick = quick.flatten().map(|request| format!("{request:?}"));
        let thorough = match serde_json::from_slice::<Head<'_>>(line) {
            Ok(head) => parse_op(&head.op, line).ok(),
            Err(_) => None,
        };
        let thorough = thorough.map(|request| format!("{request:?}"));
        let shown = String::from_utf8_lossy(line);
        assert_eq!(quick.is_some(), taken, "{shown}");
        if line[0] != b'[' {
            assert_eq!(quick, thorough, "{shown}");
        }
    }
}
