//! What the vault on this device tells without a server: earlier messages, and contacts.

use super::LoginFlow;
use super::error::LoginError;
use super::prompt::Prompt;
use crate::client::messenger::contact_view;
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

/// Which messages of the history are wanted.
#[derive(Debug, Default)]
pub(crate) struct HistoryQuery {
    /// Those with this person.
    pub with: Option<UserName>,
    /// At most so many, the latest.
    pub count: Option<usize>,
    /// Those from this moment on: milliseconds since 1970.
    pub from: Option<u64>,
    /// Those behind the message whose id begins like this.
    pub behind: Option<String>,
    /// Those before the message whose id begins like this.
    pub before: Option<String>,
}

impl LoginFlow {
    /// The messages that a query asks for, the oldest first.
    ///
    /// # Errors
    /// The vault can't be opened, or has no such person or message.
    pub(crate) fn history(
        &self,
        name: UserName,
        query: &HistoryQuery,
        prompt: &mut dyn Prompt,
    ) -> Result<Vec<ViewEvent>, LoginError> {
        let vault = self.open_offline(name, prompt)?;
        let with = match query.with {
            None => None,
            Some(with) => match vault.contact(&with) {
                Some(contact) => Some(contact.id),
                None => {
                    return Err(LoginError::NotFound(format!(
                        "there are no messages with {with}"
                    )));
                }
            },
        };
        let place = |id: &Option<String>| match id {
            None => Ok(None),
            Some(id) => match vault.find_message(Some(id))? {
                Some(message) => Ok(Some(message.seq)),
                None => Err(LoginError::NotFound(format!(
                    "there is no message with the id {id}"
                ))),
            },
        };
        let (behind, before) = (place(&query.behind)?, place(&query.before)?);
        let count = query.count.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for message in vault.history(with, u32::MAX)?.into_iter().rev() {
            let fits = behind.is_none_or(|seq| message.seq > seq)
                && before.is_none_or(|seq| message.seq < seq)
                && query.from.is_none_or(|from| message.at >= from);
            if found.len() >= count {
                break;
            }
            if fits && let Some(contact) = vault.contact_by_id(message.contact) {
                found.push(message.event(contact));
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Everyone known, by name.
    ///
    /// # Errors
    /// The vault can't be opened.
    pub(crate) fn contacts(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<Vec<ViewEvent>, LoginError> {
        let vault = self.open_offline(name, prompt)?;
        Ok(vault.contacts().iter().map(contact_view).collect())
    }
}
