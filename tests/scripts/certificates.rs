//! Another certificate in the place of the server's: clients that know one that has announced it follow
//! without a question, all others raise the alarm. Clients reach their server through a way that the tests
//! turn, so that its address stays.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use secure_chat::transport::invitation::InvitationLink;
use tempfile::TempDir;

use crate::beside::Running;
use crate::harness::{
    CLIENT_PASSWORD, Server, eventually, process, temporary_folder, write_secret,
};
use crate::{Ended, end};

/// What a client says that follows.
const FOLLOWED: &str = "the server's certificate was replaced, as the one before it had announced";

const UNTRUSTED: i32 = 6;

/// A way to a server, from an address that stays when it is turned to another one.
struct Way {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way {
            address: listener.local_addr().unwrap(),
            target: Arc::new(Mutex::new(target)),
            open: Arc::default(),
        };
        let (target, open) = (Arc::clone(&way.target), Arc::clone(&way.open));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A server that is gone closes the way.
                let Ok(far) = TcpStream::connect(*target.lock().unwrap()) else {
                    continue;
                };
                let copy = |stream: &TcpStream| stream.try_clone().unwrap();
                open.lock().unwrap().extend([copy(&near), copy(&far)]);
                for (mut from, mut to) in [(copy(&near), copy(&far)), (far, near)] {
                    thread::spawn(move || {
                        let _ended = io::copy(&mut from, &mut to);
                        let _closed = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        way
    }

    /// Leads elsewhere from here on, and cuts what is open.
    fn turn(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
        for stream in self.open.lock().unwrap().drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

/// People at one address, each with a folder of their own.
struct People {
    folder: TempDir,
    place: String,
}

impl People {
    fn at(address: SocketAddr) -> Self {
        let folder = temporary_folder();
        write_secret(&folder.path().join("password"), CLIENT_PASSWORD);
        People {
            folder,
            place: address.to_string(),
        }
    }

    fn command(&self, name: &str, server: &str, arguments: &[&str]) -> Command {
        let mut client = process::command(env!("CARGO_BIN_EXE_client"));
        client
            .args(arguments)
            .args(["--server", server, "--tls", "pinned", "--user", name])
            .env("SECURE_CHAT_CLIENT_DATA", self.folder.path().join(name))
            .env(
                "SECURE_CHAT_PASSWORD_FILE",
                self.folder.path().join("password"),
            )
            .env_remove("XDG_RUNTIME_DIR");
        client
    }

    fn run(&self, name: &str, server: &str, arguments: &[&str]) -> Ended {
        end(&mut self.command(name, server, arguments), "")
    }

    /// An account, whose client knows the server by this certificate from then on.
    fn register(&self, name: &str, certificate: &str) {
        let code = self.folder.path().join(format!("{name}.code"));
        let address = self.with(certificate);
        let arguments = ["register", name, "--recovery-file", code.to_str().unwrap()];
        let made = self.run(name, &address, &arguments);
        assert_eq!(made.code, 0, "{made:?}");
    }

    /// The address with a certificate.
    fn with(&self, certificate: &str) -> String {
        format!("chat://{certificate}@{}", self.place)
    }

    /// Logs somebody in at the server's address. Returns whether the client followed to another certificate.
    fn follows(&self, name: &str) -> bool {
        self.follows_at(name, &self.place)
    }

    fn follows_at(&self, name: &str, server: &str) -> bool {
        let ended = self.run(name, server, &["status", name]);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.err.contains(FOLLOWED)
    }

    /// That somebody's client raises the alarm, in these words.
    fn is_alarmed(&self, name: &str, server: &str, words: &str) {
        let before = self.known(name);
        let ended = self.run(name, server, &["status", name]);
        assert_eq!(ended.code, UNTRUSTED, "{ended:?}");
        assert!(ended.err.contains(words), "{ended:?}");
        assert!(!ended.err.contains(FOLLOWED), "{ended:?}");
        assert_eq!(self.known(name), before, "nothing is remembered");
    }

    /// What somebody's client knows of the server.
    fn known(&self, name: &str) -> String {
        let file = self.folder.path().join(name).join("known_servers");
        let text = fs::read_to_string(file).unwrap();
        text.lines().last().unwrap().to_owned()
    }

    fn knows(&self, name: &str, certificates: &str) {
        let expected = format!("{} {certificates}", self.place);
        assert_eq!(self.known(name), expected);
    }
}

/// Runs an operator's command on a folder. Gives what it prints, or why it refuses.
fn operator(data: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    command.arg("--data").arg(data).args(arguments);
    let ended = end(&mut command, "");
    match ended.code {
        0 => Ok(ended.out),
        _ => Err(ended.err),
    }
}

/// The fingerprint of the certificate in a folder.
fn certificate(data: &Path) -> String {
    let printed = operator(data, &["fingerprint"]).unwrap();
    let line = printed.lines().next().unwrap();
    line.strip_prefix("certificate ").unwrap().replace(' ', "")
}

fn rotate(data: &Path) -> String {
    operator(data, &["certificate", "rotate"]).unwrap();
    certificate(data)
}

/// A server on a file, the way to it, and its first certificate.
fn one_server() -> (Server, Way, TempDir, String) {
    let folder = temporary_folder();
    let server = Server::on_file(folder.path(), &[]);
    let way = Way::to(server.address());
    let first = certificate(folder.path());
    (server, way, folder, first)
}

/// An invitation's link as it was made, with another certificate in it.
fn naming(link: &str, certificate: &str) -> String {
    let mut link: InvitationLink = link.parse().unwrap();
    link.address.fingerprint = Some(certificate.parse().unwrap());
    link.to_text().to_string()
}

#[test]
fn a_client_follows_without_an_alarm_and_remembers() {
    let (_server, way, data, first) = one_server();
    let people = People::at(way.address);
    for name in ["alice", "bob"] {
        people.register(name, &first);
    }
    let listening = &["listen", "--count", "1", "--timeout", "60"];
    let mut bob = Running::start(&mut people.command("bob", &people.place, listening));
    eventually("bob is there", || {
        let asked = people.run("alice", &people.place, &["status", "bob"]);
        asked.out.contains("online")
    });
    let second = rotate(data.path());
    assert_ne!(first, second);
    // Who is connected stays so, and gets what is sent over the new certificate.
    let sent = people.run("alice", &people.place, &["send", "bob", "hello"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(sent.err.matches(FOLLOWED).count(), 1, "{sent:?}");
    bob.sees("hello");
    assert_eq!(bob.quits(), 0);
    people.knows("alice", &format!("{second} was {first}"));
    assert!(!people.follows("alice"), "once");
    // A script that names the old one goes on, and so does one that names the new one.
    assert!(!people.follows_at("alice", &people.with(&first)));
    assert!(!people.follows_at("alice", &people.with(&second)));
    assert!(people.follows_at("bob", &people.with(&first)));
    assert!(!people.follows_at("bob", &people.with(&first)), "once");
    let listed = operator(data.path(), &["certificate", "list"]).unwrap();
    assert!(listed.contains("followed"), "{listed}");
}

#[test]
fn a_client_that_was_away_for_several_replacements_follows_all_of_them() {
    let (mut server, way, data, first) = one_server();
    let people = People::at(way.address);
    people.register("alice", &first);
    let second = rotate(data.path());
    server.kill();
    // Without a running server the command does the same.
    let third = rotate(data.path());
    server.start_again();
    way.turn(server.address());
    assert!(people.follows("alice"));
    people.knows("alice", &format!("{third} was {first} was {second}"));
    assert!(!people.follows("alice"));
    // Beyond as many steps as anybody follows, it is another server.
    people.register("bob", &third);
    for _ in 0..9 {
        rotate(data.path());
    }
    people.is_alarmed("bob", &people.place, "ANOTHER CERTIFICATE");
}

#[test]
fn an_invitation_leads_to_the_server_over_what_it_has_announced() {
    let (server, _, data, first) = one_server();
    let people = People::at(server.address());
    let invite = || {
        operator(data.path(), &["invite"])
            .unwrap()
            .trim()
            .to_owned()
    };
    let join = |link: &str, home: &str, name: &str| {
        let code = people.folder.path().join(format!("{name}.code"));
        let mut client = process::command(env!("CARGO_BIN_EXE_client"));
        client
            .args(["join", link, name, "--recovery-file"])
            .arg(code)
            .env("SECURE_CHAT_CLIENT_DATA", people.folder.path().join(home))
            .env(
                "SECURE_CHAT_PASSWORD_FILE",
                people.folder.path().join("password"),
            )
            .env_remove("XDG_RUNTIME_DIR");
        end(&mut client, "")
    };
    people.register("alice", &first);
    let links = [invite(), invite(), invite()];
    let second = rotate(data.path());
    let [of_the_first, of_somebody] = [&first, &"5a".repeat(32)].map(|it| naming(&links[0], it));
    assert_eq!(of_the_first, links[0]);
    let refused = join(&of_somebody, "alice", "erin");
    assert_eq!(refused.code, UNTRUSTED, "{refused:?}");
    assert!(
        refused.err.contains("names ANOTHER CERTIFICATE"),
        "{refused:?}"
    );
    // Old links: for somebody new, for somebody who knows the old certificate, and for somebody who has
    // followed to the new one.
    for (link, home, name) in [
        (&links[0], "new", "carol"),
        (&links[1], "alice", "dora"),
        (&links[2], "alice", "erin"),
        (&invite(), "new", "fred"),
    ] {
        let joined = join(link, home, name);
        assert_eq!(joined.code, 0, "{joined:?}");
        people.knows(home, &format!("{second} was {first}"));
    }
    // A link of today, for somebody who knows only the certificate of then.
    people.register("bob", &second);
    let third = rotate(data.path());
    let link = invite();
    assert!(link.contains(&third), "{link}");
    assert_eq!(join(&link, "bob", "gina").code, 0);
    people.knows("bob", &format!("{third} was {second}"));
}

#[test]
fn nobody_else_is_followed_and_nobody_goes_back() {
    let (server, way, data, first) = one_server();
    let people = People::at(way.address);
    for name in ["alice", "bob"] {
        people.register(name, &first);
    }
    let old_files = temporary_folder();
    for file in ["tls-cert.pem", "tls-key.pem"] {
        fs::copy(data.path().join(file), old_files.path().join(file)).unwrap();
    }
    // Somebody in its place, who has announced a certificate, too.
    let elsewhere = temporary_folder();
    let evil = Server::on_file(elsewhere.path(), &[]);
    rotate(elsewhere.path());
    way.turn(evil.address());
    people.is_alarmed("alice", &people.place, "ANOTHER CERTIFICATE");
    people.is_alarmed("alice", &people.with(&first), "not the one you named");
    way.turn(server.address());
    let second = rotate(data.path());
    assert!(people.follows("alice"));
    way.turn(evil.address());
    people.is_alarmed("alice", &people.place, "ANOTHER CERTIFICATE");
    people.is_alarmed("alice", &people.with(&first), "ANOTHER CERTIFICATE");
    // Whoever has the old key is no longer believed by those who have followed.
    let [cert, key] = ["tls-cert.pem", "tls-key.pem"].map(|file| old_files.path().join(file));
    let [cert, key] = [&cert, &key].map(|file| file.to_str().unwrap());
    let thief_folder = temporary_folder();
    let flags = ["--tls-cert", cert, "--tls-key", key];
    let thief = Server::on_file(thief_folder.path(), &flags);
    way.turn(thief.address());
    for server in [people.place.clone(), people.with(&first)] {
        people.is_alarmed("alice", &server, "CERTIFICATE THAT IT HAS REPLACED");
    }
    people.is_alarmed("alice", &people.with(&second), "not the one you named");
    // After a theft: another certificate, without a word. Then nobody follows.
    drop(server);
    for file in ["tls-cert.pem", "tls-key.pem"] {
        fs::remove_file(data.path().join(file)).unwrap();
    }
    let server = Server::on_file(data.path(), &["--new"]);
    way.turn(server.address());
    for name in ["alice", "bob"] {
        people.is_alarmed(name, &people.place, "ANOTHER CERTIFICATE");
    }
    let listed = operator(data.path(), &["certificate", "list"]).unwrap();
    assert!(listed.contains("not followed"), "{listed}");
    let told = certificate(data.path());
    assert!(!people.follows_at("alice", &people.with(&told)));
    people.knows("alice", &told);
}

#[test]
fn a_certificate_of_the_operators_own_is_announced_before_it_is_put_in_place() {
    let [made, data] = [temporary_folder(), temporary_folder()];
    let make = |name: &str| -> [PathBuf; 2] {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let files = ["cert", "key"].map(|what| made.path().join(format!("{name}.{what}")));
        fs::write(&files[0], params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&files[1], pair.serialize_pem()).unwrap();
        files
    };
    let text = |path: &PathBuf| path.display().to_string();
    let used = make("used");
    let flags = [text(&used[0]), text(&used[1])];
    let server = Server::on_file(
        data.path(),
        &["--tls-cert", &flags[0], "--tls-key", &flags[1]],
    );
    let shown = || {
        let named = [
            "--tls-cert",
            &flags[0],
            "--tls-key",
            &flags[1],
            "fingerprint",
        ];
        let printed = operator(data.path(), &named).unwrap();
        let line = printed.lines().next().unwrap().to_owned();
        line.strip_prefix("certificate ").unwrap().replace(' ', "")
    };
    let first = shown();
    let people = People::at(server.address());
    people.register("alice", &first);
    let refused = operator(data.path(), &["certificate", "rotate"]).unwrap_err();
    assert!(refused.contains("--next-cert"), "{refused}");
    let next = make("next");
    let [next_cert, next_key] = [text(&next[0]), text(&next[1])];
    let mixed = [
        "certificate",
        "rotate",
        "--next-cert",
        &next_cert,
        "--next-key",
        &flags[1],
    ];
    let refused = operator(data.path(), &mixed).unwrap_err();
    assert!(refused.contains("belong together"), "{refused}");
    let announce = [
        "certificate",
        "rotate",
        "--next-cert",
        &next_cert,
        "--next-key",
        &next_key,
    ];
    operator(data.path(), &announce).unwrap();
    assert!(!people.follows("alice"), "it is not in place yet");
    for (from, to) in next.iter().zip(&used) {
        fs::copy(from, to).unwrap();
    }
    server.signal(Signal::HUP);
    let second = shown();
    eventually("the new one is shown", || server.log().contains(&second));
    assert!(people.follows("alice"));
    people.knows("alice", &format!("{second} was {first}"));
    let again = operator(data.path(), &announce).unwrap_err();
    assert!(again.contains("already"), "{again}");
    let end = operator(data.path(), &["certificate", "finish"]).unwrap_err();
    assert!(end.contains("with one server"), "{end}");
}
