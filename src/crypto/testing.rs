//! What the tests of this module share: randomness that repeats itself, and
//! known answers. Compiled for tests only.

use std::convert::Infallible;

use data_encoding::HEXLOWER;
use rand::rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A generator that gives the same bytes for the same seed: SHA-256 of the seed
/// and a counter.
pub(super) struct TestRng {
    seed: u64,
    counter: u64,
}

impl TestRng {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        self.counter += 1;
        let input = [self.seed.to_be_bytes(), self.counter.to_be_bytes()].concat();
        Sha256::digest(input).into()
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [a, b, c, d, ..] = self.block();
        Ok(u32::from_be_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let [a, b, c, d, e, f, g, h, ..] = self.block();
        Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Infallible> {
        for chunk in place.chunks_mut(32) {
            let block = self.block();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// The known answers in one file of `tests/vectors`.
pub(super) fn vectors(json: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(json).unwrap();
    assert!(!cases.is_empty());
    cases
}

/// A field that holds bytes in hexadecimal.
pub(super) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(case, field).as_bytes()).unwrap()
}

/// A field that holds exactly `N` bytes in hexadecimal.
pub(super) fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

/// A field that holds text.
pub(super) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {case}"))
}

/// A field that holds a number.
pub(super) fn number<T: TryFrom<u64>>(case: &Value, field: &str) -> T {
    let number = case[field]
        .as_u64()
        .and_then(|number| T::try_from(number).ok());
    number.unwrap_or_else(|| panic!("no number {field} in {case}"))
}
