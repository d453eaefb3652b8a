//! What the client does when it connects again and the server refuses the connection.
//! How it is refused at its first connection is in `terminal/pinning`.

use std::io::{Write, copy, sink};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{ClientProcess, Server, eventually, temporary_folder};

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
    /// How many were answered.
    answered: usize,
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

    fn answered(&self) -> usize {
        self.state.lock().unwrap().answered
    }

    fn relay(&self) {
        self.state.lock().unwrap().answer = None;
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, state: &Mutex<State>) {
    let mut state = state.lock().unwrap();
    if let Some(answer) = state.answer {
        state.answered += 1;
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

/// A client that has registered through a gateway and keeps its files in `home`.
fn registered(gateway: &Gateway, home: &Path) -> ClientProcess {
    let mut alice = ClientProcess::start(gateway.address, home, &[]);
    alice.types("/register alice");
    alice.sees_one_of(&["account alice created"]);
    alice
}

#[test]
fn an_outage_is_one_line_however_often_the_server_is_tried() {
    let server = Server::start();
    let gateway = Gateway::to(server.address());
    let home = temporary_folder();
    let mut alice = registered(&gateway, home.path());
    gateway.refuse("-ERR server_full as many as it takes\r\n");
    alice.sees_one_of(&["connection lost", "trying again"]);
    eventually("it was tried three times", || gateway.answered() >= 3);
    // What a person asks for at once says why it fails.
    alice.types("/reconnect");
    alice.sees_one_of(&["the server says \"as many as it takes\""]);
    gateway.relay();
    alice.sees_one_of(&["connected again"]);
    alice.types("/quit");
    assert_eq!(alice.ends(), Some(1), "a command failed");
    let about = |what: &str| {
        let lines = alice.shown().iter();
        lines.filter(|line| line.contains(what)).count()
    };
    assert_eq!(about("trying again"), 1, "{:#?}", alice.shown());
    assert_eq!(about("as many as it takes"), 1, "{:#?}", alice.shown());
}

#[test]
fn a_refusal_for_good_ends_the_session_of_a_script() {
    let server = Server::start();
    let gateway = Gateway::to(server.address());
    let home = temporary_folder();
    let mut alice = registered(&gateway, home.path());
    gateway.refuse("-ERR tls_required TLS only\r\n");
    alice.sees_one_of(&["let in no more: the server says \"TLS only\""]);
    assert_eq!(alice.has_ended(), Some(3), "login refused");
}
