//! What is left of a deleted account in the bytes of the server's files.

use serde_json::json;

use crate::harness::{Server, credentials, eventually, plain};

/// Whether a text stands in the database or in the log beside it.
fn on_disk(server: &Server, text: &str) -> bool {
    ["chat.db", "chat.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(server.data().join(name)).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[test]
fn the_mail_that_waited_for_a_deleted_account_is_erased_while_the_server_runs() {
    let server = Server::start();
    let mut alice = server.register("alice");
    server.register("bob").ok("logout", json!({}));
    let secret = "a text that nobody is to find again";
    for number in 0..1200 {
        // Some are so long that they have pages of their own.
        let filler = "x".repeat(if number % 10 == 0 { 9000 } else { 10 });
        alice.ok("send", plain("bob", number, &format!("{filler} {secret}")));
    }
    assert!(on_disk(&server, secret), "it is stored first");
    let mut bob = server.client();
    bob.login_with("bob", json!({"receive": false})).unwrap();
    let nonce = bob.nonce();
    let proof = credentials()[0].prove_delete("bob", &nonce);
    bob.ok("delete_account", json!({"proof": proof}));
    eventually("it is erased", || !on_disk(&server, secret));
    // What others have is as it was.
    server.register("carol").ok("logout", json!({}));
    alice.ok("send", plain("carol", 5000, "still here"));
    assert_eq!(server.login("carol").message().body, "still here");
}
