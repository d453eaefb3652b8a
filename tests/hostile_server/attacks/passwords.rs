//! A server that says things about the password of somebody whose vault is there: none of
//! them changes what opens the vault, and none gets a cheaper guess.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Row, row};
use crate::lab::{Client, Onward, PASSWORD, Seen, Server};

/// What is typed instead of the password.
const SLIP: &str = "correct hosre battery";

/// A password that only the person knows.
const NEW: &str = "another horse battery";

/// From now on the server takes every login, and names the cheapest derivation.
fn takes_everything(client: &Client) {
    client.proxy.meddle(|seen, onward| match seen {
        Seen::Request(request) if request["op"] == "login" => take(request, onward),
        Seen::Answer(request) if request["op"] == "kdf" => cheapest(onward),
        _ => {}
    });
}

fn take(request: &Value, onward: &mut Onward) {
    let session = data_encoding::HEXLOWER.encode(&[7; 16]);
    let settings =
        json!({"listed": true, "presence": true, "refuse_unencrypted": false, "blocked": []});
    let welcome = json!({
        "name": request["name"], "session": session, "envelopes": 0, "plain": 0, "notices": 0,
        "one_time": 100, "logins": 1, "settings": settings,
    });
    onward.answer(request, "ok", welcome);
}

fn cheapest(onward: &mut Onward) {
    onward.change(|line| {
        line["ok"] = json!({
            "salt": BASE64.encode(&[0; 16]), "memory_kib": 19456, "passes": 2, "lanes": 1,
        });
    });
}

/// From now on the server refuses every login as one with a wrong password.
fn refuses_everything(client: &Client) {
    client.proxy.meddle(|seen, onward| match seen {
        Seen::Request(request) if request["op"] == "login" => {
            let why = json!({"code": "wrong_login", "message": "the password was changed"});
            onward.answer(request, "error", why);
        }
        Seen::Answer(request) if request["op"] == "kdf" => cheapest(onward),
        _ => {}
    });
}

/// Whether the vault opens with what is in this file, without any server.
fn opens(client: &mut Client, password_file: &str) -> bool {
    client.try_again(&["--password-file", password_file, "vault", "read"]);
    client.ends() == Some(0)
}

/// Somebody has a vault; the server says what it likes about its password.
pub(super) fn known_vault() -> Vec<Row> {
    let server = Server::start();
    let mut bob = Client::register_at_full_cost(&server, "bob").registered();
    let slip = bob.file("slip", SLIP);
    let new = bob.file("new", NEW);
    let right = bob.file("right", PASSWORD);
    let mut rows = Vec::new();

    takes_everything(&bob);
    let logins = bob.proxy.requests("login").len();
    bob.try_again(&["--password-file", &slip]);
    let shows = bob.sees("does not open the vault");
    assert_eq!(bob.ends(), Some(3));
    let mut lies = bob.proxy.requests("login").len() - logins;
    lies += usize::from(opens(&mut bob, &slip) || !opens(&mut bob, &right));
    let secrets = [SLIP, NEW];
    let attack = "a mistyped password is accepted";
    rows.push(row(attack, shows, &[&bob], &secrets, lies));

    refuses_everything(&bob);
    bob.try_again(&["--password-file", &right]);
    let shows = bob.sees("although this password opens the vault");
    assert_eq!(bob.ends(), Some(3));
    let lies = usize::from(!opens(&mut bob, &right));
    let attack = "a change of the password is claimed";
    rows.push(row(attack, shows, &[&bob], &secrets, lies));

    let logins = bob.proxy.requests("login").len();
    bob.try_again(&["--password-file", &right, "--new-password-file", &new]);
    let shows = bob.sees("the server asks to protect the password");
    assert_eq!(bob.ends(), Some(3));
    // The one login is that of the password that is known.
    let mut lies = bob.proxy.requests("login").len() - logins - 1;
    lies += usize::from(opens(&mut bob, &new) || !opens(&mut bob, &right));
    let attack = "… and a cheaper derivation named for the new one";
    rows.push(row(attack, shows, &[&bob], &secrets, lies));

    // A server that answers /passwd without doing it.
    bob.proxy.meddle(|seen, onward| {
        if let Seen::Request(request) = seen
            && request["op"] == "passwd"
        {
            onward.answer(request, "ok", json!({}));
        }
    });
    bob.again(&["--password-file", &right, "--new-password-file", &new]);
    bob.types("/passwd");
    let shows = bob.sees("does not take the new one");
    bob.proxy.behave();
    bob.ends();
    let lies = usize::from(!opens(&mut bob, &right));
    let attack = "/passwd is answered and not done";
    rows.push(row(attack, shows, &[&bob], &secrets, lies));
    rows
}
