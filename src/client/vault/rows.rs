//! Reading and writing the rows of the vault so that none can be changed, added, removed,
//! moved or taken back by somebody without the key.
//!
//! **How.** Each value ends with a tag that is bound to its table and number (`seal`). The
//! vault keeps the tags of all rows in memory, from opening to closing; a row that is read
//! from the file must have the tag that is known, and a row that is not known is not read.
//! So a list of rows comes from memory, never from the file, and a missing row is noticed.
//! At opening the tags are read from the file. They are the right ones if the *root* says
//! so: each row adds a weight, a keyed function of table, number and tag with 128 bits, to a sum, and
//! the table `root` holds a MAC over that sum, the count of rows, and the generation.
//! Every transaction raises the generation and writes the root anew, so rows and root are
//! on the disk together or not at all.
//!
//! **Why it is sound.** This is the multiset hash MSet-Add-Hash of Clarke, Devadas, van
//! Dijk, Gassend and Suh ("Incremental Multiset Hash Functions and Their Application to
//! Memory Integrity Checking", ASIACRYPT 2003) with a sum that is never written anywhere:
//! only its MAC is. The function is AES in CBC-MAC over inputs of one length, which is
//! pseudorandom if AES is (Bellare, Kilian and Rogaway, "The Security of the Cipher Block
//! Chaining Message Authentication Code", 2000). So to somebody without the key the weights
//! are independent random numbers of which nothing is known, so another set of rows has the same sum with a
//! probability of 2^-128, however it is chosen. With weights in sight it would be another
//! matter: with many rows at hand, a sum of 128 bits can be matched (Wagner, "A
//! Generalized Birthday Problem", CRYPTO 2002). Sums are taken modulo 2^128 and not by
//! exclusive or, so that two equal rows, which a damaged index can pretend, do not cancel.
//!
//! What remains is to put back the whole file as it was at an earlier generation. That is
//! for the server to notice: it is told the generation at each login.
//!
//! **Large tables.** Values of small tables are opened when the vault is, others when they
//! are read. The rows of `messages` add nothing to the sum, or opening would read
//! them all. The rows of `message_chunks` do, each of which lists 32 messages with their
//! tags, and a message is believed if its chunk lists it (`history`). `seen_ids` is cut
//! into 2^14 rows in the same way (`seen_ids`). Such rows are *pages*: the pages that a
//! transaction changes are kept in memory and written once, when it ends.
//!
//! **Adding to it.** Another column is another field of a value. Another table is another
//! [`Table`] with a `CREATE TABLE` in `schema.sql`, read and written through
//! `Vault::get`, `Vault::put` and `Vault::delete` alone; a new version of the vault
//! then fills it at the migration. `key_slots` has columns of its own, which are covered
//! whatever they are, as long as `Vault::adopt_key_slots` follows each change of it.

use std::ops::Bound;

use rusqlite::OptionalExtension;
use rusqlite::types::ValueRef;
use zeroize::Zeroizing;

use super::root::{Page, Root, Rows, known_row};
use super::seal::{Sealer, Tag, tag};
use super::table::Table;
use super::{Result, Vault, VaultError, sqlite_file};
use crate::crypto::cipher::{NotAuthentic, SealKey};

impl Vault {
    /// The value of a row; `None` if there is none.
    ///
    /// # Errors
    /// That the row in the file is not the one that was written last.
    pub(super) fn get(&self, table: Table, number: i64) -> Result<Option<Zeroizing<Vec<u8>>>> {
        if let Some(page) = self.rows.pages.borrow().get(&(table, number)) {
            return Ok(Some(Zeroizing::new(page.bytes.clone())));
        }
        let Some(known) = self.rows.known.get(&(table, number)) else {
            return Ok(None);
        };
        let value = self
            .read(table, number)?
            .filter(|value| tag(value) == Some(known.tag));
        let value = value.ok_or_else(|| self.damaged_row(table, number))?;
        self.open_value(table, number, &value).map(Some)
    }

    /// Writes the value of a row, which may be new.
    ///
    /// # Errors
    /// That nothing was written.
    pub(super) fn put(&mut self, table: Table, number: i64, plain: &[u8]) -> Result<()> {
        if self.db.is_autocommit() {
            return self.transact(|vault| vault.put(table, number, plain));
        }
        let is_new = !self.rows.known.contains_key(&(table, number));
        let (tag, len) = self.write(table, number, plain, is_new)?;
        let row = known_row(&self.sealer, table, number, tag, len);
        self.rows.set((table, number), Some(row));
        Ok(())
    }

