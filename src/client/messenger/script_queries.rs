//! What scripts ask for. They pull: the answers are values, so a script that reads slowly stops
//! nothing here, and what it has not read yet stays unread in the vault.

use super::command::{Answer, CommandError};
use super::search::HistoryQuery;
use super::{Messenger, search};
use crate::protocol::reply::Fetched;
use crate::protocol::request::Fetch;
use crate::protocol::{MessageId, Request, UserName};

/// How many of the latest messages with somebody are searched for one that was just sent.
const LATEST: u32 = 64;

type Result = std::result::Result<Answer, CommandError>;

impl Messenger {
    /// The place of a message, by the beginning of its id; without one, of the latest.
    pub(super) fn place_of(&self, id: Option<&str>) -> Result {
        let found = self.vault.find_message(id)?;
        match (found, id) {
            (Some(message), _) => Ok(Answer::Place(message.seq)),
            (None, None) => Ok(Answer::Place(0)),
            (None, Some(id)) => Err(CommandError::Refused(format!(
                "there is no message with the id {id}"
            ))),
        }
    }

    /// Received messages that are unread, and those behind a place.
    pub(super) fn received(&self, after: Option<i64>, limit: usize) -> Result {
        let mut messages = self.vault.all_unread()?;
        if let Some(after) = after {
            let mut behind = self.vault.received_after(after, limit)?;
            behind.retain(|message| messages.iter().all(|unread| unread.seq != message.seq));
            messages.append(&mut behind);
            messages.sort_by_key(|message| message.seq);
        }
        messages.truncate(limit);
        let placed = messages.into_iter().filter_map(|message| {
            let contact = self.vault.contact_by_id(message.contact)?;
            Some((message.seq, message.event(contact)))
        });
        Ok(Answer::Messages(placed.collect()))
    }

    /// Notes that messages were read; the vault has it with the next transaction.
    pub(super) fn note_read(&mut self, places: Vec<i64>) -> Answer {
        self.screen.is_writing = true;
        for place in places {
            // This thread holds the receiver.
            let _sent = self.screen.reports.send(place);
        }
        Answer::Done
    }

    /// Earlier messages.
    pub(super) fn earlier(&self, query: &HistoryQuery) -> Result {
        match search::search(&self.vault, query)? {
            Ok(messages) => Ok(Answer::Messages(messages)),
            Err(why) => Err(CommandError::Refused(why)),
        }
    }

    /// A message that was sent to somebody.
    pub(super) fn sent(&self, to: &UserName, id: MessageId) -> Result {
        let Some(contact) = self.vault.contact(to) else {
            return Ok(Answer::Message(None));
        };
        let latest = self.vault.history(Some(contact.id), LATEST)?;
        let mut sent = latest.into_iter().rev();
        let found = sent.find(|message| message.record.outgoing && message.mid == id);
        Ok(Answer::Message(
            found.map(|message| Box::new(message.event(contact))),
        ))
    }

    /// Fetches, and answers how many messages came and how many wait. They are in the vault by
    /// the time that the next command runs.
    pub(super) fn fetch_some(&mut self, limit: usize) -> Result {
        let limit = Some(limit);
        let Fetched { sent, waiting } = self.ask(&Request::Fetch(Fetch { limit }))?;
        let came = sent;
        Ok(Answer::Fetched { came, waiting })
    }
}
