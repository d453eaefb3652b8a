//! Registering, proofs and nonces, passwords, deletion, settings, blocking.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::{Client, Nonce, Server, credentials, mid, plain};

fn refused(result: &Result<Value, String>, code: &str) {
    assert_eq!(result.as_ref().unwrap_err(), code);
}

#[test]
fn a_nonce_serves_one_attempt() {
    let server = Server::start();
    let mut alice = server.register("alice");
    alice.ok("logout", json!({}));
    let proof = |name: &str, nonce: &Nonce| credentials()[0].prove_login(name, nonce);

    let never_said_hello =
        json!({"name": "alice", "proof": proof("alice", &Nonce([0; 32], Vec::new()))});
    refused(&server.client().ask("login", never_said_hello), "no_nonce");

    // The same proof twice: the nonce went with the first, whatever became of it.
    let nonce = alice.nonce();
    let fields = json!({"name": "alice", "proof": proof("alice", &nonce)});
    alice.ok("login", fields.clone());
    alice.ok("logout", json!({}));
    refused(&alice.ask("login", fields), "no_nonce");

    // A failed attempt uses it up too.
    let nonce = alice.nonce();
    let wrong = json!({"name": "alice", "proof": proof("bob", &nonce)});
    refused(&alice.ask("login", wrong), "wrong_login");
    let right = json!({"name": "alice", "proof": proof("alice", &nonce)});
    refused(&alice.ask("login", right), "no_nonce");

    // A newer hello replaces the older one's nonce.
    let (old, _new) = (alice.nonce(), alice.nonce());
    let fields = json!({"name": "alice", "proof": proof("alice", &old)});
    refused(&alice.ask("login", fields), "wrong_login");
    assert!(alice.login("alice").is_ok());
}

#[test]
fn a_proof_fits_one_connection_one_name_and_one_purpose() {
    let server = Server::start();
    server.register("alice");
    let mut bob = server.register("bob");
    bob.ok("logout", json!({}));
    let other_nonce = server.client().nonce();
    let [password, wrong] = credentials();
    type Proof<'a> = &'a dyn Fn(&Nonce) -> String;
    let attempts: [Proof; 5] = [
        &|_| password.prove_login("bob", &other_nonce),
        &|nonce| password.prove_login("alice", nonce),
        &|nonce| password.prove_register("bob", nonce),
        &|nonce| password.prove_delete("bob", nonce),
        &|nonce| wrong.prove_login("bob", nonce),
    ];
    for proof in attempts {
        // Five failures on one connection would end it, so each has its own.
        let mut client = server.client();
        let nonce = client.nonce();
        let fields = json!({"name": "bob", "proof": proof(&nonce)});
        refused(&client.ask("login", fields), "wrong_login");
    }
    let mut patient = server.client();
    for _ in 0..4 {
        let nonce = patient.nonce();
        let fields = json!({"name": "ghost", "proof": password.prove_login("ghost", &nonce)});
        refused(&patient.ask("login", fields), "wrong_login");
    }
    assert!(patient.login("bob").is_ok());
}

#[test]
fn guessing_ends_the_connection() {
    let server = Server::start();
    let mut guesser = server.client();
    for attempt in 1..=5 {
        guesser.nonce();
        let proof = BASE64.encode(&[attempt; 64]);
        let result = guesser.ask("login", json!({"name": "alice", "proof": proof}));
        refused(&result, "wrong_login");
    }
    let end = guesser.event();
    assert_eq!(end["error"]["code"], "slow_down");
    assert_eq!(guesser.next_event(), None);
}

#[test]
fn an_unknown_users_kdf_is_stable_and_plausible() {
    let mut server = Server::start();
    let mut client = server.register("alice");
    let known = client.ok("kdf", json!({"name": "ALICE"}));
    assert_eq!(known, credentials()[0].kdf());

    let unknown = client.ok("kdf", json!({"name": "ghost"}));
    assert_eq!(unknown, client.ok("kdf", json!({"name": "Ghost"})));
    let another = client.ok("kdf", json!({"name": "ghost2"}));
    assert_ne!(unknown["salt"], another["salt"]);
    // What a client of this version registers with.
    assert_eq!(unknown["memory_kib"], 64 * 1024);
    assert_eq!(
        (&unknown["passes"], &unknown["lanes"]),
        (&json!(3), &json!(1))
    );

    server.crash_and_restart();
    let mut client = server.client();
    assert_eq!(unknown, client.ok("kdf", json!({"name": "ghost"})));
}

