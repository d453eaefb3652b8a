//! The vault's memory of its rows and of the root over them, with what a transaction that
//! fails has to put back. How the two protect the file is said in `rows`. Knows no SQL.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::schema;
use super::seal::{Sealer, Tag};
use super::table::Table;

/// How many pages are kept in memory that could be read again.
const PAGES_KEPT: usize = 64;

/// What is known of a row that the root covers.
#[derive(Clone, Copy)]
pub(super) struct KnownRow {
    pub(super) tag: Tag,
    /// What it adds to the root's sum.
    pub(super) weight: u128,
    /// The length of its value, in bytes.
    pub(super) len: u32,
}

/// What the table `root` holds besides its MAC.
#[derive(Clone, Copy, Default)]
pub(super) struct Root {
    pub(super) generation: u64,
    pub(super) last_number: i64,
}

/// A row that is changed in memory and written when the transaction ends.
pub(super) struct Page {
    pub(super) bytes: Vec<u8>,
    pub(super) is_changed: bool,
}

/// The rows that the root covers.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) known: BTreeMap<(Table, i64), KnownRow>,
    pub(super) sum: u128,
    pub(super) root: Root,
    /// Those that were read or changed lately.
    pub(super) pages: RefCell<BTreeMap<(Table, i64), Page>>,
    /// The root as it is on the disk.
    pub(super) committed: Root,
    /// What was known before this transaction changed it, in the order of the changes.
    undo: Vec<((Table, i64), Option<KnownRow>)>,
}

impl Rows {
    pub(super) fn set(&mut self, at: (Table, i64), row: Option<KnownRow>) {
        let before = match row {
            Some(row) => self.known.insert(at, row),
            None => self.known.remove(&at),
        };
        let weight = |row: Option<KnownRow>| row.map_or(0, |row| row.weight);
        self.sum = self.sum.wrapping_sub(weight(before));
        self.sum = self.sum.wrapping_add(weight(row));
        self.undo.push((at, before));
    }

    /// Makes the transaction's changes undone, or done for good.
    pub(super) fn end(&mut self, is_committed: bool) {
        if is_committed {
            self.committed = self.root;
            self.undo.clear();
            self.keep_few_pages();
            return;
        }
        self.pages.get_mut().clear();
        for (at, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            self.set(at, before);
        }
        self.undo.clear();
        self.root = self.committed;
    }

    /// Forgets pages that can be read again, if they have become many.
    pub(super) fn keep_few_pages(&self) {
        let mut pages = self.pages.borrow_mut();
        if pages.len() > PAGES_KEPT {
            pages.retain(|_, page| page.is_changed);
        }
    }

    /// What the root's MAC is over.
    pub(super) fn covered(&self) -> Vec<u8> {
        let mut bytes = schema::VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.root.generation.to_be_bytes());
        bytes.extend_from_slice(&self.root.last_number.to_be_bytes());
        bytes.extend_from_slice(&(self.known.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        bytes
    }

    /// Whether the transaction has changed anything.
    pub(super) fn is_changed(&self) -> bool {
        !self.undo.is_empty() || self.root.last_number != self.committed.last_number
    }
}

/// The row of a value with this tag and length.
pub(super) fn known_row(
    sealer: &Sealer,
    table: Table,
    number: i64,
    tag: Tag,
    len: usize,
) -> KnownRow {
    KnownRow {
        tag,
        weight: sealer.weight(table, number, &tag),
        len: u32::try_from(len).unwrap_or(u32::MAX),
    }
}
