//! After the operator has reset a password: a person who forgot it, one who lost the machine, and
//! one at the console.

use std::path::Path;

use super::admin::rows;
use crate::harness::{CLIENT_PASSWORD, ClientProcess, Server, temporary_folder, write_secret};

/// Resets a password, and writes the code to a file.
fn reset(server: &Server, name: &str, file: &Path) {
    let row = rows(&server.data(), &["user", "reset", name]).remove(0);
    write_secret(file, row["code"].as_str().unwrap());
}

#[test]
fn who_forgot_the_password_gets_in_and_reads_what_has_waited() {
    let server = Server::start();
    let folder = temporary_folder();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (alices, recovery) = (folder.path().join("alice"), file("recovery"));
    let flags = ["--recovery-file", recovery.as_str()];
    let mut alice = ClientProcess::start(server.address(), &alices, &flags);
    alice.types("/register alice");
    alice.sees_one_of(&["account alice created"]);
    let mut bob = ClientProcess::start(server.address(), &folder.path().join("bob"), &[]);
    bob.types("/register bob");
    bob.sees_one_of(&["account bob created"]);
    bob.types("/msg alice are you there");
    alice.sees_one_of(&["are you there"]);
    assert_eq!(alice.ends(), Some(0));
    bob.types("/msg alice while you were away");

    let (code, new) = (file("code"), file("new"));
    write_secret(Path::new(&new), "battery staple");
    reset(&server, "alice", Path::new(&code));
    // The old password is worth nothing on the server.
    let mut old = ClientProcess::start(server.address(), &alices, &["--user", "alice"]);
    old.sees_one_of(&["the password is wrong"]);
    drop(old);
    let flags = [
        "--user",
        "alice",
        "--password-file",
        &recovery,
        "--reset-code-file",
        &code,
        "--new-password-file",
        &new,
    ];
    let mut alice = ClientProcess::start(server.address(), &alices, &flags);
    alice.sees_one_of(&["logged in as alice"]);
    alice.sees_one_of(&["while you were away"]);
    assert_eq!(alice.ends(), Some(0));
    // The code is used up, and the new password opens both the account and the vault.
    let mut again = ClientProcess::start(server.address(), &alices, &flags);
    again.sees_one_of(&["the password is wrong"]);
    drop(again);
    let flags = ["--user", "alice", "--password-file", &new];
    let mut alice = ClientProcess::start(server.address(), &alices, &flags);
    alice.sees_one_of(&["logged in as alice"]);
    alice.types("/history bob");
    alice.sees_one_of(&["are you there"]);
}

#[test]
fn who_lost_the_machine_begins_with_a_new_identity_and_contacts_are_warned() {
    let server = Server::start();
    let folder = temporary_folder();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut alice = ClientProcess::start(server.address(), &folder.path().join("lost"), &[]);
    alice.types("/register alice");
    alice.sees_one_of(&["account alice created"]);
    let mut bob = ClientProcess::start(server.address(), &folder.path().join("bob"), &[]);
    bob.types("/register bob");
    bob.sees_one_of(&["account bob created"]);
    bob.types("/msg alice are you there");
    alice.sees_one_of(&["are you there"]);
    assert_eq!(alice.ends(), Some(0));

    let (code, new) = (file("code"), file("new"));
    write_secret(Path::new(&new), "battery staple");
    reset(&server, "alice", Path::new(&code));
    let flags = [
        "--user",
        "alice",
        "--reset-code-file",
        &code,
        "--new-password-file",
        &new,
        "--new-identity",
    ];
    let mut alice =
        ClientProcess::start(server.address(), &folder.path().join("new-machine"), &flags);
    alice.sees_one_of(&["logged in as alice"]);
    // Commands follow once the new identity is published.
    alice.types("/who bob");
    alice.sees_one_of(&["online"]);
    bob.types("/msg alice still you?");
    bob.sees_one_of(&["alice's identity has changed"]);
    bob.types("/accept alice");
    bob.sees_one_of(&["is accepted, not verified"]);
    // What was encrypted to the old identity waits for a comparison; what is written now does not.
    bob.types("/msg alice welcome back");
    alice.sees_one_of(&["welcome back"]);
    assert_ne!(CLIENT_PASSWORD, "battery staple");
}

#[test]
fn the_console_sets_a_password_with_the_code_once() {
    let server = Server::start();
    let data = server.data();
    server.console().register("carol");
    let row = rows(&data, &["user", "reset", "carol"]).remove(0);
    let code = row["code"].as_str().unwrap();
    let mut console = server.console();
    assert!(console.login("carol").starts_with("-ERR wrong_login"));
    let other = "0000-0000-0000-0000-0000-0000-0000-0000";
    for (line, begins) in [
        (
            format!("reset carol {other} battery staple"),
            "-ERR bad_request",
        ),
        (format!("reset carol {code} short"), "-ERR bad_password"),
        (
            format!("reset nobody {code} battery staple"),
            "-ERR wrong_login",
        ),
        (format!("reset carol {code}"), "-ERR bad_request usage"),
        (
            format!("reset carol {code} battery staple"),
            "+OK you are carol",
        ),
    ] {
        let answer = console.type_line(&line);
        assert!(answer.starts_with(begins), "{line}: {answer}");
    }
    let mut again = server.console();
    let answer = again.type_line(&format!("reset carol {code} another one"));
    assert!(answer.starts_with("-ERR wrong_login"), "{answer}");
    console.type_line("logout");
    assert!(
        console
            .type_line("login carol battery staple")
            .starts_with("+OK")
    );
}
