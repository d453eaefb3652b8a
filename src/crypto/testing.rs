//! What the tests of this module share: randomness that repeats itself, and
//! known answers. Compiled for tests only.

use std::collections::VecDeque;
use std::convert::Infallible;

use data_encoding::HEXLOWER;
use rand::rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A generator that gives the same bytes for the same seed (SHA-256 of the seed
/// and a counter), after a script if there is one.
pub(crate) struct TestRng {
    seed: u64,
    counter: u64,
    script: VecDeque<u8>,
}

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: 0,
            script: VecDeque::new(),
        }
    }

    /// A generator whose first bytes are those of `script`.
    pub(crate) fn reading(script: &[u8]) -> Self {
        let script = script.iter().copied().collect();
        Self {
            script,
            ..Self::new(0)
        }
    }

    /// Whether the whole script has been read.
    pub(crate) fn is_read(&self) -> bool {
        self.script.is_empty()
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
            for (byte, random) in chunk.iter_mut().zip(block) {
                *byte = self.script.pop_front().unwrap_or(random);
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// The known answers in one file of `tests/vectors`.
pub(crate) fn vectors(json: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(json).unwrap();
    assert!(!cases.is_empty());
    cases
}

/// A field that holds bytes in hexadecimal.
pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(case, field).as_bytes()).unwrap()
}

/// A field that holds exactly `N` bytes in hexadecimal.
pub(crate) fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

/// A field that holds text.
pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {case}"))
}

/// A field that holds a number.
pub(crate) fn number<T: TryFrom<u64>>(case: &Value, field: &str) -> T {
    let number = case[field]
        .as_u64()
        .and_then(|number| T::try_from(number).ok());
    number.unwrap_or_else(|| panic!("no number {field} in {case}"))
}

/// Encodings of X25519 public keys of low order, with which every exchange gives
/// zeros: 0, 1, p - 1, p, p + 1, and the two points of order eight.
pub(crate) fn low_order_points() -> Vec<[u8; 32]> {
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ]
    .iter()
    .map(|hex| HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap())
    .collect()
}

/// A random word that is looked for in this process's own memory, freed memory included. It
/// is kept masked, so that the search does not find itself.
#[cfg(target_os = "linux")]
pub(crate) struct Needle(Vec<u8>);

/// What the needle, and what is searched for it, are masked with.
#[cfg(target_os = "linux")]
const MASK: u8 = 0x80;

#[cfg(target_os = "linux")]
impl Needle {
    /// Sixty letters.
    pub(crate) fn random() -> Self {
        use rand::Rng;
        let letter = |_| MASK | (b'a' + (super::os_rng().next_u32() % 26) as u8);
        Needle((0..60).map(letter).collect())
    }

    /// What `write` writes, byte by byte.
    pub(crate) fn of(write: impl FnOnce(&mut dyn FnMut(u8))) -> Self {
        let mut masked = Vec::new();
        write(&mut |byte| masked.push(byte ^ MASK));
        Needle(masked)
    }

    /// Gives the needle to `each`, byte by byte.
    pub(crate) fn spell(&self, each: impl FnMut(u8)) {
        self.0.iter().map(|byte| byte ^ MASK).for_each(each);
    }

    /// Gives the needle to `take`, and wipes that copy.
    pub(crate) fn spell_into<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        let mut text = zeroize::Zeroizing::new(String::with_capacity(self.0.len()));
        self.spell(|byte| text.push(char::from(byte)));
        take(&text)
    }

    /// How often its middle stands in memory: an allocator writes over the beginning of
    /// what was freed.
    pub(crate) fn count_in_memory(&self) -> usize {
        use std::os::unix::fs::FileExt;
        use std::sync::{Mutex, PoisonError};
        /// One search at a time: what one of them reads, the other would find.
        static SEARCH: Mutex<()> = Mutex::new(());
        let _alone = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        // What is searched and what is looked for stand in one place, which is left out.
        let mut place = zeroize::Zeroizing::new(vec![0; 1 << 20]);
        let start = place.as_ptr() as u64;
        let own = start..start + place.len() as u64;
        let (middle, piece) = place.split_at_mut(self.0.len() - 24);
        for (plain, masked) in middle.iter_mut().zip(&self.0[20..]) {
            *plain = masked ^ MASK;
        }
        let mut count = 0;
        for (mut at, to) in writable_memory() {
            while at < to {
                if own.contains(&at) {
                    at = own.end;
                    continue;
                }
                let end = if at < own.start {
                    to.min(own.start)
                } else {
                    to
                };
                let wanted = piece.len().min((end - at) as usize);
                // Another thread may have given it back.
                let Ok(read) = memory.read_at(&mut piece[..wanted], at) else {
                    break;
                };
                count += memchr::memmem::find_iter(&piece[..read], &*middle).count();
                // A needle may stand on the border of two reads.
                at += match read {
                    0 => break,
                    _ if read > middle.len() && at + (read as u64) < end => read - middle.len() + 1,
                    _ => read,
                } as u64;
            }
        }
        count
    }
}

/// Where this process keeps what it writes.
#[cfg(target_os = "linux")]
fn writable_memory() -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = |map: &str| {
        let (range, _) = map.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        (
            u64::from_str_radix(from, 16).unwrap(),
            u64::from_str_radix(to, 16).unwrap(),
        )
    };
    maps.lines()
        .filter(|map| map.contains(" rw-p "))
        .map(range)
        .collect()
}
