//! `server import mongo`: exports as `scripts/import.py` makes them, the first login afterwards, and
//! what is no export.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use data_encoding::{BASE64, HEXLOWER};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::backup::{command, fails, succeeds};
#[cfg(feature = "tls")]
use crate::harness::{Client, credentials, eventually};
use crate::harness::{Server, process, temporary_folder};

/// An export of `scripts/import.py`.
fn export(name: &str) -> String {
    format!("{}/tests/exports/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A data folder on which a server has run, and the folder that it is in.
fn folder() -> (TempDir, PathBuf) {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    stop(Server::on(&data, &[]));
    (folder, data)
}

fn stop(mut server: Server) {
    // From its first answer on it ends in good order.
    server.client().ok("ping", json!({}));
    server.signal(Signal::TERM);
    assert!(server.wait(Duration::from_secs(30)).success());
}

/// Imports, and returns what was printed.
fn import(data: &Path, arguments: &[&str]) -> String {
    succeeds(data, &[&["import", "mongo"], arguments].concat())
}

/// Tries to import, and returns the sentence why not. Nothing was written.
fn import_fails(data: &Path, arguments: &[&str]) -> String {
    let before = rows(data);
    let said = fails(data, &[&["import", "mongo"], arguments].concat());
    assert_eq!(rows(data), before, "{said}");
    said
}

/// How many rows the tables have that an import writes.
fn rows(data: &Path) -> [i64; 4] {
    let database = Connection::open(data.join("chat.db")).unwrap();
    ["users", "mail", "imported_accounts", "imported_messages"].map(|table| {
        let count = format!("SELECT count(*) FROM {table}");
        database.query_row(&count, [], |row| row.get(0)).unwrap()
    })
}

fn hash(password: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(password.as_bytes()))
}

fn account(name: &str, password: &str) -> String {
    json!({"_id": {"$oid": "0".repeat(24)}, "username": name, "password": hash(password)})
        .to_string()
}

fn message(number: u64, to: &str, from: &str, text: &str) -> String {
    let key = Sha256::digest(to.as_bytes());
    let cipher = cbc::Encryptor::<Aes256>::new(&key, b"RandomIV12345678".into());
    let sealed = cipher.encrypt_padded_vec::<Pkcs7>(text.as_bytes());
    json!({"_id": {"$oid": format!("{number:024x}")}, "username": to, "sender": from,
           "message": BASE64.encode(&sealed)})
    .to_string()
}

/// Writes an export of these lines.
fn write(folder: &Path, lines: &[String]) -> String {
    let path = folder.join("export.json");
    fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The fields of a first login.
#[cfg(feature = "tls")]
fn claim(name: &str, password: &str) -> Value {
    let new = &credentials()[0];
    json!({"name": name, "password": password, "kdf": new.kdf(), "login_key": new.login_key()})
}

#[cfg(feature = "tls")]
fn under_tls(server: &Server) -> Client {
    Client::new(server.wire_tls())
}

#[test]
fn every_format_gives_the_same_accounts_and_messages() {
    for name in fs::read_dir(export("")).unwrap() {
        let name = name.unwrap().file_name().into_string().unwrap();
        let (_folder, data) = folder();
        let said = import(&data, &[&export(&name)]);
        assert!(
            said.contains("3 accounts and 4 messages were"),
            "{name}: {said}"
        );
        // Alice, Bob and Carol, and Dave, who has sent something.
        assert_eq!(rows(&data), [4, 4, 4, 4], "{name}");
        let said = import(&data, &[&export(&name)]);
        assert!(
            said.contains("0 accounts and 0 messages were"),
            "{name}: {said}"
        );
        assert_eq!(rows(&data), [4, 4, 4, 4], "{name}");
        let audit = fs::read_to_string(data.join("audit.log")).unwrap();
        assert_eq!(audit.matches("import mongo").count(), 4, "{audit}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn the_owner_logs_in_once_with_the_password_of_then() {
    let (_folder, data) = folder();
    import(&data, &[&export("lines-v2")]);
    let server = Server::on(&data, &[]);
    let mut client = under_tls(&server);
    // Neither way of a login of today works, and none tells more than that.
    assert_eq!(
        client.ask("kdf", json!({"name": "bob"})).unwrap_err(),
        "imported"
    );
    assert_eq!(client.login("bob").unwrap_err(), "wrong_login");
    let mut console = server.console();
    assert!(console.type_line("login bob builder").contains("imported"));
    let mut plain = server.client();
    assert_eq!(
        plain.ask("claim", claim("bob", "builder")).unwrap_err(),
        "tls_required"
    );
    // The hash, which others may know, is no password.
    for wrong in ["Builder", &hash("builder"), "", &"x".repeat(300)] {
        let mut client = under_tls(&server);
        assert_eq!(
            client.ask("claim", claim("bob", wrong)).unwrap_err(),
            "wrong_login"
        );
    }
    assert_eq!(
        client.ask("claim", claim("dave", "x")).unwrap_err(),
        "wrong_login"
    );
    assert_eq!(
        client.ask("claim", claim("nobody", "x")).unwrap_err(),
        "wrong_login"
    );
    let verifier = {
        let database = Connection::open(data.join("chat.db")).unwrap();
        let bob = "SELECT verifier FROM imported_accounts WHERE name = 'Bob'";
        database
            .query_row(bob, [], |row| row.get::<_, Vec<u8>>(0))
            .unwrap()
    };
    let on_disk = || {
        ["chat.db", "chat.db-wal"].iter().any(|name| {
            let bytes = fs::read(data.join(name)).unwrap_or_default();
            bytes.windows(32).any(|part| part == verifier)
        })
    };
    assert!(on_disk(), "it is kept first");
    let welcome = client.ok("claim", claim("bob", "builder"));
    assert_eq!(welcome["plain"], 2);
    let first = client.message();
    assert_eq!((&*first.from, &*first.body), ("alice", "grüße, Bob ✓"));
    let second = client.message();
    assert_eq!(
        (&*second.from, &*second.body),
        ("dave", "dave has no account any more")
    );
    client.ack("alice", &[first.mid]);
    client.ack("dave", &[second.mid]);
    client.ok("logout", json!({}));
    eventually("the verifier is erased", || !on_disk());
    // It is an account like any other.
    assert_eq!(
        client.ask("claim", claim("bob", "builder")).unwrap_err(),
        "wrong_login"
    );
    assert_eq!(server.login("bob").ok("ping", json!({})), json!({}));
    // A name that is known only from messages is nobody's.
    let mut guest = server.client();
    let dave = guest.registration("dave");
    assert_eq!(guest.ask("register", dave).unwrap_err(), "name_taken");
    stop(server);
    // A second import brings nothing back.
    import(&data, &[&export("dump")]);
    let server = Server::on(&data, &[]);
    server.login("bob").no_event();
}

#[test]
fn a_code_of_the_operator_stands_in_for_the_password_of_then() {
    let (_folder, data) = folder();
    import(&data, &[&export("lines-v2")]);
    let list = succeeds(&data, &["user", "list", "--json"]);
    assert_eq!(list.matches(r#""state":"imported""#).count(), 3, "{list}");
    succeeds(&data, &["user", "reset", "bob"]);
    let list = succeeds(&data, &["user", "list", "--json"]);
    assert_eq!(list.matches(r#""state":"imported""#).count(), 2, "{list}");
    let server = Server::on(&data, &[]);
    assert!(server.client().ask("kdf", json!({"name": "bob"})).is_ok());
}

#[test]
fn each_document_that_is_skipped_is_said_with_its_line_and_why() {
    let (folder, data) = folder();
    let binary = json!({"_id": 7, "username": "bob", "sender": "al", "message": "AAAA"});
    let lines = [
        account("Bob", "a"),
        account("bob", "b"),
        account("Bob", "c"),
        account("no spaces", "d"),
        r#"{"username":"erin","password":"1234"}"#.to_owned(),
        r#"{"username":"x","username":"y","password":""}"#.to_owned(),
        r#"{"colour":"red"}"#.to_owned(),
        message(1, "Bob", "Bob", "taken"),
        message(1, "Bob", "Bob", "taken"),
        message(2, "bob", "Bob", "for another bob"),
        message(3, "Bob", "no spaces", "from a name that can't be"),
        message(4, "Bob", "Bob", &"x".repeat(20_000)),
        message(5, "Bob", "Bob", "x").replace("\"message\":\"", "\"message\":\"AAAA"),
        message(6, "Bob", "Bob", ""),
        binary.to_string(),
        message(7, "Bob", "new\u{1b}[2J", "from an escape"),
    ];
    let file = write(folder.path(), &lines);
    let said = import(&data, &[&file]);
    let skipped: Vec<_> = said
        .lines()
        .filter(|line| line.contains(": skipped: "))
        .collect();
    let expected = [
        (2, "the name bob is somebody else's here"),
        (3, "it was imported already"),
        (4, "a name has only the letters"),
        (5, "no SHA-256"),
        (6, "a field comes twice"),
        (7, "no account, no message and no peer"),
        (9, "it was imported already"),
        (10, "no account \"bob\" was imported"),
        (11, "a name has only the letters"),
        (12, "20000 bytes"),
        (13, "not encrypted for \"Bob\""),
        (14, "its text has 0 bytes"),
        (15, "its _id is missing"),
        (16, "a name has only the letters"),
    ];
    assert_eq!(skipped.len(), expected.len(), "{said}");
    for (line, (number, why)) in skipped.iter().zip(expected) {
        let place = format!("export.json, line {number}: skipped: ");
        assert!(line.contains(&place) && line.contains(why), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    assert!(
        said.contains("1 account and 1 message were imported, 14 "),
        "{said}"
    );
    // With other names both come, and the mail that waited for one of them.
    let renames = ["--rename", "bob=bob2", "--rename", "no spaces=spaces"];
    let said = import(&data, &[&renames[..], &[&file, "--json"]].concat());
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["accounts"], &last["messages"]),
        (&json!(2), &json!(2)),
        "{said}"
    );
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(first["line"], 1);
}

#[test]
fn a_full_mailbox_takes_the_rest_later_and_a_deleted_account_nothing() {
    let (folder, data) = folder();
    let mut lines = vec![account("bob", "a"), account("carol", "a")];
    lines.extend((0..5).map(|number| message(number, "bob", "carol", "hi")));
    lines.push(message(9, "carol", "bob", "hi"));
    let file = write(folder.path(), &lines);
    let few = |arguments: &[&str]| {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        command.args(["--mailbox-messages", "3"]).args(arguments);
        let output = command
            .args(["--data", data.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let said = few(&["import", "mongo", &file]);
    assert!(said.contains("4 messages were imported, 2 "), "{said}");
    assert_eq!(
        said.matches("the mailbox of bob is full").count(),
        2,
        "{said}"
    );
    succeeds(&data, &["user", "remove", "carol"]);
    stop(Server::on(&data, &[]));
    let said = import(&data, &[&file]);
    assert!(
        said.contains("0 accounts and 2 messages were imported"),
        "{said}"
    );
    lines.push(message(10, "carol", "bob", "hi again"));
    let said = import(&data, &[&write(folder.path(), &lines)]);
    assert!(said.contains("carol has deleted the account"), "{said}");
}

#[test]
fn what_is_no_export_is_refused_in_a_sentence_and_nothing_is_half_done() {
    let (folder, data) = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let accounts = fs::read(export("dump/accounts.bson")).unwrap();
    let messages = fs::read(export("dump/messages.bson")).unwrap();
    let good = write("good.bson", &accounts);
    let mut hostile = messages.clone();
    hostile[0..4].copy_from_slice(&0x01ff_ffff_i32.to_le_bytes());
    let mut inner = messages.clone();
    let username = messages
        .windows(9)
        .position(|part| part == b"username\0")
        .unwrap()
        + 9;
    inner[username..username + 4].copy_from_slice(&i32::MAX.to_le_bytes());
    let gzipped = fs::read(export("dump-gzip/messages.bson.gz")).unwrap();
    let mut damaged = gzipped.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let line = message(1, "Bob", "Bob", "hi");
    for (name, bytes, why) in [
        (
            "cut.bson",
            &messages[..messages.len() - 1],
            "in the middle of document 5",
        ),
        (
            "cut.json",
            &line.as_bytes()[..40],
            "in the middle of line 1",
        ),
        ("cut.gz", &gzipped[..gzipped.len() - 9], "can't be read"),
        ("damaged.gz", &damaged, "can't be read"),
        ("hostile.bson", &hostile, "an impossible length"),
        ("inner.bson", &inner, "a length in it does not fit"),
        (
            "other.json",
            b"{\"colour\":\"red\"}\n",
            "has no document of the collections",
        ),
        (
            "csv",
            b"username,password\nbob,1\n",
            "line 1: there is something else",
        ),
        ("html", b"<html>", "line 1: there is something else"),
        (
            "latin1.json",
            b"{\"username\":\"b\xf6b\"}",
            "line 1: it is not JSON",
        ),
        (
            "archive",
            b"\x6d\xe2\x99\x81....",
            "is an archive of mongodump",
        ),
        (
            "chat.db",
            b"SQLite format 3\0....",
            "something else than an object",
        ),
    ] {
        let file = write(name, bytes);
        let said = import_fails(&data, &[&good, &file]);
        assert!(said.contains(why), "{name}: {said}");
    }
    let said = import_fails(&data, &[&good, "/nowhere/at/all"]);
    assert!(said.contains("can't be read"), "{said}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let said = import_fails(&data, &[empty.to_str().unwrap()]);
    assert!(said.contains("has no accounts or messages"), "{said}");
    let said = fails(&empty, &["import", "mongo", &good]);
    assert!(
        said.contains("there is no database in the folder"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    let wrong = command(&data, &["import", "mongo", &good, "--rename", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
    let server = Server::on(&data, &[]);
    let said = import_fails(&data, &[&good]);
    assert!(
        said.contains("another server is running on the folder"),
        "{said}"
    );
    stop(server);
    import(&data, &["--dry-run", &good]);
    assert_eq!(rows(&data), [0; 4]);
}

#[test]
fn a_long_text_that_never_ends_takes_no_memory_and_a_full_disk_takes_nothing() {
    let (folder, data) = folder();
    let endless = format!("{{\"username\":\"{}", "x".repeat(40 * 1024 * 1024));
    let file = folder.path().join("endless.json");
    fs::write(&file, endless).unwrap();
    let limited = |limit: &str, file: &Path| {
        let script =
            format!("trap '' XFSZ; {limit}; exec \"$0\" import mongo \"$1\" --data \"$2\"");
        let mut command = process::command("sh");
        let server = env!("CARGO_BIN_EXE_server");
        command.args(["-c", &script, server]).arg(file).arg(&data);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let said = limited("ulimit -v 400000", &file);
    assert!(said.contains("longer than MongoDB's documents"), "{said}");
    let mut lines = account("bob", "a");
    for number in 0..800 {
        write!(
            lines,
            "\n{}",
            message(number, "bob", "bob", &"x".repeat(15_000))
        )
        .unwrap();
    }
    let large = folder.path().join("large.json");
    fs::write(&large, lines).unwrap();
    let said = limited("ulimit -f 4000", &large);
    assert!(said.contains("nothing was imported"), "{said}");
    assert_eq!(rows(&data), [0; 4]);
    let said = import(&data, &[large.to_str().unwrap()]);
    assert!(said.contains("1 account and 800 messages were"), "{said}");
}
