//! The way in and out: hello and its nonce, registering, logging in, leaving.

use std::sync::Arc;

use super::auth::{Challenge, random};
use super::{Handler, LoggedIn, Phase, not_logged_in};
use crate::protocol::ids::ByteArray;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::reply::{Answer, Done, Event, Greeting, Reply, Welcome};
use crate::protocol::request::{Hello, Request, SessionOptions};
use crate::protocol::{OLDEST_VERSION, VERSION};
use crate::server::delivery::Now;
use crate::server::delivery::sessions::{Candidate, OnlineElsewhere, Precedence, Session};
use crate::server::delivery::shared_mailbox::SharedMailbox;
use crate::server::net::send_queue::flush_set::FlushSet;
use crate::store::{Account, Change, Changed};

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
        Ok(Reply::Greeting(Greeting {
            server: "secure-chat".to_owned(),
            version: VERSION,
            oldest: OLDEST_VERSION,
            nonce: ByteArray(nonce),
            certificate: <[u8; 32]>::try_from(&*self.certificate).ok().map(ByteArray),
            max_line: self.shared.config.max_line,
        }))
    }

    /// What a proof has to sign; each nonce serves one attempt.
    pub(super) fn challenge(&mut self) -> Result<Challenge, Refusal> {
        match self.nonce.take() {
            Some(nonce) => Ok(Challenge {
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
    pub(super) fn enter(
        &mut self,
        id: Option<u64>,
        request: Request,
        now: Now,
        to_flush: &mut FlushSet,
    ) {
        let account = match &request {
            Request::Register(register) => Some(register.name),
            Request::Login(login) => Some(login.name),
            Request::PasswordRegister(login) | Request::PasswordLogin(login) => Some(login.name),
            _ => None,
        };
        match self.welcome(request, now) {
            Ok((session, own, wish, welcome)) => {
                // The welcome goes ahead of the messages.
                self.send_queue
                    .answer(id, &Ok(Reply::Welcome(Box::new(welcome))));
                let budget = (!wish.receive).then_some(0);
                let delivery = &self.shared.delivery;
                delivery.attach(&session, &own, self.envelopes, budget, to_flush);
                self.failed_logins = 0;
                self.phase = Phase::LoggedIn(LoggedIn {
                    session,
                    own,
                    recipient: None,
                });
            }
            Err(refusal) => {
                if let Some(account) = account {
                    self.count_failure(&refusal, account, now);
                }
                self.send_queue.answer(id, &Err(refusal));
            }
        }
    }

    fn welcome(
        &mut self,
        request: Request,
        now: Now,
    ) -> Result<(Arc<Session>, Arc<SharedMailbox>, SessionOptions, Welcome), Refusal> {
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
                let challenge = self.challenge()?;
                let account = self.accounts(now).register(&register, &challenge)?;
                (account, register.session)
            }
            Request::Login(login) => {
                let challenge = self.challenge()?;
                (self.accounts(now).login(&login, &challenge)?, login.session)
            }
            Request::PasswordRegister(login) => {
                let account = self.accounts(now).register_password(&login)?;
                (account, SessionOptions::default())
            }
            Request::PasswordLogin(login) => {
                let account = self
                    .accounts(now)
                    .login_password(&login.name, &login.password)?;
                let take_over = login.take_over;
                (
                    account,
                    SessionOptions {
                        take_over,
                        ..SessionOptions::default()
                    },
                )
            }
            _ => return Err(Refusal::new(Code::Internal, "not a login")),
        };
        let own = self.shared.delivery.mailbox(&account.name)?;
        let session = self.begin_session(&account, &wish)?;
        let welcome = self
            .describe(&account, &session, &own, now)
            .inspect_err(|_| {
                self.shared.sessions.remove(&session);
            })?;
        Ok((session, own, wish, welcome))
    }

    fn begin_session(
        &self,
        account: &Account,
        wish: &SessionOptions,
    ) -> Result<Arc<Session>, Refusal> {
        let candidate = Candidate {
            name: account.name,
            user: account.id,
            secret: ByteArray(random()?),
            send_queue: Arc::clone(&self.send_queue),
            present: wish.presence,
        };
        let precedence = match wish.replaces {
            _ if wish.take_over => Precedence::TakeOver,
            Some(secret) => Precedence::Resume(secret),
            None => Precedence::Polite,
        };
        let inserted = self.shared.sessions.insert(candidate, precedence);
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
            displaced.send_queue.event(&Event::Replaced {});
            displaced.send_queue.flush();
            // Its own thread ends the connection, with the news sent.
            displaced.send_queue.socket().close_reading();
        }
        Ok(session)
    }

    fn describe(
        &self,
        account: &Account,
        session: &Session,
        own: &Arc<SharedMailbox>,
        now: Now,
    ) -> Result<Welcome, Refusal> {
        let logins = match self.shared.writer.change(Change::CountLogin(account.id)) {
            Ok(Changed::Logins(logins)) => logins,
            // On a full disk people can still read what waits for them.
            Err(refusal) if !matches!(refusal.code, Code::Storage | Code::Damaged) => {
                return Err(refusal);
            }
            _ => account.logins,
        };
        let (envelopes, plain, notices) = self.shared.delivery.pending(own, now);
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
    pub(crate) fn leave(&mut self, now: Now) {
        let Phase::LoggedIn(logged_in) = std::mem::replace(&mut self.phase, Phase::Anonymous)
        else {
            return;
        };
        let session = &logged_in.session;
        let replaced = session.is_over();
        self.shared.sessions.remove(session);
        self.shared.delivery.detach(session, &logged_in.own);
        if session.present && !replaced {
            // Nobody waits for it, and it may be lost in a crash.
            drop(
                self.shared
                    .writer
                    .submit(Change::Seen(session.user, now.millis)),
            );
        }
    }

    pub(super) fn delete(&mut self, account: &Account, now: Now) -> Answer {
        let Phase::LoggedIn(LoggedIn { own, .. }) = &self.phase else {
            return Err(not_logged_in());
        };
        // From here on its mail is refused, before it is deleted: what was
        // accepted in between would stay behind for nobody.
        own.lock().recipient.deleted = true;
        let deleted = self.shared.writer.change(Change::Delete(account.id));
        if deleted.is_err() {
            own.lock().recipient.deleted = false;
        }
        deleted?;
        self.leave(now);
        Ok(Reply::Done(Done {}))
    }
}
