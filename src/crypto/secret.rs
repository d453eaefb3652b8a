//! Secret bytes: boxed, wiped on drop, and hidden in `Debug`.
//!
//! All keys of the crate are held in this type, so it alone decides how secrets are kept in memory.
//! What a secret is used for is decided elsewhere.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
