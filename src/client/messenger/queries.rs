//! Commands that ask something and show the answer.

use super::command::{
    Answer, Asker, Command, CommandError, CommandFailure, SettingsChange, THAT_IS_YOU,
};
use super::{Audience, Messenger};
use crate::client::login::credentials;
use crate::client::vault::Result;
use crate::client::view::{End, ViewEvent};
use crate::clock;
use crate::protocol::Request;
use crate::protocol::reply::{AccountSettings, Done, Fetched};
use crate::protocol::request::{DeleteAccount, Fetch};

impl Messenger {
    /// Runs a command and says what it came to.
    pub(super) fn command(&mut self, command: Command, asker: Asker) -> Result<()> {
        if !matches!(command, Command::Send(..) | Command::MarkRead(_)) {
            self.save_progress()?;
        }
        if let Command::AwaitAnswers(limit) = command {
            self.awaiting_answers.push((asker, clock::now() + limit));
            return Ok(());
        }
        self.audience = match asker.window {
            None => Audience::Own,
            Some(output) => Audience::Window(output),
        };
        let outcome = self.answer(command);
        self.audience = Audience::All;
        let (outcome, result) = match outcome {
            Ok(answer) => (Ok(answer), Ok(())),
            Err(CommandError::Refused(why)) => (Err(why.into()), Ok(())),
            Err(CommandError::Disconnected(why)) => {
                let disconnected = true;
                (Err(CommandFailure { why, disconnected }), Ok(()))
            }
            Err(CommandError::Vault(error)) => (Err(error.to_string().into()), Err(error)),
        };
        // Whoever asked may be gone: the program is ending.
        let _gone = asker.done.send(outcome);
        result
    }

    fn answer(&mut self, command: Command) -> std::result::Result<Answer, CommandError> {
        match command {
            Command::Send(to, text) => self.send(&to, text).map(Answer::Sent),
            Command::Reply(text) => self.reply(text).map(Answer::Sent),
            Command::PlaceOf(id) => self.place_of(id.as_deref()),
            Command::Received { after, limit } => self.received(after, limit),
            Command::MarkRead(places) => Ok(self.note_read(places)),
            Command::Earlier(query) => self.earlier(&query),
            Command::Sent(to, id) => self.sent(&to, id),
            Command::FetchSome(limit) => self.fetch_some(limit),
            command => self.run_command(command).map(|()| Answer::Done),
        }
    }

    fn run_command(&mut self, command: Command) -> std::result::Result<(), CommandError> {
        match command {
            // The others ask the server or the vault, which know no such contact.
            Command::Verify(name, _)
            | Command::Accept(name)
            | Command::Reject(name)
            | Command::Renew(name)
            | Command::Block(name)
                if name == self.me.name =>
            {
                Err(CommandError::Refused(THAT_IS_YOU.to_owned()))
            }
            Command::SendUnencrypted(to, text) => self.send_unencrypted(&to, text),
            Command::Status(name) => self.status(&name),
            Command::Who(part) => self.who(part),
            Command::Search(part) => self.search(&part),
            Command::Fetch => self.fetch(),
            Command::Contacts => Ok(self.contacts()?),
            Command::History(query) => self.history(query),
            Command::Find(query) => self.find(query),
            Command::Delete(id) => self.delete(&id),
            Command::DeleteAll(name) => self.delete_all(&name),
            Command::Keep(days) => self.keep(days),
            Command::ShowKept => Ok(self.show_kept()?),
            Command::Outbox => Ok(self.outbox()?),
            Command::CancelHeld(which) => self.cancel_held(&which),
            Command::SendExpiredAgain(which) => self.send_expired_again(&which),
            Command::Verify(name, confirmed) => self.verify(&name, confirmed),
            Command::Accept(name) => self.accept(&name),
            Command::Reject(name) => self.reject(&name),
            Command::Invite => self.invite(),
            Command::Introduce(link) => self.follow_invitation(&link),
            Command::Renew(name) => self.renew(&name),
            Command::Info(id) => self.info(id.as_deref()),
            Command::Settings(change) => self.settings(change),
            Command::Block(name) => self.block(&name, true),
            Command::Unblock(name) => self.block(&name, false),
            Command::Blocked => self.list_blocked(),
            Command::WhatTheServerKnows => self.show_personal_data(),
            Command::Reconnect => self.reconnect_at_once(),
            Command::DeleteAccount { password } => self.delete_account(password.as_deref()),
            Command::Passwd { old, new, code } => self.passwd(&old, &new, code),
            Command::NewRecoveryCode { password, file } => {
                self.new_recovery_code(&password, file.as_deref())
            }
            Command::Logout => self.log_out(),
            Command::Yield => {
                self.yield_vault();
                Ok(())
            }
            // The callers take care of these.
            Command::AwaitAnswers(_)
            | Command::Send(..)
            | Command::PlaceOf(_)
            | Command::Received { .. }
            | Command::MarkRead(_)
            | Command::Reply(_)
            | Command::Earlier(_)
            | Command::Sent(..)
            | Command::FetchSome(_) => Ok(()),
        }
    }

