//! Two servers on one PostgreSQL: people at either of them meet what people at one server meet. What
//! happens when one of them dies is in `takeover` and the faults' own tests.

mod guesses;
mod moves;
mod operator;
mod people;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Server, eventually, postgres, temporary_folder};

/// Two servers of one database.
struct Pair {
    first: Server,
    second: Server,
    store: String,
    folder: TempDir,
}

/// Starts two servers with these flags.
fn pair(flags: &[&str]) -> Pair {
    let folder = temporary_folder();
    let data: [PathBuf; 2] = ["first", "second"].map(|name| folder.path().join(name));
    let store = postgres::database(&data[0]);
    let start = |number: usize, name: &str| {
        let of_node = ["--store", &store, "--node", name];
        Server::on_file(&data[number], &[&of_node[..], flags].concat())
    };
    let first = start(0, "first");
    share_certificate(&data[0], &data[1]);
    let second = start(1, "second");
    Pair {
        first,
        second,
        store,
        folder,
    }
}

/// All servers of a database show one certificate.
fn share_certificate(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

impl Pair {
    /// A third server of the same database.
    fn third(&self) -> Server {
        let data = self.folder.path().join("third");
        share_certificate(&self.first.data(), &data);
        Server::on_file(&data, &["--store", &self.store, "--node", "third"])
    }

    /// Alice at the first server, bob at the second.
    fn alice_and_bob(&self) -> (Client, Client) {
        (self.first.register("alice"), self.second.register("bob"))
    }

    /// Waits until one of the servers sees somebody as it should.
    fn sees(&self, who: &mut Client, name: &str, online: bool) {
        eventually("the presence is told", || {
            who.ok("status", json!({"name": name}))["online"] == online
        });
    }
}

/// The names and whether they are online, of a search.
fn found(client: &mut Client, text: &str) -> Vec<(String, bool)> {
    let page = client.ok("search", json!({"text": text}));
    let users = page["users"].as_array().unwrap().iter();
    let row = |user: &Value| {
        let name = user["name"].as_str().unwrap().to_owned();
        (name, user["online"] == true)
    };
    users.map(row).collect()
}
