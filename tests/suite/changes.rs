//! What changes while a login or a request waits: an account is judged as it is when somebody
//! is let in, not as it was when they asked.

use serde_json::{Value, json};

use crate::harness::{Client, Console, Server, credentials};

/// Consoles whose logins keep the server deriving keys, so that the next one has to wait: one
/// for each derivation at a time (half of the cores, at most 4), and another one.
fn crowd(server: &Server) -> Vec<Console> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let crowd = (0..=(cores / 2).clamp(1, 4)).map(|number| {
        let mut console = server.console();
        let line = format!("login nobody{number} whatever-it-is\r\n");
        console.wire().write(line.as_bytes());
        console
    });
    crowd.collect()
}

/// A console that has typed `line` behind the crowd and waits for its answer.
fn waiting(mut console: Console, line: &str) -> Console {
    // An answer shows that the server reads this connection.
    console.type_line("ping");
    console.wire().write(format!("{line}\r\n").as_bytes());
    console
}

/// The fields of `passwd` from the first of the two passwords to the second.
fn new_password(client: &mut Client, name: &str) -> Value {
    let [old, new] = credentials();
    let nonce = client.nonce();
    json!({"kdf": new.kdf(), "login_key": new.login_key(),
           "proof": old.prove_passwd(new, name, &nonce)})
}

fn delete(client: &mut Client, name: &str) {
    let nonce = client.nonce();
    let proof = credentials()[0].prove_delete(name, &nonce);
    client.ok("delete_account", json!({"proof": proof}));
}

#[test]
fn an_old_password_that_waited_its_turn_is_wrong() {
    let server = Server::start();
    let mut owner = server.register("hugo");
    let _crowd = crowd(&server);
    let mut old = waiting(server.console(), "takeover hugo correct horse");
    let fields = new_password(&mut owner, "hugo");
    owner.ok("passwd", fields);
    let answer = old.line();
    assert!(answer.starts_with("-ERR wrong_login"), "{answer}");
    // The owner was not thrown out by it.
    owner.ok("settings", json!({}));
}

#[test]
fn a_deleted_account_lets_nobody_in() {
    let server = Server::start();
    let mut owner = server.register("ida");
    let mut friend = server.register("friend");
    let _crowd = crowd(&server);
    let mut ghost = waiting(server.console(), "takeover ida correct horse");
    delete(&mut owner, "ida");
    let answer = ghost.line();
    assert!(answer.starts_with("-ERR wrong_login"), "{answer}");
    let answer = ghost.type_line("send friend hello from the dead");
    assert!(answer.starts_with("-ERR not_logged_in"), "{answer}");
    friend.no_event();
}

#[test]
fn a_session_that_was_taken_over_cannot_change_the_password_any_more() {
    let server = Server::start();
    let mut console = server.console();
    console.type_line("register carol correct-horse");
    let _crowd = crowd(&server);
    // It derives a key twice, and for the second time waits behind the take-over.
    let mut console = waiting(console, "passwd correct-horse battery-staple");
    let mut other = waiting(server.console(), "takeover carol correct-horse");
    assert_eq!(other.line(), "+OK you are carol");
    let rest = console.wire().rest();
    assert!(!rest.contains("+OK"), "{rest}");
    other.type_line("logout");
    let answer = other.type_line("login carol correct-horse");
    assert_eq!(answer, "+OK you are carol", "it is still the password");
}

#[test]
fn a_name_that_was_taken_meanwhile_is_taken() {
    let server = Server::start();
    let _crowd = crowd(&server);
    let mut late = waiting(server.console(), "register dora some-password");
    let mut first = server.register("dora");
    let answer = late.line();
    assert!(answer.starts_with("-ERR name_taken"), "{answer}");
    first.ok("settings", json!({}));
}

#[test]
fn a_challenge_from_before_a_change_proves_nothing_after_it() {
    let server = Server::start();
    for end in ["passwd", "delete_account"] {
        let name = format!("emil-{end}").replace('_', "-");
        let mut owner = server.register(&name);
        let mut early = server.client();
        let nonce = early.nonce();
        let mut fields = credentials()[0].login(&name, &nonce);
        fields["take_over"] = json!(true);
        match end {
            "passwd" => {
                let change = new_password(&mut owner, &name);
                owner.ok("passwd", change);
            }
            _ => delete(&mut owner, &name),
        }
        assert_eq!(early.ask("login", fields).unwrap_err(), "wrong_login");
    }
}
