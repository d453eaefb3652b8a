//! Logging in and out: the nonce, the proof, the session, the welcome.

use std::sync::Arc;

use super::auth::{check_proof, imported, random, wrong_login};
use super::{Handler, LoggedIn, Response};
use crate::clock;
use crate::crypto::account::login_proof::Purpose;
use crate::protocol::ids::ByteArray;
use crate::protocol::name::UserName;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Event, Greeting, Reply, Welcome};
use crate::protocol::request::{Hello, Login, PasswordLogin, SessionOptions};
use crate::protocol::{OLDEST_VERSION, VERSION};
use crate::server::delivery::Now;
use crate::server::delivery::forward::Routes;
use crate::server::delivery::refusals::{already_online, read_failed};
use crate::server::delivery::resend::Resends;
use crate::server::delivery::sessions::{Candidate, NotInserted, Precedence, Session};
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::server::stats::Ending;
use crate::store::{Account, Change, Changed, VaultGeneration};
use crate::transport::fingerprint::Fingerprint;

/// A login key that nobody has. It is checked for unknown users, so that the answer takes
/// as long as for known ones. The point is the curve's base point.
pub(super) const NOBODY: [u8; 32] = [
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
];

/// A session that has begun and was not welcomed yet.
pub(super) struct NewSession {
    session: Arc<Session>,
    mailbox: Arc<SharedMailbox>,
    welcome: Welcome,
    /// Whether it is pushed all messages; otherwise it fetches them.
    receive: bool,
}

impl Handler {
    pub(super) fn hello(&mut self, hello: &Hello) -> Answer {
        if hello.version < OLDEST_VERSION {
            return Err(Refusal::new(
                Code::Version,
                "this client is too old for the server; install a newer one",
            ));
        }
        let nonce = random()?;
        self.nonce = Some(nonce);
        let shown = <[u8; 32]>::try_from(&*self.certificate).ok();
        let rotation = &self.shared.rotation;
        let previous = shown.and_then(|shown| rotation.previous(Fingerprint(shown)));
        let successions = match (hello.certificate, shown) {
            (Some(known), Some(shown)) => rotation.path(Fingerprint(known.0), Fingerprint(shown)),
            _ => Vec::new(),
        };
        Ok(Reply::Greeting(Greeting {
            server: "secure-chat".to_owned(),
            version: VERSION,
            oldest: OLDEST_VERSION,
            nonce: ByteArray(nonce),
            certificate: shown.map(ByteArray),
            max_line: self.shared.config().max_line,
            previous: previous.map(|previous| ByteArray(previous.0)),
            successions,
        }))
    }

    /// Tells how a user's login key is derived. The answer for an unknown user looks like
    /// any other; that one is imported and was never logged in to is told.
    pub(super) fn kdf(&self, name: &UserName) -> Answer {
        let account = self.shared.store.account(name).map_err(read_failed)?;
        Ok(Reply::Kdf(match account {
            Some(account) if account.verifier.is_some() => return Err(imported()),
            Some(account) => account.kdf,
            None => self.fake_kdf(name),
        }))
    }

    /// Logs a client in by its proof.
    pub(super) fn login(&mut self, login: &Login, now: Now) -> Response {
        self.log_in(login.name, &login.session, now, |handler| {
            let challenge = handler.challenge()?;
            let account = handler.shared.store.account(&login.name);
            let account = account.map_err(read_failed)?;
            let key = account
                .as_ref()
                .map_or(ByteArray(NOBODY), |account| account.login_key);
            let purpose = Purpose::Login;
            let proven = check_proof(&key, &purpose, &login.name, &challenge, &login.proof);
            match (account, proven) {
                (Some(account), Ok(())) => Ok(account),
                _ => Err(wrong_login()),
            }
        })
    }

