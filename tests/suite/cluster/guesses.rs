//! Somebody who guesses at a password tries it at both servers, and whichever it is, the account counts.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::json;

use super::pair;
use crate::harness::{Client, Server, eventually, postgres};

/// A wrong login on a connection of its own that has yet to be answered.
struct Guess {
    client: Client,
    posted: u64,
    since: Instant,
}

impl Guess {
    fn at(server: &Server, name: &str) -> Self {
        Self::on(server.client(), name)
    }

    fn on(mut client: Client, name: &str) -> Self {
        client.nonce();
        let since = Instant::now();
        let wrong = json!({"name": name, "proof": BASE64.encode(&[7; 64])});
        let posted = client.post("login", &wrong);
        Guess {
            client,
            posted,
            since,
        }
    }

    /// Waits for the answer, and returns how long that took.
    fn answer(&mut self) -> Duration {
        let answer = self.client.answer(self.posted);
        assert_eq!(answer, Err("wrong_login".to_owned()));
        self.since.elapsed()
    }
}

#[test]
fn guesses_at_both_servers_are_slowed_as_at_one() {
    let mut servers = pair(&[]);
    drop(servers.alice_and_bob());
    // A name that nobody has is slowed alike.
    let names = ["alice", "ghost"];
    let at_both = names.map(|name| {
        let guesses = [&servers.first, &servers.second].map(|server| Guess::at(server, name));
        let mut took = guesses.map(|mut guess| guess.answer());
        took.sort();
        took
    });
    for took in at_both {
        assert!(took[0] >= Duration::from_millis(250), "{took:?}");
        assert!(took[1] >= Duration::from_millis(500), "{took:?}");
    }
    servers.second.crash_and_restart();
    let mut third = names.map(|name| Guess::at(&servers.second, name));
    // Nobody is locked out meanwhile.
    let welcome = json!({"take_over": true});
    let mut alice = servers.second.client();
    alice.login_with("alice", welcome).unwrap();
    for guess in &mut third {
        let took = guess.answer();
        assert!(took >= Duration::from_secs(1), "{took:?}");
    }
    alice.ok("ping", json!({}));
}

#[test]
fn a_guess_that_cannot_be_counted_is_not_free() {
    let servers = pair(&[]);
    drop(servers.alice_and_bob());
    postgres::ask(&servers.store, "ALTER TABLE guesses RENAME TO away");
    let _held = Guess::at(&servers.first, "alice");
    eventually("it is logged", || {
        servers.first.log().contains("could not be counted")
    });
    let welcome = json!({"take_over": true});
    let mut alice = servers.first.client();
    alice.login_with("alice", welcome).unwrap();
    postgres::ask(&servers.store, "ALTER TABLE away RENAME TO guesses");
    // Two that are counted take 750 ms, and this one takes 8 s.
    let mut first = Guess::at(&servers.first, "bob");
    first.answer();
    Guess::on(first.client, "bob").answer();
    let answered = "failed to log in";
    eventually("both are logged", || {
        servers.first.log().matches(answered).count() >= 2
    });
    assert_eq!(servers.first.log().matches(answered).count(), 2);
}
