//! A server that lost its folder and was restored, with the people who use it: real clients, of whose
//! messages each is accounted for, and what was deleted, blocked, used up and changed since the backup.

use std::fs;
use std::path::{Path, PathBuf};

use secure_chat::transport::invitation::InvitationLink;
use serde_json::json;

use super::admin::{command, done};
use crate::harness::{
    CLIENT_PASSWORD, Client, ClientProcess, Server, eventually, temporary_folder, write_secret,
};

/// The password that alice changes to.
const NEW: &str = "a better one than before";

struct Place {
    folder: PathBuf,
    server: Server,
    journal: Option<PathBuf>,
    address: String,
}

impl Place {
    fn start(folder: &Path, journal: Option<PathBuf>) -> Self {
        let data = folder.join("data");
        let mut flags = vec!["--registration", "invite"];
        if let Some(journal) = &journal {
            flags.extend(["--journal", journal.to_str().unwrap()]);
        }
        let server = Server::on(&data, &flags);
        Place {
            folder: folder.to_owned(),
            address: server.address().to_string(),
            server,
            journal,
        }
    }

    fn client(&self, name: &str, flags: &[&str]) -> ClientProcess {
        let flags = [&["--user", name], flags].concat();
        ClientProcess::start(self.server.address(), &self.folder.join(name), &flags)
    }

    /// A client that makes its account, and goes on as a chat.
    fn join(&self, name: &str, link: &str) -> ClientProcess {
        // The link has the certificate; the clients here speak plain TCP.
        let mut link: InvitationLink = link.trim().parse().unwrap();
        link.address = self.address.parse().unwrap();
        let recovery = self.folder.join(format!("{name}-recovery"));
        let text = link.to_text();
        let flags = [
            "join",
            &text,
            name,
            "--recovery-file",
            recovery.to_str().unwrap(),
        ];
        let home = self.folder.join(name);
        let mut client = ClientProcess::start(self.server.address(), &home, &flags);
        assert_eq!(client.ends(), Some(0), "{:#?}", client.shown());
        let mut client = self.client(name, &[]);
        client.sees_one_of(&["logged in as"]);
        client
    }

    /// The folder is lost; a new server takes its place.
    fn lose_and_restore(&mut self, backup: &Path) -> String {
        self.server.kill();
        let data = self.server.data();
        let data = match data.join("chat.db").exists() {
            true => data,
            false => self.folder.join("data"),
        };
        fs::remove_dir_all(&data).unwrap();
        let mut restore = vec!["restore", backup.to_str().unwrap()];
        if let Some(journal) = &self.journal {
            restore.extend(["--journal", journal.to_str().unwrap()]);
        }
        let said = done(&data, &restore);
        let mut flags = vec!["--registration", "invite", "--listen", &self.address];
        if let Some(journal) = &self.journal {
            flags.extend(["--journal", journal.to_str().unwrap()]);
        }
        self.server = Server::on(&data, &flags);
        said
    }
}

fn register(server: &Server, link: &str, name: &str) -> Result<Client, String> {
    let link: InvitationLink = link.trim().parse().unwrap();
    let mut client = server.client();
    let mut fields = client.registration(name);
    fields["invitation"] = data_encoding::BASE64.encode(&link.code.unwrap()[..]).into();
    client.ask("register", fields).map(|_| client)
}

/// How often a text was shown as somebody's.
fn shown(client: &ClientProcess, text: &str) -> usize {
    let lines = client.shown().iter();
    lines
        .filter(|line| line.ends_with(text) || line.contains(&format!("{text}  (")))
        .count()
}

