//! The real server, real clients on pipes, and between them a proxy that may do
//! anything to a line. It sees what a hostile server sees: every byte.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use data_encoding::{BASE64, HEXLOWER};
use secure_chat::transport::invitation::InvitationLink;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every account's password: that it never travels is checked everywhere.
pub(crate) use crate::harness::CLIENT_PASSWORD as PASSWORD;
pub(crate) use crate::harness::Server;
use crate::harness::{ClientProcess, PATIENCE, process, temporary_folder};

/// One line on its way.
pub(crate) enum Seen<'a> {
    /// From the client.
    Request(&'a Value),
    /// To the client, with what it asked.
    Answer(&'a Value),
    /// To the client.
    Event,
}

/// What goes on instead of a line; filled in with the line itself. Lines without
/// their newline.
#[derive(Default)]
pub(crate) struct Onward {
    pub(crate) to_server: Vec<Vec<u8>>,
    pub(crate) to_client: Vec<Vec<u8>>,
}

impl Onward {
    /// The line for the client, as JSON, to be changed.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut line = serde_json::from_slice(&self.to_client[0]).unwrap();
        change(&mut line);
        self.to_client[0] = line.to_string().into_bytes();
    }

    /// Answers in the server's place; the server never hears of the request.
    pub(crate) fn answer(&mut self, request: &Value, what: &str, value: Value) {
        self.to_server.clear();
        let line = json!({"id": request["id"], what: value});
        self.to_client.push(line.to_string().into_bytes());
    }
}

