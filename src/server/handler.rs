//! One connection's requests: what each means in the phase the connection is in.
//!
//! Knows no socket: it is given requests and the connection's outbox, and gives
//! answers. The connection's thread does the rest.

use std::sync::Arc;

use super::accounts::{Accounts, Terms, random};
use super::core::Core;
use super::delivery::{Now, fingerprint, store_failed, unknown_user};
use super::outbox::{Outbox, Touched};
use super::postbox::Postbox;
use super::sessions::{Candidate, OnlineElsewhere, Precedence, Session};
use crate::crypto::keys::{self, PrekeyBundle};
use crate::protocol::binary::Fixed;
use crate::protocol::limits;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{
    Answer, Done, Event, Found, Greeting, Published, Reply, Settings, UserStatus, Welcome,
};
use crate::protocol::request::{
    ChangeSettings, Hello, Publish, Request, Search, Send, SessionWish,
};
use crate::protocol::{OLDEST_VERSION, VERSION};
use crate::store::{Account, Change, Changed, Flags};
use crate::transport::fingerprint::Fingerprint;

/// Messages of one `fetch` at most, for sessions that fetch.
const MAX_FETCH: usize = 500;

/// Fewer one-time prekeys than this, and their owner is told.
const FEW_PREKEYS: u32 = 20;

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
    own: Arc<Postbox>,
    /// The last recipient's: a conversation looks it up once.
    recipient: Option<Arc<Postbox>>,
}

/// See the module.
pub struct Handler {
    core: Arc<Core>,
    outbox: Arc<Outbox>,
    phase: Phase,
    nonce: Option<[u8; 32]>,
    /// The certificate's fingerprint, empty over plain TCP.
    certificate: Vec<u8>,
    /// The console can't read envelopes.
    envelopes: bool,
    failed_logins: u32,
}

impl Handler {
    /// A handler for a new connection.
    pub fn new(core: Arc<Core>, outbox: Arc<Outbox>) -> Self {
        Handler {
            core,
            outbox,
            phase: Phase::Anonymous,
            nonce: None,
            certificate: Vec::new(),
            envelopes: true,
            failed_logins: 0,
        }
    }

    /// This connection is the console.
    pub fn without_envelopes(&mut self) {
        self.envelopes = false;
    }

    /// The connection is under TLS, and its client sees this certificate.
    pub fn set_certificate(&mut self, fingerprint: Fingerprint) {
        self.certificate = fingerprint.0.to_vec();
    }

    /// The logged-in user.
    pub fn user(&self) -> Option<UserName> {
        match &self.phase {
            Phase::LoggedIn(logged_in) => Some(logged_in.session.name),
            Phase::Anonymous => None,
        }
    }

    /// Logins that failed in a row.
    pub fn failed_logins(&self) -> u32 {
        self.failed_logins
    }

    /// Handles one request and appends its answer, unless that comes later.
    pub fn handle(&mut self, id: Option<u64>, request: Request, now: Now, touched: &mut Touched) {
        if let Request::Send(send) = request {
            if let Some(answer) = self.send(id, send, now, touched) {
                self.outbox.answer(id, &answer);
            }
            return;
        }
        let answer = match request {
            Request::Register(_)
            | Request::Login(_)
            | Request::PasswordRegister(_)
            | Request::PasswordLogin(_) => return self.enter(id, request, now, touched),
            Request::Hello(hello) => self.hello(&hello),
            Request::Kdf(named) => self.accounts().kdf(&named.name).map(Reply::Kdf),
            Request::Ping => Ok(Reply::Done(Done {})),
            other => match &mut self.phase {
                Phase::LoggedIn(logged_in) if logged_in.session.is_over() => Err(Refusal::new(
                    Code::NotLoggedIn,
                    "this session was taken over by another login; log in again",
                )),
                Phase::LoggedIn(_) => self.handle_logged_in(other, now, touched),
                Phase::Anonymous => Err(not_logged_in()),
            },
        };
        if let Err(refusal) = &answer {
            self.count_failure(refusal);
        }
        self.outbox.answer(id, &answer);
    }

