//! A server that claims that an account was imported from the Python program before this one, so
//! that its owner gives it a password (`claim`).

use serde_json::{Value, json};
#[cfg(feature = "tls")]
use sha2::Digest;

use super::{Row, row};
#[cfg(feature = "tls")]
use crate::lab::PASSWORD;
use crate::lab::{Client, Onward, Seen, Server};

/// A password that only the person knows.
const NEW: &str = "another horse battery";

/// From now on the server says of every account that it was imported, and shows a certificate that
/// the connection does not have.
fn claims_it(seen: &Seen<'_>, onward: &mut Onward) {
    match seen {
        Seen::Request(request) if is_about_passwords(request) => {
            let why = json!({"code": "imported", "message": "send me the password of then"});
            onward.answer(request, "error", why);
        }
        Seen::Answer(request) if request["op"] == "hello" => onward.change(|line| {
            line["ok"]["certificate"] = data_encoding::BASE64.encode(&[7; 32]).into();
        }),
        _ => {}
    }
}

fn is_about_passwords(request: &Value) -> bool {
    ["kdf", "login", "claim"]
        .iter()
        .any(|op| request["op"] == *op)
}

/// How often a password was sent to it.
fn claims(client: &Client) -> usize {
    client.proxy.requests("claim").len()
}

/// It says so to somebody who has a vault, and to a device without one, over plain TCP; both agree
/// to give the password.
pub(super) fn claimed() -> Vec<Row> {
    let server = Server::start();
    let mut bob = Client::register(&server, "bob", &[]).registered();
    let new = bob.file("new", NEW);
    let agrees = ["--claim", "--new-password-file", new.as_str()];
    bob.proxy.meddle(claims_it);
    bob.try_again(&agrees);
    let shows = bob.sees("although this device has");
    assert_eq!(bob.ends(), Some(3));
    let attack = "an account with a vault is claimed to have been imported, to get its password";
    let mut rows = vec![row(attack, shows, &[&bob], &[NEW], claims(&bob))];

    let mut elsewhere = Client::elsewhere_with(&server, "bob", &agrees, claims_it);
    let shows = elsewhere.sees("of then");
    assert_eq!(elsewhere.ends(), Some(3));
    let attack = "… the same, to a device without a vault, over plain TCP";
    let sent = claims(&elsewhere);
    rows.push(row(attack, shows, &[&elsewhere], &[NEW], sent));
    rows
}

/// The same under TLS, where a person can agree, and nobody does. The account really is imported
/// here, so a password that was sent would end that.
#[cfg(feature = "tls")]
pub(super) fn nobody_agrees() -> Vec<Row> {
    use super::as_in_the_table;
    use crate::harness::{Client as Wire, ClientProcess, temporary_folder};

    let folder = temporary_folder();
    let server = with_imported(folder.path());
    let mut asking = Wire::new(server.wire_tls());
    let mut is_imported =
        || asking.ask("kdf", json!({"name": "bob"})) == Err("imported".to_owned());
    assert!(is_imported());
    let certificate = server.wire_tls().certificate();
    let fingerprint = data_encoding::HEXLOWER.encode(&certificate);
    let flags = [
        "--user",
        "bob",
        "--tls",
        "pinned",
        "--fingerprint",
        &fingerprint,
    ];
    let home = folder.path().join("home");
    let mut bob = ClientProcess::start(server.address(), &home, &flags);
    let shows = bob.sees_one_of(&["its password was not sent"]);
    assert_eq!(bob.ends(), Some(3));
    vec![Row {
        attack: "… under TLS, to a device without a vault, and the person does not agree",
        shows: as_in_the_table(&shows),
        left: !is_imported(),
        lies: 0,
        gap: None,
    }]
}

/// A server with bob's account, imported, and nobody has logged in to it.
#[cfg(feature = "tls")]
fn with_imported(folder: &std::path::Path) -> Server {
    use crate::harness::process;

    let data = folder.join("data");
    let mut server = Server::on(&data, &[]);
    server.kill();
    let export = folder.join("export.json");
    let hash = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(PASSWORD.as_bytes()));
    let account = json!({"_id": {"$oid": "0".repeat(24)}, "username": "bob", "password": hash});
    std::fs::write(&export, account.to_string()).unwrap();
    let mut import = process::command(env!("CARGO_BIN_EXE_server"));
    import
        .args(["import", "mongo"])
        .arg(&export)
        .arg("--data")
        .arg(&data);
    let imported = import.output().unwrap();
    assert!(imported.status.success(), "{imported:?}");
    Server::on(&data, &[])
}
