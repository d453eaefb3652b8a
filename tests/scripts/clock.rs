//! Both programs under clocks that are set to impossible times.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use secure_chat::transport::tls::Acceptor;

use crate::harness::{eventually, process};
use crate::{Place, end};

/// Before 1970, and times that no calendar has.
const CLOCKS: [i64; 5] = [-100_000, 0, 253_402_300_800, i64::MAX, i64::MIN];

/// What sets a program's clock, compiled into a folder.
fn shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/clock.c");
    let library = folder.join("clock.so");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc failed");
    library
}

#[test]
fn a_clock_of_any_time_is_no_panic() {
    let place = Place::with(&["alice", "bob"]);
    let shim = shim(place.path());
    let certificate = Acceptor::open(&place.server.data(), None).unwrap().unwrap();
    let server = format!(
        "chat://{}@{}",
        certificate.fingerprint(),
        place.server.address()
    );
    for clock in CLOCKS {
        let run = |arguments: &[&str]| {
            let mut client = place.client("alice");
            client
                .args(arguments)
                .args(["--server", &server, "--tls", "pinned"])
                .env("LD_PRELOAD", &shim)
                .env("TEST_CLOCK", clock.to_string());
            let ended = end(&mut client, "");
            assert_eq!(ended.code, 0, "{clock}: {ended:?}");
            assert!(!ended.err.contains("panicked"), "{clock}: {ended:?}");
            ended
        };
        run(&["send", "bob", "hello"]);
        let got = run(&["history", "bob", "1", "--json"]);
        assert_eq!(got.json()[0]["text"], "hello", "{clock}");
    }
    let texts = place.json("bob", &["fetch"], "");
    assert_eq!(texts.len(), CLOCKS.len(), "{texts:?}");
}

#[test]
fn a_server_starts_at_any_time() {
    let folder = crate::harness::temporary_folder();
    let shim = shim(folder.path());
    for clock in CLOCKS {
        let (output, errors) = (folder.path().join("output"), folder.path().join("errors"));
        let create = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        let mut server = process::command(env!("CARGO_BIN_EXE_server"));
        server
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join(clock.to_string()))
            .env("LD_PRELOAD", &shim)
            .env("TEST_CLOCK", clock.to_string())
            .stdout(create(&output))
            .stderr(create(&errors));
        let mut server = process::spawn(&mut server).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        eventually("it listens or ends", || {
            read(&output).contains("data in ") || server.try_wait().unwrap().is_some()
        });
        let ended = server.try_wait().unwrap();
        process::kill(&mut server);
        assert!(ended.is_none(), "{clock}: {}", read(&errors));
        assert!(!read(&errors).contains("panicked"), "{}", read(&errors));
    }
}
