//! Bytes that nobody else may see: boxed, wiped on drop, silent in `Debug`.
//!
//! Every secret of the crate is made of these, so one type decides how secrets
//! are held. It knows nothing about what a secret is used for.

use std::fmt;

use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `N` secret bytes.
///
/// They live on the heap, because moving a value copies it and leaves the old
/// place as it was; moving a box leaves the secret where it can be wiped.
/// There is no `PartialEq`: comparing secrets belongs to the primitives, which
/// do it in constant time.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// `N` bytes drawn from `rng`.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::filled_by(|bytes| rng.fill_bytes(bytes))
    }

    /// A copy of `bytes`. The caller's own copy is the caller's to wipe.
    pub fn from_bytes(bytes: &[u8; N]) -> Self {
        Self::filled_by(|place| place.copy_from_slice(bytes))
    }

    /// A copy of the bytes, for the vault.
    pub fn to_bytes(&self) -> Zeroizing<[u8; N]> {
        Zeroizing::new(*self.0)
    }

    /// The bytes where they are.
    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Lets `fill` write the secret straight to the place where it will live.
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
