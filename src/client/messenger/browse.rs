//! Commands about the history on this device: reading it, searching it, and deleting from it.

use super::Messenger;
use super::command::CommandError;
use crate::client::local_time;
use crate::client::vault::{
    DeliveryState, EncryptionStatus, HistoryEntry, HistoryPage, HistoryQuery, Result,
};
use crate::client::view::{SessionChange, ViewEvent, plural};
use crate::clock;
use crate::protocol::{ByteArray, UserName};

/// A day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

type Done = std::result::Result<(), CommandError>;

impl Messenger {
    /// `/history`
    pub(super) fn history(&mut self, query: HistoryQuery) -> Done {
        let page = self.page(&query)?;
        let whom = match query.with {
            Some(name) => format!(" {name}"),
            None => String::new(),
        };
        self.list(&page);
        let messages = &page.messages;
        self.say(ViewEvent::quiet(match (&query.from, page.more) {
            (_, _) if messages.is_empty() => "there are no such messages".to_owned(),
            (Some(_), true) => {
                let last = messages.last().map(|last| last.mid.beginning());
                format!(
                    "later ones: /history{whom} since {}",
                    last.unwrap_or_default()
                )
            }
            (Some(_), false) => "that is the latest message".to_owned(),
            (None, true) => {
                let first = messages.first().map(|first| first.mid.beginning());
                format!(
                    "earlier ones: /history{whom} before {}",
                    first.unwrap_or_default()
                )
            }
            (None, false) => "the first of them is the very first message".to_owned(),
        }));
        Ok(())
    }

    /// `/find`
    pub(super) fn find(&mut self, mut query: HistoryQuery) -> Done {
        // Behind the word "in" may stand something else than a contact's name.
        if let Some(name) = query.with
            && self.vault.contact(&name).is_none()
        {
            let text = query.containing.unwrap_or_default();
            query.containing = Some(format!("{text} in {name}"));
            query.with = None;
        }
        let whom = |word: &str| match query.with {
            Some(name) => format!(" {word} {name}"),
            None => String::new(),
        };
        let page = self.page(&query)?;
        let text = query.containing.as_deref().unwrap_or_default();
        self.list(&page);
        match (page.messages.first(), page.more) {
            (None, _) => {
                let whom = whom("with");
                self.say(ViewEvent::plain(format!("no message{whom} has \"{text}\"")));
            }
            (Some(first), true) => self.say(ViewEvent::quiet(format!(
                "earlier ones: /find {text}{} before {}",
                whom("in"),
                first.mid.beginning()
            ))),
            (Some(_), false) => {}
        }
        if let Some(hit) = page.messages.last() {
            let hit = hit.mid.beginning();
            self.say(ViewEvent::quiet(format!(
                "around a hit, by its id: /history before {hit}, /history since {hit}"
            )));
        }
        Ok(())
    }

    /// A page of the history, while the prompt shows how far the search for it is.
    pub(super) fn page(
        &self,
        query: &HistoryQuery,
    ) -> std::result::Result<HistoryPage, CommandError> {
        let tell = |progress| {
            self.display
                .session_changed(SessionChange::Progress(progress));
        };
        let page = self
            .vault
            .browse(query, &mut |done, total| tell(Some((done, total))));
        tell(None);
        Ok(page?)
    }

    fn list(&self, page: &HistoryPage) {
        for message in &page.messages {
            self.say(self.listed(message));
        }
    }

    /// A message with its id.
    fn listed(&self, message: &HistoryEntry) -> ViewEvent {
        let Some(contact) = self.vault.contact_by_id(message.contact) else {
            return ViewEvent::plain("(a message with nobody that is known)");
        };
        let mut event = message.event(contact);
        if let ViewEvent::Message { listed, .. } = &mut event {
            *listed = true;
        }
        event
    }