    /// Logs the console in by its password.
    pub(super) fn password_login(&mut self, login: &PasswordLogin, now: Now) -> Response {
        let options = SessionOptions {
            take_over: login.take_over,
            ..SessionOptions::default()
        };
        self.log_in(login.name, &options, now, |handler| {
            handler.authenticate(&login.name, &login.password, now)
        })
    }

    /// Begins a session for the account that `authenticate` returns. A failure counts for
    /// the account called `name`.
    pub(super) fn log_in(
        &mut self,
        name: UserName,
        options: &SessionOptions,
        now: Now,
        authenticate: impl FnOnce(&mut Self) -> Result<Account, Refusal>,
    ) -> Response {
        let account = self.check_logged_out().and_then(|()| authenticate(self));
        let new = account.and_then(|account| self.begin_session(&account, options, now));
        match self.count_failure(new, name, now) {
            Ok(new) => Response::Welcome(Box::new(new)),
            Err(refusal) => Response::Now(Err(refusal)),
        }
    }

    pub(super) fn check_logged_out(&self) -> Result<(), Refusal> {
        match &self.logged_in {
            Some(LoggedIn { session, .. }) if !session.is_over() => Err(Refusal::new(
                Code::AlreadyLoggedIn,
                format!("you are logged in as {}; log out first", session.name),
            )),
            _ => Ok(()),
        }
    }

    fn begin_session(
        &self,
        account: &Account,
        options: &SessionOptions,
        now: Now,
    ) -> Result<NewSession, Refusal> {
        let precedence = match options.replaces {
            _ if options.take_over => Precedence::TakeOver,
            Some(secret) => Precedence::Resume(secret),
            None => Precedence::Yield,
        };
        let delivery = &self.shared.delivery;
        if delivery.peers().is_some() {
            // Nothing is taken from another server for a login that fails.
            check_enabled(&self.unchanged(account)?)?;
        }
        // While it is held, it does not go to another server.
        let (mailbox, _) = delivery.bring_here(&account.name, precedence, None)?;
        let (account, session) = self.insert_session(account, options, precedence)?;
        match self.describe(&account, &session, &mailbox, options, now) {
            Ok(welcome) => Ok(NewSession {
                session,
                mailbox,
                welcome,
                receive: options.receive,
            }),
            Err(refusal) => {
                self.shared.sessions.remove(&session);
                Err(refusal)
            }
        }
    }

    /// Puts a session into the table, in place of another one if that is permitted. `proven` is
    /// the account as it was when the login was proven, which may be long ago for a console: it
    /// has waited for its turn. The account that comes back is the present one.
    fn insert_session(
        &self,
        proven: &Account,
        options: &SessionOptions,
        precedence: Precedence,
    ) -> Result<(Account, Arc<Session>), Refusal> {
        let sessions = &self.shared.sessions;
        loop {
            // In this order, a change that the account does not show yet outdates the version.
            let version = sessions.version();
            let account = self.unchanged(proven)?;
            check_enabled(&account)?;
            let candidate = Candidate {
                name: account.name,
                user: account.id,
                secret: ByteArray(random()?),
                send_queue: Arc::clone(&self.send_queue),
                present: options.presence,
                version,
            };
            match sessions.insert(candidate, precedence) {
                Ok((session, displaced)) => {
                    end_displaced(displaced.as_deref(), Ending::Replaced);
                    return Ok((account, session));
                }
                Err(NotInserted::Outdated) => {}
                Err(NotInserted::OnlineElsewhere) => return Err(already_online(&account.name)),
            }
        }
    }

