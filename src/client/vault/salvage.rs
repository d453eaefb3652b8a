//! What is whole of a vault that is damaged: to be read and exported, and for nothing else. The file
//! is not written to, and no ratchet is read from it.
//!
//! Each value that is used here opens with the vault key in its own place, so this client wrote it.
//! What only the root can tell (`rows`) is not known: whether rows are missing, and whether one is of
//! an earlier time. So nobody counts as verified.

use std::collections::BTreeMap;
use std::fmt;

use super::codec::Header;
use super::contacts::Contact;
use super::export::Export;
use super::file::{Closed, Opened};
use super::message_chunks::{Listing, chunk_bytes, chunk_of};
use super::root::{Page, known_row};
use super::seal::{TAG_LEN, tag};
use super::table::Table;
use super::{Result, Vault, VaultError};
use crate::crypto::cipher::WrappingKey;
use crate::protocol::UserName;

/// The tables that are read.
const TABLES: [Table; 4] = [
    Table::State,
    Table::Contacts,
    Table::MessageChunks,
    Table::Unread,
];

/// The whole rows of a damaged vault.
pub(crate) struct Salvaged {
    /// A vault with these rows, which can't be written to.
    pub vault: Vault,
    loss: Loss,
}

/// What is known to be missing of what was salvaged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Rows about contacts and the account that don't open.
    pub rows: u64,
    /// Messages whose rows were changed.
    pub messages: u64,
    /// Messages with somebody whose row doesn't open or is gone, so that the name is made up.
    pub nameless: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss {
            rows,
            messages,
            nameless,
        } = *self;
        if *self == Loss::default() {
            return f.write_str("all contacts and messages that are there can be read");
        }
        let counted = |before: &str, count, what: &str, behind: &str| {
            let s = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{before}{count} {what}{s}{behind}"))
        };
        let parts = [
            counted("", rows, "row", " about the account or its contacts"),
            counted("", messages, "message", ""),
            counted(
                "the name in ",
                nameless,
                "message",
                ", for which name-lost-NUMBER stands",
            ),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "not readable: {}", parts.join(", "))
    }
}

impl Closed {
    /// Opens what is whole of a damaged vault of this version, if `key` opens one of its slots.
    ///
    /// # Errors
    /// Nothing of it can be read, or it is another account's or server's.
    pub(crate) fn salvage(self, key: &WrappingKey) -> Result<Opened<Salvaged>> {
        let (mut vault, owner, server) = match self.without_rows(key)? {
            Opened::Open(parts) => parts,
            Opened::WrongKey(closed) => return Ok(Opened::WrongKey(closed)),
        };
        let read_only = vault.db.pragma_update(None, "query_only", true);
        read_only.map_err(|error| VaultError::Unreadable(vault.path.clone(), error.to_string()))?;
        let rows = vault.load_whole_rows();
        vault.rebuild_chunks();
        // Without the row that says whose the vault is, the key that opened it has to do.
        if vault.owner()?.is_some() {
            vault.check_owner(&owner)?;
        }
        vault.check_server(&server)?;
        let mut contacts = vault.load_contacts()?;
        for contact in &mut contacts {
            contact.verified = false;
            contact.introduced = None;
        }
        vault.contacts = contacts;
        let mut loss = vault.name_nameless()?;
        loss.rows = rows;
        loss.messages = vault.count_changed()?;
        Ok(Opened::Open(Salvaged { vault, loss }))
    }
}

impl Salvaged {
    /// What is known to be missing.
    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    /// What can move to another machine of it.
    ///
    /// # Errors
    /// The identity, without which an export is nobody's, is lost.
    pub(crate) fn export(&self, name: UserName) -> Result<Export> {
        let has_identity = self.vault.identity().is_ok_and(|keys| keys.is_some());
        match has_identity {
            true => self.vault.export_whole(name).map(|(export, _)| export),
            false => Err(VaultError::Unreadable(
                self.vault.path.clone(),
                "the row of its identity is lost, so there is nothing to export".to_owned(),
            )),
        }
    }
}

