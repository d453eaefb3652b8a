//! Secret bytes: they stay in one place, are wiped on drop, and are hidden in `Debug`.
//!
//! All keys of the crate are held in this type, so it alone decides how secrets are kept in memory.
//! What a secret is used for is decided elsewhere.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `N` secret bytes.
///
/// They live on the heap: moving a value leaves its old copy in memory, but moving a box leaves the
/// secret in the one place that is wiped. There is no `PartialEq`, because only the primitives
/// compare secrets in constant time.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// `N` bytes drawn from `rng`.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::filled_by(|bytes| rng.fill_bytes(bytes))
    }

    /// A copy of `bytes`. The caller has to wipe their own copy.
    pub fn from_bytes(bytes: &[u8; N]) -> Self {
        Self::filled_by(|place| place.copy_from_slice(bytes))
    }

    /// A copy of the bytes, for the vault.
    pub fn to_bytes(&self) -> Zeroizing<[u8; N]> {
        Zeroizing::new(*self.0)
    }

    /// The bytes, without a copy.
    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A secret that `fill` writes directly to its place.
    pub(crate) fn filled_by(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut place = Box::new([0; N]);
        fill(&mut place);
        Self(place)
    }
}

impl<const N: usize> Clone for Secret<N> {
    fn clone(&self) -> Self {
        Self::from_bytes(&self.0)
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("[redacted]")
    }
}

/// Secret bytes that come piece by piece. When they outgrow their place they are copied to a
/// larger one, and the old one is wiped; a `Vec` that grows leaves the old one as it was.
#[derive(Default)]
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

/// The first place of a [`SecretBuffer`], in bytes: enough for a password.
const FIRST_PLACE: usize = 256;

impl SecretBuffer {
    /// Adds bytes at the end.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let capacity = length.next_power_of_two().max(FIRST_PLACE);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Wipes and removes what is behind the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        if let Some(rest) = self.0.get_mut(length..) {
            rest.zeroize();
        }
        self.0.truncate(length);
    }

    /// The bytes.
    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl Deref for SecretBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SecretBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl io::Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::crypto::testing::Needle;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_buffer_that_grows_leaves_nothing_behind() {
        let needle = Needle::random();
        let mut buffer = SecretBuffer::default();
        needle.spell(|byte| buffer.add(&[byte]));
        // Several times its first place.
        for _ in 0..2000 {
            buffer.add(b"other");
        }
        assert_eq!(
            needle.count_in_memory(),
            1,
            "the search finds what is there"
        );
        buffer.truncate(3);
        assert_eq!(needle.count_in_memory(), 0);
        assert_eq!(buffer.len(), 3);
    }

    #[test]
    fn debug_output_is_the_same_for_every_secret() {
        let low = format!("{:?}", Secret::from_bytes(&[0; 32]));
        let high = format!("{:#?}", Secret::from_bytes(&[255; 16]));
        assert_eq!((low.as_str(), high.as_str()), ("[redacted]", "[redacted]"));
    }

    #[test]
    fn bytes_come_back() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(*Secret::from_bytes(&bytes).clone().to_bytes(), bytes);
    }
}
