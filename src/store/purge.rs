//! What a deleted account has left with others, which is purged before its name is given away: mail that
//! it sent and that waits for them, and their blocks of it.
//!
//! Nothing leads from an account to either, so all mail and all blocks are looked through: a bounded part
//! in each read, and a bounded part in each transaction, so that the server's own work goes on in between.

use super::expiry::Key;
use super::{StoreError, UserId};
use crate::protocol::name::UserName;

/// At so many rows a read looks.
pub(crate) const ROWS: usize = 1000;

/// At most so many rows are found by a read, and removed in one transaction: a login may wait for it.
pub(crate) const FOUND: usize = 200;

/// Reads of what an account has left.
pub(crate) trait Traces {
    /// Messages that the account sent, or that wait for it, among those behind a place.
    fn traces(&self, account: UserId, after: Key) -> Result<Part<Trace>, StoreError>;

    /// Who blocks the account, among the blocks behind one. A block's key is who blocks, and whom.
    fn blockers(&self, account: UserId, after: Key) -> Result<Part<UserId>, StoreError>;
}

/// What a read has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<T> {
    /// At most [`FOUND`], in order.
    pub found: Vec<T>,
    /// How many rows were looked at.
    pub looked_at: usize,
    /// From where to go on; `None` behind the last row.
    pub next: Option<Key>,
}

impl<T> Part<T> {
    /// Nothing yet, of what is behind a place.
    pub(crate) fn new(after: Key) -> Self {
        Part {
            found: Vec::new(),
            looked_at: 0,
            next: Some(after),
        }
    }

    /// Takes the next row. Returns `false` once it is enough.
    pub(crate) fn take(&mut self, key: Key, found: Option<T>) -> bool {
        self.looked_at += 1;
        self.next = Some(key);
        self.found.extend(found);
        self.found.len() < FOUND
    }

    /// Notes that there are no more rows behind those that were taken, if it was not enough before.
    pub(crate) fn end(mut self) -> Self {
        if self.looked_at < ROWS && self.found.len() < FOUND {
            self.next = None;
        }
        self
    }
}

/// A message that an account has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Whose mailbox it is in.
    pub recipient: UserId,
    /// The owner's name; `None` if that account is deleted.
    pub owner: Option<UserName>,
    /// Its number there.
    pub number: u64,
    /// Who sent it.
    pub sender: UserId,
    /// It is encrypted.
    pub is_envelope: bool,
    /// The bytes of its body.
    pub size: usize,
}
