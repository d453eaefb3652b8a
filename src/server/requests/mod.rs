//! One connection's requests: what each means in the phase the connection is in.
//!
//! Knows no socket: it is given requests and the connection's outbox, and gives
//! answers. The connection's thread does the rest. Here are the phases and who
//! answers what; the answers themselves are below, by subject.

pub(crate) mod auth;
/// Who is there, and one's own settings: search, status, blocks.
mod directory;
/// Prekey bundles: handing them out, publishing them.
mod keys;
/// Hello, registering, logging in and out, deletion.
mod login;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::auth::{Accounts, Patience};
use super::delivery::Now;
use super::delivery::sessions::Session;
use super::delivery::shared_mailbox::SharedMailbox;
use super::limits::ip_prefix::IpPrefix;
use super::limits::request_rate::RequestRate;
use super::net::send_queue::SendQueue;
use super::net::send_queue::flush_set::FlushSet;
use super::shared::Shared;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Reply};
use crate::protocol::request::{Request, Send};
use crate::transport::fingerprint::Fingerprint;

/// Messages of one `fetch` at most, for sessions that fetch.
const MAX_FETCH: usize = 500;

/// What a connection is.
enum Phase {
    /// Nobody yet.
    Anonymous,
    /// Somebody.
    LoggedIn(LoggedIn),
}

/// A session, and the mailboxes it has at hand.
struct LoggedIn {
    session: Arc<Session>,
    own: Arc<SharedMailbox>,
    /// The last recipient's: a conversation looks it up once.
    recipient: Option<Arc<SharedMailbox>>,
}

/// See the module.
pub(crate) struct Handler {
    shared: Arc<Shared>,
    send_queue: Arc<SendQueue>,
    phase: Phase,
    nonce: Option<[u8; 32]>,
    /// The certificate's fingerprint, empty over plain TCP.
    certificate: Vec<u8>,
    /// The console can't read envelopes.
    envelopes: bool,
    /// As which address the peer counts.
    from: Option<IpPrefix>,
    request_rate: RequestRate,
    failed_logins: u32,
    /// How long the connection is not to be read after this request.
    pause: Duration,
    /// When the connection ends, whatever it is waiting for.
    deadline: Option<Instant>,
}

impl Handler {
    /// A handler for a new connection, and as which address its peer counts.
    pub(crate) fn new(
        shared: Arc<Shared>,
        send_queue: Arc<SendQueue>,
        from: Option<IpPrefix>,
        now: Instant,
    ) -> Self {
        Handler {
            request_rate: RequestRate::new(shared.limits.settings().messages_per_second, now),
            shared,
            send_queue,
            phase: Phase::Anonymous,
            nonce: None,
            certificate: Vec::new(),
            envelopes: true,
            from,
            failed_logins: 0,
            pause: Duration::ZERO,
            deadline: None,
        }
    }

    /// This connection is the console.
    pub(crate) fn without_envelopes(&mut self) {
        self.envelopes = false;
    }

    /// The connection is under TLS, and its client sees this certificate.
    pub(crate) fn set_certificate(&mut self, fingerprint: Fingerprint) {
        self.certificate = fingerprint.0.to_vec();
    }

    /// The connection ends at this moment: nothing is waited for beyond it.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The logged-in user.
    pub(crate) fn user(&self) -> Option<UserName> {
        match &self.phase {
            Phase::LoggedIn(logged_in) => Some(logged_in.session.name),
            Phase::Anonymous => None,
        }
    }

    /// Logins that failed in a row.
    pub(crate) fn failed_logins(&self) -> u32 {
        self.failed_logins
    }