type Meddler = Box<dyn FnMut(&Seen<'_>, &mut Onward) + Send>;

#[derive(Default)]
struct State {
    meddler: Option<Meddler>,
    /// The client's end of the newest connection.
    client: Option<TcpStream>,
    /// Every byte that the client has sent.
    sent: Vec<u8>,
    /// Its requests, as JSON.
    requests: Vec<Value>,
    /// The events that it got.
    events: Vec<Value>,
}

/// What stands between one client and the server.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(server) else {
                    continue;
                };
                connect(client, upstream, &shared);
            }
        });
        Proxy { address, state }
    }

    /// From now on every line passes `meddler`.
    pub(crate) fn meddle(&self, meddler: impl FnMut(&Seen<'_>, &mut Onward) + Send + 'static) {
        self.state.0.lock().unwrap().meddler = Some(Box::new(meddler));
    }

    /// From now on lines pass as they are.
    pub(crate) fn behave(&self) {
        self.state.0.lock().unwrap().meddler = None;
    }

    /// Sends the client a line that the server never sent.
    pub(crate) fn inject(&self, line: &[u8]) {
        let state = self.state.0.lock().unwrap();
        let mut client = state.client.as_ref().expect("a connection");
        // It may have hung up on the line before.
        let _sent = client
            .write_all(line)
            .and_then(|()| client.write_all(b"\n"));
    }

    /// Sends the client a message that the server never sent.
    pub(crate) fn inject_message(&self, from: &str, mid: [u8; 16], body: (&str, &str)) {
        let (kind, body) = body;
        let mid = HEXLOWER.encode(&mid);
        let event =
            json!({"event": "message", "from": from, "mid": mid, "at": now_ms(), kind: body});
        self.inject(event.to_string().as_bytes());
    }

    /// Waits for something that the client sent or got.
    fn wait<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> T {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never on the wire: {what}");
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until the client has acknowledged a message: it is in the vault then.
    pub(crate) fn acknowledged(&self, from: &str, mid: &str) {
        self.wait(&format!("the ack of {mid} from {from}"), |state| {
            let acks = |request: &Value| {
                request["op"] == "ack"
                    && request["from"] == from
                    && request["ids"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|id| id == mid)
            };
            state.requests.iter().any(acks).then_some(())
        });
    }

    /// Waits until the client has asked for something.
    pub(crate) fn requested(&self, op: &str) {
        self.wait(op, |state| {
            let this = |request: &Value| request["op"] == op;
            state.requests.iter().any(this).then_some(())
        });
    }

    /// Waits for the `n`th message that the client got.
    pub(crate) fn message(&self, n: usize) -> Value {
        self.wait(&format!("message {n}"), |state| {
            let message = |event: &&Value| event["event"] == "message";
            state.events.iter().filter(message).nth(n).cloned()
        })
    }

    /// How many messages the client was to get so far.
    pub(crate) fn count_messages(&self) -> usize {
        let state = self.state.0.lock().unwrap();
        let message = |event: &&Value| event["event"] == "message";
        state.events.iter().filter(message).count()
    }

    /// The requests of one kind that the client has sent.
    pub(crate) fn requests(&self, op: &str) -> Vec<Value> {
        let state = self.state.0.lock().unwrap();
        let these = state.requests.iter().filter(|request| request["op"] == op);
        these.cloned().collect()
    }

    /// Whether words are among the bytes that the client has sent: as they are,
    /// in base64 in any of the three places of a group, in hexadecimal, or inside
    /// any base64 on the wire.
    pub(crate) fn has_seen(&self, words: &str) -> bool {
        let state = self.state.0.lock().unwrap();
        let mut hidden = vec![
            words.as_bytes().to_vec(),
            HEXLOWER.encode(words.as_bytes()).into(),
        ];
        for shift in 0..3 {
            let shifted = [&[0; 2][..shift], words.as_bytes()].concat();
            let encoded = BASE64.encode(&shifted);
            // Without the groups that neighbours have a part in.
            let whole = &encoded[if shift == 0 { 0 } else { 4 }..encoded.len() - 4];
            hidden.push(whole.into());
        }
        let within = |bytes: &[u8]| {
            let found = |word: &Vec<u8>| bytes.windows(word.len()).any(|window| window == word);
            hidden.iter().any(found)
        };
        let blob = |bytes: &[u8]| BASE64.decode(bytes).is_ok_and(|blob| within(&blob));
        within(&state.sent) || state.sent.split(|byte| *byte == b'"').any(blob)
    }
}

/// Two threads a connection; each ends with its side of it.
fn connect(client: TcpStream, server: TcpStream, state: &Arc<(Mutex<State>, Condvar)>) {
    let asked: Arc<Mutex<HashMap<u64, Value>>> = Arc::default();
    state.0.lock().unwrap().client = Some(client.try_clone().unwrap());
    let upward = (
        client.try_clone().unwrap(),
        Arc::clone(state),
        Arc::clone(&asked),
    );
    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    let (mut to_client, mut to_server) = (client, server.try_clone().unwrap());
    thread::spawn(move || {
        let (from, state, asked) = upward;
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut held = state.0.lock().unwrap();
            held.sent.extend_from_slice(&line);
            held.sent.push(b'\n');
            let mut onward = Onward {
                to_server: vec![line.clone()],
                ..Onward::default()
            };
            if let Ok(request) = serde_json::from_slice::<Value>(&line) {
                if let Some(id) = request["id"].as_u64() {
                    asked.lock().unwrap().insert(id, request.clone());
                }
                if let Some(meddler) = &mut held.meddler {
                    meddler(&Seen::Request(&request), &mut onward);
                }
                held.requests.push(request);
            }
            state.1.notify_all();
            let answered = held
                .client
                .as_ref()
                .is_none_or(|mut client| write(&mut client, &onward.to_client));
            if !write(&mut to_server, &onward.to_server) || !answered {
                break;
            }
        }
        both.iter().for_each(hang_up);
    });
    let state = Arc::clone(state);
    thread::spawn(move || {
        for line in BufReader::new(server).split(b'\n').map_while(Result::ok) {
            let value: Value = serde_json::from_slice(&line).unwrap();
            let mut held = state.0.lock().unwrap();
            let mut onward = Onward {
                to_client: vec![line],
                ..Onward::default()
            };
            let request = value["id"]
                .as_u64()
                .and_then(|id| asked.lock().unwrap().remove(&id));
            let seen = match &request {
                Some(request) => Seen::Answer(request),
                None => Seen::Event,
            };
            if let Some(meddler) = &mut held.meddler {
                meddler(&seen, &mut onward);
            }
            if value["event"].is_string() {
                held.events.push(value);
            }
            state.1.notify_all();
            if !write(&mut to_client, &onward.to_client) {
                break;
            }
        }
        ends.iter().for_each(hang_up);
    });
}