impl Vault {
    /// Reads the rows that open, and counts the others.
    fn load_whole_rows(&mut self) -> u64 {
        let mut lost = 0;
        for table in TABLES {
            let sealer = &self.sealer;
            let mut whole = Vec::new();
            let read = each_row(&self.db, table, |number, value| {
                match tag(value).filter(|_| sealer.open(table, number, value).is_ok()) {
                    Some(tag) => {
                        whole.push((number, known_row(sealer, table, number, tag, value.len())))
                    }
                    None => lost += 1,
                }
            });
            // SQLite can't read on behind a damaged page.
            lost += u64::from(read.is_err());
            for (number, row) in whole {
                self.rows.known.insert((table, number), row);
            }
        }
        lost
    }

    /// Gives contacts whose rows are lost a name, in memory, and counts the messages with them.
    fn name_nameless(&mut self) -> Result<Loss> {
        let mut loss = Loss::default();
        let chunks: Vec<i64> = self.numbers(Table::MessageChunks).collect();
        for chunk in chunks {
            for (_, listing) in self.listed(chunk)? {
                let id = listing.contact();
                if self.contact_by_id(id).is_none()
                    && let Some(name) = made_up_name(id)
                    && let Err(place) = self
                        .contacts
                        .binary_search_by_key(&name, |known| known.name)
                {
                    self.contacts.insert(place, Contact::new(id, name));
                }
                let contact = self.contact_by_id(id);
                let is_named =
                    contact.is_some_and(|contact| Some(contact.name) != made_up_name(id));
                loss.nameless += u64::from(!is_named);
            }
        }
        Ok(loss)
    }

    /// How many messages can't be read.
    fn count_changed(&self) -> Result<u64> {
        let all = self.all_messages()?.into_iter();
        Ok(all.filter(|read| read.is_err()).count() as u64)
    }

    /// Lists the messages of chunks that are lost anew, by the rows of these messages that open.
    fn rebuild_chunks(&mut self) {
        let mut chunks: BTreeMap<i64, Vec<(i64, Listing)>> = BTreeMap::new();
        let (sealer, known) = (&self.sealer, &self.rows.known);
        // What is read before a damaged page is used.
        let _damaged = each_row(&self.db, Table::Messages, |number, value| {
            let chunk = chunk_of(number);
            if known.contains_key(&(Table::MessageChunks, chunk)) {
                return;
            }
            let plain = sealer.open(Table::Messages, number, value);
            let header = plain.as_ref().ok().and_then(|plain| Header::split(plain));
            let listing = tag(value)
                .zip(header)
                .and_then(|(tag, (header, _))| Listing::of(&tag, &header));
            if let Some(listing) = listing {
                chunks.entry(chunk).or_default().push((number, listing));
            }
        });
        for (chunk, listings) in chunks {
            let at = (Table::MessageChunks, chunk);
            let bytes = chunk_bytes(&listings);
            let row = known_row(&self.sealer, at.0, chunk, [0; TAG_LEN], bytes.len());
            self.rows.known.insert(at, row);
            // It is nowhere else, so it must not be forgotten as one that can be read again.
            let is_changed = true;
            self.rows
                .pages
                .get_mut()
                .insert(at, Page { bytes, is_changed });
        }
    }
}

/// What stands for the name of a contact whose row is lost. Its words are whole, and worth more under
/// a made-up name than not at all; the identity is not known any more, so it stands for nobody.
fn made_up_name(id: i64) -> Option<UserName> {
    format!("name-lost-{id}").parse().ok()
}

/// Visits the rows of a table that SQLite can read.
fn each_row(
    db: &rusqlite::Connection,
    table: Table,
    mut visit: impl FnMut(i64, &[u8]),
) -> rusqlite::Result<()> {
    let mut query = db.prepare(&format!("SELECT id, value FROM {table}"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        visit(row.get(0)?, row.get_ref(1)?.as_blob().unwrap_or_default());
    }
    Ok(())
}