    /// Removes a row, if it is there.
    ///
    /// # Errors
    /// That nothing was removed.
    pub(super) fn delete(&mut self, table: Table, number: i64) -> Result<()> {
        if self.db.is_autocommit() {
            return self.transact(|vault| vault.delete(table, number));
        }
        if self.rows.known.contains_key(&(table, number)) {
            self.erase(table, number)?;
            self.rows.set((table, number), None);
        }
        Ok(())
    }

    /// Whether there is such a row.
    pub(super) fn has(&self, table: Table, number: i64) -> bool {
        self.rows.known.contains_key(&(table, number))
    }

    /// The length of a row's value in the file, in bytes; 0 if there is none.
    pub(super) fn len_of(&self, table: Table, number: i64) -> u64 {
        let known = self.rows.known.get(&(table, number));
        known.map_or(0, |row| u64::from(row.len))
    }

    /// The numbers of a table's rows, in order.
    pub(super) fn numbers(&self, table: Table) -> impl DoubleEndedIterator<Item = i64> + '_ {
        let all = self.rows.known.range((table, i64::MIN)..=(table, i64::MAX));
        all.map(|((_, number), _)| *number)
    }

    /// The number of a table's first row behind `number`.
    pub(super) fn number_behind(&self, table: Table, number: i64) -> Option<i64> {
        let behind = (
            Bound::Excluded((table, number)),
            Bound::Included((table, i64::MAX)),
        );
        let mut rows = self.rows.known.range(behind);
        rows.next().map(|((_, number), _)| *number)
    }

    /// A page; empty if there is none.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub(super) fn page(&self, table: Table, number: i64) -> Result<Vec<u8>> {
        if let Some(page) = self.rows.pages.borrow().get(&(table, number)) {
            return Ok(page.bytes.clone());
        }
        let read = self.get(table, number)?;
        let bytes = read.map_or_else(Vec::new, |page| page.to_vec());
        self.rows.keep_few_pages();
        let page = Page {
            bytes: bytes.clone(),
            is_changed: false,
        };
        self.rows.pages.borrow_mut().insert((table, number), page);
        Ok(bytes)
    }

    /// Changes a page, which is written when the transaction ends.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub(super) fn change_page<T>(
        &mut self,
        table: Table,
        number: i64,
        change: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Result<T> {
        self.require_transaction()?;
        let mut bytes = self.page(table, number)?;
        let changed = change(&mut bytes);
        let is_changed = true;
        let page = Page { bytes, is_changed };
        self.rows.pages.get_mut().insert((table, number), page);
        Ok(changed)
    }

    /// The next place of a message or control message, which none of them ever had.
    ///
    /// # Errors
    /// That there is none left.
    pub(super) fn take_number(&mut self) -> Result<i64> {
        let next = self.rows.root.last_number.checked_add(1);
        let next = next.ok_or_else(|| self.damaged("its numbers for messages are used up"))?;
        self.rows.root.last_number = next;
        Ok(next)
    }

    /// Sets the number that [`take_number`](Self::take_number) goes on from.
    pub(super) fn set_last_number(&mut self, number: i64) {
        self.rows.root.last_number = number;
    }

    /// How many transactions there were: an earlier state of the vault has a smaller number.
    pub(crate) fn generation(&self) -> u64 {
        self.rows.root.generation
    }

    /// Makes the generation one that comes behind `generation`. Call it within a transaction.
    pub(crate) fn go_behind(&mut self, generation: u64) {
        // A number without a proof must not use up the numbers: as many again are left.
        let least = generation.min(1 << 62);
        self.rows.root.generation = self.rows.root.generation.max(least);
    }

    /// Protects all rows under another vault key, then runs `slots`, which puts that key into
    /// `key_slots`: all in one transaction. `progress` is called for each row.
    ///
    /// # Errors
    /// That nothing was changed.
    pub(super) fn replace_key(
        &mut self,
        key: SealKey,
        mut progress: impl FnMut(),
        slots: impl FnOnce(&mut Vault) -> Result<()>,
    ) -> Result<()> {
        let old = Sealer::new(self.sealer.key().clone());
        // Not `transact`: if this fails, the contacts can't be read before the key is back.
        let done = self.transact_rows(|vault| {
            let mut other = Sealer::new(key);
            vault.protect_messages(&mut other, &mut progress)?;
            // `seen_ids` and `message_chunks` are among these: their pages are written here.
            for table in Table::ALL {
                let numbers: Vec<i64> = match table {
                    Table::KeySlots => Vec::new(),
                    _ => vault.numbers(table).collect(),
                };
                for number in numbers {
                    if let Some(plain) = vault.get(table, number)? {
                        vault.with_sealer(&mut other, |vault| vault.put(table, number, &plain))?;
                    }
                    progress();
                }
            }
            vault.rows.pages.get_mut().clear();
            vault.sealer = other;
            slots(vault)?;
            vault.adopt_key_slots()
        });
        if done.is_err() {
            self.sealer = old;
            self.contacts = self.load_contacts()?;
        }
        done
    }

    /// How many rows [`replace_key`](Self::replace_key) has to protect anew.
    ///
    /// # Errors
    /// That the list of messages could not be read.
    pub(super) fn count_rows(&self) -> Result<u64> {
        let slots = self.numbers(Table::KeySlots).count();
        Ok((self.rows.known.len() - slots) as u64 + self.count_messages()?)
    }

    /// Runs `work` with another sealer in the place of the vault's own.
    pub(super) fn with_sealer<T>(
        &mut self,
        other: &mut Sealer,
        work: impl FnOnce(&mut Vault) -> T,
    ) -> T {
        std::mem::swap(&mut self.sealer, other);
        let done = work(self);
        std::mem::swap(&mut self.sealer, other);
        done
    }

    /// Writes the changed pages and the root: the last step before a transaction commits.
    pub(super) fn write_root(&mut self) -> Result<()> {
        let mut pages = std::mem::take(self.rows.pages.get_mut());
        for ((table, number), page) in &mut pages {
            if std::mem::take(&mut page.is_changed) {
                self.put(*table, *number, &page.bytes)?;
            }
        }
        *self.rows.pages.get_mut() = pages;
        if !self.rows.is_changed() && self.rows.root.generation == self.rows.committed.generation {
            return Ok(());
        }
        let next = self.rows.root.generation.checked_add(1);
        let next = next.filter(|next| i64::try_from(*next).is_ok());
        self.rows.root.generation =
            next.ok_or_else(|| self.damaged("its generations are used up"))?;
        let mac = self.sealer.root_mac(&self.rows.covered());
        let root = self.rows.root;
        let sql =
            "INSERT OR REPLACE INTO root (id, generation, last_number, mac) VALUES (1, ?, ?, ?)";
        let written = self
            .db
            .prepare_cached(sql)
            .and_then(|mut sql| sql.execute((root.generation as i64, root.last_number, mac)));
        written.map_err(|error| self.failed(error)).map(drop)
    }

    /// Ends what is in memory of a transaction.
    pub(super) fn end_rows(&mut self, is_committed: bool) {
        self.rows.end(is_committed);
    }

    /// Reads all rows but those of `messages`, and checks that they are the ones that were
    /// written last.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] if they are not.
    pub(super) fn load_rows(&mut self) -> Result<()> {
        let mut rows = Rows::default();
        for table in Table::ALL {
            for (number, tag, len) in self.tags_in_file(table)? {
                let row = known_row(&self.sealer, table, number, tag, len);
                if rows.known.insert((table, number), row).is_some() {
                    return Err(self.damaged_row(table, number));
                }
                rows.sum = rows.sum.wrapping_add(row.weight);
            }
        }
        let read = self.db.query_row(
            "SELECT generation, last_number, mac FROM root WHERE id = 1",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)),
        );
        let read = read.optional().map_err(|error| self.failed(error))?;
        let (generation, last_number, mac): (i64, i64, [u8; 32]) =
            read.ok_or_else(|| self.damaged("its root is missing"))?;
        rows.root = Root {
            generation: generation as u64,
            last_number,
        };
        rows.committed = rows.root;
        if self.sealer.root_mac(&rows.covered()) != mac {
            return Err(self.damaged("its rows are not the ones that this client wrote last"));
        }
        self.rows = rows;
        self.check_last_message()?;
        self.check_small_tables()
    }

    /// That no row of `messages` stands where the next message will: nobody reads such a row,
    /// but it would be in the way.
    fn check_last_message(&self) -> Result<()> {
        let sql = "SELECT max(id) FROM messages";
        let last: Option<i64> = self
            .db
            .query_row(sql, [], |row| row.get(0))
            .map_err(|error| self.failed(error))?;
        match last.filter(|last| *last > self.rows.root.last_number) {
            Some(planted) => Err(self.damaged_row(Table::Messages, planted)),
            None => Ok(()),
        }
    }

    /// Opens every value of the tables that are small: a tag says which value it is, and only
    /// opening it says that the value is whole.
    fn check_small_tables(&self) -> Result<()> {
        for table in Table::ALL.into_iter().filter(|table| table.is_small()) {
            for number in self.numbers(table) {
                self.get(table, number)?;
            }
        }
        Ok(())
    }

    /// Takes in what was changed in `key_slots`. Call it in the same transaction.
    ///
    /// # Errors
    /// That the table could not be read.
    pub(super) fn adopt_key_slots(&mut self) -> Result<()> {
        self.require_transaction()?;
        let gone: Vec<i64> = self.numbers(Table::KeySlots).collect();
        for number in gone {
            self.rows.set((Table::KeySlots, number), None);
        }
        for (number, tag, len) in self.tags_in_file(Table::KeySlots)? {
            let row = known_row(&self.sealer, Table::KeySlots, number, tag, len);
            self.rows.set((Table::KeySlots, number), Some(row));
        }
        Ok(())
    }

    /// The number, the tag and the length of each row of a table, as they are in the file.
    fn tags_in_file(&self, table: Table) -> Result<Vec<(i64, Tag, usize)>> {
        let sql = match table {
            Table::Messages => return Ok(Vec::new()),
            Table::KeySlots => "SELECT * FROM key_slots".to_owned(),
            _ => format!("SELECT id, value FROM {table}"),
        };
        let read = || -> rusqlite::Result<Vec<(i64, Option<Tag>, usize)>> {
            let mut query = self.db.prepare(&sql)?;
            let mut rows = query.query([])?;
            let mut tags = Vec::new();
            while let Some(row) = rows.next()? {
                let number = row.get(0)?;
                if table == Table::KeySlots {
                    let columns = encoded_columns(row)?;
                    let tag = self.sealer.tag_of(table, number, &columns);
                    tags.push((number, Some(tag), columns.len()));
                } else {
                    let value = row.get_ref(1)?.as_blob()?;
                    tags.push((number, tag(value), value.len()));
                }
            }
            Ok(tags)
        };
        let tags = read().map_err(|error| self.failed(error))?;
        let whole = |(number, tag, len): (i64, Option<Tag>, usize)| match tag {
            Some(tag) => Ok((number, tag, len)),
            None => Err(self.damaged_row(table, number)),
        };
        tags.into_iter().map(whole).collect()
    }

    /// Writes a row that the root does not cover by itself: its tag is for the caller to
    /// keep. Gives also the length of the protected value.
    pub(super) fn write(
        &mut self,
        table: Table,
        number: i64,
        plain: &[u8],
        is_new: bool,
    ) -> Result<(Tag, usize)> {
        self.require_transaction()?;
        let value = self.sealer.protect(table, number, plain);
        let sql = match is_new {
            true => format!("INSERT INTO {table} (id, value) VALUES (?1, ?2)"),
            false => format!("UPDATE {table} SET value = ?2 WHERE id = ?1"),
        };
        let written = self
            .db
            .prepare_cached(&sql)
            .and_then(|mut sql| sql.execute((number, &value)));
        let written = written.map_err(|error| self.failed(error))?;
        match tag(&value) {
            Some(tag) if written == 1 => Ok((tag, value.len())),
            _ => Err(self.damaged_row(table, number)),
        }
    }

    /// Reads a protected value as it is in the file.
    pub(super) fn read(&self, table: Table, number: i64) -> Result<Option<Vec<u8>>> {
        let read = || {
            let sql = format!("SELECT value FROM {table} WHERE id = ?");
            let mut query = self.db.prepare_cached(&sql)?;
            query.query_row([number], |row| row.get(0)).optional()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Removes a row from the file.
    pub(super) fn erase(&mut self, table: Table, number: i64) -> Result<()> {
        self.require_transaction()?;
        let sql = format!("DELETE FROM {table} WHERE id = ?");
        let erased = self
            .db
            .prepare_cached(&sql)
            .and_then(|mut sql| sql.execute([number]));
        match erased.map_err(|error| self.failed(error))? {
            1 => Ok(()),
            _ => Err(self.damaged_row(table, number)),
        }
    }

    pub(super) fn open_value(
        &self,
        table: Table,
        number: i64,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let opened = self.sealer.open(table, number, value);
        opened.map_err(|NotAuthentic| self.damaged_row(table, number))
    }

    pub(super) fn damaged_row(&self, table: Table, number: i64) -> VaultError {
        self.damaged(format!("row {number} of {table} is not as it was written"))
    }

    fn failed(&self, error: rusqlite::Error) -> VaultError {
        sqlite_file::classify(&self.path, error)
    }

    /// A change outside of a transaction would leave the root behind.
    fn require_transaction(&self) -> Result<()> {
        match self.db.is_autocommit() {
            true => Err(VaultError::Database(rusqlite::Error::InvalidQuery)),
            false => Ok(()),
        }
    }
}

/// All columns of a row as bytes: for each its type, its length and its content.
fn encoded_columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut add = |kind: u8, content: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&(content.len() as u64).to_be_bytes());
        bytes.extend_from_slice(content);
    };
    for column in 0..row.as_ref().column_count() {
        match row.get_ref(column)? {
            ValueRef::Null => add(0, &[]),
            ValueRef::Integer(number) => add(1, &number.to_be_bytes()),
            ValueRef::Real(number) => add(2, &number.to_be_bytes()),
            ValueRef::Text(text) => add(3, text),
            ValueRef::Blob(blob) => add(4, blob),
        }
    }
    Ok(bytes)
}
