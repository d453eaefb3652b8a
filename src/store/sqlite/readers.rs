//! The reading connections: how many there are, and for what.

use rusqlite::Connection;

/// At most this many connections read. Reads are short, and a thread per client must not
/// mean a file handle and a page cache per client.
pub(super) const MAX_READERS: usize = 4;

/// How many of them may search mail at once, and how many open mailboxes at once: who asks for much
/// must leave connections for those who ask for little.
const MAX_SEARCHING: usize = 1;
const MAX_OPENING: usize = 2;

/// The connections that read, and who uses them.
#[derive(Default)]
pub(super) struct Readers {
    pub(super) idle: Vec<Connection>,
    /// How many connections there are, idle or not.
    pub(super) open: usize,
    /// How many of them search.
    searching: usize,
    /// How many of them open a mailbox.
    opening: usize,
    /// No read may begin for the moment.
    pub(super) paused: bool,
    /// No read may begin any more.
    pub(super) closed: bool,
}

impl Readers {
    /// How many connections have this use, and how many may.
    pub(super) fn count(&mut self, lane: Lane) -> Option<(&mut usize, usize)> {
        match lane {
            Lane::Short => None,
            Lane::Search => Some((&mut self.searching, MAX_SEARCHING)),
            Lane::Opening => Some((&mut self.opening, MAX_OPENING)),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.open > self.idle.len()
    }
}

/// What a read is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// It is over at once.
    Short,
    /// It looks at many places.
    Search,
    /// It counts a mailbox.
    Opening,
}
