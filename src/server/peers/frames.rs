//! Cuts bytes into frames, whatever pieces they arrive in: four bytes of length, big-endian, then as many
//! bytes. It knows no socket. Memory is taken for what has come, never for what a length promises.

/// Room for one read, in bytes.
const READ: usize = 64 * 1024;

/// Bytes of a frame's length.
pub(super) const LENGTH: usize = 4;

/// A frame is longer than its kind can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// A buffer that never holds more than one frame and one read.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    longest: usize,
}

impl FrameBuffer {
    /// A buffer for frames of at most `longest` bytes, without their length.
    pub(super) fn new(longest: usize) -> Self {
        FrameBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            longest,
        }
    }

    /// The space to read into, which is never empty as long as all whole frames are taken first. Call
    /// [`filled`](Self::filled) afterwards.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < READ / 2 {
            let wanted = (self.end * 2).clamp(READ, self.longest + LENGTH + READ);
            self.bytes.resize(wanted.max(self.end + 1), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that `count` bytes were read into [`space`](Self::space).
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next whole frame, without its length; `None` if it has yet to come.
    ///
    /// # Errors
    /// It is too long, and the connection has to end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = &self.bytes[self.start..self.end];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.longest {
            return Err(TooLong);
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH + length;
        Ok(Some(frame))
    }

    /// Releases the memory of a burst. Call it when nothing has come for a while.
    pub(super) fn shrink(&mut self) {
        if self.start == self.end {
            *self = FrameBuffer::new(self.longest);
        }
    }
}

/// Appends a frame that holds what `write` appends.
pub(super) fn write_frame(queue: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = queue.len();
    queue.extend_from_slice(&[0; LENGTH]);
    write(queue);
    // No frame comes near 4 GiB.
    let length = u32::try_from(queue.len() - start - LENGTH).unwrap_or(u32::MAX);
    if let Some(place) = queue.get_mut(start..start + LENGTH) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(
        buffer: &mut FrameBuffer,
        mut bytes: &[u8],
        frames: &mut Vec<Vec<u8>>,
    ) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            buffer.filled(count);
            while let Some(frame) = buffer.next()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(())
    }

    #[test]
    fn a_length_that_only_promises_takes_no_memory() {
        let mut buffer = FrameBuffer::new(32 * 1024 * 1024);
        let promised = (31u32 * 1024 * 1024).to_be_bytes();
        feed(&mut buffer, &promised, &mut Vec::new()).unwrap();
        buffer.space();
        assert!(buffer.bytes.len() <= READ, "{}", buffer.bytes.len());
        let mut buffer = FrameBuffer::new(1000);
        let promised = 1001u32.to_be_bytes();
        assert_eq!(feed(&mut buffer, &promised, &mut Vec::new()), Err(TooLong));
    }

    #[test]
    fn a_long_frame_fits_and_a_burst_is_given_back() {
        let mut buffer = FrameBuffer::new(300_000);
        let mut bytes = Vec::new();
        write_frame(&mut bytes, |queue| queue.resize(300_004, 7));
        let mut frames = Vec::new();
        feed(&mut buffer, &bytes, &mut frames).unwrap();
        assert_eq!(frames, [vec![7; 300_000]]);
        assert!(buffer.bytes.len() <= 300_004 + READ);
        buffer.shrink();
        assert!(buffer.bytes.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..20),
            pieces in proptest::collection::vec(1usize..700, 1..40),
        ) {
            let mut all = Vec::new();
            for frame in &sent {
                write_frame(&mut all, |queue| queue.extend_from_slice(frame));
            }
            let (mut buffer, mut frames) = (FrameBuffer::new(400), Vec::new());
            let (mut rest, mut sizes) = (all.as_slice(), pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                feed(&mut buffer, piece, &mut frames).unwrap();
                rest = tail;
            }
            prop_assert_eq!(frames, sent);
        }
    }
}
