//! Several servers and accounts on one machine, and what becomes of a vault that a running client
//! has: commands that may not, or can't, work through it.

use std::fs;
use std::path::Path;

use crate::beside::{Running, chat, holder, texts};
use crate::harness::{Server, write_secret};
use crate::{Ended, Place, end};

/// Runs a command of `name` on one of two servers. All vaults are in one folder.
fn run(place: &Place, server: &Server, name: &str, arguments: &[&str]) -> Ended {
    let mut client = place.client(name);
    client
        .env("SECURE_CHAT_SERVER", server.address().to_string())
        .env("SECURE_CHAT_CLIENT_DATA", place.path().join("all"))
        .args(arguments);
    end(&mut client, "")
}

/// Every file below a folder that is a vault.
fn vaults(folder: &Path) -> Vec<String> {
    let servers = fs::read_dir(folder).unwrap();
    let folders = servers.map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = folders
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".vault"))
        .collect();
    names.sort();
    names
}

#[test]
fn servers_and_accounts_stand_side_by_side_in_one_folder() {
    let place = Place::with(&[]);
    let other = Server::start();
    let servers = [&place.server, &other];
    for (server, number) in servers.into_iter().zip(["one", "two"]) {
        for name in ["alice", "bob"] {
            let code = format!("{name}-{number}.code");
            let arguments = ["register", name, "--recovery-file", &code];
            let made = run(&place, server, name, &arguments);
            assert_eq!(made.code, 0, "{made:?}");
        }
    }
    let all = vaults(&place.path().join("all"));
    let expected = ["alice.vault", "alice.vault", "bob.vault", "bob.vault"];
    assert_eq!(all, expected);
    // Chats of one name on both servers at once, and of both names on one.
    let chats = [
        (&servers[0], "alice"),
        (&servers[1], "alice"),
        (&servers[0], "bob"),
    ];
    let mut chats: Vec<_> = chats
        .into_iter()
        .map(|(server, name)| {
            let mut client = place.client(name);
            client
                .env("SECURE_CHAT_SERVER", server.address().to_string())
                .env("SECURE_CHAT_CLIENT_DATA", place.path().join("all"));
            let mut chat = Running::start(&mut client);
            chat.sees(&format!("logged in as {name}"));
            chat
        })
        .collect();
    // What is sent beside them goes to its own server, through its own chat.
    for (server, text) in servers.into_iter().zip(["on the first", "on the second"]) {
        let sent = run(&place, server, "alice", &["send", "bob", text]);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    chats[0].sees("on the first");
    chats[1].sees("on the second");
    chats[2].sees("on the first");
    for chat in &mut chats {
        assert_eq!(chat.quits(), 0, "{:?}", chat.seen);
    }
    for (server, text) in servers.into_iter().zip(["on the first", "on the second"]) {
        // One of the two was fetched by bob's chat.
        let fetched = run(&place, server, "bob", &["fetch"]);
        assert_eq!(fetched.code, 0, "{fetched:?}");
        let history = run(&place, server, "bob", &["history", "--json"]).json();
        assert_eq!(texts(&history), [text]);
    }
}

#[test]
fn a_chat_can_keep_to_itself() {
    let place = Place::with(&["alice", "bob"]);
    let mut closed = chat(&place, "alice", &["--no-socket"]);
    assert_eq!(holder(&place, "alice").1, None);
    let refused = place.run("alice", &["send", "bob", "x", "--wait", "0"], "");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.err.contains("in use by another client (process"),
        "{refused:?}"
    );
    assert_eq!(closed.quits(), 0);
    // The same, said by the config file.
    let config = place.path().join("client.conf");
    write_secret(&config, "no-socket = true");
    let config = config.to_str().unwrap();
    let mut closed = chat(&place, "alice", &["--config", config]);
    assert_eq!(holder(&place, "alice").1, None);
    let refused = place.run("alice", &["contacts", "--wait", "0"], "");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert_eq!(closed.quits(), 0);
}

#[test]
fn the_history_is_read_beside_the_chat_and_an_export_waits_for_its_end() {
    let place = Place::with(&["alice", "bob"]);
    place.json("alice", &["send", "bob", "hello"], "");
    write_secret(&place.path().join("passphrase"), "a long passphrase");
    let mut running = chat(&place, "alice", &[]);
    let read = place.run("alice", &["vault", "read"], "");
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.out.contains("you > bob: hello"), "{read:?}");
    let nobody = place.run("alice", &["vault", "read", "nobody"], "");
    assert_eq!((nobody.code, nobody.out.as_str()), (8, ""), "{nobody:?}");
    let export = [
        "vault",
        "export",
        "moved",
        "--passphrase-file",
        "passphrase",
    ];
    let refused = place.run("alice", &[&export[..], &["--wait", "0"]].concat(), "");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.err.contains("in use by another client (process"),
        "{refused:?}"
    );
    assert!(!place.path().join("moved").exists());
    let mut client = place.client("alice");
    let mut waits = Running::start(client.args(export).args(["--wait", "60"]));
    waits.sees("waiting for it");
    assert_eq!(running.quits(), 0);
    assert_eq!(waits.quits(), 0, "{:?}", waits.seen);
    assert!(place.path().join("moved").exists());
    let alone = place.run("alice", &["vault", "read", "bob"], "");
    assert_eq!(alone.out, read.out, "{alone:?}");
}
