//! What the vault on this device tells without a server: earlier messages, and contacts.

use super::LoginFlow;
use super::error::LoginError;
use super::prompt::Prompt;
use crate::client::messenger::contact_view;
use crate::client::messenger::search;
use crate::client::messenger::search::HistoryQuery;
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
        let found = search::search(&vault, query)?.map_err(LoginError::NotFound)?;
        Ok(found.into_iter().map(|(_, event)| event).collect())
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
