//! Cuts bytes into lines, whatever pieces they arrive in. It knows no socket: the caller reads
//! into [`LineBuffer::space`] and takes lines until there is none.
//!
//! Its memory is bounded by the line limit, and an idle connection releases most of it.

/// The capacity, in bytes, that an idle connection keeps: enough for most lines. A read that
/// fills it makes it grow.
const IDLE_SPACE: usize = 256;

/// A line is longer than the limit. Finding the next line could take as much reading as the peer
/// likes, so the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// A growing buffer that never holds more than the line limit plus one read.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// The beginning of the unread bytes.
    start: usize,
    /// The end of the unread bytes; the space to read into follows.
    end: usize,
    /// There is no newline before this place, so each byte of a slow line is scanned once.
    scanned: usize,
    /// The last read filled the space, so the next one gets more.
    was_filled: bool,
    max_line: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `max_line` bytes, including the newline.
    pub fn new(max_line: usize) -> Self {
        LineBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            scanned: 0,
            was_filled: false,
            max_line,
        }
    }

    /// The space to read into, which is never empty. Call [`filled`](Self::filled) afterwards.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.bytes.len() == self.end || self.was_filled {
            self.was_filled = false;
            // One byte past the limit is enough to know that a line is too long.
            let wanted = (self.bytes.len() * 4)
                .max(IDLE_SPACE)
                .min(self.max_line + 1);
            self.bytes.resize(wanted.max(self.end + 1), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that `count` bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
        self.was_filled = self.end == self.bytes.len();
    }

    /// The next whole line, without its newline and the carriage return before that.
    pub fn next_line(&mut self) -> Option<Result<&[u8], TooLong>> {
        let found = memchr::memchr(b'\n', &self.bytes[self.scanned..self.end]);
        let Some(newline) = found.map(|at| self.scanned + at) else {
            self.scanned = self.end;
            return (self.end - self.start >= self.max_line).then_some(Err(TooLong));
        };
        let line = self.start..newline;
        self.start = newline + 1;
        self.scanned = self.start;
        if line.len() >= self.max_line {
            return Some(Err(TooLong));
        }
        let line = &self.bytes[line];
        Some(Ok(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Passes over `count` unread bytes that are no lines.
    pub fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.scanned = self.scanned.max(self.start);
    }

    /// The unread bytes, including an incomplete line.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Releases the memory of a burst. Call it when nothing has come for a while.
    pub fn shrink(&mut self) {
        if self.start == self.end && self.bytes.len() > IDLE_SPACE {
            *self = LineBuffer::new(self.max_line);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(buffer: &mut LineBuffer, mut bytes: &[u8]) -> Vec<Result<Vec<u8>, TooLong>> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            buffer.filled(count);
            while let Some(line) = buffer.next_line() {
                lines.push(line.map(<[u8]>::to_vec));
                if lines.last() == Some(&Err(TooLong)) {
                    return lines;
                }
            }
        }
        lines
    }

    #[test]
    fn both_line_ends_are_fine() {
        let mut buffer = LineBuffer::new(100);
        assert_eq!(
            feed(&mut buffer, b"one\r\ntwo\n\nrest"),
            [Ok(b"one".to_vec()), Ok(b"two".to_vec()), Ok(Vec::new())]
        );
        assert_eq!(buffer.rest(), b"rest");
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let mut buffer = LineBuffer::new(100);
        let bytes = b"a\nb\0one\nrest";
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        buffer.skip(4);
        assert_eq!(buffer.next_line(), Some(Ok(&b"one"[..])));
        buffer.skip(100);
        assert_eq!(buffer.rest(), b"");
        assert_eq!(buffer.next_line(), None);
    }

    #[test]
    fn an_endless_line_is_refused_within_its_bound() {
        let mut buffer = LineBuffer::new(5000);
        assert_eq!(feed(&mut buffer, &[b'x'; 100_000]), [Err(TooLong)]);
        assert!(buffer.bytes.len() <= 5001, "{}", buffer.bytes.len());
    }

    #[test]
    fn the_limit_counts_the_newline() {
        let mut buffer = LineBuffer::new(2000);
        let mut line = vec![b'x'; 1999];
        line.push(b'\n');
        assert_eq!(feed(&mut buffer, &line), [Ok(vec![b'x'; 1999])]);
        line.insert(0, b'x');
        assert_eq!(feed(&mut buffer, &line), [Err(TooLong)]);
    }

    #[test]
    fn a_burst_is_given_back() {
        let mut buffer = LineBuffer::new(65536);
        let mut line = vec![b'x'; 60_000];
        line.push(b'\n');
        assert_eq!(feed(&mut buffer, &line).len(), 1);
        buffer.shrink();
        assert!(buffer.bytes.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lines in proptest::collection::vec("[a-z\u{e4}]{0,300}", 0..20),
            pieces in proptest::collection::vec(1usize..700, 1..40),
        ) {
            let all: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let mut buffer = LineBuffer::new(1000);
            let mut out = Vec::new();
            let (mut rest, mut sizes) = (all.as_slice(), pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                out.extend(feed(&mut buffer, piece));
                rest = tail;
            }
            let expected: Vec<_> = lines.iter().map(|line| Ok(line.clone().into_bytes())).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
