//! The config file, as both programs read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::process;
use crate::{Place, end};

/// Writes a config file where the client looks for it below `place/config`.
fn write(place: &Place, text: &str) -> std::path::PathBuf {
    let folder = place.path().join("config/secure-chat");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("client.conf");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// The client with a config file, and with nothing but its home in the environment.
fn client(place: &Place, arguments: &[&str]) -> crate::Ended {
    let mut client = process::command(env!("CARGO_BIN_EXE_client"));
    client
        .env("XDG_CONFIG_HOME", place.path().join("config"))
        .current_dir(place.path())
        .args(arguments);
    end(&mut client, "")
}

#[test]
fn the_config_file_names_server_account_and_password() {
    let place = Place::with(&["alice", "bob"]);
    let config = format!(
        "\u{feff}# mine\r\nserver = {}\r\ntls = off\r\nuser = alice\r\ndata = alice\r\n\
         password-file = {}\r\non-message = false\r\n",
        place.server.address(),
        place.password().display(),
    );
    let path = write(&place, &config);
    let sent = client(&place, &["send", "bob", "by the file"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    // What is typed comes before it.
    let typed = client(
        &place,
        &[
            "fetch",
            "--user",
            "bob",
            "--data",
            "bob",
            "--on-message",
            "true",
        ],
    );
    assert!(typed.out.contains("by the file"), "{typed:?}");
    let password = client(&place, &["unread", "--password-command", "echo wrong-one"]);
    assert_eq!(password.code, 3, "{password:?}");
    // Another account can be made, and no file at all can be read.
    let code = ["register", "carol", "--recovery-file", "c", "--data", "c.d"];
    assert_eq!(client(&place, &code).code, 0);
    let nobody = client(&place, &["unread", "--config", "/dev/null"]);
    assert!(nobody.err.contains("--user NAME"), "{nobody:?}");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let refused = client(&place, &["unread"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("chmod go-w"), "{refused:?}");
}

#[test]
fn a_mistake_in_the_config_file_is_said_with_its_line() {
    let place = Place::with(&[]);
    for (text, says) in [
        (
            "user = alice\ncolour = never\n",
            "client.conf, line 2: there is no setting colour; did you mean color?",
        ),
        ("color = pink\n", "one of auto, always, never"),
        ("json = true\n", "use --json"),
        ("take-over = true\n", "use --take-over"),
        ("user = a b\n", "line 1: user = a b: "),
        ("server = h:1 # mine\n", "a comment needs a line of its own"),
    ] {
        write(&place, text);
        let ended = client(&place, &["contacts"]);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
        assert!(ended.err.contains(says), "{ended:?}");
    }
    let missing = client(&place, &["contacts", "--config", "none.conf"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.err.contains("none.conf"), "{missing:?}");
}

#[test]
fn the_server_reads_one_too() {
    let place = Place::with(&[]);
    let path = place.path().join("server.conf");
    let fingerprint = |text: &str, more: &[&str]| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let mut server = process::command(env!("CARGO_BIN_EXE_server"));
        server
            .args(["fingerprint", "--config", "server.conf"])
            .args(more)
            .current_dir(place.path());
        end(&mut server, "")
    };
    // There is no certificate in either folder, and the refusal names the folder.
    let file = fingerprint("data = folder\nmax-clients = 7\n", &[]);
    assert!(file.err.contains("folder"), "{file:?}");
    let typed = fingerprint("data = folder\n", &["--data", "other"]);
    assert!(typed.err.contains("other"), "{typed:?}");
    for (text, says) in [
        ("new = true\n", "use --new"),
        ("max-client = 7\n", "did you mean max-clients?"),
        ("max-clients = 0\n", "line 1: max-clients = 0"),
        ("tls-cert = a.pem\n", "tls-key"),
    ] {
        let refused = fingerprint(text, &[]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains(says), "{refused:?}");
    }
}