fn lose_everything_and_restore(with_journal: bool) {
    let folder = temporary_folder();
    let at = |name: &str| folder.path().join(name);
    let journal = with_journal.then(|| at("secure-chat.journal"));
    let mut place = Place::start(folder.path(), journal);
    let data = at("data");
    let link = done(&data, &["invite", "--uses", "9"]);
    let once = done(&data, &["invite"]);
    let mut alice = place.join("alice", &link);
    let mut bob = place.join("bob", &link);
    alice.types("/msg bob before the backup");
    bob.sees_one_of(&["before the backup"]);
    bob.types("/msg alice hello back");
    alice.sees_one_of(&["hello back"]);
    alice.types("/msg bob confirmed");
    bob.sees_one_of(&["alice: confirmed"]);
    alice.sees_one_of(&["received by bob"]);
    let mut carol = register(&place.server, &link, "carol").unwrap();
    let mut dave = register(&place.server, &link, "dave").unwrap();
    let backups = at("backups");
    fs::create_dir(&backups).unwrap();
    let backup = done(&data, &["backup", backups.to_str().unwrap()]);
    let backup = PathBuf::from(backup.trim());

    // What happens after it.
    alice.types("/msg bob read after the backup");
    bob.sees_one_of(&["read after the backup"]);
    alice.sees_one_of(&["received by bob"]);
    bob.types("/block dave");
    bob.sees_one_of(&["dave"]);
    eventually("dave is blocked", || {
        let known = done(&data, &["what-we-know", "dave", "--json"]);
        known.contains("who blocks it")
    });
    assert_eq!(bob.ends(), Some(0));
    alice.types("/msg bob lost with the server");
    alice.sees_one_of(&["stored for bob"]);
    let nonce = carol.nonce();
    let proof = crate::harness::credentials()[0].prove_delete("carol", &nonce);
    carol.ok("delete_account", json!({ "proof": proof }));
    let _erin = register(&place.server, &once, "erin").unwrap();
    assert_eq!(alice.ends(), Some(0));
    let (old, new) = (at("old"), at("new"));
    write_secret(&old, CLIENT_PASSWORD);
    write_secret(&new, NEW);
    let mut alice = place.client("alice", &["--new-password-file", new.to_str().unwrap()]);
    alice.sees_one_of(&["logged in as alice"]);
    alice.types("/passwd");
    alice.sees_one_of(&["encrypted under a new key"]);
    alice.ends();

    let said = place.lose_and_restore(&backup);
    assert_eq!(said.contains("were repeated"), with_journal, "{said}");

    // Alice's password: the new one with a journal, otherwise the one of the backup, which the vault
    // learns while the new one still opens it.
    let new_flag = ["--password-file", new.to_str().unwrap()];
    let both = [
        &new_flag[..],
        &["--new-password-file", old.to_str().unwrap()],
    ]
    .concat();
    let flags = if with_journal { &new_flag[..] } else { &both };
    let mut alice = place.client("alice", flags);
    alice.sees_one_of(&["logged in as alice"]);
    alice.sees_one_of(&["the server was restored from a backup"]);
    // The very first one, too: nobody confirms a message to whom they have not written.
    alice.sees_one_of(&["2 messages of yours, which no client has confirmed"]);
    let mut bob = place.client("bob", &[]);
    bob.sees_one_of(&["the server was restored from a backup"]);
    bob.sees_one_of(&["lost with the server"]);
    alice.sees_one_of(&["received by bob"]);
    alice.types("/msg bob and on it goes");
    bob.sees_one_of(&["and on it goes"]);
    bob.types("/msg alice as ever");
    alice.sees_one_of(&["as ever"]);
    for (text, times) in [
        ("before the backup", 0),
        ("confirmed", 0),
        ("read after the backup", 0),
        ("lost with the server", 1),
        ("and on it goes", 1),
    ] {
        assert_eq!(shown(&bob, text), times, "{text}: {:#?}", bob.shown());
    }
    // What came again under another number is not missing.
    let is_gap = |line: &&String| line.contains("not arrived");
    assert_eq!(bob.shown().iter().find(is_gap), None);
    // It is told once, and nothing is sent again for it.
    alice.ends();
    let password = if with_journal { &new } else { &old };
    let flags = ["--password-file", password.to_str().unwrap()];
    let mut alice = place.client("alice", &flags);
    alice.sees_one_of(&["logged in as alice"]);
    alice.types("/settings");
    alice.sees_one_of(&["take encrypted messages only"]);
    let again = |line: &&String| line.contains("restored") || line.contains("sent again");
    assert_eq!(alice.shown().iter().find(again), None);

    // What a journal keeps.
    let server = &place.server;
    let kept = |outcome: Result<_, String>, code: &str| match with_journal {
        true => assert_eq!(outcome.map(drop).unwrap_err(), code),
        false => assert!(outcome.is_ok(), "{code}"),
    };
    kept(server.client().login("carol").map(drop), "wrong_login");
    kept(register(server, &once, "frank").map(drop), "bad_invitation");
    dave = {
        drop(dave);
        server.login("dave")
    };
    dave.ok(
        "send",
        json!({"to": "bob", "mid": "ab".repeat(16), "text": "from dave"}),
    );
    let mut erin = server.client();
    let erins = erin.login("erin");
    assert_eq!(erins.is_ok(), with_journal, "{erins:?}");
    bob.types("/msg alice is dave heard");
    alice.sees_one_of(&["is dave heard"]);
    match with_journal {
        true => {
            bob.types("/settings");
            bob.sees_one_of(&["take encrypted messages only"]);
            assert_eq!(shown(&bob, "from dave"), 0);
            let taken = register(server, &link, "carol");
            assert_eq!(taken.map(drop).unwrap_err(), "name_taken");
            let known = done(&data, &["what-we-know", "carol", "--json"]);
            assert!(known.contains("secure-chat.journal"), "{known}");
        }
        false => {
            bob.sees_one_of(&["from dave"]);
        }
    }
}

#[test]
fn a_restore_with_a_journal_revives_nothing_and_loses_no_message_that_its_sender_has() {
    lose_everything_and_restore(true);
}

#[test]
fn a_restore_without_a_journal_loses_no_message_that_its_sender_has() {
    lose_everything_and_restore(false);
}

#[test]
fn a_journal_that_is_damaged_or_missing_is_one_sentence_and_restores_nothing() {
    let server = Server::start();
    let folder = temporary_folder();
    let at = |name: &str| folder.path().join(name);
    let backup = at("backup");
    done(&server.data(), &["backup", backup.to_str().unwrap()]);
    fs::write(at("secure-chat.journal"), "no journal\n").unwrap();
    let target = at("restored");
    let restore = |more: &[&str]| {
        let arguments = [&["restore", backup.to_str().unwrap()], more].concat();
        command(&target, &arguments, "")
    };
    for more in [&[][..], &["--journal", "/nowhere/at/all"]] {
        let ended = restore(more);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
        assert!(!target.exists() || fs::read_dir(&target).unwrap().next().is_none());
    }
    fs::remove_file(at("secure-chat.journal")).unwrap();
    assert_eq!(restore(&[]).code, 0);
}

#[test]
fn a_journal_that_cannot_be_written_is_said_and_stops_nobody() {
    let folder = temporary_folder();
    let journal = folder.path().join("away/journal");
    let server = Server::with(&["--journal", journal.to_str().unwrap()]);
    let mut bob = server.register("bob");
    eventually("it is logged", || server.log().contains("can't be written"));
    fs::create_dir(folder.path().join("away")).unwrap();
    server.register("carol");
    bob.ok("block", json!({"name": "carol"}));
    let written = fs::read_to_string(&journal).unwrap();
    assert_eq!(written.lines().count(), 3, "{written}");
}
