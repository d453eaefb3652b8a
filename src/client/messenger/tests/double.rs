//! A small server for tests, in memory and on a real socket, that can be told to
//! misbehave. It keeps the protocol's promises only as far as the tests need.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::answers::{credentials, settings, unknown};
use crate::crypto::account::login_proof::{ProofContext, Purpose, verify_proof};
use crate::protocol::ids::Handle;
use crate::protocol::reply::{
    Accepted, AccountSettings, Acked, Bundle, Done, Fetched, Greeting, Incoming, MessageState,
    Published, SearchPage, UserStatus, Waiting, Welcome,
};
use crate::protocol::request::{KdfParams, Outcome, Publish, SessionOptions};
use crate::protocol::{
    Answer, ByteArray, Code, Event, MessageId, Refusal, Reply, Request, Sender, UserName, json,
};

/// The server; clone it to keep a handle.
#[derive(Clone)]
pub(super) struct Double {
    pub(super) address: String,
    pub(super) world: Arc<Mutex<World>>,
    gate: Arc<Gate>,
}

/// All that it knows.
#[derive(Default)]
pub(super) struct World {
    pub(super) accounts: HashMap<UserName, Account>,
    /// Whose messages are accepted and answered with a lost connection.
    pub(super) drop_answers: bool,
    /// Where the next change of password is cut off.
    pub(super) cut_passwd: Option<Cut>,
    /// Is told of each request's operation before and after it is done.
    pub(super) watch: Option<Watch>,
    /// What the next question for a status is refused with.
    pub(super) lie: Option<&'static str>,
    /// The operations that were asked for before a login.
    pub(super) asked: Vec<&'static str>,
    /// What the next `send` is refused with.
    pub(super) refuse_send: Option<(Code, &'static str)>,
    /// What it claims that a login has named, of all that they have named.
    pub(super) claim_generation: Option<fn(&[Named]) -> Named>,
    /// What it says of the backup that it was restored from.
    pub(super) epoch: Option<ByteArray<16>>,
    /// Every `send` that came, accepted or not.
    pub(super) sends: Vec<(MessageId, Vec<u8>, bool)>,
    /// The handle in `after` of each of them.
    pub(super) after: Vec<Option<Handle>>,
    /// Every `outcome` that was asked for.
    pub(super) outcomes: Vec<Outcome>,
    connections: Vec<TcpStream>,
}

/// A vault's generation, with its proof.
pub(super) type Named = (u64, Option<ByteArray<16>>);

/// With the account that asks, if it is logged in, as the server knows it then.
pub(super) type Watch = Box<dyn FnMut(&'static str, Option<&Account>) + Send>;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cut {
    Before,
    After,
    /// The server says that it was changed, and leaves it.
    Lie,
}

pub(super) struct Account {
    kdf: KdfParams,
    login_key: [u8; 32],
    pub(super) published: Option<Publish>,
    pub(super) mailbox: Vec<Incoming>,
    blocked: Vec<UserName>,
    online: Option<TcpStream>,
    session: ByteArray<16>,
    pub(super) logins: u64,
    vault: Option<Named>,
    /// The generations that logins have named.
    named: Vec<Named>,
}

impl Account {
    /// Drops what somebody sends, without a word to either side.
    pub(super) fn block(&mut self, name: UserName, on: bool) {
        self.blocked.retain(|blocked| *blocked != name);
        if on {
            self.blocked.push(name);
        }
    }

    /// How the login key is derived, and its public half.
    pub(super) fn login(&self) -> (KdfParams, [u8; 32]) {
        (self.kdf, self.login_key)
    }

    /// What an operator's reset does.
    pub(super) fn set_login(&mut self, kdf: KdfParams, login_key: [u8; 32]) {
        self.kdf = kdf;
        self.login_key = login_key;
    }
}

/// Ends the double's threads, and closes their sockets, with its last copy.
#[derive(Default)]
struct Gate(Mutex<Option<(TcpListener, Arc<Mutex<World>>)>>);

impl Drop for Gate {
    fn drop(&mut self) {
        let Some((listener, world)) = self.0.lock().unwrap().take() else {
            return;
        };
        let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        // A test that failed in the middle of a change has said so already.
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in world.connections.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Double {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Double {
            address: listener.local_addr().unwrap().to_string(),
            world: Arc::default(),
            gate: Arc::default(),
        };
        let world = Arc::clone(&double.world);
        *double.gate.0.lock().unwrap() = Some((listener.try_clone().unwrap(), Arc::clone(&world)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                let world = Arc::clone(&world);
                let kept = stream.try_clone().unwrap();
                world.lock().unwrap().connections.push(kept);
                thread::spawn(move || Connection::new(stream, world).serve());
            }
        });
        double
    }

