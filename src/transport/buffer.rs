//! Bytes between a socket and TLS: what was read and is not decrypted yet.
//!
//! It lies below both the channel, which fills it, and the TLS session, which empties
//! it, so that neither needs to know the other.

/// Raw bytes an idle connection keeps room for. What fills it makes it grow.
const IDLE_SPACE: usize = 256;

/// Raw bytes read at once at most: a few TLS records (RFC 8446, section 5.2).
const MOST_SPACE: usize = 64 * 1024;

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None yet: what came was TLS's own, and may want an answer.
    Nothing,
    /// The peer has closed its side.
    End,
}

/// What a reader has read and TLS has not decrypted yet. Always empty without TLS.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The session has opened more than the last reader could take.
    pub(super) more_inside: bool,
}

impl ReadBuffer {
    /// Begins with bytes that were read before it was known that they are TLS's.
    pub fn with(bytes: &[u8]) -> Self {
        ReadBuffer {
            bytes: bytes.to_vec(),
            start: 0,
            end: bytes.len(),
            more_inside: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What is still to be opened.
    #[cfg(feature = "tls")]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So much of it was taken.
    #[cfg(feature = "tls")]
    pub(super) fn taken(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Room to read into, when all is taken. A read that filled it makes more.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let wanted = match self.end == self.bytes.len() {
            true => (self.bytes.len() * 4).clamp(IDLE_SPACE, MOST_SPACE),
            false => self.bytes.len(),
        };
        self.bytes.resize(wanted, 0);
        &mut self.bytes
    }

    pub(super) fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
    }

    /// Gives the memory of a burst back. Call it when nothing has come for a while.
    pub fn shrink(&mut self) {
        let large = self.bytes.capacity() > IDLE_SPACE;
        if large && self.is_empty() && !self.more_inside {
            *self = ReadBuffer::default();
        }
    }
}