    /// `/info [ID]`
    pub(super) fn info(&mut self, id: Option<&str>) -> Done {
        let message = match id {
            Some(id) => self.vault.message_with_id(id)?,
            None => {
                let latest = self.vault.find_message(None)?;
                latest.ok_or_else(|| {
                    CommandError::Refused("there is no message yet in the history".to_owned())
                })?
            }
        };
        self.say(self.listed(&message));
        for (what, value) in details(&message) {
            self.say(ViewEvent::plain(format!("    {what:<10} {value}")));
        }
        Ok(())
    }

    /// `/delete ID`
    pub(super) fn delete(&mut self, id: &str) -> Done {
        let message = self.vault.message_with_id(id)?;
        let event = self.listed(&message);
        let seq = message.seq;
        if !self.vault.transact(|vault| vault.forget_message(seq))? {
            return Err(CommandError::Refused(
                "this message is not finished, so it was not deleted: /outbox cancel gives up one \
                 that waits to be sent, /accept or /reject decide about one that is held"
                    .to_owned(),
            ));
        }
        self.say(event);
        if let Some(contact) = self.vault.contact_by_id(message.contact) {
            let deleted = SessionChange::Deleted(contact.name, Some(message.mid));
            self.display.session_changed(deleted);
        }
        self.say(ViewEvent::good("deleted from this device"));
        Ok(())
    }

    /// `/delete NAME all`
    pub(super) fn delete_all(&mut self, name: &UserName) -> Done {
        let Some(contact) = self.vault.contact(name).map(|contact| contact.id) else {
            return Err(CommandError::Refused(format!(
                "there are no messages with {name}"
            )));
        };
        let (gone, kept) = self.vault.forget_messages_with(contact)?;
        self.display
            .session_changed(SessionChange::Deleted(*name, None));
        self.say(ViewEvent::good(format!(
            "{gone} {} with {name} {} deleted from this device",
            plural(gone, "message", "messages"),
            plural(gone, "is", "are"),
        )));
        if kept > 0 {
            self.say(ViewEvent::warning(format!(
                "{kept} {}, because they wait to be sent, are held, or can't be read",
                plural(kept, "stays", "stay")
            )));
        }
        Ok(())
    }

    /// `/keep TIME`: deletes what is older, and notes it for later.
    pub(super) fn keep(&mut self, days: Option<u32>) -> Done {
        let mut device = self.vault.device()?;
        device.keep_days = days;
        self.vault.transact(|vault| vault.save_device(&device))?;
        let Some(days) = days else {
            self.say(ViewEvent::good("messages are kept for ever on this device"));
            return Ok(());
        };
        let before = oldest_kept(days);
        let (mut from, mut count) = (i64::MIN, 0);
        loop {
            let expired = self.vault.expire(from, before, clock::unix_ms())?;
            count += expired.count;
            match expired.next {
                Some(next) => from = next,
                None => break,
            }
        }
        self.retention.start_over(clock::now());
        self.say(ViewEvent::good(format!(
            "messages are kept for {days} {} on this device; {count} older {} deleted",
            plural(days.into(), "day", "days"),
            plural(count, "one is", "ones are"),
        )));
        Ok(())
    }

    /// `/keep`
    pub(super) fn show_kept(&self) -> Result<()> {
        let days = self.vault.device()?.keep_days;
        self.say(ViewEvent::plain(match days {
            None => {
                "messages are kept for ever on this device; /keep 90d deletes older ones".to_owned()
            }
            Some(days) => format!(
                "messages are kept for {days} {} on this device; /keep forever ends that",
                plural(days.into(), "day", "days")
            ),
        }));
        Ok(())
    }
}

/// The moment before which messages are deleted that are kept for so many days: milliseconds
/// since 1970.
pub(super) fn oldest_kept(days: u32) -> u64 {
    clock::unix_ms().saturating_sub(u64::from(days) * DAY_MS)
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
    match &record.state {
        DeliveryState::Failed(why) => details.push(("not sent", why.clone())),
        DeliveryState::Expired => {
            let why = "the recipient did not fetch it for longer than the server keeps mail, as the server says";
            details.push(("expired", why.to_owned()));
        }
        _ => {}
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