    /// A wrong password counts wherever it is given: a login, a change, a deletion.
    fn count_failure(&mut self, refusal: &Refusal) {
        if refusal.code == Code::WrongLogin {
            self.failed_logins += 1;
        }
    }

    fn accounts(&self) -> Accounts<'_> {
        Accounts {
            store: &*self.core.store,
            writer: &self.core.writer,
            derivations: &self.core.derivations,
            registration: self.core.config.registration,
        }
    }

    fn hello(&mut self, hello: &Hello) -> Answer {
        if hello.version < OLDEST_VERSION {
            return Err(Refusal::new(
                Code::Version,
                "this client is too old for the server; install a newer one",
            ));
        }
        let nonce = random()?;
        self.nonce = Some(nonce);
        Ok(Reply::Greeting(Greeting {
            server: "secure-chat".to_owned(),
            version: VERSION,
            oldest: OLDEST_VERSION,
            nonce: Fixed(nonce),
            certificate: <[u8; 32]>::try_from(&*self.certificate).ok().map(Fixed),
            max_line: self.core.config.max_line,
        }))
    }

    /// What a proof has to sign; each nonce serves one attempt.
    fn terms(&mut self) -> Result<Terms, Refusal> {
        match self.nonce.take() {
            Some(nonce) => Ok(Terms {
                nonce,
                certificate: self.certificate.clone(),
            }),
            None => Err(Refusal::new(
                Code::NoNonce,
                "there is no unused nonce on this connection; say hello again",
            )),
        }
    }

    /// Registers or logs in, welcomes, and begins receiving.
    fn enter(&mut self, id: Option<u64>, request: Request, now: Now, touched: &mut Touched) {
        match self.welcome(request, now) {
            Ok((session, own, wish, welcome)) => {
                // The welcome goes ahead of the messages.
                self.outbox
                    .answer(id, &Ok(Reply::Welcome(Box::new(welcome))));
                let budget = (!wish.receive).then_some(0);
                let delivery = &self.core.delivery;
                delivery.attach(&session, &own, self.envelopes, budget, touched);
                self.failed_logins = 0;
                self.phase = Phase::LoggedIn(LoggedIn {
                    session,
                    own,
                    recipient: None,
                });
            }
            Err(refusal) => {
                self.count_failure(&refusal);
                self.outbox.answer(id, &Err(refusal));
            }
        }
    }

    fn welcome(
        &mut self,
        request: Request,
        now: Now,
    ) -> Result<(Arc<Session>, Arc<Postbox>, SessionWish, Welcome), Refusal> {
        if let Phase::LoggedIn(logged_in) = &self.phase
            && !logged_in.session.is_over()
        {
            return Err(Refusal::new(
                Code::AlreadyLoggedIn,
                format!(
                    "you are logged in as {}; log out first",
                    logged_in.session.name
                ),
            ));
        }
        let (account, wish) = match request {
            Request::Register(register) => {
                let terms = self.terms()?;
                let account = self.accounts().register(&register, &terms, now)?;
                (account, register.session)
            }
            Request::Login(login) => {
                let terms = self.terms()?;
                (self.accounts().login(&login, &terms)?, login.session)
            }
            Request::PasswordRegister(login) => {
                let account = self.accounts().register_password(&login, now)?;
                (account, SessionWish::default())
            }
            Request::PasswordLogin(login) => {
                let account = self
                    .accounts()
                    .login_password(&login.name, &login.password)?;
                let take_over = login.take_over;
                (
                    account,
                    SessionWish {
                        take_over,
                        ..SessionWish::default()
                    },
                )
            }
            _ => return Err(Refusal::new(Code::Internal, "not a login")),
        };
        let own = self.core.delivery.postbox(&account.name)?;
        let session = self.begin_session(&account, &wish)?;
        let welcome = self
            .describe(&account, &session, &own, now)
            .inspect_err(|_| {
                self.core.sessions.remove(&session);
            })?;
        Ok((session, own, wish, welcome))
    }

    fn begin_session(
        &self,
        account: &Account,
        wish: &SessionWish,
    ) -> Result<Arc<Session>, Refusal> {
        let candidate = Candidate {
            name: account.name,
            user: account.id,
            secret: Fixed(random()?),
            outbox: Arc::clone(&self.outbox),
            present: wish.presence,
        };
        let precedence = match wish.replaces {
            _ if wish.take_over => Precedence::TakeOver,
            Some(secret) => Precedence::Resume(secret),
            None => Precedence::Polite,
        };
        let inserted = self.core.sessions.insert(candidate, precedence);
        let (session, displaced) = inserted.map_err(|OnlineElsewhere| {
            Refusal::new(
                Code::AlreadyOnline,
                format!(
                    "{} is logged in elsewhere; log out there, or take the session over",
                    account.name
                ),
            )
        })?;
        if let Some(displaced) = displaced {
            displaced.outbox.event(&Event::Replaced {});
            displaced.outbox.flush();
            // Its own thread ends the connection, with the news sent.
            displaced.outbox.socket().close_reading();
        }
        Ok(session)
    }

    fn describe(
        &self,
        account: &Account,
        session: &Session,
        own: &Arc<Postbox>,
        now: Now,
    ) -> Result<Welcome, Refusal> {
        let logins = match self.core.writer.change(Change::CountLogin(account.id))? {
            Changed::Logins(logins) => logins,
            _ => account.logins,
        };
        let (envelopes, plain, notices) = self.core.delivery.pending(own, now);
        Ok(Welcome {
            name: account.name,
            session: session.secret,
            envelopes,
            plain,
            notices,
            identity: account.identity,
            signed_prekey: account.signed_prekey,
            one_time: account.one_time,
            logins,
            settings: self.settings_of(account)?,
        })
    }

    /// Ends the session, if there is one: on logout, and when the connection ends.
    pub fn leave(&mut self, now: Now) {
        let Phase::LoggedIn(logged_in) = std::mem::replace(&mut self.phase, Phase::Anonymous)
        else {
            return;
        };
        let session = &logged_in.session;
        let replaced = session.is_over();
        self.core.sessions.remove(session);
        self.core.delivery.detach(session, &logged_in.own);
        if session.present && !replaced {
            // Nobody waits for it, and it may be lost in a crash.
            drop(
                self.core
                    .writer
                    .submit(Change::Seen(session.user, now.millis)),
            );
        }
    }

    fn send(
        &mut self,
        id: Option<u64>,
        send: Send,
        now: Now,
        touched: &mut Touched,
    ) -> Option<Answer> {
        let Phase::LoggedIn(logged_in) = &mut self.phase else {
            return Some(Err(not_logged_in()));
        };
        if logged_in.session.is_over() {
            return Some(Err(not_logged_in()));
        }
        let postbox = match &logged_in.recipient {
            Some(postbox) if postbox.name == send.to => postbox,
            _ => match self.core.delivery.postbox(&send.to) {
                Ok(postbox) => logged_in.recipient.insert(postbox),
                Err(refusal) => return Some(Err(refusal)),
            },
        };
        let delivery = &self.core.delivery;
        delivery.send(&logged_in.session, postbox, send, id, now, touched)
    }

    fn handle_logged_in(&mut self, request: Request, now: Now, touched: &mut Touched) -> Answer {
        let Phase::LoggedIn(LoggedIn { session, own, .. }) = &self.phase else {
            return Err(not_logged_in());
        };
        let delivery = &self.core.delivery;
        match request {
            Request::Logout => {
                self.leave(now);
                Ok(Reply::Done(Done {}))
            }
            Request::Ack(ack) => {
                too_many(ack.ids.len(), limits::MAX_IDS)?;
                Ok(Reply::Acked(delivery.ack(session, own, &ack, touched)))
            }
            Request::AckShown => Ok(Reply::Acked(delivery.ack_shown(session, own, touched))),
            Request::Fetch(fetch) => {
                if !self.envelopes {
                    delivery.ack_shown(session, own, touched);
                }
                let limit = fetch.limit.unwrap_or(MAX_FETCH).min(MAX_FETCH);
                Ok(Reply::Fetched(delivery.fetch(session, own, limit, touched)))
            }
            Request::Outcome(outcome) => {
                too_many(outcome.ids.len(), limits::MAX_IDS)?;
                delivery.outcome(session, &outcome).map(Reply::Waiting)
            }
            Request::Search(search) => self.search(session, &search),
            Request::Status(named) => self.status(session, named.name),
            Request::Settings(change) => self.settings(session, own, &change),
            Request::Block(named) => self.block(session, own, named.name, true),
            Request::Unblock(named) => self.block(session, own, named.name, false),
            Request::Keys(named) => self.keys(named.name),
            Request::Publish(publish) => self.publish(session, own, publish),
            Request::Passwd(passwd) => {
                let name = session.name;
                let terms = self.terms()?;
                self.accounts().passwd(&name, &passwd, &terms)?;
                Ok(Reply::Done(Done {}))
            }
            Request::PasswordChange { old, new } => {
                self.accounts().passwd_password(&session.name, &old, &new)?;
                Ok(Reply::Done(Done {}))
            }
            Request::DeleteAccount(delete) => {
                let name = session.name;
                let terms = self.terms()?;
                let account = self
                    .accounts()
                    .check_deletion(&name, &delete.proof, &terms)?;
                self.delete(&account, now)
            }
            _ => Err(Refusal::new(Code::Internal, "not expected here")),
        }
    }

    fn delete(&mut self, account: &Account, now: Now) -> Answer {
        let Phase::LoggedIn(LoggedIn { own, .. }) = &self.phase else {
            return Err(not_logged_in());
        };
        // From here on its mail is refused, before it is deleted: what was
        // accepted in between would stay behind for nobody.
        own.lock().recipient.deleted = true;
        let deleted = self.core.writer.change(Change::Delete(account.id));
        if deleted.is_err() {
            own.lock().recipient.deleted = false;
        }
        deleted?;
        self.leave(now);
        Ok(Reply::Done(Done {}))
    }

    fn search(&self, session: &Session, search: &Search) -> Answer {
        let text = search.text.trim().to_ascii_lowercase();
        if text.chars().count() < limits::MIN_SEARCH {
            return Err(Refusal::bad_request(
                "search for at least two characters of the beginning of a name",
            ));
        }
        let limit = search
            .limit
            .unwrap_or(limits::MAX_FOUND)
            .clamp(1, limits::MAX_FOUND);
        if text.parse::<UserName>().is_err() {
            // No name begins like that.
            return Ok(Reply::Found(Found {
                users: Vec::new(),
                more: false,
            }));
        }
        let found = self
            .core
            .store
            .search(&text, search.after.as_ref(), limit + 1);
        let found = found.map_err(store_failed)?;
        let users = found
            .iter()
            .take(limit)
            .map(|found| self.visible_status(session, found.name, found.presence, found.last_seen));
        Ok(Reply::Found(Found {
            users: users.collect(),
            more: found.len() > limit,
        }))
    }

    fn status(&self, session: &Session, name: UserName) -> Answer {
        let account = self.core.store.account(&name).map_err(store_failed)?;
        let account = account.ok_or_else(|| unknown_user(&name))?;
        let presence = account.flags.presence;
        Ok(Reply::Status(self.visible_status(
            session,
            name,
            presence,
            account.last_seen,
        )))
    }

    /// What `session` may see of `name`: all of its own, of others what they show.
    fn visible_status(
        &self,
        session: &Session,
        name: UserName,
        presence: bool,
        last_seen: Option<u64>,
    ) -> UserStatus {
        let shows = presence || name == session.name;
        let online = shows
            && self
                .core
                .sessions
                .find(&name)
                .is_some_and(|other| other.present);
        UserStatus {
            name,
            online,
            last_seen: last_seen.filter(|_| shows && !online),
        }
    }

    fn settings_of(&self, account: &Account) -> Result<Settings, Refusal> {
        let Flags {
            listed,
            presence,
            refuse_unencrypted,
        } = account.flags;
        Ok(Settings {
            listed,
            presence,
            refuse_unencrypted,
            blocked: self.core.store.blocked(account.id).map_err(store_failed)?,
        })
    }

    fn account(&self, session: &Session) -> Result<Account, Refusal> {
        let account = self
            .core
            .store
            .account(&session.name)
            .map_err(store_failed)?;
        account.ok_or_else(not_logged_in)
    }

    fn settings(&self, session: &Session, own: &Postbox, change: &ChangeSettings) -> Answer {
        let mut account = self.account(session)?;
        let before = account.flags;
        account.flags = Flags {
            listed: change.listed.unwrap_or(before.listed),
            presence: change.presence.unwrap_or(before.presence),
            refuse_unencrypted: change
                .refuse_unencrypted
                .unwrap_or(before.refuse_unencrypted),
        };
        if account.flags != before {
            self.core
                .writer
                .change(Change::SetFlags(account.id, account.flags))?;
            own.lock().recipient.refuse_unencrypted = account.flags.refuse_unencrypted;
        }
        self.settings_of(&account).map(Reply::Settings)
    }

    fn block(&self, session: &Session, own: &Postbox, name: UserName, block: bool) -> Answer {
        let account = self.account(session)?;
        let whom = self.core.store.account(&name).map_err(store_failed)?;
        let whom = whom.ok_or_else(|| unknown_user(&name))?;
        let settings = self.settings_of(&account)?;
        if block && settings.blocked.len() >= limits::MAX_BLOCKED {
            return Err(Refusal::new(
                Code::TooLarge,
                "you block 1,000 users, which is the most; unblock one first",
            ));
        }
        self.core
            .writer
            .change(Change::Block(account.id, whom.id, block))?;
        let mut state = own.lock();
        if block {
            state.recipient.blocked.insert(name);
        } else {
            state.recipient.blocked.remove(&name);
        }
        drop(state);
        self.settings_of(&account).map(Reply::Settings)
    }

    fn keys(&self, name: UserName) -> Answer {
        let account = self.core.store.account(&name).map_err(store_failed)?;
        let account = account.ok_or_else(|| unknown_user(&name))?;
        match self.core.writer.change(Change::TakeBundle(account.id))? {
            Changed::Bundle(bundle, left) => {
                if left < FEW_PREKEYS
                    && bundle.one_time.is_some()
                    && let Some(owner) = self.core.sessions.find(&name)
                {
                    owner.outbox.event(&Event::PrekeysLow { one_time: left });
                    owner.outbox.flush();
                }
                Ok(Reply::Bundle(bundle))
            }
            _ => Err(Refusal::new(
                Code::NoKeys,
                format!("{name} has no client with keys yet, so nothing can be encrypted to them"),
            )),
        }
    }

    fn publish(&self, session: &Session, own: &Postbox, publish: Publish) -> Answer {
        too_many(publish.one_time.len(), limits::MAX_ONE_TIME_PREKEYS)?;
        let published = check_keys(&publish)?;
        match self
            .core
            .writer
            .change(Change::Publish(session.user, Box::new(publish)))?
        {
            Changed::Published(one_time) => {
                own.lock().recipient.identity = Some(published);
                Ok(Reply::Published(Published { one_time }))
            }
            _ => Err(Refusal::new(
                Code::IdentityChanged,
                "another identity is published for this account; replace it only if that device \
                 is gone",
            )),
        }
    }
}

/// Checks what every contact would check, so that a broken client hears of it
/// first. Returns the identity's fingerprint.
fn check_keys(publish: &Publish) -> Result<[u8; 32], Refusal> {
    let bad = || {
        Refusal::new(
            Code::BadKey,
            "the identity is not valid, or the prekey is not signed by it",
        )
    };
    let fingerprint = fingerprint(&publish.identity).ok_or_else(bad)?;
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&publish.identity.signing.0);
    bytes[32..].copy_from_slice(&publish.identity.dh.0);
    let bundle = PrekeyBundle {
        identity: keys::Identity::from_bytes(&bytes).map_err(|_| bad())?,
        signed_prekey: keys::SignedPrekey {
            id: publish.signed_prekey.id,
            key: publish.signed_prekey.key.0,
            signature: publish.signed_prekey.signature.0,
        },
        one_time: None,
    };
    bundle.verify().map_err(|_| bad())?;
    Ok(fingerprint)
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