fn hang_up(stream: &TcpStream) {
    // It may be closed already.
    let _closed = stream.shutdown(Shutdown::Both);
}

fn write(stream: &mut impl Write, lines: &[Vec<u8>]) -> bool {
    lines
        .iter()
        .all(|line| stream.write_all(line).is_ok() && stream.write_all(b"\n").is_ok())
}

/// A real client, and what stands between it and the server.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) proxy: Proxy,
    process: ClientProcess,
    home: TempDir,
}

impl Client {
    /// A client that registers an account.
    pub(crate) fn register(server: &Server, name: &'static str, flags: &[&str]) -> Self {
        let mut client = Self::start(Proxy::start(server.address()), name, flags);
        client.types(&format!("/register {name}"));
        client
    }

    /// The same, with a password that costs as much as a person's.
    pub(crate) fn register_at_full_cost(server: &Server, name: &'static str) -> Self {
        let proxy = Proxy::start(server.address());
        let home = temporary_folder();
        let mut client = Client {
            name,
            process: ClientProcess::start_at_full_cost(proxy.address, home.path(), &[]),
            proxy,
            home,
        };
        client.types(&format!("/register {name}"));
        client
    }

    /// Waits for the registration, and until the keys are published.
    pub(crate) fn registered(mut self) -> Self {
        self.sees("you are logged in");
        self.done();
        self
    }