    /// Cuts every connection, as a crash would.
    pub(super) fn cut(&self) {
        let mut world = self.world.lock().unwrap();
        for stream in world.connections.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        for account in world.accounts.values_mut() {
            account.online = None;
        }
    }

    /// Pushes a message as the server would, also one that nobody sent.
    /// Tells somebody who is online.
    pub(super) fn tell(&self, name: &str, event: &Event) {
        let world = self.world.lock().unwrap();
        let account = &world.accounts[&name.parse::<UserName>().unwrap()];
        write(account.online.as_ref().unwrap(), event);
    }

    pub(super) fn push(&self, to: &str, message: Incoming) {
        let mut world = self.world.lock().unwrap();
        deliver(&mut world, to.parse().unwrap(), message);
    }
}

fn deliver(world: &mut World, to: UserName, message: Incoming) {
    let account = world.accounts.get_mut(&to).unwrap();
    if let Some(stream) = &account.online {
        write(stream, &Event::Message(message.clone()));
    }
    account.mailbox.push(message);
}

fn write(mut stream: &TcpStream, event: &Event) {
    let mut out = Vec::new();
    json::write_event(&mut out, event);
    let _ = stream.write_all(&out);
}

struct Connection {
    stream: TcpStream,
    world: Arc<Mutex<World>>,
    nonce: [u8; 32],
    me: Option<UserName>,
}

impl Connection {
    fn new(stream: TcpStream, world: Arc<Mutex<World>>) -> Self {
        Connection {
            stream,
            world,
            nonce: [0; 32],
            me: None,
        }
    }

