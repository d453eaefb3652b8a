//! What the vault on this device tells without a server: earlier messages, contacts, and an export.
//! Of a vault that is damaged, what is whole.

use super::LoginFlow;
use super::error::LoginError;
use super::prompt::{Prompt, known_password};
use super::unlock::{open, salvage};
use crate::client::messenger::contact_view;
use crate::client::vault::{
    BrowseError, Contact, Export, HistoryQuery, Loss, Opened, Vault, VaultError,
};
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
        self.read_offline(name, prompt, |vault| {
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
        })
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
        self.read_offline(name, prompt, |vault| {
            let unread = vault.unread_by_contact()?;
            let view = |contact: &Contact| {
                let count = unread.get(&contact.id).copied().unwrap_or(0);
                contact_view(contact, count)
            };
            Ok(vault.contacts().iter().map(view).collect())
        })
    }

    /// What another device needs from the vault that is on this one.
    ///
    /// # Errors
    /// There is no vault, or neither password nor recovery code opens it.
    pub(crate) fn export(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<Export, LoginError> {
        let secret = self.secret_of(name, prompt)?;
        Ok(self.open_offline(name, &secret)?.export(name)?)
    }

    /// What another device can use of a vault that is damaged, and what is known to be missing.
    ///
    /// # Errors
    /// There is no vault, or neither password nor recovery code opens it, or nothing can be taken
    /// out of it.
    pub(crate) fn export_damaged(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<(Export, Loss), LoginError> {
        let secret = self.secret_of(name, prompt)?;
        let closed = self.vault_file(&name)?.read_damaged()?;
        match salvage(closed, &secret)? {
            Opened::Open(salvaged) => Ok((salvaged.export(name)?, salvaged.loss())),
            Opened::WrongKey(_) => Err(LoginError::WrongPassword),
        }
    }

    /// Reads a vault; one that is damaged as far as it is whole, behind a warning that says so.
    fn read_offline(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
        read: impl Fn(&Vault) -> Result<Vec<ViewEvent>, LoginError>,
    ) -> Result<Vec<ViewEvent>, LoginError> {
        let secret = self.secret_of(name, prompt)?;
        let vault = self.open_offline(name, &secret);
        let (path, what) = match vault.and_then(|vault| read(&vault)) {
            Err(LoginError::Vault(VaultError::Damaged(path, what))) => (path, what),
            done => return done,
        };
        let closed = self.vault_file(&name)?.read_damaged()?;
        let salvaged = match salvage(closed, &secret)? {
            Opened::Open(salvaged) => salvaged,
            Opened::WrongKey(_) => return Err(LoginError::WrongPassword),
        };
        let mut events = vec![ViewEvent::warning(format!(
            "the vault {} is damaged ({what}). What follows is what is whole of it ({}); there may have been \
             more, and some of it may be older than what you saw last. Nobody counts as verified. To go on, take \
             it out with: client vault export --damaged FILE",
            path.display(),
            salvaged.loss()
        ))];
        events.extend(read(&salvaged.vault)?);
        Ok(events)
    }

    /// The password or recovery code of the vault on this device.
    fn secret_of(
        &self,
        name: UserName,
        prompt: &mut dyn Prompt,
    ) -> Result<zeroize::Zeroizing<String>, LoginError> {
        match self.vault_file(&name)?.exists() {
            true => known_password(&name, prompt),
            false => Err(LoginError::Refused(format!(
                "there is no vault of {name} at {} here",
                self.endpoint.place().as_str()
            ))),
        }
    }

    /// Opens the vault that is on this device, without asking the server anything.
    fn open_offline(&self, name: UserName, secret: &str) -> Result<Vault, LoginError> {
        match open(self.vault_file(&name)?.read()?, secret)? {
            Opened::Open(unlocked) => Ok(unlocked.vault),
            Opened::WrongKey(_) => Err(LoginError::WrongPassword),
        }
    }
}
