//! Invitations: the operator's vouches for the server, a member's for the member, too.

use std::path::Path;

use super::admin::{done, rows};
use crate::harness::{
    CLIENT_PASSWORD, ClientProcess, Server, process, temporary_folder, write_secret,
};

/// How a client ended: its exit code, and all that it said.
fn client(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let password = folder.join("password");
    write_secret(&password, CLIENT_PASSWORD);
    let mut command = process::command(env!("CARGO_BIN_EXE_client"));
    command
        .args(arguments)
        .arg("--data")
        .arg(folder)
        .arg("--password-file")
        .arg(&password);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

/// `client join` in a folder of its own below `folder`.
fn join(folder: &Path, link: &str, name: &str) -> (i32, String) {
    let own = folder.join(name);
    std::fs::create_dir_all(&own).unwrap();
    let code = own.join("recovery");
    let _earlier = std::fs::remove_file(&code);
    client(
        &own,
        &[
            "join",
            link,
            name,
            "--recovery-file",
            code.to_str().unwrap(),
        ],
    )
}

fn refused(ended: &(i32, String), code: i32, says: &str) {
    assert_eq!(ended.0, code, "{ended:?}");
    assert!(ended.1.contains(says), "{ended:?}");
    assert_eq!(ended.1.trim_end().lines().count(), 1, "{ended:?}");
}

#[test]
fn an_operators_link_makes_as_many_accounts_as_it_says_and_vouches_for_the_server_only() {
    let mut server = Server::with(&["--registration", "invite"]);
    let (folder, data) = (temporary_folder(), server.data());
    let place = folder.path();
    let link = done(&data, &["invite"]).trim().to_owned();
    let joined = join(place, &link, "bob");
    assert_eq!(joined.0, 0, "{joined:?}");
    assert!(
        joined
            .1
            .contains("vouches for the server, and for nobody on it"),
        "{joined:?}"
    );
    refused(&join(place, &link, "carol"), 3, "was used already");
    let altered = link.replace("/join/AQ", "/join/AR");
    assert_ne!(altered, link);
    refused(&join(place, &altered, "carol"), 8, "was altered");
    refused(
        &join(place, "chat://example", "carol"),
        8,
        "is not the link of an invitation",
    );
    let mut nobody = server.client();
    let uninvited = nobody.registration("dave");
    assert_eq!(
        nobody.ask("register", uninvited).unwrap_err(),
        "invitation_required"
    );

    let revoked = rows(&data, &["invite", "--days", "2", "--uses", "3"]).remove(0);
    assert_eq!(revoked["uses"], 3);
    done(&data, &["invite", "revoke", &revoked["id"].to_string()]);
    let revoked = revoked["link"].as_str().unwrap();
    refused(
        &join(place, revoked, "carol"),
        3,
        "does not know the invitation",
    );

    let expired = done(&data, &["invite", "create"]).trim().to_owned();
    let states: Vec<_> = rows(&data, &["invite", "list"])
        .iter()
        .map(|row| row["state"].to_string())
        .collect();
    assert_eq!(states, ["\"used\"", "\"open\""]);
    server.kill();
    server.tamper("UPDATE invitations SET expires = 1");
    let address = server.address().to_string();
    server.start_again();
    // It listens on another port after the restart.
    let (before, rest) = expired.split_once(&address).unwrap();
    assert!(before.starts_with("chat://") && rest.starts_with("/join/"));
    let mut asks = server.client();
    let mut fields = asks.registration("carol");
    fields["invitation"] = serde_json::json!(code_of(rest));
    assert_eq!(asks.ask("register", fields).unwrap_err(), "bad_invitation");
}

/// The server's code in the data of a link, as the wire has it.
fn code_of(rest: &str) -> String {
    let data = rest.strip_prefix("/join/").unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD
        .decode(data.as_bytes())
        .unwrap();
    data_encoding::BASE64.encode(&bytes[2..18])
}

#[test]
fn a_members_link_makes_two_people_sure_of_each_other() {
    let server = Server::with(&["--registration", "invite", "--member-invitations", "1"]);
    let (folder, data) = (temporary_folder(), server.data());
    let place = folder.path();
    let link = done(&data, &["invite", "create"]).trim().to_owned();
    let joined = join(place, &link, "alice");
    assert_eq!(joined.0, 0, "{joined:?}");
    let address = link.split_once("/join/").unwrap().0;
    let flags = ["--server", address, "--tls", "pinned", "--user", "alice"];
    let mut alice = ClientProcess::start(server.address(), &place.join("alice"), &flags);
    alice.sees_one_of(&["logged in as alice"]);
    alice.types("/invite");
    let link = alice.sees_one_of(&["/join/"]);
    // One at a time, as the operator says.
    alice.types("/invite");
    alice.sees_one_of(&["which is the most"]);
    let joined = join(place, link.trim(), "bob");
    assert_eq!(joined.0, 0, "{joined:?}");
    assert!(
        joined.1.contains("alice has invited you and is verified"),
        "{joined:?}"
    );
    alice.sees_one_of(&["bob has joined by your invitation and is verified"]);
    alice.types("/contacts");
    assert!(alice.sees_one_of(&["bob"]).contains("verified"));
    // Said again, it goes on where it was and tells nothing twice.
    let again = join(place, link.trim(), "bob");
    assert_eq!(again.0, 0, "{again:?}");
    refused(&join(place, link.trim(), "carol"), 3, "was used already");
}
