//! What the client does when it connects again and the server refuses the connection.
//! How it is refused at its first connection is in `terminal/pinning`.

use std::io::{BufRead, BufReader, Read, Write, copy, sink};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{PATIENCE, Server, temporary_folder};

/// Stands between a client and a server: it relays connections, or answers each with a
/// line instead. Its accepting thread ends with the test's process.
struct Gateway {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What connections are answered with; without it they are relayed.
    answer: Option<&'static str>,
    relayed: Vec<TcpStream>,
}

impl Gateway {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                serve(client, server, &shared);
            }
        });
        Gateway { address, state }
    }

    /// Cuts all connections and answers the next ones with `answer`.
    fn refuse(&self, answer: &'static str) {
        let mut state = self.state.lock().unwrap();
        state.answer = Some(answer);
        for stream in state.relayed.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    fn relay(&self) {
        self.state.lock().unwrap().answer = None;
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, state: &Mutex<State>) {
    let mut state = state.lock().unwrap();
    if let Some(answer) = state.answer {
        client.write_all(answer.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // Kept open until the client has left, so that no reset overtakes the answer.
        thread::spawn(move || copy(&mut client, &mut sink()));
        return;
    }
    let server = TcpStream::connect(server).unwrap();
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ended = copy(&mut from, &mut to);
            let _gone = to.shutdown(Shutdown::Both);
        });
    }
    state.relayed.extend([client, server]);
}

/// A client on pipes, logged in through a gateway.
struct Script {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    _home: tempfile::TempDir,
}

impl Script {
    fn registered(gateway: &Gateway) -> Self {
        let home = temporary_folder();
        let password = home.path().join("password");
        std::fs::write(&password, "correct horse battery").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_client"))
            .args(["--tls", "off", "--server", &gateway.address.to_string()])
            .arg("--data")
            .arg(home.path().join("data"))
            .arg("--password-file")
            .arg(&password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _test_ended = sender.send(line);
                }
            });
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"/register alice\n").unwrap();
        let mut script = Script {
            child,
            stdin,
            lines,
            _home: home,
        };
        script.sees("account alice created");
        script
    }

    /// Waits for a line with this part.
    fn sees(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect(part);
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn a_full_server_is_tried_again_at_growing_intervals() {
    let server = Server::start();
    let gateway = Gateway::to(server.address());
    let mut alice = Script::registered(&gateway);
    gateway.refuse("-ERR server_full as many as it takes\r\n");
    alice.sees("trying again in 1 s");
    for wait in ["2 s", "4 s"] {
        let line = alice.sees("the server says \"as many as it takes\"");
        assert!(line.contains(&format!("trying again in {wait}")), "{line}");
    }
    gateway.relay();
    alice.sees("connected again");
    alice.stdin.write_all(b"/quit\n").unwrap();
    assert_eq!(alice.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_refusal_for_good_ends_the_session_of_a_script() {
    let server = Server::start();
    let gateway = Gateway::to(server.address());
    let mut alice = Script::registered(&gateway);
    gateway.refuse("-ERR tls_required TLS only\r\n");
    alice.sees("let in no more: the server says \"TLS only\"");
    assert_eq!(alice.child.wait().unwrap().code(), Some(3), "login refused");
}
