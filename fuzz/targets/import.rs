//! What an operator imports: files that another program has written, or that somebody has changed.

use secure_chat::programs::server::import_documents;

/// A file of an export, in any of its formats.
///
/// Must hold: it ends, and has no more documents than the shortest ones would be. What is compressed
/// may be longer than that.
pub(crate) fn import_document(data: &[u8]) {
    const SHORTEST: usize = 2;
    let is_compressed = data.starts_with(&[0x1f, 0x8b]);
    let count = import_documents(data, 100_000);
    assert!(
        is_compressed || count <= data.len() / SHORTEST,
        "{count} documents"
    );
}

/// Seeds of the target.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    const ID: &str = r#"{"$oid":"5f5e10646f72696769000064"}"#;
    let bson = [
        &b"\x07_id\0abcdefghijkl"[..],
        b"\x02username\0\x04\0\0\0bob\0",
        b"\x05message\0\x02\0\0\0\0\xff\xfe",
        b"\x03sub\0\x05\0\0\0\0",
        b"\x10port\0\x01\0\0\0\0",
    ]
    .concat();
    let length = (bson.len() + 4) as u32;
    let hash = "ab".repeat(32);
    let seeds = [
        (
            "account",
            format!(r#"{{"_id":{ID},"username":"bob","password":"{hash}"}}"#).into_bytes(),
        ),
        (
            "array",
            format!(r#"[{{"_id":{ID},"username":"bob","sender":"al","message":"AAAA"}},{{}}]"#)
                .into_bytes(),
        ),
        (
            "binary-v1",
            br#"{"message":{"$binary":"AQI=","$type":"00"}}"#.to_vec(),
        ),
        (
            "binary-v2",
            br#"{"message":{"$binary":{"base64":"AQI=","subType":"00"}}}"#.to_vec(),
        ),
        ("bson", [&length.to_le_bytes()[..], &bson].concat()),
        (
            "gzip",
            // An empty stream.
            b"\x1f\x8b\x08\0\0\0\0\0\x02\xff\x03\0\0\0\0\0\0\0\0\0".to_vec(),
        ),
        (
            "deep",
            br#"{"message":{"$binary":{"$binary":{"$oid":[[[{}]]]}}}}"#.to_vec(),
        ),
    ];
    let seeds = seeds.into_iter();
    seeds
        .map(|(name, bytes)| ("import_document", name.to_owned(), bytes))
        .collect()
}
