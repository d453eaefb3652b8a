//! What the client keeps and gets that is no ciphertext: the values of the vault's rows and
//! the JSON of an export, positions in a conversation, and a server's handles.

use secure_chat::crypto::handle::HandleKey;
use secure_chat::crypto::message::position::{MAX_VOIDS, Position};
use secure_chat::programs::client::reads_back;

/// Bytes under the seal of a row or of an export, as damage or another version could leave
/// them; then as a position, and as a handle.
///
/// Must hold: what can be read is the same after it was written; a position has as many
/// ranges as one may have; the server knows no handle but its own.
pub(crate) fn vault_value(data: &[u8]) {
    assert!(reads_back(data), "another value than the one that was read");
    if let Some((position, content)) = Position::split(data) {
        assert!(position.voids.len() <= MAX_VOIDS && content.len() < data.len());
    }
    if let Some(handle) = data.first_chunk::<16>() {
        let key = HandleKey::new(&[7; 32]);
        if let Some(number) = key.open(3, 4, handle) {
            assert_eq!(key.seal(3, 4, number), *handle, "a forged handle");
        }
        assert_eq!(key.open(4, 3, handle), None, "somebody else's handle");
    }
}

/// Seeds of the target.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    const MID: &str = "000102030405060708090a0b0c0d0e0f";
    let record = format!(
        r#"{{"outgoing":true,"text":"hello","form":"encrypted","state":"stored","sent_at":1,"stored_at":2,"delivered_at":null,"identity":null,"verified":false,"again":["{MID}"],"handle":"AAAAAAAAAAAAAAAAAAAAAA=="}}"#
    );
    let contact = r#"{"name":"bob","identity":null,"verified":false,"offered":null,"held":false,"renewal":"stuck","last_handle":"AAAAAAAAAAAAAAAAAAAAAA=="}"#;
    let identity = vec!["7"; 64].join(",");
    let header = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[9; 16], &[0; 8]].concat();
    let outbox = |flags: u8, between: usize| {
        let identity = [if flags & 1 == 1 { 4 } else { 0 }; 32];
        [&[flags][..], &identity, &vec![3; between], b"\x01envelope"].concat()
    };
    let values = [
        ("message", [&header[..], record.as_bytes()].concat()),
        (
            "control-message",
            [
                &header[..],
                format!(r#"[{{"prompt":["{MID}"]}},false]"#).as_bytes(),
            ]
            .concat(),
        ),
        ("waiting-envelope", [&header[..], b"\x02in the open"].concat()),
        ("contact", contact.as_bytes().to_vec()),
        (
            "device",
            br#"{"registered":true,"logins":3,"tried":1,"session":null,"hidden":true,"age":5,"aged_to":6,"signed_ids":[1,2]}"#.to_vec(),
        ),
        ("slot-notes", br#"{"accounts":[],"code_unseen":true}"#.to_vec()),
        ("wanted", format!(r#"[["{MID}",2]]"#).into_bytes()),
        ("outbox", outbox(7, 36)),
        ("outbox-unencrypted", outbox(4, 16)),
        ("outbox-unknown-flag", outbox(8, 0)),
        ("prekey-out-of-use", vec![5; 44]),
        (
            "export",
            format!(
                r#"{{"name":"alice","identity":[{identity}],"contacts":[{contact}],"messages":[{{"with":"bob","mid":"{MID}","at":5,"record":{record}}}]}}"#
            )
            .into_bytes(),
        ),
        (
            "position",
            [
                &[2; 16][..],
                &[0, 0, 0, 9, 1, 1, 0, 0, 0, 3, 0, 0, 0, 5],
                b"content",
            ]
            .concat(),
        ),
        ("handle", HandleKey::new(&[7; 32]).seal(3, 4, 9).to_vec()),
    ];
    let seed = |(name, bytes): (&str, Vec<u8>)| ("vault_value", name.to_owned(), bytes);
    values.into_iter().map(seed).collect()
}
