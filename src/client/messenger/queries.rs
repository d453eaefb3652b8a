//! Commands that ask something and show the answer.

use super::command::{Answer, Asker, Command, CommandError, SettingsChange};
use super::{Audience, Messenger};
use crate::client::local_time;
use crate::client::vault::{Contact, DeliveryState, EncryptionStatus, HistoryEntry, Result};
use crate::client::view::{End, ViewEvent, plural};
use crate::clock;
use crate::protocol::reply::{AccountSettings, Done, Fetched, SearchPage, UserStatus};
use crate::protocol::request::{Fetch, Search, UserRef};
use crate::protocol::{ByteArray, Request, UserName};

/// How many messages `/history` shows.
const SHOWN: u32 = 50;

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
            Err(CommandError::Refused(why)) => (Err(why), Ok(())),
            Err(CommandError::Vault(error)) => (Err(error.to_string()), Err(error)),
        };
        // Whoever asked may be gone: the program is ending.
        let _gone = asker.done.send(outcome);
        result
    }

    fn answer(&mut self, command: Command) -> std::result::Result<Answer, CommandError> {
        match command {
            Command::Send(to, text) => self.send(&to, text).map(Answer::Sent),
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
            Command::SendUnencrypted(to, text) => self.send_unencrypted(&to, text),
            Command::Status(name) => self.status(&name),
            Command::Search(text) => self.search(text),
            Command::Fetch => self.fetch(),
            Command::Contacts => {
                self.contacts();
                Ok(())
            }
            Command::History(name) => self.history(name),
            Command::Verify(name, confirmed) => self.verify(&name, confirmed),
            Command::Accept(name) => self.accept(&name),
            Command::Reject(name) => self.reject(&name),
            Command::Invite => self.invite(),
            Command::Introduce(link) => self.follow_invitation(&link),
            Command::Renew(name) => self.renew(&name),
            Command::Info(id) => self.info(id.as_deref()),
            Command::Settings(change) => self.settings(change),
            Command::Block(name) => self.blocked(
                &Request::Block(UserRef { name }),
                format!("{name} is blocked"),
            ),
            Command::Unblock(name) => {
                let said = format!("{name} is not blocked any more");
                self.blocked(&Request::Unblock(UserRef { name }), said)
            }
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
            | Command::Earlier(_)
            | Command::Sent(..)
            | Command::FetchSome(_) => Ok(()),
        }
    }

    fn status(&mut self, name: &UserName) -> std::result::Result<(), CommandError> {
        let status: UserStatus = self.ask(&Request::Status(UserRef { name: *name }))?;
        self.say(ViewEvent::Status(status));
        Ok(())
    }

    fn search(&mut self, text: String) -> std::result::Result<(), CommandError> {
        let found: SearchPage = self.ask(&Request::Search(Search {
            text: text.clone(),
            after: None,
            limit: None,
        }))?;
        if found.users.is_empty() {
            self.say(ViewEvent::plain(format!(
                "nobody's name begins with \"{text}\""
            )));
        }
        for user in found.users {
            self.say(ViewEvent::Status(user));
        }
        if found.more {
            self.say(ViewEvent::quiet("there are more; search for a longer text"));
        }
        Ok(())
    }

    fn fetch(&mut self) -> std::result::Result<(), CommandError> {
        let fetched: Fetched = self.ask(&Request::Fetch(Fetch::default()))?;
        if fetched.sent == 0 && fetched.waiting == 0 {
            self.say(ViewEvent::plain("no missed messages"));
        }
        Ok(())
    }

    fn contacts(&self) {
        if self.vault.contacts().is_empty() {
            self.say(ViewEvent::plain(
                "no contacts yet; find people with /search TEXT",
            ));
        }
        for contact in self.vault.contacts() {
            self.say(contact_view(contact));
        }
    }

    fn history(&mut self, name: Option<UserName>) -> std::result::Result<(), CommandError> {
        let contact = match name {
            None => None,
            Some(name) => match self.vault.contact(&name) {
                Some(contact) => Some(contact.id),
                None => {
                    return Err(CommandError::Refused(format!(
                        "there are no messages with {name}"
                    )));
                }
            },
        };
        for message in self.vault.history(contact, SHOWN)? {
            if let Some(contact) = self.vault.contact_by_id(message.contact) {
                self.say(message.event(contact));
            }
        }
        Ok(())
    }

    fn info(&mut self, id: Option<&str>) -> std::result::Result<(), CommandError> {
        if id.is_some_and(|id| !id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(CommandError::Refused(
                "an id has only the digits 0-9 and a-f; /history shows messages".to_owned(),
            ));
        }
        let Some(message) = self.vault.find_message(id)? else {
            return Err(CommandError::Refused("there is no such message".to_owned()));
        };
        let Some(contact) = self.vault.contact_by_id(message.contact) else {
            return Err(CommandError::Refused("there is no such message".to_owned()));
        };
        self.say(message.event(contact));
        for (what, value) in details(&message) {
            self.say(ViewEvent::plain(format!("    {what:<10} {value}")));
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

    fn blocked(
        &mut self,
        request: &Request,
        said: String,
    ) -> std::result::Result<(), CommandError> {
        let settings: AccountSettings = self.ask(request)?;
        self.note_blocked(&settings)?;
        self.say(ViewEvent::good(said));
        Ok(())
    }

    /// Notes who is blocked: what they send meanwhile does not arrive, and is not missing.
    fn note_blocked(&mut self, settings: &AccountSettings) -> Result<()> {
        let contacts = self.vault.contacts();
        let mut changed: Vec<_> = contacts
            .iter()
            .filter(|contact| contact.blocked != settings.blocked.contains(&contact.name))
            .cloned()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.vault.transact(|vault| {
            for contact in &mut changed {
                contact.blocked = !contact.blocked;
                contact.was_blocked = true;
                vault.save_contact(contact)?;
            }
            Ok(())
        })
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
    ) -> std::result::Result<T, String> {
        self.call(request).map_err(|error| error.to_string())
    }
}

/// A contact as the list of contacts shows it.
pub(crate) fn contact_view(contact: &Contact) -> ViewEvent {
    ViewEvent::Contact {
        name: contact.name,
        known: contact.identity.is_some(),
        verified: contact.identity.is_some() && contact.verified,
        changed: contact.pending_identity.is_some(),
    }
}

/// What is known of a message, as names and values.
fn details(message: &HistoryEntry) -> Vec<(&'static str, String)> {
    let record = &message.record;
    let mut details = vec![("id", message.mid.to_string())];
    let mut time = |what, at: Option<u64>, who_says: &str| {
        if let Some(at) = at {
            details.push((what, format!("{}{who_says}", local_time::date_and_time(at))));
        }
    };
    time("written", record.sent_at, "");
    time("stored", record.stored_at, "");
    time("delivered", record.delivered_at, ", as the server says");
    let proven = ", as the other side's client has proven";
    time("received", record.received_at, proven);
    let form = match &record.form {
        EncryptionStatus::Encrypted => "encrypted end to end".to_owned(),
        EncryptionStatus::Unencrypted => {
            "NOT encrypted: the server and the network could read it".to_owned()
        }
        EncryptionStatus::Undecryptable(why) => format!("could not be decrypted: {why}"),
        EncryptionStatus::Held => "held: its sender's identity is not accepted".to_owned(),
    };
    details.push(("form", form));
    if let DeliveryState::Failed(why) = &record.state {
        details.push(("not sent", why.clone()));
    }
    if let Some(ByteArray(fingerprint)) = record.identity {
        let verified = match record.verified {
            true => "verified by hand",
            false => "not verified",
        };
        let digits = data_encoding::HEXLOWER.encode(&fingerprint[..8]);
        details.push((
            "identity",
            format!("{digits}… of the other side, {verified} then"),
        ));
    }
    if record.outgoing {
        let count = record.text.len() as u64;
        details.push((
            "length",
            format!("{count} {}", plural(count, "byte", "bytes")),
        ));
    }
    details
}
