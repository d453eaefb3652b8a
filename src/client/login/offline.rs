//! What the vault on this device tells without a server: earlier messages, and contacts.

use super::LoginFlow;
use super::error::LoginError;
use super::prompt::Prompt;
use crate::client::messenger::contact_view;
use crate::client::vault::{BrowseError, Contact, HistoryQuery};
use crate::client::view::ViewEvent;
use crate::protocol::UserName;

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
        let page = vault
            .browse(query, &mut |_, _| {})
            .map_err(|error| match error {
                BrowseError::Vault(error) => LoginError::Vault(error),
                other => LoginError::NotFound(other.to_string()),
            })?;
        let messages = page.messages.iter();
        let events = messages.filter_map(|message| {
            let contact = vault.contact_by_id(message.contact)?;
            Some(message.event(contact))
        });
        Ok(events.collect())
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
        let unread = vault.unread_by_contact()?;
        let view = |contact: &Contact| {
            let count = unread.get(&contact.id).copied().unwrap_or(0);
            contact_view(contact, count)
        };
        Ok(vault.contacts().iter().map(view).collect())
    }
}