    fn describe(
        &self,
        account: &Account,
        session: &Session,
        mailbox: &Arc<SharedMailbox>,
        options: &SessionOptions,
        now: Now,
    ) -> Result<Welcome, Refusal> {
        let named = options.vault.map(|number| VaultGeneration {
            number,
            proof: options.vault_proof,
        });
        let count = Change::CountLogin(account.id, named);
        let (logins, vault) = match self.shared.writer.change(count) {
            Ok(Changed::Login { logins, vault }) => (logins, vault),
            // With a full disk people can still read what is pending for them.
            Err(refusal) if !matches!(refusal.code, Code::Storage | Code::Damaged) => {
                return Err(refusal);
            }
            _ => (account.logins, None),
        };
        let delivery = &self.shared.delivery;
        delivery.tell_expired(account.id, mailbox, now);
        let pending = delivery.pending(mailbox, now);
        Ok(Welcome {
            name: account.name,
            session: session.secret,
            envelopes: pending.envelopes,
            plain: pending.plain,
            notices: pending.notices,
            identity: account.identity,
            signed_prekey: account.signed_prekey,
            one_time: account.one_time,
            logins,
            vault: vault.map(|told| told.number),
            vault_proof: vault.and_then(|told| told.proof),
            epoch: self.shared.store.epoch().map(ByteArray),
            settings: self.settings_of(account)?,
        })
    }

    /// Welcomes a session, then begins to push messages to it.
    pub(super) fn welcome(
        &mut self,
        request_id: Option<u64>,
        new: NewSession,
        to_flush: &mut FlushSet,
    ) {
        let NewSession {
            session,
            mailbox,
            welcome,
            receive,
        } = new;
        let welcome = Ok(Reply::Welcome(Box::new(welcome)));
        self.send_queue.answer(request_id, &welcome);
        let budget = (!receive).then_some(0);
        let delivery = &self.shared.delivery;
        delivery.attach(&session, &mailbox, self.envelopes, budget, to_flush);
        delivery.show_online(&session, true);
        self.failed_logins = 0;
        let bucket = self.shared.limits.requests_of(session.user, clock::now());
        self.request_rate.log_in(bucket);
        self.logged_in = Some(LoggedIn {
            session,
            mailbox,
            destination: None,
            routes: Routes::default(),
            resends: Resends::default(),
        });
    }

    pub(super) fn logout(&mut self, now: Now) -> Answer {
        self.logged_in()?;
        self.leave(now);
        Ok(Reply::Done(Done {}))
    }

    /// Ends the session, if there is one.
    pub(crate) fn leave(&mut self, now: Now) {
        let Some(LoggedIn {
            session, mailbox, ..
        }) = self.logged_in.take()
        else {
            return;
        };
        self.request_rate.log_out();
        let replaced = session.is_over();
        self.shared.sessions.remove(&session);
        self.shared.delivery.detach(&session, &mailbox);
        if !replaced {
            self.shared.delivery.show_online(&session, false);
        }
        if session.present && !replaced {
            // Nobody waits for this, and a crash may lose it.
            let seen = Change::Seen(session.user, now.millis);
            drop(self.shared.writer.submit(seen));
        }
    }
}

/// Refuses an account that the operator has disabled. Only whoever has proven to be its owner may
/// learn that.
pub(super) fn check_enabled(account: &Account) -> Result<(), Refusal> {
    match account.disabled {
        false => Ok(()),
        true => Err(disabled()),
    }
}

/// The operator has disabled the account.
pub(crate) fn disabled() -> Refusal {
    Refusal::new(
        Code::AccountDisabled,
        "the operator of the server has disabled this account; its messages wait, so ask the operator",
    )
}

/// Ends the connection of a session that is over, and tells its client why.
pub(crate) fn end_session(session: &Session, why: Refusal) {
    session.send_queue.answer(None, &Err(why));
    session.send_queue.flush();
    session.send_queue.stop_reading_for(Ending::Operator);
}

/// Ends the connection of a session that may not go on, and tells its client.
pub(crate) fn end_displaced(displaced: Option<&Session>, why: Ending) {
    if let Some(displaced) = displaced {
        displaced.send_queue.event(&Event::Replaced {});
        displaced.send_queue.flush();
        displaced.send_queue.stop_reading_for(why);
    }
}
