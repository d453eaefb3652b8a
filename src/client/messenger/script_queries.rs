//! What scripts ask for. They pull: the answers are values, so a script that reads slowly stops
//! nothing here, and what it has not read yet stays unread in the vault.

use std::sync::mpsc::SyncSender;

use super::Messenger;
use super::command::{Backlog, CommandError};
use crate::client::view::{ViewEvent, Written};
use crate::protocol::reply::Fetched;
use crate::protocol::request::Fetch;
use crate::protocol::{MessageId, Request, UserName};

/// How many of the latest messages with somebody are searched for one that was just sent.
const LATEST: u32 = 64;

type Done = std::result::Result<(), CommandError>;

impl Messenger {
    /// Answers with received messages, each with what marks it as read.
    pub(super) fn answer_unread(
        &mut self,
        backlog: &Backlog,
        found: &SyncSender<Vec<(ViewEvent, Written)>>,
    ) -> Done {
        let messages = match &backlog.behind {
            None => self.vault.all_unread()?,
            Some(id) => {
                let Some(known) = self.vault.find_message(Some(id))? else {
                    return Err(CommandError::Refused(format!(
                        "there is no message with the id {id}"
                    )));
                };
                let mut messages = self.vault.history(None, u32::MAX)?;
                messages.retain(|message| message.seq > known.seq && !message.record.outgoing);
                messages
            }
        };
        let mut events = Vec::new();
        for message in messages.into_iter().take(backlog.limit) {
            if let Some(contact) = self.vault.contact_by_id(message.contact) {
                let written = Written::new(message.seq, &self.screen.reports);
                events.push((message.event(contact), written));
            }
        }
        self.screen.is_writing = true;
        // Whoever asked may be gone: the program is ending.
        let _gone = found.send(events);
        Ok(())
    }

    /// Answers with a message that was sent to somebody.
    pub(super) fn answer_sent(
        &mut self,
        to: &UserName,
        id: Option<MessageId>,
        found: &SyncSender<Option<ViewEvent>>,
    ) -> Done {
        let mut sent = None;
        if let Some(contact) = self.vault.contact(to) {
            let fits = |mid| id.is_none_or(|id| id == mid);
            let latest = self.vault.history(Some(contact.id), LATEST)?;
            let mut latest = latest.into_iter().rev();
            sent = latest
                .find(|message| message.record.outgoing && fits(message.mid))
                .map(|message| message.event(contact));
        }
        let _gone = found.send(sent);
        Ok(())
    }

    /// Fetches, and answers how many messages came and how many wait. They are in the vault by
    /// the time that the next command runs.
    pub(super) fn answer_fetched(
        &mut self,
        limit: usize,
        fetched: &SyncSender<(usize, u64)>,
    ) -> Done {
        let limit = Some(limit);
        let Fetched { sent, waiting } = self.ask(&Request::Fetch(Fetch { limit }))?;
        let _gone = fetched.send((sent, waiting));
        Ok(())
    }
}