    /// A client without a vault that logs in, every line through `meddler`.
    pub(crate) fn elsewhere(
        server: &Server,
        name: &'static str,
        meddler: impl FnMut(&Seen<'_>, &mut Onward) + Send + 'static,
    ) -> Self {
        Self::elsewhere_with(server, name, &[], meddler)
    }

    /// The same, with more flags.
    pub(crate) fn elsewhere_with(
        server: &Server,
        name: &'static str,
        flags: &[&str],
        meddler: impl FnMut(&Seen<'_>, &mut Onward) + Send + 'static,
    ) -> Self {
        let proxy = Proxy::start(server.address());
        proxy.meddle(meddler);
        let flags = [&["--user", name, "--take-over"], flags].concat();
        Self::start(proxy, name, &flags)
    }

    /// A client that makes its account by an invitation, every line through `meddler`, and ends.
    pub(crate) fn join(
        server: &Server,
        name: &'static str,
        link: &InvitationLink,
        meddler: impl FnMut(&Seen<'_>, &mut Onward) + Send + 'static,
    ) -> Self {
        let proxy = Proxy::start(server.address());
        proxy.meddle(meddler);
        let mut link = link.clone();
        link.address = proxy.address.to_string().parse().unwrap();
        let link = link.to_text();
        let home = temporary_folder();
        let recovery = home.path().join("code");
        let recovery = recovery.to_str().unwrap();
        let flags = ["join", &link, name, "--recovery-file", recovery];
        Self::start_in(home, proxy, name, &flags)
    }

    /// A link that the operator makes.
    pub(crate) fn operators_link(server: &Server) -> InvitationLink {
        let mut command = process::command(env!("CARGO_BIN_EXE_server"));
        command.arg("invite").arg("--data").arg(server.data());
        let made = command.output().unwrap();
        let link = String::from_utf8(made.stdout).unwrap();
        link.trim().parse().unwrap()
    }

    fn start(proxy: Proxy, name: &'static str, flags: &[&str]) -> Self {
        Self::start_in(temporary_folder(), proxy, name, flags)
    }

    fn start_in(home: TempDir, proxy: Proxy, name: &'static str, flags: &[&str]) -> Self {
        Client {
            name,
            process: ClientProcess::start(proxy.address, home.path(), flags),
            proxy,
            home,
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.process.types(line);
    }

    /// Waits for a new line that contains `part`.
    pub(crate) fn sees(&mut self, part: &str) -> String {
        self.sees_one_of(&[part])
    }

    /// Waits for a new line that contains one of `parts`; without the number of the input's line
    /// that it answers, which a person does not see.
    pub(crate) fn sees_one_of(&mut self, parts: &[&str]) -> String {
        let line = self.process.sees_one_of(parts);
        let rest = line.strip_prefix("line ");
        match rest.and_then(|rest| rest.split_once(": ")) {
            Some((number, sentence)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                sentence.to_owned()
            }
            _ => line,
        }
    }

    /// Every line shown so far, on stdout and stderr.
    pub(crate) fn shown(&self) -> &[String] {
        &self.process.shown
    }

    /// Waits until all that was typed is done and all that it led to is shown:
    /// commands are done in order, and these two end on stdout and on stderr.
    pub(crate) fn done(&mut self) {
        self.types("/settings");
        self.sees("take encrypted messages only");
        self.types("/info ffffffffffffffffffffffffffffffff");
        self.sees("there is no message with the id");
    }

    /// The first line shown so far that contains `part`.
    pub(crate) fn line(&self, part: &str) -> String {
        let line = self.shown().iter().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("{} has no {part:?} in {:#?}", self.name, self.shown()))
            .clone()
    }

    /// Waits until a line that contains `part` was shown, at any time.
    pub(crate) fn has_seen(&mut self, part: &str) {
        if !self.shown().iter().any(|line| line.contains(part)) {
            self.sees(part);
        }
    }

    /// How often words were shown as `name`'s, decrypted and without a mark: on a
    /// line that has only the time before the name.
    pub(crate) fn genuine(&self, name: &str, words: &str) -> usize {
        let genuine = format!("{name}: {words}");
        let time = |c: char| c.is_ascii_digit() || matches!(c, ':' | '-' | ' ');
        let lines = self.shown().iter();
        lines
            .filter(|line| line.trim_start_matches(time).starts_with(&genuine))
            .count()
    }

    /// The most memory that the process has had, in MiB; `None` where that isn't told.
    pub(crate) fn peak_mib(&self) -> Option<u64> {
        let told = cfg!(target_os = "linux");
        told.then(|| process::status(self.process.id(), "VmHWM") / 1024)
    }

    /// Ends the input, and waits for the end; the exit code.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        self.process.ends()
    }

    /// The account's client again, in the same home, with other flags.
    pub(crate) fn again(&mut self, flags: &[&str]) {
        self.try_again(flags);
        self.sees("logged in as");
        self.done();
    }

    /// The account's client again, which may not get in.
    pub(crate) fn try_again(&mut self, flags: &[&str]) {
        self.ends();
        self.start_again(flags);
    }

    /// Ends the client, copies what is in its home, and starts it again.
    pub(crate) fn copied(&mut self) -> TempDir {
        let copy = temporary_folder();
        self.ends();
        copy_folder(self.home.path(), copy.path());
        self.start_again(&[]);
        copy
    }

    /// Ends the client, puts a copy of its home back, and starts it again.
    pub(crate) fn rolled_back(&mut self, copy: &TempDir) {
        self.ends();
        copy_folder(copy.path(), self.home.path());
        self.start_again(&[]);
    }

    fn start_again(&mut self, flags: &[&str]) {
        let flags = [&["--user", self.name], flags].concat();
        let shown = std::mem::take(&mut self.process.shown);
        self.process = ClientProcess::start(self.proxy.address, self.home.path(), &flags);
        self.process.shown = shown;
    }

    /// A file of the client's folder with these words in it.
    pub(crate) fn file(&self, name: &str, words: &str) -> String {
        let path = self.home.path().join(name);
        crate::harness::write_secret(&path, words);
        path.into_os_string().into_string().unwrap()
    }
}

/// Copies files over those of the same name; others of a vault's are removed.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => {
                fs::copy(path, target).unwrap();
            }
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}
