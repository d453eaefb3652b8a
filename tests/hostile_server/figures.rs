//! The numbers in `docs/SECURITY.md` are the code's, and the tests it names exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use secure_chat::crypto::account::password;
use secure_chat::crypto::account::password::Argon2Params;
use secure_chat::crypto::message::{content, envelope, padding};
use secure_chat::crypto::ratchet::{origin, session_set, skipped};
use secure_chat::crypto::{cipher, keys, ratchet};
use secure_chat::programs::client::Trust;
use secure_chat::protocol::limits;

pub(crate) fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    fs::read_to_string(path).unwrap()
}

/// What the page calls it, and what the code says.
fn figures() -> Vec<(&'static str, u64)> {
    let cost = |cost: Argon2Params| [cost.memory_kib, cost.passes, cost.lanes].map(u64::from);
    let [memory, passes, lanes] = cost(Argon2Params::DEFAULT);
    let [least_memory, least_passes, least_lanes] = cost(Argon2Params::FLOOR);
    let [most_memory, most_passes, most_lanes] = cost(Argon2Params::CEILING);
    let size = |size: usize| u64::try_from(size).unwrap();
    vec![
        ("Argon2id memory, KiB", memory),
        ("Argon2id passes", passes),
        ("Argon2id lanes", lanes),
        (
            "least memory a client takes from a server, KiB",
            least_memory,
        ),
        ("least passes", least_passes),
        ("least lanes", least_lanes),
        ("most memory a client takes from a server, KiB", most_memory),
        ("most passes", most_passes),
        ("most lanes", most_lanes),
        ("salt of a password, bytes", size(password::SALT_LEN)),
        (
            "shortest new password, characters",
            size(limits::MIN_PASSWORD),
        ),
        ("identity, bytes", size(keys::IDENTITY_LEN)),
        ("session id, bytes", size(origin::SESSION_ID_LEN)),
        ("MAC, bytes", size(cipher::MAC_LEN)),
        ("salt of a sealed value, bytes", size(cipher::SALT_LEN)),
        ("wrapped vault key, bytes", size(cipher::WRAPPED_LEN)),
        ("envelope's version", u64::from(envelope::VERSION)),
        ("longest envelope, bytes", size(envelope::MAX_ENVELOPE)),
        ("longest text, bytes", size(content::MAX_TEXT)),
        ("smallest size class, bytes", size(padding::SMALLEST)),
        ("largest size class, bytes", size(padding::LARGEST)),
        (
            "sessions kept with one contact",
            size(session_set::MAX_SESSIONS),
        ),
        (
            "messages that one may jump over",
            u64::from(ratchet::MAX_SKIP),
        ),
        (
            "keys of missing messages kept in a session",
            size(skipped::MAX_SKIPPED),
        ),
        (
            "days that such a key is kept",
            skipped::SKIPPED_LIFETIME_MS / 86_400_000,
        ),
        (
            "days that a superseded session reads",
            session_set::MAX_SUPERSEDED_MS / 86_400_000,
        ),
        ("one-time prekeys published", size(limits::ONE_TIME_PREKEYS)),
        ("longest line, bytes", size(limits::MAX_LINE)),
    ]
}

#[test]
fn the_numbers_in_security_md_are_the_codes() {
    assert_eq!(envelope::MAX_ENVELOPE, limits::MAX_ENVELOPE);
    assert_eq!(content::MAX_TEXT, limits::MAX_TEXT);
    assert_eq!(Trust::default(), Trust::FirstUse, "as the page says");
    let page = page();
    let start = page.find("| parameter | value |").unwrap();
    let mut rows = page[start..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for (name, value) in figures() {
        assert_eq!(rows.next(), Some(format!("| {name} | {value} |").as_str()));
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn the_tests_that_security_md_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let page = page();
    let start = page.find("| pitfall | tested by |").unwrap();
    let named: HashSet<_> = page[start..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            line.rsplit('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(
            source.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
}
