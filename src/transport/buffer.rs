//! The buffer between a socket and TLS: bytes that were read and are not decrypted yet.
//!
//! The channel fills it and the TLS session empties it. It has a file of its own so that
//! neither of them has to import the other.

/// The capacity, in bytes, that an idle connection keeps. A read that fills it makes it grow.
const IDLE_SPACE: usize = 256;

/// The most bytes of one read: a few TLS records (RFC 8446, section 5.2).
const MOST_SPACE: usize = 64 * 1024;

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// This many bytes, at least one.
    Bytes(usize),
    /// No bytes for the reader: what came was TLS's own, and may need an answer.
    TlsOnly,
    /// The peer has closed its side.
    End,
}

/// Bytes that were read and that TLS has not decrypted yet. Without TLS it stays empty.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The session has decrypted more than the last read had room for.
    pub(super) more_inside: bool,
}

impl ReadBuffer {
    /// A buffer that begins with bytes read before the connection's language was known.
    pub fn with(bytes: &[u8]) -> Self {
        ReadBuffer {
            bytes: bytes.to_vec(),
            start: 0,
            end: bytes.len(),
            more_inside: false,
        }
    }

    /// Whether a read would find something here, without the socket.
    pub fn holds_more(&self) -> bool {
        self.more_inside || !self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that are still to be decrypted.
    #[cfg(feature = "tls")]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Drops the first `count` of [`rest`](Self::rest), which TLS has read.
    #[cfg(feature = "tls")]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Room to read into once the buffer is empty. There is more of it after a read that
    /// filled it.
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

    /// Releases the memory of a burst. Call it when nothing has come for a while.
    pub fn shrink(&mut self) {
        let large = self.bytes.capacity() > IDLE_SPACE;
        if large && self.is_empty() && !self.more_inside {
            *self = ReadBuffer::default();
        }
    }
}
