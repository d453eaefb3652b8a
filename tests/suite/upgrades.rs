//! Databases of every schema that a server ever wrote: this one opens them, with all that they hold,
//! and keeps a copy before it changes their schema.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use crate::harness::{Server, credentials, run_to_the_end, temporary_folder};

/// `schema.sql` as each version of it landed, oldest first. A schema that changes gets a file here.
const SCHEMAS: [(&str, &str); 9] = [
    ("1.1", include_str!("../schemas/1.1.sql")),
    ("1.2", include_str!("../schemas/1.2.sql")),
    ("1.3", include_str!("../schemas/1.3.sql")),
    ("1.4", include_str!("../schemas/1.4.sql")),
    ("1.5", include_str!("../schemas/1.5.sql")),
    ("2.1", include_str!("../schemas/2.1.sql")),
    ("3.1", include_str!("../schemas/3.1.sql")),
    ("3.2", include_str!("../schemas/3.2.sql")),
    ("3.3", include_str!("../schemas/3.3.sql")),
];

const SCHEMA: &str = include_str!("../../schema.sql");

/// The statements of a schema, without comments.
fn statements(schema: &str) -> String {
    let lines = schema.lines();
    let code = lines.map(|line| line.split("--").next().unwrap_or_default());
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

/// Makes a database as a server with this schema left it: bob has a message of alice's.
fn make(folder: &Path, schema: &str) {
    let database = Connection::open(folder.join("chat.db")).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch(schema).unwrap();
    let (salt, key) = credentials()[0].stored();
    for (id, name) in [(1, "alice"), (2, "bob")] {
        let account =
            "INSERT INTO users (id, name, created, salt, memory_kib, passes, lanes, login_key)
                       VALUES (?1, ?2, 1, ?3, 65536, 3, 1, ?4)";
        database
            .execute(account, rusqlite::params![id, name, salt, key])
            .unwrap();
    }
    let mail = "INSERT INTO mail (recipient, number, sender, id, at, kind, body)
                VALUES (2, 7, 1, ?1, 2, 1, ?2)";
    let body = "from before".as_bytes();
    database
        .execute(mail, rusqlite::params![[7u8; 16], body])
        .unwrap();
}

fn version(database: &Path) -> i64 {
    let database = Connection::open(database).unwrap();
    database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn a_database_of_every_schema_is_opened_and_a_copy_kept() {
    for (name, schema) in SCHEMAS {
        let folder = temporary_folder();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        make(&data, schema);
        let before = version(&data.join("chat.db"));
        let server = Server::on(&data, &[]);
        let mut bob = server.login("bob");
        let message = bob.message();
        assert_eq!(
            (&*message.from, &*message.body),
            ("alice", "from before"),
            "{name}"
        );
        assert_eq!(
            bob.ok("search", json!({"text": "al"}))["users"][0]["name"],
            "alice"
        );
        let mut alice = server.login("alice");
        alice.send("bob", 1, "from today").unwrap();
        assert_eq!(bob.message().body, "from today");
        let after = version(&data.join("chat.db"));
        let copy = data.join(format!("chat.db.schema-{before}"));
        assert_eq!(copy.exists(), before < after, "{name}");
        if before < after {
            assert_eq!(version(&copy), before);
            let copy = Connection::open(&copy).unwrap();
            let mail: i64 = copy
                .query_row("SELECT count(*) FROM mail", [], |row| row.get(0))
                .unwrap();
            assert_eq!(mail, 1);
        }
    }
}

#[test]
fn the_newest_schema_is_among_them_or_has_another_version() {
    let known = SCHEMAS.map(|(_, schema)| statements(schema));
    let newest = statements(SCHEMA);
    let version = |schema: &str| {
        let rest = schema.split("PRAGMA user_version = ").nth(1).unwrap();
        rest.split(';').next().unwrap().to_owned()
    };
    let same_version = known
        .iter()
        .filter(|schema| version(schema) == version(&newest));
    assert!(
        known.contains(&newest) || same_version.count() == 0,
        "schema.sql has changed under the same version; add it to tests/schemas"
    );
}

#[test]
fn a_newer_servers_database_is_left_as_it_is() {
    let folder = temporary_folder();
    make(folder.path(), SCHEMA);
    let path = folder.path().join("chat.db");
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    let data = folder.path().to_str().unwrap();
    let (status, said) = run_to_the_end(&["--listen", "127.0.0.1:0", "--data", data]);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("was written by a newer version"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