    fn fetch(&mut self) -> std::result::Result<(), CommandError> {
        let fetched: Fetched = self.ask(&Request::Fetch(Fetch::default()))?;
        if fetched.sent == 0 && fetched.waiting == 0 {
            self.say(ViewEvent::plain("no missed messages"));
        }
        Ok(())
    }

    fn settings(&mut self, change: SettingsChange) -> std::result::Result<(), CommandError> {
        let change = match change {
            SettingsChange::Account(change) => change,
            SettingsChange::Receipts(on) => {
                self.set_receipts(on)?;
                return Ok(self.show_receipts()?);
            }
        };
        let wish = change.presence;
        let settings: AccountSettings = self.ask(&Request::Settings(change))?;
        self.note_blocked(&settings)?;
        self.note_presence(wish, &settings)?;
        let word = |on| if on { "on" } else { "off" };
        self.say(ViewEvent::plain(format!(
            "listed {:<18} found by /search",
            word(settings.listed)
        )));
        self.say(ViewEvent::plain(format!(
            "presence {:<16} others see online and last seen",
            word(settings.presence)
        )));
        self.show_receipts()?;
        self.say(ViewEvent::plain(format!(
            "refuse-unencrypted {:<6} take encrypted messages only",
            word(settings.refuse_unencrypted)
        )));
        let blocked: Vec<_> = settings.blocked.iter().map(ToString::to_string).collect();
        if !blocked.is_empty() {
            self.say(ViewEvent::plain(format!("blocked: {}", blocked.join(", "))));
        }
        Ok(())
    }

    fn show_receipts(&self) -> Result<()> {
        let device = self.vault.device()?;
        let word = match (device.no_receipts, device.hidden) {
            (true, _) => "off",
            (false, true) => "off, as presence is",
            (false, false) => "on",
        };
        self.say(ViewEvent::plain(format!(
            "receipts {word:<16} whom you wrote to learns what this device has decrypted"
        )));
        Ok(())
    }

    /// Deletes the account. The vault stays, with everything in it.
    fn delete_account(
        &mut self,
        password: Option<&String>,
    ) -> std::result::Result<(), CommandError> {
        if let Some(password) = password
            && !self.vault.opens_with(password)?
        {
            return Err(CommandError::Refused(
                "the password is wrong; nothing was deleted".to_owned(),
            ));
        }
        let Some(connection) = &mut self.server.connection else {
            return Err(CommandError::Disconnected(
                "there is no connection now; nothing was deleted".to_owned(),
            ));
        };
        // Each proof needs a challenge of its own.
        connection.hello(&mut self.events)?;
        let challenge = connection.challenge();
        let proof = credentials::delete_proof(&self.me.name, &self.login.credentials, &challenge);
        let request = Request::DeleteAccount(DeleteAccount { proof });
        let _done: Done = self.ask(&request)?;
        self.say(ViewEvent::warning(format!(
            "the account {} is deleted; your keys and your history stay in {} until you delete that file",
            self.me.name,
            self.vault.path().display()
        )));
        self.server.connection = None;
        self.over = true;
        Ok(())
    }

    fn log_out(&mut self) -> std::result::Result<(), CommandError> {
        // Without an answer the server notices by itself; nothing is lost.
        let answer = self.call::<Done>(&Request::Logout);
        if answer.is_ok() {
            let mut device = self.vault.device()?;
            device.session = None;
            self.vault.transact(|vault| vault.save_device(&device))?;
        }
        self.server.connection = None;
        self.over = true;
        Ok(())
    }

    /// Ends the session, and with it the hold on the vault. The server's side of it is left for
    /// the next login from this vault, which replaces it.
    fn yield_vault(&mut self) {
        self.end(End::ShutOut(
            "another client on this machine took this account over; log in again to take it back"
                .to_owned(),
        ));
    }

    pub(super) fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> std::result::Result<T, CommandError> {
        Ok(self.call(request)?)
    }
}
