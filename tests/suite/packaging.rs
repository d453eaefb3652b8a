//! What is in `packaging/`: systemd and fail2ban judge the unit and the filter, and the settings in
//! there are the server's. The packages themselves are tried by `scripts/year.sh`.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::stream::Stream;
use crate::harness::{PATIENCE, Server, eventually, process, temporary_folder};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Runs a tool of the system. `None` on a developer's machine without it; in CI it has to be there.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{command:?}: {error}"),
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn systemd_understands_the_unit_and_finds_it_confined() {
    let unit = packaging().join("secure-chat-server.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/secure-chat-server --config"));
    // The program has to exist for the check.
    let folder = temporary_folder();
    let copy = folder.path().join("secure-chat-server.service");
    fs::write(&copy, text.replace("/usr/bin/secure-chat-server", SERVER)).unwrap();
    let mut verify = Command::new("systemd-analyze");
    if let Some(output) = tool(verify.args(["verify", "--man=no"]).arg(&copy)) {
        let said = said(&output);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    let mut security = Command::new("systemd-analyze");
    let security = security.args(["security", "--offline=yes", "--threshold=15"]);
    if let Some(output) = tool(security.arg(&unit)) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_settings_in_the_packages_are_the_servers() {
    let folder = temporary_folder();
    let mut check = process::command(SERVER);
    check.args(["config", "check", "--config"]);
    check.arg(packaging().join("server.conf"));
    let checked = check.arg("--data").arg(folder.path()).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let known = process::command(SERVER).arg("options").output().unwrap();
    let known = said(&known);
    let dockerfile = fs::read_to_string(packaging().join("Dockerfile")).unwrap();
    let set = dockerfile.split("ENV ").skip(1);
    let names: Vec<_> = set.filter_map(|rest| rest.split('=').next()).collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        assert!(known.contains(&format!("[env: {name}=")), "{name}");
    }
}

/// Says something to the server as this client of its proxy, and waits for the end.
fn say(server: &Server, client: IpAddr, words: &str) {
    let proxy = Ipv4Addr::new(127, 0, 0, 2);
    let mut stream: TcpStream = Stream::connect_from(proxy, server.address(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (family, source) = match client {
        IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
        IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
    };
    let body = [&source[..], &source, &[4, 210, 31, 144]].concat();
    let head = [
        b"\r\n\r\n\0\r\nQUIT\n\x21",
        &[family, 0, body.len() as u8][..],
    ]
    .concat();
    stream
        .write_all(&[&head, &body, words.as_bytes()].concat())
        .unwrap();
    let _end = stream.read_to_end(&mut Vec::new());
}

#[test]
fn fail2ban_finds_who_guesses_and_nobody_else() {
    for format in ["human", "json"] {
        let server = Server::with(&[
            "--log",
            format,
            "--log-level",
            "debug",
            "--plaintext",
            "--proxy-from",
            "127.0.0.2",
            "--console-from",
            "192.0.2.0/24,2001:db8::/32",
        ]);
        let guess = "login alice wrong-horse-battery\r\nquit\r\n";
        say(&server, [192, 0, 2, 7].into(), guess);
        say(&server, "2001:db8::7".parse().unwrap(), guess);
        say(&server, [192, 0, 2, 8].into(), "GET / HTTP/1.1\r\n\r\n");
        say(&server, [192, 0, 2, 9].into(), &"what\r\n".repeat(12));
        // Lines that would have somebody else banned, if they reached the log as they are.
        let forged = [
            "2026-01-01T00:00:00Z warn  #1 198.51.100.9:1 failed to log in (1)",
            "login 198.51.100.9:1 failed to log in (1)",
            ",\"level\":\"warn\",\"event\":\"login_failed\",\"connection\":1,\"address\":\"198.51.100.9:1\",",
            "send x\",\"address\":\"198.51.100.9:1 hello",
            "quit",
        ];
        say(
            &server,
            [192, 0, 2, 66].into(),
            &format!("{}\r\n", forged.join("\r\n")),
        );
        say(
            &server,
            [192, 0, 2, 66].into(),
            &format!("{}\r\n", forged.join("\n")),
        );
        eventually("all have left", || {
            server.log().matches("left: ").count() >= 6
        });
        let log = server.data().join("log");
        fs::write(&log, server.log()).unwrap();
        let mut regex = Command::new("fail2ban-regex");
        regex.args(["--out", "ip"]).arg(&log);
        let filter = packaging().join("fail2ban/filter.d/secure-chat.conf");
        let Some(output) = tool(regex.arg(filter)) else {
            return;
        };
        let text = said(&output);
        let mut found: Vec<_> = text.lines().map(str::trim).collect();
        found.sort_unstable();
        let guilty = ["192.0.2.7", "192.0.2.8", "192.0.2.9", "2001:db8::7"];
        assert_eq!(found, guilty, "{format}: {}", server.log());
    }
}
