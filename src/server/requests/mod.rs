//! One connection's requests: what each does, and how it is answered.
//!
//! | file | requests |
//! | --- | --- |
//! | this one | which request is handled where |
//! | `register` | `register`, `delete_account` |
//! | `login` | `hello`, `kdf`, `login`, `logout` |
//! | `search` | `search`, `status` |
//! | `send` | `send`, `outcome` |
//! | `fetch` | `fetch`, `ack` |
//! | `keys` | `keys`, `publish` |
//! | `invite` | `invite` |
//! | `personal_data` | `personal_data` |
//! | `reset` | `reset` |
//! | `claim` | `claim` |
//! | `settings` | `settings`, `block`, `unblock`, `passwd` |
//! | [`auth`] | proofs and passwords, for those that need them |
//!
//! A handler knows no socket. It is given requests and the connection's send queue, and
//! the connection's thread does the rest.

pub(crate) mod auth;
mod claim;
mod fetch;
mod invite;
mod keys;
pub(crate) mod login;
mod personal_data;
pub(crate) mod register;
mod reset;
mod search;
mod send;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::login::NewSession;
use super::delivery::Now;
use super::delivery::forward::{Destination, Routes};
use super::delivery::refusals::{read_failed, session_over, unknown_user};
use super::delivery::resend::Resends;
use super::delivery::sessions::Session;
use super::delivery::shared_mailbox::SharedMailbox;
use super::limits::ip_prefix::IpPrefix;
use super::limits::request_rate::RequestRate;
use super::net::send_queue::SendQueue;
use super::net::send_queue::flush_set::FlushSet;
use super::shared::Shared;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Reply};
use crate::protocol::request::Request;
use crate::store::Account;
use crate::transport::fingerprint::Fingerprint;

/// A session, and the mailboxes that its requests use.
struct LoggedIn {
    session: Arc<Session>,
    /// The user's own mailbox.
    mailbox: Arc<SharedMailbox>,
    /// The mailbox of the last `send`, since the next one often goes there too.
    destination: Option<Destination>,
    /// The messages on their way to other servers.
    routes: Routes,
    /// What was found of the messages that the session sends again.
    resends: Resends,
}

/// How a request is answered.
enum Response {
    /// At once.
    Now(Answer),
    /// Later, through the send queue.
    Later,
    /// With a welcome, ahead of the messages that the new session is then pushed.
    Welcome(Box<NewSession>),
}

/// One connection's requests, with what they have in common.
pub(crate) struct Handler {
    shared: Arc<Shared>,
    send_queue: Arc<SendQueue>,
    logged_in: Option<LoggedIn>,
    /// The nonce that the next proof has to sign.
    nonce: Option<[u8; 32]>,
    /// The certificate's fingerprint, empty over plain TCP.
    certificate: Vec<u8>,
    /// The name that the connection was told is free, which counts against its limit once.
    admitted: Option<UserName>,
    /// Whether messages may be envelopes; the console can't read them.
    envelopes: bool,
    /// The peer's network, by which its requests are limited; `None` if they are not.
    network: Option<IpPrefix>,
    /// From where the peer connects, to tell the user.
    peer: Option<SocketAddr>,
    request_rate: RequestRate,
    failed_logins: u32,
    /// Why the last request was refused, if it was refused at once.
    refused: Option<Code>,
    /// How long the connection is not read after this request.
    pause: Duration,
    /// When the connection ends, whatever it is waiting for.
    deadline: Option<Instant>,
}

impl Handler {
    /// A handler for a new connection.
    pub(crate) fn new(
        shared: Arc<Shared>,
        send_queue: Arc<SendQueue>,
        network: Option<IpPrefix>,
        now: Instant,
    ) -> Self {
        Handler {
            request_rate: RequestRate::new(shared.limits.settings().messages_per_second, now),
            shared,
            send_queue,
            logged_in: None,
            nonce: None,
            certificate: Vec::new(),
            admitted: None,
            envelopes: true,
            network,
            peer: None,
            failed_logins: 0,
            refused: None,
            pause: Duration::ZERO,
            deadline: None,
        }
    }

    /// Says that this connection is the console.
    pub(crate) fn without_envelopes(&mut self) {
        self.envelopes = false;
    }

    /// Says that the connection is under TLS and that its client sees this certificate.
    pub(crate) fn set_certificate(&mut self, fingerprint: Fingerprint) {
        self.certificate = fingerprint.0.to_vec();
    }

