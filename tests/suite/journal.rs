//! What a restore must not undo, besides what `restore` shows with real clients: settings, keys,
//! resets, and people and messages of an import. And a journal that a command can't write.

use std::fs;
use std::path::PathBuf;

use data_encoding::BASE64;
use rustix::process::Signal;
use secure_chat::crypto::keys::{IdentityKeys, SignedPrekeySecret};
use secure_chat::crypto::os_rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::admin::{done, refused, rows};
#[cfg(feature = "tls")]
use crate::harness::credentials;
use crate::harness::{Client, Server, eventually, temporary_folder};

/// A server with a journal, whose folder can be lost.
struct Place {
    folder: TempDir,
    server: Option<Server>,
}

impl Place {
    fn new() -> Self {
        let mut place = Place {
            folder: temporary_folder(),
            server: None,
        };
        place.start();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.at("data")
    }

    fn start(&mut self) {
        let journal = self.text("journal");
        self.server = Some(Server::on(&self.data(), &["--journal", &journal]));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Ends the server in good order.
    fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        // From its first answer on it ends in good order.
        server.client().ok("ping", json!({}));
        server.signal(Signal::TERM);
        assert!(server.wait(crate::harness::PATIENCE).success());
    }

    fn back_up(&self) {
        done(&self.data(), &["backup", &self.text("backup")]);
    }

    /// The server is killed and its folder lost; the backup and the journal are what is left. Returns what the
    /// restore said.
    fn restore(&mut self) -> String {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
        fs::remove_dir_all(self.data()).unwrap();
        let (backup, journal) = (self.text("backup"), self.text("journal"));
        let arguments = ["restore", &backup, "--journal", &journal];
        let said = done(&self.data(), &arguments);
        assert!(said.contains("were repeated"), "{said}");
        said
    }

    #[cfg(feature = "tls")]
    fn import(&self) -> String {
        let export = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exports/lines-v2");
        let journal = self.text("journal");
        done(
            &self.data(),
            &["import", "mongo", export, "--journal", &journal],
        )
    }
}

/// Publishes a new identity with two one-time prekeys. Returns its keys as the server shows them.
pub(super) fn publish(client: &mut Client) -> Value {
    let keys = IdentityKeys::generate(&mut os_rng());
    let signed = SignedPrekeySecret::generate(&keys, 1, &mut os_rng()).public();
    let identity = keys.public().to_bytes();
    let identity = json!({"signing": BASE64.encode(&identity[..32]),
                          "dh": BASE64.encode(&identity[32..])});
    let one_time = [1, 2].map(|id| json!({"id": id, "key": BASE64.encode(&[id + 9; 32])}));
    let fields = json!({
        "identity": identity,
        "signed_prekey": {"id": 1, "key": BASE64.encode(&signed.key),
                          "signature": BASE64.encode(&signed.signature)},
        "one_time": one_time, "replace": true, "new_identity": true,
    });
    client.ok("publish", fields);
    identity
}

#[test]
fn no_setting_and_no_key_that_was_withdrawn_comes_back() {
    let mut place = Place::new();
    let mut alice = place.server().register("alice");
    let mut bob = place.server().register("bob");
    let old = publish(&mut alice);
    place.back_up();

    let hidden = json!({"listed": false, "presence": false, "refuse_unencrypted": true});
    alice.ok("settings", hidden.clone());
    // One of the two is spent.
    let spent = bob.ok("keys", json!({"name": "alice"}));
    assert_eq!(spent["identity"], old);
    let new = publish(&mut alice);
    assert_ne!(new, old);
    place.restore();

    place.start();
    let mut bob = place.server().login("bob");
    let bundle = bob.ok("keys", json!({"name": "alice"}));
    assert_eq!(bundle["identity"], new);
    assert!(
        bundle.get("one_time").is_none_or(Value::is_null),
        "{bundle}"
    );
    assert_eq!(bob.ok("search", json!({"text": "al"}))["users"], json!([]));
    let settings = place.server().login("alice").ok("settings", json!({}));
    for (name, value) in hidden.as_object().unwrap() {
        assert_eq!(&settings[name], value, "{name}");
    }
    let shown = rows(&place.data(), &["user", "show", "alice"]).remove(0);
    assert_eq!(shown["last_seen"], Value::Null, "{shown}");
}

#[test]
fn a_name_that_was_given_and_removed_after_the_backup_stays_reserved() {
    let mut place = Place::new();
    place.server().register("alice");
    place.back_up();
    place.server().register("bob").ok("logout", json!({}));
    done(&place.data(), &["user", "remove", "bob"]);
    place.server().register("carol");
    let journal = place.at("journal");
    let lines = || fs::read_to_string(&journal).unwrap();
    eventually("only that bob is gone is kept", || {
        lines().lines().filter(|line| line.contains("bob")).count() == 1
    });
    // A crash while a line was written.
    place.server.take().unwrap().kill();
    let cut = lines().len() - 5;
    fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(cut as u64)
        .unwrap();
    place.start();
    place.server().register("dave");
    place.restore();
    let list = rows(&place.data(), &["user", "list"]);
    let found = list
        .iter()
        .map(|row| format!("{} {}", row["name"], row["state"]));
    let found: Vec<_> = found.collect();
    // Carol's line was cut off.
    assert_eq!(
        found,
        [
            r#""alice" "active""#,
            r#""bob" "removed""#,
            r#""dave" "active""#
        ]
    );
}