#[test]
fn a_name_is_registered_once_and_properly() {
    let server = Server::start();
    server.register("alice");
    let mut client = server.client();
    let again = client.registration("ALICE");
    refused(&client.ask("register", again), "name_taken");

    let mut cheap = client.registration("bob");
    cheap["kdf"]["memory_kib"] = json!(8);
    refused(&client.ask("register", cheap), "bad_key");
    let mut dear = client.registration("bob");
    dear["kdf"]["memory_kib"] = json!(u32::MAX);
    refused(&client.ask("register", dear), "bad_key");
    let mut for_another = client.registration("bob");
    for_another["name"] = json!("carol");
    refused(&client.ask("register", for_another), "bad_key");

    client.register("bob");
    let mut while_logged_in = client.registration("carol");
    refused(
        &client.ask("register", while_logged_in.take()),
        "already_logged_in",
    );
}

#[test]
fn a_server_can_be_closed_to_new_accounts() {
    let server = Server::with(&["--registration", "false"]);
    let mut client = server.client();
    let fields = client.registration("alice");
    refused(&client.ask("register", fields), "registration_closed");
    refused(&client.login("alice"), "wrong_login");
}

#[test]
fn too_old_a_client_is_told() {
    let server = Server::start();
    let mut client = server.client();
    refused(&client.ask("hello", json!({"version": 0})), "version");
    let greeting = client.ok("hello", json!({"version": 99}));
    assert_eq!(
        (&greeting["version"], &greeting["oldest"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(greeting["max_line"], 64 * 1024);
}

#[test]
fn a_new_password_replaces_the_old_one_durably() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let [old, new] = credentials();
    let change = |client: &mut Client, proof: &dyn Fn(&Nonce) -> String| {
        let nonce = client.nonce();
        let fields =
            json!({"kdf": new.kdf(), "login_key": new.login_key(), "proof": proof(&nonce)});
        client.ask("passwd", fields)
    };
    let not_proven = change(&mut alice, &|nonce| new.prove_passwd(new, "alice", nonce));
    refused(&not_proven, "wrong_login");
    let proven = change(&mut alice, &|nonce| old.prove_passwd(new, "alice", nonce));
    assert_eq!(proven, Ok(json!({})));

    server.crash_and_restart();
    let mut alice = server.client();
    refused(&alice.login("alice"), "wrong_login");
    assert_eq!(alice.ok("kdf", json!({"name": "alice"})), new.kdf());
    let nonce = alice.nonce();
    let proof = new.prove_login("alice", &nonce);
    alice.ok("login", json!({"name": "alice", "proof": proof}));
}

#[test]
fn a_deleted_account_takes_its_mail_along_and_leaves_its_name_reserved() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    bob.send("alice", 1, "soon gone").unwrap();
    let nonce = alice.nonce();
    let login = credentials()[0].prove_login("alice", &nonce);
    refused(
        &alice.ask("delete_account", json!({"proof": login})),
        "wrong_login",
    );
    let nonce = alice.nonce();
    let proof = credentials()[0].prove_delete("alice", &nonce);
    alice.ok("delete_account", json!({"proof": proof}));
    refused(&alice.ask("fetch", json!({})), "not_logged_in");

    for round in 0..2 {
        refused(&bob.send("alice", 2 + round, "hello?"), "unknown_user");
        refused(&bob.ask("status", json!({"name": "alice"})), "unknown_user");
        refused(&bob.ask("keys", json!({"name": "alice"})), "unknown_user");
        let found = bob.ok("search", json!({"text": "al"}));
        assert_eq!(found["users"], json!([]));
        let mut client = server.client();
        refused(&client.login("alice"), "wrong_login");
        let fields = client.registration("alice");
        refused(&client.ask("register", fields), "name_taken");
        // And the same from the disk.
        server.crash_and_restart();
        bob = server.login("bob");
    }
}

#[test]
fn settings_hide_what_they_say() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let defaults = json!({"listed": true, "presence": true, "refuse_unencrypted": false,
                          "blocked": []});
    assert_eq!(alice.ok("settings", json!({})), defaults);
    let hidden = json!({"listed": false, "presence": false, "refuse_unencrypted": true,
                        "blocked": []});
    let change = json!({"listed": false, "presence": false, "refuse_unencrypted": true});
    assert_eq!(alice.ok("settings", change), hidden);
    for _ in 0..2 {
        let found = bob.ok("search", json!({"text": "alice"}));
        assert_eq!(found["users"], json!([]));
        let status = bob.ok("status", json!({"name": "alice"}));
        assert_eq!(
            status,
            json!({"name": "alice", "online": false, "last_seen": null})
        );
        refused(&bob.send("alice", 1, "psst"), "unencrypted_refused");
        let envelope = json!({"to": "alice", "mid": mid(2), "envelope": "AQID"});
        bob.ok("send", envelope);
        // One sees oneself, and the settings survive.
        let own = alice.ok("status", json!({"name": "alice"}));
        assert_eq!(own["online"], true);
        server.crash_and_restart();
        (alice, bob) = (server.login("alice"), server.login("bob"));
        assert_eq!(alice.ok("settings", json!({})), hidden);
    }
    let shown = alice.ok("settings", json!({"presence": true}));
    assert_eq!(shown["listed"], false, "only what is named changes");
    let status = bob.ok("status", json!({"name": "alice"}));
    assert_eq!(status["online"], true);
}

