//! Bytes that were typed and not used yet, in their order. They may be a password's, so
//! none stays behind when it is used. What they mean is decided in [`keys`](super::keys).

use crate::crypto::secret::SecretBuffer;

/// The bytes.
#[derive(Default)]
pub(super) struct TypeAhead {
    bytes: SecretBuffer,
    /// How many of them were used. They are wiped, and their place is given back in one piece
    /// with others: moving the rest for each byte would make a long paste slow.
    used: usize,
}

impl TypeAhead {
    /// Adds what was read.
    pub(super) fn add(&mut self, typed: &[u8]) {
        if self.used > self.bytes.len() / 2 {
            self.bytes.copy_within(self.used.., 0);
            self.bytes.truncate(self.bytes.len() - self.used);
            self.used = 0;
        }
        self.bytes.add(typed);
    }

    /// What was not used yet.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Wipes the first bytes, which were used.
    pub(super) fn forget(&mut self, count: usize) {
        let end = self.bytes.len().min(self.used + count);
        self.bytes[self.used..end].fill(0);
        self.used = end;
        if self.used == self.bytes.len() {
            self.truncate(0);
        }
    }

    /// Wipes all but the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.used + length);
        if length == 0 {
            self.bytes.truncate(0);
            self.used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a queue, however it is filled and emptied.
        #[test]
        fn bytes_come_out_in_their_order(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0usize..40, any::<bool>()), 0..40)
        ) {
            let mut ahead = TypeAhead::default();
            let mut model = VecDeque::new();
            for (typed, count, drops) in steps {
                ahead.add(&typed);
                model.extend(typed);
                match drops {
                    true => {
                        ahead.truncate(count.min(model.len()));
                        model.truncate(count);
                    }
                    false => {
                        ahead.forget(count);
                        model.drain(..count.min(model.len()));
                    }
                }
                prop_assert_eq!(ahead.as_slice(), &*model.make_contiguous());
            }
        }
    }
}
