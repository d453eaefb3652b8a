//! Where settings come from and lead to: several addresses, names of hosts, the default folder, the
//! config file's check; and whether a server answers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, Server, Wire, process, temporary_folder};

fn run(arguments: &[&str]) -> (Output, String) {
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (output, said)
}

#[test]
fn a_server_listens_on_several_addresses_and_names() {
    let folder = temporary_folder();
    let mut command = process::command(env!("CARGO_BIN_EXE_server"));
    command
        .args([
            "--listen",
            "127.0.0.1:0,localhost:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .arg("--data")
        .arg(folder.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = process::spawn(&mut command).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for line in lines.map_while(Result::ok) {
        match line.strip_prefix("listening on ") {
            Some(address) => addresses.push(address.parse().unwrap()),
            None if line.starts_with("data in ") => break,
            None => {}
        }
    }
    assert!(addresses.len() >= 3, "{addresses:?}");
    let mut first = Client::new(Wire::connect(addresses[0]));
    first.register("alice");
    for (number, address) in (1..).zip(&addresses) {
        let mut client = Client::new(Wire::connect(*address));
        client.register(&format!("user{number}"));
        client
            .send("alice", number, &format!("by {address}"))
            .unwrap();
        assert_eq!(first.message().body, format!("by {address}"));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_default_folder_does_not_depend_on_the_working_directory() {
    let home = temporary_folder();
    let here = temporary_folder();
    let checked = || {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        command
            .args(["config", "check"])
            .env("HOME", home.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(here.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = home.path().join(".local/share/secure-chat/server");
    assert!(
        checked().contains(folder.to_str().unwrap()),
        "{}",
        checked()
    );
    assert!(!folder.exists(), "a check makes nothing");
    fs::create_dir(here.path().join("secure-chat-data")).unwrap();
    let said = checked();
    assert!(said.contains("data in secure-chat-data,"), "{said}");
}

#[test]
fn a_config_file_is_checked_with_its_lines() {
    let folder = temporary_folder();
    let file = folder.path().join("server.conf");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&["config", "check", "--config", file.to_str().unwrap()])
    };
    let (output, said) = check("listen = 127.0.0.1:9,[::1]:9\nlog = json\nping-after = 30\n");
    assert!(output.status.success(), "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("listening on 127.0.0.1:9, [::1]:9"),
        "{shown}"
    );
    for (wrong, part) in [
        ("lisen = 127.0.0.1:9\n", "did you mean listen"),
        ("listen = 8080\n", "a port is missing"),
        ("log = xml\n", "human, json"),
        ("idle-limit = 5\n", "--idle-limit must be above"),
        ("listen = nowhere.invalid:9\n", "nowhere.invalid"),
    ] {
        let (output, said) = check(wrong);
        assert!(!output.status.success(), "{wrong}");
        assert!(said.contains(part), "{wrong}: {said}");
    }
}

#[test]
fn a_ping_tells_a_server_from_silence_and_from_strangers() {
    let mut server = Server::start();
    let address = server.address().to_string();
    let (output, said) = run(&["ping", "--listen", &address]);
    assert!(output.status.success(), "{said}");
    server.kill();
    let (output, said) = run(&["ping", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no server answers at"), "{said}");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let stranger = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = other.accept().unwrap();
        let mut request = [0; 16];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let (output, said) = run(&["ping", "--listen", &address]);
    stranger.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("is no Secure Chat server"), "{said}");
}

#[test]
fn a_status_is_for_a_person_and_says_when_there_is_no_server() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    assert!(
        alice
            .ask("status", serde_json::json!({"name": "nobody"}))
            .is_err()
    );
    let data = server.data();
    let data = data.to_str().unwrap();
    let (output, said) = run(&["status", "--data", data]);
    assert!(output.status.success(), "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["1 logged in", "0 accepted", "unknown_user 1", "database"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (output, _) = run(&["status", "--json", "--data", data]);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(facts["server"].as_str().unwrap().contains("up "), "{facts}");
    drop(alice);
    server.signal(Signal::TERM);
    server.wait(crate::harness::PATIENCE);
    let (output, said) = run(&["status", "--data", data]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no server is running"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