#[test]
fn a_server_can_refuse_all_unencrypted_mail() {
    let server = Server::with(&["--unencrypted", "false"]);
    let (mut alice, _bob) = (server.register("alice"), server.register("bob"));
    refused(&alice.send("bob", 1, "psst"), "unencrypted_refused");
    alice.ok(
        "send",
        json!({"to": "bob", "mid": mid(2), "envelope": "AQID"}),
    );
}

#[test]
fn a_blocked_sender_learns_nothing_and_reaches_nobody() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let settings = bob.ok("block", json!({"name": "alice"}));
    assert_eq!(settings["blocked"], json!(["alice"]));
    refused(&bob.ask("block", json!({"name": "ghost"})), "unknown_user");
    refused(&bob.ask("block", json!({"name": "bob"})), "bad_request");
    assert_eq!(alice.send("bob", 1, "hello").unwrap()["state"], "stored");
    bob.no_event();

    // It holds across a crash, online and offline.
    server.crash_and_restart();
    alice = server.login("alice");
    assert_eq!(alice.send("bob", 2, "hello?").unwrap()["state"], "stored");
    bob = server.login("bob");
    bob.no_event();
    let settings = bob.ok("unblock", json!({"name": "alice"}));
    assert_eq!(settings["blocked"], json!([]));
    let sent = alice.post("send", &plain("bob", 3, "at last"));
    assert_eq!(bob.message().body, "at last");
    bob.ack("alice", &[mid(3)]);
    alice.answer(sent).unwrap();
}

#[test]
fn search_pages_through_what_it_finds() {
    let server = Server::start();
    let mut client = server.client();
    for number in 0..7 {
        client.register(&format!("user{number}"));
        client.ok("logout", json!({}));
    }
    client.register("seeker");
    let names = |found: &Value| -> Vec<String> {
        let users = found["users"].as_array().unwrap();
        let name = |user: &Value| user["name"].as_str().unwrap().to_owned();
        users.iter().map(name).collect()
    };
    let first = client.ok("search", json!({"text": "user", "limit": 4}));
    assert_eq!(names(&first), ["user0", "user1", "user2", "user3"]);
    assert_eq!(first["more"], true);
    let next = json!({"text": "user", "limit": 4, "after": "user3"});
    let rest = client.ok("search", next);
    assert_eq!(names(&rest), ["user4", "user5", "user6"]);
    assert_eq!(rest["more"], false);
    refused(&client.ask("search", json!({"text": "u"})), "bad_request");
    for nothing in ["us%", "us_", "üs", "../", "*"] {
        let found = client.ask("search", json!({"text": nothing}));
        assert!(
            found.is_err() || names(&found.unwrap()).is_empty(),
            "{nothing}"
        );
    }
}
