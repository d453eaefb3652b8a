//! Contacts with the identities they are known by, and the ratchet sessions with them.
//!
//! Contacts are few, so all are kept in memory and their names stay unreadable on
//! disk without an index over names.

use serde::{Deserialize, Serialize};

use super::table::Table;
use super::{Result, Vault};
use crate::crypto::ratchet::session_set::SessionSet;
use crate::protocol::ids::Handle;
use crate::protocol::request::Identity;
use crate::protocol::{ByteArray, UserName};

/// Somebody this account has written to or heard from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The vault's number for them.
    #[serde(skip)]
    pub id: i64,
    /// Their account.
    pub name: UserName,
    /// The identity they are known by, pinned at first use or by hand.
    pub identity: Option<Identity>,
    /// Whether the safety number was compared by the person.
    pub verified: bool,
    /// Another identity that has proven itself, or that the server publishes, for
    /// the person to accept or to reject.
    #[serde(rename = "offered")]
    pub pending_identity: Option<Identity>,
    /// The server published another identity when it was asked last, so nothing is
    /// encrypted for them until it publishes the known one again.
    #[serde(rename = "held", default)]
    pub paused: bool,
    /// The fingerprints of identities that the person rejected, the latest last.
    #[serde(default)]
    pub rejected: Vec<ByteArray<32>>,
    /// How many messages under a rejected identity were dropped since it was rejected.
    #[serde(default)]
    pub dropped: u64,
    /// The next message to them starts another session, for this reason.
    #[serde(default)]
    pub renewal: Option<Renewal>,
    /// When a session was started that the person had not asked for: milliseconds since
    /// 1970. Another is not until a day later.
    #[serde(default)]
    pub renewed_at: u64,
    /// They are blocked, as far as this client was told.
    #[serde(default)]
    pub blocked: bool,
    /// They were blocked since something of theirs arrived the last time.
    #[serde(default)]
    pub was_blocked: bool,
    /// How many messages of theirs the server says it has removed since something of theirs arrived
    /// the last time.
    #[serde(default)]
    pub missed: u64,
    /// When the contact was imported without sessions, by this client's clock: milliseconds since
    /// 1970. What they sent before that may come still, and can't be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<u64>,
    /// The person has written to them.
    #[serde(default)]
    pub written_to: bool,
    /// How often they were asked to send something again since they were last
    /// understood.
    #[serde(default)]
    pub asked: u8,
    /// The fingerprint of the identity whose safety number the person was shown last: a yes
    /// is about that number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_shown: Option<ByteArray<32>>,
    /// The number of the invitation by which the two were made sure of each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introduced: Option<ByteArray<8>>,
    /// The server's handle of the message to them that it accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handle: Option<Handle>,
}

/// Why the next message to a contact starts another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// They send in a chain that can't be followed any more; the new session goes on
    /// from the one before.
    Stuck,
    /// The contact was imported without sessions.
    Imported,
    /// This vault is an older copy, or a copy of it was used elsewhere.
    RolledBack,
    /// The person said so.
    Person,
    /// They have started one for a cause of their own, and it could not be opened.
    Answer,
}

impl Contact {
    /// Somebody of whom nothing is known but the name.
    pub(super) fn new(id: i64, name: UserName) -> Self {
        Contact {
            id,
            name,
            identity: None,
            verified: false,
            pending_identity: None,
            paused: false,
            rejected: Vec::new(),
            dropped: 0,
            renewal: None,
            renewed_at: 0,
            blocked: false,
            was_blocked: false,
            missed: 0,
            imported_at: None,
            written_to: false,
            asked: 0,
            number_shown: None,
            introduced: None,
            last_handle: None,
        }
    }
}

impl Vault {
    /// Everyone known, by name.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The contact with this name.
    pub fn contact(&self, name: &UserName) -> Option<&Contact> {
        self.contacts
            .binary_search_by_key(name, |contact| contact.name)
            .ok()
            .map(|place| &self.contacts[place])
    }

    /// The contact with this number.
    pub fn contact_by_id(&self, id: i64) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.id == id)
    }

    /// The contact with this name, made if need be. Call it within a transaction.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn contact_or_new(&mut self, name: &UserName) -> Result<Contact> {
        if let Some(contact) = self.contact(name) {
            return Ok(contact.clone());
        }
        let id = 1 + self.numbers(Table::Contacts).next_back().unwrap_or(0);
        let contact = Contact::new(id, *name);
        self.save_contact(&contact)?;
        Ok(contact)
    }

    /// Replaces what is known of a contact.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_contact(&mut self, contact: &Contact) -> Result<()> {
        self.put_json(Table::Contacts, contact.id, contact)?;
        match self
            .contacts
            .binary_search_by_key(&contact.name, |known| known.name)
        {
            Ok(place) => self.contacts[place] = contact.clone(),
            Err(place) => self.contacts.insert(place, contact.clone()),
        }
        Ok(())
    }

    pub(super) fn load_contacts(&self) -> Result<Vec<Contact>> {
        let mut contacts = Vec::new();
        for id in self.numbers(Table::Contacts) {
            if let Some(contact) = self.get_json::<Contact>(Table::Contacts, id)? {
                contacts.push(Contact { id, ..contact });
            }
        }
        contacts.sort_by_key(|contact| contact.name);
        Ok(contacts)
    }

    /// The ratchet sessions with a contact, if there are any.
    ///
    /// # Errors
    /// That they could not be read.
    pub fn conversation(&self, contact: i64) -> Result<Option<SessionSet>> {
        let Some(plain) = self.get(Table::Sessions, contact)? else {
            return Ok(None);
        };
        SessionSet::from_bytes(&plain)
            .map(Some)
            .map_err(|error| self.damaged(format!("session {contact}: {error}")))
    }

    /// Saves the ratchet sessions, in the transaction of the message that changed them.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn save_conversation(&mut self, contact: i64, conversation: &SessionSet) -> Result<()> {
        self.put(Table::Sessions, contact, &conversation.to_bytes())
    }

    /// Nothing is sent any more in a session that there is, with anybody: this vault is
    /// an older copy, or a copy of it was used elsewhere. Call it within a transaction.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn renew_all(&mut self) -> Result<()> {
        for mut contact in self.contacts.clone() {
            if contact.renewal.is_none() && self.has(Table::Sessions, contact.id) {
                contact.renewal = Some(Renewal::RolledBack);
                self.save_contact(&contact)?;
            }
        }
        Ok(())
    }

    /// A session that was started while the clock was ahead must not keep others from being
    /// started for as long: a time to come counts as `now`. Call it within a transaction.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn correct_renewals(&mut self, now: u64) -> Result<()> {
        for mut contact in self.contacts.clone() {
            if contact.renewed_at > now {
                contact.renewed_at = now;
                self.save_contact(&contact)?;
            }
        }
        Ok(())
    }

    /// Deletes the ratchet sessions with a contact whose identity was replaced.
    ///
    /// # Errors
    /// That nothing was written.
    pub fn forget_conversation(&mut self, contact: i64) -> Result<()> {
        self.delete(Table::Sessions, contact)
    }
}
