//! What a vault gives to another one: of a vault that is damaged, what is whole; and to one at
//! another server.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::beside::texts;
use crate::harness::{Server, write_secret};
use crate::{Ended, Place, end};

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
    assert!(!fetched.err.contains("has changed"), "{fetched:?}");
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

/// Runs a command of `name` at another server than the place's own.
fn at(place: &Place, server: &Server, name: &str, arguments: &[&str]) -> Ended {
    let mut client = place.client(name);
    client
        .env("SECURE_CHAT_SERVER", server.address().to_string())
        .args(arguments);
    end(&mut client, "")
}

/// What somebody exports at the place's server and makes an account of at another one.
fn moves(place: &Place, server: &Server, name: &str) -> Ended {
    let file = format!("{name}.export");
    let export = [&["vault", "export", &file][..], &PASSPHRASE].concat();
    let exported = place.run(name, &export, "");
    assert_eq!(exported.code, 0, "{exported:?}");
    let code = format!("{name}-there.code");
    let import = ["vault", "import", &file, "--recovery-file", &code];
    let import = [&import[..], &PASSPHRASE].concat();
    let refused = at(place, server, name, &import);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.err.contains("vault import FILE --register"),
        "{refused:?}"
    );
    at(
        place,
        server,
        name,
        &[&import[..], &["--register"]].concat(),
    )
}

/// Contacts with their pins, and the history, go along to another server; what was under way and who
/// has the same name there do not become anything else by it.
#[test]
fn an_export_makes_an_account_at_another_server() {
    let place = acquainted();
    let code = ["register", "carol", "--recovery-file", "carol.code"];
    place.run("carol", &code, "");
    place.json("alice", &["send", "carol", "to the carol of here"], "");
    place.json("alice", &["send", "bob", "never fetched"], "");
    let vault_here = fs::read(vault(&place, "alice")).unwrap();
    let other = Server::start();

    // Somebody else has that name there.
    let code = ["register", "carol", "--recovery-file", "other.code"];
    assert_eq!(at(&place, &other, "carol", &code).code, 0);
    for name in ["alice", "bob"] {
        let moved = moves(&place, &other, name);
        assert_eq!(moved.code, 0, "{moved:?}");
        for said in ["came along with the identities", "stays there"] {
            assert!(moved.out.contains(said), "{moved:?}");
        }
    }
    let contacts = at(&place, &other, "alice", &["contacts", "--json"]).json();
    let verified = |name: &str| {
        let mut contacts = contacts.iter();
        contacts.any(|contact| contact["name"] == name && contact["verified"] == true)
    };
    assert!(verified("bob") && !verified("carol"), "{contacts:?}");

    let sent = at(&place, &other, "alice", &["send", "bob", "hello there"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    let fetched = at(&place, &other, "bob", &["fetch", "--json"]);
    assert_eq!(texts(&fetched.json()), ["hello there"], "{fetched:?}");
    assert!(!fetched.err.contains("has changed"), "{fetched:?}");
    let refused = at(&place, &other, "alice", &["send", "carol", "to whom?"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(
        refused.err.contains("carol's identity has changed"),
        "{refused:?}"
    );
    assert_eq!(
        texts(&at(&place, &other, "carol", &["fetch", "--json"]).json()),
        [""; 0]
    );

    // The other server knows nothing of it, so nobody says that it was delivered.
    let history = at(&place, &other, "alice", &["history", "--json"]).json();
    let states: Vec<_> = history
        .iter()
        .map(|message| {
            (
                message["text"].as_str().unwrap(),
                message["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(states.contains(&("never fetched", "stored")), "{states:?}");
    assert!(states.contains(&("hello back", "received")), "{states:?}");
    assert_eq!(fs::read(vault(&place, "alice")).unwrap(), vault_here);
}
