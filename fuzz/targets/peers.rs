//! What another server on the same database may send, once it has proven that it is one.

use secure_chat::programs::server::peer_frames_read_back;

/// Frames of both directions.
///
/// Must hold: what is understood can be written and read again without a change.
pub(crate) fn peer_frames(data: &[u8]) {
    assert!(peer_frames_read_back(data), "a frame has two meanings");
}

/// Seeds of the target.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let id = 7u64.to_be_bytes();
    let message = [
        &[1][..],
        &id,
        &3u64.to_be_bytes(),
        &1_700_000_000_000u64.to_be_bytes(),
        // Encrypted, with an identity, again, after another one.
        &[0x0e],
        b"\x05alice\x03bob",
        &[0x11; 16],
        &[0x22; 32],
        &[0x33; 16],
        &[0x44; 40],
    ];
    let plain = [
        &[1][..],
        &id,
        &[0; 16],
        &[1],
        b"\x01a\x01b",
        &[0x11; 16],
        b"hello",
    ];
    let answer = [&[4][..], &id, &[1], &[0; 8], &[0x55; 16]];
    let call = |json: &str| [&[2][..], &id, json.as_bytes()].concat();
    let called = |json: &str| [&[5][..], &id, json.as_bytes()].concat();
    let seeds = [
        ("message", message.concat()),
        ("plain", plain.concat()),
        ("answer", answer.concat()),
        ("not-here", [&[4][..], &id, &[3]].concat()),
        (
            "refused",
            [
                &[4][..],
                &id,
                &[2],
                br#"{"Answer":{"Refused":{"code":"storage","message":"no"}}}"#,
            ]
            .concat(),
        ),
        (
            "outcome",
            call(
                r#"{"Outcome":{"sender":1,"from":"al","outcome":{"to":"bob","ids":["00112233445566778899aabbccddeeff"]}}}"#,
            ),
        ),
        (
            "release",
            call(
                r#"{"Release":{"name":"bob","to":4,"precedence":{"Resume":"AAAAAAAAAAAAAAAAAAAAAA=="},"why":null}}"#,
            ),
        ),
        ("ping", call(r#""Ping""#)),
        (
            "released",
            called(r#"{"Released":{"turned_away":{"names":["al"],"count":2},"displaced":true}}"#),
        ),
        (
            "event",
            [&[3][..], br#"{"name":"bob","event":{"event":"replaced"}}"#].concat(),
        ),
        ("beat", vec![6]),
    ];
    let frame = |body: Vec<u8>| [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    let mut all = Vec::new();
    let mut seeds: Vec<_> = seeds
        .into_iter()
        .map(|(name, body)| {
            all.extend(frame(body.clone()));
            ("peer_frames", name.to_owned(), frame(body))
        })
        .collect();
    seeds.push(("peer_frames", "all".to_owned(), all));
    seeds.push(("peer_frames", "too-long".to_owned(), vec![0xff; 5]));
    seeds
}