#[test]
fn a_reset_stays_one_and_its_code_works() {
    let mut place = Place::new();
    for name in ["alice", "bob"] {
        place.server().register(name);
    }
    place.back_up();
    let code = |place: &Place, name: &str| {
        let row = rows(&place.data(), &["user", "reset", name]).remove(0);
        row["code"].as_str().unwrap().to_owned()
    };
    let alices = code(&place, "alice");
    let bobs = code(&place, "bob");
    let finish = |place: &Place, name: &str, code: &str| {
        let mut console = place.server().console();
        let answer = console.type_line(&format!("reset {name} {code} battery staple"));
        answer.starts_with("+OK")
    };
    assert!(finish(&place, "bob", &bobs));
    place.restore();
    place.start();
    let login = |name: &str| place.server().client().login(name).map(drop);
    assert_eq!(login("alice"), Err("wrong_login".to_owned()));
    assert_eq!(login("bob"), Err("wrong_login".to_owned()));
    assert!(!finish(&place, "bob", &bobs), "a code works once");
    assert!(finish(&place, "alice", &alices));
}

#[cfg(feature = "tls")]
#[test]
fn a_second_import_after_a_restore_revives_nothing() {
    let mut place = Place::new();
    place.back_up();
    place.stop();
    let said = place.import();
    assert!(said.contains("3 accounts and 4 messages"), "{said}");
    place.start();
    let claim = |place: &Place, name: &str, password: &str| {
        let mut client = Client::new(place.server().wire_tls());
        let new = &credentials()[0];
        let fields = json!({"name": name, "password": password, "kdf": new.kdf(),
                            "login_key": new.login_key()});
        client.ask("claim", fields).map(|_| client)
    };
    // One of two messages is read.
    let mut bob = claim(&place, "bob", "builder").unwrap();
    let first = bob.message();
    bob.ack(&first.from, std::slice::from_ref(&first.mid));
    bob.ok("logout", json!({}));
    // An acknowledgement is answered before it is stored.
    eventually("the journal has what was read", || {
        let journal = fs::read_to_string(place.at("journal")).unwrap();
        journal.contains("imported_read")
    });
    done(&place.data(), &["user", "remove", "carol"]);
    place.restore();

    // Without another import, too.
    let list = rows(&place.data(), &["user", "list"]);
    let state = |list: &[Value], name: &str| {
        let row = list.iter().find(|row| row["name"] == name);
        row.map(|row| row["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&list, "bob").as_deref(), Some("active"));
    assert_eq!(state(&list, "carol").as_deref(), Some("removed"));
    assert_eq!(state(&list, "dave").as_deref(), Some("removed"));

    // Who has not come yet can come again; what was not read is there again.
    let said = place.import();
    assert!(said.contains("1 account and "), "{said}");
    let list = rows(&place.data(), &["user", "list"]);
    assert_eq!(state(&list, "alice").as_deref(), Some("imported"));
    assert_eq!(state(&list, "carol").as_deref(), Some("removed"));
    place.start();
    assert_eq!(
        claim(&place, "bob", "builder").map(drop),
        Err("wrong_login".to_owned())
    );
    assert_eq!(
        claim(&place, "carol", "short").map(drop),
        Err("wrong_login".to_owned())
    );
    let mut bob = place.server().client();
    assert_eq!(bob.login("bob").unwrap()["plain"], 1);
    assert_ne!(bob.message().body, first.body);
    claim(&place, "alice", "wonderland").unwrap();
}

#[test]
fn a_command_that_can_not_write_the_journal_changes_nothing() {
    let mut place = Place::new();
    place.server().register("bob");
    place.stop();
    let data = place.data();
    let before = fs::read_to_string(place.at("journal")).unwrap();
    for wrong in [place.at("missing/journal"), place.data()] {
        let journal = ["--journal", wrong.to_str().unwrap()];
        let remove = [&["user", "remove", "bob"][..], &journal].concat();
        refused(&data, &remove, "so nothing was done; give");
        let export = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exports/lines-v2");
        let import = [&["import", "mongo", export][..], &journal].concat();
        refused(&data, &import, "so nothing was done; give");
        let list = [&["user", "list", "--json"][..], &journal].concat();
        assert!(
            done(&data, &list).contains("active"),
            "what only reads works"
        );
    }
    // One that fails when it is written is told.
    let full = ["user", "remove", "bob", "--journal", "/dev/full"];
    refused(&data, &full, "it was done, but the journal");
    assert_eq!(fs::read_to_string(place.at("journal")).unwrap(), before);
}

#[test]
fn what_a_journal_lacks_is_said_at_the_start_and_by_a_restore() {
    let mut place = Place::new();
    place.server().register("alice");
    place.server().register("bob");
    place.back_up();
    place
        .server()
        .login("bob")
        .ok("block", json!({"name": "alice"}));
    place.stop();
    // Somebody forgot to name the journal.
    done(&place.data(), &["user", "disable", "bob"]);
    place.start();
    eventually("it is said", || {
        place.server().log().contains("lacks the last changes (1)")
    });
    place.server().register("carol");
    place.stop();
    place.start();
    assert!(!place.server().log().contains("lacks"), "later ones follow");
    // What the journal forgets for good reason is not missing.
    done(&place.data(), &["user", "remove", "carol"]);
    eventually("it is forgotten", || {
        let journal = fs::read_to_string(place.at("journal")).unwrap();
        journal.contains("forgotten")
    });
    let said = place.restore();
    assert!(said.contains("since the backup (1)"), "{said}");
    place.start();
    assert!(!place.server().log().contains("lacks"), "all is counted");
    place.server().login("bob");
    fs::remove_file(place.at("backup")).unwrap();
    place.back_up();
    place.server().register("dave");
    let said = place.restore();
    assert!(!said.contains("lacks"), "{said}");
    place.start();
    place.server().login("dave");
}