    /// Handles one request and appends its answer, unless that comes later. Says
    /// how long the connection is not to be read afterwards.
    pub(crate) fn handle(
        &mut self,
        id: Option<u64>,
        request: Request,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Duration {
        self.pause = match request {
            // Whoever receives much has much to acknowledge.
            Request::Ack(_) | Request::AckShown => Duration::ZERO,
            _ => {
                let logged_in = matches!(self.phase, Phase::LoggedIn(_));
                self.request_rate.take(logged_in, now.instant)
            }
        };
        if let Request::Send(send) = request {
            if let Some(answer) = self.send(id, send, now, to_flush) {
                self.send_queue.answer(id, &answer);
            }
        } else {
            self.handle_other(id, request, now, to_flush);
        }
        self.pause
    }

    fn handle_other(
        &mut self,
        id: Option<u64>,
        request: Request,
        now: Now,
        to_flush: &mut FlushSet,
    ) {
        let answer = match request {
            Request::Register(_)
            | Request::Login(_)
            | Request::PasswordRegister(_)
            | Request::PasswordLogin(_) => return self.enter(id, request, now, to_flush),
            Request::Hello(hello) => self.hello(&hello),
            Request::Kdf(named) => self.accounts(now).kdf(&named.name).map(Reply::Kdf),
            Request::Ping => Ok(Reply::Done(Done {})),
            other => match &mut self.phase {
                Phase::LoggedIn(logged_in) if logged_in.session.is_over() => Err(Refusal::new(
                    Code::NotLoggedIn,
                    "this session was taken over by another login; log in again",
                )),
                Phase::LoggedIn(_) => self.handle_logged_in(other, now, to_flush),
                Phase::Anonymous => Err(not_logged_in()),
            },
        };
        if let (Err(refusal), Some(user)) = (&answer, self.user()) {
            self.count_failure(refusal, user, now);
        }
        self.send_queue.answer(id, &answer);
    }

    /// A wrong password counts wherever it is given: a login, a change, a deletion.
    fn count_failure(&mut self, refusal: &Refusal, account: UserName, now: Now) {
        if refusal.code == Code::WrongLogin {
            self.failed_logins += 1;
            let limits = &self.shared.limits;
            let failed = self.failed_logins;
            self.pause += limits.wrong_login(account, self.from, failed, now.instant);
        }
    }

    fn accounts(&self, now: Now) -> Accounts<'_> {
        Accounts {
            store: &*self.shared.store,
            writer: &self.shared.writer,
            kdf_queue: &self.shared.kdf_queue,
            patience: Patience {
                send_queue: &self.send_queue,
                deadline: self.deadline,
            },
            limits: &self.shared.limits,
            from: self.from,
            now,
            registration: self.shared.config.registration,
        }
    }
    fn send(
        &mut self,
        id: Option<u64>,
        send: Send,
        now: Now,
        to_flush: &mut FlushSet,
    ) -> Option<Answer> {
        let Phase::LoggedIn(logged_in) = &mut self.phase else {
            return Some(Err(not_logged_in()));
        };
        if logged_in.session.is_over() {
            return Some(Err(not_logged_in()));
        }
        let mailbox = match &logged_in.recipient {
            Some(mailbox) if mailbox.name == send.to => mailbox,
            _ => match self.shared.delivery.mailbox(&send.to) {
                Ok(mailbox) => logged_in.recipient.insert(mailbox),
                Err(refusal) => return Some(Err(refusal)),
            },
        };
        let delivery = &self.shared.delivery;
        delivery.send(&logged_in.session, mailbox, send, id, now, to_flush)
    }

    fn handle_logged_in(&mut self, request: Request, now: Now, to_flush: &mut FlushSet) -> Answer {
        let Phase::LoggedIn(LoggedIn { session, own, .. }) = &self.phase else {
            return Err(not_logged_in());
        };
        let delivery = &self.shared.delivery;
        match request {
            Request::Logout => {
                self.leave(now);
                Ok(Reply::Done(Done {}))
            }
            Request::Ack(ack) => {
                too_many(ack.ids.len(), limits::MAX_IDS)?;
                Ok(Reply::Acked(delivery.ack(session, own, &ack, to_flush)))
            }
            Request::AckShown => Ok(Reply::Acked(delivery.ack_shown(session, own, to_flush))),
            Request::Fetch(fetch) => {
                if !self.envelopes {
                    delivery.ack_shown(session, own, to_flush);
                }
                let limit = fetch.limit.unwrap_or(MAX_FETCH).min(MAX_FETCH);
                Ok(Reply::Fetched(
                    delivery.fetch(session, own, limit, to_flush),
                ))
            }
            Request::Outcome(outcome) => {
                too_many(outcome.ids.len(), limits::MAX_IDS)?;
                delivery.outcome(session, &outcome).map(Reply::Waiting)
            }
            Request::Search(search) => {
                self.pause += self.shared.limits.search(session.user, now.instant)?;
                self.search(session, &search)
            }
            Request::Status(named) => self.status(session, named.name),
            Request::Settings(change) => self.settings(session, own, &change),
            Request::Block(named) => self.block(session, own, named.name, true),
            Request::Unblock(named) => self.block(session, own, named.name, false),
            Request::Keys(named) => self.keys(session, named.name, now),
            Request::Publish(publish) => self.publish(session, own, publish),
            Request::Passwd(passwd) => {
                let name = session.name;
                let challenge = self.challenge()?;
                self.accounts(now).passwd(&name, &passwd, &challenge)?;
                Ok(Reply::Done(Done {}))
            }
            Request::PasswordChange { old, new } => {
                self.accounts(now)
                    .passwd_password(&session.name, &old, &new)?;
                Ok(Reply::Done(Done {}))
            }
            Request::DeleteAccount(delete) => {
                let name = session.name;
                let challenge = self.challenge()?;
                let account =
                    self.accounts(now)
                        .check_deletion(&name, &delete.proof, &challenge)?;
                self.delete(&account, now)
            }
            _ => Err(Refusal::new(Code::Internal, "not expected here")),
        }
    }
}

fn too_many(count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("the list has {count} entries; at most {limit} are taken at once"),
        ));
    }
    Ok(())
}

fn not_logged_in() -> Refusal {
    Refusal::new(Code::NotLoggedIn, "log in first")
}
