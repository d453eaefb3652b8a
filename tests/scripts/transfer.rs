//! What a vault gives to another one: of a vault that is damaged, what is whole.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::Place;
use crate::beside::texts;
use crate::harness::write_secret;

const PASSPHRASE: [&str; 2] = ["--passphrase-file", "passphrase"];

/// Alice and bob, who have heard each other, alice having compared the number.
fn acquainted() -> Place {
    let place = Place::with(&["alice", "bob"]);
    write_secret(&place.path().join("passphrase"), "a long passphrase");
    place.json("alice", &["send", "bob", "hello"], "");
    place.json("bob", &["fetch"], "");
    place.json("bob", &["send", "alice", "hello back"], "");
    place.json("alice", &["fetch"], "");
    let verified = place.run("alice", &[], "/verify bob\n/verify bob yes\n");
    assert!(verified.out.contains("bob is verified"), "{verified:?}");
    place
}

fn vault(place: &Place, name: &str) -> PathBuf {
    let server = place.server.address().to_string().replace(':', "_");
    let folder = place.path().join(name).join(server);
    folder.join(format!("{name}.vault"))
}

fn write(place: &Place, name: &str, sql: &str) {
    let db = Connection::open(vault(place, name)).unwrap();
    db.execute_batch(sql).unwrap();
}

#[test]
fn a_person_goes_on_with_what_is_whole_of_a_damaged_vault() {
    let place = acquainted();
    write(
        &place,
        "alice",
        "INSERT INTO outbox (id, value) VALUES (1, zeroblob(99));
         UPDATE messages SET value = zeroblob(99) WHERE id = (SELECT min(id) FROM messages)",
    );
    let damaged = fs::read(vault(&place, "alice")).unwrap();
    let refused = place.run("alice", &["send", "bob", "x"], "");
    assert_eq!(refused.code, 5, "{refused:?}");
    for way_out in [
        "vault read",
        "vault export --damaged FILE",
        "vault import FILE",
    ] {
        assert!(refused.err.contains(way_out), "{refused:?}");
    }
    let read = place.run("alice", &["vault", "read"], "");
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.out.contains("bob: hello back"), "{read:?}");
    assert!(read.err.contains("Nobody counts as verified"), "{read:?}");
    let read = place.run("alice", &["history", "--json"], "");
    assert_eq!(texts(&read.json()), ["hello back"]);
    assert!(read.err.contains("not readable: 1 message"), "{read:?}");
    let contacts = place.json("alice", &["contacts"], "");
    assert_eq!(contacts[0]["verified"], false, "{contacts:?}");

    let export = [&["vault", "export", "whole"][..], &PASSPHRASE].concat();
    let refused = place.run("alice", &export, "");
    assert_eq!(refused.code, 5, "{refused:?}");
    let exported = place.run("alice", &[&export[..], &["--damaged"]].concat(), "");
    assert_eq!(exported.code, 0, "{exported:?}");
    for said in [
        "the identity, 1 contact, 1 message",
        "Nobody counts as verified",
    ] {
        let all = format!("{}{}", exported.out, exported.err);
        assert!(all.contains(said), "{exported:?}");
    }
    assert_eq!(fs::read(vault(&place, "alice")).unwrap(), damaged);

    fs::rename(vault(&place, "alice"), place.path().join("aside")).unwrap();
    let import = [
        &["vault", "import", "whole", "--recovery-file", "new.code"][..],
        &PASSPHRASE,
    ];
    let imported = place.run("alice", &import.concat(), "");
    assert_eq!(imported.code, 0, "{imported:?}");
    place.json("alice", &["send", "bob", "and on"], "");
    let fetched = place.run("bob", &["fetch", "--json"], "");
    assert_eq!(texts(&fetched.json()), ["and on"], "{fetched:?}");
    assert!(!fetched.err.contains("ANOTHER IDENTITY"), "{fetched:?}");
    let contacts = place.json("alice", &["contacts"], "");
    assert_eq!(contacts[0]["verified"], false, "{contacts:?}");
}

/// One message of a vault that is whole otherwise: the export says so instead of leaving it out.
#[test]
fn an_export_is_whole_unless_it_is_asked_for_as_damaged() {
    let place = acquainted();
    write(
        &place,
        "alice",
        "DELETE FROM messages WHERE id = (SELECT min(id) FROM messages)",
    );
    let export = [&["vault", "export", "all"][..], &PASSPHRASE].concat();
    let refused = place.run("alice", &export, "");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.err.contains("vault export --damaged FILE"),
        "{refused:?}"
    );
    assert!(!place.path().join("all").exists());
    let exported = place.run("alice", &[&export[..], &["--damaged"]].concat(), "");
    assert!(exported.err.contains("1 message)"), "{exported:?}");
    // The vault itself goes on.
    place.json("alice", &["send", "bob", "and on"], "");
}