    /// Says from where the peer connects.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
    }

    /// Says which network the peer's requests are limited by, once a proxy has named the peer.
    pub(crate) fn set_network(&mut self, network: Option<IpPrefix>) {
        self.network = network;
    }

    /// Sets when the connection ends; no request waits beyond that.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The logged-in user.
    pub(crate) fn user(&self) -> Option<UserName> {
        self.logged_in.as_ref().map(|it| it.session.name)
    }

    /// Why the last request was refused, if it was refused at once.
    pub(crate) fn refused(&self) -> Option<Code> {
        self.refused
    }

    /// How many logins in a row have failed.
    pub(crate) fn failed_logins(&self) -> u32 {
        self.failed_logins
    }

    /// Handles one request, and appends its answer to the send queue unless that comes
    /// later. Returns how long the connection is not to be read afterwards.
    pub(crate) fn handle(
        &mut self,
        request_id: Option<u64>,
        request: Request,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Duration {
        self.pause = match request {
            // These are not limited: a client that receives much acknowledges much.
            Request::Ack(_) | Request::AckShown => Duration::ZERO,
            _ => self.request_rate.count(now.instant),
        };
        let named = request.names_somebody();
        let response = match self.may_ask_for_name(named, now) {
            Ok(()) => self.dispatch(request_id, request, now, to_flush),
            Err(refusal) => Response::Now(Err(refusal)),
        };
        self.refused = match &response {
            Response::Now(Err(refusal)) => Some(refusal.code),
            _ => None,
        };
        if self.refused == Some(Code::UnknownUser) {
            self.count_unlisted(now);
        }
        match response {
            Response::Now(answer) => self.send_queue.answer(request_id, &answer),
            Response::Later => {}
            Response::Welcome(new) => self.welcome(request_id, *new, to_flush),
        }
        self.pause
    }

    /// Counts a line that is no request but was answered, and returns how long the connection is
    /// not to be read afterwards.
    pub(crate) fn keep_pace(&mut self, now: Now) -> Duration {
        self.request_rate.count(now.instant)
    }

    /// Finds the function that handles a request.
    fn dispatch(
        &mut self,
        request_id: Option<u64>,
        request: Request,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Response {
        Response::Now(match request {
            Request::Send(send) => return self.send(request_id, send, now, to_flush),
            Request::Outcome(outcome) => self.outcome(&outcome, now),
            Request::Ack(ack) => self.ack(&ack, to_flush),
            Request::AckShown => self.ack_shown(to_flush),
            Request::Fetch(fetch) => self.fetch(&fetch, to_flush),

            Request::Hello(hello) => self.hello(&hello),
            Request::Ping => Ok(Reply::Done(Done {})),
            Request::Kdf(user) => self.kdf(&user.name),
            Request::Available(user) => self.available(user.name, now),
            Request::Register(register) => return self.register(&register, now),
            Request::PasswordRegister(login) => return self.password_register(&login, now),
            Request::Login(login) => return self.login(&login, now),
            Request::PasswordLogin(login) => return self.password_login(&login, now),
            Request::Logout => self.logout(now),
            Request::Reset(reset) => return self.reset(&reset, now),
            Request::PasswordReset {
                name,
                code,
                password,
            } => return self.password_reset(name, &code, &password, now),
            Request::Claim(claim) => return self.claim(&claim, now),
            Request::Invite => self.invite(now),
            Request::PersonalData(after) => self.personal_data(&after, now),
            Request::DeleteAccount(delete) => self.delete_account(&delete, now),

            Request::Search(search) => self.search(&search, now),
            Request::Status(user) => self.status(user.name, now),
            Request::Keys(user) => self.keys(user.name, now),
            Request::Publish(publish) => self.publish(publish),

            Request::Settings(change) => self.settings(&change),
            Request::Block(user) => self.block(user.name, true),
            Request::Unblock(user) => self.block(user.name, false),
            Request::Passwd(passwd) => self.passwd(&passwd, now),
            Request::PasswordChange { old, new } => self.password_change(&old, &new, now),
        })
    }

    /// The session, for requests that need one.
    fn logged_in(&self) -> Result<&LoggedIn, Refusal> {
        match &self.logged_in {
            Some(logged_in) => logged_in.check().map(|()| logged_in),
            None => Err(not_logged_in()),
        }
    }

    /// Whether the session may ask for this name. The recipient of its last message is known to it.
    fn may_ask_for_name(&self, name: Option<UserName>, now: Now) -> Result<(), Refusal> {
        let (Some(logged_in), Some(name)) = (&self.logged_in, name) else {
            return Ok(());
        };
        match &logged_in.destination {
            Some(known) if known.name() == name => Ok(()),
            _ => {
                let user = logged_in.session.user;
                self.shared.limits.ask_for_name(user, now.instant)
            }
        }
    }

    /// Counts that the session asked for a name that a search would not have found, so that names
    /// can't be tried in numbers.
    fn count_unlisted(&self, now: Now) {
        if let Some(logged_in) = &self.logged_in {
            let user = logged_in.session.user;
            self.shared.limits.count_unlisted(user, now.instant);
        }
    }

    /// An account by name.
    fn account(&self, name: &UserName) -> Result<Account, Refusal> {
        let account = self.shared.store.account(name).map_err(read_failed)?;
        account.ok_or_else(|| unknown_user(name))
    }
}

impl LoggedIn {
    /// Whether requests may still use the session.
    fn check(&self) -> Result<(), Refusal> {
        match self.session.is_over() {
            false => Ok(()),
            true => Err(session_over()),
        }
    }
}

fn not_logged_in() -> Refusal {
    Refusal::new(Code::NotLoggedIn, "log in first")
}

/// Refuses a list that is too long.
fn check_length(count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("the list has {count} entries; at most {limit} are taken at once"),
        ));
    }
    Ok(())
}
