//! SIGHUP: settings read again, and the terminal that ends; what a service manager is told.

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};

use pty_process::blocking;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{PATIENCE, Server, eventually, plain, process, temporary_folder};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[test]
fn a_hangup_takes_the_settings_that_can_be_taken_and_names_the_others() {
    let folder = temporary_folder();
    let file = folder.path().join("server.conf");
    let path = file.to_str().unwrap();
    fs::write(&file, "registration = open\n").unwrap();
    let server = Server::with(&["--config", path, "--message-rate", "4000"]);
    let mut alice = server.register("alice");
    let reload = |settings: &str, says: &str| {
        fs::write(&file, settings).unwrap();
        server.signal(Signal::HUP);
        eventually(says, || server.log().contains(says));
    };
    reload(
        "registration = closed\n",
        "registration is closed from here on",
    );
    let refused = server
        .console()
        .type_line("register bob correct-horse-battery");
    assert!(
        refused.starts_with("-ERR registration_closed "),
        "{refused}"
    );
    reload(
        "registration = open\nunencrypted = false\nlog-level = debug\n",
        "log-level is debug from here on; it was info",
    );
    eventually("all is read", || {
        server.log().matches("settings were read again").count() == 2
    });
    server.register("bob");
    let sent = alice.ask("send", plain("bob", 1, "hello"));
    assert_eq!(sent, Err("unencrypted_refused".to_owned()));
    assert!(alice.ask("status", json!({"name": "nobody"})).is_err());
    eventually("details are logged", || server.log().contains("debug"));

    // What was typed counts before the file.
    reload(
        "message-rate = 1\nmax-clients = 7\nlisten = 127.0.0.1:1,127.0.0.1:2\n",
        "max-clients stays 10000; 7 takes effect with the next start",
    );
    eventually("what a file no longer sets is the default again", || {
        server.log().contains("unencrypted is true from here on")
    });
    assert!(!server.log().contains("message-rate is"));
    for wrong in [
        "registration = maybe",
        "registrations = open",
        "idle-limit = 5",
    ] {
        let before = server.log().matches("settings stay as they were").count();
        fs::write(&file, wrong).unwrap();
        server.signal(Signal::HUP);
        eventually(wrong, || {
            server.log().matches("settings stay as they were").count() > before
        });
    }
    assert!(
        server.log().contains("did you mean registration"),
        "{}",
        server.log()
    );
    alice.send("bob", 2, "taken again").unwrap();
}

/// A process on a terminal of its own, which ends when this is dropped.
struct OnTerminal {
    terminal: Option<blocking::Pty>,
    child: std::process::Child,
}

impl OnTerminal {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let (terminal, pts) = blocking::open().unwrap();
        let command = blocking::Command::new(program).args(arguments);
        let command = command.env("XDG_CONFIG_HOME", "/nonexistent");
        let child = command.spawn(pts).unwrap();
        process::end_with_this_process(&child);
        OnTerminal {
            terminal: Some(terminal),
            child,
        }
    }

    /// Reads until these words have come.
    fn wait(&self, words: &str) {
        let mut shown = Vec::new();
        let mut bytes = [0; 1024];
        while !String::from_utf8_lossy(&shown).contains(words) {
            let count = self.terminal.as_ref().unwrap().read(&mut bytes).unwrap();
            shown.extend_from_slice(&bytes[..count]);
        }
    }

    fn close(&mut self) {
        self.terminal = None;
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

/// Whether a server serves this folder, which its lock tells.
fn serves(data: &Path) -> bool {
    let mut list = process::command(SERVER);
    let list = list
        .args(["--json", "sessions", "list", "--data"])
        .arg(data);
    list.output().unwrap().status.success()
}

#[test]
fn the_end_of_the_terminal_is_the_end_of_the_server() {
    let folder = temporary_folder();
    let run = format!("{SERVER} --listen 127.0.0.1:0 --data");
    // Directly, under a shell that waits for it, and in a shell's background.
    for (number, script) in ["exec RUN", "RUN; true", "RUN & wait"].iter().enumerate() {
        let data = folder.path().join(number.to_string());
        let log = folder.path().join(format!("{number}.log"));
        let run = format!("{run} {} --log-file {}", data.display(), log.display());
        let script = script.replace("RUN", &run);
        let mut shell = OnTerminal::start("bash", &["-c", &script]);
        shell.wait("data in");
        let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
        eventually("it serves", || serves(&data));
        shell.close();
        eventually("it has ended in good order", || said("ended: 0 messages"));
        assert!(said("the terminal is gone"), "{script}");
        eventually("its folder is free", || !data.join("chat.db-wal").exists());
    }
}

#[test]
fn a_server_under_nohup_outlives_its_terminal_and_reads_its_settings() {
    let folder = temporary_folder();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let pid = folder.path().join("pid");
    let script = format!(
        "nohup {SERVER} --listen 127.0.0.1:0 --data {} --log-file {} >/dev/null & \
         echo $! >{}; echo started; wait",
        data.display(),
        log.display(),
        pid.display()
    );
    let mut shell = OnTerminal::start("bash", &["-c", &script]);
    shell.wait("started");
    eventually("it serves", || serves(&data));
    shell.close();
    eventually("the shell has ended", || {
        shell.child.try_wait().unwrap().is_some()
    });
    let pid: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    eventually("it reads", || said("settings were read again"));
    assert!(serves(&data));
    kill_process(pid, Signal::TERM).unwrap();
    eventually("it has ended", || said("ended: 0 messages"));
}

#[test]
fn a_service_manager_is_told_when_it_serves_reads_again_and_ends() {
    let folder = temporary_folder();
    let path = folder.path().join("notify");
    let name = format!("secure-chat-suite-{}", std::process::id());
    let bound = SocketAddr::from_abstract_name(&name).unwrap();
    for (receiver, socket) in [
        (
            UnixDatagram::bind(&path).unwrap(),
            path.display().to_string(),
        ),
        (UnixDatagram::bind_addr(&bound).unwrap(), format!("@{name}")),
    ] {
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let data = temporary_folder();
        let mut command: Command = process::command(SERVER);
        command.args(["--listen", "127.0.0.1:0", "--data"]);
        command.arg(data.path().join("data"));
        command.env("NOTIFY_SOCKET", socket).stderr(Stdio::null());
        let mut server = process::Listener::start(&mut command).unwrap();
        let next = || {
            let mut bytes = [0; 200];
            let count = receiver.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..count].to_vec()).unwrap()
        };
        assert!(next().starts_with("READY=1\n"));
        let pid = Pid::from_child(&server.child);
        kill_process(pid, Signal::HUP).unwrap();
        let reloading = next();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reloading}"
        );
        assert!(next().starts_with("READY=1\n"));
        kill_process(pid, Signal::TERM).unwrap();
        assert!(next().starts_with("STOPPING=1\n"));
        assert!(server.child.wait().unwrap().success());
    }
    // A manager that is not there holds up nothing.
    let mut command: Command = process::command(SERVER);
    command.args(["--listen", "127.0.0.1:0", "--data"]);
    command.arg(folder.path().join("data"));
    command.env("NOTIFY_SOCKET", "/nonexistent/notify");
    command.stderr(Stdio::null());
    let mut server = process::Listener::start(&mut command).unwrap();
    process::kill(&mut server.child);
}
