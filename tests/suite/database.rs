//! PostgreSQL in place of the file: how a server comes to it, what it refuses and why, and what becomes of
//! it when its connections break. That it serves people as with the file, the other tests show when they
//! are run on PostgreSQL; see `scripts/suite-on-postgres.sh`.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::admin::{command, rows};
use crate::harness::{
    Client, PATIENCE, Server, eventually, mid, plain, postgres, process, temporary_folder,
};

/// What a server that does not start says.
pub fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut server = process::command(env!("CARGO_BIN_EXE_server"));
    server.args(["--listen", "127.0.0.1:0"]).args(arguments);
    server.envs(environment.iter().copied());
    let ended = server.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success(), "{said}");
    assert!(!said.contains("secret"), "{said}");
    said
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn waiting(client: &mut Client, handles: &[Value]) -> usize {
    let ids: Vec<String> = (0..handles.len() as u64).map(mid).collect();
    let fields = json!({"to": "bob", "ids": ids, "handles": handles});
    let outcome = client.ok("outcome", fields);
    outcome["waiting"].as_array().unwrap().len()
}

#[test]
fn a_folder_moves_into_a_database_with_all_that_waits() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let store = postgres::database(&data);
    // On a run of the suite on PostgreSQL, this server has the file all the same.
    let mut server = Server::on_file(&data, &[]);
    server.register("bob").ok("logout", json!({}));
    let mut alice = server.register("alice");
    let send = |number| alice.ok("send", plain("bob", number, &format!("text\t{number}\\")));
    let handles: Vec<Value> = (0..150).map(send).map(|ok| ok["handle"].clone()).collect();
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());

    let migrate = || {
        let mut migrate = process::command(env!("CARGO_BIN_EXE_server"));
        migrate.args(["migrate", "--from", text(&data), "--to", &store]);
        let done = migrate.output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let why = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{why}");
        said
    };
    let said = migrate();
    for counted in [
        "users: 2 rows in the folder, 2",
        "mail: 150 rows in the folder, 150",
    ] {
        assert!(said.contains(counted), "{said}");
    }
    // It was cut off before the file was put aside.
    let [file, aside] = ["chat.db", "chat.db.migrated"].map(|name| data.join(name));
    fs::rename(&aside, &file).unwrap();
    let said = refusal(&["--data", text(&data), "--store", &store], &[]);
    assert!(said.contains("server migrate"), "{said}");
    assert!(migrate().contains("mail: 150 rows in the folder, 150"));
    assert!(aside.exists() && !file.exists());
    let said = refusal(&["--data", text(&data)], &[]);
    assert!(said.contains("chat.db is missing"), "{said}");

    let server = Server::on_file(&data, &["--store", &store]);
    let mut alice = server.login("alice");
    assert_eq!(waiting(&mut alice, &handles), 150);
    let mut bob = server.login("bob");
    for number in 0..150 {
        let message = bob.message();
        assert_eq!(message.mid, mid(number));
        assert_eq!(message.body, format!("text\t{number}\\"));
        bob.ack("alice", &[message.mid]);
    }
    eventually("nothing waits", || waiting(&mut alice, &handles) == 0);
    let carol = server.register("carol");
    drop(carol);
}

#[test]
fn what_is_wrong_with_a_database_is_said_in_a_sentence() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let store = postgres::database(&data);
    let refused = |store: &str, environment: &[(&str, &str)]| {
        refusal(&["--data", text(&data), "--store", store], environment)
    };
    postgres::ask(
        &store,
        "CREATE ROLE narrow LOGIN; CREATE ROLE few LOGIN CONNECTION LIMIT 0;
         REVOKE ALL ON SCHEMA public FROM PUBLIC",
    );
    let missing = store.replace("/suite_", "/missing_");
    let narrow = store.replace("chat@", "narrow@");
    let few = store.replace("chat@", "few@");
    for (store, says) in [
        (missing.as_str(), "createdb"),
        (&narrow, "grant it all rights"),
        (&few, "max_connections"),
        ("postgres://chat@127.0.0.1:1/chat", "check that it runs"),
        ("postgres://db.invalid/chat?sslmode=prefer", "verify-full"),
    ] {
        let said = refused(store, &[]);
        assert!(said.contains(says), "{store}: {said}");
    }
    let said = refused("postgres://chat:secret@127.0.0.1/chat", &[]);
    assert!(said.contains("PGPASSFILE"), "{said}");
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, "*:*:*:*:secret\n").unwrap();
    fs::set_permissions(
        &passwords,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let said = refused(&store, &[("PGPASSFILE", text(&passwords))]);
    assert!(said.contains("chmod 600"), "{said}");
    let name = postgres::ask(&store, "SELECT current_database()");
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    postgres::ask(&store, &read_only);
    let said = refused(&store, &[]);
    assert!(said.contains("read-only"), "{said}");
    let with_journal = ["--data", text(&data), "--store", &store, "--journal", "j"];
    assert!(refusal(&with_journal, &[]).contains("without --store"));
    for command in [&["backup", "b"][..], &["restore", "b"]] {
        let said = refusal(&[command, &["--store", &store]].concat(), &[]);
        assert!(said.contains("its own tools"), "{said}");
    }
}

#[test]
fn each_has_a_name_of_its_own_and_all_one_certificate() {
    let folder = temporary_folder();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let store = postgres::database(&first);
    let mut server = Server::on_file(&first, &["--store", &store]);
    server.register("bob");
    let said = refusal(&["--data", text(&second), "--store", &store], &[]);
    assert!(said.contains("give each a name of its own"), "{said}");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    let said = refusal(&["--data", text(&second), "--store", &store], &[]);
    assert!(said.contains("tls-cert.pem"), "{said}");
    // One that was made elsewhere is not theirs either.
    drop(Server::on_file(&second, &[]));
    fs::remove_file(second.join("chat.db")).unwrap();
    let said = refusal(&["--data", text(&second), "--store", &store], &[]);
    assert!(said.contains("show the certificate"), "{said}");
    for name in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(first.join(name), second.join(name)).unwrap();
    }
    let server = Server::on_file(&second, &["--store", &store]);
    server.login("bob");
}

#[test]
fn connections_that_break_cost_a_pause_and_no_message() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let store = postgres::database(&data);
    let server = Server::on_file(&data, &["--store", &store]);
    let mut bob = server.register("bob");
    let mut alice = server.register("alice");
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for number in 0..60 {
        if number % 10 == 5 {
            postgres::ask(&store, cut);
        }
        alice.ok("send", plain("bob", number, &format!("text {number}")));
    }
    for number in 0..60 {
        assert_eq!(bob.message().mid, mid(number));
    }
}

#[test]
fn a_stopped_servers_database_is_administered_with_its_address() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let store = postgres::database(&data);
    let mut server = Server::on_file(&data, &["--store", &store]);
    server.register("bob");
    // A running server knows where its database is.
    assert_eq!(rows(&data, &["user", "list"]).len(), 1);
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).success());
    let ended = command(&data, &["user", "list"], "");
    assert!(ended.err.contains("no database in the folder"), "{ended:?}");
    let listed = rows(&data, &["user", "list", "--store", &store]);
    assert_eq!(listed[0]["name"], "bob");
}