    fn serve(mut self) {
        let lines = BufReader::new(self.stream.try_clone().unwrap());
        for line in lines.lines() {
            let Ok(line) = line else { break };
            let (id, request) = json::parse_request(line.as_bytes());
            let is_send = matches!(request, Ok(Request::Send(_)));
            let cut = match &request {
                Ok(Request::Passwd(_)) => self.world.lock().unwrap().cut_passwd.take(),
                _ => None,
            };
            if cut == Some(Cut::Before) {
                break;
            }
            let (before, after) = match &request {
                Ok(Request::Passwd(_)) => ("passwd", "passwd done"),
                Ok(Request::Login(_)) => ("login", "login done"),
                _ => ("", ""),
            };
            self.watch(before);
            let answer = match cut {
                Some(Cut::Lie) => Ok(Reply::Done(Done {})),
                _ => request.and_then(|request| self.answer(request)),
            };
            self.watch(after);
            if cut == Some(Cut::After) {
                break;
            }
            if is_send && self.world.lock().unwrap().drop_answers {
                break;
            }
            let mut out = Vec::new();
            json::write_answer(&mut out, id, &answer);
            if self.stream.write_all(&out).is_err() {
                break;
            }
            if let Ok(Reply::Welcome(welcome)) = &answer {
                self.push_pending(welcome.name);
            }
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn watch(&self, what: &'static str) {
        let world = &mut *self.world.lock().unwrap();
        let account = self.me.and_then(|me| world.accounts.get(&me));
        if let Some(watch) = &mut world.watch {
            watch(what, account);
        }
    }

    fn push_pending(&self, name: UserName) {
        let mut world = self.world.lock().unwrap();
        let account = world.accounts.get_mut(&name).unwrap();
        for message in &account.mailbox {
            write(&self.stream, &Event::Message(message.clone()));
        }
        account.online = Some(self.stream.try_clone().unwrap());
    }

    fn prove(
        &self,
        name: &UserName,
        key: &[u8; 32],
        purpose: &Purpose,
        proof: &ByteArray<64>,
    ) -> Result<(), Refusal> {
        let challenge = ProofContext {
            name: name.as_str(),
            nonce: &self.nonce,
            certificate: &[],
        };
        verify_proof(key, purpose, &challenge, &proof.0)
            .map_err(|_| Refusal::new(Code::WrongLogin, "the name or the password is wrong"))
    }

    fn answer(&mut self, request: Request) -> Answer {
        let world = Arc::clone(&self.world);
        let mut world = world.lock().unwrap();
        let world = &mut *world;
        match request {
            Request::Hello(_) => {
                world.asked.push("hello");
                self.nonce = [self.nonce[0] + 1; 32];
                Ok(Reply::Greeting(Greeting {
                    previous: None,
                    successions: Vec::new(),
                    server: "double".to_owned(),
                    version: 1,
                    oldest: 1,
                    nonce: ByteArray(self.nonce),
                    certificate: None,
                    max_line: 65536,
                }))
            }
            Request::Kdf(named) => {
                world.asked.push("kdf");
                let account = world.accounts.get(&named.name).ok_or_else(unknown)?;
                Ok(Reply::Kdf(account.kdf))
            }
            Request::Available(user) => match world.accounts.contains_key(&user.name) {
                true => Err(Refusal::new(Code::NameTaken, "the name is taken")),
                false => Ok(Reply::Done(Done {})),
            },
            Request::Register(register) => {
                if world.accounts.contains_key(&register.name) {
                    return Err(Refusal::new(Code::NameTaken, "the name is taken"));
                }
                let purpose = Purpose::Register(credentials(register.kdf, register.login_key));
                self.prove(
                    &register.name,
                    &register.login_key.0,
                    &purpose,
                    &register.proof,
                )?;
                world.accounts.insert(
                    register.name,
                    Account {
                        kdf: register.kdf,
                        login_key: register.login_key.0,
                        published: None,
                        mailbox: Vec::new(),
                        blocked: Vec::new(),
                        online: None,
                        session: ByteArray([0; 16]),
                        logins: 0,
                        vault: None,
                        named: Vec::new(),
                    },
                );
                self.enter(world, register.name, &register.session)
            }
            Request::Login(login) => {
                world.asked.push("login");
                let key = world
                    .accounts
                    .get(&login.name)
                    .ok_or_else(unknown)?
                    .login_key;
                self.prove(&login.name, &key, &Purpose::Login, &login.proof)?;
                self.enter(world, login.name, &login.session)
            }
            other => {
                let me = self
                    .me
                    .ok_or_else(|| Refusal::new(Code::NotLoggedIn, "log in first"))?;
                self.logged_in(world, me, other)
            }
        }
    }

    fn enter(&mut self, world: &mut World, name: UserName, wish: &SessionOptions) -> Answer {
        let account = world.accounts.get_mut(&name).ok_or_else(unknown)?;
        if let Some(other) = &account.online {
            if !wish.take_over && wish.replaces != Some(account.session) {
                return Err(Refusal::new(Code::AlreadyOnline, "already online"));
            }
            write(other, &Event::Replaced {});
        }
        account.logins += 1;
        let told = account.vault;
        let wish = wish.vault.map(|number| (number, wish.vault_proof));
        let is_new = wish.map(|(number, _)| number) > told.map(|(number, _)| number);
        if is_new {
            account.vault = wish;
        }
        account.named.extend(wish);
        let truth = told.filter(|_| !is_new);
        let vault = match world.claim_generation {
            Some(claim) => Some(claim(&account.named)),
            None => truth,
        };
        account.session = ByteArray([account.logins as u8; 16]);
        self.me = Some(name);
        Ok(Reply::Welcome(Box::new(Welcome {
            name,
            session: account.session,
            envelopes: account.mailbox.len() as u64,
            plain: 0,
            notices: 0,
            identity: account
                .published
                .as_ref()
                .map(|published| published.identity),
            signed_prekey: account
                .published
                .as_ref()
                .map(|published| published.signed_prekey.id),
            one_time: account
                .published
                .as_ref()
                .map_or(0, |published| published.one_time.len() as u32),
            logins: account.logins,
            vault: vault.map(|(number, _)| number),
            vault_proof: vault.and_then(|(_, proof)| proof),
            epoch: world.epoch,
            settings: settings(),
        })))
    }

    fn logged_in(&mut self, world: &mut World, me: UserName, request: Request) -> Answer {
        match request {
            Request::Publish(mut publish) => {
                let account = world.accounts.get_mut(&me).unwrap();
                if let Some(old) = account.published.take_if(|_| !publish.replace) {
                    publish.one_time.extend(old.one_time);
                }
                let one_time = publish.one_time.len() as u32;
                account.published = Some(publish);
                Ok(Reply::Published(Published { one_time }))
            }
            Request::Keys(named) => {
                let account = world.accounts.get_mut(&named.name).ok_or_else(unknown)?;
                let published = account.published.as_mut();
                let published = published.ok_or_else(|| Refusal::new(Code::NoKeys, "no keys"))?;
                Ok(Reply::Bundle(Box::new(Bundle {
                    identity: published.identity,
                    signed_prekey: published.signed_prekey,
                    one_time: published.one_time.pop(),
                })))
            }
            Request::Send(send) => {
                let bytes = match &send.body {
                    crate::protocol::Body::Envelope(blob) => blob.0.to_vec(),
                    crate::protocol::Body::Plain(text) => text.as_bytes().to_vec(),
                };
                let before = world.sends.iter().any(|(mid, ..)| *mid == send.mid);
                world.sends.push((send.mid, bytes, send.again));
                world.after.push(send.after);
                let account = world.accounts.get(&send.to).ok_or_else(unknown)?;
                let published = account.published.as_ref().map(|published| {
                    crate::client::messenger::identity::fingerprint(&published.identity)
                });
                if send.identity.is_some() && send.identity != published {
                    world.sends.pop();
                    world.after.pop();
                    return Err(Refusal::new(Code::IdentityChanged, "another identity"));
                }
                if let Some((code, why)) = world.refuse_send.take() {
                    return Err(Refusal::new(code, why));
                }
                if !before && !account.blocked.contains(&me) {
                    let message = Incoming {
                        from: me,
                        mid: send.mid,
                        at: 1_700_000_000_000,
                        body: send.body,
                    };
                    deliver(world, send.to, message);
                }
                Ok(Reply::Accepted(Accepted {
                    state: MessageState::Stored,
                    at: 1_700_000_000_000,
                    handle: Some(handle_of(&send.mid)),
                }))
            }
            Request::Ack(ack) => {
                let account = world.accounts.get_mut(&me).unwrap();
                let before = account.mailbox.len();
                account.mailbox.retain(|message| {
                    message.sender() != ack.from || !ack.ids.contains(&message.mid)
                });
                let acked = before - account.mailbox.len();
                if let Sender::User(from) = ack.from
                    && let Some(stream) = world
                        .accounts
                        .get(&from)
                        .and_then(|sender| sender.online.as_ref())
                {
                    write(
                        stream,
                        &Event::Delivered {
                            to: me,
                            ids: ack.ids,
                        },
                    );
                }
                Ok(Reply::Acked(Acked { acked, unknown: 0 }))
            }
            Request::Outcome(outcome) => {
                world.outcomes.push(outcome.clone());
                let account = world.accounts.get(&outcome.to).ok_or_else(unknown)?;
                let waits =
                    |id: &MessageId| account.mailbox.iter().any(|message| message.mid == *id);
                let waiting = outcome.ids.into_iter().filter(waits).collect();
                Ok(Reply::Waiting(Waiting {
                    waiting,
                    expired: Vec::new(),
                }))
            }
            Request::Status(named) => {
                if let Some(lie) = world.lie.take() {
                    return Err(Refusal::new(Code::Internal, lie));
                }
                let account = world.accounts.get(&named.name).ok_or_else(unknown)?;
                Ok(Reply::Status(UserStatus {
                    name: named.name,
                    online: account.online.is_some(),
                    last_seen: None,
                }))
            }
            Request::Passwd(passwd) => {
                let key = world.accounts[&me].login_key;
                let purpose = Purpose::Passwd(credentials(passwd.kdf, passwd.login_key));
                self.prove(&me, &key, &purpose, &passwd.proof)?;
                let account = world.accounts.get_mut(&me).unwrap();
                account.kdf = passwd.kdf;
                account.login_key = passwd.login_key.0;
                Ok(Reply::Done(Done {}))
            }
            Request::Logout => {
                world.accounts.get_mut(&me).unwrap().online = None;
                Ok(Reply::Done(Done {}))
            }
            Request::Settings(_) => Ok(Reply::Settings(settings())),
            Request::Block(user) => {
                let account = world.accounts.get_mut(&me).unwrap();
                account.blocked.push(user.name);
                let blocked = account.blocked.clone();
                Ok(Reply::Settings(AccountSettings {
                    blocked,
                    ..settings()
                }))
            }
            Request::Unblock(user) => {
                let account = world.accounts.get_mut(&me).unwrap();
                account.blocked.retain(|name| *name != user.name);
                let blocked = account.blocked.clone();
                Ok(Reply::Settings(AccountSettings {
                    blocked,
                    ..settings()
                }))
            }
            Request::Fetch(_) => Ok(Reply::Fetched(Fetched {
                sent: 0,
                waiting: 0,
            })),
            Request::Search(_) => Ok(Reply::Found(SearchPage {
                users: Vec::new(),
                more: false,
            })),
            _ => Ok(Reply::Done(Done {})),
        }
    }
}

/// The handle that the double gives a message.
pub(super) fn handle_of(mid: &MessageId) -> Handle {
    ByteArray(mid.0.map(|byte| !byte))
}
