//! Staying connected: the first moments after a login, the clock, a lost
//! connection and the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::Messenger;
use super::batch::Batch;
use super::command::{Answer, CommandError, CommandFailure};
use super::send::Awaited;
use super::session_kind::SessionKind;
use super::{restored, retry};
use crate::client::login::credentials;
use crate::client::net::connection::Connection;
use crate::client::net::endpoint::REPLACED;
use crate::client::net::error::{CallError, Lost, said};
use crate::client::vault::{Result, ToldGeneration};
use crate::client::view::{End, SessionChange, ViewEvent, plural};
use crate::clock;
use crate::protocol::reply::Welcome;
use crate::protocol::request::{Ack, Sender, SessionOptions};
use crate::protocol::{Code, MessageId, Refusal, Request, limits};

/// How long to wait before the first attempt to connect again; doubled each time.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest wait between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// After this silence the server is asked whether it is there, and after twice
/// that the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(45);

/// How long to leave a server alone that could not take a message.
const RESEND_DELAY: Duration = Duration::from_secs(5);

impl Messenger {
    /// What follows a login, the first one and every later one. The welcome was
    /// taken note of by whoever logged in.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.publish_people();
        self.give_up_changed()?;
        if self.login.kind != SessionKind::OneShot {
            self.show_unread()?;
        }
        let welcome = self.login.welcome.take();
        if let Some(welcome) = welcome {
            self.greet(&welcome)?;
        }
        Ok(())
    }

    /// What was taken before a kill and perhaps not shown.
    fn show_unread(&mut self) -> Result<()> {
        let unread = self.vault.all_unread()?;
        if unread.is_empty() {
            return Ok(());
        }
        let count = unread.len() as u64;
        self.say(ViewEvent::plain(format!(
            "{count} {} when this client ended the last time, perhaps unseen:",
            plural(
                count,
                "message had just arrived",
                "messages had just arrived"
            ),
        )));
        for message in unread {
            if let Some(contact) = self.vault.contact_by_id(message.contact) {
                let mut event = message.event(contact);
                if let ViewEvent::Message { state, .. } = &mut event {
                    *state = "again";
                }
                self.show_message(event, message.seq);
            }
        }
        Ok(())
    }

    fn greet(&mut self, welcome: &Welcome) -> Result<()> {
        self.login.session = welcome.session;
        // What is in the outbox now may have been sent on an earlier connection.
        self.save_progress()?;
        self.outbox.sent_through = 0;
        self.outbox.again_through = self.vault.last_in_outbox();
        let waiting = welcome.envelopes + welcome.plain;
        let device = self.vault.device()?;
        let ours = device.logins + device.tried.max(1);
        let elsewhere = match device.logins {
            0 => 0,
            _ => welcome.logins.saturating_sub(ours),
        };
        self.me.age = self.vault.age(clock::unix_ms())?;
        self.aging.logged_in(waiting, clock::now());
        let copied = self.foreign_prekeys(welcome)?;
        let proven = copied && self.copy_is_proven()?;
        if elsewhere > 0 {
            self.warn_of_logins(elsewhere, copied);
        }
        let mut device = self.vault.device()?;
        // It may have forgotten the keys of the time in between, and hand out others a second time.
        let went_back =
            device.logins > 0 && (welcome.epoch != device.epoch || welcome.logins < device.logins);
        // One that was just made or imported has no session to send in.
        let (mut is_behind, mut told) = (false, 0);
        if let Some(claim) = told_generation(welcome)
            && self.vault.is_own_generation(&claim, device.told_proof)?
        {
            told = claim.generation;
            is_behind = device.logins > 0 && self.vault.is_behind(&claim, device.told_proof)?;
        }
        device.registered = true;
        device.logins = welcome.logins;
        device.epoch = welcome.epoch;
        device.tried = 0;
        device.told_proof = true;
        device.session = Some(welcome.session);
        device.hidden |= !welcome.settings.presence;
        self.confirmations.set(&device);
        self.me.after_restore |= went_back;
        let now = clock::unix_ms();
        let me = &self.me;
        let effects = self.vault.transact(|vault| {
            vault.save_device(&device)?;
            vault.go_behind(told);
            vault.correct_renewals(now)?;
            if is_behind || proven {
                vault.renew_all()?;
            }
            vault.forget_control_messages(now)?;
            let mut batch = Batch::new(vault, me, now);
            batch.wanted_of = batch.vault.wanting();
            // The answers may have gone to the copy.
            batch.ask_again = elsewhere > 0;
            retry::ask_for_all(&mut batch)?;
            if went_back {
                restored::send_uncovered(&mut batch)?;
            }
            batch.finish()
        })?;
        if is_behind {
            self.say(ViewEvent::warning(
                "this vault is older than the one that logged in last: it was put back from a copy, or \
                 another copy of it was used; messages go out in new sessions, and what was written in \
                 between is not in this vault",
            ));
        }
        if went_back {
            self.say(ViewEvent::warning(
                "the server was restored from a backup: messages that it had not delivered since then may \
                 be lost, and what people changed since then may be undone; your keys are published anew",
            ));
        }
        self.keep_published(welcome, went_back)?;
        self.carry_out(effects);
        self.begin_missed(waiting);
        // A server that has forgotten messages would be taken to have delivered them.
        if !went_back {
            self.ask_outcomes()?;
        }
        for (_, contact) in self.vault.postponed()? {
            self.look_again(contact);
        }
        self.send_postponed()
    }

    fn warn_of_logins(&self, count: u64, copied: bool) {
        let were = match count {
            1 => "was one login".to_owned(),
            _ => format!("were {count} logins"),
        };
        self.say(ViewEvent::warning(match copied {
            true => format!(
                "since the last login from here there {were} with a copy of this device's keys; \
                 if that was you, use one of the two from now on, since each gets only the messages that \
                 arrive while it is logged in; if it wasn't, change the password with /passwd and tell your contacts"
            ),
            false => format!(
                "since the last login from here there {were} of this account from elsewhere (another program or the console); \
                 if that wasn't you, change the password with /passwd"
            ),
        }));
    }

    /// Asks the server and waits.
    pub(super) fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> std::result::Result<T, CallError> {
        self.empty_log_in_time();
        match &mut self.server.connection {
            Some(connection) => connection.call(&mut self.events, request),
            None => Err(CallError::Lost(Lost::NotConnected)),
        }
    }

    /// Acknowledges messages that are safe in the vault.
    pub(super) fn acknowledge(&mut self, from: Sender, ids: Vec<MessageId>) {
        for some in ids.chunks(limits::MAX_IDS) {
            let Some(connection) = &mut self.server.connection else {
                return;
            };
            let ack = Request::Ack(Ack {
                from,
                ids: some.to_vec(),
            });
            // Without the ack the server sends them again, and they are known then.
            if let Ok(id) = connection.post(&ack) {
                self.server
                    .awaited
                    .insert(id, Awaited::Quiet("acknowledging messages"));
            }
        }
    }

    /// Does what is due by the clock.
    pub(super) fn tick(&mut self) -> Result<()> {
        self.empty_log_in_time();
        let now = clock::now();
        if self.server.connection.is_none() && !self.over && now >= self.server.retry_at {
            self.reconnect()?;
        }
        if self.outbox.resend_at.is_some_and(|at| now >= at) && self.under_way() == 0 {
            self.save_progress()?;
            self.outbox.resend_at = None;
            self.outbox.sent_through = 0;
            self.send_postponed()?;
        }
        self.grow_older(now)?;
        self.delete_expired(now)?;
        self.say_gaps(Some(now));
        if self.prekeys.few.is_some() && self.server.connection.is_some() {
            self.replenish(now)?;
        }
        self.check_silence(now);
        self.check_answered(now)
    }

    fn check_silence(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.server.heard_at);
        let Some(connection) = &mut self.server.connection else {
            return;
        };
        if silence > SILENCE * 2 {
            connection.close();
        } else if silence > SILENCE && !self.server.pinged {
            self.server.pinged = true;
            if let Ok(id) = connection.post(&Request::Ping) {
                self.server
                    .awaited
                    .insert(id, Awaited::Quiet("asking whether the server is there"));
            }
        }
    }

    fn check_answered(&mut self, now: Instant) -> Result<()> {
        if self.awaiting_answers.is_empty() {
            return Ok(());
        }
        // What is held until an identity is accepted can take any time.
        let answered = self.outbox.accepted.is_empty() && !self.is_busy()?;
        let waiting = std::mem::take(&mut self.awaiting_answers);
        let (due, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(_, deadline)| answered || now >= *deadline);
        self.awaiting_answers = waiting;
        for (asker, _) in due {
            let failed = match asker.window {
                None => std::mem::take(&mut self.outbox.failed),
                // It asks for the state of its own message.
                Some(_) => 0,
            };
            let outcome = match (self.unanswered_sentence()?, failed) {
                (Some(why), _) => Err(CommandFailure {
                    why,
                    disconnected: self.server.connection.is_none(),
                }),
                (None, 0) => Ok(Answer::Done),
                (None, count) => Err(format!("{count} of the messages could not be sent").into()),
            };
            let _gone = asker.done.send(outcome);
        }
        Ok(())
    }

    /// Sends again, a little later, what the server could not take.
    pub(super) fn resend_later(&mut self) {
        if self.outbox.resend_at.is_none() {
            self.outbox.resend_at = Some(clock::now() + RESEND_DELAY);
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, why: &str) {
        if self.server.connection.take().is_none() || self.over {
            return;
        }
        for (_, awaited) in self.server.awaited.drain() {
            if let Awaited::Receipt(confirms) = awaited {
                self.confirmations.add(confirms);
            }
        }
        self.server.retry_at = clock::now() + FIRST_DELAY;
        self.server.retry_delay = FIRST_DELAY;
        self.end_progress();
        self.lost_at = Some(clock::unix_ms());
        self.display
            .session_changed(SessionChange::Connected(false));
        self.say(ViewEvent::warning(format!(
            "connection lost ({why}); trying again, at longer and longer intervals; /reconnect tries at once"
        )));
    }

    /// Tries again later. The person was told of the outage once, and the prompt shows it.
    fn later(&mut self) {
        let delay = (self.server.retry_delay * 2).min(LONGEST_DELAY);
        self.server.retry_at = clock::now() + delay;
        self.server.retry_delay = delay;
    }

    /// `/reconnect`
    pub(super) fn reconnect_at_once(&mut self) -> std::result::Result<(), CommandError> {
        if self.server.connection.is_some() {
            self.lost("you asked for a new one");
        }
        let told = self.vault.note_login_tried()?;
        self.empty_log();
        match self.log_in_again(told) {
            Ok((connection, welcome)) => {
                self.say_connected();
                Ok(self.go_on_over(connection, &welcome)?)
            }
            Err(error) => {
                let why = error.to_string();
                self.not_reconnected(error)?;
                Err(CommandError::Disconnected(why))
            }
        }
    }

    fn say_connected(&mut self) {
        let since = self.lost_at.take();
        let minutes = since.map_or(0, |at| clock::unix_ms().saturating_sub(at) / 60_000);
        self.say(ViewEvent::good(match minutes {
            0 => "connected again".to_owned(),
            count => format!(
                "connected again after {count} {}",
                plural(count, "minute", "minutes")
            ),
        }));
    }

    fn reconnect(&mut self) -> Result<()> {
        let told = self.vault.note_login_tried()?;
        // It may take longer than the log may keep anything.
        self.empty_log();
        match self.log_in_again(told) {
            Ok((connection, welcome)) => {
                self.say_connected();
                self.go_on_over(connection, &welcome)
            }
            Err(error) => self.not_reconnected(error),
        }
    }

    /// What follows an attempt to connect again that failed.
    fn not_reconnected(&mut self, error: CallError) -> Result<()> {
        match error {
            CallError::Lost(_) => {
                self.later();
                Ok(())
            }
            CallError::Refused(refusal) if refusal.code == Code::AlreadyOnline => {
                self.end(End::ShutOut(
                    "this account was logged in from elsewhere while the connection was lost; log in again to take it back"
                        .to_owned(),
                ));
                Ok(())
            }
            CallError::Refused(refusal) if refusal.code.retry() => {
                self.later();
                Ok(())
            }
            CallError::Refused(refusal) => self.refused_again(&refusal),
        }
    }

    /// Goes on over a new connection, which is logged in.
    pub(super) fn go_on_over(&mut self, connection: Connection, welcome: &Welcome) -> Result<()> {
        self.server.connection = Some(connection);
        self.display.session_changed(SessionChange::Connected(true));
        self.server.awaited.clear();
        self.server.heard_at = clock::now();
        self.server.pinged = false;
        self.outbox.resend_at = None;
        self.settle_change()?;
        self.greet(welcome)
    }

    /// A login that worked before is refused: perhaps a change of password that
    /// was under way did, or did not, reach the server.
    fn refused_again(&mut self, refusal: &Refusal) -> Result<()> {
        let change = self.login.change.as_mut();
        match change.and_then(|change| change.other.take()) {
            Some(other) if refusal.code == Code::WrongLogin => {
                self.login.credentials = other;
                Ok(())
            }
            _ => {
                self.end(End::ShutOut(format!(
                    "this client is let in no more: {}",
                    said(refusal)
                )));
                Ok(())
            }
        }
    }

    /// Another certificate, in a café's network perhaps, may be gone at the next
    /// try, so it counts as a lost connection; nothing is sent until it is. The same
    /// holds for a refusal in the open, which anybody on the way can forge.
    fn connect_again(&mut self) -> std::result::Result<Connection, CallError> {
        let opened = self.login.endpoint.open(&mut |_| false);
        let opened = opened.map_err(|error| CallError::Lost(Lost::NotOpened(Arc::new(error))))?;
        if opened.is_replaced {
            self.say(ViewEvent::quiet(REPLACED));
        }
        Connection::over(opened, &mut self.events)
    }

    /// `told` is what [`Vault::note_login_tried`] gave.
    ///
    /// [`Vault::note_login_tried`]: crate::client::vault::Vault::note_login_tried
    pub(super) fn log_in_again(
        &mut self,
        told: Option<ToldGeneration>,
    ) -> std::result::Result<(Connection, Welcome), CallError> {
        let mut connection = self.connect_again()?;
        let wish = SessionOptions {
            replaces: Some(self.login.session),
            vault: told.map(|told| told.generation),
            vault_proof: told.and_then(|told| told.proof),
            ..self.login.kind.options()
        };
        let login = credentials::login_request(
            &self.me.name,
            &self.login.credentials,
            &connection.challenge(),
            wish,
        );
        let welcome = connection.call(&mut self.events, &login)?;
        Ok((connection, welcome))
    }
}

/// The latest generation that the server says a vault of this account has told it.
fn told_generation(welcome: &Welcome) -> Option<ToldGeneration> {
    let proof = welcome.vault_proof;
    let told = |generation| ToldGeneration { generation, proof };
    welcome.vault.map(told)
}
